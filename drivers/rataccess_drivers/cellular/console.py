"""The driver's end of the AT port: commands that a restart of the modem ends at once, and shorthands.

Rules of this file: no command of any modem is named here.  What runs can be interrupted: a modem that has restarted will
never answer what it was asked before, and waiting 150 s for that would be 150 s of outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from rataccess.errors import Closed, CommandFailed, RataccessError
from rataccess_drivers.at.commands import Command, Reply, Urc
from rataccess_drivers.at.grammar import split_raw

T = TypeVar("T")


class Port(Protocol):
    """What is used of `at.port.AtPort`."""

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...

    async def run(self, command: Command | str) -> Reply: ...

    async def resynchronise(self) -> None: ...

    def on_urc(self, callback: Callable[[Urc], None]) -> Callable[[], None]: ...

    def on_lost(self, callback: Callable[[Exception], None]) -> Callable[[], None]: ...


class Interruptible:
    """Runs awaitables that `interrupt` ends early, without a task for each."""

    def __init__(self) -> None:
        self._scopes: dict[asyncio.Timeout, Callable[[], RataccessError] | None] = {}

    async def run(self, work: Awaitable[T]) -> T:
        """What `work` returns or raises, or the error of an `interrupt` meanwhile."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes[scope] = None
                return await work
        except TimeoutError:
            why = self._scopes.get(scope)
            if why is None:
                raise
            raise why() from None
        finally:
            self._scopes.pop(scope, None)

    def interrupt(self, why: Callable[[], RataccessError]) -> None:
        """End everything that runs now with an error that `why` makes, one for each."""
        now = asyncio.get_running_loop().time()
        for scope, known in self._scopes.items():
            if known is None:
                self._scopes[scope] = why
                scope.reschedule(now)


class Console:
    """Runs commands on a port that may be replaced; `name` is for errors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._port: Port | None = None
        self._running = Interruptible()

    @property
    def is_open(self) -> bool:
        """Whether there is a port; it may have been lost."""
        return self._port is not None

    def use(self, port: Port | None) -> None:
        """From now on this port, or none."""
        self._port = port

    async def run(self, command: Command) -> Reply:
        """As `AtPort.run`; `Closed` without a port; an interrupt's error."""
        port = self._port
        if port is None:
            raise Closed(f"the driver of {self.name} is not open")
        return await self._running.run(port.run(command))

    async def ask(self, text: str, prefix: str, limit: float) -> list[list[str]]:
        """The raw fields (`split_raw`) of each info line with `prefix` in the reply to `text`, within `limit` s."""
        reply = await self.run(Command(text, prefixes=(prefix,), timeout=limit))
        return [split_raw(line[len(prefix) :].strip()) for line in reply.lines if line.startswith(prefix)]

    async def lines(self, text: str, prefix: str, limit: float) -> list[str]:
        """The info lines with `prefix` in the reply to `text`, whole."""
        reply = await self.run(Command(text, prefixes=(prefix,), timeout=limit))
        return [line for line in reply.lines if line.startswith(prefix)]

    async def line(self, text: str, prefix: str, limit: float) -> str:
        """The first of `lines`; `CommandFailed` where there is none."""
        found = await self.lines(text, prefix, limit)
        if not found:
            raise CommandFailed(f"{self.name}: {text.partition('=')[0]} was answered without a {prefix} line")
        return found[0]

    async def order(self, text: str, limit: float) -> None:
        """Run `text` for its effect."""
        await self.run(Command(text, timeout=limit))

    async def try_order(self, texts: Sequence[str], limit: float) -> str | None:
        """Run the first of `texts` that the modem takes; returns it, or `None` where it takes none."""
        for text in texts:
            try:
                await self.order(text, limit)
            except CommandFailed:
                continue
            return text
        return None

    def interrupt(self, why: Callable[[], RataccessError]) -> None:
        """End the commands that run or wait, each with an error made by `why`."""
        self._running.interrupt(why)
