"""The sky over a satellite radio: how many bars of signal it has, at each moment.

Rules of this file: no clock and no chance of the moment; the bars follow from the time asked for, the seed and what
was set, so that a run can be repeated.  Bars are 0 to 5, as `AT+CSQ` counts them.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable

MOST_BARS = 5
_MOMENT = 10.0
"""Seconds for which the bars stay: satellites move slowly."""


class Sky:
    """A steady sky of `bars`, until something is set.

    `passing` has satellites come and go (an Iridium satellite is in view for about nine minutes), with `seed` choosing
    when.  `rain` takes bars away; `obstruction` (0 to 1) is the share of passes hidden behind buildings and trees.
    """

    def __init__(self, bars: int = MOST_BARS, *, passing: bool = False, seed: int = 0) -> None:
        self.passing = passing
        self.rain = 0
        self.obstruction = 0.0
        self.seed = seed
        self.listeners: list[Callable[[], None]] = []
        """Called when something was set."""
        self._most = MOST_BARS
        self.set(bars)

    def set(self, bars: int) -> None:
        """The most bars that a satellite overhead gives, 0 to 5; 0 is a roof.  Raises `ValueError` for any other."""
        if not 0 <= bars <= MOST_BARS:
            raise ValueError(f"bars are 0 to {MOST_BARS}, not {bars}")
        self._most = bars
        self._changed()

    def spoil(self, rain: int | None = None, obstruction: float | None = None) -> None:
        """Set the bars that rain takes (0 to 5) or the share of passes that is hidden (0 to 1); raises `ValueError`."""
        if rain is not None:
            if not 0 <= rain <= MOST_BARS:
                raise ValueError(f"rain takes 0 to {MOST_BARS} bars, not {rain}")
            self.rain = rain
        if obstruction is not None:
            if not 0 <= obstruction <= 1:
                raise ValueError(f"the hidden share is 0 to 1, not {obstruction}")
            self.obstruction = obstruction
        self._changed()

    @property
    def steady(self) -> bool:
        """Whether the bars stay as they are until something is set."""
        return not self.passing and not self.obstruction

    def next_change(self, now: float) -> float | None:
        """When the bars will be others; `None` where they never will.

        After an hour without change it is that hour's end, so that nobody looks far ahead of what may be set.
        """
        if self.steady:
            return None
        before, at = self.bars(now), (now // _MOMENT + 1) * _MOMENT
        while self.bars(at) == before and at < now + 3600:
            at += _MOMENT
        return at

    def _changed(self) -> None:
        for each in tuple(self.listeners):
            each()

    def bars(self, now: float) -> int:
        """How many bars there are at `now`, seconds of any steady clock."""
        moment = now // _MOMENT * _MOMENT
        height = 1.0 if self.steady else max(self._height(moment, 0), self._height(moment, 1))
        return max(0, round(self._most * min(1.0, height)) - self.rain)

    def _height(self, now: float, plane: int) -> float:
        # Two planes, the passes of which overlap by half, and each pass as high as chance has it.
        length = 540.0
        count, along = divmod(now + plane * length / 2 + self.seed % 540, length)
        if self.obstruction and _chance(self.seed, int(count), plane) < self.obstruction:
            return 0.0
        peak = 0.6 + 0.6 * _chance(~self.seed, int(count), plane)
        return peak * math.sin(math.pi * along / length) ** 2 if self.passing else 1.0

    def __repr__(self) -> str:
        return f"<Sky most={self._most} passing={self.passing} rain={self.rain} obstruction={self.obstruction}>"


@functools.lru_cache(maxsize=64)
def _chance(seed: int, count: int, plane: int) -> float:
    """0 to 1, the same for the same pass."""
    digest = hashlib.blake2b(f"{seed}/{plane}/{count}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
