"""The body of a message between a device and a service (docs/wire.md), as values to bytes and back.

Rules of this file: pure; no keys, no CoAP, no I/O; `now` and `floor` are given.  Bytes from a peer end in a `Message` or in
`ObjectError`, whatever they are.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import MAX_OBJECT_BYTES, Urgency

NAMED_OBJECT_QUEUE = 0
ENVIRONMENT_QUEUE = 1
HEALTH_QUEUE = 2
FIRST_FREE_QUEUE = 8
RESERVED_QUEUES = {"$objects": NAMED_OBJECT_QUEUE, "$environment": ENVIRONMENT_QUEUE, "$health": HEALTH_QUEUE}

TIME = 0
BASE = 1
PARTIAL = 2
MORE = 3
LINK = 16
ANSWER_LIMIT = 17
"""Control keys; `LINK` is the name of the link that carries the message, `ANSWER_LIMIT` the largest message back."""
USUAL_ANSWER = 1152
"""Bytes that a service may answer where the device told no limit (RFC 7252 section 4.6)."""

EPOCH = 1_577_836_800
"""2020-01-01T00:00:00Z in seconds since 1970: where capture times start."""
_DAY = 8_640_000  # hundredths of a second
_AGE_ALWAYS = 400 * _DAY  # an older record is sent with its age: the 32-bit time comes round after 497 days
_MOST_RECORDS = 4096  # in one message of at most 64 kB: fewer than 16 bytes each would be no records
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One record, or one byte range of one.  `captured_at` is seconds since 1970, or `None` where nobody knows."""

    number: int
    queue_id: int
    urgency: Urgency
    body: bytes
    """The encoded object; for a fragment, the bytes from `offset` of it."""
    captured_at: float | None
    queue: str | None = None
    """The queue's name, where the peer may not know the id yet."""
    offset: int | None = None
    total: int | None = None


@dataclass(slots=True)
class Message:
    """What one message says."""

    acknowledged: NumberSet | None = None
    control: dict[int, Any] = field(default_factory=dict)
    records: list[WireRecord] = field(default_factory=list)


class MessageBuilder:
    """Fills one message up to `limit` bytes.

    `floor` is what the peer has acknowledged of our records, or `None` where it has said nothing in this run.
    `acknowledged` and `control` go in whole; what is left is for records, added in any order.
    """

    def __init__(
        self,
        limit: int,
        *,
        floor: int | None,
        now: float,
        acknowledged: NumberSet | None = None,
        control: Mapping[int, Any] | None = None,
        most_ranges: int = 64,
    ) -> None:
        self._floor = floor
        self._now = now
        self._head = b""
        if acknowledged is not None:
            self._head += cbor2.dumps(acknowledged.acknowledgement(most_ranges))
        if control:
            self._head += cbor2.dumps(dict(control))
        self._limit = limit
        self._size = len(self._head)
        self._numbers: list[int] = []
        self._times: list[int | None] = []
        self._pieces: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes taken so far; never less than what `finish` returns."""
        return self._size

    @property
    def count(self) -> int:
        """Records added so far."""
        return len(self._numbers)

    def add(self, record: WireRecord) -> bool:
        """Add `record` where it fits and can share a message with those before; returns whether it did."""
        ticks = _ticks(record.captured_at)
        piece = _piece(record)
        if not self._numbers:
            cost = len(piece) + _first_size(self._number_item(record.number), self._time_item(ticks))
            return self._insert(0, record.number, ticks, piece, cost)
        index = bisect_left(self._numbers, record.number)
        if len(self._numbers) >= _MOST_RECORDS or (ticks is None) != (self._times[0] is None):
            return False
        if index == 0:  # the first record's own number and time are counted at their largest
            join = _join(record.number, ticks, self._numbers[0], self._times[0])
            return join is not None and self._insert(0, record.number, ticks, piece, len(piece) + len(join) + 12)
        before = _join(self._numbers[index - 1], self._times[index - 1], record.number, ticks)
        after: bytes | None = b""
        if index < len(self._numbers):
            after = _join(record.number, ticks, self._numbers[index], self._times[index])
        if before is None or after is None:
            return False
        return self._insert(index, record.number, ticks, piece, len(piece) + len(before) + len(after))

    def room(self, record: WireRecord) -> int:
        """How many bytes of `record`'s object a first and only fragment may carry; below 1 where none fits."""
        frame = _piece(_fragment(record, b"", MAX_OBJECT_BYTES))
        first = _first_size(self._number_item(record.number), self._time_item(_ticks(record.captured_at)))
        return self._limit - self._size - first - len(frame) - 4

    def _insert(self, index: int, number: int, ticks: int | None, piece: bytes, cost: int) -> bool:
        if self._size + cost > self._limit:
            return False
        self._numbers.insert(index, number)
        self._times.insert(index, ticks)
        self._pieces.insert(index, piece)
        self._size += cost
        return True

    def finish(self) -> bytes:
        """The message's bytes, `limit` at most."""
        parts = [self._head]
        for index, (number, ticks, piece) in enumerate(zip(self._numbers, self._times, self._pieces, strict=True)):
            if index == 0:
                parts += [cbor2.dumps(self._number_item(number)), cbor2.dumps(self._time_item(ticks))]
            else:
                parts.append(_join(self._numbers[index - 1], self._times[index - 1], number, ticks) or b"")
            parts.append(piece)
        return b"".join(parts)

    def _number_item(self, number: int) -> int:
        if self._floor is not None and abs(number - self._floor) < 0x7FFF:
            return number & 0xFFFF
        return -1 - number

    def _time_item(self, ticks: int | None) -> int | None:
        if ticks is None:
            return None
        age = round((self._now - EPOCH) * 100) - ticks
        if age > _AGE_ALWAYS or age < -_DAY // 2 or ticks < 0:
            return -1 - max(0, age)
        return ticks & 0xFFFFFFFF


def encode_message(message: Message, *, floor: int | None, now: float, limit: int = 65_535) -> bytes:
    """The bytes of `message`; raises `ObjectError` where its records do not fit into `limit` or one message."""
    builder = MessageBuilder(limit, floor=floor, now=now, acknowledged=message.acknowledged, control=message.control)
    for record in message.records:
        if not builder.add(record):
            raise ObjectError(f"record {record.number} does not fit into this message of at most {limit} bytes")
    return builder.finish()


def fragment(record: WireRecord, offset: int, size: int) -> WireRecord:
    """The byte range of `record`'s object from `offset` on, `size` bytes at most."""
    return _fragment(record, record.body[offset : offset + size], len(record.body), offset)


def _fragment(record: WireRecord, body: bytes, total: int, offset: int = MAX_OBJECT_BYTES) -> WireRecord:
    return WireRecord(
        record.number, record.queue_id, record.urgency, body, record.captured_at, record.queue, offset, total
    )


def _ticks(captured_at: float | None) -> int | None:
    return None if captured_at is None else round((captured_at - EPOCH) * 100)


def _piece(record: WireRecord) -> bytes:
    head = record.queue_id * 4 + record.urgency
    if record.offset is not None:
        return cbor2.dumps([head, record.queue, record.offset, record.total]) + cbor2.dumps(record.body)
    if record.queue is not None:
        return cbor2.dumps([head, record.queue]) + record.body
    return cbor2.dumps(head) + record.body


def _first_size(number_item: int, time_item: int | None) -> int:
    return len(cbor2.dumps(number_item)) + len(cbor2.dumps(time_item))


def _join(number: int, ticks: int | None, next_number: int, next_ticks: int | None) -> bytes | None:
    """What stands between two records; `None` where they cannot be neighbours in one message."""
    if next_number <= number or (ticks is None) != (next_ticks is None):
        return None
    join = b"" if next_number == number + 1 else cbor2.dumps(number + 1 - next_number)
    if ticks is not None and next_ticks is not None and ticks != next_ticks:
        delta = next_ticks - ticks
        size = (delta.bit_length() if delta >= 0 else (~delta).bit_length()) // 8 + 1
        if size > 4:
            return None
        join += bytes([0x40 | size]) + delta.to_bytes(size, "big", signed=True)
    return join


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode_message(data: bytes, *, floor: int, now: float) -> Message:
    """The message that `data` holds; `floor` is up to where the sender's records have arrived here, `now` our wall time.

    Raises `ObjectError` where the bytes are anything else than a message.
    """
    reader = _Reader(data)
    message = Message()
    try:
        _read_message(reader, message, floor, now)
    except ObjectError:
        raise
    except Exception as error:  # cbor2 raises many kinds on hostile input; none may get further
        raise ObjectError(f"malformed message: {error.__class__.__name__} at byte {reader.position}") from error
    return message


class _Reader:
    """A CBOR sequence, item by item, each with the bytes that it took."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._file = io.BytesIO(data)
        self._decoder = cbor2.CBORDecoder(self._file, max_depth=_MAX_DEPTH)

    @property
    def position(self) -> int:
        return self._file.tell()

    @property
    def more(self) -> bool:
        return self._file.tell() < len(self.data)

    def item(self) -> Any:
        return self._decoder.decode()

    def raw(self) -> bytes:
        start = self._file.tell()
        self._decoder.decode()
        return self.data[start : self._file.tell()]


def _read_message(reader: _Reader, message: Message, floor: int, now: float) -> None:
    if not reader.more:
        return
    item = reader.item()
    if isinstance(item, list):
        message.acknowledged = NumberSet.from_acknowledgement(item)
        if not reader.more:
            return
        item = reader.item()
    if isinstance(item, dict):
        if any(type(key) is not int for key in item):
            raise ObjectError("control keys are integers")
        message.control = item
        if not reader.more:
            return
        item = reader.item()
    _read_records(reader, message.records, _number(item, floor), now)


def _number(item: object, floor: int) -> int:
    if type(item) is not int or not -MAX_NUMBER < item <= 0xFFFF:
        raise ObjectError("a record number is an integer: 16 bits, or negative for a whole one")
    if item < 0:
        return _checked(-1 - item)
    number = floor + (item - floor + 0x8000) % 0x10000 - 0x8000
    return _checked(number if number > 0 else number + 0x10000)


def _checked(number: int) -> int:
    if not 1 <= number <= MAX_NUMBER:
        raise ObjectError("record numbers go from 1 to 2^53")
    return number


def _capture_ticks(item: object, now: float) -> int | None:
    here = round((now - EPOCH) * 100)
    if item is None:
        return None
    if type(item) is not int or not -(2**40) <= item < 2**32:
        raise ObjectError("a capture time is null or an integer")
    if item < 0:
        return here + 1 + item
    latest = here + _DAY
    return latest - (latest - item) % 2**32


def _read_records(reader: _Reader, records: list[WireRecord], number: int, now: float) -> None:
    ticks = _capture_ticks(reader.item(), now)
    while True:
        item = reader.item()
        if records:
            if type(item) is int and item < 0:
                number = _checked(number - item)
                item = reader.item()
            if isinstance(item, bytes) and 1 <= len(item) <= 4 and ticks is not None:
                ticks += int.from_bytes(item, "big", signed=True)
                item = reader.item()
        records.append(_record(reader, item, number, None if ticks is None else EPOCH + ticks / 100))
        if not reader.more:
            return
        if len(records) >= _MOST_RECORDS:
            raise ObjectError(f"more than {_MOST_RECORDS} records in one message")
        number += 1


def _record(reader: _Reader, head: object, number: int, captured_at: float | None) -> WireRecord:
    items = head if isinstance(head, list) else [head]
    code = items[0] if items else None
    if type(code) is not int or not 0 <= code < 2**18 or len(items) not in (1, 2, 4):
        raise ObjectError("a record's head is queue id * 4 + urgency, alone or in a list of 2 or 4")
    queue = items[1] if len(items) > 1 else None
    if not isinstance(queue, str | None) or len(queue or "") > 64 or (len(items) == 2 and queue is None):
        raise ObjectError("a queue's name is text of at most 64 characters")
    queue_id, urgency = code >> 2, Urgency(code & 3)
    if len(items) < 4:
        return WireRecord(number, queue_id, urgency, reader.raw(), captured_at, queue)
    offset, total, body = items[2], items[3], reader.item()
    if type(offset) is not int or type(total) is not int or not isinstance(body, bytes):
        raise ObjectError("a byte range has a whole offset and total, and a byte string")
    if not (0 <= offset < offset + len(body) <= total <= MAX_OBJECT_BYTES):
        raise ObjectError("a byte range lies within its object, and holds at least one byte")
    return WireRecord(number, queue_id, urgency, body, captured_at, queue, offset, total)
