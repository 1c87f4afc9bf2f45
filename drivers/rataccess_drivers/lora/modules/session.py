"""A module's session with its network: found, identified, set up, joined, asked.

Rules of this file: the order of things; what is written and how answers are read is in the profile.  Nothing is retried
beyond what the modules' manuals demand.

Evidence: PORT the port is open, RADIO the module answers, BEARER it has joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from rataccess.driver import Bearer, DriverContext, RadioStatus, Recovery
from rataccess.errors import AttachFailed, CommandFailed, RadioSilent, WrongRadio
from rataccess_drivers.byteline import OpenByteLine
from rataccess_drivers.charging import AirtimeCharges
from rataccess_drivers.gpio import OpenLine
from rataccess_drivers.lora.modules.account import JOIN_REQUEST, AirtimeAccount, JoinBackoff
from rataccess_drivers.lora.modules.commands import Transaction
from rataccess_drivers.lora.modules.configuring import Configuration
from rataccess_drivers.lora.modules.events import Kind, Why
from rataccess_drivers.lora.modules.lines import redacted
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_drivers.lora.modules.radio import ModuleRadio, log, refused
from rataccess_drivers.lora.modules.recovery import Repairs
from rataccess_drivers.lora.modules.refusals import join_wait


class ModuleSession(ModuleRadio, ABC):
    """What a `Driver` is; `ModuleDriver` moves messages."""

    options_type = ModuleOptions
    transports = ("lorawan",)

    def __init__(
        self, options: ModuleOptions, context: DriverContext, *, open_line: OpenByteLine, gpio_opener: OpenLine
    ) -> None:
        super().__init__(options, context, open_line=open_line)
        memory, clock = context.memory, context.clock
        self._configuration = Configuration(self, self.profile, options, context, self._restart)
        self._backoff = JoinBackoff(memory, f"driver/{self.name}/join", clock)
        self._account = AirtimeAccount(self.region, memory, f"driver/{self.name}/airtime", clock)
        self._charges = AirtimeCharges()
        self.on_charge = self._charges.on_charge
        """See `Charges`: repetitions as far as they are known, and joins."""
        self._repairs = Repairs(self, self.name, options, self.profile, gpio_opener)
        self._attaching = asyncio.Lock()
        self._fetching: asyncio.Task[None] | None = None
        self._rejoin = False
        self._unacknowledged = 0

    @abstractmethod
    async def _learn_limits(self) -> None:
        """Ask for what fits into an uplink now."""

    @abstractmethod
    async def _learn_repeats(self) -> None:
        """Ask how often an uplink may go out."""

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
        if answer.match is None:  # a line that was left from before may have ended it
            answer = await self.run(self.profile.identify)
        if answer.refusal is not None and answer.refusal.why is Why.UNKNOWN:  # as its bootloader does
            await self.reset_by_command()
            await self._repairs.answers_again()
            answer = await self.run(self.profile.identify)
        if answer.refusal is not None and answer.refusal.why is Why.BUSY:
            raise RadioSilent(f"{self.name}: the module is busy and does not say what it is")
        found = answer.match
        text = "" if found is None else (found.string if found.re.groups > 1 else found.group(1)).strip()
        if answer.refusal is not None or not self.profile.model.search(text):
            said = repr(redacted(text)) if text else "nothing that names it"
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
        self._check_open()  # it may have been closed meanwhile: nothing is sent any more
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
            finally:
                if (
                    not self._open
                ):  # closed meanwhile, perhaps while the module started anew and the port was opened again
                    await self.close_port()
        self._check_open()
        return Bearer("lorawan")

    async def _attach(self) -> None:
        if not self._answers:
            await self.open_port()
        self._planned = False
        self._rejoin = self._rejoin or not self._configuration.trusted
        joined = not self._rejoin and await self._is_joined()
        if self._stale:
            await self._configuration.apply(joined=joined)
            self._rejoin = self._rejoin or self._configuration.renewed
            joined = joined and not self._rejoin
        self._stale = False
        if not joined:
            await self._join()
        if self._stale:
            raise AttachFailed(f"{self.name} lost its session while it was brought up: {self._detail}")
        await self._learn_repeats()
        await self._learn_limits()
        self._begin()

    def _begin(self) -> None:
        self._rejoin = self._configuration.renewed = False
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
        return answer is not None and self.profile.joined(answer, self.model)

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
            self._stale = self._stale or event.why is Why.MODE
            raise AttachFailed(
                f"{self.name}: {refused(self.profile.join, event)}", join_wait(event, lambda: self._join_backoff())
            )
        if not answer.has(Kind.JOINED, Kind.ALREADY, Kind.ADDRESS):  # some only tell the address
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
        if answer.refusal is None and not answer.has(Kind.ALREADY):
            fastest = self.region.data_rates[max(self.region.join_data_rates)]
            spent = math.ceil(1000 * fastest.time_on_air(JOIN_REQUEST))
            self._account.spend(spent)
            self._charges.charge(spent)
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
            if self._joined and answer is not None and not self.profile.joined(answer, self.model):
                self._stale = True
                self.lose("the module has not joined any more")
        self._answers = True
        return self._standing()
