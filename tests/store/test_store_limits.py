"""Limits: who is refused, who is dropped, and who always finds room."""

from __future__ import annotations

from typing import Any

import pytest

from rataccess.config.model import WhenFull
from rataccess.errors import StoreFull
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import NewRecord, Store

MANAGEMENT, SOLUTION = Service.MANAGEMENT, Service.SOLUTION
BULK, ROUTINE, PROMPT, ALARM = Urgency


def new(size: int = 10, **fields: Any) -> NewRecord:
    return NewRecord(**{"service": SOLUTION, "queue": "q", "body": encode(bytes(size)), **fields})


def room_for(size: int) -> int:
    """`max_bytes` of which ROUTINE records of one service may use `size`."""
    return next(limit for limit in range(size, 2 * size) if limit - 2 * (limit // 16) == size)


def fill(store: Store, count: int = 10_000, **fields: Any) -> int:
    """Enqueue until refused or dropped from; returns how many were accepted."""
    for done in range(count):
        try:
            store.enqueue(new(**fields))
        except StoreFull:
            return done
    return count


def numbers(store: Store, urgency: Urgency = ROUTINE, service: Service = SOLUTION) -> list[int]:
    return [record.number for record in store.waiting(service, urgency, 0, 10_000, 10**9)]


def test_refuse_is_exact_in_a_small_store_and_uses_no_number(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded, max_records=3)
    assert fill(store) == 3
    with pytest.raises(StoreFull, match=r"max_records = 3"):
        store.enqueue(new())
    store.settle(SOLUTION, [2], ReceiptState.DELIVERED)
    assert store.enqueue(new()).number == 4


def test_bytes_are_limited_too(make: Any) -> None:
    size = len(encode(bytes(10)))
    store = make(max_bytes=room_for(14 * size))
    assert fill(store) == 14
    with pytest.raises(StoreFull, match="max_bytes"):
        store.enqueue(new())
    store.hand_over(SOLUTION, [1], 1.0)
    assert fill(store) == 0, "what was handed over still takes its room"
    store.settle(SOLUTION, [1], ReceiptState.EXPIRED)
    assert fill(store) == 1


@pytest.mark.parametrize("when_full", WhenFull)
@pytest.mark.parametrize("limit", ["max_records", "max_bytes"])
def test_a_flood_leaves_room_for_the_other_service_and_for_alarms(make: Any, limit: str, when_full: WhenFull) -> None:
    size = 1 if limit == "max_records" else len(encode(bytes(10)))
    store = make(when_full=when_full, **{limit: 160 * size})
    fill(store, 500)
    assert sum(count for count, _ in store.depth().values()) == 140, "two shares of 10 are left"
    assert fill(store, 30, urgency=ALARM) in (10, 30)
    assert fill(store, 10, service=MANAGEMENT) == 10
    assert numbers(store, ROUTINE, MANAGEMENT) == list(range(1, 11))


def test_dropping_takes_the_oldest_of_the_least_urgent(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded, max_records=4, when_full=WhenFull.DROP)
    seen: list[Any] = []
    store.on_settled(lambda *event: seen.append(event))
    for urgency in (ROUTINE, BULK, PROMPT, BULK):
        store.enqueue(new(urgency=urgency))
    for urgency in (ROUTINE, ALARM, ALARM):
        store.enqueue(new(urgency=urgency))
    store.close()
    assert seen == [
        (SOLUTION, [2], ReceiptState.DROPPED),
        (SOLUTION, [4], ReceiptState.DROPPED),
        (SOLUTION, [1], ReceiptState.DROPPED),
    ]
    assert store.counters()["dropped"] == 3


def test_dropping_never_takes_one_more_urgent_or_handed_over(make: Any) -> None:
    store = make(max_records=3, when_full=WhenFull.DROP)
    for urgency in (PROMPT, ROUTINE, ALARM):
        store.enqueue(new(urgency=urgency))
    with pytest.raises(StoreFull):
        store.enqueue(new(urgency=BULK))
    store.hand_over(SOLUTION, [2], 1.0)
    with pytest.raises(StoreFull):
        store.enqueue(new(urgency=ROUTINE))
    assert (numbers(store, PROMPT), store.counters()["dropped"]) == ([1], 0)
    assert store.enqueue(new(urgency=PROMPT)).number == 4
    assert numbers(store, PROMPT) == [4], "an equal one goes, the oldest first"


def test_nothing_is_dropped_for_one_that_cannot_fit_anyway(make: Any) -> None:
    size = len(encode(bytes(10)))
    store = make(max_bytes=8 * size + 5, when_full=WhenFull.DROP)
    fill(store, 4, urgency=ALARM)
    fill(store, 4, urgency=BULK)
    with pytest.raises(StoreFull):
        store.enqueue(new(50, urgency=PROMPT))
    assert len(numbers(store, BULK)) == 4
    store.enqueue(new(20, urgency=PROMPT))
    assert len(numbers(store, BULK)) == 2, "as many as are needed"


def test_a_flood_drops_its_own_before_those_of_the_other_service(make: Any) -> None:
    store = make(max_records=8, when_full=WhenFull.DROP)
    fill(store, 3, service=MANAGEMENT)
    fill(store, 50)
    assert (len(numbers(store, ROUTINE, MANAGEMENT)), len(numbers(store))) == (3, 5)
    fill(store, 50, service=MANAGEMENT)
    assert (len(numbers(store, ROUTINE, MANAGEMENT)), len(numbers(store))) == (4, 4)


def test_a_replacement_needs_no_room_of_its_own(make: Any) -> None:
    store = make(max_records=2)
    store.enqueue(new(replaces="x"))
    store.enqueue(new())
    assert store.enqueue(new(replaces="x")).number == 3
    with pytest.raises(StoreFull):
        store.enqueue(new(replaces="y"))
    assert numbers(store) == [2, 3]


def test_a_refused_replacement_replaces_nothing(make: Any) -> None:
    size = len(encode(bytes(10)))
    store = make(max_bytes=room_for(2 * size))
    store.enqueue(new(replaces="x"))
    store.enqueue(new())
    with pytest.raises(StoreFull):
        store.enqueue(new(15, replaces="x"))
    assert numbers(store) == [1, 2]


def test_within_one_group_the_limits_hold_as_well(make: Any) -> None:
    store = make(max_records=5, when_full=WhenFull.DROP)
    results: list[Any] = []
    seen: list[Any] = []
    store.on_settled(lambda *event: seen.append(event[1]))
    store._engine.run([(new(urgency=BULK), results.append) for _ in range(9)])
    assert [one.number for one in results] == list(range(1, 10))
    assert seen == [[1], [2], [3], [4]]
    assert numbers(store, BULK) == [5, 6, 7, 8, 9]
