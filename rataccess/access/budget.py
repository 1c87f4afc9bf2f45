"""Byte budgets of links, kept across restarts.

Rules of this file: arithmetic on billed bytes and wall time, and the `Memory` that it is kept in.  What is on disk is
never less than what was spent: bytes are taken in slices, each slice on disk before its first byte is used.
"""

from __future__ import annotations

import struct

from rataccess.clock import Clock
from rataccess.config import BudgetSettings
from rataccess.objects import Memory

_FORM = struct.Struct(">qQQ")  # period index, bytes taken in it, bytes taken while nobody knew which period it was
_FORM_BEFORE = struct.Struct(">qQ")


class Budget:
    """At most `settings.bytes` billed bytes in each period; periods are counted from 1970 in wall time.

    A wall clock that jumps back does not refill the budget: the latest period seen stays the current one.  What was spent
    before the time was known counts for the period that it turns out to be.
    """

    def __init__(self, name: str, settings: BudgetSettings, memory: Memory, clock: Clock) -> None:
        self._key = f"budget/{name}"
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._slice = max(settings.billing_quantum, min(16_384, settings.bytes // 16))
        self._period = self._taken = self._undated_taken = 0
        kept = memory.get(self._key)
        if kept and len(kept) == _FORM.size:
            self._period, self._taken, self._undated_taken = _FORM.unpack(kept)
        elif kept and len(kept) == _FORM_BEFORE.size:
            self._period, self._taken = _FORM_BEFORE.unpack(kept)
        self._spent, self._undated = self._taken, self._undated_taken

    @property
    def left(self) -> int:
        """Billed bytes left in this period."""
        self._roll()
        return max(0, self._settings.bytes - self._spent)

    @property
    def period(self) -> int:
        """Which period it is; for `refund`."""
        self._roll()
        return self._period

    @property
    def next_period_in(self) -> float:
        """Seconds until the budget is full again."""
        self._roll()
        return max(0.0, (self._period + 1) * self._settings.period - self._clock.wall())

    def spend(self, billed: int) -> bool:
        """Take `billed` bytes; returns whether the budget had them.  They are on disk before this returns.

        Raises what `Memory.put_now` raises; nothing was taken then.
        """
        if billed > self.left:
            return False
        try:
            self._book(billed)
        except BaseException:
            self._spent -= billed
            raise
        return True

    def refund(self, billed: int, period: int) -> None:
        """What was taken in `period` was not sent after all; too late once the period is over."""
        if self.period == period:
            self._spent = max(0, self._spent - billed)

    def charge(self, billed: int) -> None:
        """Book bytes that could not be refused, such as those of an answer.  Raises what `Memory.put_now` raises; they
        count all the same."""
        self._roll()
        self._book(billed)

    def save(self) -> None:
        """Keep exactly what was spent, soon; the last thing to do before the program ends, or slices go unused."""
        if self._taken or self._undated_taken:
            self._memory.put(self._key, _FORM.pack(self._period, self._spent, self._undated))
            self._taken, self._undated_taken = self._spent, self._undated

    def _book(self, billed: int) -> None:
        self._spent += billed
        if not self._clock.wall_known():
            self._undated += billed
        if self._spent > self._taken or self._undated > self._undated_taken:
            taken = self._spent + self._slice
            undated = 0 if self._clock.wall_known() else self._undated + self._slice
            self._memory.put_now(self._key, _FORM.pack(self._period, min(taken, 2**63), min(undated, 2**63)))
            self._taken, self._undated_taken = taken, undated

    def _roll(self) -> None:
        if not self._clock.wall_known():
            return
        period = int(self._clock.wall() // self._settings.period)
        if period > self._period:
            self._period, self._spent, self._taken = period, self._undated, 0
        self._undated = 0  # from now on they are like all others of this period
