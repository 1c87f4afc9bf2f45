"""How long to leave a satellite network alone after a session that failed, and what a driver may spend by itself.

Rules of this file: arithmetic; time comes from the caller.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rataccess.clock import Clock
from rataccess.errors import ObjectError
from rataccess.objects import Memory, decode, encode

# Iridium's advice as drivers follow it: at random within 5 s twice, within 30 s twice, and then every 5 minutes.
LADDER = (5.0, 5.0, 30.0, 30.0)
LONGEST = 300.0
DAY = 86_400.0


class Pace:
    """The pause before the next session; after each session, and after `rest`, at least `charge` seconds."""

    def __init__(self, now: Callable[[], float], chance: random.Random, charge: float = 0.0) -> None:
        self._now, self._chance, self._charge = now, chance, charge
        self._failures = 0
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds until the next session may begin, 0 for now."""
        return max(0.0, self._until - self._now())

    def failed(self, least: float = 0.0) -> float:
        """A session failed; returns the pause, at least `least` seconds."""
        step = self._failures
        self._failures += 1
        pause = self._chance.uniform(0.0, LADDER[step]) if step < len(LADDER) else LONGEST
        self._until = self._now() + max(pause, least, self._charge)
        return self.left

    def succeeded(self) -> None:
        """The next failure is the first one again."""
        self._failures, self._until = 0, self._now() + self._charge

    def rest(self) -> None:
        """The supply may just have been switched on."""
        self._until = max(self._until, self._now() + self._charge)


class Purse:
    """Credits that may be spent without being asked, by UTC day; kept across restarts."""

    def __init__(self, memory: Memory, key: str, limit: int, clock: Clock) -> None:
        self._memory, self._key, self.limit, self._clock = memory, key, limit, clock
        self._day, self._spent = 0, 0

    def load(self) -> None:
        """Read what was spent before a restart."""
        try:
            data = self._memory.get(self._key)
            kept: Any = decode(data) if data else (0, 0)
            self._day, self._spent = int(kept[0]), max(0, int(kept[1]))
        except (ObjectError, TypeError, ValueError, LookupError):
            self._day, self._spent = self._today(), self.limit  # damaged: nothing more today

    @property
    def left(self) -> int:
        """What may be spent today."""
        return max(0, self.limit - (self._spent if self._day == self._today() else 0))

    @property
    def next_day_in(self) -> float:
        """Seconds until it is full again."""
        return DAY - self._clock.wall() % DAY

    def spend(self, units: int) -> None:
        """Count what was spent; on disk when this returns."""
        today = self._today()
        self._spent = units + (self._spent if self._day == today else 0)
        self._day = today
        self._memory.put_now(self._key, encode([self._day, self._spent]))

    def _today(self) -> int:
        return int(self._clock.wall() // DAY)
