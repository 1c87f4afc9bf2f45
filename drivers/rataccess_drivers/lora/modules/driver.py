"""Messages over a LoRaWAN module, and the three modules.

Rules of this file: uplinks, downlinks and hints.  No uplink is ever sent again: one without a known outcome is
`TransportBroken`, and the exchange decides.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rataccess.clock import EARLIEST_PLAUSIBLE
from rataccess.driver import Allowance, DriverContext, RadioMessage
from rataccess.errors import Closed, DriverError, NotNow, PacketTooLarge, RataccessError, TransportBroken
from rataccess.lorawan.airtime import Modulation
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.lora.modules import rak3172, rn2483, wio_e5
from rataccess_drivers.lora.modules.account import FRAME_OVERHEAD
from rataccess_drivers.lora.modules.commands import Transaction
from rataccess_drivers.lora.modules.events import Event, Kind, Why
from rataccess_drivers.lora.modules.options import Confirmed, DateOrder, ModuleOptions
from rataccess_drivers.lora.modules.radio import log
from rataccess_drivers.lora.modules.refusals import BUSY, uplink_error
from rataccess_drivers.lora.modules.session import ModuleSession

RESPONSE_TIME = 3.0
"""Usual seconds from an uplink to what the network answers to it: RX1 after 1 s, RX2 after 2 (RP002 table 4)."""
OWN_UPLINK = 8.0
"""Seconds for an empty uplink, with RX1 5 s after it as some networks have it."""


class ModuleDriver(ModuleSession):
    """A LoRaWAN module; subclasses say which."""

    def __init__(
        self,
        options: ModuleOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        gpio_opener: OpenLine = open_line,
    ) -> None:
        super().__init__(options, context, open_line=open_line, gpio_opener=gpio_opener)
        self._sending = asyncio.Lock()
        self._confirmed = options.confirmed is Confirmed.ALWAYS
        self._repeats = self.profile.transmissions
        self._unasked = asyncio.Event()
        self._crowded = False  # MAC commands left no room for an uplink that should have fitted
        self._data_rate = max(self.region.data_rates) if options.data_rate is None else options.data_rate
        self._uplinks = 0
        self._hints_callbacks: list[Callable[[Hints], None]] = []
        self._hints = self._first_hints()

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> ModuleDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- hints --------------------------------------------------------------------------------------------------------

    def _first_hints(self) -> Hints:
        modulation = self.region.data_rates[self._data_rate]
        return Hints(
            "lorawan",
            mtu=self.region.max_payload(self._data_rate),
            downlink=Downlink.AFTER_UPLINK,
            response_time=RESPONSE_TIME,
            bitrate=_bitrate(modulation),
            overhead=FRAME_OVERHEAD,
            acknowledges_handover=self._confirmed,
            unit=Unit.AIRTIME,
            repeats=self._repeats if self._confirmed else 1,
            modulation=modulation,
            compact=True,
        )

    @property
    def message_hints(self) -> Hints:
        """See `MovesMessages`: payload limit and modulation of the data rate that the module has now."""
        return self._hints

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages`."""
        self._hints_callbacks.append(callback)
        return lambda: self._hints_callbacks.remove(callback) if callback in self._hints_callbacks else None

    def _change_hints(self, **changes: Any) -> None:
        new = replace(self._hints, **changes)
        if new != self._hints:
            self._hints = new
            for callback in tuple(self._hints_callbacks):
                callback(new)

    async def _learn_repeats(self) -> None:
        """How often a confirmed uplink goes out at most: the module's setting and one."""
        if self._confirmed and self.profile.ask_retries is not None:
            answer = await self.ask(self.profile.ask_retries)
            if answer is not None and answer.isdecimal():
                self._repeats = int(answer) + 1
                self._change_hints(repeats=self._repeats)

    async def _learn_limits(self) -> None:
        """The data rate now, and what fits; the network may have changed both with any downlink."""
        answer = await self.ask(self.profile.ask_data_rate)
        if answer is not None and int(answer) in self.region.data_rates:
            self._data_rate = int(answer)
        limit = self.region.max_payload(self._data_rate)
        if self.profile.ask_limit is not None and (told := await self.ask(self.profile.ask_limit)) is not None:
            limit = int(told) or limit  # 0 until an empty uplink has taken the MAC commands along
        modulation = self.region.data_rates[self._data_rate]
        self._change_hints(mtu=limit, modulation=modulation, bitrate=_bitrate(modulation))

    def allowances(self) -> Sequence[Allowance]:
        """See `Rationed`: what is left of the hour's air time in the sub-band of the join channels."""
        return self._account.allowances()

    # --- messages -----------------------------------------------------------------------------------------------------

    async def receive_message(self) -> RadioMessage:
        """See `MovesMessages`."""
        return await self._downlinks.get()

    async def send_message(self, message: RadioMessage) -> Handover | None:
        """See `MovesMessages`.

        A `Handover` where the network has acknowledged a confirmed uplink; `None` where it was sent and nothing is known.
        """
        async with self._sending:
            self._check_usable()
            size = len(message.data)
            if size > self._hints.mtu:
                raise PacketTooLarge(size, self._hints.mtu)
            answer = await self._transmit(message, confirmed=self._confirmed)
            if answer.refusal is not None:
                await self._refuse(answer.refusal, size)
            acknowledged = self._outcome(answer)
            try:
                reference = await self._after_uplink()
            finally:
                if self._forsaken:
                    # Told once this outcome has been: whoever hears of it may close what waits for the outcome.
                    asyncio.get_running_loop().call_soon(self._give_up_session)
            return Handover(reference) if acknowledged else None

    def _check_usable(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is closed")
        if not self._joined:
            raise TransportBroken(f"{self.name}: {self._detail}")

    async def _transmit(self, message: RadioMessage, *, confirmed: bool, paid: int = 1) -> Transaction:
        """Tell the module to send; `TransportBroken` where it is not known whether it did.

        `paid`: of so many transmissions whoever sent the message keeps count.
        """
        *before, sending = self.profile.uplink(message.port, message.data.hex().upper(), confirmed)
        times = 0
        try:
            for command in before:
                await self.obey(command)
            times = self._repeats if confirmed else 1  # at most, where nobody sees its end
            answer = await self.run(sending)
            if answer.refusal is not None and answer.refusal.why is Why.PAUSED and self.profile.resume is not None:
                await self.obey(self.profile.resume)
                answer = await self.run(sending)
            times = self._transmissions(answer, confirmed)
        except Closed:
            raise
        except DriverError as error:
            self.lose(f"what became of an uplink is not known: {error}")
            raise TransportBroken(f"{self.name}: what became of an uplink is not known: {error}") from error
        finally:  # also where nobody waits for the outcome any more
            once = self._hints.tariff.units(len(message.data))
            self._account.spend(times * once)
            self._charges.charge((times - paid) * once)
        return answer

    def _transmissions(self, answer: Transaction, confirmed: bool) -> int:
        """How often an uplink went out, as far as can be known; 0 where it was refused."""
        if answer.refusal is not None:
            return 0
        return self._repeats if confirmed and not answer.has(*self.profile.acked) else 1

    async def _refuse(self, refusal: Event, size: int) -> None:
        """Raise what the module's words mean; nothing was sent."""
        self._unasked.clear()
        if refusal.why in (Why.NOT_JOINED, Why.COUNTER, Why.MODE):
            self._rejoin = self._rejoin or refusal.why is Why.COUNTER
            self._stale = self._stale or refusal.why is not Why.COUNTER  # it has probably started anew, unheard
            self.lose(f"{self.name}: {refusal.why.value}")
        elif refusal.why in (Why.LENGTH, Why.PARAMETER, Why.RATE):
            with contextlib.suppress(DriverError):
                await self._learn_limits()
                await self._own_uplink()
        if refusal.limit:
            self._change_hints(mtu=refusal.limit)
        spent = self._hints.tariff.units(size)
        pause = self._account.pause_after(spent)
        error = uplink_error(self.name, refusal, size, self._hints.mtu, pause, again=self._crowded)
        if refusal.why in (Why.LENGTH, Why.PARAMETER):
            self._crowded = isinstance(error, NotNow)
            if self._crowded and self.profile.flushes:
                self._pending = True
                self._fetch()
        if refusal.why is Why.DUTY:
            self._account.shut(getattr(error, "retry_after", 0.0))
        raise error

    def _outcome(self, answer: Transaction) -> bool:
        """Whether the network has acknowledged it; raises `NotNow` where it was not sent."""
        self._uplinks += 1
        self._crowded = False
        if not self._confirmed:
            if answer.has(Kind.FAILED):
                raise NotNow(f"{self.name}: the module says that it could not send", BUSY)
            return False
        if not answer.has(*self.profile.acked):
            self._unacknowledged += 1
            if answer.has(Kind.SENT):  # without waiting for an acknowledgement: the module is not set up as it was
                self._stale = True
            return False
        self._unacknowledged = 0
        return True

    @property
    def _forsaken(self) -> bool:
        """Whether so many confirmed uplinks were not acknowledged that the session must be dead, or the module is not as it
        was set up.
        """
        return self._stale or 0 < self.options.unacknowledged_limit <= self._unacknowledged

    def _give_up_session(self) -> None:
        if not (self._open and self._joined and self._forsaken):
            return
        if self._stale:
            self.lose("the module does not ask for acknowledgements any more: it is set up again")
        else:
            self._rejoin = True
            self.lose(f"the last {self._unacknowledged} confirmed uplinks were not acknowledged")

    async def _after_uplink(self) -> str:
        """What is asked once the outcome is known, and may not spoil it; the uplink's number, for logs."""
        reference = f"uplink {self._uplinks}"
        try:
            if self.profile.ask_counter is not None and (told := await self.ask(self.profile.ask_counter)) is not None:
                reference = f"uplink counter {told}"
            await self._learn_limits()
            if self.options.sleep and not self._pending:
                await self._rest()
        except DriverError as error:
            log.warning("%s: after an uplink: %s", self.name, error)
        if self._pending and self.options.fetch_pending:
            self._fetch()
        return reference

    def _fetch(self) -> None:
        if self._joined and self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_pending(), name=f"rataccess {self.name} downlinks")

    async def _rest(self) -> None:
        command, port = self.profile.rest, self._port
        if command is None or port is None:
            return
        if self.profile.rests_silently:
            port.write(command.text.encode("ascii") + self.profile.end)
            self._asleep = True
        else:
            self._asleep = (await self.run(command)).refusal is None

    def _heard(self, event: Event) -> None:
        super()._heard(event)
        port = self._port
        if event.kind is Kind.SENT and self.profile.sends_by_itself and port is not None and not port.asked:
            once = self._hints.tariff.units(0)
            self._account.spend(once)
            self._charges.charge(once)
            self._unasked.set()

    async def _own_uplink(self) -> None:
        """Let the module send what it sends by itself when it refuses an uplink that is too long: it takes nothing else."""
        if self.profile.sends_by_itself:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OWN_UPLINK):
                    await self._unasked.wait()

    async def _fetch_pending(self) -> None:
        """Empty uplinks while the network holds more than it has sent, or one to take MAC commands along."""
        try:
            for _ in range(max(1, self.options.fetch_pending)):
                async with self._sending:
                    if not (self._pending and self._joined):
                        return
                    self._pending = False
                    answer = await self._transmit(RadioMessage(b"", 1), confirmed=False, paid=0)
                    if answer.refusal is not None:
                        return
                    await self._learn_limits()
        except RataccessError as error:
            log.warning("%s: what the network still holds was not fetched: %s", self.name, error)
        finally:
            self._pending = False
            self._fetching = None


class Rak3172Driver(ModuleDriver):
    """RAKwireless RAK3172 and others with RUI3."""

    profile = rak3172.RAK3172

    async def network_time(self) -> float | None:
        """See `KnowsTime`: what the network answered to the first uplink (DeviceTimeAns)."""
        self._check_open()
        if self._port is None or self._port.busy:
            return None
        answer = await self.run(rak3172.LOCAL_TIME)
        if answer.match is None:
            return None
        hour, minute, second, first, then, year = (int(group) for group in answer.match.groups())
        month, day = (first, then) if self.options.date_order is DateOrder.MONTH_FIRST else (then, first)
        if month > 12:
            month, day = day, month
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        found = float(calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0)))
        return found if found >= EARLIEST_PLAUSIBLE else None


class WioE5Driver(ModuleDriver):
    """Seeed Wio-E5 (LoRa-E5)."""

    profile = wio_e5.WIO_E5


class Rn2483Driver(ModuleDriver):
    """Microchip RN2483 and RN2903."""

    profile = rn2483.RN2483


def _bitrate(modulation: Modulation) -> float:
    """Bits per second of the payload (Semtech AN1200.22): SF · BW / 2^SF · 4/CR."""
    factor = modulation.spreading_factor
    return factor / modulation.symbol_time * 4 / modulation.coding_rate
