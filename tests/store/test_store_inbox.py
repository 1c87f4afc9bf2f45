"""What arrived, named objects, and the key-value memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rataccess.errors import StoreFull
from rataccess.numbers import NumberSet
from rataccess.objects import Service, encode
from rataccess.store import Inbound, Store

MANAGEMENT, SOLUTION = Service.MANAGEMENT, Service.SOLUTION


def inbound(number: int, queue: str = "commands", value: object = None) -> Inbound:
    return Inbound(number, queue, encode(value), 1.5 * number)


def receive(store: Store, *records: Inbound, service: Service = SOLUTION) -> None:
    received = store.received(service)
    for record in records:
        received.add(record.number)
    store.receive(service, records, received)


def take_all(store: Store, queue: str | None = None, service: Service = SOLUTION) -> list[int]:
    taken = []
    while (record := store.take(service, queue)) is not None:
        taken.append(record.number)
    return taken


def test_records_and_numbers_are_kept_together(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    receive(store, inbound(3), inbound(1))
    numbers = NumberSet(1, [(3, 4), (90, 2**53 + 1)])
    store.receive(SOLUTION, [inbound(2**53, "x", {"a": 1})], numbers)
    store.close()
    store = make(threaded=threaded)
    assert store.received(SOLUTION) == numbers
    assert store.received(MANAGEMENT) == NumberSet()
    assert store.take(SOLUTION, "x") == inbound(2**53, "x", {"a": 1})
    assert take_all(store) == [1, 3]


def test_the_set_of_numbers_is_a_copy(make: Any) -> None:
    store = make()
    store.received(SOLUTION).add(1)
    numbers = NumberSet(5)
    store.receive(SOLUTION, [], numbers)
    numbers.add(6)
    assert store.received(SOLUTION) == NumberSet(5)


def test_a_number_received_before_is_left_out(make: Any) -> None:
    store = make()
    receive(store, inbound(1))
    assert take_all(store) == [1]
    store.receive(SOLUTION, [inbound(1), inbound(2)], NumberSet(2))
    assert take_all(store) == [2]


def test_take_gives_each_record_once_the_lowest_first(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    receive(store, *(inbound(number, "ab"[number % 2]) for number in (5, 2, 8, 1, 200)))
    receive(store, inbound(1, "a"), service=MANAGEMENT)
    assert store.take(SOLUTION, "none such") is None
    assert store.take(SOLUTION, "b") == inbound(1, "b")
    assert take_all(store) == [2, 5, 8, 200]
    assert take_all(store, service=MANAGEMENT) == [1]
    store.close()
    assert take_all(make(threaded=threaded)) == []


def test_what_is_taken_stays_taken_while_its_removal_waits(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    receive(store, *(inbound(number) for number in range(1, 200)))
    monkeypatch.setattr(store._committer, "wake", lambda: None)  # a disk that never has time
    assert take_all(store) == list(range(1, 200))
    assert take_all(store, "commands") == []


def test_a_full_inbox_refuses(make: Any) -> None:
    store = make(max_records=2)
    receive(store, inbound(1), inbound(2))
    with pytest.raises(StoreFull, match="dequeue and acknowledge"):
        receive(store, inbound(3))
    assert 3 not in store.received(SOLUTION), "so the service keeps it"
    store.take(SOLUTION, None)
    receive(store, inbound(3))
    store.close()
    store = make(max_records=2)
    with pytest.raises(StoreFull):
        receive(store, inbound(4))


# --- lent, acknowledged, given back ------------------------------------------------------------------------------------


def lend_all(store: Store, queue: str | None = None) -> list[int]:
    lent = []
    while (record := store.lend(SOLUTION, queue)) is not None:
        lent.append(record.number)
    return lent


def test_what_was_lent_and_not_acknowledged_is_there_after_a_restart(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    receive(store, *(inbound(number) for number in range(1, 6)))
    assert lend_all(store) == [1, 2, 3, 4, 5]
    assert lend_all(store) == [], "nothing twice in one run"
    store.acknowledge(SOLUTION, 2)
    store.acknowledge(SOLUTION, 2)
    store.acknowledge(SOLUTION, 4)
    store.close()
    store = make(threaded=threaded)
    store.acknowledge(SOLUTION, 1)
    assert not store.give_back(SOLUTION, 1), "it is not lent in this run"
    assert lend_all(store) == [1, 3, 5]


def test_what_is_given_back_comes_again_in_its_old_place(make: Any) -> None:
    store = make()
    receive(store, *(inbound(number, "ab"[number % 2]) for number in range(1, 200)))
    assert lend_all(store) == list(range(1, 200))
    for number in (150, 3, 7):
        assert store.give_back(SOLUTION, number)
    assert not store.give_back(SOLUTION, 3)
    assert lend_all(store, "b") == [3, 7]
    assert lend_all(store) == [150]
    store.acknowledge(SOLUTION, 3)
    assert not store.give_back(SOLUTION, 3), "acknowledged is acknowledged"
    assert lend_all(store) == []


def test_an_older_number_that_arrives_late_is_found(make: Any) -> None:
    store = make()
    receive(store, inbound(5), inbound(9))
    assert lend_all(store) == [5, 9]
    receive(store, inbound(2), inbound(7))
    assert lend_all(store) == [2, 7]


def test_a_lent_record_is_given_once_however_many_threads_ask(make: Any) -> None:
    store = make(threaded=True)
    receive(store, *(inbound(number) for number in range(1, 301)))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(lend_all(store))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == list(range(1, 301))


def test_reserved_queues_are_no_application_s(make: Any) -> None:
    store = make()
    receive(store, inbound(1, "$objects"), inbound(2, "$environment"), inbound(3), inbound(4, "$own"))
    assert lend_all(store) == [3, 4]
    assert lend_all(store, "$objects") == [1]


def test_a_flood_leaves_room_for_the_other_service_and_for_reserved_queues(make: Any) -> None:
    store = make(max_records=32)  # a sixteenth is 2
    receive(store, *(inbound(number) for number in range(1, 29)))
    with pytest.raises(StoreFull, match="acknowledge"):
        receive(store, inbound(29))
    receive(store, inbound(30, "$objects"), inbound(31, "$environment"))
    with pytest.raises(StoreFull):
        receive(store, inbound(32, "$objects"))
    receive(store, inbound(1), service=MANAGEMENT)
    receive(store, inbound(2, "$environment"), service=MANAGEMENT)
    with pytest.raises(StoreFull):
        receive(store, inbound(3, "$environment"), service=MANAGEMENT)
    store.close()
    store = make(max_records=32)
    with pytest.raises(StoreFull):
        receive(store, inbound(29))
    lent = lend_all(store)
    with pytest.raises(StoreFull):
        receive(store, inbound(29))
    store.acknowledge(SOLUTION, lent[0])
    receive(store, inbound(29))


def test_named_objects(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    assert store.get_object(SOLUTION, "door") is None
    store.put_object(SOLUTION, "door", b"\x01")
    store.put_object(SOLUTION, "door", b"\x02")
    store.put_object(SOLUTION, "a window", b"\x03")
    store.put_object(MANAGEMENT, "door", b"\x04")
    assert (store.get_object(SOLUTION, "door"), store.get_object(MANAGEMENT, "door")) == (b"\x02", b"\x04")
    assert store.objects(SOLUTION) == ["a window", "door"]
    store.close()
    store = make(threaded=threaded)
    assert (store.get_object(SOLUTION, "door"), store.objects(SOLUTION)) == (b"\x02", ["a window", "door"])
    store.put_object(SOLUTION, "door", b"\x05")
    assert store.get_object(SOLUTION, "door") == b"\x05"


def test_memory(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    assert store.get("a") is None
    store.put("a", b"1")
    assert store.get("a") == b"1"
    store.put_now("a", b"2")
    store.put("b", b"3")
    store.put_now("c", b"")
    assert [store.get(key) for key in "abc"] == [b"2", b"3", b""]
    store.close()
    store = make(threaded=threaded)
    assert [store.get(key) for key in "abc"] == [b"2", b"3", b""]


def test_keeping_the_same_again_costs_nothing(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    store.put_now("a", b"1")
    monkeypatch.setattr(store._committer, "call", lambda what: pytest.fail("committed"))
    store.put_now("a", b"1")


def test_put_now_waits_for_a_put_of_the_same_value(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    with monkeypatch.context() as patch:
        patch.setattr(store._committer, "wake", lambda: None)
        store.put("a", b"1")
    assert "a" not in store._engine.memory
    store.put_now("a", b"1")
    assert store._engine.memory["a"] == b"1"
