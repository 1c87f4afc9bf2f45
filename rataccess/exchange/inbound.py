"""Records from a service: once each, whole, named.

Rules of this file: it turns wire records into inbox entries; the store keeps them; it sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from rataccess.objects import MAX_OBJECT_BYTES, Memory, Service
from rataccess.store import Inbound
from rataccess.wire import RESERVED_QUEUES, WireRecord

_RESERVED = {queue_id: name for name, queue_id in RESERVED_QUEUES.items()}
_MOST_PARTIAL = 2 * MAX_OBJECT_BYTES
"""Bytes of unfinished objects held at most: a service cannot make the device run out of memory."""


class Assembly:
    """One object that arrives in byte ranges."""

    def __init__(self, total: int) -> None:
        self.data = bytearray(total)
        self.held: list[tuple[int, int]] = []

    def add(self, offset: int, part: bytes) -> None:
        """Take one range; an overlap keeps what came last (all of it is authentic)."""
        self.data[offset : offset + len(part)] = part
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self.held, (offset, offset + len(part))]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        self.held = merged

    @property
    def whole(self) -> bool:
        """Whether every byte is there."""
        return self.held == [(0, len(self.data))]


class Inflow:
    """What comes from one service."""

    def __init__(self, service: Service, memory: Memory) -> None:
        self._service = service
        self._memory = memory
        self._assemblies: dict[int, Assembly] = {}

    def accept(self, records: Sequence[WireRecord]) -> list[Inbound]:
        """The whole, named objects that `records` complete."""
        accepted = []
        for record in records:
            self._learn(record)
            body = self._body(record)
            if body is not None:
                accepted.append(Inbound(record.number, self._queue(record.queue_id), body, record.captured_at))
        return accepted

    def partial(self) -> dict[int, list[int]]:
        """The ranges held of unfinished objects, as control 2 tells them."""
        return {number: [at for span in each.held for at in span] for number, each in self._assemblies.items()}

    def _body(self, record: WireRecord) -> bytes | None:
        if record.offset is None or record.total is None:
            return record.body
        assembly = self._assemblies.get(record.number)
        if assembly is None or len(assembly.data) != record.total:
            if sum(len(each.data) for each in self._assemblies.values()) + record.total > _MOST_PARTIAL:
                return None  # not acknowledged, so it comes again when there is room
            assembly = self._assemblies[record.number] = Assembly(record.total)
        assembly.add(record.offset, record.body)
        if not assembly.whole:
            return None
        del self._assemblies[record.number]
        return bytes(assembly.data)

    def _learn(self, record: WireRecord) -> None:
        if record.queue is not None and record.queue_id not in _RESERVED:
            key = f"queue/{self._service}/{record.queue_id}"
            if self._memory.get(key) != record.queue.encode():
                self._memory.put(key, record.queue.encode())

    def _queue(self, queue_id: int) -> str:
        if queue_id in _RESERVED:
            return _RESERVED[queue_id]
        name = self._memory.get(f"queue/{self._service}/{queue_id}")
        return name.decode() if name else f"#{queue_id}"
