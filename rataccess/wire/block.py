"""Blocks: records of one queue, urgency and schema, packed together (docs/wire.md, Blocks).

Rules of this file: pure.  A block is one CBOR byte string; within it, bits.  What does not depend on the schema (numbers,
times) comes first, so that a receiver without the schema can acknowledge a block and keep it until it has.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cbor2

from rataccess.errors import ObjectError, TemplateError
from rataccess.numbers import MAX_NUMBER
from rataccess.objects import Urgency
from rataccess.template import MOST_RECORDS, Packing, Template
from rataccess.template.bits import BitReader, number, octets, to_bytes
from rataccess.template.integers import read_integers, write_integers
from rataccess.wire.values import (
    EPOCH,
    MAX_BLOCK_BODIES,
    Block,
    WireRecord,
    age_needed,
    checked_number,
    short_number,
    ticks_of,
    whole_number,
    whole_ticks,
)

ABSOLUTE, AGE, UNKNOWN = range(3)
DELTAS, GRID = range(2)
COUNT_WIDTH, NUMBER_WIDTH, TIME_WIDTH, AGE_WIDTH = 12, 54, 32, 40
WIDTH_WIDTH = 6
"""Bits in which the width of the columns of numbers and times is told."""
MOST_TIME_WIDTH = 42
_MOST_BODIES = (
    MAX_BLOCK_BODIES // 2
)  # well within what a receiver unpacks, should it encode a value a little differently
_FAR = 2.0 ** (MOST_TIME_WIDTH - 2) / 100  # seconds


def encode_block(
    records: Sequence[WireRecord],
    values: Sequence[Mapping[str, Any]],
    template: Template,
    *,
    floor: int | None,
    now: float,
) -> bytes | None:
    """`records`, whose objects are `values`, as one block ready to stand in a message (`MessageBuilder.add_block`).

    `None` where they cannot share a block: they differ in queue or urgency, some have a capture time and others none, the
    numbers do not ascend, one is a byte range, there are none or more than 4096 or 2 MiB of them, or a value does not fit.
    """
    if not records or len(records) != len(values) or _together(records) != len(records):
        return None
    try:
        return _Fitting(records, Packing(template, values), template.id, floor, now).block(len(records))
    except TemplateError:
        return None


def fit_block(
    records: Sequence[WireRecord],
    values: Sequence[Mapping[str, Any]],
    template: Template,
    *,
    floor: int | None,
    now: float,
    limit: int,
) -> tuple[int, bytes] | None:
    """How many of `records`, from the first, make a block of at most `limit` bytes (within a few of the most), and that
    block; `None` where not even one does."""
    count = _together(records[: len(values)])
    packing = Packing(template, values[:count], strict=False)
    fitting = _Fitting(records, packing, template.id, floor, now)
    most = packing.fit(limit, lambda count: len(fitting.block(count)))
    return (most, fitting.block(most)) if most else None


class _Fitting:
    """Blocks of the first few of some records; keeps the last two that it made."""

    def __init__(
        self, records: Sequence[WireRecord], packing: Packing, schema: int, floor: int | None, now: float
    ) -> None:
        self._records, self._packing, self._schema, self._floor, self._now = records, packing, schema, floor, now
        self._made: dict[int, bytes] = {}

    def block(self, count: int) -> bytes:
        if count not in self._made:
            first, some = self._records[0], self._records[:count]
            block = Block(
                first.queue_id,
                first.urgency,
                first.queue,
                self._schema,
                tuple(record.number for record in some),
                tuple(record.captured_at for record in some),
                self._packing.pack(count),
            )
            self._made[count] = write_block(block, floor=self._floor, now=self._now)
        return self._made[count]


def _together(records: Sequence[WireRecord]) -> int:
    """How many, from the first, may share a block."""
    if not records or records[0].offset is not None:
        return 0
    head, size = _head(records[0]), len(records[0].body)
    for count, (before, record) in enumerate(pairwise(records[:MOST_RECORDS]), start=1):
        size += len(record.body)
        if _head(record) != head or record.number <= before.number or _far(before, record) or size > _MOST_BODIES:
            return count
    return min(len(records), MOST_RECORDS)


def _head(record: WireRecord) -> tuple[object, ...]:
    return record.queue_id, record.urgency, record.queue, record.captured_at is None, record.offset is None


def _far(before: WireRecord, record: WireRecord) -> bool:
    if before.captured_at is None or record.captured_at is None:
        return False
    return abs(record.captured_at - before.captured_at) >= _FAR


# --- writing ----------------------------------------------------------------------------------------------------------


def write_block(block: Block, *, floor: int | None, now: float) -> bytes:
    """The CBOR byte string of `block`."""
    count, first = len(block.numbers), block.numbers[0]
    ticks = [ticks_of(captured_at) for captured_at in block.times]
    short = short_number(first, floor)
    known = [item for item in ticks if item is not None]
    age = age_needed(known[0], now) if known else None
    form = UNKNOWN if not known else ABSOLUTE if age is None else AGE
    bits = [
        "0" if count == 1 else "1" + number(count - 2, COUNT_WIDTH),
        "0" if short else "1",
        number(form, 2),
        "0" if block.queue is None else "1",
        number(block.urgency, 2),
        _either(block.queue_id, 5, 16),
        _either(block.schema, 7, 21),
        _name(block.queue),
        number(first & 0xFFFF, 16) if short else number(first, NUMBER_WIDTH),
    ]
    if age is not None:
        bits.append(number(min(age, 2**AGE_WIDTH - 1), AGE_WIDTH))
    elif known:
        bits.append(number(known[0] & 0xFFFFFFFF, TIME_WIDTH))
    if count > 1:
        bits += [_write_numbers(block.numbers), _write_times(known) if known else ""]
    return cbor2.dumps(to_bytes("".join(bits)) + block.columns)


def _either(value: int, short: int, long: int) -> str:
    return "0" + number(value, short) if value < 1 << short else "1" + number(value, long)


def _name(queue: str | None) -> str:
    if queue is None:
        return ""
    data = queue.encode()
    return number(len(data) - 1, 8) + octets(data)


def _write_numbers(numbers: Sequence[int]) -> str:
    gaps = [after - before - 1 for before, after in pairwise(numbers)]
    width = max(gaps).bit_length()
    return number(width, WIDTH_WIDTH) + write_integers(gaps, width)


def _write_times(ticks: Sequence[int]) -> str:
    steps = [after - before for before, after in pairwise(ticks)]
    width = _signed_width(steps)
    if not width:
        return number(0, WIDTH_WIDTH)
    head = number(width, WIDTH_WIDTH)
    choices = [head + number(DELTAS, 1) + _write_signed(steps, width)]
    for period in {round((ticks[-1] - ticks[0]) / len(steps)), sorted(steps)[len(steps) // 2]}:
        rests = [item - ticks[0] - index * period for index, item in enumerate(ticks)][1:]
        rest_width = _signed_width(rests)
        if rest_width <= MOST_TIME_WIDTH:
            line = number(GRID, 1) + _signed(period, width) + number(rest_width, WIDTH_WIDTH)
            choices.append(head + line + _write_signed(rests, rest_width))
    return min(choices, key=len)


def _signed_width(items: Sequence[int]) -> int:
    """The bits of two's complement that hold all of them; 0 where all are 0."""
    low, high = min(items), max(items)
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1 if low or high else 0


def _signed(item: int, width: int) -> str:
    return number(item + (1 << width >> 1), width)


def _write_signed(items: Sequence[int], width: int) -> str:
    half = 1 << width >> 1
    return write_integers([item + half for item in items], width)


# --- reading ----------------------------------------------------------------------------------------------------------


def count_of(block: bytes) -> int:
    """How many records an encoded block holds."""
    return _count(BitReader(cbor2.CBORDecoder(io.BytesIO(block)).decode()[:2]))


def read_block(content: bytes, *, floor: int | None, now: float) -> Block:
    """The block within a byte string; raises `ObjectError`.  Its columns are not looked at."""
    reader = BitReader(content)
    count = _count(reader)
    if count > MOST_RECORDS:
        raise ObjectError(f"a block holds {MOST_RECORDS} records at most, not {count}")
    whole, form, named, urgency = reader.take(1), reader.take(2), reader.take(1), Urgency(reader.take(2))
    queue_id = reader.take(16 if reader.take(1) else 5)
    schema = reader.take(21 if reader.take(1) else 7)
    if not schema:
        raise ObjectError("schemas are numbered from 1")
    queue = _read_name(reader) if named else None
    first = reader.take(NUMBER_WIDTH) if whole else whole_number(reader.take(16), floor)
    ticks = _read_first_time(reader, form, now)
    numbers = _read_numbers(reader, checked_number(first), count)
    times = [None] * count if ticks is None else _read_times(reader, ticks, count)
    reader.align()
    return Block(queue_id, urgency, queue, schema, numbers, tuple(times), content[reader.at // 8 :])


def _count(reader: BitReader) -> int:
    return reader.take(COUNT_WIDTH) + 2 if reader.take(1) else 1


def _read_name(reader: BitReader) -> str:
    try:
        name = reader.octets(reader.take(8) + 1).decode()
    except UnicodeDecodeError as error:
        raise ObjectError("a queue's name is not UTF-8") from error
    if len(name) > 64:
        raise ObjectError("a queue's name is text of at most 64 characters")
    return name


def _read_first_time(reader: BitReader, form: int, now: float) -> int | None:
    if form == UNKNOWN:
        return None
    if form == ABSOLUTE:
        return whole_ticks(reader.take(TIME_WIDTH), now)
    if form == AGE:
        return round((now - EPOCH) * 100) - reader.take(AGE_WIDTH)
    raise ObjectError(f"a block has no time of form {form}")


def _read_numbers(reader: BitReader, first: int, count: int) -> tuple[int, ...]:
    if count == 1:
        return (first,)
    width = reader.take(WIDTH_WIDTH)
    if width > NUMBER_WIDTH:
        raise ObjectError("gaps between record numbers are below 2^54")
    numbers = [first]
    for gap in read_integers(reader, count - 1, width):
        numbers.append(numbers[-1] + 1 + gap)
    if numbers[-1] > MAX_NUMBER:
        raise ObjectError("record numbers go from 1 to 2^53")
    return tuple(numbers)


def _read_times(reader: BitReader, first: int, count: int) -> list[float | None]:
    ticks = [first] * count
    width = _time_width(reader) if count > 1 else 0
    if width and reader.take(1) == DELTAS:
        for index, step in enumerate(_read_signed(reader, count - 1, width)):
            ticks[index + 1] = ticks[index] + step
    elif width:
        period = _read_signed(reader, 1, width)[0]
        for index, rest in enumerate(_read_signed(reader, count - 1, _time_width(reader)), start=1):
            ticks[index] = first + index * period + rest
    return [EPOCH + item / 100 for item in ticks]


def _time_width(reader: BitReader) -> int:
    width = reader.take(WIDTH_WIDTH)
    if width > MOST_TIME_WIDTH:
        raise ObjectError(f"steps of time have {MOST_TIME_WIDTH} bits at most, not {width}")
    return width


def _read_signed(reader: BitReader, count: int, width: int) -> list[int]:
    half = 1 << width >> 1
    return [item - half for item in read_integers(reader, count, width)]
