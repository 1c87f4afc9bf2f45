"""A virtual class A end device: the LoRaWAN stack inside the virtual modules.

Rules of this file: frames and windows over the ether; no terminal.  Everything later is a timer that `cut` cancels.  Source:
LoRaWAN L2 1.0.4, sections 3.3, 4 and 6.  It keeps keys and never tells them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rataccess_hil.lora import frames
from rataccess_hil.lora.crypto import SessionKeys, open_join_accept, session_keys
from rataccess_hil.lora.device_commands import Told, execute
from rataccess_hil.lora.device_plan import Channel, Plan
from rataccess_hil.lora.device_radio import ClassARadio, Window
from rataccess_hil.lora.ether import Ether, Heard, Position, Station
from rataccess_hil.lora.frames import DataFrame, JoinAccept, JoinRequest
from rataccess_hil.lora.regions import REGIONS

_MAX_GAP = 16_384


class Refused(Exception):
    """The device cannot do that now.  `cause`: not_joined, busy, no_free_channel, length, no_keys."""

    def __init__(self, cause: str, wait: float = 0.0, limit: int = 0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait = wait
        """Seconds until a channel is free."""
        self.limit = limit
        """Bytes that would fit."""


@dataclass(frozen=True, slots=True)
class Downlink:
    """A downlink as the module's host gets it."""

    port: int | None
    data: bytes
    rssi_dbm: float
    snr_db: float
    window: int
    """1 or 2."""
    ack: bool
    pending: bool
    told: tuple[Told, ...] = ()
    """Answers of the network to LinkCheckReq and DeviceTimeReq."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of `join` or `send`: both windows have passed, or one had what was waited for."""

    ok: bool
    """Joined; or sent, and acknowledged where that was asked for."""
    confirmed: bool = False
    downlink: Downlink | None = None
    attempts: int = 1


@dataclass(slots=True)
class DeviceSession:
    """What a device knows of its session."""

    address: int
    keys: SessionKeys = field(repr=False)
    net_id: int = 0
    up: int = 0
    down: int = -1
    rx1_offset: int = 0
    rx2_rate: int = 0
    rx2_frequency: int = 0
    rx_delay: int = 1


class EndDevice:
    """A device on the ether.  `on_sent` is called at the end of each transmission, `on_finished` as above."""

    def __init__(
        self,
        ether: Ether,
        *,
        region: str = "EU868",
        position: Position = (300.0, 0.0),
        name: str = "device",
        seed: int = 0,
    ) -> None:
        self.ether = ether
        self.station = Station(name, position)
        self._chance = random.Random(seed)
        self.dev_eui = self.join_eui = 0
        self._app_key = b""
        self.dev_nonce = 0
        """The last one used; a real one keeps it through power cuts."""
        self.session: DeviceSession | None = None
        self.rate = 0
        self.power_index = 0
        self.adr = True
        self.repetitions = 1
        self.retries = 7
        """How often a confirmed uplink is sent again."""
        self.battery = 255
        self.last_snr = 0.0
        self.last_rssi = 0.0
        self.quiet_uplinks = 0
        self.answers = b""
        """MAC commands for the next uplink."""
        self.sticky = b""
        """Answers that are repeated until a downlink arrives."""
        self.requests = b""
        """LinkCheckReq, DeviceTimeReq for the next uplink."""
        self.on_sent: Callable[[], None] = lambda: None
        self.on_finished: Callable[[Finished], None] = lambda finished: None
        self._radio = ClassARadio(ether, self.station)
        self.busy = False
        self.region = REGIONS[region]
        self.plan = Plan.of(self.region)

    # --- settings -----------------------------------------------------------------------------------------------------

    def set_region(self, name: str) -> None:
        """Another channel plan; the session is gone."""
        self.region = REGIONS[name]
        self._new_plan()
        self.session = None
        self.rate = min(self.rate, self.region.highest_rate)

    def _new_plan(self) -> None:
        duty_cycle = self.plan.duty_cycle
        self.plan = Plan.of(self.region)
        self.plan.duty_cycle = duty_cycle

    def set_app_key(self, key: bytes) -> None:
        """Keep a key; it cannot be read back."""
        self._app_key = bytes(key)

    @property
    def has_app_key(self) -> bool:
        """Whether there is a key."""
        return len(self._app_key) == 16

    def personalise(self, address: int, network_key: bytes, application_key: bytes) -> None:
        """Activation by personalisation."""
        self.session = self._session(address, SessionKeys(network_key, application_key))

    def _session(self, address: int, keys: SessionKeys) -> DeviceSession:
        return DeviceSession(address, keys, rx2_rate=self.region.rx2_rate, rx2_frequency=self.region.rx2_frequency)

    @property
    def limit(self) -> int:
        """Bytes of payload that fit now."""
        return self.region.limit(self.rate) - len(self.sticky) - len(self.answers)

    def waiting(self) -> float:
        """Seconds until a channel is free; 0 now."""
        found = self.plan.pick(self.rate, self._now(), self._chance)
        return found if isinstance(found, float) else 0.0

    def cut(self) -> None:
        """Power is gone, in the middle of anything: the session and what was under way are lost."""
        self.stop()
        self.session = None
        self.answers = self.sticky = self.requests = b""
        self._new_plan()

    def stop(self) -> None:
        """Give up what is under way."""
        self._radio.stop()
        self.busy = False

    # --- joining ------------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Send a join-request; `on_finished` tells how it went.  Raises `Refused`."""
        if self.busy:
            raise Refused("busy")
        if not self.has_app_key:
            raise Refused("no_keys")
        rate = self.rate if not self.region.fixed else self.region.join_rates[self.dev_nonce % 2]
        plan = Plan.of(self.region)
        plan.free_at, plan.duty_cycle = self.plan.free_at, self.plan.duty_cycle
        channel = self._free_channel(plan, rate)
        self.dev_nonce = self.dev_nonce + 1 & 0xFFFF
        request = JoinRequest(self.join_eui, self.dev_eui, self.dev_nonce)
        self.session = None
        self.plan = plan
        accept: list[JoinAccept] = []

        def heard(frame: bytes, window: int, packet: Heard) -> bool:
            clear = open_join_accept(self._app_key, frame) if frame[:1] == b"\x20" else None
            if clear is None:
                return False
            accept.append(JoinAccept.parse(clear))
            self._take(accept[0], request)
            return True

        def done(answered: bool) -> None:
            self.busy = False
            self.on_finished(Finished(answered))

        self.busy = True
        windows = self._windows(channel, rate, 5.0, 0, self.region.rx2_rate, self.region.rx2_frequency)
        self._transmit(request.seal(self._app_key), channel, rate, windows, heard, done)

    def _take(self, accept: JoinAccept, request: JoinRequest) -> None:
        nonces = (accept.join_nonce.to_bytes(3, "little"), accept.net_id.to_bytes(3, "little"))
        keys = session_keys(self._app_key, *nonces, request.dev_nonce.to_bytes(2, "little"))
        self.session = self._session(accept.address, keys)
        self.session.net_id = accept.net_id
        self.session.rx1_offset, self.session.rx2_rate = accept.rx1_offset, accept.rx2_data_rate
        self.session.rx_delay = max(1, accept.rx_delay)
        self.plan.take_cf_list(accept.cf_list)
        self.quiet_uplinks = 0

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, port: int | None, *, confirmed: bool = False) -> None:
        """Send an uplink; `on_finished` tells how it went.  Raises `Refused`, and nothing is sent then."""
        if self.busy:
            raise Refused("busy")
        if self.session is None:
            raise Refused("not_joined")
        if len(data) > self.region.limit(self.rate):
            raise Refused("length", limit=self.region.limit(self.rate))
        channel = self._free_channel(self.plan, self.rate)
        self.busy = True
        options = (self.sticky + self.answers + self.requests)[:15]
        if len(data) + len(options) > self.region.limit(self.rate):
            options = b""
        else:
            self.answers = self.requests = b""
        self._back_off()
        frame = DataFrame(
            frames.CONFIRMED_UP if confirmed else frames.UNCONFIRMED_UP,
            self.session.address,
            self.session.up,
            port,
            data,
            options,
            adr=self.adr,
            adr_ack_request=self.adr and self.quiet_uplinks >= 64,
            ack=self.owes_ack,
        )
        self.owes_ack = False
        self.session.up += 1
        self.quiet_uplinks += 1
        self._attempt(frame.seal(self.session.keys), channel, confirmed, 1)

    owes_ack = False
    """Whether the next uplink acknowledges a confirmed downlink."""

    def _back_off(self) -> None:
        """ADR back-off: full power, then slower, where the network has said nothing for long."""
        late = self.quiet_uplinks - 96
        if self.adr and late >= 0 and late % 32 == 0:
            if self.power_index:
                self.power_index = 0
            elif self.rate:
                self.rate -= 1
            else:
                for channel in self.plan.channels.values():
                    channel.enabled = channel.enabled or not self.region.fixed

    def _attempt(self, sealed: bytes, channel: Channel, confirmed: bool, attempt: int) -> None:
        session = self.session
        assert session is not None
        answer: list[Downlink] = []

        def heard(frame: bytes, window: int, packet: Heard) -> bool:
            downlink = self._read(frame, window, packet)
            if downlink is not None:
                answer.append(downlink)
            return downlink is not None

        def done(answered: bool) -> None:
            acknowledged = bool(answer) and answer[0].ack
            wanted = self.retries if confirmed else self.repetitions - 1
            if not (acknowledged if confirmed else answer) and attempt <= wanted and self.session is session:
                self._again(sealed, confirmed, attempt + 1)
                return
            self.busy = False
            self.on_finished(Finished(acknowledged or not confirmed, confirmed, answer[0] if answer else None, attempt))

        windows = self._windows(
            channel,
            self.rate,
            float(session.rx_delay),
            session.rx1_offset,
            session.rx2_rate,
            session.rx2_frequency,
        )
        self._transmit(sealed, channel, self.rate, windows, heard, done)

    def _again(self, sealed: bytes, confirmed: bool, attempt: int) -> None:
        def try_again() -> None:
            found = self.plan.pick(self.rate, self._now(), self._chance)
            if isinstance(found, Channel):
                self._attempt(sealed, found, confirmed, attempt)
            else:
                self._radio.at(self._now() + (found or 1.0), try_again)

        self._radio.at(self._now() + 1.0 + 2.0 * self._chance.random(), try_again)

    def _read(self, data: bytes, window: int, heard: Heard) -> Downlink | None:
        session = self.session
        try:
            frame = frames.parse(data)
        except frames.BadFrame:
            return None
        if session is None or not isinstance(frame, DataFrame) or frame.address != session.address:
            return None
        counter = (max(0, session.down) & ~0xFFFF) | frame.counter
        if counter <= session.down:
            counter += 0x10000
        if counter - max(0, session.down) > _MAX_GAP or not frame.is_of(session.keys, counter):
            return None
        session.down = counter
        self.quiet_uplinks = 0
        self.sticky = b""
        self.last_snr, self.last_rssi = heard.snr_db, heard.rssi_dbm
        self.owes_ack = frame.confirmed
        payload = frame.opened(session.keys, counter) if frame.port is not None else b""
        told = execute(self, payload if frame.port == 0 else frame.options)
        application = payload if frame.port else b""
        port = frame.port or None
        return Downlink(port, application, heard.rssi_dbm, heard.snr_db, window, frame.ack, frame.pending, tuple(told))

    # --- the air ------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _free_channel(self, plan: Plan, rate: int) -> Channel:
        found = plan.pick(rate, self._now(), self._chance)
        if isinstance(found, Channel):
            return found
        raise Refused("no_free_channel", wait=found or 0.0)

    def _windows(
        self, channel: Channel, rate: int, delay: float, offset: int, rx2_rate: int, rx2_frequency: int
    ) -> list[Window]:
        rx1_rate, rx1_frequency = self.region.rx1(rate, channel.frequency, offset)
        rx1_frequency = channel.down_frequency or rx1_frequency
        return [
            (delay, self.region.wave(rx1_rate, rx1_frequency, down=True)),
            (delay + 1.0, self.region.wave(rx2_rate, rx2_frequency, down=True)),
        ]

    def _transmit(
        self,
        sealed: bytes,
        channel: Channel,
        rate: int,
        windows: list[Window],
        heard: Callable[[bytes, int, Heard], bool],
        done: Callable[[bool], None],
    ) -> None:
        power = self.region.max_eirp - 2 * self.power_index
        wave = self.region.wave(rate, channel.frequency)
        packet = self._radio.transmit(wave, sealed, power, lambda: self.on_sent(), windows, heard, done)
        self.plan.used(channel.frequency, packet.end, packet.end - packet.start)

    def __repr__(self) -> str:
        return f"<EndDevice {self.dev_eui:016x} {self.region.name} {'joined' if self.session else 'not joined'}>"
