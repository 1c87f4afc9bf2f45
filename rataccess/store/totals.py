"""Counts of what is in the outbox, and the rule of who finds room in it.

Rules of this file: arithmetic only; no SQL.  The counts are kept by class (schema.py) and written to the file only with
transactions that remove or move records; what was added since is counted again at open (outbox.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rataccess.config.model import StoreSettings
from rataccess.errors import ObjectError, StoreCorrupt
from rataccess.objects import ReceiptState, Urgency, decode, encode
from rataccess.store.schema import CLASSES, HANDED
from rataccess.wire import FIRST_FREE_QUEUE

COUNTED = {
    ReceiptState.DELIVERED: "delivered",
    ReceiptState.EXPIRED: "expired",
    ReceiptState.DROPPED: "dropped",
    ReceiptState.REPLACED: "replaced",
}
SHARE = 16
"""One part in this many of each limit is kept free for the other service, and as much for PROMPT and ALARM records."""


def _zeros(count: int) -> list[int]:
    return [0] * count


@dataclass(slots=True)
class Totals:
    """What a transaction changes in memory; a copy is restored where it fails."""

    last: list[int] = field(default_factory=lambda: _zeros(2))
    """The last record number given, by service."""
    next_queue: list[int] = field(default_factory=lambda: [FIRST_FREE_QUEUE] * 2)
    records: list[int] = field(default_factory=lambda: _zeros(CLASSES))
    sizes: list[int] = field(default_factory=lambda: _zeros(CLASSES))
    count: int = 0
    size: int = 0
    """All records, and their bytes."""
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("enqueued", *COUNTED.values()), 0))

    def copy(self) -> Totals:
        """An independent copy."""
        return Totals(
            self.last[:],
            self.next_queue[:],
            self.records[:],
            self.sizes[:],
            self.count,
            self.size,
            self.counters.copy(),
        )

    def add(self, class_: int, records: int, size: int) -> None:
        """Count `records` more (or fewer) of `size` bytes together."""
        self.records[class_] += records
        self.sizes[class_] += size
        self.count += records
        self.size += size

    def dump(self) -> bytes:
        """As kept in the file."""
        return encode([self.last, self.next_queue, self.records, self.sizes, self.counters])

    @classmethod
    def load(cls, data: bytes) -> Totals:
        """The inverse of `dump`; raises `StoreCorrupt`."""
        try:
            values: Any = decode(data)
            last, next_queue, records, sizes, counters = values
            return cls(
                list(last), list(next_queue), list(records), list(sizes), sum(records), sum(sizes), dict(counters)
            )
        except (ObjectError, TypeError, ValueError) as error:
            raise StoreCorrupt("the totals of the outbox cannot be read") from error


def lacking(
    totals: Totals, settings: StoreSettings, service: int, urgency: int, size: int
) -> Iterator[tuple[str, bool]]:
    """The limits that one more record of `size` bytes would break, each with whether only its own service's records count.

    Beside the whole, part of each limit is kept for others, so that a flood of one service, or of BULK and ROUTINE
    records, never locks out the other service or an alarm.  Limits below `SHARE` have no such part.
    """
    for name, counts, limit, more in (
        ("max_records", totals.records, settings.max_records, 1),
        ("max_bytes", totals.sizes, settings.max_bytes, size),
    ):
        share = limit // SHARE
        mine = counts[service * 8 : service * 8 + 8]
        if sum(mine) + more > limit - share:
            yield name, True
        if sum(counts) + more > limit:
            yield name, False
        if urgency >= Urgency.PROMPT:
            continue
        if _patient(mine) + more > limit - 2 * share:
            yield name, True
        if _patient(counts) + more > limit - share:
            yield name, False


def _patient(counts: list[int]) -> int:
    return sum(count for class_, count in enumerate(counts) if class_ & 3 < Urgency.PROMPT)


def droppable(class_: int, urgency: int) -> bool:
    """Whether records of this class may be dropped for a newcomer of `urgency`: not once they were handed over (somebody
    was paid for them), and not where they are more urgent."""
    return not class_ & HANDED and class_ & 3 <= urgency
