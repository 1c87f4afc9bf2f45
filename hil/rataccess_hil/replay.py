"""A radio that says again what a real one said: a transcript on a pseudo terminal.

Rules of this file: nothing is interpreted but where a command line ends.  What the host writes is looked for in the
transcript from where it stands, then backwards; what was never asked is answered with ERROR and kept in `unmatched`.

As a process: `python -m rataccess_hil.replay FILE --link /tmp/ttyBG95 [--speed 10]`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from rataccess_hil.journal import Entry
from rataccess_hil.part import Part
from rataccess_hil.pty_radio import PtyRadio
from rataccess_hil.transcript import Exchange, exchanges, parse_transcript

UNKNOWN = b"\r\nERROR\r\n"
_MOST_UNREAD = 1 << 16
"""Bytes without an end of line that are kept: more is no command."""


class Script:
    """The transcript as a partner in a dialogue: `hear` what the host wrote, get what is to be said.  Sans-I/O."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._steps: list[Exchange] = exchanges(entries)
        self._at = 0
        self._heard = b""
        self.unmatched: list[bytes] = []
        """What the host asked that is nowhere in the transcript."""

    def begin(self) -> Exchange | None:
        """What the radio says before anybody writes, as after a reset."""
        if self._at == 0 and self._steps and not self._steps[0].asked:
            self._at = 1
            return self._steps[0]
        return None

    @property
    def finished(self) -> bool:
        """Whether everything was asked, up to the end."""
        return self._at >= len(self._steps)

    def hear(self, data: bytes) -> list[Exchange]:
        """What was asked now, complete, with what is said to it."""
        self._heard += data
        found = []
        while self._heard:
            step = self._next()
            if step is None:
                break
            found.append(step)
        return found

    def _next(self) -> Exchange | None:
        expected = self._steps[self._at].asked if self._at < len(self._steps) else b""
        if expected and self._heard.startswith(expected):
            return self._take(self._at, len(expected))
        if expected.startswith(self._heard):
            return None
        if expected and self._at and self._steps[self._at - 1].prompts:
            # a payload: another time it has other bytes (a message is never protected twice alike), and as many
            return self._take(self._at, len(expected)) if len(self._heard) >= len(expected) else None
        end = self._heard.find(b"\r") + 1
        if not end and len(self._heard) < _MOST_UNREAD:
            return None
        end = end or len(self._heard)
        return self._look_up(self._heard[:end], end)

    def _look_up(self, asked: bytes, size: int) -> Exchange:
        for index in (*range(self._at, len(self._steps)), *reversed(range(self._at))):
            if self._steps[index].asked == asked:
                return self._take(index, size)
        self._heard = self._heard[size:]
        self.unmatched.append(asked)
        return Exchange(asked, ((0.0, UNKNOWN),))

    def _take(self, index: int, size: int) -> Exchange:
        self._heard = self._heard[size:]
        self._at = index + 1
        return self._steps[index]


class ReplayRadio(Part):
    """A transcript on a port.

    `timing` makes of the recorded seconds before a piece those that are waited: as recorded by default, `lambda s: 0.0` for
    at once.  What is still to be said when the host writes again is said before the next answer, without waiting.
    `link` as of `PtyRadio`.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        link: Path | str | None = None,
        timing: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self.script = Script(entries)
        self.port = PtyRadio(link, on_bytes=self._heard, on_open=self._opened)
        self._timing = timing
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def read(cls, file: Path, *, link: Path | str | None = None, speed: float = 1.0) -> ReplayRadio:
        """From a file, `speed` times as fast as recorded; raises `BadTranscript` and `OSError`."""
        entries = parse_transcript(file.read_text(encoding="utf-8"))
        return cls(entries, link=link, timing=lambda seconds: seconds / speed)

    async def open(self) -> None:
        """Make the port."""
        await self.port.open()

    async def aclose(self) -> None:
        """Remove the port; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pieces.clear()
        await self.port.aclose()

    @property
    def address(self) -> str:
        """The port address for a configuration: `pty:/path`."""
        return self.port.address

    @property
    def unmatched(self) -> list[bytes]:
        """What the host asked that is nowhere in the transcript."""
        return self.script.unmatched

    def _opened(self) -> None:
        greeting = self.script.begin()
        if greeting is not None:
            self._say(greeting)

    def _heard(self, data: bytes) -> None:
        for step in self.script.hear(data):
            self._hurry()
            self._say(step)

    def _say(self, step: Exchange) -> None:
        self._pieces.extend(step.said)
        if self._timer is None:
            self._next()

    def _hurry(self) -> None:
        """The host does not wait for what is left: say it now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pieces:
            self.port.write(self._pieces.popleft()[1])

    def _next(self) -> None:
        self._timer = None
        while self._pieces:
            wait = self._timing(self._pieces[0][0])
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._due)
                return
            self.port.write(self._pieces.popleft()[1])

    def _due(self) -> None:
        self.port.write(self._pieces.popleft()[1])
        self._next()

    def __repr__(self) -> str:
        return f"<ReplayRadio {self.port!r} unmatched={len(self.unmatched)}>"


async def run(file: Path, link: str | None, speed: float) -> None:
    """Serve until SIGTERM or SIGINT; prints the port's address first."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with ReplayRadio.read(file, link=link, speed=speed) as radio:
        sys.stdout.write(radio.address + "\n")
        sys.stdout.flush()
        await ended.wait()


def main(arguments: list[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m rataccess_hil.replay", description="Replay a transcript on a pty.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--link", help="path of the port's symbolic link; a temporary one by default")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than recorded")
    options = parser.parse_args(arguments)
    if not options.speed > 0:
        parser.error("--speed: a number above 0")
    asyncio.run(run(options.file, options.link, options.speed))


if __name__ == "__main__":
    main()
