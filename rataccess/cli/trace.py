"""`rataccess trace PORT -o FILE`: record what passes between a radio and the program that uses it.

Rules of this file: bytes go through unchanged and nothing is interpreted.  The real port is held for the time; the program
opens a pseudo terminal instead, whose link is printed.  The format is `rataccess_hil.transcript`'s, documented there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rataccess.clock import SystemClock
from rataccess.errors import ConfigurationError, DiskFull
from rataccess_drivers.at.serialport import open_serial
from rataccess_drivers.at.stream import Stream
from rataccess_drivers.ports import port_at, resolve
from rataccess_hil.journal import Direction, Entry
from rataccess_hil.part import Part
from rataccess_hil.pty_radio import PtyRadio
from rataccess_hil.transcript import HEAD, format_entry


class Trace(Part):
    """Passes and records from `open` to `aclose`.  `ended` is set when the real port is lost.

    `out` gets each line as it happens.  `open` raises `ConfigurationError`, `RadioNotFound`, `PortBusy`, `PortLost`.
    """

    def __init__(self, address: str, out: TextIO, *, link: Path | str | None = None, baudrate: int = 115_200) -> None:
        self._address = port_at(address)
        self._out = out
        self._baudrate = baudrate
        self._clock = SystemClock()
        self._began = 0.0
        self._stream: Stream | None = None
        self.stand_in = PtyRadio(
            link,
            on_bytes=self._from_host,
            on_open=lambda: self._note("opened"),
            on_close=lambda: self._note("closed"),
        )
        self.ended = asyncio.Event()
        self.lost: str | None = None
        """Why the real port is gone."""
        self.failed: str | None = None
        """Why no more can be written."""
        self.counts = {Direction.TO_RADIO: 0, Direction.TO_HOST: 0}
        """Bytes that passed."""

    async def open(self) -> None:
        """Hold the real port and make the stand-in."""
        port = open_serial(resolve(self._address), self._baudrate)
        self._began = self._clock.monotonic()
        _begin_anew(self._out)
        self._out.write(f"{HEAD}\n# port: {self._address}\n")
        self._stream = Stream(port, asyncio.get_running_loop(), self._from_radio, self._lose)
        try:
            await self.stand_in.open()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Let both ports go; idempotent."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        await self.stand_in.aclose()
        if self.failed is None:
            self._out.flush()

    def _from_host(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)
        self._record(Direction.TO_RADIO, data)

    def _from_radio(self, data: bytes) -> None:
        self.stand_in.write(data)
        self._record(Direction.TO_HOST, data)

    def _record(self, direction: Direction, data: bytes) -> None:
        self.counts[direction] += len(data)
        self._line(Entry(self._now(), direction, data))

    def _note(self, text: str) -> None:
        self._line(Entry(self._now(), None, note=text))

    def _line(self, entry: Entry) -> None:
        if self._out.closed or self.failed is not None:
            return
        try:
            self._out.write(format_entry(entry) + "\n")
            self._out.flush()  # whatever comes next, what was seen is kept
        except OSError as error:  # no room: a trace with holes would be none
            self.failed = error.strerror or str(error)
            self.ended.set()

    def _now(self) -> float:
        return max(0.0, self._clock.monotonic() - self._began)

    def _lose(self, why: OSError | str) -> None:
        self.lost = str(why)
        self._note(f"the port was lost: {why}")
        self._stream = None
        self.ended.set()


def _begin_anew(out: TextIO) -> None:
    """Empty, and for nobody else, whatever it was before."""
    with contextlib.suppress(OSError, ValueError):  # no regular file, not ours, or none at all
        os.fchmod(out.fileno(), 0o600)
        os.ftruncate(out.fileno(), 0)


async def record(trace: Trace, say: Callable[[str], None]) -> None:
    """Trace until SIGINT, SIGTERM, or the port is lost; `say` gets lines for people."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, trace.ended.set)
    try:
        async with trace:
            say(f"use {trace.stand_in.link} (address {trace.stand_in.address}) instead; Ctrl-C ends")
            await trace.ended.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    there, back = trace.counts[Direction.TO_RADIO], trace.counts[Direction.TO_HOST]
    say(f"{there} bytes to the radio, {back} from it" + (f"; the port was lost: {trace.lost}" if trace.lost else ""))
    if trace.failed is not None:
        raise DiskFull(f"the transcript cannot be written: {trace.failed}; it ends where that began")


@contextlib.contextmanager
def create(path: Path) -> Iterator[TextIO]:
    """A file that only this user may read: a trace holds whatever passed, PINs and passwords included.

    What it held before is overwritten by the first line, when the port is there.  Raises `ConfigurationError`.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}; name another file with -o") from error
    out = os.fdopen(descriptor, "w", encoding="utf-8")
    try:
        yield out
    finally:
        with contextlib.suppress(OSError):  # what no room was for was told already
            out.close()
