"""The serial port of a module: one command at a time, each within its limits, and every line to whom it concerns.

Rules of this file: time and bytes; what lines mean is in the module's table.  A command whose caller has gone goes on: the
next one waits until it is over, for its lines would be taken for its own.  After a command without an answer the module is
asked something harmless first (`settle`), for the same reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from rataccess.errors import Closed, CommandFailed, PortLost, RadioSilent
from rataccess_drivers.byteline import ByteLine, OpenByteLine
from rataccess_drivers.lora.modules.commands import Command, Transaction
from rataccess_drivers.lora.modules.events import Event, Kind, read
from rataccess_drivers.lora.modules.lines import LineReader, redacted
from rataccess_drivers.lora.modules.profile import Profile

log = logging.getLogger("rataccess.lora")

_SECOND_LINE = 1.0
"""Seconds within which the second line of a refusal follows the first."""
_QUIET = 0.5
"""Seconds of silence after which no answer to an earlier command is to be expected."""
_SETTLING = 5.0


class ModulePort:
    """An open port.  `on_event` gets each line's event, `on_lost` why there are no more."""

    def __init__(
        self,
        name: str,
        profile: Profile,
        on_event: Callable[[Event], None],
        on_lost: Callable[[PortLost], None],
    ) -> None:
        self._name = name
        self._profile = profile
        self._on_event = on_event
        self._on_lost = on_lost
        self._line: ByteLine | None = None
        self._reader = LineReader()
        self._current: Transaction | None = None
        self._deadline = 0.0
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._unsettled = False
        self._settling = False
        self._trouble: Exception = Closed(f"the port of {name} is not open")
        self.asked = False
        """While an event is told: whether an uplink or a join was on its way that it may belong to."""
        self.heard_lines: list[str] = []
        """The last lines, redacted: to say who answers there."""

    def open(self, opener: OpenByteLine, address: str, baudrate: int) -> None:
        """Raises `RadioNotFound`, `PortBusy`, `PortLost` or `ConfigurationError`."""
        self._reader.clear()
        self._line = opener(address, baudrate, self._feed, self._lose)

    def close(self) -> None:
        """Let go of it; who waits for an answer gets `Closed`.  Idempotent."""
        self._trouble = Closed(f"the port of {self._name} was closed")
        self._let_go()

    @property
    def is_open(self) -> bool:
        """Whether the port is there."""
        return self._line is not None

    @property
    def busy(self) -> bool:
        """Whether a command is on its way, or one whose caller has gone may still be."""
        left = self._current is not None and not self._current.over
        return self._turn.locked() or (left and asyncio.get_running_loop().time() < self._deadline)

    def write(self, data: bytes) -> None:
        """Bytes that are no command: to wake the module."""
        if self._line is not None:
            self._line.write(data)

    def _let_go(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self._news.set()

    def _lose(self, why: OSError | str) -> None:
        lost = PortLost(f"the port of {self._name} is gone: {why}")
        self._trouble = lost
        self._let_go()
        self._on_lost(lost)

    def _feed(self, data: bytes) -> None:
        for line in self._lines(data):
            event = read(self._profile.table, line)
            self.heard_lines = [*self.heard_lines[-7:], redacted(line)]
            current = self._current
            self.asked = current is not None and not current.over and current.command.after is not None
            asked = current is not None and not current.over and event.kind in current.command.ends
            asked = asked or (self._settling and event.kind in self._profile.probe.ends)
            if current is not None:
                current.take(event)
            self._news.set()
            if event.kind is Kind.OTHER:
                log.debug("%s: a line of no meaning (%d characters)", self._name, len(line))
            if event.kind is not Kind.BOOTED or not asked:  # some give their version in the words of their start
                self._on_event(event)

    def _lines(self, data: bytes) -> Iterator[str]:
        """Lines, and what has come in the middle of one as a line of its own."""
        mark = self._profile.mark
        for line in self._reader.feed(data):
            begins = [found.start() for found in mark.finditer(line) if found.start()] if mark is not None else []
            for begin, end in zip([0, *begins], [*begins, len(line)], strict=True):
                yield line[begin:end]

    # --- commands -----------------------------------------------------------------------------------------------------

    async def run(self, command: Command) -> Transaction:
        """Write it and wait for its end.

        Raises `RadioSilent` (no answer within its limits), `CommandFailed` (the module has started anew meanwhile),
        `PortLost` or `Closed`.  A refusal is in what is returned; what the module did not get whole was said again.
        """
        async with self._turn:
            await self._outlive()
            if self._unsettled:
                await self._settle()
            answer = await self._run(command)
            if answer.refusal is not None and answer.refusal.why in self._profile.misheard:
                answer = await self._run(command)
            return answer

    async def _run(self, command: Command) -> Transaction:
        if self._line is None:
            raise self._gone()
        transaction = Transaction(command)
        now = asyncio.get_running_loop().time()
        self._current, self._deadline = transaction, now + command.limit
        self._line.write(command.text.encode("ascii") + self._profile.end)
        await self._wait(transaction, now + command.first, lambda: transaction.heard)
        if transaction.refusal is not None:
            await self._wait(transaction, asyncio.get_running_loop().time() + _SECOND_LINE, lambda: False)
        elif transaction.heard:
            await self._wait(transaction, now + command.limit, lambda: False)
        self._current = None
        if self._line is None and not transaction.over:
            raise self._gone()
        if transaction.restarted:
            raise CommandFailed(f"{self._name}: the module has started anew during {command.label!r}")
        self._unsettled = self._unsettled or not transaction.over
        if not transaction.over and transaction.refusal is None and not transaction.has(*command.enough):
            what = "only in part" if transaction.heard else "nothing"
            raise RadioSilent(f"{self._name}: the module answers {what} to {command.label!r}")
        return transaction

    async def _wait(self, transaction: Transaction, end: float, enough: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout_at(end):
                while not transaction.over and not enough() and self._line is not None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return

    async def _outlive(self) -> None:
        """A command whose caller was cancelled is over, or its time is."""
        left = self._current
        if left is not None:
            await self._wait(left, self._deadline, lambda: False)
            self._unsettled = self._unsettled or not left.over
            self._current = None

    async def _settle(self) -> None:
        """What may still come of an unanswered command has come when the module has answered something else and is quiet.

        Quiet, because the late answer may look like that to the question; then the question's own is still to come.
        """
        self._settling = True
        try:
            await self._run(self._profile.probe)
            end = asyncio.get_running_loop().time() + _SETTLING
            while asyncio.get_running_loop().time() < end and await self._hears():
                pass
        finally:
            self._settling = False
        self._unsettled = False

    async def _hears(self) -> bool:
        """Whether the module says anything before it has been quiet for long enough."""
        self._news.clear()
        try:
            async with asyncio.timeout(_QUIET):
                await self._news.wait()
        except TimeoutError:
            return False
        return self._line is not None

    def _gone(self) -> Exception:
        return type(self._trouble)(*self._trouble.args)
