"""A module behind its port: what is known of it, and what follows from what it says unasked.

Rules of this file: finding it, waking it, and its unasked news; what is asked of it and why is in `driver`.  A module that
starts by itself has lost its session: what waits for an answer is ended at once, and the next `attach` sets it up again.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC
from dataclasses import replace
from typing import ClassVar

from rataccess.driver import Driver, DriverContext, Evidence, RadioMessage, RadioStatus
from rataccess.errors import Closed, CommandFailed, PortLost, RadioSilent, WrongRadio
from rataccess.lorawan.regions import REGIONS
from rataccess_drivers.byteline import OpenByteLine
from rataccess_drivers.lora.modules.commands import Command, Transaction
from rataccess_drivers.lora.modules.downlinks import Downlinks
from rataccess_drivers.lora.modules.events import Event, Kind
from rataccess_drivers.lora.modules.identity import who_answers
from rataccess_drivers.lora.modules.lines import redacted
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_drivers.lora.modules.port import ModulePort
from rataccess_drivers.lora.modules.profile import Profile

log = logging.getLogger("rataccess.lora")

_WAKING = 0.1
"""Seconds that a module takes from the first byte to its first command."""
_GLANCE = 0.5
"""Seconds to answer at a speed that the module has only where somebody changed it."""
_STRANGER = 0.5
"""Seconds for a module of another kind to answer."""
_BREAK_RATE = 600
"""Baud: a zero byte holds the line low for 15 ms, a break (13 bits) even for a module that was last talked to at 1200."""
_BREAK = 0.05
"""Seconds for the byte that is the break to leave the port."""


class ModuleRadio(Driver, ABC):
    """Port, knowledge and unasked news of one module."""

    profile: ClassVar[Profile]

    def __init__(self, options: ModuleOptions, context: DriverContext, *, open_line: OpenByteLine) -> None:
        super().__init__()
        self.options = options
        self.name = context.name
        self.region = REGIONS[options.region]
        self._context = context
        self._opener = open_line
        self._port: ModulePort | None = None
        self._baudrate = 0
        self._open = False
        self._answers = False
        self._asleep = False
        self._joined = False
        self._planned = False  # it restarts because we want it to
        self._stale = True  # it has not been set up since it started
        self._detail = "not opened"
        self._told: RadioStatus | None = None
        self._signal: tuple[float | None, float | None] = (None, None)
        self._margin: tuple[int, int] | None = None
        self._pending = False
        self._downlinks = Downlinks()
        self.model = ""
        """What the module calls itself; empty until it was asked."""
        self.dev_eui = ""
        """16 digits; empty until it was asked."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.model or self.options.port} {self._evidence.name}>"

    # --- port ---------------------------------------------------------------------------------------------------------

    async def open_port(self) -> None:
        """Make sure that the port is open and the module answers.

        Raises `RadioSilent`, `WrongRadio`, `RadioNotFound`, `PortBusy` or `PortLost`.
        """
        if self._port is not None and self._answers:
            try:
                await self._ask_for_life(self._port)
            except (RadioSilent, PortLost, Closed):
                await self.close_port()
            else:
                return
        await self.close_port()
        rates = (self.options.baudrate,) if self.options.baudrate else self.profile.baudrates
        for baudrate in rates:
            if await self._found_at(baudrate, usual=baudrate == rates[0]):
                return
        tried = ", ".join(map(str, rates))
        self._detail = "the module is silent"
        raise RadioSilent(
            f"{self.name}: nothing answers as a {self.profile.name} at {self.options.port} ({tried} baud)"
        )

    async def _found_at(self, baudrate: int, *, usual: bool) -> bool:
        probe = self.profile.probe if usual else replace(self.profile.probe, first=_GLANCE, limit=_GLANCE)
        port = ModulePort(self.name, self.profile, self._heard, self._lost)
        self._port, self._baudrate = port, baudrate
        try:
            port.open(self._opener, self.options.port, baudrate)
            for attempt in range(2):
                if attempt:
                    await self._wake(port)
                try:
                    await self._ask_for_life(port, probe)
                except RadioSilent:
                    self._check_others(port)
                else:
                    return True
            if self.profile.stranger:
                port.write(self.profile.stranger)
                await asyncio.sleep(_STRANGER)
                self._check_others(port)
        except BaseException:
            await self.close_port()
            raise
        await self.close_port()
        return False

    async def _ask_for_life(self, port: ModulePort, probe: Command | None = None) -> None:
        answer = await port.run(probe or self.profile.probe)
        if answer.refusal is not None:  # by a module that is busy, or by another one
            self._check_others(port)
        self._answers, self._asleep = True, False

    def _check_others(self, port: ModulePort) -> None:
        other = who_answers(port.heard_lines, self.profile.table)
        if other is not None:
            raise WrongRadio(f"{self.name}: {other} answers at {self.options.port}, and no {self.profile.name}")

    async def _wake(self, port: ModulePort) -> None:
        """What has a module that sleeps, or does not know the baud rate, listen."""
        if self.profile.breaks:
            port.close()
            port.open(self._opener, self.options.port, _BREAK_RATE)
            port.write(b"\0")
            await asyncio.sleep(_BREAK)
            port.close()
            port.open(self._opener, self.options.port, self._baudrate)
        port.write(self.profile.wake or self.profile.end)
        await asyncio.sleep(_WAKING)

    async def close_port(self) -> None:
        """Let go of the port."""
        port, self._port = self._port, None
        self._answers = False
        if port is not None:
            port.close()

    async def run(self, command: Command) -> Transaction:
        """As `ModulePort.run`; wakes the module where it sleeps."""
        port = self._port
        if port is None:
            raise Closed(f"the port of {self.name} is not open")
        if self._asleep:
            self._asleep = False
            await self._wake(port)
            if self.profile.rests_silently:  # the answer to its going to sleep comes now
                await port.run(self.profile.probe)
        try:
            return await port.run(command)
        except RadioSilent:
            self._answers = False
            raise

    async def obey(self, command: Command) -> Transaction:
        """As `run`, and a refusal is `CommandFailed`."""
        transaction = await self.run(command)
        if transaction.refusal is not None:
            raise CommandFailed(f"{self.name}: {refused(command, transaction.refusal)}", transaction.refusal.number)
        return transaction

    async def ask(self, command: Command) -> str | None:
        """The value that is asked for; `None` where the module does not tell, or not in words that are known."""
        try:
            transaction = await self.run(command)
        except RadioSilent:
            if self._port is None or not await self._lives():
                raise
            return None
        if transaction.match is None:
            return None
        found = transaction.match.group(1)
        return None if found is None else str(found)

    async def _lives(self) -> bool:
        """Whether a module that has not answered a question answers at all."""
        port = self._port
        if port is None:
            return False
        try:
            await self._ask_for_life(port)
        except RadioSilent:
            return False
        return True

    # --- what the module tells ----------------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        match event.kind:
            case Kind.DOWNLINK:
                self._note_signal(event)
                if event.port and event.data:
                    self._downlinks.put(RadioMessage(event.data, event.port))
            case Kind.SIGNAL:
                self._note_signal(event)
            case Kind.MARGIN:
                self._margin = (event.margin_db or 0, event.gateways or 0)
            case Kind.PENDING:
                self._pending = True
            case Kind.BOOTED if not self._planned:
                self._restarted(f"the module has restarted by itself ({redacted(event.line)})")

    def _note_signal(self, event: Event) -> None:
        if event.rssi_dbm is not None:
            self._signal = (event.rssi_dbm, event.snr_db)

    def _restarted(self, why: str) -> None:
        log.warning("%s: %s", self.name, why)
        self.lose(why)
        self._stale = True

    def _lost(self, error: PortLost) -> None:
        """The port has vanished."""
        self._answers = False
        self._stale = True
        self.lose(str(error))

    def restarting(self, why: str) -> None:
        """For `Repairs` and settings: a restart that is meant."""
        self._planned = True
        self._stale = True
        self._asleep = False
        self.lose(f"{self.name} is restarted: {why}")

    def lose(self, why: str) -> None:
        """The session is of no more use: whoever moves messages is told, and supervision is."""
        self._joined = False
        self._detail = why
        self._downlinks.end(why)
        self._announce()

    # --- standing -----------------------------------------------------------------------------------------------------

    @property
    def _evidence(self) -> Evidence:
        if self._joined:
            return Evidence.BEARER
        if self._answers:
            return Evidence.RADIO
        return Evidence.NONE if self._port is None or not self._port.is_open else Evidence.PORT

    def _standing(self) -> RadioStatus:
        detail = self._detail
        if self._margin is not None:
            detail += f"; link margin {self._margin[0]} dB, {self._margin[1]} gateways"
        return RadioStatus(
            self._evidence,
            " ".join(detail.split()),
            rat="lorawan",
            signal_dbm=self._signal[0],
            signal_quality_db=self._signal[1],
        )

    def _announce(self) -> None:
        """Tell of a change of evidence, once; before `open` is through nobody is told."""
        status = self._standing()
        if not self._open or (self._told is not None and self._told.evidence == status.evidence):
            return
        self._told = status
        self.announce(status)

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is not open")


def refused(command: Command, refusal: Event) -> str:
    """What was refused and why, for people; without anything secret."""
    why = refusal.why.value if refusal.why is not None else "no reason given"
    return f"the module refuses {command.label!r}: {why} ({redacted(refusal.line)})"
