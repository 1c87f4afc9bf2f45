"""A modem of a few lines behind a real pseudo terminal, on the test's own event loop."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable, Mapping

Answer = bytes | Callable[[], bytes | None] | None


class ScriptedModem:
    """Answers `AT` with OK and other command lines by `answers`; `None` is silence.  `heard` are the lines that came.

    Answers that are functions are asked at each command, and may return `None` and use `say` later.
    """

    def __init__(self, answers: Mapping[bytes, Answer] | None = None) -> None:
        self.answers: dict[bytes, Answer] = {b"AT": b"\r\nOK\r\n", **(answers or {})}
        self.heard: list[bytes] = []
        self.raw = b""
        """Everything that came, also what is no line."""
        self.wants = 0
        """Bytes of a payload that are still expected."""
        self.after_payload = b""
        self._rest = b""
        self._heard_more = asyncio.Event()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._loop = asyncio.get_running_loop()
        self.listen()

    def listen(self) -> None:
        self._loop.add_reader(self._master, self._readable)

    def stop_listening(self) -> None:
        """Take nothing more: the port's buffer fills up."""
        self._loop.remove_reader(self._master)

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def unplug(self) -> None:
        """Hang up, as a USB device that is pulled out."""
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    async def hears(self, line: bytes) -> None:
        """Return when `line` has come."""
        async with asyncio.timeout(10):
            while line not in self.heard:
                self._heard_more.clear()
                await self._heard_more.wait()

    def ask_for_payload(self, count: int, after: bytes) -> bytes:
        """For an answer: prompt for `count` bytes, and say `after` when they have come."""
        self.wants = count
        self.after_payload = after
        return b"\r\n> "

    def _readable(self) -> None:
        data = os.read(self._master, 65536)
        self.raw += data
        self._rest += data
        while self._rest:
            if self.wants:
                taken, self._rest = self._rest[: self.wants], self._rest[self.wants :]
                self.wants -= len(taken)
                if not self.wants:
                    self.say(self.after_payload)
                continue
            line, end, rest = self._rest.partition(b"\r")
            if not end:
                return
            self._rest = rest
            self._take(line)

    def _take(self, line: bytes) -> None:
        line = line.strip(b"\x1b")
        if not line:
            return
        self.heard.append(line)
        self._heard_more.set()
        answer = self.answers.get(line, b"\r\nERROR\r\n")
        data = answer() if callable(answer) else answer
        if data is not None:
            self.say(data)
