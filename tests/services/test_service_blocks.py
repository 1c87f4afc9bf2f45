"""Packed records: filed by whatever template is known, kept until it is, counted once."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, decode
from rataccess.services import schematics
from rataccess.services.store import open_store
from rataccess.template import Bool, Bytes, Integer, Scaled, Template, Text
from rataccess.wire import ANSWER_LIMIT, BASE, WANTED, Block, MessageBuilder, WireRecord, encode_block
from rataccess.wire.block import write_block
from tests.services.service_world import NOW, Answer, FakeDevice, World, passing_world

READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100))
GROWN = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), ok=Bool(optional=True))


def value(number: int) -> dict[str, object]:
    return {"temp": 20 + number / 10, "hum": number % 100}


def block(
    device: FakeDevice, numbers: list[int], template: Template = READINGS, queue: str = "readings", **more: bool
) -> bytes:
    records = [device.record(number, value(number), queue, at=NOW + number, **more) for number in numbers]
    made = encode_block(records, [value(number) for number in numbers], template, floor=None, now=device.clock.wall())
    assert made is not None
    return made


def send(
    world: World, device: FakeDevice, *blocks: bytes, records: tuple[WireRecord, ...] = (), **control: int
) -> Answer:
    builder = MessageBuilder(65_000, floor=None, now=world.clock.wall(), control={BASE: 1} if control else None)
    for each in blocks:
        assert builder.add_block(each)
    for record in records:
        assert builder.add(record)
    return world.ask(device, builder.finish())


def schema(device: FakeDevice, number: int, template: Template = READINGS) -> WireRecord:
    return device.record(number, [template.id, template.definition()], "$schemas")


def stored(world: World, queue: str = "readings") -> dict[int | None, object]:
    found = [record for record in world.store.records_after(None) if record.queue == queue]
    assert len({record.number for record in found}) == len(found), "doubled"
    return {record.number: decode(record.body) for record in found}


def test_a_block_is_filed_by_what_the_device_told(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    world.send(device, schema(device, 1))
    answer = send(world, device, block(device, [2, 3, 4]), block(device, [9, 10]))
    assert answer.message.acknowledged == NumberSet(4, [(9, 11)])
    assert stored(world) == {number: value(number) for number in (2, 3, 4, 9, 10)}
    world.restart()
    send(world, device, block(device, [5, 6, 7, 8, 9], named=False))
    assert stored(world) == {number: value(number) for number in range(2, 11)}
    captured = {record.number: record.captured_at for record in world.store.records_after(None)}
    assert captured[7] == NOW + 7


def test_a_block_of_an_unknown_schema_waits_whole_and_is_acknowledged(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    answer = send(world, device, block(device, [2, 3, 4]))
    assert answer.message.acknowledged == NumberSet(0, [(2, 5)])
    assert stored(world) == {}
    assert world.rows("blocks", "schema, unreadable") == [(READINGS.id, 0)]
    world.restart()
    send(world, device, block(device, [3, 4, 5]), records=(device.record(6, "plain", "other"),))
    assert world.rows("blocks", "unreadable") == [(0,), (0,)]
    world.send(device, schema(device, 1))
    assert stored(world) == {number: value(number) for number in (2, 3, 4, 5)}
    assert world.rows("blocks", "id") == []
    assert world.send(device, device.record(7, 7)).message.acknowledged == NumberSet(7)


def test_a_block_and_its_schema_may_come_in_one_message(solution: World) -> None:
    device = solution.add("A1")
    answer = send(solution, device, block(device, [2, 3]), records=(schema(device, 1),))
    assert answer.message.acknowledged == NumberSet(3)
    assert stored(solution) == {2: value(2), 3: value(3)}
    assert solution.rows("blocks", "id") == []


def test_a_block_is_filed_by_the_configuration(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    send(world, device, block(device, [1, 2]))
    assert stored(world) == {}
    world.templates = [GROWN]  # the new definition reads what the old one packed
    world.restart()
    assert stored(world) == {1: value(1), 2: value(2)}, "at the start, without a word from the device"
    send(world, device, block(device, [3], GROWN), block(device, [4], READINGS))
    assert stored(world) == {number: value(number) for number in range(1, 5)}
    [kept] = world.rows("devices", "kept")
    assert kept == (sum(len(record.body) for record in world.store.records_after(None)),)


def test_an_operator_can_teach_a_schema(solution: World) -> None:
    device = solution.add("A1")
    send(solution, device, block(device, [1, 2]))
    with open_store(solution.settings.store) as store:
        store.learn_schema(store.latest("A1") or 0, READINGS.id, cbor2.dumps(READINGS.definition()))
    solution.ask(device)
    assert stored(solution) == {1: value(1), 2: value(2)}


def test_what_is_not_of_its_template_is_kept_aside(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    good = block(device, [2, 3])
    bad = bytearray(good)
    bad[-1] ^= 0xFF
    other = Template("x", id=7, a=Integer(0, 2**60))
    world.send(device, schema(device, 1, Template("x", id=7, a=Bool())))
    wide = [device.record(number, {"a": 2**59 + number}, "x") for number in (2, 3)]
    made = encode_block(wide, [{"a": 2**59 + number} for number in (2, 3)], other, floor=None, now=NOW)
    assert made is not None
    assert cbor2.loads(made) is not None
    answer = send(world, device, made)
    assert answer.message.acknowledged == NumberSet(3)
    assert world.rows("blocks", "schema, unreadable") == [(7, 1)]
    assert world.core.counters["unreadable blocks"] == 1
    assert stored(world, "x") == {}


def test_parked_blocks_that_prove_unreadable_are_kept_aside(solution: World) -> None:
    device = solution.add("A1")
    other = Template("x", id=7, a=Integer(0, 2**60))
    wide = [device.record(number, {"a": 2**59 + number}, "x") for number in (2, 3)]
    made = encode_block(wide, [{"a": 2**59 + number} for number in (2, 3)], other, floor=None, now=NOW)
    assert made is not None
    send(solution, device, made)
    solution.send(device, schema(device, 1, Template("x", id=7, a=Bool())))
    assert solution.rows("blocks", "schema, unreadable") == [(7, 1)]
    assert solution.send(device, device.record(4, 4)).message.acknowledged == NumberSet(4)


def test_a_block_of_an_unnamed_queue_is_parked_record_by_record(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, schema(device, 1))
    send(solution, device, block(device, [2, 3], queue="late", named=False))
    assert solution.rows("parked", "number") == [(2,), (3,)]
    solution.send(device, device.record(4, {}, "late"))
    assert stored(solution, "late") == {2: value(2), 3: value(3), 4: {}}


@pytest.mark.parametrize(
    "body",
    [1, [], [1], [7, 7], ["a", []], [5, READINGS.definition()], [0, []], [2**21, []], [-5, "a"], [-20, ""], [-20, 1]],
)
def test_what_is_no_schema_is_counted_and_dropped(solution: World, body: object) -> None:
    device = solution.add("A1")
    assert solution.send(device, device.record(1, body, "$schemas")).message.acknowledged == NumberSet(1)
    assert solution.rows("schemas", "id") == solution.rows("queues", "id") == solution.rows() == []
    assert solution.core.counters["malformed schemas"] == 1


def test_a_schema_is_no_record_and_counts_for_the_quota(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, schema(device, 1), device.record(2, {}))
    assert solution.rows() == [(2, "readings")]
    definition = cbor2.dumps(READINGS.definition())
    assert solution.rows("devices", "kept") == [(len(definition) + 1,)]
    solution.send(device, schema(device, 3))
    assert solution.rows("devices", "kept") == [(len(definition) + 1,)], "told again"


def test_a_schema_of_a_newer_device_is_kept_for_a_newer_service(
    solution: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = solution.add("A1")
    learn = Template.from_definition
    with monkeypatch.context() as patched:
        schematics._template.cache_clear()
        patched.setattr(Template, "from_definition", classmethod(_refuse))
        asked = send(solution, device, block(device, [2, 3]))
        assert asked.message.control[WANTED] == [READINGS.id]
        solution.send(device, schema(device, 1))
        assert solution.core.counters["schemas that cannot be read"] == 1
        solution.clock.passed += 10_000
        assert WANTED not in send(solution, device, block(device, [4])).message.control, "it was told all that there is"
        assert stored(solution) == {}
    schematics._template.cache_clear()
    assert Template.from_definition == learn
    solution.restart()
    assert stored(solution) == {number: value(number) for number in (2, 3, 4)}


def _refuse(cls: type[Template], definition: object) -> Template:
    raise ObjectError("a kind of field that nobody here knows")


# --- asking ---------------------------------------------------------------------------------------------------------------


def test_a_device_is_asked_for_what_its_blocks_need(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    assert WANTED not in world.send(device, device.record(1, "plain", "others")).message.control
    assert send(world, device, block(device, [2, 3])).message.control[WANTED] == [READINGS.id]
    assert WANTED not in send(world, device, block(device, [4])).message.control, "it is on its way"
    world.clock.passed += 60
    assert world.ask(device).message.control[WANTED] == [READINGS.id], "an answer may have been lost"
    world.clock.passed += 60
    assert WANTED not in world.ask(device).message.control, "ever more rarely"
    world.restart()
    assert world.ask(device).message.control[WANTED] == [READINGS.id]
    assert WANTED not in world.send(device, schema(device, 5)).message.control
    world.clock.passed += 10_000
    assert WANTED not in world.ask(device).message.control
    assert stored(world) == {number: value(number) for number in (2, 3, 4)}


def test_a_device_is_asked_for_what_its_queue_is_called(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    world.send(device, schema(device, 1))
    asked = send(world, device, block(device, [2, 3], named=False)).message.control[WANTED]
    assert asked == [-1 - device.queues["readings"]]
    assert stored(world) == {}
    told = world.send(device, device.record(4, [asked[0], "readings"], "$schemas"))
    assert WANTED not in told.message.control
    assert stored(world) == {2: value(2), 3: value(3)}
    assert world.rows("parked", "number") == []


def test_at_most_eight_are_asked_for_at_a_time_and_fewer_in_a_small_answer(solution: World) -> None:
    device = solution.add("A1")
    many = [Template("x", id=each, a=Integer(0, 100), b=Bool()) for each in range(1, 11)]
    for number, each in enumerate(many, start=2):
        record = device.record(number, {"a": 7, "b": True}, "x")
        made = encode_block([record], [{"a": 7, "b": True}], each, floor=None, now=NOW)
        assert made is not None
        body = MessageBuilder(65_000, floor=None, now=NOW, control={ANSWER_LIMIT: 51})
        assert body.add_block(made)
        solution.ask(device, body.finish())
    solution.restart()
    asked = [solution.ask(device).message.control.get(WANTED, []) for _ in range(10)]
    assert sorted(each for some in asked for each in some) == list(range(1, 11))
    assert {len(each) for each in asked} == {1}
    solution.restart()
    asked = [solution.ask(device, address="elsewhere").message.control.get(WANTED, []) for _ in range(3)]
    assert [len(each) for each in asked] == [8, 2, 0]


def test_a_full_quota_takes_what_its_parked_blocks_wait_for(tmp_path: Path) -> None:
    """A definition that found no room would leave them parked, and the quota used up, for ever."""
    world = World(tmp_path, Service.SOLUTION, kept_bytes=2**20)
    device, template = world.add("A1"), Template("blobs", data=Bytes(60_000))
    acknowledged = NumberSet()
    for number in range(2, 22):
        record, blob = device.record(number, None, "blobs"), {"data": bytes([number]) * 59_000}
        made = encode_block([record], [blob], template, floor=None, now=NOW)
        assert made is not None
        acknowledged = send(world, device, made).message.acknowledged or acknowledged
    assert world.core.counters["records over the quota"] > 0
    assert 21 not in acknowledged
    parked = {number for number in range(2, 22) if number in acknowledged}
    assert 1 in (world.send(device, schema(device, 1, template)).message.acknowledged or ())
    assert set(stored(world, "blobs")) == parked
    world.kill()


def test_a_block_that_would_unpack_to_too_much_is_kept_aside_and_charged(solution: World) -> None:
    device = solution.add("A1")
    note = Template("notes", note=Text(30_000))
    solution.send(device, schema(device, 1, note))
    values = [{"note": "x" * 20_000}] * 400
    columns, numbers = note.pack_columns(values), tuple(range(2, 402))
    packed = Block(9, Urgency.ROUTINE, "notes", note.id, numbers, (None,) * 400, columns)
    made = write_block(packed, floor=None, now=NOW)
    assert len(made) < 60_000
    send(solution, device, made)
    assert solution.rows("blocks", "unreadable") == [(1,)]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_blocks_plain_records_and_schemas_in_any_order_count_each_once(data: st.DataObject) -> None:
    """Duplicates within and among blocks, parts of them, plain copies, restarts: every number once, none missing."""
    with passing_world(Service.SOLUTION) as world:
        device = world.add("A1")
        acknowledged: set[int] = set()
        told = data.draw(st.integers(0, 6), label="when the schema comes")
        numbers = list(range(2, 14))
        for step in range(7):
            if step == told:
                world.send(device, schema(device, 1))
            if data.draw(st.integers(0, 4)) == 0:
                world.restart()
            chosen = [
                sorted(data.draw(st.sets(st.sampled_from(numbers), min_size=1, max_size=6)))
                for _ in range(data.draw(st.integers(1, 3)))
            ]
            plain = sorted(data.draw(st.sets(st.sampled_from(numbers), max_size=2)))
            records = tuple(device.record(number, value(number), at=NOW + number) for number in plain)
            answer = send(world, device, *(block(device, each) for each in chosen), records=records)
            settled = answer.message.acknowledged
            assert settled is not None
            sent = {*plain, *(number for each in chosen for number in each)}
            assert all(number in settled for number in sent)
            acknowledged |= sent
        assert stored(world) == {number: value(number) for number in acknowledged}
        assert world.rows("blocks", "id") == []
