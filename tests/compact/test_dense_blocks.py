"""Dense blocks: what they hold comes back wherever the floor is by then, a stranger reads them by the words of the page, and
whatever bytes come, a message or a refusal."""

from __future__ import annotations

import contextlib
import random
import re
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER
from rataccess.objects import Urgency
from rataccess.services.schematics import block_content, kept_block
from rataccess.template import MOST_RECORDS, Integer, Scaled, Template, Text
from rataccess.template.bits import octets
from rataccess.wire import (
    EPOCH,
    LateNumber,
    MessageBuilder,
    Reach,
    WireRecord,
    decode_message,
    encode_block,
    fit_block,
)
from rataccess.wire.block import write_block
from rataccess.wire.dense_block import bare, is_dense_block, read_dense_block
from tests.compact import plain_compact
from tests.template.template_values import exact, records_of, templates
from tests.wire.test_blocks import NOW, crowd, day

READINGS = Template("readings", id=1, temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), volt=Scaled(0, 5, 0.01))
SMALL = Template("t", id=1, a=Integer(0, 255))
HERE = round((NOW - EPOCH) * 100)
PAGE = (Path(__file__).resolve().parents[2] / "docs/wire.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("### Dense blocks")[1].split("**Short numbers**")[0]
Batch = tuple[Template, Reach, list[WireRecord], list[dict[str, Any]]]
PERIODS = st.sampled_from([0, 100, 1000, 1001, 360_000, 7, 2**31, -5])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    template = draw(templates)
    some = draw(st.lists(records_of(template), min_size=1, max_size=4))
    values = draw(st.lists(st.sampled_from(some), min_size=2, max_size=40))
    floor = draw(st.integers(0, 2**20) | st.integers(0, 2**50))
    gap = draw(st.sampled_from([1, 1, 3, 2**30]))
    numbers = [floor + draw(st.integers(1, 40_000))]
    for _ in values[1:]:
        numbers.append(numbers[-1] + draw(st.integers(1, gap)))
    period, jitter = draw(PERIODS), draw(st.sampled_from([0, 0, 3, 2**20]))
    first = HERE - draw(st.integers(-360_000, 8_640_000) | st.integers(8_640_000, 400 * 8_640_000))
    times: list[int | None] = [
        first + index * period + (draw(st.integers(-jitter, jitter)) if index else 0) for index in range(len(values))
    ]
    head: dict[str, Any] = {
        "queue_id": draw(st.integers(8, 60) | st.integers(0, 2**16 - 1)),
        "urgency": draw(st.sampled_from(Urgency)),
    }
    head["queue"] = draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64))
    highest = numbers[-1] + draw(st.integers(0, 300) | st.integers(0, 2**17))
    reach = Reach(draw(st.sampled_from([floor, floor, None])), highest, NOW)
    return template, reach, crowd(values, numbers, times, **head), values


def dense(batch: Batch, limit: int = 60_000) -> tuple[int, bytes]:
    """How many found room, and the block."""
    template, reach, records, values = batch
    fitted = fit_block(records, values, template, floor=reach.floor, now=NOW, limit=limit, reach=reach)
    assert fitted is not None
    return fitted


@given(batches(), st.data())
@settings(max_examples=80, deadline=None)
def test_both_readers_find_any_batch_wherever_the_floor_is_by_then(batch: Batch, data: st.DataObject) -> None:
    template, reach, records, values = batch
    count, block = dense(batch)
    content = bare(block)
    if content is None:  # a usual one, of which the composer minds that its number can be read
        assert records[0].number >= 2**28 or count == 1
        return
    builder = MessageBuilder(60_000, floor=reach.floor, now=NOW, dense=reach)
    assert builder.add_block(block)
    assert builder.finish() == content
    floor = data.draw(st.integers(reach.floor or 0, max(records[-1].number, reach.highest)))
    heard = NOW + data.draw(st.floats(-3000, 36_000))  # a slow network, a clock that is off
    (back,) = decode_message(content, floor=floor, now=heard, compact=True).blocks
    assert list(back.numbers) == [record.number for record in records[:count]]
    assert back.times == tuple(pytest.approx(record.captured_at, abs=0.011) for record in records[:count])
    head = records[0]
    assert (back.queue_id, back.urgency, back.queue, back.schema) == (
        head.queue_id,
        head.urgency,
        head.queue,
        template.id,
    )
    again = [exact(cbor2.loads(record.body)) for record in back.records(template)]
    assert again == [exact(value) for value in values[:count]]
    said = plain_compact.dense_block(content, template.definition(), floor, round((heard - EPOCH) * 100))
    assert said["numbers"] == list(back.numbers)
    assert [EPOCH + ticks / 100 for ticks in said["times"]] == list(back.times)
    assert [said[name] for name in ("queue_id", "urgency", "queue", "schema")] == [
        back.queue_id,
        back.urgency,
        back.queue,
        back.schema,
    ]
    assert [exact(value) for value in said["values"]] == again


@given(batches(), st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_bits_never_escape(batch: Batch, data: st.DataObject) -> None:
    block = bytearray(dense(batch)[1])
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ObjectError):
        for back in decode_message(bytes(block), floor=batch[1].floor, now=NOW, compact=True).blocks:
            back.records(batch[0])


@given(st.integers(0x3C, 0x3F), st.binary(max_size=60), st.sampled_from([None, 5]))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_block_or_refused(first: int, rest: bytes, floor: int | None) -> None:
    content = bytes([first]) + rest
    for body in (content, cbor2.dumps(content)):
        with contextlib.suppress(ObjectError):
            (block,) = decode_message(body, floor=floor, now=NOW, compact=True).blocks
            assert 2 <= len(block.numbers) == len(block.times) <= MOST_RECORDS
            assert sorted(set(block.numbers)) == list(block.numbers)
            assert 1 <= block.numbers[0] <= block.numbers[-1] <= MAX_NUMBER
            block.records(Template("t", id=block.schema, a=Integer(0, 9)) if block.schema < 128 else SMALL)
        with pytest.raises(ObjectError):
            decode_message(body, floor=floor, now=NOW)  # not in the usual form


# --- which records ----------------------------------------------------------------------------------------------------


def pair(**change: Any) -> Batch:
    values = [{"a": 1}, {"a": 2}]
    records = [replace(record, **change) for record in crowd(values, [6, 7], [HERE - 2000, HERE - 1000])]
    return SMALL, Reach(5, 7, NOW), records, values


@pytest.mark.parametrize(
    "change",
    [{"captured_at": None}, {"captured_at": NOW - 401 * 86_400}, {"captured_at": NOW + 90_000}],
)
def test_what_a_dense_block_cannot_say_takes_the_usual_one(change: dict[str, Any]) -> None:
    template, reach, records, values = pair(**change)
    usual = encode_block(records, values, template, floor=reach.floor, now=NOW)
    assert usual is not None
    assert dense((template, reach, records, values)) == (2, usual)
    (back,) = decode_message(usual, floor=5, now=NOW, compact=True).blocks
    assert (back.dense, back.numbers) == (None, (6, 7))
    for other in ({}, {"queue": "readings"}, {"queue_id": 2**16 - 1}):
        assert bare(dense(pair(**other))[1]) is not None


def test_a_large_number_that_cannot_be_short_takes_the_usual_block() -> None:
    template, _, records, values = pair()
    for number, floor, spread, fits in (
        (2**28, 5, 0, False),
        (2**28, 2**28 - 1, 2**15, False),
        (2**28, 2**28 - 1, 9, True),
    ):
        high = [replace(record, number=number + index) for index, record in enumerate(records)]
        made = dense((template, Reach(floor, number + spread, NOW), high, values))[1]
        assert (bare(made) is not None) == fits


def test_a_short_number_without_a_floor_is_told_from_what_is_malformed() -> None:
    content = bare(dense(pair())[1])
    assert content is not None
    with pytest.raises(LateNumber):
        decode_message(content, floor=None, now=NOW, compact=True)


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        ("11" + "0" * 21 + "0" * 60, "numbered from 1"),
        ("00000" + "11" + "1" * 12 + "0" * 60, "4096 records"),
        ("00000" + "000000" + "000" + "11" + "0" * 28 + "0" * 40, "from 1 to"),
        ("00000" + "000000" + "000" + "0000000001" + "0" * 25 + "1" + "110111" + "0" * 40, "below 2"),
        ("00000" + "000000" + "000" + "0000000001" + "0" * 25 + "0" + "0000" + "1" + "101011", "42 bits"),
        ("00000" + "000000" + "000" + "0000000001" + "0" * 25 + "0" + "0000" + "1" + "000000", "by something"),
        ("00000" + "000000" + "000" + "0000000001" + "0" * 20, "cut short"),
        ("00000" + "000000" + "111" + "0" * 16 + "00000000" + "11111111" + "0" * 60, "UTF-8"),
        ("00000" + "000000" + "111" + "0" * 16 + "01000000" + "01100001" * 65 + "0" * 60, "64 characters"),
    ],
)
def test_each_part_of_a_head_is_checked(bits: str, why: str) -> None:
    text = "00111101" + bits
    content = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    with pytest.raises(ObjectError, match=why):
        decode_message(content, floor=5, now=NOW, compact=True)


def test_a_small_block_does_not_become_a_large_one() -> None:
    template = Template("t", id=1, text=Text(3000))
    values = [{"text": "x" * 3000}] * 4096
    lying = [replace(record, body=b"") for record in crowd(values, list(range(6, 4102)), [HERE] * 4096)]
    count, block = dense((template, Reach(5, 4101, NOW), lying, values), limit=3200)
    (back,) = decode_message(block, floor=5, now=NOW, compact=True).blocks
    assert count == len(back.numbers) > 3000
    with pytest.raises(ObjectError, match="unpacks to more"):
        back.records(template)


# --- in messages ------------------------------------------------------------------------------------------------------


def test_only_the_last_block_stands_bare_and_sizes_are_what_they_say() -> None:
    first = bare(dense(pair())[1])
    second = bare(dense(pair(queue_id=9))[1])
    assert first is not None
    assert second is not None
    record = crowd([{"a": 3}], [8], [HERE])[0]
    builder = MessageBuilder(100, floor=5, now=NOW, control={0: None}, dense=Reach(5, 8, NOW))
    sizes = [builder.size]
    for block in (first, second):
        assert builder.add_block(cbor2.dumps(block))
        sizes.append(builder.size)
        assert len(builder.finish()) == builder.size
        assert builder.room_left == 100 - builder.size - 1, "what comes next has it stand in a byte string"
    assert sizes == [3, 3 + len(first), 3 + 1 + len(first) + len(second)]
    message = decode_message(builder.finish(), floor=5, now=NOW, compact=True)
    assert [block.queue_id for block in message.blocks] == [8, 9]
    assert builder.add(record)
    assert len(builder.finish()) <= builder.size
    message = decode_message(builder.finish(), floor=5, now=NOW, compact=True)
    assert ([block.queue_id for block in message.blocks], message.control) == ([8, 9], {0: None})
    assert message.records == [record]


def test_a_block_fills_a_message_to_its_last_byte_and_no_further() -> None:
    block = dense(pair())[1]
    size = len(bare(block) or b"")
    for limit, fits in ((size - 1, False), (size, True)):
        builder = MessageBuilder(limit, floor=5, now=NOW, dense=Reach(5, 7, NOW))
        assert builder.add_block(block) == fits
        assert not builder.add(crowd([{"a": 3}], [8], [HERE])[0])
        assert len(builder.finish()) == (size if fits else 0)


def test_a_message_has_4096_records_in_all() -> None:
    values = [{"a": 1}] * 4096
    records = crowd(values, list(range(6, 4102)), [HERE] * 4096)
    count, block = dense((SMALL, Reach(5, 4101, NOW), records, values))
    assert count == 4096
    with pytest.raises(ObjectError, match="4096"):
        decode_message(dense(pair())[1] + (bare(block) or b""), floor=5, now=NOW, compact=True)


@pytest.mark.parametrize("extra", range(8))
def test_a_block_whose_schema_is_unknown_is_kept_with_its_columns(extra: int) -> None:
    """Their bits begin anywhere in a byte."""
    head = {"queue_id": 8 + 4 * (extra & 1), "urgency": Urgency.ALARM}
    values = [{"a": 7 * index} for index in range(2 + 40 * (extra >> 1 & 1))]
    template = Template("t", id=1 + 20 * (extra >> 2), a=Integer(0, 999))
    records = crowd(values, list(range(6, 6 + len(values))), [HERE] * len(values), **head)
    block = read_dense_block(bare(dense((template, Reach(5, 99, NOW), records, values))[1]) or b"", floor=5, now=NOW)
    content = block_content(block, block.numbers)
    kept, fresh = kept_block((0, template.id, block.queue_id, None, int(block.urgency), content, 0, 0))
    assert (kept, fresh) == (block, set(block.numbers))
    assert [cbor2.loads(record.body) for record in kept.records(template)] == values
    with pytest.raises(ObjectError, match="dense"):
        write_block(kept, floor=5, now=NOW)


# --- sizes ------------------------------------------------------------------------------------------------------------


def noisy(count: int, jitter: float = 0.0) -> tuple[list[WireRecord], list[dict[str, Any]]]:
    """Gaussian noise of 3, 1 and 1 steps, every 10 s."""
    chance = random.Random(11)
    values = [
        {
            "temp": round(21.5 + chance.gauss(0, 0.3), 1),
            "hum": round(48 + chance.gauss(0, 1)),
            "volt": round(3.7 + chance.gauss(0, 0.01), 2),
        }
        for _ in range(count)
    ]
    times: list[int | None] = [HERE - 100_000 + index * 1000 + round(chance.gauss(0, jitter)) for index in range(count)]
    return crowd(values, list(range(3_000_000, 3_000_000 + count)), times), values


@pytest.mark.parametrize(
    ("series", "limit", "least", "usual"),
    [
        (day(400), 41, 52, 36),
        (noisy(400), 41, 26.2, 18),
        (noisy(400, 1), 41, 20, 14),
        (noisy(400), 105, 86, 77),
        (noisy(400), 232, 212, 204),
        (noisy(400), 330, 307, 295),
    ],
)
def test_how_many_records_one_packet_holds(
    series: tuple[list[WireRecord], list[dict[str, Any]]], limit: int, least: float, usual: float
) -> None:
    """The mean of several packets: of LoRaWAN at DR0 (51 bytes, 10 of them the head and tag), DR3, DR5, and of SBD."""
    records, values = series
    counts = list[list[int]]()
    for reach in (Reach(2_999_999, 3_000_400, NOW), None):
        counts.append([])
        for at in range(0, 100, 20):
            floor = records[at].number - 1
            near = None if reach is None else reach._replace(floor=floor)
            fitted = fit_block(records[at:], values[at:], READINGS, floor=floor, now=NOW, limit=limit, reach=near)
            assert fitted is not None
            assert len(bare(fitted[1]) or fitted[1]) <= limit
            counts[-1].append(fitted[0])
    means = [sum(each) / len(each) for each in counts]
    assert means[0] >= least
    assert means[1] >= usual, "the usual block"


def test_the_example_is_what_is_sent_and_what_its_bits_say() -> None:
    values = [{"temp": temp, "hum": 40} for temp in (21.5, 21.6, 21.6)]
    template = Template("readings", id=1, temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100))
    records = crowd(values, [70_000, 70_001, 70_002], [20_000_000_000 + 1000 * index for index in range(3)])
    now = EPOCH + 200_000_030.0
    fitted = fit_block(records, values, template, floor=69_999, now=now, limit=60, reach=Reach(69_999, 70_002, now))
    assert fitted is not None
    match = re.search(r"```hex\n(.*?)\n", EXAMPLE)
    assert match is not None
    content = bytes.fromhex(match.group(1))
    assert bare(fitted[1]) == content
    assert is_dense_block(content[0])
    assert len(encode_block(records, values, template, floor=69_999, now=now) or b"") == 19
    rows = [line.split("|")[1] for line in EXAMPLE.split("```")[2].splitlines() if line.startswith("| `")]
    assert "".join("".join(re.findall(r"`([01]+)`", row)) for row in rows) == octets(content)
    said = plain_compact.dense_block(content, template.definition(), 69_999, 20_000_003_000)
    assert said["values"] == values


def test_a_packet_is_made_in_a_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    from rataccess.wire import block

    records, values = noisy(400)
    tried, real = list[int](), block._Fitting._block

    def counted(self: Any, count: int) -> bytes:
        tried.append(count)
        return real(self, count)

    monkeypatch.setattr(block._Fitting, "_block", counted)
    for at in range(0, 60, 10):
        dense((READINGS, Reach(records[at].number - 1, records[-1].number, NOW), records[at:], values[at:]), limit=41)
    assert len(tried) <= 6 * 8, tried
    assert max(tried) <= 60, "none of hundreds"
