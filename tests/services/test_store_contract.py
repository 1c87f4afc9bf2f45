"""What every store of a service does, whatever database is beneath it."""

from __future__ import annotations

from contextlib import suppress

import cbor2
import pytest

from rataccess.errors import ConfigurationError, StoreError
from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.services.store import (
    CALLS_QUEUE,
    Changes,
    PendingCall,
    ServiceStore,
    is_shared,
    number_set_bytes,
    open_store,
    sqlite_path,
)

NOW = 1_790_000_000.0


def record(device: int, number: int | None, body: bytes = b"\x01", at: float = NOW) -> tuple[object, ...]:
    return device, number, "readings", 1, at, at, "lte", body


def fill(store: ServiceStore, count: int, *, body: bytes = b"\x01", first: int = 1) -> int:
    device = store.device("A1", b"\x07").id
    for number in range(first, first + count):
        store.commit(Changes(records=[record(device, number, body, NOW + number)]), {})
    return device


# --- transactions -----------------------------------------------------------------------------------------------------


def test_a_device_is_the_same_when_it_is_asked_for_again(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07")
    assert store.device("A1", b"\x07") == device
    assert store.device("A1", b"\x08").id > device.id
    assert store.latest("A1") == store.device("A1", b"\x08").id
    assert store.latest(b"\x07") == device.id
    assert store.latest("nobody") is None
    assert store.known_devices() == {("A1", b"\x07"): device.id, ("A1", b"\x08"): store.latest("A1")}


def test_a_batch_is_done_whole_or_not_at_all(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    changes = Changes(records=[record(device, 1)], objects=[("A1", "x", b"\x01", device, 1, None, NOW)])
    store.commit(changes, {"records": 1})
    twice = Changes(
        objects=[("A1", "y", b"\x01", device, 2, None, NOW)], records=[record(device, 2), record(device, 1)]
    )
    with pytest.raises(StoreError):
        store.commit(twice, {"records": 2})
    assert [each.number for each in store.records_after(None)] == [1]
    assert store.execute("SELECT name FROM objects") == [("x",)]
    assert store.counters() == {"records": 1}


def test_a_transaction_within_another_is_a_part_of_it(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    with suppress(ZeroDivisionError), store.transaction():
        store.enqueue(device, "commands", b"\x01", Urgency.PROMPT, NOW)
        store.move_cursor("r", "1", b"x")
        raise ZeroDivisionError
    assert store.load_devices([device])[device].pending == []
    assert store.cursor("r") == (None, None)


def test_many_records_in_one_batch(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    bodies = {number: cbor2.dumps({"n": number, "b": bytes(range(256))}) for number in range(1, 400)}
    store.commit(Changes(records=[record(device, number, body) for number, body in bodies.items()]), {})
    found = store.records_after(None, 1000)
    assert {each.number: each.body for each in found} == bodies
    assert {(each.device, each.serial_number, each.urgency) for each in found} == {(b"\x07", "A1", Urgency.ROUTINE)}


def test_all_of_a_device_is_loaded_together(store: ServiceStore) -> None:
    one, two = store.device("A1", b"\x01").id, store.device("B2", b"\x02").id
    changes = Changes(
        devices={one: (number_set_bytes(NumberSet(3, [(5, 7)])), b"w", NOW, "lte", b"p", 77, "me", 4)},
        queues={(one, 8): "readings", (two, 8): "alarms"},
        partials={(one, 9): (one, 9, 8, 1, None, 100)},
        fragments={(one, 9): [(40, b"x" * 10), (0, b"y" * 5)]},
        blocks=[(one, 200, 8, None, 1, b"content", NOW, None, 0), (one, 201, 8, None, 1, b"content", NOW, None, 1)],
        schemas={(two, 5): b"definition"},
    )
    store.commit(changes, {})
    store.enqueue(two, "commands", b"\x01", Urgency.PROMPT, NOW)
    store.post_packet("B2", b"packet", NOW + 5)
    found = store.load_devices([one, two])
    device = found[one].device
    assert (device.received, device.replay, device.kept, device.holder, device.version) == (
        NumberSet(3, [(5, 7)]),
        b"w",
        77,
        "me",
        4,
    )
    assert found[one].partials == [(9, 8, 1, None, 100, [(0, 5), (40, 50)])]
    assert (found[one].queues, found[one].awaited_schemas, found[one].pending) == ({8: "readings"}, {200}, [])
    assert (found[two].queues, found[two].pending, found[two].schemas) == ({8: "alarms"}, [1], {5: b"definition"})
    assert [packet[1:] for packet in found[two].packets] == [(b"packet", NOW + 5)]
    assert store.load_devices([]) == {}


def test_what_a_session_must_know_moves_the_version(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    seen = {store.versions([device])[device][0]}
    store.enqueue(device, "commands", b"\x01", Urgency.PROMPT, NOW)
    seen.add(store.versions([device])[device][0])
    assert store.post_packet(b"\x07", b"x", NOW)
    seen.add(store.versions([device])[device][0])
    store.learn_schema(device, 5, b"\x01")
    seen.add(store.versions([device])[device][0])
    store.renumber(device, 100)
    seen.add(store.versions([device])[device][0])
    assert len(seen) == 5
    assert not store.post_packet("nobody", b"x", NOW)


def test_waiting_records_are_numbered_anew(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    for value in range(3):
        store.enqueue(device, "commands", bytes([value]), Urgency.PROMPT, NOW)
    store.renumber(device, 1)
    assert store.load_devices([device])[device].pending == [2, 3, 4]
    assert [store.outbound(device, number)[4] for number in (2, 3, 4)] == [b"\0", b"\1", b"\2"]  # type: ignore[index]
    assert store.enqueue(device, "commands", b"\3", Urgency.PROMPT, NOW) == 5


def test_of_the_environment_only_the_last_waits(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    store.enqueue(device, 1, b"\x01", Urgency.PROMPT, NOW)
    store.enqueue(device, 1, b"\x02", Urgency.PROMPT, NOW)
    state = store.load_devices([device])[device]
    assert (state.pending, state.device.environment) == ([2], b"\x02")


def test_memory_is_replaced_in_one_step(store: ServiceStore) -> None:
    assert store.get("k") is None
    assert store.replace("k", None, b"1")
    assert not store.replace("k", None, b"2")
    assert not store.replace("k", b"0", b"2")
    assert store.replace("k", b"1", b"2")
    store.put_now("k", b"3")
    assert store.get("k") == b"3"


def test_a_parked_record_is_filed_when_its_queue_is_named(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    store.commit(Changes(parked=[(device, 4, 9, 1, None, NOW, None, b"\x01")]), {})
    assert store.records_after(None) == []
    store.commit(Changes(queues={(device, 9): "late"}), {})
    assert [(each.number, each.queue) for each in store.records_after(None)] == [(4, "late")]


def test_packets_are_taken_once_and_end(store: ServiceStore) -> None:
    store.device("A1", b"\x07")
    for data, end in ((b"1", NOW + 1), (b"2", NOW + 9)):
        store.post_packet("A1", data, end)
    device = store.latest("A1")
    assert device is not None
    first, second = store.packets(device)
    assert (store.take_packet(first[0]), store.take_packet(first[0])) == (True, False)
    assert (store.drop_packets(NOW + 5), store.packets(device)) == (0, [second])
    assert (store.drop_packets(NOW + 9), store.packets(device)) == (1, [])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_records_are_read_in_order_from_any_position(store: ServiceStore) -> None:
    fill(store, 10)
    found = store.records_after(None)
    assert [each.number for each in found] == list(range(1, 11))
    for index, each in enumerate(found):
        assert store.records_after(each.position) == found[index + 1 :]
    assert [each.number for each in store.records_after(found[1].position, limit=3)] == [3, 4, 5]


def test_reading_is_bounded_by_bytes_and_never_stands_still(store: ServiceStore) -> None:
    fill(store, 4, body=b"x" * 1000)
    assert len(store.records_after(None, max_bytes=2000)) == 2
    assert len(store.records_after(None, max_bytes=2999)) == 2
    assert len(store.records_after(None, max_bytes=1)) == 1


def test_a_packet_is_a_record_without_a_number(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    rows = [record(device, None), record(device, None)]
    store.commit(Changes(records=rows), {})
    assert [each.number for each in store.records_after(None)] == [None, None]


def test_each_receiver_has_a_cursor_of_its_own(store: ServiceStore) -> None:
    fill(store, 3)
    first, second, _ = store.records_after(None)
    store.move_cursor("one", first.position, b"state")
    store.move_cursor("two", second.position)
    store.move_cursor("new", None, b"begun")
    assert store.cursor("one") == (first.position, b"state")
    assert (store.cursor("new"), store.cursor("other")) == ((None, b"begun"), (None, None))
    assert store.cursors() == {"one": first.position, "two": second.position, "new": None}
    assert (store.backlog("one"), store.backlog("two"), store.backlog("new"), store.backlog("new", 2)) == (2, 1, 3, 2)
    store.forget_cursor("one")
    assert store.cursor("one") == (None, None)


def test_only_what_every_receiver_has_and_is_old_is_pruned(store: ServiceStore) -> None:
    device = fill(store, 6, body=b"xy")
    store.execute("UPDATE devices SET kept = 12 WHERE id = ?", (device,))
    found = store.records_after(None)
    store.move_cursor("fast", found[4].position)
    assert store.prune(NOW + 100, ["fast", "slow"]) == 0, "nothing is known of what the slow one has"
    store.move_cursor("slow", found[2].position)
    assert store.prune(NOW + 3, ["fast", "slow"]) == 2
    assert store.prune(NOW + 100, ["fast", "slow"]) == 1
    assert store.prune(NOW + 100, ["fast", "slow"]) == 0
    assert [each.number for each in store.records_after(None)] == [4, 5, 6]
    assert store.load_devices([device])[device].device.kept == 6
    assert store.prune(NOW + 100, []) == 3


def test_what_comes_after_everything_was_pruned_stands_behind_every_cursor(store: ServiceStore) -> None:
    fill(store, 3)
    store.move_cursor("r", store.records_after(None)[-1].position)
    assert store.prune(NOW + 100, ["r"]) == 3
    fill(store, 2, first=4)
    assert [each.number for each in store.records_after(store.cursor("r")[0])] == [4, 5]


def test_a_lease_has_one_holder(store: ServiceStore, store_url: str) -> None:
    assert store.lease("desk")
    assert store.lease("desk"), "who holds it may ask again"
    other = open_store(store_url)
    assert not other.lease("desk")
    assert other.lease("another")
    store.release("desk")
    assert other.lease("desk")
    assert not store.lease("desk")
    other.close()
    assert store.lease("desk")
    store.release("never held")


# --- calls ------------------------------------------------------------------------------------------------------------


def a_call(store: ServiceStore, number: int = 5) -> PendingCall:
    device = store.device("A1", b"\x07").id
    store.commit(Changes(calls=[(device, number, "prices", cbor2.dumps({"zone": 3}), NOW + 60, 1)]), {})
    return store.open_calls()[-1]


def test_a_call_is_there_once_until_it_is_answered(store: ServiceStore) -> None:
    call = a_call(store)
    store.commit(Changes(calls=[(store.latest("A1"), 5, "prices", b"\x01", NOW, 0)]), {})
    assert store.open_calls() == [call]
    assert (call.device, call.serial_number, call.number, call.name) == (b"\x07", "A1", 5, "prices")
    assert (cbor2.loads(call.body), call.expires_at, call.repeatable, call.state) == (
        {"zone": 3},
        NOW + 60,
        True,
        "new",
    )
    assert store.claim_call(call)
    assert not store.claim_call(call), "somebody has begun it"
    [started] = store.open_calls()
    assert started.state == "started"
    assert store.claim_call(started)
    assert store.answer_call(started, 200, cbor2.dumps([1.5]), now=NOW)
    assert not store.answer_call(started, 500, b"\xf6"), "it has an answer"
    assert store.open_calls() == []
    device = store.latest("A1")
    assert device is not None
    [number] = store.load_devices([device])[device].pending
    queue_id, name, urgency, created_at, body = store.outbound(device, number)  # type: ignore[misc]
    assert (queue_id, name, urgency, created_at) == (CALLS_QUEUE, None, Urgency.PROMPT, NOW)
    assert cbor2.loads(body) == [5, 200, [1.5]]


def test_a_refused_call_is_answered_at_once(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    store.commit(Changes(refused_calls=[(device, 9, 6, NOW)]), {})
    assert cbor2.loads(store.outbound(device, 1)[4]) == [9, 6, None]  # type: ignore[index]


# --- fleets -----------------------------------------------------------------------------------------------------------


def test_the_environment_is_the_union_of_the_fleets_with_the_devices_own_over_all(store: ServiceStore) -> None:
    store.set_fleets("A1", ["all", "north", "all"])
    store.set_environment({"PERIOD": "60", "ZONE": "1", "COLOUR": "red"}, fleet="all")
    store.set_environment({"PERIOD": "30", "ZONE": "1"}, fleet="north")
    store.set_environment({"COLOUR": "blue", "OWN": "1"}, serial_number="A1")
    assert store.fleets("A1") == ["all", "north"]
    assert store.members("north") == ["A1"]
    assert store.environment("A1") == {"PERIOD": "30", "ZONE": "1", "COLOUR": "blue", "OWN": "1"}
    assert store.environment("A1", ["first"])["PERIOD"] == "30"
    [conflict] = store.conflicts("A1")
    assert (conflict.name, conflict.values, conflict.overridden) == ("PERIOD", (("all", "60"), ("north", "30")), False)
    store.set_environment({"PERIOD": "5", "OWN": None}, serial_number="A1")
    assert store.conflicts("A1")[0].overridden
    assert store.device_environment("A1") == {"COLOUR": "blue", "PERIOD": "5"}


def test_every_change_of_an_environment_moves_its_stamp(store: ServiceStore) -> None:
    seen = [store.stamps()[0]]
    for change in (
        lambda: store.set_environment({"A": "1"}, fleet="f"),
        lambda: store.set_environment({"A": "1"}, serial_number="A1"),
        lambda: store.set_fleets("A1", ["f"]),
        lambda: store.execute("DELETE FROM fleet_environment"),
    ):
        change()
        seen.append(store.stamps()[0])
    assert len(set(seen)) == len(seen)


def test_what_is_posted_to_a_device_moves_the_other_stamp(store: ServiceStore) -> None:
    device = store.device("A1", b"\x07").id
    seen = [store.stamps()[1]]
    store.enqueue(device, "commands", b"\x01", Urgency.PROMPT, NOW)
    seen.append(store.stamps()[1])
    store.post_packet("A1", b"x", NOW)
    seen.append(store.stamps()[1])
    store.answer_call(a_call(store), 200, b"\x01")
    seen.append(store.stamps()[1])
    assert len(set(seen)) == 4


# --- opening ----------------------------------------------------------------------------------------------------------


def test_what_was_committed_is_there_for_the_next_handle(store: ServiceStore, store_url: str) -> None:
    fill(store, 2)
    with open_store(store_url) as other:
        assert [each.number for each in other.records_after(None)] == [1, 2]
    store.close()
    store.close()
    with pytest.raises(StoreError):
        store.counters()


def test_a_newer_layout_is_refused(store: ServiceStore, store_url: str) -> None:
    if is_shared(store_url):
        store.execute("UPDATE layout SET version = 99")
    else:
        store.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="99"):
        open_store(store_url)


def test_urls() -> None:
    assert str(sqlite_path("sqlite:///var/lib/a%20b.sqlite")) == "/var/lib/a b.sqlite"
    assert str(sqlite_path("plain.sqlite")) == "plain.sqlite"
    with pytest.raises(ConfigurationError, match="mysql"):
        open_store("mysql://host/database")
