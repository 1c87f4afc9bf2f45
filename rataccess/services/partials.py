"""Unfinished records of one device: byte ranges kept until a record is whole.

Rules of this file: decides what of a byte range is new, conflicting or too much; the bytes themselves go to the store
through `Changes`, and only this batch's are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.services.store import Changes, Row, ServiceStore
from rataccess.wire import Piece, WireRecord

MOST_UNFINISHED = 64
"""Records of one device that may be unfinished at a time: a device has a few transfers under way, not many."""
MOST_RANGES = 1024
"""Separate ranges of one record: a flood of single bytes must not fill the memory."""
_ROW_COST = 64
"""Bytes counted for a fragment besides its body, for its row and its index entry; an estimate on the safe side."""
_REPORTED_RECORDS = 4
_REPORTED_RANGES = 8
Spans = Sequence[tuple[int, int]]
"""Byte ranges, half-open."""


@dataclass(slots=True)
class Partial:
    """One unfinished record.  Byte `n` of the object is number `n + 1` of `held`."""

    number: int
    queue_id: int
    urgency: int
    captured_at: float | None
    total: int
    held: NumberSet = field(default_factory=NumberSet)
    cost: int = 0

    def ranges(self) -> list[tuple[int, int]]:
        """The half-open byte ranges that are held, ascending."""
        first = [(0, self.held.floor)] if self.held.floor else []
        return first + [(start - 1, end - 1) for start, end in self.held.ranges()]

    def missing(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of `start` to `end - 1` that are not held."""
        for held_start, held_end in self.ranges():
            if start < held_start:
                yield start, min(end, held_start)
            start = max(start, held_end)
            if start >= end:
                return
        if start < end:
            yield start, end

    def matches(self, record: WireRecord) -> bool:
        """Whether `record` can be a part of this."""
        return (self.queue_id, self.urgency, self.total) == (record.queue_id, int(record.urgency), record.total)


class Partials:
    """All unfinished records of one device."""

    def __init__(
        self, store: ServiceStore, device: int, quota: int, count: Callable[[str], None], rows: Iterable[Row]
    ) -> None:
        """`rows`: what the store keeps (`DeviceState.partials`)."""
        self._store = store
        self._device = device
        self._quota = quota
        self._count = count
        self._records: dict[int, Partial] = {}
        for number, queue_id, urgency, captured_at, total, ranges in rows:
            partial = Partial(number, queue_id, urgency, captured_at, total)
            for start, end in ranges:
                partial.held.add_range(start + 1, end + 1)
                partial.cost += end - start + _ROW_COST
            self._records[number] = partial

    def __len__(self) -> int:
        return len(self._records)

    def joined(self, piece: Piece) -> WireRecord | None:
        """`piece` with the head that came before it; `None` where none did, or where it goes beyond the object."""
        partial = self._records.get(piece.number)
        if partial is None or piece.offset + len(piece.body) > partial.total:
            self._count("ranges of unknown records" if partial is None else "conflicting fragment")
            return None
        head = (piece.number, partial.queue_id, Urgency(partial.urgency), piece.body, partial.captured_at, None)
        return WireRecord(*head, piece.offset, partial.total)

    def add(self, record: WireRecord, changes: Changes) -> bytes | None:
        """Take a byte range; returns the whole object where this completes it, else `None`.

        A range that contradicts what is held, or exceeds a limit, is counted and dropped.
        """
        assert record.offset is not None
        assert record.total is not None
        partial = self._records.get(record.number)
        if partial is not None and not (partial.matches(record) and self._agrees(partial, record, changes)):
            self._count("conflicting fragment")
            return None
        if not self._admits(partial, record):
            self._count("fragment over a limit")
            return None
        if partial is None:
            partial = self._begin(record, changes)
        self._keep(partial, record, changes)
        if partial.held.floor < partial.total:
            return None
        return self._complete(partial, changes)

    def void_below(self, base: int, changes: Changes) -> None:
        """Forget the records below `base`: the device has given them up."""
        for number in [number for number in self._records if number < base]:
            self.forget(number, changes)

    def forget(self, number: int, changes: Changes) -> None:
        """Forget one record, where it is unfinished."""
        if self._records.pop(number, None) is not None:
            changes.finish((self._device, number))

    def report(self, touched: Mapping[int, Spans], limit: int, ranges: int | None = None) -> dict[int, list[int]]:
        """Control 2: what is held of unfinished records; less where a message has few bytes.

        `touched`: the ranges that the message has brought, by record: they are told in any case.  `ranges`: how many of
        each, whatever the bytes.
        """
        first = sorted(self._records, key=lambda number: (number not in touched, number))
        most = ranges or max(1, min(_REPORTED_RANGES, limit // 100))
        reported = first[: max(1, min(_REPORTED_RECORDS, limit // 200))]
        return {n: [edge for pair in self._told(n, touched.get(n, ()), most) for edge in pair] for n in reported}

    def _told(self, number: int, brought: Spans, most: int) -> Spans:
        """At most so many ranges of a record: those that hold what a message has `brought`, then the first."""
        ranges = self._records[number].ranges()
        if len(ranges) <= most:
            return ranges
        own = [each for each in ranges if any(each[0] <= start and end <= each[1] for start, end in brought)]
        return sorted((own + [each for each in ranges if each not in own])[:most])

    def _begin(self, record: WireRecord, changes: Changes) -> Partial:
        assert record.total is not None
        urgency = int(record.urgency)
        partial = Partial(record.number, record.queue_id, urgency, record.captured_at, record.total)
        self._records[record.number] = partial
        row = (self._device, record.number, record.queue_id, urgency, record.captured_at, record.total)
        changes.partials[self._device, record.number] = row
        return partial

    def _admits(self, partial: Partial | None, record: WireRecord) -> bool:
        if partial is None and len(self._records) >= MOST_UNFINISHED:
            return False
        if partial is not None and sum(1 for _ in partial.held.ranges()) >= MOST_RANGES:
            return partial.held.floor >= (record.offset or 0)  # what joins the beginning makes no new range
        lowest = min(self._records, default=record.number)
        if record.number <= lowest:
            return True  # or a full quota could never empty
        return sum(p.cost for p in self._records.values()) + len(record.body) + _ROW_COST <= self._quota

    def _agrees(self, partial: Partial, record: WireRecord, changes: Changes) -> bool:
        assert record.offset is not None
        end = record.offset + len(record.body)
        if not any(start < end and record.offset < stop for start, stop in partial.ranges()):
            return True
        for start, body in self._pieces(record.number, record.offset, end, changes):
            low, high = max(start, record.offset), min(start + len(body), end)
            if body[low - start : high - start] != record.body[low - record.offset : high - record.offset]:
                return False
        return True

    def _pieces(self, number: int, start: int, end: int, changes: Changes) -> list[tuple[int, bytes]]:
        fresh = changes.fragments.get((self._device, number), [])
        touching = [piece for piece in fresh if piece[0] < end and piece[0] + len(piece[1]) > start]
        return sorted(self._store.fragments(self._device, number, start, end) + touching)

    def _keep(self, partial: Partial, record: WireRecord, changes: Changes) -> None:
        assert record.offset is not None
        offset, pieces = record.offset, changes.fragments.setdefault((self._device, record.number), [])
        for start, end in list(partial.missing(offset, offset + len(record.body))):
            pieces.append((start, record.body[start - offset : end - offset]))
            partial.held.add_range(start + 1, end + 1)
            partial.cost += end - start + _ROW_COST

    def _complete(self, partial: Partial, changes: Changes) -> bytes:
        whole = b"".join(body for _, body in self._pieces(partial.number, 0, partial.total, changes))
        self.forget(partial.number, changes)
        return whole
