"""Records on their way from the store to a packet.

Rules of this file: it pages records in from the store, most urgent first, and takes back what was not delivered.  It
sends nothing and decides nothing.  Memory is bounded: a page for each urgency, plus what is in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from rataccess.objects import Service, Urgency
from rataccess.store import Record, Store
from rataccess.wire import RESERVED_QUEUES, WireRecord

PAGE_RECORDS = 512
PAGE_BYTES = 1024 * 1024
MOST_PASSED_OVER = 4096
"""Records that no link may carry now are stepped over, this many at most, to reach those that one may."""


class Outgoing:
    """One record while it is staged or in flight."""

    __slots__ = ("flights", "missing", "record", "settled", "wire")

    def __init__(self, record: Record) -> None:
        self.record = record
        reserved = RESERVED_QUEUES.get(record.queue)
        self.wire = WireRecord(
            record.number,
            record.queue_id if reserved is None else reserved,
            record.urgency,
            record.body,
            record.captured_at,
            None if record.queue_known or reserved is not None else record.queue,
        )
        self.flights = 0
        self.settled = False
        self.missing: list[tuple[int, int]] | None = None
        """Byte ranges that wait to be sent, where the record is too large for one packet."""

    def __repr__(self) -> str:
        return f"<Outgoing {self.record.number} {self.record.urgency.name} flights={self.flights}>"

    @property
    def constrained(self) -> bool:
        """Whether the record itself restricts the links."""
        return self.record.max_cost is not None or bool(self.record.links)

    def split(self) -> list[tuple[int, int]]:
        """The ranges that wait, from now on kept."""
        if self.missing is None:
            self.missing = [(0, len(self.record.body))]
        return self.missing

    def give_back(self, start: int, end: int) -> None:
        """The range was not delivered."""
        self.split().append((start, end))
        self.split().sort()

    def hold_only(self, held: Iterable[tuple[int, int]]) -> None:
        """The peer says which ranges it holds: all the others wait."""
        self.missing, at = [], 0
        for start, end in sorted(held):
            if start > at:
                self.missing.append((at, start))
            at = max(at, end)
        if at < len(self.record.body):
            self.missing.append((at, len(self.record.body)))


class Staging:
    """What waits, by urgency; `pull` takes the next."""

    def __init__(self, store: Store, service: Service) -> None:
        self._store = store
        self._service = service
        self._ready: dict[Urgency, deque[Outgoing]] = {urgency: deque() for urgency in Urgency}
        self._cursor: dict[Urgency, int] = dict.fromkeys(Urgency, 0)
        self._more: dict[Urgency, bool] = dict.fromkeys(Urgency, True)

    def arrived(self, urgency: Urgency) -> None:
        """The store has something new of that urgency."""
        self._more[urgency] = True

    def top(self) -> Urgency | None:
        """The highest urgency of which something waits."""
        for urgency in reversed(Urgency):
            if self._ready[urgency] or (self._more[urgency] and self._fill(urgency)):
                return urgency
        return None

    def pull(self, urgency: Urgency, permits: Callable[[Outgoing], bool]) -> Outgoing | None:
        """Take out the first that `permits` allows, or `None`."""
        ready, index = self._ready[urgency], 0
        while True:
            while index < len(ready):
                if ready[index].settled:
                    del ready[index]
                elif permits(ready[index]):
                    found = ready[index]
                    del ready[index]
                    return found
                else:
                    index += 1
            if index >= MOST_PASSED_OVER or not self._more[urgency] or not self._fill(urgency):
                return None

    def put_back(self, items: Iterable[Outgoing]) -> None:
        """Let `items` wait again, before all others of their urgency, in order."""
        for item in sorted(items, key=lambda item: item.record.number, reverse=True):
            self._ready[item.record.urgency].appendleft(item)

    def _fill(self, urgency: Urgency) -> bool:
        page = self._store.waiting(self._service, urgency, self._cursor[urgency], PAGE_RECORDS, PAGE_BYTES)
        # a page that fills neither limit was the end of what had been committed; later arrivals are announced
        self._more[urgency] = len(page) == PAGE_RECORDS or sum(len(record.body) for record in page) > PAGE_BYTES // 8
        if page:
            self._cursor[urgency] = page[-1].number
            self._ready[urgency].extend(map(Outgoing, page))
        return bool(page)
