"""What goes into a store and comes out of it, as values.

Rules of this file: plain data; no SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cbor2

from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.services.store.database import Row

Key = tuple[int, int]
"""Device and record number, or device and queue id."""
PACKETS = "$packets"
"""The queue that packets are shown in; no device can name a queue so."""


@dataclass(slots=True)
class Device:
    """One enrolment, as kept."""

    id: int
    serial_number: str
    kid: bytes
    received: NumberSet
    replay: bytes | None
    last_number: int
    """The highest record number given to a record for this device."""
    environment: bytes | None
    """The environment, encoded, that was last put among the records for this device."""
    paths: bytes | None
    """What the device has told of the paths it is heard over, encoded."""
    version: int = 0
    """Changes with everything that a session in memory would have to know."""
    kept: int = 0
    """Bytes of its records that are in the store."""
    holder: str | None = None
    """The process that heard it last."""


@dataclass(slots=True)
class DeviceState:
    """An enrolment, and all of it that a session in memory has to know."""

    device: Device
    queues: dict[int, str] = field(default_factory=dict)
    partials: list[Row] = field(default_factory=list)
    """`number, queue_id, urgency, captured_at, total, [(start, end) ...]` of each unfinished record."""
    pending: list[int] = field(default_factory=list)
    """Numbers of the records that the device has not acknowledged, ascending."""
    reserved: set[int] = field(default_factory=set)
    """Of these, the ones in reserved queues."""
    schemas: dict[int, bytes] = field(default_factory=dict)
    awaited_schemas: set[int] = field(default_factory=set)
    """Schemas that parked blocks wait for."""
    packets: list[tuple[int, bytes, float]] = field(default_factory=list)
    """Id, data and end of the packets that wait for the device."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record (or packet) as it came.  Times are seconds since 1970."""

    position: str
    """Where it stands in the order in which records are read: for `records_after` and `move_cursor` only."""
    device: bytes
    """The kid."""
    serial_number: str
    queue: str
    number: int | None
    """`None`: a packet, which has none and is in the queue `$packets`."""
    urgency: Urgency
    captured_at: float | None
    received_at: float
    link: str | None
    body: bytes = field(repr=False)
    """The encoded object (CBOR)."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that waits for its answer."""

    id: int
    device: bytes
    """The kid."""
    serial_number: str
    number: int
    """Of the call's record: with `device` it names the call for ever."""
    name: str
    body: bytes = field(repr=False)
    """The encoded object (CBOR)."""
    expires_at: float
    """Seconds since 1970: nobody waits for the answer any more."""
    repeatable: bool
    state: str
    """`new`, or `started` where somebody has begun it."""


@dataclass(slots=True)
class Changes:
    """What one batch does to the store.  Rows are in the order of the tables' columns."""

    devices: dict[int, Row] = field(default_factory=dict)
    """`received, replay, heard_at, link, paths, kept, holder, version` by device."""
    kept: dict[int, int] = field(default_factory=dict)
    """Bytes kept, by device, where that is all that has changed of it."""
    records: list[Row] = field(default_factory=list)
    """`device, number (None: a packet), queue, urgency, captured_at, received_at, link, body`."""
    parked: list[Row] = field(default_factory=list)
    blocks: list[Row] = field(default_factory=list)
    """`device, schema, queue_id, queue, urgency, content, received_at, link, unreadable`."""
    filed_blocks: set[int] = field(default_factory=set)
    """Parked blocks whose records are among `records` now."""
    unreadable_blocks: set[int] = field(default_factory=set)
    """Parked blocks that are no block of the template they name: kept aside."""
    schemas: dict[Key, bytes] = field(default_factory=dict)
    queues: dict[Key, str] = field(default_factory=dict)
    partials: dict[Key, Row] = field(default_factory=dict)
    fragments: dict[Key, list[tuple[int, bytes]]] = field(default_factory=dict)
    finished: set[Key] = field(default_factory=set)
    """Unfinished records that are whole now, or void."""
    objects: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    """`device, number, name, body, expires_at, repeatable`."""
    refused_calls: list[Row] = field(default_factory=list)
    """`device, number, status, now`: answered at once."""
    acknowledged: list[Key] = field(default_factory=list)
    known_queues: set[Key] = field(default_factory=set)

    def finish(self, key: Key) -> None:
        """Forget the parts of an unfinished record."""
        self.partials.pop(key, None)
        self.fragments.pop(key, None)
        self.finished.add(key)


def number_set(data: bytes | None) -> NumberSet:
    """The inverse of `number_set_bytes`."""
    if data is None:
        return NumberSet()
    floor, *ranges = cbor2.loads(data)
    return NumberSet(floor, zip(ranges[::2], ranges[1::2], strict=True))


def number_set_bytes(numbers: NumberSet) -> bytes:
    """`numbers` for the column `received`: the floor, and start and end of each range."""
    flat: list[Any] = [numbers.floor]
    for start, end in numbers.ranges():
        flat += (start, end)
    return cbor2.dumps(flat)
