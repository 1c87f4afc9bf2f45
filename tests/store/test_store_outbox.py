"""Records in, numbered, paged out, settled."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rataccess.errors import Closed, ObjectError
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import Accepted, NewRecord, Store

MANAGEMENT, SOLUTION = Service.MANAGEMENT, Service.SOLUTION
ROUTINE, ALARM = Urgency.ROUTINE, Urgency.ALARM


def new(value: object = 1, **fields: Any) -> NewRecord:
    return NewRecord(**{"service": SOLUTION, "queue": "readings", "body": encode(value), **fields})


def numbers(store: Store, urgency: Urgency = ROUTINE, service: Service = SOLUTION, after: int = 0) -> list[int]:
    return [record.number for record in store.waiting(service, urgency, after, 1000, 10**9)]


def settled_by(store: Store) -> list[tuple[Service, Sequence[int], ReceiptState]]:
    """Records what is announced; every announcement is in before a later blocking call returns."""
    seen: list[tuple[Service, Sequence[int], ReceiptState]] = []
    store.on_settled(lambda *event: seen.append(event))
    return seen


def flush(store: Store) -> None:
    """Wait until everything before is committed (the first call) and announced (the second: groups do not overlap)."""
    store.receive(MANAGEMENT, [], NumberSet())
    store.receive(MANAGEMENT, [], NumberSet())


def test_numbers_are_given_by_service_from_one(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    assert [store.enqueue(new()).number for _ in range(3)] == [1, 2, 3]
    assert store.enqueue(new(service=MANAGEMENT, urgency=ALARM)) == Accepted(1)
    assert store.enqueue(new(urgency=ALARM)) == Accepted(4), "one row of numbers for all urgencies of a service"
    assert (store.last_number(SOLUTION), store.last_number(MANAGEMENT)) == (4, 1)


def test_a_record_comes_back_as_it_went_in(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    fields: dict[str, Any] = {
        "queue": "ålarms",
        "urgency": ALARM,
        "captured_at": 1_800_000_000.25,
        "boot": b"\x01" * 16,
        "monotonic": 12.5,
        "time_known": False,
        "expires_at": 1_800_000_600.0,
        "max_cost": 0.25,
        "links": ("lte", "wifi"),
        "replaces": "door",
    }
    store.enqueue(new({"leak": True}, **fields))
    store.enqueue(new({"plain": None}, urgency=ALARM))
    full, plain = store.waiting(SOLUTION, ALARM, 0, 10, 10**6)
    for name, value in fields.items():
        assert getattr(full, name) == value, name
    assert (full.number, full.body, full.queue_id, full.queue_known) == (1, encode({"leak": True}), 8, False)
    assert (full.attempts, full.handed_over, full.service) == (0, False, SOLUTION)
    assert (plain.links, plain.replaces, plain.expires_at, plain.max_cost, plain.boot) == ((), None, None, None, b"")


def test_a_page_is_limited_by_count_and_bytes_but_never_empty(make: Any) -> None:
    store = make()
    for _ in range(5):
        store.enqueue(new(bytes(100)))
    size = len(encode(bytes(100)))

    def page(limit: int, most: int) -> list[int]:
        return [one.number for one in store.waiting(SOLUTION, ROUTINE, 1, limit, most)]

    assert page(2, 10**6) == [2, 3]
    assert page(10, 3 * size) == [2, 3, 4]
    assert page(10, 3 * size - 1) == [2, 3]
    assert page(10, 1) == [2], "one larger than the room is for the exchange to split"
    assert page(0, 10**6) == []
    assert numbers(store, after=5) == []
    assert numbers(store, after=2**70) == []
    assert numbers(store, after=-5) == [1, 2, 3, 4, 5]


def test_classes_do_not_mix(make: Any) -> None:
    store = make()
    expected: dict[tuple[Service, Urgency], list[int]] = {}
    for service in Service:
        for urgency in Urgency:
            expected[service, urgency] = [store.enqueue(new(service=service, urgency=urgency)).number for _ in range(2)]
    for (service, urgency), given in expected.items():
        assert numbers(store, urgency, service) == given


def test_settled_records_are_gone_counted_and_announced_once(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    seen = settled_by(store)
    for index in range(6):
        store.enqueue(new(urgency=Urgency(index % 4)))
    store.settle(SOLUTION, [2, 1, 5, 99, 0, -3, 2**60], ReceiptState.DELIVERED)
    flush(store)
    store.settle(SOLUTION, [1, 2], ReceiptState.EXPIRED)
    store.settle(MANAGEMENT, [3], ReceiptState.DELIVERED)
    flush(store)
    assert seen == [(SOLUTION, [1, 2, 5], ReceiptState.DELIVERED)]
    assert store.counters() == {"enqueued": 6, "delivered": 3, "expired": 0, "dropped": 0, "replaced": 0}
    assert sum(count for count, _ in store.depth().values()) == 3


def test_what_is_settled_is_not_waiting_even_before_it_is_committed(make: Any) -> None:
    store = make(threaded=True)
    for _ in range(50):
        store.enqueue(new())
    store.settle(SOLUTION, range(1, 50), ReceiptState.DELIVERED)
    assert numbers(store) == [50]
    store.hand_over(SOLUTION, [50], 1e12)
    assert numbers(store) == []


def test_only_final_states_settle(make: Any) -> None:
    store = make()
    store.enqueue(new())
    with pytest.raises(ValueError, match="final"):
        store.settle(SOLUTION, [1], ReceiptState.SENT)


def test_base_is_the_lowest_unsettled_number(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    assert store.base(SOLUTION) == 1
    for index in range(8):
        store.enqueue(new(urgency=Urgency(3 - index % 4)))
    for settled, base in (([2, 3], 1), ([1], 4), ([4, 5, 6, 8], 7), ([7], 9)):
        store.settle(SOLUTION, settled, ReceiptState.DELIVERED)
        flush(store)
        assert store.base(SOLUTION) == base
    assert store.base(MANAGEMENT) == 1


def test_base_counts_records_that_were_handed_over(make: Any) -> None:
    store = make()
    for _ in range(3):
        store.enqueue(new())
    store.hand_over(SOLUTION, [1, 2], 1e12)
    assert store.base(SOLUTION) == 1


def test_numbers_never_come_twice(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    for _ in range(5):
        store.enqueue(new())
    store.settle(SOLUTION, range(1, 6), ReceiptState.DELIVERED)
    store.close()
    store = make(threaded=threaded)
    assert (store.base(SOLUTION), store.last_number(SOLUTION)) == (6, 5)
    assert store.enqueue(new()).number == 6
    assert store.counters()["enqueued"] == 6


def test_handed_over_records_wait_apart_until_they_are_due(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    for _ in range(4):
        store.enqueue(new())
    store.hand_over(SOLUTION, [1, 2], 100.0)
    store.hand_over(SOLUTION, [4, 77], 50.0)
    flush(store)
    assert numbers(store) == [3]

    def due(now: float, limit: int = 10) -> list[int]:
        return [one.number for one in store.due_for_resend(SOLUTION, now, limit)]

    assert due(49.0) == []
    assert due(50.0) == [4]
    assert due(100.0) == [4, 1, 2]
    assert due(100.0, 1) == [4]
    assert store.due_for_resend(MANAGEMENT, 1e9, 10) == []
    assert store.due_for_resend(SOLUTION, 1e9, 1)[0].handed_over
    store.hand_over(SOLUTION, [4], 500.0)  # sent again, handed over again
    flush(store)
    assert due(100.0) == [1, 2]
    store.settle(SOLUTION, [1, 4], ReceiptState.DELIVERED)
    flush(store)
    assert due(1e9) == [2]
    assert store.depth()[SOLUTION, ROUTINE][0] == 2
    store.close()
    store = make(threaded=threaded)
    assert [one.number for one in store.due_for_resend(SOLUTION, 100.0, 9)] == [2], "a handover is on disk"
    assert numbers(store) == [3]


def test_attempts_are_counted_at_once_and_kept_with_the_next_commit(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    store.enqueue(new())
    store.enqueue(new())
    store.mark_sent(SOLUTION, [1])
    store.mark_sent(SOLUTION, [1, 2, 9])
    assert [one.attempts for one in store.waiting(SOLUTION, ROUTINE, 0, 9, 10**6)] == [2, 1]
    store.enqueue(new())
    store.close()
    assert [one.attempts for one in make().waiting(SOLUTION, ROUTINE, 0, 9, 10**6)] == [2, 1, 0]


def test_a_newer_value_replaces_one_that_was_never_sent(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    seen = settled_by(store)
    store.enqueue(new(1, replaces="door"))
    store.enqueue(new(2, replaces="window"))
    store.enqueue(new(3, replaces="door", service=MANAGEMENT))
    store.enqueue(new(4, replaces="door"))
    flush(store)
    assert seen == [(SOLUTION, [1], ReceiptState.REPLACED)]
    store.mark_sent(SOLUTION, [3])
    store.enqueue(new(5, replaces="door"))
    flush(store)
    assert len(seen) == 1, "what was sent may have arrived: it stays until it is acknowledged"
    store.hand_over(SOLUTION, [4], 1e12)
    store.enqueue(new(6, replaces="door"))
    flush(store)
    assert len(seen) == 1
    assert numbers(store) == [2, 3, 5]
    assert store.counters()["replaced"] == 1


def test_deadlines(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    seen = settled_by(store)
    for deadline in (10.0, 20.0, None, 30.0):
        store.enqueue(new(expires_at=deadline))
    store.hand_over(SOLUTION, [2], 1e12)
    store.expire(9.9)
    flush(store)
    assert seen == []
    store.expire(20.0)
    flush(store)
    assert seen == [(SOLUTION, [1, 2], ReceiptState.EXPIRED)], "also what was handed over"
    store.expire(1e12)
    flush(store)
    assert numbers(store) == [3]
    assert store.counters()["expired"] == 3


def test_many_deadlines_at_once(make: Any, threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rataccess.store.outbox.EXPIRE_AT_ONCE", 7)
    store = make(threaded=threaded)
    for _ in range(30):
        store.enqueue(new(expires_at=1.0))
    store.expire(1.0)
    for _ in range(8):
        flush(store)
    assert numbers(store) == []
    assert store.counters()["expired"] == 30


def test_restamp_dates_this_boot_and_gives_up_on_others(make: Any, clock: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    unset = {"time_known": False, "captured_at": 5.0, "monotonic": 7.0, "expires_at": 65.0}
    store.enqueue(new(boot=b"now", **unset))
    store.enqueue(new(boot=b"before", **unset))
    store.enqueue(new(boot=b"now", captured_at=1_799_999_990.0, monotonic=8.0))
    store.enqueue(new(boot=b"now", time_known=False, captured_at=None, monotonic=9.0))
    store.expire(clock.now)
    flush(store)
    assert numbers(store) == [1, 2, 3, 4], "a deadline by a clock that was never set must wait to be corrected"
    assert store.restamp(b"now", 1_799_999_000.0) == 2
    first, second, third, fourth = store.waiting(SOLUTION, ROUTINE, 0, 9, 10**6)
    assert (first.captured_at, first.time_known, first.expires_at) == (1_799_999_007.0, True, 1_799_999_067.0)
    assert (second.captured_at, second.time_known, second.expires_at) == (None, False, clock.now + 60.0)
    assert third.captured_at == 1_799_999_990.0
    assert fourth.captured_at == 1_799_999_009.0
    assert store.restamp(b"now", 1_799_999_000.0) == 0
    store.expire(clock.now + 60.0)
    flush(store)
    assert numbers(store) == [3, 4]


def test_deadlines_hold_where_time_is_never_known(make: Any, clock: Any) -> None:
    clock.known = False
    store = make()
    store.enqueue(new(time_known=False, captured_at=5.0, expires_at=65.0))
    store.expire(65.0)
    assert numbers(store) == []


def test_queues_get_lasting_ids_and_the_reserved_ones_have_theirs(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    store.enqueue(new(queue="a"))
    store.enqueue(new(queue="b"))
    store.enqueue(new(queue="a", service=MANAGEMENT))
    store.enqueue(new(queue="$objects"))
    assert [store.queue_id(SOLUTION, name) for name in ("a", "b", "c", "$health")] == [
        (8, False),
        (9, False),
        (10, False),
        (2, True),
    ]
    store.confirm_queue(SOLUTION, 9)
    store.confirm_queue(SOLUTION, 55)
    assert store.queue_id(SOLUTION, "b") == (9, True)
    records = store.waiting(SOLUTION, ROUTINE, 0, 9, 10**6)
    assert [(one.queue, one.queue_id, one.queue_known) for one in records] == [
        ("a", 8, False),
        ("b", 9, True),
        ("$objects", 0, True),
    ]
    store.close()
    store = make(threaded=threaded)
    assert [store.queue_id(SOLUTION, name) for name in ("b", "c", "d")] == [(9, True), (10, False), (11, False)]
    assert store.queue_id(MANAGEMENT, "a") == (8, False)


def test_depth_and_counters_are_the_same_after_a_restart(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    for index in range(20):
        store.enqueue(new(bytes(index), urgency=Urgency(index % 4), service=list(Service)[index % 2]))
    store.settle(SOLUTION, [1, 2], ReceiptState.DELIVERED)
    store.hand_over(SOLUTION, [3], 1.0)
    store.enqueue(new())
    flush(store)
    depth, counters = store.depth(), store.counters()
    assert sum(count for count, _ in depth.values()) == 19
    store.close()
    store = make(threaded=threaded)
    assert (store.depth(), store.counters()) == (depth, counters)


def test_depth_is_counted_again_after_a_crash(make: Any, path: Path) -> None:
    """The totals in the file lag behind what was only added."""
    store = make()
    store.enqueue(new(service=MANAGEMENT, urgency=ALARM))
    store.settle(MANAGEMENT, [1], ReceiptState.DELIVERED)
    for _ in range(10):
        store.enqueue(new(bytes(9)))
    depth, counters = store.depth(), store.counters()
    crashed = path.with_name("crashed.sqlite")
    for suffix in ("", "-wal"):
        crashed.with_name(crashed.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    with sqlite3.connect(crashed) as connection:
        (value,) = connection.execute("SELECT value FROM totals").fetchone()
    connection.close()
    assert value != store._engine.outbox.totals.dump(), "or this tests nothing"
    again = make(at=crashed)
    assert (again.depth(), again.counters(), again.last_number(SOLUTION)) == (depth, counters, 10)


def test_an_object_too_large_for_the_store_is_refused_for_good(make: Any) -> None:
    store = make(max_bytes=1000)
    with pytest.raises(ObjectError, match="1000"):
        store.enqueue(new(bytes(1001)))
    assert store.enqueue(new()).number == 1


def test_one_bad_record_does_not_harm_its_group(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    results: list[Any] = []
    for value in (1.0, object(), 2.0):
        store.submit(new(captured_at=value), results.append)
    flush(store)
    assert results[0] == Accepted(1)
    assert isinstance(results[1], ObjectError)
    assert results[2] == Accepted(2)
    assert numbers(store) == [1, 2]


def test_a_callback_that_fails_harms_nobody(make: Any, threaded: bool, caplog: pytest.LogCaptureFixture) -> None:
    store = make(threaded=threaded)

    def fail(*_: Any) -> None:
        raise RuntimeError("mine")

    store.submit(new(), fail)
    flush(store)
    undo = store.on_settled(fail)
    seen = settled_by(store)
    store.settle(SOLUTION, [1], ReceiptState.DELIVERED)
    flush(store)
    assert [event[1] for event in seen] == [[1]]
    assert caplog.text.count("a callback of the store failed") == 2
    undo()
    undo()


def test_a_callback_may_use_the_store(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    given: list[int] = []
    store.on_settled(lambda *_: given.append(store.enqueue(new()).number))
    store.enqueue(new())
    store.settle(SOLUTION, [1], ReceiptState.DELIVERED)
    flush(store)
    assert given == [2]


def test_results_are_told_before_announcements(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    order: list[Any] = []
    store.on_settled(lambda _service, gone, _state: order.append(gone))
    for index in range(40):
        store.submit(new(index, replaces="x"), lambda result: order.append(result.number))
    flush(store)
    for number in range(1, 40):
        announced = next(index for index, one in enumerate(order) if isinstance(one, list) and number in one)
        assert order.index(number) < announced


def test_many_threads_share_commits(make: Any) -> None:
    store = make(threaded=True)
    commits = 0
    commit = store._engine._files.database.commit

    def counted() -> None:
        nonlocal commits
        commits += 1
        commit()

    store._engine._files.database.commit = counted
    given: list[int] = []

    def produce() -> None:
        for _ in range(20):
            given.append(store.enqueue(new()).number)

    producers = [threading.Thread(target=produce) for _ in range(16)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    assert sorted(given) == list(range(1, 321))
    assert numbers(store) == sorted(given)
    assert commits < 320 / 2


async def test_coroutines_share_commits_and_get_errors(make: Any) -> None:
    store = make(threaded=True, max_records=15)
    results = await asyncio.gather(*(store.enqueue_async(new()) for _ in range(17)), return_exceptions=True)
    assert [one.number for one in results[:15] if isinstance(one, Accepted)] == list(range(1, 16))
    assert [type(one).__name__ for one in results[15:]] == ["StoreFull", "StoreFull"]


async def test_a_cancelled_coroutine_leaves_the_rest_alone(make: Any) -> None:
    store = make(threaded=True)
    first = store.enqueue_async(new())
    first.cancel()
    assert (await store.enqueue_async(new())).number == 2
    assert first.cancelled()


def test_closed(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded)
    store.enqueue(new())
    store.settle(SOLUTION, [1], ReceiptState.DELIVERED)
    store.close()
    store.close()
    with pytest.raises(Closed):
        store.enqueue(new())
    with pytest.raises(Closed):
        store.waiting(SOLUTION, ROUTINE, 0, 1, 1)
    with pytest.raises(Closed):
        store.put("a", b"")
    assert make().base(SOLUTION) == 2, "what was asked for before closing is done"


def test_nobody_else_can_read_it(make: Any, path: Path) -> None:
    store = make(threaded=True)
    store.enqueue(new())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(names) >= {"store.sqlite", "store.sqlite-wal", "store.floor", "store.lock"}
    assert set(names.values()) == {0o600}


def test_a_folder_will_do(make: Any, tmp_path: Path) -> None:
    make(at=tmp_path / "folder").enqueue(new())
    assert (tmp_path / "folder" / "store.sqlite").exists()


def test_in_memory(make: Any, threaded: bool) -> None:
    store = make(threaded=threaded, at=None)
    assert store.enqueue(new()).number == 1
    store.settle(SOLUTION, [1], ReceiptState.DELIVERED)
    store.put_now("security/x/sequence", (5).to_bytes(8, "big"))
    flush(store)
    assert (store.base(SOLUTION), store.trouble) == (2, None)


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.waiting(SOLUTION, ROUTINE, 5, 10, 1000),
        lambda store: store.due_for_resend(SOLUTION, 1.0, 10),
        lambda store: store.base(SOLUTION),
        lambda store: store.expire(1.0),
        lambda store: store.take(SOLUTION, None),
        lambda store: store.take(SOLUTION, "c"),
        lambda store: store.settle(SOLUTION, [1, 3], ReceiptState.DELIVERED),
        lambda store: store.hand_over(SOLUTION, [1, 3], 1.0),
        lambda store: store.enqueue(new(replaces="x")),
    ],
)
def test_nothing_reads_the_whole_box(make: Any, ask: Any) -> None:
    """Every statement finds its rows by an index, and sorts none."""
    store = make()
    for _ in range(5):
        store.enqueue(new())
    connection = store._engine._files.database.write
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    ask(store)
    connection.set_trace_callback(None)
    statements = [text for text in asked if text.startswith(("SELECT", "DELETE", "UPDATE"))]
    assert statements
    for text in statements:
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall():
            assert not step.startswith(("SCAN outbox", "SCAN inbox", "USE TEMP B-TREE")), (text, step)
