"""Budgets of links, in what their networks bill, kept across restarts.

Rules of this file: arithmetic on units and wall time, and the `Memory` that it is kept in.  What is on disk is never less
than what was spent: units are taken in slices, each slice on disk before its first unit is used.
"""

from __future__ import annotations

import struct

from rataccess.clock import Clock
from rataccess.config import BudgetSettings
from rataccess.objects import Memory

_FORM = struct.Struct(">qQQ")  # period index, units taken in it, units taken while nobody knew which period it was
_FORM_BEFORE = struct.Struct(">qQ")
TELLING = 0.02
"""Share of a period after which its rate of spending says something."""


class Budget:
    """At most `settings.limit` units in each period; periods are counted from 1970 in wall time.

    A wall clock that jumps back does not refill the budget: the latest period seen stays the current one.  What was spent
    before the time was known counts for the period that it turns out to be.  While it stays unknown, each stretch of a
    period's length holds what was spent in the stretch before against its own: no period, whenever it began, has more.
    """

    def __init__(self, name: str, settings: BudgetSettings, memory: Memory, clock: Clock) -> None:
        self._key = f"budget/{name}"
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._slice = settings.slice
        self._period = self._taken = self._undated_taken = 0
        kept = memory.get(self._key)
        if kept and len(kept) == _FORM.size:
            self._period, self._taken, self._undated_taken = _FORM.unpack(kept)
        elif kept and len(kept) == _FORM_BEFORE.size:
            self._period, self._taken = _FORM_BEFORE.unpack(kept)
        self._spent, self._undated = self._taken, self._undated_taken
        self._stretch_at: float | None = None
        self._before = 0
        """What was spent before the stretch, of what counts."""

    @property
    def left(self) -> int:
        """Units left in this period."""
        self._roll()
        return max(0, self._settings.limit - self._spent)

    @property
    def spent(self) -> int:
        """Units spent in this period."""
        self._roll()
        return self._spent

    @property
    def used_up_in(self) -> float | None:
        """Seconds until nothing is left, if spending goes on as in this period so far.

        `None` where the budget lasts until it is full again, or too little of the period has passed to tell.
        """
        left, remains = self.left, self.next_period_in
        passed = self._settings.period - remains
        if left and (not self._spent or passed < TELLING * self._settings.period):
            return None
        lasts = left * passed / self._spent if self._spent else 0.0
        return lasts if lasts < remains else None

    def line(self) -> str:
        """What is left, and for how long, for people."""
        unit, again = self._settings.unit, f"full again in {self.next_period_in:.0f} s"
        forecast = self.used_up_in
        if not self.left:
            return f"its budget is used up, {again}"
        lasts = "" if forecast is None else f", used up in {forecast:.0f} s at this rate"
        return f"{unit.several(self.left)} of its budget left{lasts}, {again}"

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
        """Take `billed` units; returns whether the budget had them.  They are on disk before this returns.

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
            self._before = min(self._before, self._spent)

    def charge(self, billed: int) -> None:
        """Book units that could not be refused, such as those of an answer.  Raises what `Memory.put_now` raises; they
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
            self._stretch()
            return
        self._stretch_at = None
        period = int(self._clock.wall() // self._settings.period)
        if period > self._period:
            self._period, self._spent, self._taken = period, self._undated, 0
        self._undated = 0  # from now on they are like all others of this period

    def _stretch(self) -> None:
        """The time is unknown: once as long as a period has gone by, what was spent before that is of an earlier one."""
        now = self._clock.monotonic()
        if self._stretch_at is None:
            self._stretch_at, self._before = now, self._spent
        elif now - self._stretch_at >= self._settings.period:
            self._stretch_at = now
            self._spent = self._before = self._undated = max(0, self._spent - self._before)
            self._taken = self._undated_taken = 0
