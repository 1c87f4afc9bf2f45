"""Messages to bytes: the builder fills one message up to a limit.

Rules of this file: pure; no keys, no CoAP, no I/O; `now` and `floor` are given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import cbor2
from msgspec.structs import replace

from rataccess.errors import ObjectError
from rataccess.numbers import NumberSet
from rataccess.objects import MAX_OBJECT_BYTES
from rataccess.wire.block import count_of, write_block
from rataccess.wire.dense import Reach, dense_packed, dense_range, dense_record, range_frame
from rataccess.wire.dense_block import bare
from rataccess.wire.shorten import MOST_SHORTER, shorten
from rataccess.wire.values import MAX_MESSAGE_RECORDS, Message, WireRecord, age_needed, short_number, ticks_of

_LENGTHS = ((65_536, 4, 2**32), (256, 2, 65_535), (24, 1, 255), (-(2**32), 0, 23))
"""From and to how many bytes a byte string's length takes how many bytes more than one (RFC 8949 section 3)."""


class MessageBuilder:
    """Fills one message up to `limit` bytes.

    `floor` is what the peer has acknowledged of our records, or `None` where it has said nothing in this run.
    `acknowledged` and `control` go in whole; what is left is for blocks and records, added in any order.
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
        dense: Reach | None = None,
    ) -> None:
        """`dense`: the message goes in compact form, where a record that is alone may take a dense one."""
        self._floor = floor
        self._dense = dense
        self._lone: bytes | None = None
        """The dense form of the only record."""
        self._now = now
        self._head = b""
        if acknowledged is not None:
            self._head += cbor2.dumps(acknowledged.acknowledgement(most_ranges))
        if control:
            self._head += cbor2.dumps(dict(control))
        self._limit = limit
        self._size = len(self._head)
        self._blocks: list[bytes] = []
        self._last: bytes | None = None
        """What is within the last block where that is a dense one: at the message's end it stands bare."""
        self._in_blocks = 0
        self._numbers: list[int] = []
        self._times: list[int | None] = []
        self._pieces: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes taken so far; never less than what `finish` returns."""
        if self._lone is not None:
            return len(self._head) + len(self._lone)
        return self._size - self._saved

    @property
    def count(self) -> int:
        """Records added so far, in blocks and plain."""
        return self._in_blocks + len(self._numbers)

    @property
    def room_left(self) -> int:
        """Bytes not taken yet, once something else is added; below 0 where nothing can be."""
        return self._limit - self.size - (0 if self._lone is not None else self._saved)

    @property
    def _saved(self) -> int:
        """Bytes that the head of the last block's byte string would take, where it stands at the end without."""
        return 0 if self._last is None or self._numbers else len(self._blocks[-1]) - len(self._last)

    def add(self, record: WireRecord, *, told: bool = False) -> bool:
        """Add `record` where it fits and can share a message with those before; returns whether it did.

        `told`: it is a byte range of a record whose head the peer has.
        """
        if self._dense is not None and record.offset is None and len(record.body) <= MOST_SHORTER * self._limit:
            record = replace(record, body=shorten(record.body))
        lone = self._dense_of(record, told) if self._dense is not None and not self.count else None
        added = self._add(record, lone)
        if added and self.count > 1:
            self._lone = None
        return added

    def _add(self, record: WireRecord, lone: bytes | None) -> bool:
        ticks, piece = ticks_of(record.captured_at), _piece(record)
        index, join = bisect_left(self._numbers, record.number), self._join_size(record.number, ticks)
        if join is None:
            return False
        if lone is not None and len(lone) < len(piece) + join and len(self._head) + len(lone) <= self._limit:
            self._lone = lone
        elif self._size + len(piece) + join > self._limit:
            return False
        self._numbers.insert(index, record.number)
        self._times.insert(index, ticks)
        self._pieces.insert(index, piece)
        self._size += len(piece) + join
        return True

    def _dense_of(self, record: WireRecord, told: bool) -> bytes | None:
        assert self._dense is not None
        if record.offset is None:
            return dense_record(record, self._dense)
        return dense_range(record, self._dense) if told else None

    def packed(self, record: WireRecord, columns: bytes) -> bytes | None:
        """The dense form of `record`, packed into `columns`, where it may be the only one here and fits; else `None`."""
        if self._dense is None or self.count:
            return None
        lone = dense_packed(record, columns, self._dense)
        return lone if lone is not None and len(self._head) + len(lone) <= self._limit else None

    def add_block(self, block: bytes, lone: bytes | None = None) -> bool:
        """Add a block (`encode_block`, `fit_block`) where it fits and leaves the message with 4096 records at most; returns
        whether it did.  Blocks stand before the plain records, in the order in which they were added.

        `lone`: the dense form of its only record (`packed`), taken while nothing else is here.
        """
        count = count_of(block)
        if self.count + count > MAX_MESSAGE_RECORDS:
            return False
        content = bare(block)
        if lone is None and self._size + len(block if content is None else content) > self._limit:
            return False
        self._lone, self._last = lone, content
        self._blocks.append(block)
        self._in_blocks += count
        self._size += len(block)
        return True

    def room(self, record: WireRecord, offset: int = MAX_OBJECT_BYTES, *, told: bool = False) -> int:
        """How many bytes of `record`'s object, from `offset` on, a fragment added now may carry; below 1 where none fits.

        `told`: as `add`.
        """
        if told and self._dense is not None and not self.count:
            frame = range_frame(record.number, min(offset, len(record.body)), self._dense)
            if frame is not None:
                return self._limit - len(self._head) - frame
        join = self._join_size(record.number, ticks_of(record.captured_at))
        frame = len(_piece(_fragment(record, b"", len(record.body) if record.total is None else record.total, offset)))
        room = self._limit - self._size - frame
        if join is None:
            return 0
        room -= join
        return next(min(room - more, most) for least, more, most in _LENGTHS if room - more >= least)

    def _join_size(self, number: int, ticks: int | None) -> int | None:
        """What a record costs besides its own piece; `None` where it cannot be among those that are here."""
        if self.count >= MAX_MESSAGE_RECORDS:
            return None
        if not self._numbers:
            return _first_size(self._number_item(number), self._time_item(ticks))
        index, joins = bisect_left(self._numbers, number), list[bytes | None]()
        if index:
            joins.append(_join(self._numbers[index - 1], self._times[index - 1], number, ticks))
        if index < len(self._numbers):
            joins.append(_join(number, ticks, self._numbers[index], self._times[index]))
        if any(join is None for join in joins):
            return None
        own = 0 if index else 12  # the first record's own number and time are counted at their largest
        return own + sum(len(join or b"") for join in joins)

    def finish(self) -> bytes:
        """The message's bytes, `limit` at most."""
        if self._lone is not None:
            return self._head + self._lone
        if self._last is not None and not self._numbers:
            return b"".join([self._head, *self._blocks[:-1], self._last])
        parts = [self._head, *self._blocks]
        for index, (number, ticks, piece) in enumerate(zip(self._numbers, self._times, self._pieces, strict=True)):
            if index == 0:
                parts += [cbor2.dumps(self._number_item(number)), cbor2.dumps(self._time_item(ticks))]
            else:
                parts.append(_join(self._numbers[index - 1], self._times[index - 1], number, ticks) or b"")
            parts.append(piece)
        return b"".join(parts)

    def _number_item(self, number: int) -> int:
        return number & 0xFFFF if short_number(number, self._floor) else -1 - number

    def _time_item(self, ticks: int | None) -> int | None:
        if ticks is None:
            return None
        age = age_needed(ticks, self._now)
        return ticks & 0xFFFFFFFF if age is None else -1 - age


def encode_message(message: Message, *, floor: int | None, now: float, limit: int = 65_535) -> bytes:
    """The bytes of `message`; raises `ObjectError` where its records do not fit into `limit` or one message."""
    builder = MessageBuilder(limit, floor=floor, now=now, acknowledged=message.acknowledged, control=message.control)
    for block in message.blocks:
        if not builder.add_block(write_block(block, floor=floor, now=now)):
            raise ObjectError(f"a block of {len(block.numbers)} records does not fit into {limit} bytes")
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
