"""What a message consists of, as plain values, and the names and limits of docs/wire.md.

Rules of this file: values and constants; nothing is encoded here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cbor2
import msgspec

from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import Urgency
from rataccess.template import MOST_RECORDS, Template

NAMED_OBJECT_QUEUE = 0
ENVIRONMENT_QUEUE = 1
HEALTH_QUEUE = 2
SCHEMA_QUEUE = 3
CALL_QUEUE = 4
FIRST_FREE_QUEUE = 8
RESERVED_QUEUES = {
    "$objects": NAMED_OBJECT_QUEUE,
    "$environment": ENVIRONMENT_QUEUE,
    "$health": HEALTH_QUEUE,
    "$schemas": SCHEMA_QUEUE,
    "$calls": CALL_QUEUE,
}

TIME = 0
BASE = 1
PARTIAL = 2
MORE = 3
LINK = 16
ANSWER_LIMIT = 17
PACKET = 18
WANTED = 19
FULL = 20
ASKED_ONLY = 21
ERA = 22
"""Control keys; `LINK` is the name of the link that carries the message, `ANSWER_LIMIT` the largest message back, `PACKET`
an application's own packet, `WANTED` what a service cannot read records without: schema ids, and -1 - queue id for names;
`ASKED_ONLY` that nothing is to be sent over this path but answers; `ERA` since when a service's floors are those of one
unbroken store."""
MOST_WANTED = 8
"""Of these in one message."""
USUAL_ANSWER = 1152
"""Bytes that a service may answer where the device told no limit (RFC 7252 section 4.6)."""

EPOCH = 1_577_836_800
"""2020-01-01T00:00:00Z in seconds since 1970: where capture times start."""
DAY = 8_640_000
"""In hundredths of a second, as all ticks are."""
AGE_ALWAYS = 400 * DAY
"""An older record is sent with its age: the 32-bit time comes round after 497 days."""
MAX_MESSAGE_RECORDS = MOST_RECORDS
"""In one message of at most 64 kB, blocks' records included."""
MAX_DEPTH = 64
"""Containers within containers that a receiver follows."""
MAX_BLOCK_BODIES = 4 * 1024 * 1024
"""Bytes of all records of one block once unpacked: a constant column costs its sender nothing."""


class WireRecord(msgspec.Struct, frozen=True):
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
    template: int | None = None
    """The schema that it travels or travelled packed with; `None` for plain CBOR."""


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one queue, urgency and schema, packed together; all but their values can be read without the schema."""

    queue_id: int
    urgency: Urgency
    queue: str | None
    """The queue's name, where the peer may not know the id yet."""
    schema: int
    """The id of the template that `columns` is packed with."""
    numbers: tuple[int, ...]
    """Ascending."""
    times: tuple[float | None, ...]
    """Capture times, seconds since 1970; all known, or none of them."""
    columns: bytes
    """`Template.pack_columns` of the values."""
    dense: int | None = None
    """Where the columns are dense ones: the bits of `columns` before the first of them, 0 to 7 of the block's head."""

    def records(self, template: Template) -> list[WireRecord]:
        """The records, each body as CBOR of a map with the template's order of keys.

        Raises `ObjectError` where `template` is not of this schema, the columns are not of it, or what they unpack to takes
        more than 4 MiB.
        """
        if template.id != self.schema:
            raise ObjectError(f"a block of schema {self.schema} cannot be read with {template!r}")
        records, room = list[WireRecord](), MAX_BLOCK_BODIES
        values = template.unpack_columns(self.columns, len(self.numbers), dense=self.dense)
        for number, captured_at, value in zip(self.numbers, self.times, values, strict=True):
            body = cbor2.dumps(value)
            room -= len(body)
            if room < 0:
                raise ObjectError(f"a block unpacks to more than {MAX_BLOCK_BODIES} bytes")
            records.append(
                WireRecord(number, self.queue_id, self.urgency, body, captured_at, self.queue, template=self.schema)
            )
        return records


@dataclass(frozen=True, slots=True)
class Piece:
    """A byte range of a record whose head (queue, urgency, capture time, size) has come before."""

    number: int
    offset: int
    body: bytes


@dataclass(slots=True)
class Message:
    """What one message says."""

    acknowledged: NumberSet | None = None
    control: dict[int, Any] = field(default_factory=dict)
    records: list[WireRecord] = field(default_factory=list)
    """The plain ones."""
    blocks: list[Block] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)


def ticks_of(captured_at: float | None) -> int | None:
    """Hundredths of a second since `EPOCH`."""
    return None if captured_at is None else round((captured_at - EPOCH) * 100)


class LateNumber(ObjectError):
    """A short record number in a message that came too late to read it."""


def whole_number(item: int, floor: int | None, bits: int = 16) -> int:
    """The record number nearest to `floor` with those lowest bits.

    Raises `ObjectError` beyond 2^53, and `LateNumber` where there is no floor to read it against.
    """
    if floor is None:
        raise LateNumber("a short record number in a message that came too late to read it")
    half = 1 << bits >> 1
    number = floor + (item - floor + half) % (2 * half) - half
    return checked_number(number if number > 0 else number + 2 * half)


def checked_number(number: int) -> int:
    """`number`, where it is a record's; raises `ObjectError`."""
    if not 1 <= number <= MAX_NUMBER:
        raise ObjectError("record numbers go from 1 to 2^53")
    return number


def short_number(number: int, floor: int | None) -> bool:
    """Whether the lowest 16 bits tell the peer enough."""
    return floor is not None and abs(number - floor) < 0x7FFF


def age_needed(ticks: int, now: float) -> int | None:
    """The age that a record is sent with instead of its time, hundredths of a second; `None` where the time does."""
    age = round((now - EPOCH) * 100) - ticks
    return max(0, age) if age > AGE_ALWAYS or age < -DAY // 2 or ticks < 0 else None


def whole_ticks(item: int, now: float, bits: int = 32, ahead: int = DAY) -> int:
    """The latest ticks with those lowest bits that are not more than `ahead` after `now`."""
    latest = round((now - EPOCH) * 100) + ahead
    return latest - (latest - item) % (1 << bits)
