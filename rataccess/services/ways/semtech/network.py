"""The network server: what is made of each uplink.

Rules of this file: sans-I/O; frames and times in, what to hear and what to send out.  Nothing is believed before its MIC was
checked; what cannot be is counted by cause and answered with nothing.  When to send what is in downlinks.py.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from rataccess.clock import Clock
from rataccess.errors import FrameError, ProtectionFailed
from rataccess.lorawan.addresses import dev_addr_prefix, gps_time
from rataccess.lorawan.commands import (
    Command,
    DeviceTimeAns,
    DeviceTimeReq,
    LinkAdrAns,
    LinkCheckAns,
    LinkCheckReq,
    Unknown,
    decode_commands,
    encode_commands,
)
from rataccess.lorawan.crypto import check_join_request, open_frame, seal_join_accept
from rataccess.lorawan.frame import (
    MAX_FOPTS,
    JoinAccept,
    JoinRequest,
    Uplink,
    decode,
    encode_frequencies,
    encode_masks,
)
from rataccess.lorawan.regions import REGIONS, Region
from rataccess.services.ways.forwarder import Received
from rataccess.services.ways.rooms import downlink_room
from rataccess.services.ways.semtech import adr
from rataccess.services.ways.semtech.gateways import Gateway
from rataccess.services.ways.semtech.sessions import DeviceState, Session, root_of
from rataccess.services.ways.settings import SemtechSettings

MOST_REPEATS = 8
"""Times that one uplink may be repeated: more is somebody else's doing."""
LATE = 0.8
"""Seconds after RX1 opens in which the same bytes are another gateway's copy, on a slow way here, and no repetition: that is
sent after RX2, which opens a second later."""
APART = 500_000
"""Microseconds of one gateway's counter that part a repetition from what its other channels hear of the same packet."""
MOST_COPIES = 16
"""Gateways that an uplink is remembered from: who makes up names of gateways makes no work of it."""
JOIN_DELAY = 5
"""Seconds to RX1 after a join-request (RP002, JOIN_ACCEPT_DELAY1)."""
_MOST_RECENT = 1024


@dataclass(slots=True, eq=False)
class Reception:
    """One uplink, as one or more gateways received it, until its receive windows."""

    state: DeviceState
    session: Session
    data_rate: int
    frequency: int
    begun: float
    """Seconds of the event loop."""
    copies: list[tuple[Gateway, Received]]
    accept: bytes | None = None
    """Of a join-request: the whole frame that answers it."""
    must_answer: bool = False
    ack: bool = False
    before: int = -1
    """The session's uplink counter before this one."""
    commands: list[Command] = field(default_factory=list)

    @property
    def delay(self) -> int:
        """Seconds to RX1."""
        return JOIN_DELAY if self.accept is not None else self.session.rx_delay

    @property
    def fopts(self) -> bytes:
        """The answers to MAC commands, and our own."""
        return encode_commands(self.commands)


@dataclass(frozen=True, slots=True)
class Taken:
    """A genuine uplink."""

    reception: Reception
    port: int | None = None
    """Of the packet in it; `None`: there is none, or it was heard before."""
    data: bytes = b""
    room: int = 0
    """Bytes of the largest packet back."""


class NetworkServer:
    """All devices of one channel plan."""

    def __init__(
        self,
        settings: SemtechSettings,
        app_key: Callable[[str], bytes | None],
        clock: Clock,
        random: Random,
        count: Callable[[str], None],
    ) -> None:
        """`app_key` gives a device's AppKey by its DevEUI, `None` where it is not ours."""
        self.region: Region = REGIONS[settings.region]
        self._settings, self._app_key, self._clock, self._random, self._count = settings, app_key, clock, random, count
        self._states: dict[str, DeviceState] = {}
        self._by_addr: dict[int, set[str]] = {}
        self._recent: OrderedDict[bytes, Reception] = OrderedDict()
        self.queues: dict[str, deque[tuple[int, bytes]]] = {}
        """FPort and packet for each device, by DevEUI."""
        sub_band = settings.sub_band if self.region.fixed else None
        self._sub_band = sub_band
        self._channels = frozenset(range(len(self.region.channels) + len(settings.frequencies)))

    def __repr__(self) -> str:
        return f"<NetworkServer {self.region.name} {len(self._states)} devices>"

    @property
    def adapts(self) -> bool:
        """Whether devices are told which data rate to use."""
        return self._settings.adr

    # --- devices --------------------------------------------------------------------------------------------------------

    def restore(self, state: DeviceState) -> None:
        """What was kept of a device."""
        self._states[state.dev_eui] = state
        for session in state.sessions:
            self._by_addr.setdefault(session.dev_addr, set()).add(state.dev_eui)

    def enqueue(self, dev_eui: str, port: int, data: bytes) -> None:
        """Have a packet sent in one of the device's next receive windows.

        One waits for each service: an answer that missed its window goes with the next uplink, unless that has an answer of
        its own, which acknowledges the same.  Or each would come an uplink late from then on.
        """
        queue = self.queues.setdefault(dev_eui, deque())
        for waiting in [each for each in queue if each[0] == port]:
            queue.remove(waiting)
            self._count("answers that a newer one replaced")
        queue.append((port, data))

    def put_back(self, dev_eui: str, port: int, data: bytes) -> None:
        """A packet did not go out: it is the device's next, unless a newer one waits."""
        queue = self.queues.setdefault(dev_eui, deque())
        if any(each == port for each, _ in queue):
            self._count("answers that a newer one replaced")
        else:
            queue.appendleft((port, data))

    # --- uplinks --------------------------------------------------------------------------------------------------------

    def uplink(self, gateway: Gateway, received: Received, now: float) -> Taken | None:
        """Take what a gateway received at `now`; `None` where there is nothing to hear and nothing to answer."""
        known = self._recent.get(received.data)
        if known is not None and self._is_copy(known, gateway, received, now):
            self._another_copy(known, gateway, received)
            return None
        try:
            frame = decode(received.data)
        except FrameError:
            self._count("malformed LoRaWAN frames")
            return None
        data_rate = self.region.data_rate(received.spreading_factor, received.bandwidth)
        if data_rate is None or (self.region.fixed and self.region.channel_index(received.frequency) is None):
            self._count("uplinks outside of the channel plan")
            return None
        if isinstance(frame, JoinRequest):
            taken = self._join(frame, gateway, received, data_rate, now)
        elif isinstance(frame, Uplink):
            taken = self._data(frame, gateway, received, data_rate, now)
        else:
            self._count("malformed LoRaWAN frames")
            return None
        if taken is not None:
            self._recent[received.data] = taken.reception
            self._recent.move_to_end(received.data)
            while len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
        return taken

    @staticmethod
    def _is_copy(reception: Reception, gateway: Gateway, received: Received, now: float) -> bool:
        """Whether the same bytes are the same packet, and not sent again."""
        own = next((each.tmst for at, each in reception.copies if at is gateway), None)
        if own is None:
            return now - reception.begun < reception.delay + LATE
        apart = (received.tmst - own) % (1 << 32)
        return min(apart, (1 << 32) - apart) < APART

    def _another_copy(self, reception: Reception, gateway: Gateway, received: Received) -> None:
        if len(reception.copies) < MOST_COPIES and all(each is not gateway for each, _ in reception.copies):
            reception.copies.append((gateway, received))
        self._count("copies of uplinks")

    # --- joining --------------------------------------------------------------------------------------------------------

    def _join(
        self, request: JoinRequest, gateway: Gateway, received: Received, data_rate: int, now: float
    ) -> Taken | None:
        dev_eui = f"{request.dev_eui:016x}"
        app_key = self._app_key(dev_eui)
        if app_key is None:
            self._count("join-requests of unknown devices")
            return None
        try:
            check_join_request(app_key, request)
        except ProtectionFailed:
            self._count("join-requests with a wrong MIC")
            return None
        state = self._states.setdefault(dev_eui, DeviceState(dev_eui))
        if not state.use(root_of(app_key, request.join_eui), request.dev_nonce):
            self._count("replayed join-requests")
            return None
        self._count("joins")
        session = self._begin(state, app_key, request.dev_nonce)
        accept = JoinAccept(
            join_nonce=session.join_nonce,
            net_id=session.net_id,
            dev_addr=session.dev_addr,
            rx2_dr=self.region.rx2_dr,
            rx_delay=session.rx_delay,
            cflist=self._cflist(),
        )
        sealed = seal_join_accept(app_key, accept)
        copies = [(gateway, received)]
        reception = Reception(state, session, data_rate, received.frequency, now, copies, sealed, must_answer=True)
        return Taken(reception)

    def _begin(self, state: DeviceState, app_key: bytes, dev_nonce: int) -> Session:
        state.join_nonce = (state.join_nonce + 1) % (1 << 24)
        if state.pending is not None:
            self._forget(state, state.pending)
        state.pending = Session.begin(
            app_key,
            dev_addr=self._free_address(),
            join_nonce=state.join_nonce,
            dev_nonce=dev_nonce,
            net_id=self._settings.net_id,
            rx_delay=self._settings.rx1_delay,
        )
        self._by_addr.setdefault(state.pending.dev_addr, set()).add(state.dev_eui)
        return state.pending

    def _free_address(self) -> int:
        prefix, bits = dev_addr_prefix(self._settings.net_id)
        while True:
            found = prefix | self._random.getrandbits(bits)
            if found not in self._by_addr:
                return found

    def _forget(self, state: DeviceState, session: Session) -> None:
        others = self._by_addr.get(session.dev_addr, set())
        others.discard(state.dev_eui)
        if not others:
            self._by_addr.pop(session.dev_addr, None)

    def _cflist(self) -> bytes:
        if self.region.fixed:
            on = self.region.sub_band_mask(self._sub_band) if self._sub_band else frozenset(range(72))
            return encode_masks([sum(1 << at for at in range(16) if 16 * bank + at in on) for bank in range(5)])
        return encode_frequencies(self._settings.frequencies) if self._settings.frequencies else b""

    # --- data -----------------------------------------------------------------------------------------------------------

    def _data(self, frame: Uplink, gateway: Gateway, received: Received, data_rate: int, now: float) -> Taken | None:
        candidates = self._by_addr.get(frame.dev_addr, ())
        if not candidates:
            self._count("uplinks of unknown sessions")
            return None
        for dev_eui in candidates:
            state = self._states[dev_eui]
            for session in state.sessions:
                if session.dev_addr == frame.dev_addr and session.app_key == self._app_key(dev_eui):
                    found = self._opened(session, frame)
                    if found is not None:
                        return self._genuine(state, session, found, gateway, received, data_rate, now)
        self._count("uplinks with a wrong MIC")
        return None

    def _opened(self, session: Session, frame: Uplink) -> Uplink | None:
        """The frame in the clear with its whole counter, where one of the two that it may have proves right."""
        for counter in session.counters(frame.fcnt):
            if counter is not None:
                try:
                    return open_frame(session.keys, frame, counter)
                except (ProtectionFailed, FrameError):  # a counter beyond 32 bits is none
                    continue
        return None

    def _genuine(
        self,
        state: DeviceState,
        session: Session,
        frame: Uplink,
        gateway: Gateway,
        received: Received,
        data_rate: int,
        now: float,
    ) -> Taken | None:
        repeated = frame.fcnt == session.fcnt_up
        if frame.fcnt < session.fcnt_up or (repeated and session.repeats >= MOST_REPEATS):
            self._count("replayed uplinks")
            return None
        session.repeats = session.repeats + 1 if repeated else 0
        if session is state.pending:
            self._promote(state)
        before, session.fcnt_up = session.fcnt_up, frame.fcnt
        copies = [(gateway, received)]
        reception = Reception(state, session, data_rate, received.frequency, now, copies, ack=frame.confirmed)
        reception.before = before
        reception.must_answer = frame.confirmed or frame.adr_ack_req
        if repeated:
            self._count("repeated uplinks")
            return Taken(reception)
        self._commands(frame, reception, received)
        room = downlink_room(self.region, data_rate) - len(reception.fopts)
        port = frame.port or None
        return Taken(reception, port if frame.payload else None, frame.payload, max(0, room))

    @staticmethod
    def unheard(reception: Reception) -> None:
        """What an uplink brought could not be kept: it is not acknowledged, and heard where the device sends it again."""
        reception.ack = False
        reception.session.fcnt_up = reception.before

    def _promote(self, state: DeviceState) -> None:
        """The device uses the session that its last join began: the one before is over."""
        if state.current is not None:
            self._forget(state, state.current)
        state.current, state.pending = state.pending, None

    # --- MAC commands -----------------------------------------------------------------------------------------------------

    def _commands(self, frame: Uplink, reception: Reception, received: Received) -> None:
        try:
            found = decode_commands(frame.payload if frame.port == 0 else frame.fopts, uplink=True)
        except FrameError:
            self._count("malformed LoRaWAN frames")
            found = []
        for each in found:
            self._obey(each, reception, received)
        if frame.adr and self._settings.adr:
            self._adapt(reception, received)

    def _obey(self, command: Command | Unknown, reception: Reception, received: Received) -> None:
        session = reception.session
        if isinstance(command, LinkCheckReq):
            reception.commands.append(LinkCheckAns(adr.margin(received.snr, received.spreading_factor), 1))
            reception.must_answer = True
        elif isinstance(command, DeviceTimeReq) and self._clock.wall_known():
            seconds = gps_time(self._clock.wall())
            reception.commands.append(DeviceTimeAns(int(seconds) % (1 << 32), int(seconds * 256) % 256))
            reception.must_answer = True
        elif isinstance(command, LinkAdrAns) and session.asked is not None:
            session.refused = not (command.channel_mask_ack and command.data_rate_ack and command.power_ack)
            session.power = session.power if session.refused else session.asked[1]
            session.asked = None
            session.snrs.clear()

    def _adapt(self, reception: Reception, received: Received) -> None:
        """Adaptive data rate: what the device is told, if anything."""
        session, region = reception.session, self.region
        session.snrs.append(received.snr)
        if len(session.snrs) < adr.ENOUGH or session.refused or reception.data_rate > adr.fastest_data_rate(region):
            return
        wanted = adr.advise(region, reception.data_rate, session.power, session.snrs)
        if wanted == (reception.data_rate, session.power):
            return
        block = adr.link_adr(region, *wanted, self._channels, sub_band=self._sub_band)
        if len(reception.fopts) + len(encode_commands(block)) <= MAX_FOPTS:
            session.asked = wanted
            reception.commands.extend(block)
            reception.must_answer = True

    def settled(self, reception: Reception) -> None:
        """No more copies are waited for: say how many gateways there are, and how well the best of them hears."""
        best = max(reception.copies, key=lambda each: each[1].snr)[1]
        if reception.session.snrs:
            reception.session.snrs[-1] = max(best.snr, reception.session.snrs[-1])
        margin = adr.margin(best.snr, best.spreading_factor)
        reception.commands = [
            replace(each, margin=margin, gw_cnt=min(255, len(reception.copies)))
            if isinstance(each, LinkCheckAns)
            else each
            for each in reception.commands
        ]
