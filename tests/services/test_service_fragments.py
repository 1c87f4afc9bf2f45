"""Large records in byte ranges: any order, any overlap, over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency
from rataccess.services import admin, partials
from rataccess.wire import BASE, PARTIAL, Message, WireRecord, fragment
from tests.services.service_world import FakeDevice, World, passing_world


def large(device: FakeDevice, number: int = 1, size: int = 1000, queue: str = "big") -> WireRecord:
    return device.record(number, bytes(range(256)) * (size // 256) + bytes(size % 256), queue)


def parts(record: WireRecord, size: int) -> list[WireRecord]:
    return [fragment(record, start, size) for start in range(0, len(record.body), size)]


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(11)),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 400)), max_size=6),
    st.integers(0, 16),
)
def test_ranges_in_any_order_make_the_record_once(
    order: Sequence[int], more: list[tuple[int, int]], restart_after: int
) -> None:
    with passing_world(Service.SOLUTION) as world:
        device = world.add("A1")
        record = large(device, size=1000)
        pieces = [fragment(record, *piece) for piece in more if piece[0] < len(record.body)]
        pieces += [parts(record, 100)[index] for index in order]
        for index, piece in enumerate(pieces):
            if index == restart_after:
                world.restart()
            answer = world.send(device, piece)
        assert answer.message.acknowledged == NumberSet(1)
        assert [r.body for r in admin.records(world.store_path)] == [record.body]
        assert world.rows("fragments", "number") == world.rows("partials", "number") == []
        assert PARTIAL not in answer.message.control


def test_all_ranges_in_one_batch_need_no_table(management: World) -> None:
    device = management.add("A1")
    record = large(device)
    batch = [(device.protect(Message(records=[part]))[0], "here") for part in reversed(parts(record, 300))]
    assert len(management.core.process(batch)) == len(batch)
    assert [r.body for r in admin.records(management.store_path)] == [record.body]


def test_the_answer_tells_what_is_held(management: World) -> None:
    device = management.add("A1")
    record = large(device)
    management.send(device, fragment(record, 200, 100))
    management.restart()
    answer = management.send(device, fragment(record, 600, 50))
    assert answer.message.control == {PARTIAL: {1: [200, 300, 600, 650]}}
    assert answer.message.acknowledged == NumberSet()
    assert management.ask(device).message.control == {PARTIAL: {1: [200, 300, 600, 650]}}


def test_base_forgets_unfinished_records(management: World) -> None:
    device = management.add("A1")
    management.send(device, fragment(large(device), 0, 100))
    assert management.send(device, control={BASE: 2}).message.control == {}
    assert management.rows("fragments", "number") == []


def test_a_record_may_come_whole_after_all(management: World) -> None:
    device = management.add("A1")
    record = large(device)
    management.send(device, fragment(record, 0, 100))
    assert management.send(device, record).message.acknowledged == NumberSet(1)
    assert management.rows("fragments", "number") == []


@pytest.mark.parametrize("how", ["bytes", "total", "urgency", "queue"])
def test_a_contradicting_range_is_dropped(management: World, how: str) -> None:
    device = management.add("A1")
    record = large(device)
    management.send(device, fragment(record, 0, 500))
    wrong = fragment(record, 400, 200)
    if how == "bytes":
        wrong = replace(wrong, body=b"\xee" * 200)
    elif how == "total":
        wrong = replace(wrong, total=2000)
    elif how == "urgency":
        wrong = replace(wrong, urgency=Urgency.ALARM)
    else:
        wrong = replace(wrong, queue_id=99)
    answer = management.send(device, wrong)
    assert answer.message.control == {PARTIAL: {1: [0, 500]}}
    assert management.core.counters["conflicting fragment"] == 1
    management.send(device, fragment(record, 500, 1000))
    assert [r.body for r in admin.records(management.store_path)] == [record.body]


def test_ranges_that_are_no_object_together_are_kept_as_they_are(solution: World) -> None:
    device = solution.add("A1")
    wrong = replace(device.record(1, 0), body=b"\xff\xff\xff", offset=0, total=3)
    assert solution.send(device, wrong).message.acknowledged == NumberSet(1)
    assert [r.body for r in admin.records(solution.store_path)] == [b"\xff\xff\xff"]


def test_a_full_quota_still_lets_the_lowest_record_be_completed(tmp_path: Path) -> None:
    world = World(tmp_path, Service.MANAGEMENT, partial_bytes=1024 * 1024)
    device = world.add("A1")
    other, lowest = large(device, 9, 2_000_000), large(device, 4, 2_000_000)
    for start in range(0, 1_200_000, 50_000):
        world.send(device, fragment(other, start, 50_000))
    assert world.send(device, fragment(large(device, 11, 500_000), 0, 50_000)).message.control[PARTIAL].keys() == {9}
    assert world.core.counters["fragment over a limit"] == 1
    for start in range(0, 2_000_003, 60_000):
        answer = world.send(device, fragment(lowest, start, 60_000))
    assert answer.message.acknowledged == NumberSet(0, [(4, 5)])
    world.kill()


def test_unfinished_records_and_ranges_are_bounded(management: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "MOST_RANGES", 8)
    monkeypatch.setattr(partials, "MOST_UNFINISHED", 3)
    device = management.add("A1")
    for number in range(1, 6):
        management.send(device, fragment(large(device, number), 0, 16))
    assert [row[0] for row in management.rows("partials", "number")] == [1, 2, 3]
    record = large(device, 1)
    for start in range(20, 1000, 10):
        management.send(device, fragment(record, start, 5))
    assert len(management.rows("fragments WHERE number = 1", "start")) <= 10
    for part in parts(record, 200):
        answer = management.send(device, part)
    assert answer.message.acknowledged == NumberSet(1)
