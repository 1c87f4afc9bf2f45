"""What a virtual satellite radio hangs on: a port for its bytes, and pins that it drives itself.

Rules of this file: shapes only.  `MemoryPort` (virtual time) and `PtyRadio` (a real terminal) are such ports.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from typing import Protocol


class RadioPort(Protocol):
    """The radio's side of a serial line."""

    on_bytes: Callable[[bytes], None]
    on_open: Callable[[], None]
    on_close: Callable[[], None]

    def write(self, data: bytes) -> None:
        """Say something to the host; lost while nobody has the port open."""
        ...


class OutputPin:
    """A pin that the radio drives and the host reads, with the methods of python-periphery's `GPIO`.

    Each change of the wanted `edge` (rising, falling, both) makes `fd` readable, as a GPIO edge event would.
    """

    def __init__(self, level: bool) -> None:
        self._level = level
        self._listeners: list[PinReader] = []
        self.changes = 0
        """How often the level changed."""

    def drive(self, level: bool) -> None:
        """Set the level; nothing where it is so already."""
        if level == self._level:
            return
        self._level = level
        self.changes += 1
        for each in tuple(self._listeners):
            each.changed(level)

    def read(self) -> bool:
        """The level now."""
        return self._level

    def reader(self, edge: str = "none") -> PinReader:
        """The host's end of the wire; close it."""
        made = PinReader(self, edge, self._listeners.remove)
        self._listeners.append(made)
        return made


class PinReader:
    """The host's end: `read`, `poll`, `read_event`, `fd`, `close`, as of python-periphery's `GPIO`."""

    def __init__(self, pin: OutputPin, edge: str, closed: Callable[[PinReader], None]) -> None:
        if edge not in ("none", "rising", "falling", "both"):
            raise ValueError(f"{edge!r} is no edge; there are none, rising, falling and both")
        self._pin, self._edge, self._closed = pin, edge, closed
        self._events: list[str] = []
        self._fd: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)

    @property
    def fd(self) -> int:
        """Readable while an edge has not been read; raises `OSError` once closed."""
        if self._fd is None:
            raise OSError("the pin is closed")
        return self._fd

    def changed(self, level: bool) -> None:
        """For `OutputPin`: the level is another one now."""
        edge = "rising" if level else "falling"
        if self._edge in (edge, "both") and self._fd is not None:
            self._events.append(edge)
            os.eventfd_write(self._fd, 1)

    def read(self) -> bool:
        """The level now."""
        return self._pin.read()

    def poll(self, timeout: float | None = None) -> bool:
        """Whether an edge came within `timeout` seconds; `None` waits forever."""
        return bool(select.select([self.fd], [], [], timeout)[0])

    def read_event(self) -> str:
        """The oldest edge; raises `BlockingIOError` where there is none."""
        os.eventfd_read(self.fd)
        return self._events.pop(0)

    def close(self) -> None:
        """Let go; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            with contextlib.suppress(ValueError):
                self._closed(self)
