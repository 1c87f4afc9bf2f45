"""The driver `lora_private`: a node of a private LoRa network.

Rules of this file: life of the radio and messages; what a frame is and when it is sent again is the link protocol's.

Evidence: PORT the transceiver was identified, BEARER the hub has answered.  A hub that left two messages unanswered is gone:
`attach` asks for it with one small frame.  Handover: the hub has acknowledged the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
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
from rataccess.errors import AttachFailed, Closed, NotNow, PacketTooLarge, RataccessError, TransportBroken
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.charging import AirtimeCharges
from rataccess_drivers.lora.private.frame import overhead
from rataccess_drivers.lora.private.link import Accepted, Delivered, Endpoint, Event, NotSent
from rataccess_drivers.lora.private.options import NodeOptions, plan
from rataccess_drivers.lora.private.runner import Runner
from rataccess_drivers.lora.spi import GpioOpener, SpiOpener
from rataccess_drivers.lora.transceiver import open_transceiver

KEPT = 64
"""Messages that wait for `receive_message`; with more no message is acknowledged, and the hub keeps them."""
GONE_AFTER = 2
"""So many messages in a row without an answer, each after all its attempts."""
RETRY = 60.0
"""Seconds until a hub that does not answer is asked for again."""


class LoraPrivateDriver(Driver):
    """A node, and its hub."""

    options_type = NodeOptions
    transports = ("lora_private",)

    def __init__(
        self,
        options: NodeOptions,
        context: DriverContext,
        *,
        open_spi: SpiOpener | None = None,
        open_gpio: GpioOpener | None = None,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self._name = context.name
        self._plan = plan(options)
        self._radio = open_transceiver(options.transceiver, context.name, open_spi=open_spi, open_gpio=open_gpio)
        self._radio.check(self._plan.channel.frequency, self._plan.channel.modulation)
        self._ledger = self._plan.ledger(context.memory, f"driver/{context.name}/airtime", context.clock)
        self._charges = AirtimeCharges()
        self._ledger.on_spent = self._spent
        self.on_charge = self._charges.on_charge
        """See `Charges`: repetitions, polls, acknowledgements of what the hub has sent."""
        self._chance = chance or random.Random()
        self._endpoint = self._new_endpoint()
        self._runner: Runner | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._outcomes: dict[int, asyncio.Future[Event | None]] = {}
        self._received: deque[RadioMessage] = deque()
        self._news = asyncio.Event()
        self._trouble: RataccessError | None = Closed(f"{context.name} is not open")
        self._evidence = Evidence.NONE
        self._unanswered = 0
        around = overhead(options.address)
        always = options.listen == "always"
        modulation = self._plan.channel.modulation
        self.message_hints = Hints(
            "lora",
            mtu=self._plan.mtu,
            downlink=Downlink.ANYTIME if always else Downlink.AFTER_UPLINK,
            response_time=1.0 + 2 * modulation.time_on_air(self._plan.mtu // 2),
            overhead=around,
            acknowledges_handover=True,
            unit=Unit.AIRTIME,
            repeats=options.attempts,
            modulation=modulation,
            compact=True,
        )

    def __repr__(self) -> str:
        options = self.options
        return f"<LoraPrivateDriver {self._name} {options.network}/{options.address} {self._evidence.name}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> LoraPrivateDriver:
        """See `Driver.create`; raises `ConfigurationError`."""
        return cls(options, context)

    def _new_endpoint(self) -> Endpoint:
        return Endpoint(
            self.options.network,
            self._plan.channel.modulation,
            from_hub=False,
            address=self.options.address,
            always=self.options.listen == "always",
            attempts=self.options.attempts,
            chance=self._chance,
            room=lambda: len(self._received) < KEPT,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`."""
        if self._trouble is None:
            return
        await self._let_go()
        await self._radio.open()
        self._endpoint = self._new_endpoint()
        self._runner = Runner(self._endpoint, self._radio, self._plan.channel, self._ledger, self._happened)
        self._trouble, self._unanswered, self._evidence = None, 0, Evidence.PORT
        self._task = asyncio.create_task(self._run(self._runner), name=f"rataccess {self._name} private lora")

    async def _run(self, runner: Runner) -> None:
        try:
            await runner.run()
        except RataccessError as error:
            self._end(error)
            self._evidence = Evidence.NONE
            self.announce(self._status())
        finally:
            if self._trouble is None:  # a defect, of which the task's exception tells: nobody may wait for ever
                self._end(TransportBroken(f"the task of {self._name} has ended"))

    async def attach(self) -> Bearer:
        """Ask the hub whether it is there; see `Driver.attach`."""
        self._check()
        async with self._sending:
            if self._evidence is not Evidence.BEARER:
                await self._find_hub()
        return Bearer("lora", mtu=None)

    async def _find_hub(self) -> None:
        self._check()
        outcome = await self._carry(None)
        self._check()
        if isinstance(outcome, NotSent):
            raise AttachFailed(outcome.reason, outcome.retry_after)
        if not isinstance(outcome, Accepted):
            channel = self._plan.channel
            raise AttachFailed(
                f"no hub of network {self.options.network} answers at {channel.frequency / 1e6:.6g} MHz with spreading "
                f"factor {channel.modulation.spreading_factor}",
                RETRY,
            )
        self._unanswered, self._evidence = 0, Evidence.BEARER

    async def status(self) -> RadioStatus:
        """See `Driver.status`."""
        self._check()
        await self._radio.probe()
        return self._status()

    def _status(self) -> RadioStatus:
        last = self._runner.last if self._runner is not None else None
        return RadioStatus(
            self._evidence,
            self._detail(),
            rat="lora",
            signal_dbm=None if last is None else last.rssi_dbm,
            signal_quality_db=None if last is None else last.snr_db,
        )

    def _detail(self) -> str:
        if self._trouble is not None:
            return " ".join(str(self._trouble).split())
        states = {
            Evidence.PORT: "the transceiver is ready; the hub was not asked for yet",
            Evidence.RADIO: f"the hub of network {self.options.network} no longer answers",
            Evidence.BEARER: f"the hub of network {self.options.network} answers",
        }
        return states[self._evidence]

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._end(Closed(f"{self._name} is closed"))
        self._evidence = Evidence.NONE
        await self._let_go()

    async def _let_go(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        await self._radio.aclose()

    def _end(self, trouble: RataccessError) -> None:
        self._trouble = trouble
        self._news.set()
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_result(None)

    def _check(self) -> None:
        if self._trouble is not None:
            raise type(self._trouble)(*self._trouble.args)

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Opening resets the chip where its reset line is wired, and sets everything up anew."""
        return (Recovery("reopen port", self.aclose, deadline=5.0, attempts=2),)

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages`; these hints never change."""
        return lambda: None

    async def send_message(self, message: RadioMessage) -> Handover | None:
        """See `MovesMessages`."""
        if len(message.data) > self.message_hints.mtu:
            raise PacketTooLarge(len(message.data), self.message_hints.mtu)
        async with self._sending:
            self._check_usable()
            outcome = await self._carry(message.data)
        if outcome is None:
            self._check_usable()
        if isinstance(outcome, NotSent):
            raise NotNow(outcome.reason, outcome.retry_after)
        if isinstance(outcome, Accepted):
            self._unanswered = 0
            return Handover(f"{self.options.address}/{outcome.sequence}")
        self._unanswered += 1
        if self._unanswered >= GONE_AFTER and self._evidence is Evidence.BEARER:
            self._evidence = Evidence.RADIO
            self.announce(self._status())
        return None

    def _spent(self, seconds: float) -> None:
        """A message is paid for by its sender, the first time that it is transmitted; all else is charged."""
        size = self._endpoint.first_transmission
        with self._charges.message(0 if size is None else self.message_hints.tariff.units(size)):
            self._charges.spent(seconds)

    async def _carry(self, data: bytes | None) -> Event | None:
        """What became of one message, or poll; `None` where the radio failed or was closed meanwhile."""
        loop = asyncio.get_running_loop()
        runner, endpoint = self._runner, self._endpoint
        assert runner is not None
        ticket, _ = endpoint.submit(data, loop.time())
        outcome: asyncio.Future[Event | None] = loop.create_future()
        self._outcomes[ticket] = outcome
        runner.wake()
        try:
            return await outcome
        finally:
            del self._outcomes[ticket]
            endpoint.withdraw(ticket)

    async def receive_message(self) -> RadioMessage:
        """See `MovesMessages`."""
        while not self._received:
            self._check_usable()
            self._news.clear()
            await self._news.wait()
        return self._received.popleft()

    def _check_usable(self) -> None:
        if isinstance(self._trouble, Closed):
            self._check()
        if self._trouble is not None:
            raise TransportBroken(f"the transceiver of {self._name} failed: {self._trouble}")

    def _happened(self, event: Event) -> None:
        if isinstance(event, Delivered):
            self._received.append(RadioMessage(event.data))
            self._news.set()
        elif (outcome := self._outcomes.get(event.ticket)) is not None and not outcome.done():
            outcome.set_result(event)

    def allowances(self) -> Sequence[Allowance]:
        """See `Rationed`."""
        return self._ledger.allowances()
