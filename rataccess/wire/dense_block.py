"""Blocks in the fewest bits (docs/wire.md, Dense blocks): for packets in compact form, some of which take 51 bytes.

Rules of this file: pure.  As in dense.py only that is written which the receiver cannot misread; what does not fit is
`None`: it takes the usual form.

    001111 urgency:2, schema, count, queue, number, time of the first; numbers, times; dense columns

No CBOR item begins with 001111 (RFC 8949 section 3: a negative integer of additional information 28 to 31), and in a usual
block it would be a time of form 3: so a dense block may stand bare at the end of a message, or in a byte string.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import Urgency
from rataccess.template import MOST_RECORDS
from rataccess.template.bits import BitReader, number
from rataccess.wire.dense import FORMS, Reach
from rataccess.wire.spans import (
    MOST_TIME_WIDTH,
    WIDTH_WIDTH,
    read_name,
    read_numbers,
    read_signed,
    signed_width,
    time_width,
    write_name,
    write_numbers,
    write_signed,
)
from rataccess.wire.values import (
    EPOCH,
    FIRST_FREE_QUEUE,
    Block,
    age_needed,
    checked_number,
    ticks_of,
    whole_number,
    whole_ticks,
)

MARK, MARK_BITS = 0b001111, 6

Scale = tuple[tuple[int, int], ...]
"""Ranges of a number, the likeliest first, each with its bits and its least: a 1 for each that is passed over, a 0 (but
before the last), and the number less that least."""
_QUEUES: Scale = ((2, FIRST_FREE_QUEUE), (5, FIRST_FREE_QUEUE + 4), (16, 0), (16, 0))
"""The fourth is followed by the queue's name."""
_SCHEMAS: Scale = ((4, 1), (7, 17), (21, 0))
_COUNTS: Scale = ((5, 2), (8, 34), (12, 2))
_MOST_HEAD = 6
"""Bytes up to the end of the count, at most."""
_SHORT_NUMBERS, _WHOLE_NUMBER = (8, 12, 16), 28
"""Bits of the first record's number, by its form; the fourth is whole."""
_NEAR = FORMS[0]
"""The time of the first record as in a dense record; else 32 bits as in a block."""
_LONG_TIME = 32
PERIODS = tuple(100 * each for each in (0, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600))
"""Ticks between records that are told by four bits; the sixteenth code is followed by the width of another and that."""
_PERIOD_WIDTH = 4
_OTHER, _OTHER_WIDTH = len(PERIODS), 5
_MOST_PERIOD = 2**31 - 1


def is_dense_block(first: int) -> bool:
    """Whether what begins with this byte is a dense block."""
    return first >> 8 - MARK_BITS == MARK


def bare(block: bytes) -> bytes | None:
    """What is within an encoded block, where that is a dense one: it may stand at a message's end without its head."""
    content: bytes = cbor2.loads(block)
    return content if content and is_dense_block(content[0]) else None


# --- writing ----------------------------------------------------------------------------------------------------------


def dense_head(block: Block, reach: Reach) -> str | None:
    """The bits of `block` before its columns."""
    ticks = [ticks for captured_at in block.times if (ticks := ticks_of(captured_at)) is not None]
    if len(block.numbers) < 2 or not ticks:
        return None
    pieces = [
        number(MARK, MARK_BITS) + number(block.urgency, 2),
        _scaled(block.schema, _SCHEMAS),
        _scaled(len(block.numbers), _COUNTS),
        _scaled(block.queue_id, _QUEUES) if block.queue is None else _named(block.queue_id, block.queue),
        _first_number(block.numbers, reach),
        _first_time(ticks[0], reach.now),
        _numbers(block.numbers),
        _times(ticks),
    ]
    return None if None in pieces else "".join([piece for piece in pieces if piece is not None])


def _scaled(value: int, scale: Scale) -> str | None:
    for index, (width, least) in enumerate(scale):
        if 0 <= value - least < 1 << width:
            return "1" * index + ("0" if index < len(scale) - 1 else "") + number(value - least, width)
    return None


def _named(queue_id: int, queue: str) -> str:
    return "1" * (len(_QUEUES) - 1) + number(queue_id, _QUEUES[-1][0]) + write_name(queue)


def _first_number(numbers: Sequence[int], reach: Reach) -> str | None:
    first, reach = numbers[0], reach._replace(highest=max(reach.highest, numbers[-1]))
    for form, width in enumerate(_SHORT_NUMBERS):
        if reach.short(first, width):
            return number(form, 2) + number(first & (1 << width) - 1, width)
    return number(3, 2) + number(first, _WHOLE_NUMBER) if first < 1 << _WHOLE_NUMBER else None


def _first_time(ticks: int, now: float) -> str | None:
    if ticks >= 0 and -_NEAR.future <= round((now - EPOCH) * 100) - ticks <= _NEAR.past:
        return "0" + number(ticks & (1 << _NEAR.time) - 1, _NEAR.time)
    if age_needed(ticks, now) is None:
        return "1" + number(ticks & (1 << _LONG_TIME) - 1, _LONG_TIME)
    return None


def _numbers(numbers: Sequence[int]) -> str:
    return "0" if numbers[-1] - numbers[0] == len(numbers) - 1 else "1" + write_numbers(numbers)


def _times(ticks: Sequence[int]) -> str | None:
    steps = sorted(after - before for before, after in pairwise(ticks))
    if steps[0] == steps[-1]:
        return _times_by(ticks, min(max(steps[0], 0), _MOST_PERIOD))
    median = min(max(steps[len(steps) // 2], 0), _MOST_PERIOD)
    mean = min(max(round((ticks[-1] - ticks[0]) / len(steps)), 0), _MOST_PERIOD)
    tried = {median, mean, min(PERIODS, key=lambda period: abs(period - median))}
    return min((line for period in tried if (line := _times_by(ticks, period)) is not None), key=len, default=None)


def _times_by(ticks: Sequence[int], period: int) -> str | None:
    rests = [item - ticks[0] - index * period for index, item in enumerate(ticks)][1:]
    width = signed_width(rests)
    if width > MOST_TIME_WIDTH:
        return None
    if not width:
        return _period(period) + "0"
    return _period(period) + "1" + number(width, WIDTH_WIDTH) + write_signed(rests, width, dense=True)


def _period(period: int) -> str:
    if period in PERIODS:
        return number(PERIODS.index(period), _PERIOD_WIDTH)
    width = period.bit_length()
    return number(_OTHER, _PERIOD_WIDTH) + number(width, _OTHER_WIDTH) + number(period, width)


# --- reading ----------------------------------------------------------------------------------------------------------


def dense_count(content: bytes) -> int:
    """How many records a dense block holds."""
    reader = BitReader(content[:_MOST_HEAD])
    reader.take(8)
    _read_scaled(reader, _SCHEMAS)
    return _read_scaled(reader, _COUNTS)[0]


def read_dense_block(content: bytes, *, floor: int | None, now: float) -> Block:
    """The dense block that `content` holds; raises `ObjectError`.  Its columns are not looked at.

    `floor`: as `decode_message`; `now`: when the network heard the packet, in seconds since 1970.
    """
    reader = BitReader(content)
    urgency = Urgency(reader.take(8) & 3)
    schema, count = (_read_scaled(reader, scale)[0] for scale in (_SCHEMAS, _COUNTS))
    if not schema:
        raise ObjectError("schemas are numbered from 1")
    if count > MOST_RECORDS:
        raise ObjectError(f"a block holds {MOST_RECORDS} records at most, not {count}")
    queue_id, index = _read_scaled(reader, _QUEUES)
    queue = read_name(reader) if index == len(_QUEUES) - 1 else None
    first = _read_first_number(reader, floor)
    ticks = _read_first_time(reader, now)
    numbers = read_numbers(reader, first, count) if reader.take(1) else _consecutive(first, count)
    times = tuple(EPOCH + item / 100 for item in _read_times(reader, ticks, count))
    at, skipped = divmod(reader.at, 8)
    return Block(queue_id, urgency, queue, schema, numbers, times, content[at:], skipped)


def _read_scaled(reader: BitReader, scale: Scale) -> tuple[int, int]:
    """The number, and which range it was told in."""
    index = 0
    while index < len(scale) - 1 and reader.take(1):
        index += 1
    width, least = scale[index]
    return least + reader.take(width), index


def _read_first_number(reader: BitReader, floor: int | None) -> int:
    form = reader.take(2)
    if form == len(_SHORT_NUMBERS):
        return checked_number(reader.take(_WHOLE_NUMBER))
    width = _SHORT_NUMBERS[form]
    return whole_number(reader.take(width), floor, width)


def _read_first_time(reader: BitReader, now: float) -> int:
    if reader.take(1):
        return whole_ticks(reader.take(_LONG_TIME), now, _LONG_TIME)
    return whole_ticks(reader.take(_NEAR.time), now, _NEAR.time, _NEAR.ahead)


def _consecutive(first: int, count: int) -> tuple[int, ...]:
    """`count` numbers from `first` on."""
    checked_number(first + count - 1)
    return tuple(range(first, first + count))


def _read_times(reader: BitReader, first: int, count: int) -> list[int]:
    code = reader.take(_PERIOD_WIDTH)
    period = reader.take(reader.take(_OTHER_WIDTH)) if code == _OTHER else PERIODS[code]
    rests = [0] * (count - 1)
    if reader.take(1):
        width = time_width(reader)
        if not width:
            raise ObjectError("times that differ from their period differ by something")
        rests = read_signed(reader, count - 1, width, dense=True)
    return [first, *[first + index * period + rest for index, rest in enumerate(rests, start=1)]]
