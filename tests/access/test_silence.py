"""How long a link rests that takes nothing: ever longer, and so that a budget outlives the outage."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.access.silence import LONGEST, LONGEST_URGENT, SHARE, Ration, Silence

DAY = 86_400.0


def tries(limit: float, cost: float, lasts: float, *, urgent: bool, period: float = DAY) -> list[float]:
    """When an outage of `lasts` seconds is tried, from the beginning of a period on, with a budget of `limit`."""
    silence, now, made, left = Silence(), 0.0, list[float](), limit
    while now < lasts and left >= cost:
        made.append(now)
        left -= cost
        silence.tried(now, now, 2.0, Ration(left / cost, period - now), 1.0)
        assert silence.left(now, urgent=urgent) > 0
        now += silence.left(now, urgent=urgent)
    return made


def test_without_a_budget_pauses_double_up_to_a_quarter_of_an_hour_and_for_alarms_to_five_minutes() -> None:
    silence, pauses = Silence(), list[tuple[float, float]]()
    for n in range(12):
        silence.tried(1000.0 * n, 1000.0 * n, 2.0, None, 1.0)
        pauses.append((silence.left(1000.0 * n, urgent=False), silence.left(1000.0 * n, urgent=True)))
    assert pauses[:5] == [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]
    assert pauses[-1] == (LONGEST, LONGEST_URGENT)


def test_a_burst_counts_once_and_an_end_forgets_all() -> None:
    silence = Silence()
    for sent_at in (0.0, 1.0, 2.0):
        silence.tried(sent_at, 10.0, 2.0, None, 1.0)
    assert (silence.tries, silence.left(10.0, urgent=False)) == (1, 2.0)
    silence.end()
    assert (silence.tries, silence.left(10.0, urgent=False)) == (0, 0.0)


def test_a_link_that_comes_up_is_tried_at_once_and_rests_as_long_as_before() -> None:
    silence = Silence()
    for n in range(8):
        silence.tried(1000.0 * n, 1000.0 * n, 2.0, None, 1.0)
    silence.wake()
    assert silence.left(7001.0, urgent=False) == 0
    silence.tried(7001.0, 7001.0, 2.0, None, 1.0)
    assert silence.left(7001.0, urgent=False) == 512


def test_seven_tries_that_a_day_pays_for_are_spread_over_the_day() -> None:
    """SF12, 50 bytes three times: 7 s of the 60 s that a network allows a day."""
    made = tries(60.0, 7.0, DAY, urgent=False)
    assert len(made) in (6, 7)
    assert made[1] < 300, "a gateway that restarts is found soon"
    assert all(later < 12 * max(earlier, 10.0) for earlier, later in itertools.pairwise(made))
    alarms = tries(60.0, 7.0, DAY, urgent=True)
    assert all(alarm <= other for alarm, other in zip(alarms, made, strict=False)), "alarms may use all of it"


@given(st.floats(10.0, 1e6), st.floats(0.001, 0.3), st.floats(3600.0, 30 * DAY), st.floats(0.05, 0.95), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_budget_something_is_left_when_the_network_comes_back(
    limit: float, cost: float, period: float, lasts: float, urgent: bool
) -> None:
    made = tries(limit, cost * limit, lasts * period, urgent=urgent, period=period)
    left = limit * (1 - cost * len(made))
    if not urgent:
        assert left >= (1 - SHARE) * limit * (1 - lasts) - 2 * cost * limit - 1e-6
    assert all(later > earlier for earlier, later in itertools.pairwise(made))


def test_what_pays_for_no_more_tries_rests_until_it_is_full_again() -> None:
    assert Ration(1.9, 5000.0).pause(100.0, SHARE) == 5000.0
    assert Ration(1.9, 5000.0).pause(100.0, 1.0) < 1000.0


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (1010.0, "in 12 tries over 1010 s, tried again in 890 s (alarms: in 290 s)"),
        (1400.0, "in 12 tries over 1400 s, tried again in 500 s (alarms: at once)"),
        (2000.0, "in 12 tries over 2000 s, tried again with the next record"),
    ],
)
def test_it_tells_when_the_next_try_is(now: float, told: str) -> None:
    silence = Silence()
    for n in range(12):
        silence.tried(n * 1000 / 11, n * 1000 / 11, 2.0, None, 1.0)
    assert silence.line(now) == f"nothing got through {told}"
