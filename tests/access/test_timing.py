"""How long an answer takes, how long a link must be stable, and what is written down."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.access import DecisionLog, Entry, Kind, ResponseTimer
from rataccess.access.timing import MAX_TIMEOUT, MIN_TIMEOUT

SECONDS = st.floats(0.0001, 200.0)


def rfc_6298(samples: list[float]) -> float:
    """Section 2, as it is written there, with the limits of this library."""
    srtt = rttvar = 0.0
    for index, r in enumerate(samples):
        if index == 0:
            srtt, rttvar = r, r / 2
        else:
            rttvar = (1 - 1 / 4) * rttvar + 1 / 4 * abs(srtt - r)
            srtt = (1 - 1 / 8) * srtt + 1 / 8 * r
    return min(MAX_TIMEOUT, max(MIN_TIMEOUT, srtt + 4 * rttvar))


@given(st.lists(SECONDS, min_size=1, max_size=40))
@settings(max_examples=200)
def test_the_timer_follows_rfc_6298(samples: list[float]) -> None:
    timer = ResponseTimer(1.0)
    for sample in samples:
        timer.sample(sample)
    assert timer.timeout == pytest.approx(rfc_6298(samples))


def test_before_the_first_sample_the_radio_is_believed() -> None:
    assert ResponseTimer(0.06).timeout == 1.0
    assert ResponseTimer(5.0).timeout == 15.0
    assert ResponseTimer(500.0).timeout == MAX_TIMEOUT
    assert ResponseTimer(5.0).smoothed is None


def test_the_log_keeps_the_last_and_can_be_read_while_it_grows() -> None:
    log = DecisionLog(most=3)
    for n in range(5):
        log.add(Entry(float(n), Kind.LINK, str(n)))
    assert [entry.text for entry in log] == ["2", "3", "4"]
    for _ in log:
        log.add(Entry(9.0, Kind.SWITCH, "9", None, "lte"))
    assert len(log) == 3
