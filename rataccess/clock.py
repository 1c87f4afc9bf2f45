"""Time, injected.

Rules of this file: no other file reads a clock.  Durations come from `monotonic`, dates from `wall`; sleeping is done on
the event loop only, so that a virtual-time loop moves everything at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# 2025-01-01T00:00:00Z: a wall clock before this was never set (a Raspberry Pi without RTC starts in 1970 or at build time).
EARLIEST_PLAUSIBLE = 1_735_689_600.0


class Clock(Protocol):
    """What code may know of time."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an unknown start; the event loop's own time."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; may jump."""
        ...

    def wall_known(self) -> bool:
        """Whether `wall` can be believed."""
        ...


class SystemClock:
    """The machine's clocks; `monotonic` follows the running event loop where there is one."""

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def wall_known(self) -> bool:
        return time.time() >= EARLIEST_PLAUSIBLE


def stopwatch() -> float:
    """Real seconds from an unknown start, for how long something took; virtual time does not move it."""
    return time.perf_counter()


class LoopClock:
    """A clock for tests and simulations: `wall` is `start` plus the event loop's time; `jump` moves the wall clock."""

    def __init__(self, start: float = 1_767_225_600.0, known: bool = True) -> None:
        self._start = start
        self.known = known

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self._start + asyncio.get_running_loop().time()

    def wall_known(self) -> bool:
        return self.known

    def jump(self, seconds: float) -> None:
        """Move the wall clock, as NTP or a user would; the monotonic clock stays."""
        self._start += seconds
