"""The driver `lorawan_chip`: a LoRaWAN 1.0.4 class A device on a bare transceiver.

Rules of this file: life of the radio, and messages; what a frame says and when it may be sent is the MAC's (mac/), when a
window opens class_a_radio.py's.

Evidence: PORT the transceiver was lost, RADIO it answers, REGISTERED the session is in doubt, BEARER there is one.  It
outlives the process: `attach` joins only where there is none, or where long silence or the recovery `rejoin` puts it in
doubt; then the old one lives on until the network has answered.  Handover: the network has acknowledged an uplink.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Any

from rataccess.driver import (
    Allowance,
    Bearer,
    Driver,
    DriverContext,
    Evidence,
    RadioMessage,
    RadioStatus,
    Recovery,
)
from rataccess.errors import (
    AttachFailed,
    Closed,
    DriverError,
    KeyStoreError,
    NotNow,
    PacketTooLarge,
    PortLost,
    RataccessError,
    SequenceExhausted,
    StoreError,
    TransportBroken,
)
from rataccess.lorawan.regions import REGIONS
from rataccess.transport import Handover, Hints
from rataccess_drivers.charging import AirtimeCharges
from rataccess_drivers.lora import class_a_view as view
from rataccess_drivers.lora.airtime_ledger import AirtimeLedger
from rataccess_drivers.lora.class_a_doubt import Doubt
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions, check_radio, settings
from rataccess_drivers.lora.class_a_radio import ClassARadio, Margins
from rataccess_drivers.lora.mac import Action, Done, Mac
from rataccess_drivers.lora.spi import GpioOpener, SpiOpener
from rataccess_drivers.lora.transceiver import Transceiver, open_transceiver
from rataccess_drivers.lora.wirings import resolve

log = logging.getLogger("rataccess.lorawan")

KEPT = 64
"""Downlinks that wait for `receive_message`; more than a network sends in a day.  The oldest are given up first."""
DISK_RETRY = 30.0
"""Seconds until another attempt where the store could not keep what must be kept first."""
ASK_TIME_EVERY = 86_400.0
ASK_TIME_AGAIN = 3_600.0
"""Seconds until the next question where the network gave no answer."""


class LoRaWanChipDriver(Driver):
    """A class A device; `MovesMessages`, `Rationed` and `KnowsTime`."""

    options_type = LoRaWanChipOptions
    transports = ("lorawan",)

    def __init__(
        self,
        options: LoRaWanChipOptions,
        context: DriverContext,
        *,
        open_spi: SpiOpener | None = None,
        open_gpio: GpioOpener | None = None,
        transceiver: Transceiver | None = None,
        chance: Random | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self._name = context.name
        self._context = context
        self._chance = chance or SystemRandom()
        self._radio = transceiver or open_transceiver(
            options.transceiver, context.name, open_spi=open_spi, open_gpio=open_gpio
        )
        self._region = REGIONS[options.region]
        check_radio(self._region, self._radio)
        self._ledger = AirtimeLedger(
            self._region.bands, context.memory, f"driver/{context.name}/airtime", context.clock
        )
        self._charges = AirtimeCharges()
        self._ledger.on_spent = self._charges.spent
        self.on_charge = self._charges.on_charge
        """See `Charges`: repetitions, joins, and uplinks that carry no message."""
        self._mac: Mac | None = None
        self._class_a: ClassARadio | None = None
        self._exchange: asyncio.Task[Done] | None = None
        self._turn = asyncio.Lock()
        self._received: deque[RadioMessage] = deque(maxlen=KEPT)
        self._news = asyncio.Event()
        self._trouble: RataccessError | None = Closed(f"{context.name} is not open")
        self._told: Evidence | None = None
        self._rejoin = False
        self._doubt = Doubt(options.unacknowledged_limit)
        self._ask_time_at = 0.0
        self._hints = view.HintsNews(lambda: self.message_hints)

    def __repr__(self) -> str:
        return f"<LoRaWanChipDriver {self._name} {self._mac or 'closed'}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> LoRaWanChipDriver:
        """See `Driver.create`; raises `ConfigurationError`."""
        return cls(options, context)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`; raises `KeyStoreError` where the AppKey is missing, before it touches the radio."""
        if self._trouble is None:
            return
        told = settings(self.options, self._context)
        await self._radio.aclose()
        await self._radio.open()
        if self._mac is None:
            self._ask_time_at = now = self._now()
            self._mac = Mac(told, self._context.memory, f"driver/{self._name}", self._ledger, self._chance, now)
            self._doubt.begin(self._mac.session)
        margins = Margins(self.options.wake_latency, self.options.clock_error)
        self._class_a = ClassARadio(self._radio, self._mac, margins)
        begins, self._trouble = isinstance(self._trouble, Closed), None
        self._told = self._evidence() if begins else self._told

    async def attach(self) -> Bearer:
        """Join where there is no session; one request each time.  See `Driver.attach`."""
        if isinstance(self._trouble, DriverError):
            await self.open()
        mac = self._usable()
        if mac.session is None or self._rejoin:
            async with self._turn:
                if mac.session is None or self._rejoin:
                    await self._join(self._usable())
        self._tell()
        return Bearer("lorawan")

    async def _join(self, mac: Mac) -> None:
        before = mac.rejected.copy()
        try:
            done = await self._carry(lambda: mac.join(self._now()))
        except NotNow as error:
            if self._keeps_session(mac):
                return
            raise AttachFailed(error.reason, error.retry_after) from error
        except (KeyStoreError, SequenceExhausted) as error:
            if not self._keeps_session(mac):
                raise
            log.warning("%s cannot join anew, and keeps its session: %s", self._name, error)
            return
        if done.joined:
            self._rejoin, self._ask_time_at = False, self._now()
            log.info("%s has joined: %r", self._name, mac.session)
        elif not self._keeps_session(mac):
            reason = view.why_not_joined(self.options, mac, mac.rejected - before)
            raise AttachFailed(reason, mac.join_wait(self._now()))

    def _keeps_session(self, mac: Mac) -> bool:
        """A rejoin that nobody answered: the old session is still worth something."""
        self._rejoin = False
        return mac.session is not None

    async def status(self) -> RadioStatus:
        """See `Driver.status`; a transceiver that sleeps is woken for a look at the channel, which needs all of it."""
        self._check()
        mac = self._usable()
        if self._exchange is not None:
            await self._radio.probe()
        elif self._class_a is not None:
            await self._class_a.look(self._region.rx2_frequency, mac.modulation)
        self._check()
        return self._status()

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._trouble = Closed(f"{self._name} is closed")
        self._news.set()
        self._hints.stop()
        await self._stop_exchange()
        if self._mac is not None:
            self._mac.give_back()
        self._mac = self._class_a = None
        await self._radio.aclose()

    async def _stop_exchange(self) -> None:
        if (exchange := self._exchange) is not None:
            exchange.cancel()
            await asyncio.wait({exchange})

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`; the reset line where it is wired."""
        wired = self.options.transceiver
        reset = wired.reset or (resolve(wired).reset if wired.wiring else None)
        rungs = [Recovery("radio off/on", self._off_and_on, deadline=5.0)]
        if reset is not None:
            rungs.append(Recovery("reset line", self._reset, deadline=5.0, attempts=2))
        return (*rungs, Recovery("rejoin", self._ask_to_rejoin, deadline=1.0))

    async def _off_and_on(self) -> None:
        """Sleep and standby: what a confused chip forgets by that it is told again with the next exchange."""
        if isinstance(self._trouble, Closed):
            await self._reset()
            return
        await self._stop_exchange()
        await self._radio.sleep()
        await self._radio.probe()

    async def _reset(self) -> None:
        """Opening resets the chip and sets everything up anew."""
        await self._stop_exchange()
        await self._radio.aclose()
        await self._radio.open()
        if isinstance(self._trouble, Closed):
            await self._radio.aclose()
        else:
            self._trouble = None

    async def _ask_to_rejoin(self) -> None:
        """The network may have forgotten us: `attach` asks once, and keeps the session where nobody answers."""
        self._rejoin = self._mac is not None and self._mac.session is not None
        self._tell()

    def _evidence(self) -> Evidence:
        if self._trouble is not None:
            return Evidence.NONE if isinstance(self._trouble, Closed | PortLost) else Evidence.PORT
        if self._mac is None or self._mac.session is None:
            return Evidence.RADIO
        return Evidence.REGISTERED if self._rejoin else Evidence.BEARER

    def _status(self) -> RadioStatus:
        last = self._class_a.last if self._class_a is not None else None
        trouble = self._trouble
        detail = view.one_line(self.options, self._usable()) if trouble is None else " ".join(str(trouble).split())
        return view.status(self._evidence(), detail, self._mac, last)

    def _tell(self) -> None:
        """Announce a change of evidence, once."""
        if isinstance(self._trouble, Closed):
            return
        if (status := self._status()).evidence is not self._told:
            self._told = status.evidence
            self.announce(status)
        self._hints.tell()

    def allowances(self) -> Sequence[Allowance]:
        """See `Rationed`."""
        return self._ledger.allowances()

    async def network_time(self) -> float | None:
        """See `KnowsTime`; from the last DeviceTimeAns, which is as good as its network's clock."""
        if self._mac is None or self._mac.time is None:
            return None
        utc, at = self._mac.time
        return utc + self._now() - at

    @property
    def message_hints(self) -> Hints:
        """See `MovesMessages`: payload limit and modulation of the data rate now."""
        return view.hints(self.options, self._mac, self._now())

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages`."""
        return self._hints.on_change(callback)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def send_message(self, message: RadioMessage) -> Handover | None:
        """See `MovesMessages`; `message.port` is 1 to 223.  Returns when the receive windows are over.

        Cancelled, the message may be sent all the same.
        """
        async with self._turn:
            mac = self._usable()
            if len(message.data) > mac.room:
                raise PacketTooLarge(len(message.data), max(0, mac.room))
            self._questions(mac)
            confirmed = self.options.confirmed == "always"
            done = await self._carry(lambda: self._begin(mac, message, confirmed))
            self._look_for_doubt(mac, confirmed=confirmed, done=done)
            await self._fetch_more(mac)
        return Handover(f"FCnt {done.fcnt}") if done.acknowledged else None

    def _begin(self, mac: Mac, message: RadioMessage, confirmed: bool) -> Action:
        with self._charges.message(self.message_hints.tariff.units(len(message.data))):
            return mac.send(self._now(), message.port, message.data, confirmed=confirmed)

    def _look_for_doubt(self, mac: Mac, *, confirmed: bool, done: Done) -> None:
        if self._doubt.after(mac.session, unacknowledged=confirmed and not done.acknowledged):
            log.warning("%s: the network has long been silent; it may have lost the session", self._name)
            self._rejoin = True
            self._tell()

    def _questions(self, mac: Mac) -> None:
        if self.options.ask_time and self._now() >= self._ask_time_at and mac.room > view.USUAL_SIZE:
            mac.ask_time()
            self._ask_time_at = self._now() + ASK_TIME_AGAIN
        if self.options.link_check and mac.link is None and mac.room > view.USUAL_SIZE:
            mac.ask_link()

    async def _fetch_more(self, mac: Mac) -> None:
        """What the network still has (FPending) comes down after another uplink; an empty one costs least.  It also takes
        answers to MAC commands along that would leave no room for data."""
        for _ in range(self.options.fetch_pending):
            if not (mac.more_waits or (mac.owes and mac.room < view.USUAL_SIZE)):
                return
            try:
                done = await self._carry(lambda: mac.send(self._now(), None))
            except (NotNow, TransportBroken):
                return
            if not done.heard:
                return

    async def _carry(self, begin: Callable[[], Action]) -> Done:
        """One exchange, in a task of its own: whoever waits for it may be cancelled, its windows open all the same."""
        while self._exchange is not None:  # somebody has given up waiting for it; the radio is not free yet
            await asyncio.wait({self._exchange})
        self._usable()
        class_a = self._class_a
        assert class_a is not None
        try:
            action = begin()
        except StoreError as error:
            raise NotNow(f"the counters of {self._name} cannot be kept: {error}", DISK_RETRY) from error
        task = asyncio.create_task(self._exchanged(class_a, action), name=f"rataccess {self._name} lorawan")
        self._exchange = task
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            self._usable()  # not we were cancelled, but the exchange: by `aclose`, or a recovery
            raise TransportBroken(f"{self._name} was reset in the middle of an exchange") from None
        except DriverError as error:
            raise TransportBroken(f"the transceiver of {self._name} failed: {error}") from error

    async def _exchanged(self, class_a: ClassARadio, action: Action) -> Done:
        done = await class_a.run(action)
        for each in done.received:
            if len(self._received) == KEPT:
                log.warning("%s: nobody fetches downlinks; the oldest of %d is given up", self._name, KEPT)
            self._received.append(RadioMessage(each.payload, each.port))
            self._news.set()
        mac = self._usable()
        if mac.time is not None and mac.time[1] + ASK_TIME_AGAIN > self._now():
            self._ask_time_at = mac.time[1] + ASK_TIME_EVERY
        await class_a.rest()
        return done

    def _ended(self, task: asyncio.Task[Done]) -> None:
        self._exchange = None
        if task.cancelled():
            if self._mac is not None:
                self._mac.abandon()
        elif isinstance(error := task.exception(), DriverError):
            self._failed(error)
        elif error is not None:
            log.debug("%s: an exchange ended with %r", self._name, error)
        self._tell()

    def _failed(self, error: DriverError) -> None:
        if not isinstance(self._trouble, Closed):
            self._trouble = error
            self._news.set()

    async def receive_message(self) -> RadioMessage:
        """See `MovesMessages`."""
        while not self._received:
            self._usable()
            self._news.clear()
            await self._news.wait()
        return self._received.popleft()

    def _check(self) -> None:
        """Raises what ended the driver's work."""
        if self._trouble is not None:
            raise type(self._trouble)(*self._trouble.args)

    def _usable(self) -> Mac:
        if isinstance(self._trouble, Closed) or self._mac is None:
            raise Closed(f"{self._name} is closed")
        if self._trouble is not None:
            raise TransportBroken(f"the transceiver of {self._name} failed: {self._trouble}")
        return self._mac

    def _now(self) -> float:
        return self._context.clock.monotonic()
