"""Dense forms: never more than they promise, and whatever bytes come, a message or a refusal."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.objects import Service, Urgency
from rataccess.security import CHANGED, SecureContext
from rataccess.services.floors import Floors
from rataccess.template import Integer, Template
from rataccess.wire import EPOCH, LateNumber, Message, MessageBuilder, Reach, WireRecord, decode_message
from tests.compact.compact_contexts import pair
from tests.security.oscore_reference import SECRET

NOW = EPOCH + 200_000_000.0
NUMBER, SEQUENCE = 70_000, 100_000
BODY = cbor2.dumps({"t": 21})


def warmed() -> SecureContext:
    device, service = pair(SECRET, used=SEQUENCE - 1)
    packet, identity = device.protect_compact(b"", Service.SOLUTION)
    request = service.unprotect_compact(packet)
    service.replay_state()
    device.unprotect_compact_response(service.protect_response(request, CHANGED, b"", message_id=0), identity)
    return device


def reach(waiting: int = 1) -> Reach:
    """The service lacks one record; so many were sent since."""
    return Reach(NUMBER - 1, NUMBER + waiting - 1, NOW)


@pytest.mark.parametrize("queue_id", [0, 4, 8, 63])
@pytest.mark.parametrize(("age", "waiting"), [(0, 1), (60, 16_000), (86_400, 1000), (-60, 1)])
def test_a_plain_record_costs_sixteen_bytes_at_most(queue_id: int, age: float, waiting: int) -> None:
    record = WireRecord(NUMBER, queue_id, Urgency.ALARM, BODY, NOW - age)
    builder = MessageBuilder(41, floor=NUMBER - 1, now=NOW, dense=reach(waiting))
    assert builder.add(record)
    packet, _ = warmed().protect_compact(builder.finish(), Service.SOLUTION)
    assert len(packet) - len(BODY) <= 16


@pytest.mark.parametrize("schema", [1, 31, 62])
@pytest.mark.parametrize(("age", "waiting"), [(0, 1), (60, 2000), (86_000, 127)])
def test_a_packed_record_costs_sixteen_bytes_at_most(schema: int, age: float, waiting: int) -> None:
    template = Template("t", n=Integer(0, 255), id=schema)
    columns = template.pack_columns([{"n": 7}])
    record = WireRecord(NUMBER, 15, Urgency.ROUTINE, cbor2.dumps({"n": 7}), NOW - age, template=schema)
    builder = MessageBuilder(41, floor=NUMBER - 1, now=NOW, dense=reach(waiting))
    lone = builder.packed(record, columns)
    assert lone is not None
    packet, _ = warmed().protect_compact(lone, Service.SOLUTION)
    assert len(packet) - len(columns) <= 16
    [block] = decode_message(lone, floor=NUMBER - 1, now=NOW, compact=True).blocks
    [back] = block.records(template)
    assert (back.number, back.queue_id, back.body) == (NUMBER, 15, record.body)


def test_a_second_record_makes_a_message_of_the_usual_form_again() -> None:
    builder = MessageBuilder(60, floor=NUMBER - 1, now=NOW, dense=reach())
    records = [WireRecord(NUMBER + n, 8, Urgency.ROUTINE, BODY, NOW) for n in range(3)]
    assert [builder.add(record) for record in records] == [True] * 3
    assert decode_message(builder.finish(), floor=NUMBER - 1, now=NOW).records == records
    full = MessageBuilder(12, floor=NUMBER - 1, now=NOW, dense=reach())
    assert [full.add(record) for record in records] == [True, False, False]
    assert len(full.finish()) == full.size == 6 + len(BODY)


def test_acknowledgement_and_control_may_stand_before_a_dense_form() -> None:
    record = WireRecord(NUMBER, 8, Urgency.ROUTINE, BODY, NOW)
    builder = MessageBuilder(60, floor=NUMBER - 1, now=NOW, control={0: None}, dense=reach())
    assert builder.add(record)
    message = decode_message(builder.finish(), floor=NUMBER - 1, now=NOW, compact=True)
    assert (message.control, message.records) == ({0: None}, [record])
    with pytest.raises(ObjectError):
        decode_message(builder.finish(), floor=NUMBER - 1, now=NOW)  # not in the usual form


def test_a_short_number_without_a_floor_is_told_from_what_is_malformed() -> None:
    builder = MessageBuilder(60, floor=NUMBER - 1, now=NOW, dense=reach())
    assert builder.add(WireRecord(NUMBER, 8, Urgency.ROUTINE, BODY, NOW))
    with pytest.raises(LateNumber):
        decode_message(builder.finish(), floor=None, now=NOW, compact=True)
    whole = MessageBuilder(60, floor=None, now=NOW, dense=Reach(None, NUMBER, NOW))
    assert whole.add(WireRecord(NUMBER, 8, Urgency.ROUTINE, BODY, NOW))
    assert [each.number for each in decode_message(whole.finish(), floor=None, now=NOW, compact=True).records] == [
        NUMBER
    ]


@given(st.sampled_from([0xC0, 0xD8, 0xE0, 0xF9, 0x60, 0x7F, 0x00]), st.binary(max_size=24), st.sampled_from([None, 5]))
@settings(max_examples=100, deadline=None)
def test_any_body_is_a_message_or_refused(first: int, rest: bytes, floor: int | None) -> None:
    try:
        message = decode_message(bytes([first]) + rest, floor=floor, now=NOW, compact=True)
    except ObjectError:
        return
    assert isinstance(message, Message)
    numbers = [each.number for each in message.records] + [each.number for each in message.pieces]
    assert all(1 <= number <= 2**53 for number in numbers)


def test_the_floor_of_before_is_remembered_as_far_as_it_goes() -> None:
    floors = Floors(10, 100)
    for highest, floor in ((11, 100), (15, 120), (15, 130), (20, 140)):
        floors.note(highest, floor)
    assert [floors.before(number) for number in (10, 11, 15, 16, 20, 21, 500)] == [None, 100, 100, 130, 130, 140, 140]
    for step in range(200):
        floors.note(21 + step, 141 + step)
    assert floors.before(15) is None
    assert floors.before(1000) == 340
