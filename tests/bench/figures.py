"""Figures: what many runs of one thing come to.

Rules of this file: arithmetic on lists of floats; no I/O.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """Median, least and most of some runs."""

    median: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Raises `ValueError` where there is no value."""
        if not values:
            raise ValueError("no run gave a value")
        return cls(statistics.median(values), min(values), max(values), len(values))

    def text(self) -> str:
        """`median [least..most]`; the bare median where all runs agree."""
        median, least, most = shown(self.median), shown(self.least), shown(self.most)
        return median if median == least == most else f"{median} [{least}..{most}]"


def shown(value: float) -> str:
    """A number with three significant digits, or all digits of a larger one, in groups of three."""
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 100:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{value:.{min(max(digits, 0), 4)}f}".rstrip("0").rstrip(".") if digits > 0 else f"{value:.0f}"
    return f"{value:,.0f}"


def ratio(ours: float, theirs: float) -> float:
    """`ours / theirs`; infinite where theirs is nothing and ours is something, and 1 where both are nothing."""
    if theirs == 0:
        return 1.0 if ours == 0 else math.inf
    return ours / theirs
