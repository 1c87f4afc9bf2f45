"""The message codec: round trips, sizes, and hostile bytes."""

from __future__ import annotations

import contextlib
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.wire import EPOCH, Message, MessageBuilder, WireRecord, decode_message, encode_message, fragment

NOW = 1_790_000_000.0

objects: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
times = st.integers(0, 200_000_000).map(lambda ticks: round(NOW - ticks / 100, 2))


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[WireRecord]]:
    floor = draw(st.integers(0, 2**40))
    numbers = sorted(draw(st.sets(st.integers(1, 30_000), min_size=1, max_size=12)))
    records = [
        WireRecord(
            floor + number,
            draw(st.integers(0, 400)),
            draw(st.sampled_from(list(Urgency))),
            cbor2.dumps(draw(objects)),
            draw(times),
            draw(st.none() | st.text(min_size=1, max_size=20)),
        )
        for number in numbers
    ]
    return floor, records


def same(left: WireRecord, right: WireRecord) -> bool:
    assert left.captured_at is not None
    assert right.captured_at is not None
    return abs(left.captured_at - right.captured_at) < 0.011 and all(
        getattr(left, name) == getattr(right, name) for name in ("number", "queue_id", "urgency", "body", "queue")
    )


@given(batches(), st.booleans())
@settings(max_examples=150)
def test_records_come_back_as_they_went(batch: tuple[int, list[WireRecord]], known: bool) -> None:
    floor, records = batch
    data = encode_message(Message(records=records), floor=floor if known else None, now=NOW)
    # the receiver may be ahead of what the sender knows of it
    for ahead in (floor, records[-1].number):
        back = decode_message(data, floor=ahead, now=NOW + 3.0)
        assert len(back.records) == len(records)
        assert all(same(a, b) for a, b in zip(records, back.records, strict=True))


@given(batches(), st.integers(20, 400), st.randoms())
@settings(max_examples=150)
def test_a_built_message_never_exceeds_its_limit(batch: tuple[int, list[WireRecord]], limit: int, random: Any) -> None:
    floor, records = batch
    builder = MessageBuilder(limit, floor=floor, now=NOW)
    shuffled = list(records)
    random.shuffle(shuffled)
    added = [record.number for record in shuffled if builder.add(record)]
    data = builder.finish()
    assert len(data) <= builder.size <= limit
    assert [record.number for record in decode_message(data, floor=floor, now=NOW).records] == sorted(added)


@given(st.binary(max_size=200), st.integers(0, 2**50))
@settings(max_examples=300)
def test_any_bytes_end_in_a_message_or_a_clear_error(data: bytes, floor: int) -> None:
    try:
        message = decode_message(data, floor=floor, now=NOW)
    except ObjectError:
        return
    assert len(message.records) <= len(data)


@given(batches(), st.data())
@settings(max_examples=100)
def test_a_flipped_byte_never_escapes(batch: tuple[int, list[WireRecord]], data: st.DataObject) -> None:
    floor, records = batch
    encoded = bytearray(encode_message(Message(records=records), floor=floor, now=NOW))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ObjectError):
        decode_message(bytes(encoded), floor=floor, now=NOW)


@given(st.binary(min_size=1, max_size=5000), st.integers(60, 600))
@settings(max_examples=60)
def test_a_large_object_travels_as_byte_ranges(body: bytes, limit: int) -> None:
    record = WireRecord(70_000, 9, Urgency.PROMPT, body, NOW, "pictures")
    rebuilt, offset = bytearray(len(body)), 0
    while offset < len(body):
        builder = MessageBuilder(limit, floor=None, now=NOW)
        part = fragment(record, offset, builder.room(record))
        assert builder.add(part)
        (back,) = decode_message(builder.finish(), floor=0, now=NOW).records
        assert (back.number, back.offset, back.total) == (70_000, offset, len(body))
        rebuilt[offset : offset + len(back.body)] = back.body
        offset += len(back.body)
    assert bytes(rebuilt) == body


def test_what_a_lone_record_costs() -> None:
    body = cbor2.dumps({"temp": 21.5})
    record = WireRecord(3_000_000, 8, Urgency.ROUTINE, body, NOW)
    data = encode_message(Message(records=[record]), floor=2_999_999, now=NOW)
    assert len(data) - len(body) <= 3 + 5 + 2  # number, time, head


def test_time_before_the_clock_was_known_travels_as_nothing() -> None:
    record = WireRecord(1, 8, Urgency.BULK, b"\x01", None)
    (back,) = decode_message(encode_message(Message(records=[record]), floor=0, now=NOW), floor=0, now=NOW).records
    assert back.captured_at is None


def test_an_old_record_keeps_its_time() -> None:
    record = WireRecord(1, 8, Urgency.BULK, b"\x01", EPOCH + 5.0)
    (back,) = decode_message(encode_message(Message(records=[record]), floor=0, now=NOW), floor=0, now=NOW).records
    assert back.captured_at == pytest.approx(EPOCH + 5.0, abs=0.02)


def test_acknowledgement_and_control_travel_beside_records() -> None:
    message = Message(NumberSet(4, [(7, 9)]), {0: 17}, [WireRecord(1, 8, Urgency.ALARM, b"\xf6", NOW)])
    back = decode_message(encode_message(message, floor=0, now=NOW), floor=0, now=NOW)
    assert back.acknowledged == message.acknowledged
    assert back.control == {0: 17}
    assert back.records[0].body == b"\xf6"


def test_an_empty_body_is_a_probe() -> None:
    assert decode_message(b"", floor=3, now=NOW) == Message()


def test_an_acknowledgement_alone_is_a_whole_message() -> None:
    assert decode_message(bytes.fromhex("8101"), floor=0, now=NOW).acknowledged == NumberSet(1)


@pytest.mark.parametrize(
    "body", ["01", "0001", "00f608", "00f6a0", "f5", "80", "a1616101", "3affffffff00", "1a000100000008f6"]
)
def test_malformed_messages_are_refused(body: str) -> None:
    data = bytes.fromhex(body)
    with pytest.raises(ObjectError):
        decode_message(data, floor=0, now=NOW)
