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
DRIFT = 60.0
"""Seconds by which the wall clock may drift away from the monotonic one between two looks; more, and it was set."""


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


class ClockWatch:
    """Notices that the wall clock was set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None
        """Wall time minus monotonic time at the last look; `None` where the time was unknown."""

    def was_set(self) -> bool:
        """Whether the wall clock has moved by more than `DRIFT` against the monotonic one since the last look, and was known
        at both."""
        known = self._clock.wall_known()
        before, self._offset = self._offset, self._clock.wall() - self._clock.monotonic() if known else None
        return before is not None and self._offset is not None and abs(self._offset - before) > DRIFT


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
