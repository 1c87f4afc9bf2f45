"""One record, or one byte range of one, in the fewest bytes (docs/wire.md, Dense forms): for packets in compact form.

Rules of this file: pure.  It writes only what the receiver cannot misread: the number against the floor that the receiver
has told, the time against the moment at which the network hears the packet.  What does not fit is `None`: it takes the
usual form.

    record, plain       11 0 form:2 urgency:2 queue:6            number time, CBOR
    record, templated   11 1 form:2 urgency:2 queue-8:3 schema:6 number time, columns
    byte range          011 0 number:12 offset:16, bytes
                        011 1 number:28 offset:24, bytes         (the whole number)
"""

from __future__ import annotations

import io
from typing import NamedTuple

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import MAX_OBJECT_BYTES, Urgency
from rataccess.wire.values import (
    DAY,
    EPOCH,
    FIRST_FREE_QUEUE,
    MAX_DEPTH,
    Block,
    Piece,
    WireRecord,
    checked_number,
    ticks_of,
    whole_number,
    whole_ticks,
)


class Form(NamedTuple):
    """One of the four forms of a dense record."""

    size: int
    """Bytes before the object."""
    time: int
    """Bits of the capture time."""
    ahead: int
    """Ticks that a time may lie after the moment at which it is read."""
    future: int
    """Ticks that a time may lie after the moment at which it is sent, by the sender's clock."""
    past: int
    """The same before it."""
    whole: bool = False
    """Whether the number is whole."""


_HOUR = DAY // 24
_USUAL = (24, 12 * _HOUR, _HOUR, DAY)
"""46.6 hours come round in 24 bits.  Two clocks may differ by 11 hours, and a packet may be 10 on its way."""
_YOUNG = (20, _HOUR, _HOUR // 60, _HOUR // 2)
"""2.9 hours come round in 20 bits.  Two clocks may differ by 59 minutes, and a packet may be 1.4 hours on its way."""
FORMS = (Form(6, *_USUAL), Form(6, *_YOUNG), Form(7, *_USUAL), Form(8, *_USUAL, whole=True))

_PLAIN, _PACKED, _RANGE = 0b110, 0b111, 0b011
_HEAD = {_PLAIN: 13, _PACKED: 16}
"""Bits before the number."""
_QUEUE_BITS, _FREE_QUEUE_BITS, _SCHEMA_BITS = 6, 3, 6
_SHORT_RANGE, _LONG_RANGE = (12, 16), (28, 24)
"""Bits of number and offset."""


class Reach(NamedTuple):
    """What a sender knows of how its numbers will be read."""

    floor: int | None
    """What the peer has acknowledged; `None` where it has said nothing in this run."""
    highest: int
    """The highest number ever sent: the peer's floor is no higher."""
    now: float
    """Seconds since 1970."""

    def short(self, number: int, bits: int) -> bool:
        """Whether so many of the lowest bits tell a number, wherever the peer's floor is by now."""
        return self.floor is not None and 0 < number - self.floor <= self._spread(number) < 1 << bits >> 1

    def _spread(self, number: int) -> int:
        return max(number, self.highest) - (self.floor or 0)


# --- writing ----------------------------------------------------------------------------------------------------------


def dense_record(record: WireRecord, reach: Reach) -> bytes | None:
    """`record`, whole and of a known queue, with its object as plain CBOR."""
    if record.queue is not None or record.offset is not None or record.queue_id >= 1 << _QUEUE_BITS:
        return None
    head = _head(record, _PLAIN, record.queue_id, reach)
    return None if head is None else head + record.body


def dense_packed(record: WireRecord, columns: bytes, reach: Reach) -> bytes | None:
    """`record` of a known queue, its object packed by its template into `columns`."""
    queue, schema = record.queue_id - FIRST_FREE_QUEUE, record.template or 0
    if record.queue is not None or not 0 <= queue < 1 << _FREE_QUEUE_BITS or not 0 < schema < 1 << _SCHEMA_BITS:
        return None
    head = _head(record, _PACKED, queue << _SCHEMA_BITS | schema, reach)
    return None if head is None else head + columns


def dense_range(record: WireRecord, reach: Reach) -> bytes | None:
    """A byte range of a record whose head the peer knows."""
    assert record.offset is not None
    head = _range_head(record.number, record.offset, reach)
    return None if head is None else head + record.body


def range_frame(number: int, offset: int, reach: Reach) -> int | None:
    """Bytes that `dense_range` takes beside its own."""
    head = _range_head(number, offset, reach)
    return None if head is None else len(head)


def _head(record: WireRecord, prefix: int, kind: int, reach: Reach) -> bytes | None:
    ticks = ticks_of(record.captured_at)
    if ticks is None or ticks < 0:
        return None
    age = round((reach.now - EPOCH) * 100) - ticks
    for index, form in enumerate(FORMS):
        width = form.size * 8 - _HEAD[prefix] - form.time
        told = record.number < 1 << width if form.whole else reach.short(record.number, width)
        if told and -form.future <= age <= form.past:
            bits = ((prefix << 2 | index) << 2 | record.urgency) << _HEAD[prefix] - 7 | kind
            bits = bits << width | record.number & (1 << width) - 1
            bits = bits << form.time | ticks & (1 << form.time) - 1
            return bits.to_bytes(form.size, "big")
    return None


def _range_head(number: int, offset: int, reach: Reach) -> bytes | None:
    for index, (number_bits, offset_bits) in enumerate((_SHORT_RANGE, _LONG_RANGE)):
        told = number < 1 << number_bits if index else reach.short(number, number_bits)
        if told and offset < 1 << offset_bits:
            bits = (_RANGE << 1 | index) << number_bits | number & (1 << number_bits) - 1
            return (bits << offset_bits | offset).to_bytes((4 + number_bits + offset_bits) // 8, "big")
    return None


# --- reading ----------------------------------------------------------------------------------------------------------


def is_dense(first: int) -> bool:
    """Whether an item that begins with this byte is no CBOR item of a message, but begins a dense form."""
    return first >> 5 in (_PLAIN, _PACKED, _RANGE)


def read_dense(data: bytes, *, floor: int | None, now: float) -> WireRecord | Block | Piece:
    """What `data`, all that is left of a message, holds; raises `ObjectError`.

    `floor`: as `decode_message`; `now`: when the network heard the packet, in seconds since 1970.
    """
    if data[0] >> 5 == _RANGE:
        return _read_range(data, floor)
    prefix, form = data[0] >> 5, FORMS[data[0] >> 3 & 3]
    if len(data) < form.size:
        raise ObjectError("a dense record is cut short")
    bits = int.from_bytes(data[: form.size], "big")
    ticks, bits = bits & (1 << form.time) - 1, bits >> form.time
    width = form.size * 8 - _HEAD[prefix] - form.time
    item, bits = bits & (1 << width) - 1, bits >> width
    number = checked_number(item) if form.whole else whole_number(item, floor, width)
    captured_at = EPOCH + whole_ticks(ticks, now, form.time, form.ahead) / 100
    urgency, rest = Urgency(data[0] >> 1 & 3), data[form.size :]
    if prefix == _PLAIN:
        return WireRecord(number, bits & (1 << _QUEUE_BITS) - 1, urgency, _one_item(rest), captured_at)
    schema, queue = bits & (1 << _SCHEMA_BITS) - 1, bits >> _SCHEMA_BITS & (1 << _FREE_QUEUE_BITS) - 1
    if not schema:
        raise ObjectError("schemas are numbered from 1")
    return Block(FIRST_FREE_QUEUE + queue, urgency, None, schema, (number,), (captured_at,), rest)


def _one_item(data: bytes) -> bytes:
    file = io.BytesIO(data)
    cbor2.CBORDecoder(file, max_depth=MAX_DEPTH).decode()
    if file.tell() != len(data):
        raise ObjectError("a dense record holds one object")
    return data


def _read_range(data: bytes, floor: int | None) -> Piece:
    index = data[0] >> 4 & 1
    number_bits, offset_bits = (_SHORT_RANGE, _LONG_RANGE)[index]
    size = (4 + number_bits + offset_bits) // 8
    if len(data) <= size:
        raise ObjectError("a dense byte range is cut short")
    bits = int.from_bytes(data[:size], "big")
    offset, item = bits & (1 << offset_bits) - 1, bits >> offset_bits & (1 << number_bits) - 1
    if offset + len(data) - size > MAX_OBJECT_BYTES:
        raise ObjectError("a byte range lies within its object")
    number = checked_number(item) if index else whole_number(item, floor, number_bits)
    return Piece(number, offset, data[size:])
