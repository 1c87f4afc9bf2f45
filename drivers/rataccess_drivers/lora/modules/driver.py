"""The driver of LoRaWAN modules, and the three of them.

Rules of this file: the order of things; what is written and how answers are read is in the profile.  Nothing is retried
beyond what the modules' manuals demand, and no uplink is ever sent again: one without a known outcome is `TransportBroken`,
and the exchange decides.

Evidence: PORT the port is open, RADIO the module answers, BEARER it has joined.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rataccess.clock import EARLIEST_PLAUSIBLE
from rataccess.driver import Allowance, Bearer, DriverContext, RadioMessage, RadioStatus, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    DriverError,
    PacketTooLarge,
    RadioSilent,
    RataccessError,
    TransportBroken,
    WrongRadio,
)
from rataccess.lorawan.airtime import Modulation
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.lora.modules import rak3172, rn2483, wio_e5
from rataccess_drivers.lora.modules.account import FRAME_OVERHEAD, AirtimeAccount, JoinBackoff
from rataccess_drivers.lora.modules.commands import Transaction
from rataccess_drivers.lora.modules.configuring import Configuration
from rataccess_drivers.lora.modules.events import Event, Kind, Why
from rataccess_drivers.lora.modules.options import Confirmed, DateOrder, ModuleOptions
from rataccess_drivers.lora.modules.radio import ModuleRadio, log, refused
from rataccess_drivers.lora.modules.recovery import Repairs
from rataccess_drivers.lora.modules.refusals import join_wait, uplink_error

RESPONSE_TIME = 3.0
"""Usual seconds from an uplink to what the network answers to it: RX1 after 1 s, RX2 after 2 (RP002 table 4)."""


class ModuleDriver(ModuleRadio):
    """A LoRaWAN module; subclasses say which."""

    options_type = ModuleOptions

    def __init__(
        self,
        options: ModuleOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        gpio_opener: OpenLine = open_line,
    ) -> None:
        super().__init__(options, context, open_line=open_line)
        memory, clock = context.memory, context.clock
        self._configuration = Configuration(self, self.profile, options, context, self._restart)
        self._backoff = JoinBackoff(memory, f"driver/{self.name}/join", clock)
        self._account = AirtimeAccount(self.region, memory, f"driver/{self.name}/airtime", clock)
        self._repairs = Repairs(self, self.name, options, self.profile, gpio_opener)
        self._attaching = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._fetching: asyncio.Task[None] | None = None
        self._confirmed = options.confirmed is Confirmed.ALWAYS
        self._data_rate = max(self.region.data_rates) if options.data_rate is None else options.data_rate
        self._rejoin = False
        self._unacknowledged = 0
        self._uplinks = 0
        self._hints_callbacks: list[Callable[[Hints], None]] = []
        self._hints = self._first_hints()

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> ModuleDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`.

        `WrongRadio` names what answers where it is another module, one of another region, or one with another DevEUI than
        configured.
        """
        if self._open:
            return
        self._planned = True  # it may be starting just now
        self._repairs.supply()
        try:
            await self.open_port()
            await self._identify()
        except BaseException:
            await self.aclose()
            raise
        self._account.restore()
        self._planned = False
        self._detail = f"{self.model} answers and has not joined yet"
        self._open = True

    async def _identify(self) -> None:
        answer = await self.run(self.profile.identify)
        found = answer.match
        text = "" if found is None else (found.string if found.re.groups > 1 else found.group(1)).strip()
        if answer.refusal is not None or not self.profile.model.search(text):
            said = repr(text) if text else "nothing that names it"
            raise WrongRadio(f"{self.name}: the module says {said}; expected was a {self.profile.name}")
        self.model = text[:60]
        for model, regions in self.profile.models.items():
            if text.startswith(model) and self.options.region not in regions:
                raise WrongRadio(
                    f"{self.name}: the module is an {model}, made for {', '.join(regions)}; the configuration says"
                    f" {self.options.region}"
                )
        await self._configuration.check_dev_eui()

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._open = False
        self._joined = False
        self._told = None
        task, self._fetching = self._fetching, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._downlinks.close()
        await self.close_port()

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`."""
        return self._repairs.ladder()

    async def reset_by_command(self) -> None:
        """For `Repairs`."""
        if self.profile.reset is not None:
            with contextlib.suppress(RadioSilent, CommandFailed):  # it may start before it answers
                await self.run(self.profile.reset)

    async def _restart(self, why: str) -> None:
        """For `Configuration`: the module has to start anew, or does so already."""
        self.restarting(why)
        await self.reset_by_command()
        self._answers = False
        await self._repairs.answers_again()
        self._planned = False

    # --- attaching ----------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`.  A module that has joined before does not join again."""
        self._check_open()
        async with self._attaching:
            self._check_open()
            try:
                if not self._joined:
                    await self._attach()
            except CommandFailed as error:
                raise AttachFailed(str(error)) from error
        self._check_open()
        return Bearer("lorawan")

    async def _attach(self) -> None:
        if not self._answers:
            await self.open_port()
        self._planned = False
        joined = not self._rejoin and await self._is_joined()
        if self._stale:
            await self._configuration.apply(joined=joined)
            joined = joined and await self._is_joined()
        self._stale = False
        if not joined:
            await self._join()
        if self._stale:
            raise AttachFailed(f"{self.name} lost its session while it was brought up: {self._detail}")
        await self._learn_limits()
        self._begin()

    def _begin(self) -> None:
        self._rejoin = False
        self._unacknowledged = 0
        self._joined = True
        self._detail = f"{self.model} has joined as {self.dev_eui or 'itself'}"
        self._downlinks.begin()
        self._told = self._standing()

    async def _is_joined(self) -> bool:
        """Whether the module says so; one that cannot be asked says it when it is told to join."""
        if self.profile.ask_joined is None:
            return False
        answer = await self.ask(self.profile.ask_joined)
        return answer is not None and self.profile.joined(answer)

    async def _join(self) -> None:
        await self._configuration.write_key()
        answer = await self._ask_to_join()
        if answer.refusal is not None and answer.refusal.why is Why.KEYS:
            if not await self._configuration.write_key(always=True):
                raise AttachFailed(
                    f"{self.name}: the module has no keys; put its AppKey into the key store as `{self.name}.appkey`"
                )
            answer = await self._ask_to_join()
        if answer.refusal is not None:
            event = answer.refusal
            raise AttachFailed(
                f"{self.name}: {refused(self.profile.join, event)}", join_wait(event, lambda: self._join_backoff())
            )
        if not answer.has(Kind.JOINED, Kind.ALREADY):
            self._configuration.key_failed()
            raise AttachFailed(
                f"{self.name}: no network has accepted {self.dev_eui or 'the module'} in {self.options.region}; out of"
                " reach, not registered there, or another AppKey",
                self._join_backoff(),
            )
        self._backoff.joined()
        self._configuration.key_worked()
        await self._after_joining()

    async def _ask_to_join(self) -> Transaction:
        command = self.profile.rejoin if self._rejoin and self.profile.rejoin is not None else self.profile.join
        answer = await self.run(command)
        if answer.refusal is not None and answer.refusal.why is Why.PAUSED and self.profile.resume is not None:
            await self.obey(self.profile.resume)
            answer = await self.run(command)
        return answer

    def _join_backoff(self) -> float:
        slowest = self.region.data_rates[min(self.region.join_data_rates)]
        return self._backoff.failed(slowest)

    async def _after_joining(self) -> None:
        """What the first uplink is to ask of the network beside; a module that cannot is none the worse."""
        wanted = [self.profile.link_check if self.options.link_check else None]
        if not self._context.clock.wall_known():
            wanted.append(self.profile.ask_time)
        for command in wanted:
            if command is not None and (await self.run(command)).refusal is not None:
                log.info("%s: the module refuses %s", self.name, command.label)

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`; one short question.  While the module is busy with an uplink or a join it is not asked."""
        self._check_open()
        port = self._port
        if port is None:
            raise RadioSilent(f"{self.name}: the module is silent")
        if port.busy or self._asleep:
            return self._standing()
        if self.profile.ask_joined is None:
            await self.run(self.profile.probe)
        else:
            answer = await self.ask(self.profile.ask_joined)
            if self._joined and answer is not None and not self.profile.joined(answer):
                self._stale = True
                self.lose("the module has not joined any more")
        self._answers = True
        return self._standing()

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

    async def _learn_limits(self) -> None:
        """The data rate now, and what fits; the network may have changed both with any downlink."""
        answer = await self.ask(self.profile.ask_data_rate)
        if answer is not None and int(answer) in self.region.data_rates:
            self._data_rate = int(answer)
        limit = self.region.max_payload(self._data_rate)
        if self.profile.ask_limit is not None and (told := await self.ask(self.profile.ask_limit)) is not None:
            limit = int(told)
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
            handover = self._outcome(answer, size)
            await self._after_uplink()
            return handover

    def _check_usable(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is closed")
        if not self._joined:
            raise TransportBroken(f"{self.name}: {self._detail}")

    async def _transmit(self, message: RadioMessage, *, confirmed: bool) -> Transaction:
        """Tell the module to send; `TransportBroken` where it is not known whether it did."""
        *before, sending = self.profile.uplink(message.port, message.data.hex().upper(), confirmed)
        try:
            for command in before:
                await self.obey(command)
            answer = await self.run(sending)
            if answer.refusal is not None and answer.refusal.why is Why.PAUSED and self.profile.resume is not None:
                await self.obey(self.profile.resume)
                answer = await self.run(sending)
        except Closed:
            raise
        except DriverError as error:
            self.lose(f"what became of an uplink is not known: {error}")
            raise TransportBroken(f"{self.name}: what became of an uplink is not known: {error}") from error
        return answer

    async def _refuse(self, refusal: Event, size: int) -> None:
        """Raise what the module's words mean; nothing was sent."""
        if refusal.why in (Why.NOT_JOINED, Why.COUNTER):
            self._rejoin = self._rejoin or refusal.why is Why.COUNTER
            self.lose(refusal.why.value)
        elif refusal.why in (Why.LENGTH, Why.PARAMETER, Why.RATE):
            with contextlib.suppress(DriverError):
                await self._learn_limits()
        if refusal.limit is not None:
            self._change_hints(mtu=refusal.limit)
        spent = self._hints.tariff.units(size)
        error = uplink_error(self.name, refusal, size, self._hints.mtu, self._account.pause_after(spent))
        if refusal.why is Why.DUTY:
            self._account.shut(getattr(error, "retry_after", 0.0))
        raise error

    def _outcome(self, answer: Transaction, size: int) -> Handover | None:
        self._uplinks += 1
        self._account.spend(self._hints.tariff.units(size))
        if not self._confirmed:
            return None
        if not answer.has(*self.profile.acked):
            self._miss()
            return None
        self._unacknowledged = 0
        return Handover(f"uplink {self._uplinks}")

    def _miss(self) -> None:
        """One more confirmed uplink without an acknowledgement; many of them mean that the session is dead."""
        self._unacknowledged += 1
        limit = self.options.unacknowledged_limit
        if limit and self._unacknowledged >= limit:
            self._rejoin = True
            self.lose(f"the last {self._unacknowledged} confirmed uplinks were not acknowledged")

    async def _after_uplink(self) -> None:
        """What is asked once the outcome is known; nothing of it may spoil that."""
        try:
            await self._learn_limits()
            if self.options.sleep and not self._pending:
                await self._rest()
        except DriverError as error:
            log.warning("%s: after an uplink: %s", self.name, error)
        if self._pending and self._joined and self.options.fetch_pending and self._fetching is None:
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

    async def _fetch_pending(self) -> None:
        """Empty uplinks while the network holds more than it has sent."""
        try:
            for _ in range(self.options.fetch_pending):
                async with self._sending:
                    if not (self._pending and self._joined):
                        return
                    self._pending = False
                    answer = await self._transmit(RadioMessage(b"", 1), confirmed=False)
                    if answer.refusal is not None:
                        return
                    self._account.spend(self._hints.tariff.units(0))
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
