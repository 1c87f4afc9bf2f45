"""Byte budgets of links, kept across restarts.

Rules of this file: arithmetic on billed bytes and wall time, and the `Memory` that it is kept in.  What is on disk is
never less than what was spent: bytes are taken in slices, each slice on disk before its first byte is used.
"""

from __future__ import annotations

import struct

from rataccess.clock import Clock
from rataccess.config import BudgetSettings
from rataccess.objects import Memory

_FORM = struct.Struct(">qQ")  # period index, bytes taken in it


class Budget:
    """At most `settings.bytes` billed bytes in each period; periods are counted from 1970 in wall time.

    A wall clock that jumps back does not refill the budget: the latest period seen stays the current one.
    """

    def __init__(self, name: str, settings: BudgetSettings, memory: Memory, clock: Clock) -> None:
        self._key = f"budget/{name}"
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._slice = max(settings.billing_quantum, min(16_384, settings.bytes // 16))
        kept = memory.get(self._key)
        self._period: int = 0
        self._taken: int = 0
        if kept and len(kept) == _FORM.size:
            self._period, self._taken = _FORM.unpack(kept)
        self._spent = self._taken

    @property
    def left(self) -> int:
        """Billed bytes left in this period."""
        self._roll()
        return max(0, self._settings.bytes - self._spent)

    @property
    def next_period_in(self) -> float:
        """Seconds until the budget is full again."""
        self._roll()
        return max(0.0, (self._period + 1) * self._settings.period - self._clock.wall())

    def spend(self, billed: int) -> bool:
        """Take `billed` bytes; returns whether the budget had them.  They are on disk before this returns."""
        if billed > self.left:
            return False
        self._book(billed)
        return True

    def charge(self, billed: int) -> None:
        """Book bytes that could not be refused, such as those of an answer."""
        self._roll()
        self._book(billed)

    def _book(self, billed: int) -> None:
        self._spent += billed
        if self._spent > self._taken:
            self._taken = self._spent + self._slice
            self._memory.put_now(self._key, _FORM.pack(self._period, min(self._taken, 2**63)))

    def _roll(self) -> None:
        period = int(self._clock.wall() // self._settings.period)
        if period > self._period and self._clock.wall_known():
            self._period, self._spent, self._taken = period, 0, 0
