"""Blocks: round trips through whole messages, sizes, hostile bytes, and where records cannot share one."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER
from rataccess.objects import Urgency
from rataccess.template import Bool, Integer, Scaled, Template, Text
from rataccess.wire import (
    EPOCH,
    MAX_BLOCK_BODIES,
    Message,
    MessageBuilder,
    WireRecord,
    decode_message,
    encode_block,
    encode_message,
    fit_block,
    fragment,
)
from tests.template.template_values import exact, records_of, templates

NOW = 1_790_000_000.0
SMALL = Template("t", id=1, a=Integer(0, 255))
READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), volt=Scaled(0, 5, 0.01))


def seconds(ticks: int) -> float:
    return EPOCH + ticks / 100


def crowd(values: list[dict[str, Any]], numbers: list[int], times: list[int | None], **more: Any) -> list[WireRecord]:
    head = {"queue_id": 8, "urgency": Urgency.ROUTINE} | more
    return [
        WireRecord(number=number, body=cbor2.dumps(value), captured_at=None if time is None else seconds(time), **head)
        for value, number, time in zip(values, numbers, times, strict=True)
    ]


def day(count: int, jitter: float = 0.0) -> tuple[list[WireRecord], list[dict[str, Any]]]:
    """Telemetry every 10 s: temperature and voltage walk, humidity now and then."""
    chance, temp, hum, volt = random.Random(7), 215, 40, 371
    values = []
    for _ in range(count):
        temp += chance.choice((-1, 0, 1))
        hum = min(100, max(0, hum + (chance.choice((-1, 1)) if chance.random() < 0.05 else 0)))
        volt = min(500, max(0, volt + chance.choice((-1, 0, 0, 0, 1))))
        values.append({"temp": temp / 10, "hum": hum, "volt": volt / 100})
    start = round((NOW - EPOCH) * 100) - count * 1000
    times: list[int | None] = [start + index * 1000 + round(chance.gauss(0, jitter)) for index in range(count)]
    return crowd(values, list(range(3_000_000, 3_000_000 + count)), times), values


steps = st.sampled_from([1000, 1001, 999, 0, -3, 60_000, 2**31, -(2**20)])


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Template, int, list[WireRecord], list[dict[str, Any]]]:
    template = draw(templates)
    some = draw(st.lists(records_of(template), min_size=1, max_size=4))
    values = draw(st.lists(st.sampled_from(some), min_size=1, max_size=30))
    floor = draw(st.integers(0, 2**52))
    gaps = draw(st.lists(st.integers(1, 3) | st.integers(1, 2**40), min_size=len(values), max_size=len(values)))
    numbers, last = [], floor
    for index, gap in enumerate(gaps):
        last += gap if index else min(gap, 0x7FFE)
        numbers.append(last)
    times: list[int | None] = [None] * len(values)
    if draw(st.booleans()):
        last = draw(st.integers(0, round((NOW - EPOCH) * 100)))
        for index in range(len(values)):
            times[index] = last
            last += draw(steps)
    head = {
        "queue_id": draw(st.integers(0, 40) | st.integers(0, 2**16 - 1)),
        "urgency": draw(st.sampled_from(list(Urgency))),
        "queue": draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)),
    }
    return template, floor, crowd(values, numbers, times, **head), values


@given(blocks(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_blocks_come_back_as_they_went(
    batch: tuple[Template, int, list[WireRecord], list[dict[str, Any]]], known: bool
) -> None:
    template, floor, records, values = batch
    block = encode_block(records, values, template, floor=floor if known else None, now=NOW)
    assert block is not None
    for ahead in (floor, records[0].number):
        (back,) = decode_message(block, floor=ahead, now=NOW).blocks
        assert (back.schema, back.queue_id, back.urgency, back.queue) == (
            template.id,
            records[0].queue_id,
            records[0].urgency,
            records[0].queue,
        )
        assert list(back.numbers) == [record.number for record in records]
        assert back.times == tuple(
            None if record.captured_at is None else pytest.approx(record.captured_at, abs=0.011) for record in records
        )
        again = back.records(template)
        assert [exact(cbor2.loads(record.body)) for record in again] == [exact(value) for value in values]
        assert all(record.template == template.id and record.queue == records[0].queue for record in again)
        assert encode_message(Message(blocks=[back]), floor=floor if known else None, now=NOW) == block


@given(blocks(), st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bits_never_escape(
    batch: tuple[Template, int, list[WireRecord], list[dict[str, Any]]], data: st.DataObject
) -> None:
    template, floor, records, values = batch
    block = bytearray(encode_block(records, values, template, floor=floor, now=NOW) or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ObjectError):
        for back in decode_message(bytes(block), floor=floor, now=NOW).blocks:
            back.records(template)


@given(st.binary(max_size=120), st.integers(0, 2**53))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_block_or_refused(content: bytes, floor: int) -> None:
    try:
        (block,) = decode_message(cbor2.dumps(content), floor=floor, now=NOW).blocks
    except ObjectError:
        return
    assert 1 <= len(block.numbers) == len(block.times) <= 4096
    assert all(1 <= number <= MAX_NUMBER for number in block.numbers)
    assert sorted(set(block.numbers)) == list(block.numbers)
    with contextlib.suppress(ObjectError):
        Template("t", a=Integer(0, 9)).unpack_columns(block.columns, len(block.numbers))


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_lone_record_costs_ten_bytes_above_its_values() -> None:
    records = crowd([{"a": 7}], [3_000_000], [round((NOW - EPOCH) * 100)])
    block = encode_block(records, [{"a": 7}], SMALL, floor=2_999_999, now=NOW)
    assert block is not None
    assert len(block) - len(SMALL.pack({"a": 7})) == 10


@pytest.mark.parametrize(("jitter", "most"), [(0, 0.75), (1, 1.1), (3, 1.35), (30, 1.75)])
def test_a_day_of_telemetry(jitter: float, most: float) -> None:
    """Bytes for each record, numbers and times included, in packets of 1100 bytes; jitter in hundredths of a second."""
    records, values = day(8640, jitter)
    size = at = 0
    while at < len(records):
        fitted = fit_block(records[at:], values[at:], READINGS, floor=records[0].number, now=NOW, limit=1100)
        assert fitted is not None
        count, block = fitted
        assert len(block) <= 1100
        assert count >= 500 or at + count == len(records)
        (back,) = decode_message(block, floor=records[at].number, now=NOW).blocks
        assert [cbor2.loads(record.body) for record in back.records(READINGS)] == values[at : at + count]
        size, at = size + len(block), at + count
    assert size / len(records) <= most


def test_records_fill_a_small_packet() -> None:
    records, values = day(100)
    for limit in range(5, 120):
        fitted = fit_block(records, values, READINGS, floor=records[0].number, now=NOW, limit=limit)
        if fitted is None:
            assert limit < 18
            continue
        count, block = fitted
        assert len(block) <= limit
        assert count == len(records) or len(_block(records[: count + 2], values[: count + 2])) >= limit - 1


def _block(records: list[WireRecord], values: list[dict[str, Any]]) -> bytes:
    block = encode_block(records, values, READINGS, floor=records[0].number, now=NOW)
    assert block is not None
    return block


# --- what cannot share a block ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"queue_id": 9},
        {"urgency": Urgency.ALARM},
        {"queue": "readings"},
        {"captured_at": None},
        {"captured_at": seconds(2**41)},
        {"number": 1},
        {"offset": 0, "total": 9},
    ],
)
def test_records_that_differ_do_not_share(change: dict[str, Any]) -> None:
    first, second = crowd([{"a": 1}, {"a": 2}], [1, 2], [5, 6])
    second = WireRecord(
        **{name: getattr(second, name) for name in ("number", "queue_id", "urgency", "body", "captured_at")} | change
    )
    pair, values = [first, second], [{"a": 1}, {"a": 2}]
    assert encode_block(pair, values, SMALL, floor=0, now=NOW) is None
    fitted = fit_block(pair, values, SMALL, floor=0, now=NOW, limit=100)
    assert fitted is not None
    assert fitted[0] == 1
    assert fitted[1] == encode_block([first], values[:1], SMALL, floor=0, now=NOW)


def test_no_records_and_values_that_do_not_fit_make_no_block() -> None:
    records = crowd([{"a": 1}, {"a": 256}], [1, 2], [5, 6])
    assert encode_block([], [], SMALL, floor=0, now=NOW) is None
    assert encode_block(records, [{"a": 1}, {"a": 256}], SMALL, floor=0, now=NOW) is None
    fitted = fit_block(records, [{"a": 1}, {"a": 256}], SMALL, floor=0, now=NOW, limit=100)
    assert fitted is not None
    assert fitted[0] == 1
    assert fit_block(records[1:], [{"a": 256}], SMALL, floor=0, now=NOW, limit=100) is None
    assert fit_block([], [], SMALL, floor=0, now=NOW, limit=100) is None
    assert fit_block([fragment(records[0], 0, 2)], [{"a": 1}], SMALL, floor=0, now=NOW, limit=100) is None


def test_at_most_4096_records_share() -> None:
    values = [{"a": 1}] * 4097
    records = crowd(values, list(range(1, 4098)), [5] * 4097)
    assert encode_block(records, values, SMALL, floor=0, now=NOW) is None
    fitted = fit_block(records, values, SMALL, floor=0, now=NOW, limit=1000)
    assert fitted is not None
    assert fitted[0] == 4096
    assert len(decode_message(fitted[1], floor=0, now=NOW).blocks[0].records(SMALL)) == 4096


# --- in messages ------------------------------------------------------------------------------------------------------


def test_blocks_stand_before_plain_records() -> None:
    first, second, third, plain = crowd([{"a": 1}] * 4, [1, 2, 3, 4], [5, 6, 7, 8])
    builder = MessageBuilder(100, floor=0, now=NOW, control={2: {}})
    made = [encode_block(some, [{"a": 1}] * len(some), SMALL, floor=0, now=NOW) for some in ([first, second], [third])]
    assert builder.add(plain)
    for block in made:
        assert block is not None
        left = builder.room_left
        assert builder.add_block(block)
        assert builder.room_left == left - len(block)
    assert builder.count == 4
    message = decode_message(builder.finish(), floor=0, now=NOW)
    assert [block.numbers for block in message.blocks] == [(1, 2), (3,)]
    assert [record.number for record in message.records] == [4]
    assert message.control == {2: {}}
    assert encode_message(message, floor=0, now=NOW) == builder.finish()


def test_a_block_beyond_the_limit_is_not_added() -> None:
    block = encode_block(crowd([{"a": 1}], [1], [5]), [{"a": 1}], SMALL, floor=0, now=NOW)
    assert block is not None
    assert MessageBuilder(len(block), floor=0, now=NOW).add_block(block)
    assert not MessageBuilder(len(block) - 1, floor=0, now=NOW).add_block(block)


def test_a_message_has_4096_records_in_all() -> None:
    def packed(first: int, count: int) -> bytes:
        values = [{"a": 1}] * count
        made = encode_block(
            crowd(values, list(range(first, first + count)), [5] * count), values, SMALL, floor=0, now=NOW
        )
        assert made is not None
        return made

    builder, (plain, more) = MessageBuilder(9999, floor=0, now=NOW), crowd([{}] * 2, [5000, 5001], [5, 5])
    assert builder.add_block(packed(1, 4000))
    assert not builder.add_block(packed(4001, 97))
    assert builder.add_block(packed(4001, 95))
    assert builder.add(plain)
    assert not builder.add(more)
    assert not builder.add_block(packed(4097, 1))
    assert builder.room(more) < 1
    assert builder.count == 4096
    message = decode_message(builder.finish(), floor=0, now=NOW)
    assert sum(len(block.numbers) for block in message.blocks) + len(message.records) == 4096
    single = MessageBuilder(9999, floor=0, now=NOW)
    assert single.add(plain)
    for over in (packed(1, 4000) + packed(4001, 97), packed(1, 4096) + single.finish()):
        with pytest.raises(ObjectError, match="4096"):
            decode_message(over, floor=0, now=NOW)


# --- hostile peers ----------------------------------------------------------------------------------------------------


def test_a_small_block_does_not_become_a_large_one() -> None:
    template = Template("t", id=1, text=Text(3000))
    values = [{"text": "x" * 3000}] * 4096
    records = crowd(values, list(range(1, 4097)), [5] * 4096)
    assert encode_block(records, values, template, floor=0, now=NOW) is None
    fitted = fit_block(records, values, template, floor=0, now=NOW, limit=9000)
    assert fitted is not None
    assert fitted[0] == MAX_BLOCK_BODIES // 2 // len(records[0].body)
    lying = [replace(record, body=b"") for record in records]
    block = encode_block(lying, values, template, floor=0, now=NOW)
    assert block is not None
    assert len(block) < 3100
    (back,) = decode_message(block, floor=0, now=NOW).blocks
    with pytest.raises(ObjectError, match=str(MAX_BLOCK_BODIES)):
        back.records(template)


def test_a_block_is_not_read_with_another_template() -> None:
    block = encode_block(crowd([{"a": 1}], [1], [5]), [{"a": 1}], SMALL, floor=0, now=NOW)
    assert block is not None
    (back,) = decode_message(block, floor=0, now=NOW).blocks
    with pytest.raises(ObjectError, match="schema 1"):
        back.records(Template("t", id=2, a=Integer(0, 255)))
    with pytest.raises(ObjectError):
        back.records(Template("t", id=1, a=Bool()))
    with pytest.raises(ObjectError):
        back.records(Template("t", id=1, a=Text(9)))


def bits(*pieces: str) -> bytes:
    text = "".join(pieces)
    text += "0" * (-len(text) % 8)
    return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:]


HEAD = "0" + "00" + "0" + "01" + "0" + "01000" + "0" + "0000001"  # short, absolute, unnamed, routine, queue 8, schema 1
AT = f"{1:016b}" + f"{5:032b}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bits("1", f"{4095:012b}", HEAD, AT), "4096 records"),
        (bits("0", "0", "10", HEAD[3:], AT[:16]), ""),  # nobody knows the time: not malformed by itself
        (bits("0", "0", "11", HEAD[3:], AT), "time of form 3"),
        (bits("0", HEAD[:-7], "0000000", AT), "numbered from 1"),
        (bits("0", "1", HEAD[1:], "0" * 54, AT[16:]), "from 1 to 2"),
        (bits("0", "1", HEAD[1:], "1" * 54, AT[16:]), "from 1 to 2"),
        (bits("1", "0" * 12, "1", HEAD[1:], f"{2**53:054b}", AT[16:], "000000", "000000"), "from 1 to 2"),
        (bits("1", "0" * 12, HEAD, AT, f"{55:06b}"), "below 2"),
        (bits("1", "0" * 12, HEAD, AT, "000000", f"{43:06b}"), "42 bits"),
        (bits("1", "0" * 12, HEAD, AT, "000000", "000010", "1", "10", f"{43:06b}"), "42 bits"),
        (bits("0", HEAD[:3], "1", HEAD[4:], f"{64:08b}", f"{0x61:08b}" * 65, AT), "64 characters"),
        (bits("0", HEAD[:3], "1", HEAD[4:], f"{0:08b}", f"{0xFF:08b}", AT), "UTF-8"),
        (bits("0", HEAD, AT[:-8]), "cut short"),
        (bits("0", HEAD, AT, "1"), "zeros"),
    ],
)
def test_each_part_of_a_head_is_checked(content: bytes, why: str) -> None:
    assert decode_message(cbor2.dumps(bits("0", HEAD, AT)), floor=0, now=NOW).blocks[0].numbers == (1,)
    if not why:
        assert decode_message(cbor2.dumps(content), floor=0, now=NOW).blocks[0].times == (None,)
        return
    with pytest.raises(ObjectError, match=why):
        decode_message(cbor2.dumps(content), floor=0, now=NOW)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "00",
        "0601",  # cut short
        "0620008000000000000007",  # schema 0
        "3820080001000000000007",  # a time of form 3
        "fffe",
    ],
)
def test_malformed_blocks_are_refused(content: str) -> None:
    with pytest.raises(ObjectError):
        decode_message(cbor2.dumps(bytes.fromhex(content)), floor=0, now=NOW)


@given(st.integers(30, 400), st.integers(1, 9000), st.integers(0, 8000), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_a_fragment_fills_its_room_to_the_byte(limit: int, total: int, offset: int, before: int) -> None:
    record = WireRecord(70_000, 9, Urgency.PROMPT, bytes(total), NOW, "pictures")
    offset = min(offset, total - 1)
    builder = MessageBuilder(limit, floor=69_990, now=NOW)
    for number in range(before):
        builder.add(WireRecord(69_995 + number * 9, 9, Urgency.PROMPT, b"\x01", NOW - 1))
    room = builder.room(record, offset)
    part = fragment(record, offset, room) if room > 0 else None
    if part is None:
        assert not builder.add(fragment(record, offset, 1))
        return
    if len(part.body) == room:
        wider = fragment(WireRecord(70_000, 9, Urgency.PROMPT, bytes(total + 1), NOW, "pictures"), offset, room + 1)
        tight = builder.size
        assert not builder.add(WireRecord(wider.number, 9, wider.urgency, wider.body, NOW, "pictures", offset, total))
        assert builder.size == tight
    assert builder.add(part)
    assert len(builder.finish()) <= builder.size <= limit
