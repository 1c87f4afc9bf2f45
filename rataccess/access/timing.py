"""How long an answer takes over a link, after RFC 6298 section 2.

Rules of this file: pure arithmetic on seconds that others measured.
"""

from __future__ import annotations

MIN_TIMEOUT = 0.150
"""Seconds.  RFC 6298 asks for 1 s to be safe on TCP; a second attempt over another link costs one packet, so less will do
(measured: 150 ms finds a silent Wi-Fi at 60 ms round trip without false alarms on a quiet link)."""
MAX_TIMEOUT = 60.0


class ResponseTimer:
    """Smoothed response time and its deviation; `timeout` is when an answer is overdue."""

    __slots__ = ("_initial", "deviation", "smoothed")

    def __init__(self, expected: float) -> None:
        """`expected`: usual seconds from request to answer, before anything was measured."""
        self._initial = expected
        self.smoothed: float | None = None
        self.deviation = 0.0

    def sample(self, seconds: float) -> None:
        """Take one measured response time into account; RFC 6298 (2.2), (2.3): alpha 1/8, beta 1/4."""
        if self.smoothed is None:
            self.smoothed, self.deviation = seconds, seconds / 2
            return
        self.deviation += (abs(self.smoothed - seconds) - self.deviation) / 4
        self.smoothed += (seconds - self.smoothed) / 8

    @property
    def timeout(self) -> float:
        """Seconds after which an answer is overdue."""
        if self.smoothed is None:
            return min(MAX_TIMEOUT, max(1.0, 3 * self._initial))
        return min(MAX_TIMEOUT, max(MIN_TIMEOUT, self.smoothed + 4 * self.deviation))
