"""Blocks: records of one queue, urgency and schema, packed together (docs/wire.md, Blocks).

Rules of this file: pure.  A block is one CBOR byte string; within it, bits.  What does not depend on the schema (numbers,
times) comes first, so that a receiver without the schema can acknowledge a block and keep it until it has.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cbor2

from rataccess.errors import ObjectError, TemplateError
from rataccess.objects import Urgency
from rataccess.template import MOST_RECORDS, Packing, Template
from rataccess.template.bits import BitReader, number, to_bytes
from rataccess.wire.dense import Reach
from rataccess.wire.dense_block import bare, dense_count, dense_head
from rataccess.wire.spans import (
    MOST_TIME_WIDTH,
    NUMBER_WIDTH,
    read_name,
    read_numbers,
    read_times,
    write_name,
    write_numbers,
    write_times,
)
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
COUNT_WIDTH, TIME_WIDTH, AGE_WIDTH = 12, 32, 40
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
    reach: Reach | None = None,
) -> tuple[int, bytes] | None:
    """How many of `records`, from the first, make a block of at most `limit` bytes (within a few of the most), and that
    block; `None` where not even one does.

    `reach`: the message goes in compact form: several make a dense block where they can, of which the byte string's own
    head, up to 3 bytes, is not counted: at a message's end it has none.
    """
    count = _together(records[: len(values)])
    packing = Packing(template, values[:count], strict=False)
    fitting = _Fitting(records, packing, template.id, floor, now, reach)
    most = packing.fit(limit, fitting.size)
    return (most, fitting.block(most)) if most else None


class _Fitting:
    """Blocks of the first few of some records; keeps the last two that it made."""

    def __init__(
        self,
        records: Sequence[WireRecord],
        packing: Packing,
        schema: int,
        floor: int | None,
        now: float,
        reach: Reach | None = None,
    ) -> None:
        self._records, self._packing, self._schema, self._floor, self._now = records, packing, schema, floor, now
        self._reach = reach
        self._made: dict[int, bytes] = {}

    def size(self, count: int) -> int:
        block = self.block(count)
        return len((bare(block) if self._reach is not None else None) or block)

    def block(self, count: int) -> bytes:
        if count not in self._made:
            self._made[count] = self._block(count)
        return self._made[count]

    def _block(self, count: int) -> bytes:
        first, some = self._records[0], self._records[:count]
        block = Block(
            first.queue_id,
            first.urgency,
            first.queue,
            self._schema,
            tuple(record.number for record in some),
            tuple(record.captured_at for record in some),
            b"",
        )
        if self._reach is not None and (head := dense_head(block, self._reach)) is not None:
            return cbor2.dumps(to_bytes(head + self._packing.bits(count, dense=True)))
        return write_block(replace(block, columns=self._packing.pack(count)), floor=self._floor, now=self._now)


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
    """The CBOR byte string of `block`, whose columns are not dense, in the usual form."""
    if block.dense is not None:
        raise ObjectError("a block of dense columns is not written anew in the usual form")
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
        "" if block.queue is None else write_name(block.queue),
        number(first & 0xFFFF, 16) if short else number(first, NUMBER_WIDTH),
    ]
    if age is not None:
        bits.append(number(min(age, 2**AGE_WIDTH - 1), AGE_WIDTH))
    elif known:
        bits.append(number(known[0] & 0xFFFFFFFF, TIME_WIDTH))
    if count > 1:
        bits += [write_numbers(block.numbers), write_times(known) if known else ""]
    return cbor2.dumps(to_bytes("".join(bits)) + block.columns)


def _either(value: int, short: int, long: int) -> str:
    return "0" + number(value, short) if value < 1 << short else "1" + number(value, long)


# --- reading ----------------------------------------------------------------------------------------------------------


def count_of(block: bytes) -> int:
    """How many records an encoded block holds."""
    content = bare(block)
    if content is not None:
        return dense_count(content)
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
    queue = read_name(reader) if named else None
    first = reader.take(NUMBER_WIDTH) if whole else whole_number(reader.take(16), floor)
    ticks = _read_first_time(reader, form, now)
    numbers = read_numbers(reader, checked_number(first), count)
    times = [None] * count if ticks is None else read_times(reader, ticks, count)
    reader.align()
    return Block(queue_id, urgency, queue, schema, numbers, tuple(times), content[reader.at // 8 :])


def _count(reader: BitReader) -> int:
    return reader.take(COUNT_WIDTH) + 2 if reader.take(1) else 1


def _read_first_time(reader: BitReader, form: int, now: float) -> int | None:
    if form == UNKNOWN:
        return None
    if form == ABSOLUTE:
        return whole_ticks(reader.take(TIME_WIDTH), now)
    if form == AGE:
        return round((now - EPOCH) * 100) - reader.take(AGE_WIDTH)
    raise ObjectError(f"a block has no time of form {form}")
