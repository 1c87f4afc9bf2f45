"""Time for a machine without a battery-backed clock.

Rules of this file: it corrects the system's wall clock in memory by what the management service told; it never sets it.
"""

from __future__ import annotations

from rataccess.clock import Clock


class AdjustedClock:
    """`Clock` on top of another whose wall time may be unknown until the service tells it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        if self._clock.wall_known() or self._offset is None:
            return self._clock.wall()
        return self._clock.monotonic() + self._offset

    def wall_known(self) -> bool:
        return self._clock.wall_known() or self._offset is not None

    def learn(self, wall: float) -> float | None:
        """It is `wall` now.  Returns wall time minus monotonic time where that is news, else `None`."""
        if self._clock.wall_known():
            return None
        news = self._offset is None
        self._offset = wall - self._clock.monotonic()
        return self._offset if news else None
