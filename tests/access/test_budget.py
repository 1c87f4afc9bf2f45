"""Budgets: never over, whatever restarts, full disks and clocks do."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rataccess.access import Budget
from rataccess.config import BudgetSettings
from rataccess.errors import DiskFull
from rataccess.tariff import Unit

PERIOD = 1000.0
LIMIT = 2000
SETTINGS = BudgetSettings(bytes=LIMIT, period=PERIOD, billing_quantum=10)


class Disk:
    """A `Memory` of which a crash keeps what was put now, and perhaps what was put."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.seen: dict[str, bytes] = {}
        self.full = False

    def get(self, key: str) -> bytes | None:
        return self.seen.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.seen[key] = value

    def put_now(self, key: str, value: bytes) -> None:
        if self.full:
            raise DiskFull("full")
        self.seen[key] = self.kept[key] = value

    def crash(self, soft_too: bool) -> None:
        self.kept = dict(self.seen) if soft_too else self.kept
        self.seen = dict(self.kept)


class Watch:
    def __init__(self) -> None:
        self.now, self.known = 5_000_500.0, True

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now if self.known else self.now % PERIOD

    def wall_known(self) -> bool:
        return self.known


class Spending(RuleBasedStateMachine):
    """What was granted in each true period is added up beside the budget."""

    def __init__(self) -> None:
        super().__init__()
        self.disk, self.clock = Disk(), Watch()
        self.granted: dict[int, int] = defaultdict(int)
        self.last: tuple[int, int] | None = None
        self.open()

    def open(self) -> None:
        self.budget = Budget("lte", SETTINGS, self.disk, self.clock)
        self.last = None

    @property
    def period(self) -> int:
        return int(self.clock.now // PERIOD)

    @rule(billed=st.integers(1, 700))
    def spend(self, billed: int) -> None:
        left, period = self.budget.left, self.budget.period
        if self.disk.full:
            try:
                granted = self.budget.spend(billed)
            except DiskFull:
                assert self.budget.left == left, "nothing was taken"
                return
        else:
            granted = self.budget.spend(billed)
            assert granted == (billed <= left)
        if granted:
            self.granted[self.period] += billed
            self.last = billed, period
            assert self.budget.left == left - billed

    @precondition(lambda self: self.last is not None)
    @rule()
    def not_sent(self) -> None:
        assert self.last is not None
        billed, period = self.last
        if period == self.budget.period and (self.clock.known or self.period in self.granted):
            self.budget.refund(billed, period)
            self.granted[self.period] -= billed
        else:
            self.budget.refund(billed, period)
        self.last = None

    @rule(seconds=st.floats(1.0, 1500.0))
    def pass_time(self, seconds: float) -> None:
        before = self.period
        self.clock.now += seconds
        if self.period != before:
            self.last = None

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.disk.full = full

    @rule(soft_too=st.booleans(), known=st.booleans())
    def crash(self, soft_too: bool, known: bool) -> None:
        self.disk.crash(soft_too)
        self.clock.known = known
        self.open()

    @rule(known=st.booleans())
    def stop(self, known: bool) -> None:
        self.budget.save()
        self.disk.crash(True)
        self.clock.known = known
        self.open()

    @rule()
    def learn_the_time(self) -> None:
        self.clock.known = True

    @invariant()
    def never_over(self) -> None:
        assert all(spent <= LIMIT for spent in self.granted.values()), dict(self.granted)
        assert 0 <= self.budget.left <= LIMIT


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_clock_that_jumps_back_refills_nothing() -> None:
    clock, disk = Watch(), Disk()
    budget = Budget("lte", SETTINGS, disk, clock)
    assert budget.spend(LIMIT)
    clock.now -= 5 * PERIOD
    assert budget.left == 0
    disk.crash(False)
    assert Budget("lte", SETTINGS, disk, clock).left == 0
    clock.now += 6 * PERIOD
    assert budget.left == LIMIT
    assert budget.next_period_in == pytest.approx(PERIOD / 2)


def test_what_was_spent_before_the_time_was_known_counts_for_the_period_that_it_is() -> None:
    clock, disk = Watch(), Disk()
    clock.known = False
    budget = Budget("lte", SETTINGS, disk, clock)
    assert budget.spend(1500)
    clock.known = True
    assert budget.left == 500
    clock.now += PERIOD
    assert budget.left == LIMIT, "the next period is whole"


def test_a_device_that_never_learns_the_time_is_not_without_its_link_for_ever() -> None:
    clock, disk = Watch(), Disk()
    assert Budget("lora", SETTINGS, disk, clock).spend(LIMIT)
    clock.known = False
    budget = Budget("lora", SETTINGS, disk, clock)
    assert budget.left == 0, "it may still be the same period"
    clock.now += PERIOD
    assert budget.left == LIMIT
    assert budget.spend(1500)
    budget.refund(100, budget.period)
    clock.now += PERIOD
    assert budget.left == LIMIT - 1400, "a period may have begun after that was spent, or not"
    clock.now += PERIOD
    assert budget.left == LIMIT
    assert budget.spend(300)
    disk.crash(False)
    assert Budget("lora", SETTINGS, disk, clock).left <= LIMIT - 300
    clock.known = True
    assert budget.left <= LIMIT - 300


def test_a_clean_stop_gives_back_what_a_slice_held_and_was_not_used() -> None:
    clock, disk = Watch(), Disk()
    for _ in range(30):
        budget = Budget("lte", SETTINGS, disk, clock)
        assert budget.spend(10)
        budget.save()
        disk.crash(True)
    assert Budget("lte", SETTINGS, disk, clock).left == LIMIT - 300


def test_what_could_not_be_refused_counts_although_the_disk_is_full() -> None:
    clock, disk = Watch(), Disk()
    budget = Budget("lte", SETTINGS, disk, clock)
    disk.full = True
    with pytest.raises(DiskFull):
        budget.charge(600)
    assert budget.left == LIMIT - 600
    disk.full = False
    assert budget.spend(1)
    disk.crash(False)
    assert Budget("lte", SETTINGS, disk, clock).left <= LIMIT - 601


def test_a_budget_of_an_earlier_version_is_read() -> None:
    clock, disk = Watch(), Disk()
    disk.put_now("budget/lte", int(clock.now // PERIOD).to_bytes(8, "big") + (1200).to_bytes(8, "big"))
    assert Budget("lte", SETTINGS, disk, clock).left == 800


def test_a_budget_tells_how_long_it_lasts() -> None:
    clock, disk = Watch(), Disk()
    clock.now = 5_000_000.0
    budget = Budget("sat", BudgetSettings(credits=100, period=1000.0), disk, clock)
    assert budget.line() == "100 credits of its budget left, full again in 1000 s"
    budget.spend(10)
    clock.now += 10
    assert budget.used_up_in is None, "a hundredth of the period says nothing yet"
    clock.now += 90
    assert budget.used_up_in is None, "10 in 100 s leave 90 for 900 s"
    budget.spend(40)
    assert budget.used_up_in == pytest.approx(100.0)
    assert budget.line() == "50 credits of its budget left, used up in 100 s at this rate, full again in 900 s"
    again = Budget("sat", BudgetSettings(credits=100, period=1000.0), disk, clock)
    assert 49 <= again.left <= 50, "a restart forgets at most the slice that was not used"
    budget.spend(50)
    assert budget.line() == "its budget is used up, full again in 900 s"
    clock.now += 901
    assert (budget.left, budget.used_up_in) == (100, None)


def test_exactly_one_unit_is_limited() -> None:
    with pytest.raises(ValueError, match="needs one of bytes, credits, messages and airtime"):
        BudgetSettings()
    with pytest.raises(ValueError, match="not more than one"):
        BudgetSettings(credits=5, airtime=30.0)
    assert (BudgetSettings(airtime=30.0).limit, BudgetSettings(airtime=30.0).unit) == (30_000, Unit.AIRTIME)
