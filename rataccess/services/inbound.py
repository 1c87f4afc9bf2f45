"""Records from one device: each number takes effect once.

Rules of this file: the meaning of a decoded message for the records that go up; effects go into `Changes`.  No keys, no
network, no clock.  What is checked is checked before anything changes: a message is applied whole or not at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import cbor2
from msgspec.structs import replace

from rataccess import wire
from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import Urgency, decode
from rataccess.services.callin import REFUSED, call_row
from rataccess.services.partials import Partials
from rataccess.services.schematics import Templates, block_content, kept_block, told_name, unpacked
from rataccess.services.store import PACKETS, Changes, Device, DeviceState, Row, ServiceStore
from rataccess.wire import Block, Message, Piece, WireRecord

MOST_GAPS = 4096
"""Separate ranges of record numbers kept for one device; a number that would make more waits until gaps have closed."""
MOST_QUEUES = 4096
"""Queue names kept for one device."""
_MOST_LINK = 32
_ALWAYS_TAKEN = 4096
"""Bytes of a definition that is taken although the quota is used up; a device has a limited number of them."""
_MOST_RANGES = 2048


def check(message: Message) -> None:
    """Raise `ObjectError` where a control value is of the wrong kind (docs/wire.md, Control)."""
    control = message.control
    base, link, partial = control.get(wire.BASE, 1), control.get(wire.LINK, ""), control.get(wire.PARTIAL, {})
    limit, packet = control.get(wire.ANSWER_LIMIT, 0), control.get(wire.PACKET, b"")
    if type(base) is not int or not 1 <= base <= MAX_NUMBER:
        raise ObjectError("control 1 is a record number")
    if not isinstance(link, str) or len(link) > _MOST_LINK:
        raise ObjectError(f"control 16 is text of at most {_MOST_LINK} characters")
    if not isinstance(partial, dict) or not all(_is_ranges(number, edges) for number, edges in partial.items()):
        raise ObjectError("control 2 maps record numbers to ranges")
    if control.get(wire.TIME) is not None:
        raise ObjectError("control 0 from a device is null")
    if control.get(wire.MORE, True) is not True:
        raise ObjectError("control 3 is true")
    if not isinstance(packet, bytes):
        raise ObjectError("control 18 is a packet of bytes")
    if control.get(wire.ASKED_ONLY, True) is not True:
        raise ObjectError("control 21 is true")
    if not isinstance(control.get(wire.ERA, b""), bytes):
        raise ObjectError("control 22 is an era of bytes")
    if type(limit) is not int or not 0 <= limit <= MAX_NUMBER:
        raise ObjectError("control 17 is a count of bytes")


def _is_ranges(number: Any, edges: Any) -> bool:
    if type(number) is not int or not isinstance(edges, list) or len(edges) % 2 or len(edges) > _MOST_RANGES:
        return False
    if any(type(edge) is not int or not 0 <= edge <= MAX_NUMBER for edge in edges):
        return False
    return all(low < high for low, high in pairwise(edges))


@dataclass(frozen=True, slots=True)
class Arrival:
    """When and how a message came."""

    now: float
    """Seconds since 1970."""
    link: str | None


class _Gaps:
    """How many separate ranges of numbers there are; room for so many more."""

    def __init__(self, received: NumberSet) -> None:
        self._received = received
        self._count = sum(1 for _ in received.ranges())
        self._last = 0

    def admit(self, number: int) -> bool:
        """Whether one more number may come."""
        last, self._last = self._last, number
        if number in (self._received.floor + 1, last + 1):
            return True
        if self._count >= MOST_GAPS:
            return False
        self._count += 1
        return True


class Limits(Protocol):
    """What one device may fill."""

    @property
    def partial_bytes(self) -> int:
        """Of unfinished records."""

    @property
    def kept_bytes(self) -> int | None:
        """Of records; `None`: no limit."""


class Inbound:
    """What has come from one device.

    `calls`: whether records of the queue `$calls` are calls (they are at the solution service).  `quota`: most bytes of
    its records in the store; what is beyond is not taken, and so not acknowledged.
    """

    def __init__(
        self,
        store: ServiceStore,
        state: DeviceState,
        templates: Templates,
        limits: Limits,
        count: Callable[[str], None],
        *,
        calls: bool = False,
    ) -> None:
        device = state.device
        self._store = store
        self._device: Device = device
        self._templates = templates
        self._calls = calls
        self._quota = limits.kept_bytes
        self._count = count
        self.received = device.received
        self.kept = device.kept
        self.queues = state.queues
        self.partials = Partials(store, device.id, limits.partial_bytes, count, state.partials)
        self.wanted = {schema for schema in state.awaited_schemas if schema not in templates}
        """What cannot be filed without being told: ids of schemas, and -1 - id for the name of a queue."""
        self.call_until: float | None = None
        """When the last of the calls that came has ended, in seconds since 1970."""

    def apply(self, message: Message, now: float, link: str | None, changes: Changes) -> int:
        """Take a message that `check` has passed, received at `now` (seconds since 1970) over `link`, where known.

        Returns how many bytes of records it has brought, as they are kept.
        """
        base, before, arrival = message.control.get(wire.BASE), self.kept, Arrival(now, link)
        if base is not None and base > self.received.floor + 1:
            self.received.raise_floor(base - 1)
            self.partials.void_below(base, changes)
        gaps = _Gaps(self.received)
        for block in message.blocks:
            self._take_block(block, gaps, arrival, changes)
        for record in [*message.records, *self._joined(message.pieces)]:
            if self._is_new(record.number, _room_for(record), gaps):
                self._take(record, arrival, changes)
        if message.control.get(wire.PACKET):
            self._take_packet(message.control[wire.PACKET], arrival, changes)
        return self.kept - before

    def _joined(self, pieces: Iterable[Piece]) -> list[WireRecord]:
        """Byte ranges with the heads that came before them."""
        done = [piece for piece in pieces if piece.number in self.received]
        for _ in done:
            self._count("duplicate records")
        return [
            record
            for piece in pieces
            if piece.number not in self.received and (record := self.partials.joined(piece)) is not None
        ]

    def _is_new(self, number: int, size: int | None, gaps: _Gaps) -> bool:
        if number in self.received:
            self._count("duplicate records")
        elif size is not None and self._quota is not None and self.kept + size > self._quota:
            self._count("records over the quota")
        elif not gaps.admit(number):
            self._count("records beyond too many gaps")
        else:
            return True
        return False

    def acknowledgement(self, numbers: Iterable[int], most_ranges: int) -> NumberSet:
        """What has arrived, in at most `most_ranges` ranges above the floor: those of `numbers` first, then the lowest."""
        ranges = list(self.received.ranges())
        if len(ranges) <= most_ranges:
            return self.received
        starts = [start for start, _ in ranges]
        own = {bisect_right(starts, number) - 1 for number in numbers} - {-1}
        chosen = sorted([*own, *(set(range(len(ranges))) - own)][:most_ranges])
        return NumberSet(self.received.floor, [ranges[index] for index in chosen])

    def _take(self, record: WireRecord, arrival: Arrival, changes: Changes) -> None:
        self._learn_name(record.queue_id, record.queue, changes)
        if record.offset is not None:
            body = self.partials.add(record, changes)
            if body is None:
                return
            record = replace(record, body=body, offset=None, total=None)
        else:
            self.partials.forget(record.number, changes)  # it came whole after all
        self.received.add(record.number)
        self._count("records")
        self._file(record, arrival, changes)

    def _take_packet(self, packet: bytes, arrival: Arrival, changes: Changes) -> None:
        self._count("packets")
        body = cbor2.dumps(packet)
        self.kept += len(body)
        row = (self._device.id, None, PACKETS, int(Urgency.ROUTINE), None, arrival.now, arrival.link, body)
        changes.records.append(row)

    # --- blocks ----------------------------------------------------------------------------------------------------------

    def _take_block(self, block: Block, gaps: _Gaps, arrival: Arrival, changes: Changes) -> None:
        size = len(block.columns) // len(block.numbers) + 1
        fresh = {number for number in block.numbers if self._is_new(number, size, gaps)}
        if not fresh:
            return
        self._learn_name(block.queue_id, block.queue, changes)
        template = self._templates.find(block.schema)
        records = None if template is None else unpacked(block, template, fresh)
        if records is None:
            self._park_block(block, fresh, template is not None, arrival, changes)
            if block.schema not in self._templates:
                self.wanted.add(block.schema)
            return
        for record in records:
            self._take(record, arrival, changes)

    def _park_block(self, block: Block, fresh: set[int], unreadable: bool, arrival: Arrival, changes: Changes) -> None:
        self._count("unreadable blocks" if unreadable else "parked blocks")
        for number in fresh:
            self.partials.forget(number, changes)
            self.received.add(number)
        content = block_content(block, fresh)
        self.kept += len(content)
        head = (self._device.id, block.schema, block.queue_id, block.queue, int(block.urgency))
        changes.blocks.append((*head, content, arrival.now, arrival.link, int(unreadable)))

    def file_blocks(self, changes: Changes, schema: int | None = None) -> None:
        """File what waits for the template `schema`, or for any that is known now."""
        for row in self._store.parked_blocks(self._device.id, schema):
            if row[0] in changes.filed_blocks or row[0] in changes.unreadable_blocks:
                continue
            outcome = self._file_block(row, changes)
            if outcome is not None:
                (changes.filed_blocks if outcome else changes.unreadable_blocks).add(row[0])
        waiting, changes.blocks = changes.blocks, []
        for new in waiting:
            device, *rest, unreadable = new
            matches = device == self._device.id and not unreadable and schema in (None, new[1])
            outcome = self._file_block((None, *rest), changes) if matches else None
            if not outcome:
                changes.blocks.append((device, *rest, int(unreadable or outcome is False)))

    def _file_block(self, row: Row, changes: Changes) -> bool | None:
        """Whether a parked block could be filed; `None` where its template is still unknown."""
        block, fresh = kept_block(row)
        template = self._templates.find(block.schema)
        if template is None:
            return None
        records = unpacked(block, template, fresh)
        if records is None:
            self._count("unreadable blocks")
            return False
        self.kept -= len(row[5])
        for record in records:
            self._count("records")
            self._file(record, Arrival(row[6], row[7]), changes)
        return True

    def _learn(self, record: WireRecord, changes: Changes) -> None:
        """Take what a record of the queue `$schemas` says: it is for this service, and kept nowhere else."""
        name = told_name(record.body)
        if name is not None:
            self._learn_name(*name, changes)
            return
        try:
            learnt = self._templates.learn(record.body)
        except ObjectError:
            self._count("malformed schemas")
            return
        self.wanted.discard(learnt.schema)
        if not learnt.readable:
            self._count("schemas that cannot be read")
        if learnt.changed:
            self.kept += learnt.grown
            changes.schemas[self._device.id, learnt.schema] = learnt.definition
            self.file_blocks(changes, learnt.schema)

    # --- queues ----------------------------------------------------------------------------------------------------------

    def _learn_name(self, queue_id: int, name: str | None, changes: Changes) -> None:
        known = self.queues.get(queue_id)
        if name is None or name == known or queue_id < wire.FIRST_FREE_QUEUE:
            return
        if "\0" in name:  # no text to PostgreSQL
            self._count("malformed queue names")
            return
        if known is not None:
            self._count("renamed queues")
        elif len(self.queues) >= MOST_QUEUES:
            self._count("queues over the limit")
            return
        self.queues[queue_id] = name
        self.wanted.discard(-1 - queue_id)
        changes.queues[self._device.id, queue_id] = name

    def _file(self, record: WireRecord, arrival: Arrival, changes: Changes) -> None:
        if record.queue_id == wire.CALL_QUEUE:
            self._take_call(record, arrival, changes)
            return
        if record.queue_id == wire.SCHEMA_QUEUE:
            self._learn(record, changes)
            return
        name = None if record.queue is None or "\0" in record.queue else record.queue
        queue = queue_name(record.queue_id) or self.queues.get(record.queue_id) or name
        common = (int(record.urgency), record.captured_at, arrival.now, arrival.link, record.body)
        self.kept += len(record.body)
        if queue is None:
            self._count("parked records")
            changes.parked.append((self._device.id, record.number, record.queue_id, *common))
            if len(self.queues) < MOST_QUEUES:
                self.wanted.add(-1 - record.queue_id)
            return
        changes.records.append((self._device.id, record.number, queue, *common))
        if record.queue_id < wire.FIRST_FREE_QUEUE:
            self._file_reserved(record, (self._device.id, record.number, record.captured_at, arrival.now), changes)

    def _file_reserved(self, record: WireRecord, tail: tuple[Any, ...], changes: Changes) -> None:
        if record.queue_id == wire.HEALTH_QUEUE:
            changes.health.append((self._device.serial_number, record.body, *tail))
        elif record.queue_id == wire.NAMED_OBJECT_QUEUE:
            self._file_object(record, tail, changes)

    def _take_call(self, record: WireRecord, arrival: Arrival, changes: Changes) -> None:
        row = call_row(self._device.id, record, arrival.now) if self._calls else None
        if row is None:
            self._count("malformed calls" if self._calls else "calls of another service")
            changes.refused_calls.append((self._device.id, record.number, REFUSED, arrival.now))
            return
        self._count("calls")
        changes.calls.append(row)
        self.call_until = max(self.call_until or 0.0, row[4])

    def _file_object(self, record: WireRecord, tail: tuple[Any, ...], changes: Changes) -> None:
        item = named_object(record.body)
        if item is None or "\0" in item[0]:
            self._count("malformed named objects")  # kept as a record all the same
            return
        changes.objects.append((self._device.serial_number, *item, *tail))


def _room_for(record: WireRecord) -> int | None:
    """Bytes that `record` takes of the quota; `None`: it is taken in any case.

    A definition may be what parked blocks wait for that have used the quota up.
    """
    size = len(record.body) if record.total is None else record.total
    return None if record.queue_id == wire.SCHEMA_QUEUE and size <= _ALWAYS_TAKEN else size


def named_object(body: bytes) -> tuple[str, bytes] | None:
    """Name and encoded value of `[name, value]`; `None` where `body` is anything else.

    The value's bytes are those that were sent: nothing is encoded anew.
    """
    try:
        item = decode(body)
    except ObjectError:
        return None
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str) or body[:1] != b"\x82":
        return None
    head = body[1]
    size = {0x78: 2, 0x79: 3, 0x7A: 5}.get(head, 1 if 0x60 <= head <= 0x77 else 0)
    if not size:
        return None  # a name of indefinite length: nobody needs it
    length = head - 0x60 if size == 1 else int.from_bytes(body[2 : 1 + size], "big")
    return item[0], body[1 + size + length :]


_RESERVED = {queue_id: name for name, queue_id in wire.RESERVED_QUEUES.items()}


def queue_name(queue_id: int) -> str | None:
    """The name of a reserved queue (`$objects`, `$health`, `$7`), or `None` where devices give names."""
    if queue_id >= wire.FIRST_FREE_QUEUE:
        return None
    return _RESERVED.get(queue_id, f"${queue_id}")
