"""Records reach a service once each."""

from __future__ import annotations

from pathlib import Path

import pytest

from rataccess.errors import DiskFull, StoreCorrupt
from rataccess.numbers import NumberSet
from rataccess.objects import Service, encode
from rataccess.services import admin
from rataccess.services.store import Changes, ServiceStore
from rataccess.wire import BASE, LINK, TIME, Message
from tests.services.service_world import NOW, World


def test_a_record_is_kept_with_what_is_known_of_it(management: World) -> None:
    device = management.add("A1")
    answer = management.send(device, device.record(1, {"t": 21.5}), control={LINK: "lte"})
    assert (answer.code, answer.message.acknowledged) == (0x44, NumberSet(1))
    [record] = admin.records(management.store_path)
    assert (record.serial_number, record.queue, record.number, record.link) == ("A1", "readings", 1, "lte")
    assert (record.captured_at, record.received_at) == (NOW, management.clock.wall())
    assert record.body == encode({"t": 21.5})


def test_the_link_that_an_address_once_told_is_remembered_over_a_restart(management: World) -> None:
    device = management.add("A1")
    management.ask(device, Message(records=[device.record(1, 1)], control={LINK: "lte"}), address="lte's")
    management.ask(device, Message(records=[device.record(2, 2)], control={LINK: "wifi"}), address="wifi's")
    management.restart()
    management.ask(device, Message(records=[device.record(3, 3)]), address="lte's")
    management.ask(device, Message(records=[device.record(4, 4)]), address="unknown")
    assert management.rows(columns="number, link") == [(1, "lte"), (2, "wifi"), (3, "lte"), (4, None)]


def test_what_comes_again_is_acknowledged_again_and_changes_nothing(management: World) -> None:
    device = management.add("A1")
    for _ in range(3):
        answer = management.send(device, device.record(1, "a"), device.record(3, "c"))
        assert answer.message.acknowledged == NumberSet(1, [(3, 4)])
    management.restart()
    answer = management.send(device, device.record(3, "another body"), device.record(2, "b"))
    assert answer.message.acknowledged == NumberSet(3)
    assert management.rows(columns="number, body") == [(1, encode("a")), (2, encode("b")), (3, encode("c"))]
    assert management.core.counters["duplicate records"] == 5
    assert management.core.counters["records"] == 3


def test_base_settles_what_will_never_come(management: World) -> None:
    device = management.add("A1")
    answer = management.send(device, device.record(7, 7), control={BASE: 6})
    assert answer.message.acknowledged == NumberSet(5, [(7, 8)])
    assert management.send(device, device.record(5, "late")).message.acknowledged == NumberSet(5, [(7, 8)])
    assert management.send(device, control={BASE: 2}).message.acknowledged == NumberSet(5, [(7, 8)])
    assert management.rows() == [(7, "readings")]


def test_a_record_of_an_unnamed_queue_is_parked_until_the_queue_is_named(solution: World) -> None:
    device = solution.add("A1")
    answer = solution.send(device, device.record(1, 1, "alarms", named=False), device.record(2, 2, "other"))
    assert answer.message.acknowledged == NumberSet(2)
    assert solution.rows() == [(2, "other")]
    assert admin.list_devices(solution.store_path)[0].parked == 1
    solution.restart()
    solution.send(device, device.record(3, 3, "alarms"))
    solution.send(device, device.record(4, 4, "alarms", named=False))
    assert solution.rows() == [(1, "alarms"), (2, "other"), (3, "alarms"), (4, "alarms")]
    assert solution.rows("parked", "number") == []


def test_an_operator_can_name_a_queue(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, device.record(1, 1, "alarms", named=False))
    admin.set_queue_name(solution.store_path, "A1", device.queues["alarms"], "alarms")
    assert solution.rows() == [(1, "alarms")]


def test_of_a_named_object_the_last_number_holds_not_the_last_arrival(management: World) -> None:
    device = management.add("A1")
    management.send(
        device, device.record(5, ["battery", 3.5], "$objects"), device.record(6, ["mode", b"x"], "$objects")
    )
    management.send(device, device.record(2, ["battery", 3.9], "$objects"))
    assert admin.objects(management.store_path, "A1") == {"battery": 3.5, "mode": b"x"}
    management.send(device, device.record(7, ["battery", {"volts": 3.1}], "$objects"))
    assert admin.get_object(management.store_path, "A1", "battery") == {"volts": 3.1}
    assert admin.get_object(management.store_path, "A1", "nothing") is None
    assert [row[1] for row in management.rows()] == ["$objects"] * 4


@pytest.mark.parametrize("value", [1, [], ["a"], [1, 2], ["a", 1, 2], {"a": 1}, "a"])
def test_what_is_no_named_object_is_kept_as_a_record_only(management: World, value: object) -> None:
    device = management.add("A1")
    assert management.send(device, device.record(1, value, "$objects")).message.acknowledged == NumberSet(1)
    assert admin.objects(management.store_path, "A1") == {}
    assert management.rows() == [(1, "$objects")]


@pytest.mark.parametrize("length", [0, 23, 24, 60])
def test_names_of_any_length_name_objects(management: World, length: int) -> None:
    device = management.add("A1")
    management.send(device, device.record(1, ["n" * length, [1, 2]], "$objects"))
    assert admin.objects(management.store_path, "A1") == {"n" * length: [1, 2]}


def test_the_last_health_report_is_kept(management: World) -> None:
    device = management.add("A1")
    assert admin.get_health(management.store_path, "A1") is None
    management.send(device, device.record(2, {"links": 2}, "$health"), device.record(1, {"links": 1}, "$health"))
    assert admin.get_health(management.store_path, "A1") == {"links": 2}


def test_the_time_is_told_in_milliseconds(management: World) -> None:
    answer = management.ask(management.add("A1"), Message(control={TIME: None}))
    assert answer.message.control == {TIME: round(management.clock.wall() * 1000)}


def test_devices_do_not_touch_each_other(management: World) -> None:
    one, two = management.add("A1"), management.add("B2")
    batch = [
        one.protect(Message(records=[one.record(1, "one", "x")])),
        two.protect(Message(records=[two.record(1, "two", "y")])),
    ]
    answers = management.core.process([(batch[0][0], "1"), (batch[1][0], "2")])
    assert [to for _, to in answers] == ["1", "2"]
    assert one.read(answers[0][0], batch[0][1]).message.acknowledged == NumberSet(1)
    assert two.read(answers[1][0], batch[1][1]).message.acknowledged == NumberSet(1)
    stored = [(r.serial_number, r.queue, r.body) for r in admin.records(management.store_path)]
    assert sorted(stored) == [("A1", "x", encode("one")), ("B2", "y", encode("two"))]
    management.send(two, control={BASE: 100})
    assert management.send(one, one.record(2, 2)).message.acknowledged == NumberSet(2)


def test_the_two_services_share_nothing(tmp_path: Path) -> None:
    management, solution = World(tmp_path, Service.MANAGEMENT), World(tmp_path, Service.SOLUTION)
    device = management.add("A1")
    stranger = solution.add("B2")
    assert device.kid == stranger.kid == b"\0"
    assert solution.core.process([(device.protect(b"")[0], "x")]) == []
    assert solution.core.counters["forged requests"] == 1
    management.kill()
    solution.kill()


def test_an_acknowledgement_with_more_ranges_than_fit_tells_of_what_just_came(management: World) -> None:
    device = management.add("A1")
    for first in range(3, 600, 120):
        management.send(device, *(device.record(number, 0) for number in range(first, min(600, first + 120), 2)))
    answer = management.send(device, device.record(599, 0))
    assert answer.message.acknowledged is not None
    assert 599 in answer.message.acknowledged
    assert 3 in answer.message.acknowledged
    assert 2 not in answer.message.acknowledged


def test_a_flood_of_gaps_is_bounded_and_the_gaps_can_still_be_closed(management: World) -> None:
    device = management.add("A1")
    for first in range(2, 9000, 200):
        management.send(device, *(device.record(number, 0) for number in range(first, first + 200, 2)))
    assert sum(1 for _ in management.core._sessions[device.kid].inbound.received.ranges()) == 4096
    assert management.core.counters["records beyond too many gaps"] > 0
    management.send(device, device.record(1, 0))
    acknowledged = management.send(device, device.record(3, 0)).message.acknowledged
    assert acknowledged is not None
    assert acknowledged.floor == 4


def test_a_batch_that_the_disk_refuses_is_as_if_it_never_came(
    management: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = management.add("A1")
    management.send(device, device.record(1, 1))
    commit = ServiceStore.commit

    def refuse(store: ServiceStore, changes: Changes, counters: dict[str, int]) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(ServiceStore, "commit", refuse)
    data, identity = device.protect(Message(records=[device.record(2, 2)], control={BASE: 2}))
    assert management.core.process([(data, "here")]) == []
    monkeypatch.setattr(ServiceStore, "commit", commit)
    [(answer, _)] = management.core.process([(data, "here")])  # the very same datagram: it was not struck out either
    assert device.read(answer, identity).message.acknowledged == NumberSet(2)
    assert management.rows() == [(1, "readings"), (2, "readings")]


def test_a_full_disk_is_told_from_a_damaged_file(management: World) -> None:
    with management.store.connection as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    device = management.add("A1")
    data, _ = device.protect(Message(records=[device.record(1, b"x" * 50_000)]))
    assert management.core.process([(data, "here")]) == []
    assert management.core.counters["batches that the store refused"] == 1
    management.store.connection.execute(f"PRAGMA max_page_count = {pages + 100}")
    assert len(management.core.process([(data, "here")])) == 1


def test_a_damaged_file_ends_the_service(management: World) -> None:
    device = management.add("A1")
    management.kill()
    raw = bytearray(management.store_path.read_bytes())
    raw[100:] = bytes(len(raw) - 100)
    management.store_path.write_bytes(raw)
    with pytest.raises(StoreCorrupt):
        management.start()
    management.store.close()
    assert device


def test_a_defect_costs_one_datagram_and_not_the_batch(management: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = management.add("A1"), management.add("B2")
    from rataccess.services.inbound import Inbound

    take = Inbound._take

    def stumble(self: Inbound, record: object, *rest: object) -> None:
        if record.body == encode("stumble"):  # type: ignore[attr-defined]
            raise ZeroDivisionError
        take(self, record, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Inbound, "_take", stumble)
    requests = [
        one.protect(Message(records=[one.record(1, "fine")])),
        two.protect(Message(records=[two.record(1, "first"), two.record(2, "stumble")])),
        one.protect(Message(records=[one.record(2, "fine")])),
    ]
    answers = management.core.process([(data, index) for index, (data, _) in enumerate(requests)])
    assert [to for _, to in answers] == [0, 2]
    assert one.read(answers[1][0], requests[2][1]).message.acknowledged == NumberSet(2)
    assert management.core.counters["defects"] == 1
    assert management.rows(columns="number, device") == [(1, 1), (2, 1)]
