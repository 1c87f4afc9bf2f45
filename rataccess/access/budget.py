"""Budgets of links, in what their networks bill, kept across restarts.

Rules of this file: arithmetic on units and wall time, and the `Memory` that it is kept in.  What is on disk is never less
than what was spent: units are taken in slices, each slice on disk before its first unit is used.
"""

from __future__ import annotations

import contextlib
import struct

from rataccess.clock import DRIFT, Clock, ClockWatch
from rataccess.config import BudgetSettings
from rataccess.errors import RataccessError
from rataccess.objects import Memory

_FORM = struct.Struct(">qQQq")
"""Period index, units taken in it, units taken while nobody knew which period it was, and since when (wall seconds) the
clock has told an earlier period, or 0."""
_FORMS_BEFORE = {struct.calcsize(form): struct.Struct(form) for form in (">qQ", ">qQQ")}
TELLING = 0.02
"""Share of a period after which its rate of spending says something."""


class Budget:
    """At most `settings.limit` units in each period; periods are counted from 1970 in wall time.

    No wall clock is believed that nothing but itself speaks for:

    - What was spent before the time was known counts for the period that it turns out to be.  While it stays unknown, each
      stretch of a period's length holds what was spent in the stretch before against its own: no period, whenever it
      began, has more.
    - One that is set forward while this runs (a Raspberry Pi starts with the time of its last shutdown, until NTP answers)
      may have been behind: what this run has spent since the new period began counts for that too.
    - One that is set back does not refill the budget: it counts as unknown.  Once it has gone on for as long as a period
      lasts, restarts or not, or comes to the period again by itself, the clock before was the wrong one.
    """

    def __init__(self, name: str, settings: BudgetSettings, memory: Memory, clock: Clock) -> None:
        self._key = f"budget/{name}"
        self._settings = settings
        self._memory = memory
        self._clock = clock
        self._slice = settings.slice
        self._period = self._taken = self._undated_taken = 0
        self._behind_since = 0
        kept = memory.get(self._key) or b""
        if len(kept) == _FORM.size:
            self._period, self._taken, self._undated_taken, self._behind_since = _FORM.unpack(kept)
        elif form := _FORMS_BEFORE.get(len(kept)):
            self._period, self._taken, *undated = form.unpack(kept)
            self._undated_taken = sum(undated)
        self._spent, self._undated = self._taken, self._undated_taken
        self._stretch_at: float | None = None
        self._before = 0
        """What was spent before the stretch, of what counts."""
        self._watch = ClockWatch(clock)
        self._run = self._run_before = 0
        """What this run has spent in this period, and in the one before."""
        self._rolled_at = float("-inf")

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
        length, wall = self._settings.period, self._clock.wall()
        if self._stretch_at is None:
            return max(0.0, (self._period + 1) * length - wall)
        left = length - (self._clock.monotonic() - self._stretch_at)
        return max(0.0, min(left, self._behind_since + length - wall) if self._behind_since else left)

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
            self._run -= billed
            raise
        return True

    def refund(self, billed: int, period: int) -> None:
        """What was taken in `period` was not sent after all; too late once the period is over."""
        if self.period == period:
            self._spent = max(0, self._spent - billed)
            self._run = max(0, self._run - billed)
            self._before = min(self._before, self._spent)

    def charge(self, billed: int) -> None:
        """Book units that could not be refused, such as those of an answer.  Raises what `Memory.put_now` raises; they
        count all the same."""
        self._roll()
        self._book(billed)

    def save(self) -> None:
        """Keep exactly what was spent, soon; the last thing to do before the program ends, or slices go unused."""
        if self._taken or self._undated_taken:
            self._memory.put(self._key, _FORM.pack(self._period, self._spent, self._undated, self._behind_since))
            self._taken, self._undated_taken = self._spent, self._undated

    def _book(self, billed: int) -> None:
        self._spent += billed
        self._run += billed
        dated = self._stretch_at is None
        if not dated:
            self._undated += billed
        if self._spent > self._taken or self._undated > self._undated_taken:
            taken = self._spent + self._slice
            undated = 0 if dated else self._undated + self._slice
            form = _FORM.pack(self._period, min(taken, 2**63), min(undated, 2**63), self._behind_since)
            self._memory.put_now(self._key, form)
            self._taken, self._undated_taken = taken, undated

    def _roll(self) -> None:
        """Find out which period it is."""
        wall, known, set_to = self._clock.wall(), self._clock.wall_known(), self._watch.was_set()
        period = int(wall // self._settings.period)
        if not known or (period < self._period and not self._passed_behind(wall)):
            self._stretch(period if known else None)
            return
        caught_up = self._caught_up and not set_to
        behind, self._behind_since, self._stretch_at = self._behind_since, 0, None
        if caught_up:
            self._begin(period, 0)
        elif period != self._period:
            self._begin(period, self._counts_on(wall) if set_to else self._undated)
        self._undated = 0  # from now on they are like all others of this period
        if behind or (set_to and self._taken < self._spent):
            self._keep()

    @property
    def _caught_up(self) -> bool:
        """Whether the clock, having told an earlier period for a while, has come by itself to the one that was kept:
        then all that was spent was before this one."""
        began = self._stretch_at if self._behind_since else None
        return began is not None and self._clock.monotonic() - began > DRIFT

    def _begin(self, period: int, spent: int) -> None:
        """Another period, of which so much is spent."""
        self._run_before, self._run = (0, spent) if spent else (self._run, 0)
        self._rolled_at = self._clock.monotonic()
        self._period, self._spent, self._taken = period, spent, 0

    def _counts_on(self, wall: float) -> int:
        """The clock was set forward to `wall`: what this run spent since the period that it tells began."""
        age = wall % self._settings.period
        before = self._run_before if self._clock.monotonic() - self._rolled_at < age else 0
        return max(self._undated, self._run) + before

    def _passed_behind(self, wall: float) -> bool:
        """Whether the clock has told an earlier period for as long as a period lasts."""
        return bool(self._behind_since) and wall - self._behind_since >= self._settings.period

    def _stretch(self, period: int | None) -> None:
        """The time is unknown, or `period` is earlier than it was: once as long as a period has gone by, what was spent
        before that is of an earlier one."""
        now = self._clock.monotonic()
        if period is not None and not self._behind_since:
            self._behind_since = int(self._clock.wall())
            self._keep()
        if self._stretch_at is None:
            self._stretch_at, self._before = now, self._spent
        elif now - self._stretch_at >= self._settings.period:
            self._stretch_at = now
            self._spent = self._before = self._undated = max(0, self._spent - self._before)
            self._taken = self._undated_taken = 0

    def _keep(self) -> None:
        """The clock was set.  What a full disk does not take now is kept with the next unit that is spent."""
        taken, undated = max(self._taken, self._spent), max(self._undated_taken, self._undated)
        with contextlib.suppress(RataccessError):
            self._memory.put_now(self._key, _FORM.pack(self._period, taken, undated, self._behind_since))
            self._taken, self._undated_taken = taken, undated
