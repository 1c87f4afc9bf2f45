"""The MAC of a class A device: one exchange at a time, each an uplink with its two receive windows.

Rules of this file: it decides, others do.  Every call returns the one thing to do next (actions.py).  Nothing is given out
before what depends on it is on disk, and an error on the way leaves the state as it was.  Source: LoRaWAN L2 1.0.4.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from random import Random

from rataccess.errors import FrameError, NotNow, PacketTooLarge, ProtectionFailed, StoreError, TransportBroken
from rataccess.lorawan import crypto
from rataccess.lorawan.addresses import utc_of_gps
from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.commands import DeviceTimeReq, LinkCheckAns, LinkCheckReq
from rataccess.lorawan.frame import OVERHEAD, JoinRequest, encode
from rataccess.objects import Memory
from rataccess_drivers.lora.mac import adr
from rataccess_drivers.lora.mac.accepting import begin_session, default_channels, read_downlink, read_join_accept
from rataccess_drivers.lora.mac.actions import Action, Done, Listen, Pause, Received, Transmit
from rataccess_drivers.lora.mac.counters import LAST_FCNT, reserve
from rataccess_drivers.lora.mac.exchange import Exchange, State, sealed
from rataccess_drivers.lora.mac.joining import Joining
from rataccess_drivers.lora.mac.options import Waiting, sticky_part
from rataccess_drivers.lora.mac.orders import Obeyed, Surroundings, obey
from rataccess_drivers.lora.mac.radiate import Airtime, Hopper, data_rate_now, join_channels, power, silence
from rataccess_drivers.lora.mac.session import Session, SessionFile
from rataccess_drivers.lora.mac.settings import JOIN_REQUEST_SIZE, LAST_APPLICATION_PORT, RETRANSMIT, MacSettings
from rataccess_drivers.lora.mac.windows import window

log = logging.getLogger("rataccess.lorawan")


class Mac:
    """One device.  Not for several tasks at a time."""

    def __init__(
        self, settings: MacSettings, memory: Memory, prefix: str, airtime: Airtime, random: Random, now: float
    ) -> None:
        """`prefix` of everything it keeps in `memory`, such as `driver/field`; `now` of the caller's clock.

        Raises `KeyStoreError` where it is unknown which DevNonces were used, and there is no session without which to live.
        """
        self.settings = settings
        self._region = settings.region
        self._airtime = airtime
        self._random = random
        self._file = SessionFile(memory, f"{prefix}/session", settings.identity)
        self._joining = Joining(memory, f"{prefix}/join/{settings.device.hex()}", random, now)
        self._hopper = Hopper(settings.region, airtime, random)
        self._session = self._file.read()
        if self._session is None:
            self._joining.check()
        self._next_fcnt = self._session.fcnt_up_limit if self._session else 0
        quiet = self._session.quiet if self._session and self._session.max_dcycle else 0.0
        self._quiet_until = now + quiet
        self._state = State.IDLE
        self._exchange: Exchange | None = None
        self._waiting = Waiting()
        self.more_waits = False
        """Whether the network said that it has more (FPending)."""
        self.link: LinkCheckAns | None = None
        """The last answer to `ask_link`."""
        self.time: tuple[float, float] | None = None
        """Seconds since 1970 (UTC), and when that was, on the caller's clock: the last answer to `ask_time`."""
        self.battery = 0
        """As in DevStatusAns: 0 external supply, 1 to 254, 255 unknown."""
        self.rejected: Counter[str] = Counter()
        """Frames that came into a window and changed nothing, by kind of error."""

    def __repr__(self) -> str:
        return f"<Mac {self._region.name} {self.settings.dev_eui:016x} {self._session or 'not joined'}>"

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        """`None` before the device has joined."""
        return self._session

    @property
    def state(self) -> State:
        """Where the present exchange is."""
        return self._state

    @property
    def next_fcnt(self) -> int:
        """Of the next uplink."""
        return self._next_fcnt

    @property
    def join_attempts(self) -> int:
        """Join-requests since the network last took the device in."""
        return self._joining.attempts

    @property
    def data_rate(self) -> int:
        """Of the next uplink with data; before joining the slowest for data."""
        if self._session is None:
            return self.settings.slowest(dwell=self._region.uplink_dwell)
        return data_rate_now(self._session, self.settings)

    @property
    def modulation(self) -> Modulation:
        """Of the next uplink with data."""
        return self._region.data_rates[self.data_rate]

    @property
    def room(self) -> int:
        """Octets of payload that the next uplink can carry, MAC answers and questions that go with it taken off."""
        return self._most - len(self._waiting.options(self._session, self._most).fopts)

    @property
    def _most(self) -> int:
        dwell = self._region.uplink_dwell if self._session is None else self._session.uplink_dwell
        return self._region.max_payload(self.data_rate, dwell=dwell)

    def wait(self, now: float, size: int) -> float:
        """Seconds until `size` octets of payload may be sent; 0 for now."""
        session = self._session
        if session is None:
            return 0.0
        dr = self.data_rate
        seconds = self.modulation.time_on_air(OVERHEAD + size)
        return max(0.0, self._quiet_until - now, self._hopper.wait(session.channels_for(self._region, dr), seconds))

    @property
    def owes(self) -> bool:
        """Whether the network waits for something: an acknowledgement, or answers to MAC commands."""
        return self._waiting.ack_due or bool(self._waiting.answers)

    def ask_time(self) -> None:
        """Ask for the time with the next uplink."""
        self._waiting.ask(DeviceTimeReq())

    def ask_link(self) -> None:
        """Ask with the next uplink how well it is heard."""
        self._waiting.ask(LinkCheckReq())

    def forget_session(self) -> None:
        """Leave the network; on disk when it returns."""
        self._file.write(None)
        self._session = None
        self._waiting.forget()

    def join_wait(self, now: float) -> float:
        """Seconds until the next join-request may be sent; 0 for now."""
        channels, dr = join_channels(self._region, self.settings, self._joining.attempts)
        seconds = self._region.data_rates[dr].time_on_air(JOIN_REQUEST_SIZE)
        return max(self._joining.wait(now, seconds), self._hopper.wait(channels, seconds))

    def give_back(self) -> None:
        """For an orderly end: counters that were reserved and not used need not be skipped."""
        if self._session is not None:
            self._file.try_write(self._session.replace(fcnt_up_limit=self._next_fcnt))

    # --- beginning an exchange ----------------------------------------------------------------------------------------

    def join(self, now: float) -> Transmit:
        """Ask to join, also where there is a session: that lives on until the network has answered.

        Raises `NotNow` (join back-off, duty cycle), `SequenceExhausted` (no DevNonce left), `KeyStoreError` (it is unknown
        which were used) or `StoreError`; nothing has changed then.
        """
        self._idle()
        self._joining.check()
        settings = self.settings
        channels, dr = join_channels(self._region, settings, self._joining.attempts)
        seconds = self._region.data_rates[dr].time_on_air(JOIN_REQUEST_SIZE)
        if wait := self._joining.wait(now, seconds):
            raise NotNow("the network is given time between two join-requests", wait)
        choice = self._hopper.choose(channels, dr, JOIN_REQUEST_SIZE)
        nonce = self._joining.take(now, seconds)
        request = JoinRequest(settings.join_eui, settings.dev_eui, nonce)
        frame = encode(crypto.seal_join_request(settings.app_key, request))
        return self._begin(Exchange(frame, choice, dev_nonce=nonce))

    def send(self, now: float, port: int | None, payload: bytes = b"", *, confirmed: bool = False) -> Transmit:
        """Send `payload` on FPort 1 to 223, or with `None` a frame that only answers the network.

        Raises `PacketTooLarge` (over `room`), `NotNow` (duty cycle), `TransportBroken` (not joined) or `StoreError`;
        nothing was sent then.
        """
        self._idle()
        session = self._usable_session()
        if port is not None and not 1 <= port <= LAST_APPLICATION_PORT:
            raise FrameError(f"an application's FPort is 1 to {LAST_APPLICATION_PORT}, not {port}")
        self._check_quiet(now)
        exchange = self._uplink(session, port, payload, confirmed=confirmed)
        exchange.left = max(session.nb_trans, self.settings.attempts if confirmed else 1) - 1
        return self._begin(exchange)

    def _check_quiet(self, now: float) -> None:
        if now < self._quiet_until:
            raise NotNow("the network is given time (RETRANSMIT_TIMEOUT, DutyCycleReq)", self._quiet_until - now)

    def _uplink(self, session: Session, port: int | None, payload: bytes, *, confirmed: bool) -> Exchange:
        """A frame with the next counter, which is taken when it returns, to be sent NbTrans times."""
        if len(payload) > self.room:
            raise PacketTooLarge(len(payload), self.room)
        options = self._waiting.options(session, self._most)
        choice = self._hopper.choose_for(session, self.data_rate, OVERHEAD + len(options.fopts) + len(payload))
        exchange = Exchange(b"", choice, port=port, payload=payload, confirmed=confirmed, options=options)
        exchange.fcnt, exchange.copies = self._next_fcnt, session.nb_trans - 1
        exchange.frame = sealed(session, exchange, adr_on=self.settings.adr)
        self._count_uplink(session)
        return exchange

    def _usable_session(self) -> Session:
        if self._session is not None and self._next_fcnt > LAST_FCNT:
            log.warning("all frame counters of %08x are used up: the device joins anew", self._session.dev_addr)
            self.forget_session()
        if self._session is None:
            raise TransportBroken("the device has not joined a LoRaWAN network")
        return self._session

    def _count_uplink(self, session: Session) -> None:
        """Take a frame counter: reserved on disk before it is used."""
        reserved = reserve(session, self._next_fcnt)
        counted = reserved
        if self.settings.adr:
            slowest = self.settings.slowest(dwell=session.uplink_dwell)
            counted = adr.after_uplink(reserved, self._region, default_channels(self.settings), slowest)
        if reserved is not session:
            self._file.write(counted)
        self._session = counted
        self._next_fcnt += 1

    def _begin(self, exchange: Exchange) -> Transmit:
        action = self._transmission(exchange)
        self._exchange, self._state = exchange, State.SENDING
        return action

    def _transmission(self, exchange: Exchange) -> Transmit:
        choice, session = exchange.choice, self._session
        seconds = choice.modulation.time_on_air(len(exchange.frame))
        joins = exchange.dev_nonce is not None or session is None
        eirp, index = (self._region.max_eirp, 0) if joins or session is None else (session.max_eirp, session.tx_power)
        self._airtime.spend(choice.frequency, seconds)
        dbm = power(self._region, self.settings, eirp, index)
        return Transmit(exchange.frame, choice.frequency, choice.modulation, dbm, seconds)

    # --- the exchange goes on -----------------------------------------------------------------------------------------

    def transmitted(self, ended_at: float) -> Listen:
        """The transmission has ended at `ended_at`; the first receive window counts from it."""
        exchange = self._expect(State.SENDING)
        exchange.ended_at = ended_at
        session = self._session
        if exchange.dev_nonce is None and session is not None:
            if exchange.transmissions == 0:
                self._waiting.sent(exchange.options)
            exchange.transmissions += 1
            self._be_quiet(session, exchange)
        self._state = State.RX1
        return self._window(exchange, 1)

    def _be_quiet(self, session: Session, exchange: Exchange) -> None:
        """DutyCycleReq (clause 5.3): silence in proportion to the air time, and not forgotten by a restart."""
        if session.max_dcycle:
            off = silence(session, exchange.choice, len(exchange.frame))
            self._quiet_until = exchange.ended_at + off
            self._session = session.replace(quiet=off)
            self._file.try_write(self._session)

    def abandon(self) -> None:
        """The radio failed: the exchange is over, and its counter is not used again."""
        self._exchange, self._state = None, State.IDLE

    def silent(self, now: float) -> Action:
        """The window has passed without a frame."""
        exchange = self._expect(State.RX1, State.RX2)
        if self._state is State.RX1:
            self._state = State.RX2
            return self._window(exchange, 2)
        return self._attempt_over(now, exchange)

    def received(self, now: float, data: bytes, snr: float = 0.0) -> Action:
        """A frame came into the window; what is not genuine counts as silence.  `snr` in dB.

        Raises `StoreError` where what must be kept could not be; the frame then never came.
        """
        exchange = self._expect(State.RX1, State.RX2)
        try:
            if exchange.dev_nonce is not None:
                return self._joined(exchange, exchange.dev_nonce, data)
            self._heard(exchange, data, snr)
        except (FrameError, ProtectionFailed) as error:
            self.rejected[type(error).__name__] += 1
            log.debug("LoRaWAN: %s", error)
            return self.silent(now)
        return self._attempt_over(now, exchange)

    def resume(self, now: float) -> Action:
        """The pause is over: the payload goes again, on another channel."""
        exchange = self._expect(State.PAUSED)
        session = self._session
        if session is None or self._next_fcnt > LAST_FCNT:
            return self._end(exchange)
        try:
            self._check_quiet(now)
            action = self._again(session, exchange)
        except NotNow as error:
            if error.retry_after > self.settings.patience:
                return self._end(exchange)
            return Pause(now + error.retry_after)
        except (StoreError, PacketTooLarge):  # air time that cannot be noted is not used; the data rate has changed
            return self._end(exchange)
        self._state = State.SENDING
        return action

    def _again(self, session: Session, exchange: Exchange) -> Transmit:
        """The same frame NbTrans times (clause 4.3.1.3), and after that a new one: a network drops further copies."""
        if exchange.copies > 0:
            following = exchange
            exchange.choice = self._hopper.choose_for(session, exchange.choice.dr, len(exchange.frame))
            exchange.copies -= 1
        else:
            following = self._uplink(session, exchange.port, exchange.payload, confirmed=exchange.confirmed)
            following.left = exchange.left
        action = self._transmission(following)
        following.left -= 1
        self._exchange = following
        return action

    def _attempt_over(self, now: float, exchange: Exchange) -> Action:
        """Whatever came down says that the uplink was heard, acknowledged or not: it is not repeated (clause 4.3.1.3)."""
        if exchange.heard:
            return self._end(exchange)
        again_at = now + self._random.uniform(*RETRANSMIT)
        if exchange.left > 0:
            self._state = State.PAUSED
            return Pause(again_at)
        if exchange.confirmed:
            self._quiet_until = max(self._quiet_until, again_at)
        return self._end(exchange)

    def _end(self, exchange: Exchange, *, joined: bool = False) -> Done:
        self._exchange, self._state = None, State.IDLE
        return Done(joined, exchange.acknowledged, exchange.heard or joined, exchange.fcnt, tuple(exchange.received))

    def _window(self, exchange: Exchange, number: int) -> Listen:
        session = self._session if exchange.dev_nonce is None else None
        return window(self._region, session, exchange.choice, exchange.ended_at, number)

    # --- what came down -----------------------------------------------------------------------------------------------

    def _joined(self, exchange: Exchange, dev_nonce: int, data: bytes) -> Done:
        accept = read_join_accept(self.settings, data, self._joining.join_nonce)
        session = begin_session(self.settings, accept, dev_nonce, exchange.choice)
        self._joining.accepted(accept.join_nonce)  # first: else a replay could pass for an answer
        self._file.write(session)
        self._session, self._next_fcnt = session, 0
        self._quiet_until = -math.inf
        self._waiting.forget()
        self.more_waits = False
        return self._end(exchange, joined=True)

    def _heard(self, exchange: Exchange, data: bytes, snr: float) -> None:
        if self._session is None:
            raise ProtectionFailed("a downlink came without a session")
        heard = read_downlink(self._session, data)
        frame = heard.frame
        listened = self._session.replace(fcnt_down=frame.fcnt, adr_ack_cnt=0, sticky=b"")
        where = Surroundings(self._region, self.settings.adr, exchange.choice.dr, snr, self.battery)
        obeyed = obey(listened, heard.commands, where)
        still = silence(obeyed.session, exchange.choice, len(exchange.frame))
        session = obeyed.session.replace(sticky=sticky_part(obeyed.answers), quiet=min(listened.quiet, still))
        self._file.write(session)  # before anything of the frame has an effect
        self._session = session
        self._quiet_until = min(self._quiet_until, exchange.ended_at + still)  # a limit that was lifted is over
        self._waiting.answer(obeyed.answers)
        self._waiting.ack_due |= frame.confirmed
        self.more_waits = frame.fpending
        self._learn(exchange, obeyed)
        exchange.heard = True
        exchange.acknowledged = exchange.acknowledged or (exchange.confirmed and frame.ack)
        if frame.port is not None and 1 <= frame.port <= LAST_APPLICATION_PORT:
            exchange.received.append(Received(frame.port, frame.payload))

    def _learn(self, exchange: Exchange, obeyed: Obeyed) -> None:
        """Answers to questions; one that was not asked is none."""
        asked = exchange.options.asked
        if obeyed.link is not None and LinkCheckReq() in asked:
            self.link = obeyed.link
        if (time := obeyed.time) is not None and DeviceTimeReq() in asked:
            self.time = (utc_of_gps(time.gps_seconds + time.fraction / 256), exchange.ended_at)

    def _idle(self) -> None:
        if self._exchange is not None:
            raise RuntimeError(f"the MAC is {self._state.value}: one exchange at a time")

    def _expect(self, *states: State) -> Exchange:
        """The present exchange; anything out of turn is a defect of the caller's."""
        if self._exchange is None or self._state not in states:
            raise RuntimeError(f"the MAC is {self._state.value}, not {' or '.join(each.value for each in states)}")
        return self._exchange
