"""Duty cycle: never more than the share of any hour, whatever restarts and clocks do."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess.driver import Forgetful
from rataccess.errors import DiskFull
from rataccess_drivers.lora.airtime_ledger import AirtimeLedger, Band

G1 = Band("868.0-868.6 MHz, 1 %", 868_000_000, 868_600_000, 0.01)
G2 = Band("868.7-869.2 MHz, 0.1 %", 868_700_000, 869_200_000, 0.001)


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1e9

    def wall_known(self) -> bool:
        return True


def ledger(clock: HandClock, memory: Forgetful | None = None) -> AirtimeLedger:
    return AirtimeLedger((G1, G2), memory or Forgetful(), "driver/x/airtime", clock)


def test_an_hour_holds_its_share_and_no_more() -> None:
    clock = HandClock()
    book = ledger(clock)
    book.spend(868_100_000, 30.0)
    assert book.wait(868_300_000, 6.0) == 0.0
    assert book.wait(868_300_000, 6.1) == pytest.approx(3630.0)
    assert book.wait(868_800_000, 3.6) == 0.0
    assert book.wait(868_800_000, 3.7) == math.inf
    clock.now = 3630.0
    assert book.wait(868_300_000, 36.0) == 0.0


def test_allowances_tell_what_is_left_and_when_there_is_more() -> None:
    clock = HandClock()
    book = ledger(clock)
    book.spend(868_800_000, 3.6)
    first, second = book.allowances()
    assert (first.left, first.limit, first.next_slot, first.period) == (36_000, 36_000, None, 3600.0)
    assert (second.left, second.limit) == (0, 3_600)
    assert second.next_slot == pytest.approx(3603.6)


def test_frequencies_beyond_all_bands_have_the_smallest_share() -> None:
    book = ledger(HandClock())
    book.spend(863_100_000, 3.0)
    assert book.wait(863_100_000, 1.0) > 0
    assert book.wait(868_100_000, 1.0) == 0
    assert [allowance.name for allowance in book.allowances()] == [G1.name, G2.name, "elsewhere"]


def test_without_bands_everything_is_allowed() -> None:
    book = AirtimeLedger((), Forgetful(), "k", HandClock())
    book.spend(915_000_000, 1e6)
    assert book.wait(915_000_000, 1e6) == 0
    assert book.allowances() == []


def test_a_restart_forgets_nothing_and_credits_no_pause() -> None:
    memory = Forgetful()
    before = HandClock(5_000.0)
    book = ledger(before, memory)
    book.spend(868_100_000, 36.0)
    before.now += 1_000
    book.spend(868_800_000, 0.1)  # writes the ages
    after = HandClock(17.0)  # a machine that was off for days, its monotonic clock new
    again = ledger(after, memory)
    assert again.wait(868_100_000, 1.0) == pytest.approx(3636 - 1_000)
    after.now += 3_600
    assert again.wait(868_100_000, 36.0) == 0


def test_ages_are_written_though_nothing_is_sent() -> None:
    memory, clock = Forgetful(), HandClock()
    book = ledger(clock, memory)
    book.spend(868_100_000, 36.0)
    clock.now = 3_000.0
    book.wait(868_100_000, 1.0)
    assert ledger(HandClock(), memory).wait(868_100_000, 1.0) == pytest.approx(636.0)


@pytest.mark.parametrize("rubbish", [b"", b"\xff", b"\x01", b"\xa1\x61a\x81\x83\x20\x00\x00", b"\xa1\x61a\x01"])
def test_a_damaged_ledger_counts_as_spent(rubbish: bytes) -> None:
    memory = Forgetful()
    memory.put("driver/x/airtime", rubbish)
    assert ledger(HandClock(), memory).wait(868_100_000, 1.0) == pytest.approx(3600.0)


@pytest.mark.looptime
async def test_jumps_of_the_wall_clock_move_nothing() -> None:
    clock = LoopClock()
    book = AirtimeLedger((G1,), Forgetful(), "k", clock)
    book.spend(868_100_000, 36.0)
    clock.jump(10_000_000)
    assert book.wait(868_100_000, 1.0) == pytest.approx(3636.0)
    await asyncio.sleep(3_636)
    clock.jump(-10_000_000)
    assert book.wait(868_100_000, 1.0) == 0


class Card(Forgetful):
    """A memory whose process may be killed: what was not put at once is gone then."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[str, bytes] = {}
        self.writes = 0

    def put_now(self, key: str, value: bytes) -> None:
        self.put(key, value)
        self.disk[key] = value
        self.writes += 1

    def cut(self) -> None:
        self._values = dict(self.disk)


def test_what_is_written_ahead_spares_writes_and_counts_after_a_restart() -> None:
    card, clock = Card(), HandClock()
    book = AirtimeLedger((G1,), card, "k", clock, reserve=0.1)
    for _ in range(30):
        book.spend(868_100_000, 0.125)
    assert card.writes == 2
    assert book.wait(868_100_000, 32.25) == 0
    card.cut()
    again = AirtimeLedger((G1,), card, "k", HandClock(), reserve=0.1)
    assert again.wait(868_100_000, 32.25 - 3.7) == 0
    assert again.wait(868_100_000, 32.25 - 3.5) > 0


@pytest.mark.parametrize("reserve", [0.0, 0.1])
def test_what_cannot_be_kept_counts_as_nothing(reserve: float) -> None:
    """It is not sent either.  What was written ahead before the disk was full may be used, and no more."""
    card, clock = Card(), HandClock()
    charged: list[float] = []
    book = AirtimeLedger((G1,), card, "k", clock, reserve=reserve)
    book.on_spent = charged.append
    book.spend(868_100_000, 2.0)
    put_now, card.put_now = card.put_now, _full  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(DiskFull):
            book.spend(868_100_000, 4.0)
    assert charged == [2.0]
    assert book.wait(868_100_000, 34.0) == 0
    card.put_now = put_now  # type: ignore[method-assign]
    book.spend(868_100_000, 4.0)
    card.cut()
    again = AirtimeLedger((G1,), card, "k", HandClock(), reserve=reserve)
    assert again.wait(868_100_000, 30.1 - reserve * 36) > 0
    assert again.wait(868_100_000, 29.9 - reserve * 36) == 0


def _full(key: str, value: bytes) -> None:
    raise DiskFull("no room")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 900), st.floats(0.05, 9.0), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([0.0, 0.1]),
)
def test_no_hour_ever_exceeds_its_share(steps: list[tuple[float, float, bool]], reserve: float) -> None:
    card, clock, offset = Card(), HandClock(100.0), 0.0
    book, sent = AirtimeLedger((G1, G2), card, "k", clock, reserve=reserve), []
    for pause, seconds, restart in steps:
        clock.now += pause
        if restart:
            card.cut()
            offset += clock.now
            clock = HandClock(0.0)
            book = AirtimeLedger((G1, G2), card, "k", clock, reserve=reserve)
        if book.wait(868_100_000, seconds) == 0:
            book.spend(868_100_000, seconds)
            sent.append((offset + clock.now, seconds))
            clock.now += seconds
    for begin, _ in sent:
        assert sum(seconds for at, seconds in sent if begin <= at < begin + 3600) <= 36.0 + 1e-6
