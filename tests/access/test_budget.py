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


class Wrong(Watch):
    """Sure of itself, and `ahead` of the truth by so many seconds."""

    ahead = 0.0

    def wall(self) -> float:
        return self.now + self.ahead


@pytest.mark.parametrize("ahead", [-20 * PERIOD, -PERIOD, PERIOD, 365 * PERIOD])
def test_what_was_spent_under_a_wrong_clock_counts_where_it_is_put_right(ahead: float) -> None:
    """A machine without a battery-backed clock starts with the time of its last shutdown, until NTP answers."""
    clock, disk = Wrong(), Disk()
    clock.ahead = ahead
    budget = Budget("lte", SETTINGS, disk, clock)
    assert budget.spend(1500)
    clock.now += 100.0
    clock.ahead = 0.0
    assert budget.left == 500
    disk.crash(False)
    assert Budget("lte", SETTINGS, disk, clock).left <= 500
    clock.now += 300.0
    assert budget.spend(500)
    assert not budget.spend(1)
    clock.now += 200.0
    assert budget.left == (LIMIT if ahead <= PERIOD else 0), "the next period is whole"
    clock.now += PERIOD - 500.0
    assert budget.left >= LIMIT - 500, "where an earlier one was told, after as long as a period"
    clock.now += PERIOD
    assert budget.left == LIMIT


def test_a_clock_set_forward_after_its_own_midnight_counts_what_was_before_that() -> None:
    clock, disk = Wrong(), Disk()
    clock.now, clock.ahead = 5_000_100.0, -20 * PERIOD + 800.0
    budget = Budget("lte", SETTINGS, disk, clock)
    assert budget.spend(900)
    clock.now += 200.0  # its midnight
    assert budget.left == LIMIT
    assert budget.spend(800)
    clock.ahead = 0.0
    assert budget.left == LIMIT - 1700, "all of it was in the last 300 s, and the day is 300 s old"


@pytest.mark.parametrize("step", [PERIOD / 3, 2 * PERIOD])
def test_a_clock_that_was_years_ahead_blocks_the_link_for_a_period_at_most(step: float) -> None:
    """Whether the device starts again in between or not."""
    clock, disk = Wrong(), Disk()
    clock.ahead = 3650 * PERIOD
    assert Budget("lte", SETTINGS, disk, clock).spend(LIMIT)
    clock.ahead, until = 0.0, clock.now + 1.4 * PERIOD
    budget = Budget("lte", SETTINGS, disk, clock)
    assert budget.left == 0
    assert budget.next_period_in <= PERIOD, "not ten years"
    while clock.now < until:
        clock.now += min(step, until - clock.now)
        disk.crash(False)
        budget = Budget("lte", SETTINGS, disk, clock) if step < PERIOD else budget
        budget.left  # noqa: B018 - it looks at the clock
    assert budget.left == LIMIT
    assert budget.spend(LIMIT)
    clock.now += PERIOD
    assert budget.left == LIMIT


def test_a_device_that_always_starts_with_the_same_old_date_forgets_nothing() -> None:
    """A read-only root file system has the date of its image at each start, until NTP answers."""
    clock, disk = Wrong(), Disk()
    for _ in range(5):
        clock.ahead = 4_000_000.0 - clock.now
        budget = Budget("lte", SETTINGS, disk, clock)
        assert budget.spend(200)
        clock.ahead = 0.0
        clock.now += 50.0
        assert budget.spend(100)
        disk.crash(False)
    assert Budget("lte", SETTINGS, disk, clock).left <= LIMIT - 1500


def test_while_the_time_is_unknown_nobody_is_told_of_decades() -> None:
    clock, disk = Watch(), Disk()
    clock.known = False
    budget = Budget("lora", BudgetSettings(credits=10, period=PERIOD), disk, clock)
    assert budget.spend(1)
    clock.now += 10.0
    assert budget.line() == "9 credits of its budget left, full again in 990 s"


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
