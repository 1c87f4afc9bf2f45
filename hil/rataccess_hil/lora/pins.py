"""The wires of a virtual chip, in the shape of python-periphery's `GPIO` and `SPI`.

Rules of this file: levels, edges and bytes; what they mean is the chip's.  An input's `fd` is an event descriptor that is
readable while an edge waits to be read, as that of a GPIO character device.  Edge events carry nanoseconds of the event
loop's clock, which is CLOCK_MONOTONIC in real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from periphery import GPIOError, SPIError

_DIRECTIONS = ("in", "out", "low", "high", "preserve")
_EDGES = ("none", "rising", "falling", "both")


class EdgeEvent(NamedTuple):
    """An edge, with the fields of python-periphery's."""

    edge: str
    """`rising` or `falling`."""
    timestamp: int
    """Nanoseconds of the event loop's clock."""


class Pin:
    """One wire of the chip: either end may drive it, and every open `VirtualGpio` sees it."""

    def __init__(
        self,
        name: str,
        *,
        level: bool = False,
        output: bool = False,
        written: Callable[[bool], None] = lambda level: None,
    ) -> None:
        self.name = name
        self.level = level
        self.output = output
        """Whether the chip drives it (the host reads it)."""
        self.written = written
        """Called with the level when the host has driven it."""
        self.read_as: Callable[[], bool] | None = None
        """What the host reads, where it is more than the level."""
        self.edges_to_lose = 0
        """So many edges to come reach nobody."""
        self._handles: list[VirtualGpio] = []

    def drive(self, level: bool) -> None:
        """The chip drives the wire."""
        if level == self.level:
            return
        self.level = level
        if self.edges_to_lose:
            self.edges_to_lose -= 1
            return
        for handle in self._handles:
            handle._saw("rising" if level else "falling")

    def read(self) -> bool:
        """What the host sees."""
        return self.read_as() if self.read_as is not None else self.level

    def __repr__(self) -> str:
        return f"<Pin {self.name} {'high' if self.level else 'low'}>"


class VirtualGpio:
    """A GPIO line as python-periphery has it; `direction` and `edge` may be changed.  Raises `GPIOError` once closed."""

    def __init__(self, pin: Pin, direction: str = "in", edge: str = "none") -> None:
        if direction not in _DIRECTIONS or edge not in _EDGES:
            raise ValueError(f"no such direction or edge: {direction!r}, {edge!r}")
        self._pin = pin
        self._events: deque[EdgeEvent] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._open = True
        self.edge = edge
        self.direction = "in" if direction == "in" else "out"
        pin._handles.append(self)
        if direction in ("low", "high", "out"):
            self.write(direction == "high" if direction != "out" else False)

    @property
    def fd(self) -> int:
        """Readable while an edge waits."""
        self._check()
        return self._fd

    @property
    def name(self) -> str:
        """The wire's name."""
        return self._pin.name

    def read(self) -> bool:
        """The level."""
        self._check()
        return self._pin.read()

    def write(self, value: bool) -> None:
        """Drive it; raises `GPIOError` for an input, `TypeError` for anything but a boolean."""
        self._check()
        if not isinstance(value, bool):
            raise TypeError("Invalid value type, should be bool.")
        if self.direction == "in":
            raise GPIOError(1, "Setting line value: Operation not permitted")
        self._pin.level = value
        self._pin.written(value)

    def poll(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (blocking, of real time) for an edge."""
        self._check()
        return bool(self._events) or bool(select.select([self._fd], [], [], timeout)[0])

    def read_event(self) -> EdgeEvent:
        """The oldest edge: its kind and its time in nanoseconds.  Raises `GPIOError` where none waits."""
        self._check()
        if not self._events:
            raise GPIOError(11, "Reading GPIO event: Resource temporarily unavailable")
        os.eventfd_read(self._fd)
        return self._events.popleft()

    def close(self) -> None:
        """Let go; idempotent."""
        if self._open:
            self._open = False
            self._pin._handles.remove(self)
            os.close(self._fd)

    def _check(self) -> None:
        if not self._open:
            raise GPIOError(9, "GPIO is closed: Bad file descriptor")

    def _saw(self, edge: str) -> None:
        if self.edge in (edge, "both") and self.direction == "in":
            at = asyncio.get_running_loop().time()
            self._events.append(EdgeEvent(edge, round(at * 1e9)))
            os.eventfd_write(self._fd, 1)

    def __enter__(self) -> VirtualGpio:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # As python-periphery's own: whoever forgets it leaks nothing.
        with contextlib.suppress(OSError, AttributeError):
            self.close()

    def __repr__(self) -> str:
        return f"<VirtualGpio {self._pin.name} {self.direction} {self.edge}>"


class VirtualSpi:
    """An SPI bus with one chip on it, as python-periphery has it.  Raises `SPIError` once closed."""

    def __init__(self, exchange: Callable[[bytes], bytes], mode: int = 0, max_speed: float = 1e6) -> None:
        self._exchange: Callable[[bytes], bytes] | None = exchange
        self.mode = mode
        self.max_speed = max_speed
        self.bit_order = "msb"
        self.bits_per_word = 8

    def transfer(self, data: Any) -> Any:
        """Shift out bytes (a `bytes`, `bytearray` or list) and return what was shifted in, as the same type."""
        if self._exchange is None:
            raise SPIError(9, "SPI transfer: Bad file descriptor")
        if not isinstance(data, bytes | bytearray | list):
            raise TypeError("Invalid data type, should be bytes, bytearray, or list.")
        answer = self._exchange(bytes(data))
        return type(data)(answer)

    def close(self) -> None:
        """Let go; idempotent."""
        self._exchange = None

    def __enter__(self) -> VirtualSpi:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
