"""Records from a service: once each, whole, named.

Rules of this file: it turns wire records into inbox entries; the store keeps them; it sends nothing.
"""

from __future__ import annotations

from rataccess.errors import StoreFull
from rataccess.numbers import MAX_NUMBER, NumberSet
from rataccess.objects import MAX_OBJECT_BYTES, Service
from rataccess.store import Inbound, Store
from rataccess.wire import BASE, RESERVED_QUEUES, Message, WireRecord

_RESERVED = {queue_id: name for name, queue_id in RESERVED_QUEUES.items()}
_MOST_PARTIAL = 2 * MAX_OBJECT_BYTES
"""Bytes of unfinished objects held at most: a service cannot make the device run out of memory."""
ROOM_AGAIN = 16
"""Once the inbox was full, more is taken when this part of it is free: not one object at a time, each time one was
acknowledged, in a message of many."""
MOST_TOLD = 16
"""Unfinished objects, and ranges of each, that a request tells of."""


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

    def __init__(self, service: Service, store: Store) -> None:
        self._service = service
        self._store = store
        self._assemblies: dict[int, Assembly] = {}
        self.received = store.received(service)
        """The numbers that have arrived, or that the service has given up."""
        self._refused: int | None = None
        """Bytes of the object that found no room last, until there is room again."""

    @property
    def full(self) -> bool:
        """Whether objects for the application find no room: the service is to keep them."""
        if self._refused is not None and self._store.inbox_has_room(self._service, ROOM_AGAIN, self._refused):
            self._refused = None
        return self._refused is not None

    def take(self, message: Message) -> list[Inbound]:
        """Keep what `message` brings; returns the objects that are whole now, and in the inbox.

        Where the inbox has no room for all, as many as it has room for; the service is told (`full`).  Raises `StoreError`
        where the store takes nothing: nothing is acknowledged then, and all of it comes again.
        """
        void = self.received.copy()
        base = message.control.get(BASE)
        if type(base) is int and 0 < base <= MAX_NUMBER:
            void.raise_floor(base - 1)
        objects = dict[int, Inbound]()
        for record in message.records:
            if record.number not in void and (body := self._body(record)) is not None:
                self._learn(record)
                queue = self._queue(record.queue_id)
                objects[record.number] = Inbound(record.number, queue, body, record.captured_at)
        # what is not the application's goes before: a full inbox has room left for it (rataccess/store/inbox.py)
        ordered = sorted(objects.values(), key=lambda each: each.queue not in RESERVED_QUEUES)
        if self.full:  # one that is small enough all the same would come before older ones
            ordered = [each for each in ordered if each.queue in RESERVED_QUEUES]
        kept = self._keep(ordered, void)
        for number in [number for number in self._assemblies if number in self.received]:
            del self._assemblies[number]  # kept up to here: a store that refuses does not make the parts come again
        return kept

    def _keep(self, objects: list[Inbound], void: NumberSet) -> list[Inbound]:
        while True:
            received = void.copy()
            for each in objects:
                received.add(each.number)
            if received == self.received:
                return []
            try:
                self._store.receive(self._service, objects, received)
            except StoreFull:
                if not objects:
                    raise
                self._refused = len(objects[-1].body)
                objects = objects[: len(objects) // 2]
                continue
            self.received = received
            return objects

    def partial(self, most_records: int = MOST_TOLD, most_ranges: int = MOST_TOLD) -> dict[int, list[int]]:
        """The ranges held of unfinished objects, as control 2 tells them; less than that where they are many."""
        told = sorted(self._assemblies)[:most_records]
        return {number: [at for span in self._assemblies[number].held[:most_ranges] for at in span] for number in told}

    def _body(self, record: WireRecord) -> bytes | None:
        if record.offset is None or record.total is None:
            return record.body
        assembly = self._assemblies.get(record.number)
        if assembly is None or len(assembly.data) != record.total:
            others = sum(len(each.data) for number, each in self._assemblies.items() if number != record.number)
            if others + record.total > _MOST_PARTIAL:
                return None  # not acknowledged, so it comes again when there is room
            assembly = self._assemblies[record.number] = Assembly(record.total)
        self._learn(record)
        assembly.add(record.offset, record.body)
        return bytes(assembly.data) if assembly.whole else None

    def _learn(self, record: WireRecord) -> None:
        if record.queue is not None and record.queue_id not in _RESERVED:
            key = f"queue/{self._service}/{record.queue_id}"
            if self._store.get(key) != record.queue.encode():
                self._store.put(key, record.queue.encode())

    def _queue(self, queue_id: int) -> str:
        if queue_id in _RESERVED:
            return _RESERVED[queue_id]
        name = self._store.get(f"queue/{self._service}/{queue_id}")
        return name.decode() if name else f"#{queue_id}"
