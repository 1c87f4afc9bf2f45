"""The demo's judgement, on made-up journals and stores."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rataccess.cli.demo.verdict import Journal, Stored, find_switches, judge


def body(name: str, value: int = 0) -> dict[str, Any]:
    return {"sample": name, "value": value}


def journal(*names: str, accepted: int | None = None) -> Journal:
    """A journal of `names`, the first `accepted` of which (default: all) were accepted."""
    taken = names if accepted is None else names[:accepted]
    return Journal({name: body(name) for name in names}, {name: number for number, name in enumerate(taken, 1)})


def stored(*names: str, link: str = "wifi") -> list[Stored]:
    return [Stored(number, float(number), link, body(name)) for number, name in enumerate(names, 1)]


def test_all_is_well() -> None:
    verdict = judge(journal("a", "b"), stored("a", "b"), 0, [])
    assert (verdict.enqueued, verdict.delivered) == (2, 2)
    assert (verdict.lost, verdict.duplicated, verdict.corrupted, verdict.expired) == (0, 0, 0, 0)
    assert verdict.good


def test_what_was_accepted_and_is_not_there_is_lost() -> None:
    verdict = judge(journal("a", "b", "c"), stored("a"), 0, [])
    assert (verdict.enqueued, verdict.delivered, verdict.lost) == (3, 1, 2)
    assert not verdict.good


def test_what_expired_is_not_lost() -> None:
    verdict = judge(journal("a", "b", "c"), stored("a"), 1, [])
    assert (verdict.expired, verdict.lost) == (1, 1)


def test_what_was_meant_but_not_accepted_may_be_there_or_not() -> None:
    assert judge(journal("a", "b", accepted=1), stored("a"), 0, []).good
    verdict = judge(journal("a", "b", accepted=1), stored("a", "b"), 0, [])
    assert verdict.good
    assert (verdict.enqueued, verdict.delivered) == (2, 2)


def test_a_sample_that_is_stored_twice_is_a_duplicate() -> None:
    verdict = judge(journal("a", "b"), stored("a", "b", "a"), 0, [])
    assert (verdict.duplicated, verdict.delivered, verdict.lost) == (1, 2, 0)
    assert not verdict.good


def test_a_number_that_is_stored_twice_is_a_duplicate() -> None:
    records = [*stored("a", "b"), Stored(1, 3.0, "wifi", body("c"))]
    assert judge(journal("a", "b", "c"), records, 0, []).duplicated == 1


def test_the_same_record_twice_counts_once() -> None:
    assert judge(journal("a"), stored("a") * 2, 0, []).duplicated == 1


def test_altered_strange_and_malformed_records_are_corrupted() -> None:
    records = [Stored(1, 1.0, "wifi", body("a", 1)), Stored(2, 2.0, "wifi", body("unknown"))]
    records += [Stored(3, 3.0, "wifi", None), Stored(4, 4.0, "wifi", {"sample": ["a"]})]
    verdict = judge(journal("a"), records, 0, [])
    assert (verdict.corrupted, verdict.lost, verdict.delivered) == (4, 1, 0)
    assert not verdict.good


def test_nothing_delivered_is_not_good() -> None:
    assert not judge(Journal(), [], 0, []).good


# --- the journal ------------------------------------------------------------------------------------------------------

LINES = [{"meant": "a", "body": body("a")}, {"accepted": "a", "record": 1}, {"flushed": 0.1}]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES)


def test_a_journal_is_read() -> None:
    assert Journal.read(TEXT) == Journal({"a": body("a")}, {"a": 1})


@given(st.integers(0, len(TEXT)))
def test_a_line_that_a_kill_has_cut_is_left_out_and_the_next_run_is_read(cut: int) -> None:
    again = json.dumps({"meant": "b", "body": body("b")}) + "\n"
    found = Journal.read(TEXT[:cut] + "\n" + again)
    assert found.meant.pop("b") == body("b")
    whole = Journal.read(TEXT)
    assert found.meant.items() <= whole.meant.items()
    assert found.accepted.items() <= whole.accepted.items()
    assert bool(found.meant) is (cut >= len(json.dumps(LINES[0])))


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    Journal.read(text)


# --- switches ---------------------------------------------------------------------------------------------------------


def timeline(*runs: tuple[str, float, float]) -> list[Stored]:
    """Deliveries every 0.1 s over a link, from one time to another, for each run."""
    found: list[Stored] = []
    for link, start, end in runs:
        for step in range(round((end - start) * 10) + 1):
            found.append(Stored(len(found) + 1, round(start + step / 10, 3), link, None))
    return found


def decision(at: float, origin: str | None, target: str, cause: str) -> dict[str, Any]:
    return {"at": at, "kind": "switch", "from": origin, "to": target, "text": f"{cause}; now {target}: best"}


def test_a_switch_has_its_cause_and_its_gap() -> None:
    causes = [
        decision(0.0, None, "wifi", "wifi: up"),
        decision(2.05, "wifi", "cellular", "wifi: no carrier"),
        {"at": 2.06, "kind": "link", "from": None, "to": None, "text": "wifi: down"},
        decision(5.0, "cellular", "wifi", "wifi is back"),
    ]
    records = timeline(("wifi", 1.0, 2.0), ("cellular", 2.25, 4.95), ("wifi", 5.2, 6.0))
    found = find_switches(records[::-1], causes[::-1])  # whatever order they were read in
    assert [(each.origin, each.target, each.cause) for each in found] == [
        ("wifi", "cellular", "wifi: no carrier"),
        ("cellular", "wifi", "wifi is back"),
    ]
    assert [round(each.gap_ms) for each in found] == [250, 250]


def test_an_old_decision_is_not_the_cause_of_a_later_change() -> None:
    records = timeline(("wifi", 1.0, 2.0), ("cellular", 2.2, 4.0))
    [found] = find_switches(records, [decision(0.5, "wifi", "cellular", "long ago")])
    assert found.cause == "second attempt over another link"


def test_a_decision_that_is_noted_just_after_the_first_answer_counts() -> None:
    records = timeline(("wifi", 1.0, 2.0), ("cellular", 2.2, 4.0))
    [found] = find_switches(records, [decision(2.5, "wifi", "cellular", "wifi: silent")])
    assert found.cause == "wifi: silent"


def test_what_was_overtaken_is_no_switch_back() -> None:
    records = timeline(("wifi", 1.0, 2.0), ("cellular", 2.2, 2.4), ("wifi", 2.45, 2.45), ("cellular", 2.5, 4.0))
    [found] = find_switches(records, [decision(2.1, "wifi", "cellular", "wifi: silent")])
    assert (found.origin, found.target, round(found.gap_ms)) == ("wifi", "cellular", 200)


def test_a_short_return_that_was_decided_is_a_switch() -> None:
    records = timeline(("wifi", 1.0, 2.0), ("cellular", 2.2, 2.4), ("wifi", 2.6, 2.8), ("cellular", 3.0, 4.0))
    causes = [decision(2.1, "wifi", "cellular", "1"), decision(2.5, "cellular", "wifi", "2")]
    causes.append(decision(2.9, "wifi", "cellular", "3"))
    assert [each.cause for each in find_switches(records, causes)] == ["1", "2", "3"]


def test_records_of_an_unknown_link_are_passed_over() -> None:
    assert (
        find_switches([Stored(1, 1.0, "wifi", None), Stored(2, 2.0, None, None), Stored(3, 3.0, "wifi", None)], [])
        == []
    )
