"""Records from one device: each number takes effect once.

Rules of this file: the meaning of a decoded message for the records that go up; effects go into `Changes`.  No keys, no
network, no clock.  What is checked is checked before anything changes: a message is applied whole or not at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from rataccess import wire
from rataccess.errors import ObjectError
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import decode
from rataccess.services.partials import Partials
from rataccess.services.store import Changes, Device, ServiceStore
from rataccess.wire import Message, WireRecord

MOST_GAPS = 4096
"""Separate ranges of record numbers kept for one device; a number that would make more waits until gaps have closed."""
MOST_QUEUES = 4096
"""Queue names kept for one device."""
ANSWER_LIMIT = 17
"""Control key: the largest CoAP message that the device can be sent over this path, in bytes."""
_MOST_LINK = 32
_MOST_RANGES = 2048


def check(message: Message) -> None:
    """Raise `ObjectError` where a control value is of the wrong kind (docs/wire.md, Control)."""
    control = message.control
    base, link, partial = control.get(wire.BASE, 1), control.get(wire.LINK, ""), control.get(wire.PARTIAL, {})
    limit = control.get(ANSWER_LIMIT, 0)
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
    if type(limit) is not int or not 0 <= limit <= MAX_NUMBER:
        raise ObjectError("control 17 is a count of bytes")


def _is_ranges(number: Any, edges: Any) -> bool:
    if type(number) is not int or not isinstance(edges, list) or len(edges) % 2 or len(edges) > _MOST_RANGES:
        return False
    if any(type(edge) is not int or not 0 <= edge <= MAX_NUMBER for edge in edges):
        return False
    return all(low < high for low, high in pairwise(edges))


class Inbound:
    """What has come from one device."""

    def __init__(self, store: ServiceStore, device: Device, quota: int, count: Callable[[str], None]) -> None:
        self._device = device
        self._count = count
        self.received = device.received
        self.queues = store.queues(device.id)
        self.partials = Partials(store, device.id, quota, count)

    def apply(self, message: Message, now: float, link: str | None, changes: Changes) -> None:
        """Take a message that `check` has passed, received at `now` (seconds since 1970) over `link`, where known."""
        base = message.control.get(wire.BASE)
        if base is not None and base > self.received.floor + 1:
            self.received.raise_floor(base - 1)
            self.partials.void_below(base, changes)
        gaps = sum(1 for _ in self.received.ranges())
        for record in message.records:
            if record.number in self.received:
                self._count("duplicate records")
            elif gaps >= MOST_GAPS and record.number != self.received.floor + 1:
                self._count("records beyond too many gaps")
            else:
                gaps += record.number != self.received.floor + 1
                self._take(record, now, link, changes)

    def acknowledgement(self, records: list[WireRecord], most_ranges: int) -> NumberSet:
        """What has arrived, in at most `most_ranges` ranges above the floor: those of `records` first, then the lowest."""
        ranges = list(self.received.ranges())
        if len(ranges) <= most_ranges:
            return self.received
        starts = [start for start, _ in ranges]
        own = {bisect_right(starts, record.number) - 1 for record in records} - {-1}
        chosen = sorted([*own, *(set(range(len(ranges))) - own)][:most_ranges])
        return NumberSet(self.received.floor, [ranges[index] for index in chosen])

    def _take(self, record: WireRecord, now: float, link: str | None, changes: Changes) -> None:
        self._learn_name(record, changes)
        if record.offset is not None:
            body = self.partials.add(record, changes)
            if body is None:
                return
            record = replace(record, body=body, offset=None, total=None)
        else:
            self.partials.forget(record.number, changes)  # it came whole after all
        self.received.add(record.number)
        self._count("records")
        self._file(record, now, link, changes)

    def _learn_name(self, record: WireRecord, changes: Changes) -> None:
        name, known = record.queue, self.queues.get(record.queue_id)
        if name is None or name == known or record.queue_id < wire.FIRST_FREE_QUEUE:
            return
        if known is not None:
            self._count("renamed queues")
        elif len(self.queues) >= MOST_QUEUES:
            self._count("queues over the limit")
            return
        self.queues[record.queue_id] = name
        changes.queues[self._device.id, record.queue_id] = name

    def _file(self, record: WireRecord, now: float, link: str | None, changes: Changes) -> None:
        queue = queue_name(record.queue_id) or self.queues.get(record.queue_id) or record.queue
        common = (int(record.urgency), record.captured_at, now, link, record.body)
        if queue is None:
            self._count("parked records")
            changes.parked.append((self._device.id, record.number, record.queue_id, *common))
            return
        changes.records.append((self._device.id, record.number, queue, *common))
        tail = (self._device.id, record.number, record.captured_at, now)
        if record.queue_id == wire.HEALTH_QUEUE:
            changes.health.append((self._device.serial_number, record.body, *tail))
        elif record.queue_id == wire.NAMED_OBJECT_QUEUE:
            self._file_object(record, tail, changes)

    def _file_object(self, record: WireRecord, tail: tuple[Any, ...], changes: Changes) -> None:
        item = named_object(record.body)
        if item is None:
            self._count("malformed named objects")  # kept as a record all the same
            return
        changes.objects.append((self._device.serial_number, *item, *tail))


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
