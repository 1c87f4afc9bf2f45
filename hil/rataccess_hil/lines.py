"""Simulated GPIO lines: what a driver would drive with python-periphery's `GPIO`.

Rules of this file: the shape is `write(bool)`, `read()`, `close()`, so that a driver's line can be bound to it.  For other
processes and shells a line is also a file, as under /sys/class/gpio: `echo 1 > power_key`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from rataccess_hil.part import Part


class VirtualLine:
    """An output line whose level is told to a virtual radio."""

    def __init__(self, changed: Callable[[bool], None], level: bool = False) -> None:
        self._changed = changed
        self._level = level

    def write(self, value: bool) -> None:
        """Drive the line; needs the running event loop of the radio."""
        self._level = bool(value)
        self._changed(self._level)

    def read(self) -> bool:
        """The level that was driven last."""
        return self._level

    def close(self) -> None:
        """Let go; the level stays."""

    def __repr__(self) -> str:
        return f"<VirtualLine {'high' if self._level else 'low'}>"


class LineFiles(Part):
    """Lines as named pipes in a folder: each `0` or `1` written drives the line; anything else is passed over."""

    def __init__(self, folder: Path | str, lines: Mapping[str, VirtualLine]) -> None:
        self._folder = Path(folder)
        self._lines = lines
        self._open: dict[str, int] = {}

    async def open(self) -> None:
        """Make the folder and the pipes; raises `FileExistsError` where a file of that name is there already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        for name, line in self._lines.items():
            path = self._folder / name
            os.mkfifo(path, 0o600)
            # Open for writing too, so that the end of one writer is not the end of the file.
            self._open[name] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            loop.add_reader(self._open[name], self._driven, self._open[name], line)

    @staticmethod
    def _driven(descriptor: int, line: VirtualLine) -> None:
        for sign in os.read(descriptor, 4096).decode("ascii", "replace"):
            if sign in "01":
                line.write(sign == "1")

    async def aclose(self) -> None:
        """Remove the pipes; idempotent."""
        loop = asyncio.get_running_loop()
        for name, descriptor in self._open.items():
            loop.remove_reader(descriptor)
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).unlink()
        self._open.clear()
