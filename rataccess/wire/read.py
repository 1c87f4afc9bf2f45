"""Bytes to messages.

Rules of this file: pure; bytes from a peer end in a `Message` or in `ObjectError`, whatever they are.
"""

from __future__ import annotations

import io
from typing import Any

import cbor2
from msgspec.structs import replace

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import MAX_OBJECT_BYTES, Urgency
from rataccess.wire.block import read_block
from rataccess.wire.dense import is_dense, read_dense
from rataccess.wire.dense_block import is_dense_block, read_dense_block
from rataccess.wire.shorten import restore
from rataccess.wire.values import (
    EPOCH,
    MAX_DEPTH,
    MAX_MESSAGE_RECORDS,
    Block,
    Message,
    Piece,
    WireRecord,
    checked_number,
    whole_number,
    whole_ticks,
)


def decode_message(data: bytes, *, floor: int | None, now: float, compact: bool = False) -> Message:
    """The message that `data` holds; `floor` is up to where the sender's records have arrived here, `now` our wall time.

    `compact`: it came in compact form, and may hold a dense one; `floor` is then what it was before anything arrived that
    was sent later than this message (`None`: not known), and `now` when the network heard it.  Raises `ObjectError` where
    the bytes are anything else than a message, and `LateNumber` where a short number cannot be read.
    """
    reader = _Reader(data, compact=compact)
    message = Message()
    try:
        _read_message(reader, message, floor, now)
        if compact:
            message.records = [_restored(record) for record in message.records]
    except ObjectError:
        raise
    except Exception as error:  # cbor2 raises many kinds on hostile input; none may get further
        raise ObjectError(f"malformed message: {error.__class__.__name__} at byte {reader.position}") from error
    return message


def _restored(record: WireRecord) -> WireRecord:
    body = record.body if record.offset is not None else restore(record.body)
    return record if body is record.body else replace(record, body=body)


class _Reader:
    """A CBOR sequence, item by item, each with the bytes that it took."""

    def __init__(self, data: bytes, *, compact: bool) -> None:
        self.data = data
        self.compact = compact
        self.room = MAX_MESSAGE_RECORDS
        """Records that the message may still hold."""
        self._file = io.BytesIO(data)
        self._decoder = cbor2.CBORDecoder(self._file, max_depth=MAX_DEPTH)

    @property
    def position(self) -> int:
        return self._file.tell()

    @property
    def more(self) -> bool:
        return self._file.tell() < len(self.data)

    @property
    def dense(self) -> bool:
        """Whether what is left is a dense form of a record or byte range."""
        return self.compact and self.more and is_dense(self.data[self.position])

    @property
    def dense_block(self) -> bool:
        """Whether what is left is a dense block."""
        return self.compact and self.more and is_dense_block(self.data[self.position])

    def rest(self) -> bytes:
        """All that is left."""
        return self._file.read()

    def add_block(self, message: Message, block: Block) -> None:
        """Put `block` into `message`; raises `ObjectError` where that holds too many records then."""
        message.blocks.append(block)
        self.room -= len(block.numbers)
        if self.room < 0:
            raise ObjectError(f"more than {MAX_MESSAGE_RECORDS} records in one message")

    def item(self) -> Any:
        return self._decoder.decode()

    def raw(self) -> bytes:
        start = self._file.tell()
        self._decoder.decode()
        return self.data[start : self._file.tell()]


def _read_message(reader: _Reader, message: Message, floor: int | None, now: float) -> None:
    if not reader.more or _read_dense(reader, message, floor, now):
        return
    item = reader.item()
    if isinstance(item, list):
        message.acknowledged = NumberSet.from_acknowledgement(item)
        if not reader.more or _read_dense(reader, message, floor, now):
            return
        item = reader.item()
    if isinstance(item, dict):
        if any(type(key) is not int for key in item):
            raise ObjectError("control keys are integers")
        message.control = item
        if not reader.more or _read_dense(reader, message, floor, now):
            return
        item = reader.item()
    while isinstance(item, bytes):
        if reader.compact and item and is_dense_block(item[0]):
            reader.add_block(message, read_dense_block(item, floor=floor, now=now))
        else:
            reader.add_block(message, read_block(item, floor=floor, now=now))
        if not reader.more or _read_dense_block(reader, message, floor, now):
            return
        item = reader.item()
    _read_records(reader, message.records, _number(item, floor), now, reader.room)


def _read_dense(reader: _Reader, message: Message, floor: int | None, now: float) -> bool:
    """Take a dense form, where that is what is left; whether it was."""
    if not reader.dense:
        return _read_dense_block(reader, message, floor, now)
    found = read_dense(reader.rest(), floor=floor, now=now)
    if isinstance(found, Piece):
        message.pieces.append(found)
    elif isinstance(found, Block):
        message.blocks.append(found)
    else:
        message.records.append(found)
    return True


def _read_dense_block(reader: _Reader, message: Message, floor: int | None, now: float) -> bool:
    """Take a dense block, where that is what is left; whether it was."""
    if not reader.dense_block:
        return False
    reader.add_block(message, read_dense_block(reader.rest(), floor=floor, now=now))
    return True


def _number(item: object, floor: int | None) -> int:
    if type(item) is not int or not -MAX_NUMBER < item <= 0xFFFF:
        raise ObjectError("a record number is an integer: 16 bits, or negative for a whole one")
    if item < 0:
        return checked_number(-1 - item)
    return whole_number(item, floor)


def _capture_ticks(item: object, now: float) -> int | None:
    if item is None:
        return None
    if type(item) is not int or not -(2**40) <= item < 2**32:
        raise ObjectError("a capture time is null or an integer")
    if item < 0:
        return round((now - EPOCH) * 100) + 1 + item
    return whole_ticks(item, now)


def _read_records(reader: _Reader, records: list[WireRecord], number: int, now: float, room: int) -> None:
    ticks = _capture_ticks(reader.item(), now)
    while True:
        item = reader.item()
        if records:
            if type(item) is int and item < 0:
                number = checked_number(number - item)
                item = reader.item()
            if isinstance(item, bytes) and 1 <= len(item) <= 4 and ticks is not None:
                ticks += int.from_bytes(item, "big", signed=True)
                item = reader.item()
        if len(records) >= room:
            raise ObjectError(f"more than {MAX_MESSAGE_RECORDS} records in one message")
        records.append(_record(reader, item, number, None if ticks is None else EPOCH + ticks / 100))
        if not reader.more:
            return
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
