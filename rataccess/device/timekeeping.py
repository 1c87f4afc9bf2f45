"""Time for a machine without a battery-backed clock.

Rules of this file: it corrects the system's wall clock in memory by what the management service told; it never sets it.
"""

from __future__ import annotations

from rataccess.clock import Clock


class AdjustedClock:
    """`Clock` on top of another whose wall time may be unknown until the service, or the system, knows it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None
        self._noticed = False

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        if self._clock.wall_known() or self._offset is None:
            return self._clock.wall()
        return self._clock.monotonic() + self._offset

    def wall_known(self) -> bool:
        return self._clock.wall_known() or self._offset is not None

    def learn(self, wall: float) -> None:
        """The service says that it is `wall` now; the system's own clock counts for more, where it is known."""
        if not self._clock.wall_known():
            self._offset = wall - self._clock.monotonic()

    def notice(self) -> float | None:
        """Wall time minus monotonic time, once: the first time that this is asked while it is known."""
        if self._noticed or not self.wall_known():
            return None
        self._noticed = True
        return self.wall() - self.monotonic()
