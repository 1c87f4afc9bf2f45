"""Time for a sans-I/O machine: what is due, and when.

Rules of this file: no clock is read; time comes in by `run_until`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Timer:
    """One thing to do later."""

    due: float
    number: int
    run: Callable[[], None] = field(compare=False)
    hardware: bool = field(compare=False, default=False)
    """Whether it goes on when the firmware stops (a boot under way, a key held)."""
    cancelled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        """Never run it."""
        self.cancelled = True


class Schedule:
    """Timers in order; equal times run in the order in which they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[Timer] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, run: Callable[[], None], *, hardware: bool = False) -> Timer:
        """Run something `seconds` from now; never inside this call."""
        timer = Timer(self.now + max(0.0, seconds), next(self._numbers), run, hardware)
        heapq.heappush(self._heap, timer)
        return timer

    def stop_firmware(self) -> None:
        """Cancel every timer that is not the hardware's."""
        for timer in self._heap:
            timer.cancelled |= not timer.hardware

    def next_due(self) -> float | None:
        """When `run_until` has something to do, or `None`."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def run_until(self, now: float) -> None:
        """Run all that is due at `now`, each at its own time."""
        while (due := self.next_due()) is not None and due <= now:
            timer = heapq.heappop(self._heap)
            self.now = max(self.now, timer.due)
            timer.run()
        self.now = max(self.now, now)
