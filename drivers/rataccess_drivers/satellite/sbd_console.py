"""The command line of an Iridium SBD modem on the event loop: one command at a time, each within its time limit.

Rules of this file: writing, waiting and time limits; what replies mean is for the driver.  Nothing is written while a
session is open: whoever asks something else meanwhile waits, or looks at `session_open` first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from rataccess.errors import Closed, CommandFailed, PortLost, RadioSilent, RataccessError
from rataccess_drivers.byteline import ByteLine, OpenByteLine
from rataccess_drivers.satellite.sbd_engine import Command, Done, Echoed, SbdEngine, Urc, Write

# A modem echoes at once, also while it is busy; a serial port that does not is frozen.
ECHO_LIMIT = 3.0


class SbdConsole:
    """An open line to a modem.  `on_urc` gets unsolicited lines, `on_lost` the reason why the port is gone."""

    def __init__(
        self,
        name: str,
        open_line: OpenByteLine,
        on_urc: Callable[[str], None],
        on_lost: Callable[[PortLost], None],
    ) -> None:
        self.name = name
        self._open_line = open_line
        self._on_urc = on_urc
        self._on_lost = on_lost
        self._line: ByteLine | None = None
        self._engine = SbdEngine()
        self._one = asyncio.Lock()
        self._asking = 0
        self._done: asyncio.Future[Done] | None = None
        self._echo = asyncio.Event()
        self.session_open = False
        """Whether a session runs now."""

    @property
    def is_open(self) -> bool:
        """Whether the port is there."""
        return self._line is not None

    @property
    def busy(self) -> bool:
        """Whether a command runs or waits for its turn: whoever asks something else now may wait for a whole session."""
        return self._asking > 0

    @property
    def discarded(self) -> int:
        """Bytes thrown away as noise or late replies."""
        return self._engine.discarded

    def open(self, address: str, baudrate: int) -> None:
        """Open the port; raises as `open_byte_line`."""
        if self._line is None:
            self._engine = SbdEngine()
            self._line = self._open_line(address, baudrate, self._data, self._gone)

    def close(self, why: RataccessError | None = None) -> None:
        """Let go of the port; a command that waits for its reply ends with `why` (by default `Closed`)."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self._fail(why or Closed(f"the driver of {self.name} was closed"))

    async def run(self, command: Command, *, session: bool = False) -> Done:
        """The reply to `command`.

        Raises `RadioSilent` (no echo, or no whole reply in time), `CommandFailed` (with the modem's words), `PortLost` or
        `Closed`.
        """
        async with self._turn():
            if self._line is None:
                raise Closed(f"the port of {self.name} is not open")
            self._done = asyncio.get_running_loop().create_future()
            self._echo.clear()
            self.session_open = session
            try:
                self._line.write(self._engine.start(command))
                done = await self._reply(command, self._done)
            finally:
                self.session_open = False
                self._done = None
                self._engine.expire()
        if not done.ok:
            raise CommandFailed(f"{self.name}: {command.text} was answered with {done.final}")
        return done

    async def ask(self, command: Command) -> str:
        """The info line that begins with `command.head`; raises as `run`."""
        done = await self.run(command)
        return next(line for line in done.lines if line.startswith(command.head))

    async def overhear(self, head: str, limit: float) -> bool:
        """Write nothing for up to `limit` s, until a line with `head` has gone by; whether one has.

        For a session that an earlier process may have left open.
        """
        listening = Command("", head=head, echoed=False)
        async with self._turn():
            if self._line is None:
                raise Closed(f"the port of {self.name} is not open")
            self._done = asyncio.get_running_loop().create_future()
            self._engine.start(listening)
            self.session_open = True
            try:
                async with asyncio.timeout(limit):
                    return (await self._done).ok
            except TimeoutError:
                return False
            finally:
                self.session_open = False
                self._done = None
                self._engine.expire()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self._asking += 1
        try:
            async with self._one:
                yield
        finally:
            self._asking -= 1

    async def _reply(self, command: Command, done: asyncio.Future[Done]) -> Done:
        loop = asyncio.get_running_loop()
        end = loop.time() + command.timeout
        if command.echoed and command.timeout > ECHO_LIMIT:
            try:
                async with asyncio.timeout(ECHO_LIMIT):
                    await self._echo.wait()
            except TimeoutError as error:
                what = f"{self.name}: the serial port does not echo {command.text}; the modem hangs or is off"
                raise RadioSilent(what) from error
        try:
            async with asyncio.timeout_at(end):
                return await done
        except TimeoutError as error:
            raise RadioSilent(f"{self.name}: no answer to {command.text} within {command.timeout:g} s") from error

    # --- what the port says -------------------------------------------------------------------------------------------

    def _data(self, data: bytes) -> None:
        for event in self._engine.receive(data):
            if isinstance(event, Write):
                if self._line is not None:
                    self._line.write(event.data)
            elif isinstance(event, Echoed):
                self._echo.set()
            elif isinstance(event, Urc):
                self._on_urc(event.line)
            elif self._done is not None and not self._done.done():
                self._echo.set()
                self._done.set_result(event)

    def _gone(self, why: OSError | str) -> None:
        self._line = None
        lost = PortLost(f"the port of {self.name} is gone: {why}")
        self._fail(lost)
        self._on_lost(lost)

    def _fail(self, why: RataccessError) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(why)
            self._echo.set()
