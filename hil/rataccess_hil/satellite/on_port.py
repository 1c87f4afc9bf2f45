"""A sans-I/O radio on a port: where interpreters meet the event loop.

Rules of this file: no task, no thread; nothing of what a radio says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from rataccess_hil.modem.schedule import Schedule
from rataccess_hil.part import Part
from rataccess_hil.satellite.port import RadioPort


class Interpreter(Protocol):
    """A radio without port and loop."""

    @property
    def schedule(self) -> Schedule:
        """What it is going to do."""
        ...

    @property
    def output(self) -> bytearray:
        """What it says; emptied by whoever passes it on."""
        ...

    def run_until(self, now: float) -> None:
        """Do all that is due."""
        ...

    def receive(self, data: bytes) -> None:
        """The host wrote."""
        ...


class OnPort(Part):
    """Runs an interpreter on a port, with the loop's time; `aclose` takes it off both."""

    def __init__(self, port: RadioPort, interpreter: Interpreter) -> None:
        self.port = port
        self._interpreter = interpreter
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._closed = False
        port.on_bytes = self._heard

    async def open(self) -> None:
        """Start its timers; it works without, from the first byte on."""
        self.pump()

    async def aclose(self) -> None:
        """Off the loop; idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _heard(self, data: bytes) -> None:
        self.run(lambda: self._interpreter.receive(data))

    def pump(self) -> None:
        """Do what is due, say what is to be said."""
        self.run(lambda: None)

    def run(self, what: Callable[[], None]) -> None:
        """Bring it up to the present, do this to it, and say what is to be said.

        What comes in the middle (from an outlet of the gateway that answers at once) is done at once.
        """
        if self._closed:
            return
        if self._running:
            what()
            return
        self._running = True
        try:
            self._interpreter.run_until(asyncio.get_running_loop().time())
            what()
            while self._interpreter.output:
                said = bytes(self._interpreter.output)
                self._interpreter.output.clear()
                self.port.write(said)
        finally:
            self._running = False
        self._rearm()

    def when_running(self, what: Callable[[], None]) -> None:
        """Do this to it if the loop runs; before that nothing can have happened to it."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self.run(what)

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._interpreter.schedule.next_due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self.pump)
