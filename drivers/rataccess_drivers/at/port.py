"""A serial port with an AT modem behind it, on the event loop.

Rules of this file: whose turn it is, time limits, and who is told.  What a modem says is handled where it is read: no
thread, no task, no timer for each command.  Bytes are `stream`'s business, and what they mean `engine`'s.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rataccess.errors import Closed, CommandFailed, DriverError, PortLost, RadioSilent
from rataccess_drivers import ports
from rataccess_drivers.at.commands import Command, Reply, Urc, UrcPattern
from rataccess_drivers.at.engine import AtEngine, Done, Event, Failed, Write
from rataccess_drivers.at.results import describe
from rataccess_drivers.at.serialport import open_serial
from rataccess_drivers.at.stream import Stream
from rataccess_drivers.at.waiting import Waiter

_log = logging.getLogger("rataccess.at")

# Seconds that each probe of a resynchronisation gets; a modem that is awake answers AT within 0.3 s (Quectel BG95 AT
# manual, chapter 2.2), one that wakes from sleep or is still busy needs more.
_PROBE_WAITS = (0.3, 0.5, 1.0, 1.0, 1.0, 1.0)
# Silence after which a late reply is no longer waited for: many times what a modem needs between two queued commands.
_SETTLE = 0.25


class AtPort:
    """One modem's AT port.

    `address` is a port address (see `rataccess.bus`) or a device path.  The constructor opens nothing.
    """

    def __init__(
        self, address: str, *, urcs: Sequence[UrcPattern] = (), baudrate: int = 115200, name: str = "modem"
    ) -> None:
        self._address = ports.port_at(address)
        self._urcs = tuple(urcs)
        self._baudrate = baudrate
        self.name = name
        self.path: str | None = None
        """The device file while open."""
        self.engine = AtEngine(self._urcs)
        self._stream: Stream | None = None
        self._why_not: DriverError | Closed = Closed(f"AT port of {name} is not open")
        self._urc_callbacks: list[Callable[[Urc], None]] = []
        self._lost_callbacks: list[Callable[[Exception], None]] = []
        self._reply: Waiter[Reply] | None = None
        self._answered: asyncio.Future[None] | None = None
        self._asked = ""
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._deadline = 0.0

    def __repr__(self) -> str:
        return f"<AtPort {self.name} {self._address} {'open' if self._stream else 'closed'} {self.engine!r}>"

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open exclusively and get an answer; closed again where it fails.

        Raises `RadioNotFound` (no such device now), `PortBusy` (somebody else has it), `PortLost` or `RadioSilent`
        (nobody answers `AT` within 5 s).
        """
        if self._stream is not None:
            return
        self.path = ports.resolve(self._address)
        port = open_serial(self.path, self._baudrate)
        self.engine = AtEngine(self._urcs)
        self._stream = Stream(port, asyncio.get_running_loop(), self._received, self._lose)
        try:
            await self.resynchronise()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close; idempotent.  Whoever waits gets `Closed`."""
        self._shut(Closed(f"AT port of {self.name} was closed"))

    def _shut(self, why: DriverError | Closed) -> None:
        """Let go of the descriptor and of everybody who waits."""
        if self._stream is None:
            return
        self._stream.close()
        self._stream = None
        self._why_not = why
        self._no_timer()
        if self._reply is not None and not self._reply.done:
            self._reply.fail(self._why())
        for waiter in (self._answered, *self._queue):
            if waiter is not None and not waiter.done():
                waiter.set_exception(self._why())

    def _why(self) -> DriverError | Closed:
        """The reason why the port is of no use; a new exception for each who is told, so that tracebacks do not mix."""
        why = type(self._why_not)(*self._why_not.args)
        why.__cause__ = self._why_not.__cause__
        return why

    def _lose(self, cause: OSError | str) -> None:
        """The device is gone: tell everybody, and free its name at once, or it comes back under another."""
        error = PortLost(f"{self.path} of {self.name} was lost: {cause}")
        if isinstance(cause, OSError):
            error.__cause__ = cause
        self._shut(error)
        for callback in tuple(self._lost_callbacks):
            _call(callback, error)

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_urc(self, callback: Callable[[Urc], None]) -> Callable[[], None]:
        """Have `callback` called with each URC, in order; returns a function that ends that."""
        self._urc_callbacks.append(callback)
        return lambda: self._urc_callbacks.remove(callback) if callback in self._urc_callbacks else None

    def on_lost(self, callback: Callable[[Exception], None]) -> Callable[[], None]:
        """Have `callback` called with a `PortLost` when the device vanishes while open; returns a function that ends it."""
        self._lost_callbacks.append(callback)
        return lambda: self._lost_callbacks.remove(callback) if callback in self._lost_callbacks else None

    # --- commands -----------------------------------------------------------------------------------------------------

    async def run(self, command: Command | str) -> Reply:
        """Send a command when those before it are through, and return its reply.

        A caller that is cancelled leaves a command behind whose reply is dropped.  After that, and after `RadioSilent`,
        the line is resynchronised first.

        Raises `CommandFailed` (the modem's final result, with its CME or CMS code), `RadioSilent` (no result within
        `command.timeout` seconds of sending), `PortLost`, `Closed`, and `ValueError` (a control character in the text).
        """
        if isinstance(command, str):
            command = Command(command)
        if self._busy or self._stream is None:
            await self._take_turn()
        self._busy = True
        try:
            if not self.engine.in_step:
                await self._probe()
            return await self._send(command)
        except asyncio.CancelledError:
            if self.engine.running is command:
                self._expire()
            raise
        finally:
            self._reply = None
            self._busy = False
            if self._queue:
                self._pass_turn()

    async def resynchronise(self) -> None:
        """Make sure that the modem answers and that no reply is outstanding.

        Raises `RadioSilent` where it does not answer within 5 s, `PortLost` or `Closed`.
        """
        await self._take_turn()
        try:
            await self._probe()
        finally:
            self._busy = False
            self._pass_turn()

    async def _take_turn(self) -> None:
        """First come, first served."""
        if self._stream is None:
            raise self._why()
        if self._busy:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    # the turn was already ours
                    self._busy = False
                    self._pass_turn()
                raise
        self._busy = True

    def _pass_turn(self) -> None:
        """Wake the next who waits; from now on it is busy again, so that nobody comes between."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                self._busy = True
                turn.set_result(None)
                return

    def _send(self, command: Command) -> Waiter[Reply]:
        """Write a command; the future gets its reply."""
        stream = self._stream
        if stream is None:
            raise self._why()
        data = self.engine.start(command)
        loop = asyncio.get_running_loop()
        reply: Waiter[Reply] = Waiter(loop)
        self._reply = reply
        self._asked = command.text
        self._deadline = deadline = loop.time() + command.timeout
        if deadline < self._timer_at:
            self._set_timer(loop, deadline)
        stream.write(data)
        return reply

    def _expire(self) -> None:
        """Give the running command up."""
        data = self.engine.expire()
        if data and self._stream is not None:
            self._stream.write(data)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """One timer serves all commands: it is left where it stands if it fires early enough, and then looks again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._time_passed)
        self._timer_at = when

    def _no_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = math.inf

    def _time_passed(self) -> None:
        self._no_timer()
        command, reply = self.engine.running, self._reply
        if command is None or reply is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._set_timer(loop, self._deadline)
            return
        self._expire()
        if not reply.done:
            silent = f"{self.name} did not answer {_public(command.text)} within {command.timeout:g} s"
            reply.fail(RadioSilent(silent))

    async def _probe(self) -> None:
        # what the modem did not take until now belongs to commands that are over
        if self._stream is not None:
            self._stream.forget_unwritten()
        for wait in _PROBE_WAITS:
            if await self._answers(wait):
                return
        raise RadioSilent(f"{self.name} on {self.path} does not answer AT; it may be off, starting or hung")

    async def _answers(self, wait: float) -> bool:
        """Whether a probe sent now brings the line into step; `wait` is in seconds."""
        if not await self._answer(wait, self.engine.resync()):
            return False
        while not self.engine.in_step:
            # a reply may still be outstanding, or was dropped by the modem for good
            if not await self._answer(_SETTLE):
                self.engine.settle()
        return True

    async def _answer(self, wait: float, data: bytes = b"") -> bool:
        if self._stream is None:
            raise self._why()
        answered = self._answered = asyncio.get_running_loop().create_future()
        if data:
            self._stream.write(data)
        try:
            async with asyncio.timeout(wait):
                await answered
        except TimeoutError:
            return False
        finally:
            self._answered = None
        return True

    # --- what comes ---------------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        done = None
        for event in self.engine.receive(data):
            if type(event) is Done:
                done = event.reply
            else:
                self._handle(event)
        if done is not None and self._reply is not None and not self._reply.done:
            self._reply.finish(done)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Urc):
            for callback in tuple(self._urc_callbacks):
                _call(callback, event)
        elif isinstance(event, Failed):
            self._fail(event)
        elif isinstance(event, Write):
            if self._stream is not None:
                self._stream.write(event.data)
        elif self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _fail(self, event: Failed) -> None:
        if self._reply is not None and not self._reply.done:
            answer = describe(event.final, event.code)
            asked = _public(self._asked)
            self._reply.fail(CommandFailed(f"{self.name}: {asked} failed: {answer}", event.code))


def _call(callback: Callable[[Any], None], value: object) -> None:
    """A callback's error is its own: it must not stop the reading of the port."""
    try:
        callback(value)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("a callback of the AT port failed")


def _public(text: str) -> str:
    """A command without its arguments, which may be a PIN or a password."""
    return text.partition("=")[0]
