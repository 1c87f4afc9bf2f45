"""Records on their way from the store to a packet.

Rules of this file: it pages records in from the store, most urgent first, and takes back what was not delivered.  It
sends nothing and decides nothing.  Each record is in memory once (`items`), from being read until the store announces that
it is settled.  Memory is bounded: a page for each urgency, what is passed over, and what is in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency
from rataccess.store import NewRecord, Record, Store
from rataccess.wire import RESERVED_QUEUES, WireRecord

PAGE_RECORDS = 512
PAGE_BYTES = 1024 * 1024
MOST_PASSED_OVER = 4096
"""Records that no link may carry now are stepped over; more than this many are forgotten, and read again later."""
PAGES_AT_ONCE = 4
"""Pages read in one pass over records that no link may carry: reading holds up the event loop."""

MOST_URGENT_FIRST = tuple(reversed(Urgency))

Place = tuple[int, int]
"""How far a pass over what waits has come, among plain records and among those that restrict the links."""
Part = tuple["Outgoing", int, int]
"""A record and the byte range of it that one message carries; 0, 0 for the whole."""


class Outgoing:
    """One record while it is staged or in flight."""

    __slots__ = (
        "alone",
        "flights",
        "held",
        "missing",
        "packable",
        "record",
        "settled",
        "staged",
        "told",
        "value",
        "wire",
    )

    def __init__(self, record: Record) -> None:
        self.flights = 0
        self.settled = False
        self.staged = False
        """Whether it waits in staging: it is there once at most."""
        self.alone = False
        """Whether it travels in messages of its own: the service refused one that it was in."""
        self.missing: list[tuple[int, int]] | None = None
        """Byte ranges that wait to be sent, where the record is too large for one packet."""
        self.told = False
        """Whether the service holds a part of it, and so knows its head."""
        self.held = NumberSet()
        """Byte ranges that the service has told of; byte n is number n + 1."""
        self.packable = record.template is not None
        """Whether it may travel in a block; not any more once it turned out not to fit its template."""
        self.value: Any = None
        """Its object, decoded, from being put into a block until that has left."""
        self.show(record)

    def show(self, record: Record) -> None:
        """Take over what the store says of it now."""
        self.record = record
        reserved = RESERVED_QUEUES.get(record.queue)
        self.wire = WireRecord(
            record.number,
            record.queue_id if reserved is None else reserved,
            record.urgency,
            record.body,
            record.captured_at,
            None if record.queue_known or reserved is not None else record.queue,
            template=record.template,
        )

    @property
    def bound(self) -> bool:
        """Whether the record itself restricts the links; those that do not are all judged alike."""
        return self.record.max_cost is not None or bool(self.record.links)

    def __repr__(self) -> str:
        return f"<Outgoing {self.record.number} {self.record.urgency.name} flights={self.flights}>"

    def split(self) -> list[tuple[int, int]]:
        """The ranges that wait, from now on kept."""
        if self.missing is None:
            self.missing = [(0, len(self.record.body))]
        return self.missing

    def give_back(self, start: int, end: int) -> None:
        """The range was not delivered, as far as the service has told; neighbours become one, so that a larger packet can
        take them together."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*(self.missing or []), *self._not_held(start, end)]):
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.missing = merged or (
            [] if self.flights else [(start, end)]
        )  # something has to ask for the acknowledgement

    def _not_held(self, start: int, end: int) -> Iterable[tuple[int, int]]:
        first = max(start, self.held.floor) + 1
        return [(low - 1, high - 1) for low, high in self.held.gaps(first, end + 1)]

    def told_of(self, spans: Iterable[tuple[int, int]]) -> None:
        """The service holds these ranges, and perhaps others for which its answer had no room; none: it knows nothing."""
        spans = list(spans)
        if not spans:
            self.held = NumberSet()
        for start, end in spans:
            self.held.add_range(start + 1, end + 1)
        if self.missing:
            left = [piece for waiting in self.missing for piece in self._not_held(*waiting)]
            self.missing = left or self.missing[-1:]

    def hold(self, spans: Iterable[tuple[int, int]]) -> None:
        """No range is on its way: what the service has not told of waits.  Where it holds all by what it has told before,
        but is not content, only what it tells now counts."""
        spans = list(spans)
        if self.held.floor >= len(self.record.body):
            self.told_of(())
            self.told_of(spans)
        first = [(0, self.held.floor)] if self.held.floor else []
        self.hold_only(first + [(start - 1, end - 1) for start, end in self.held.ranges()])

    def hold_only(self, held: Iterable[tuple[int, int]]) -> None:
        """The peer says which ranges it holds: all the others wait; all of it where nothing would be left to say."""
        self.missing, at = [], 0
        for start, end in sorted(held):
            if start > at:
                self.missing.append((at, start))
            at = max(at, end)
        if at < len(self.record.body):
            self.missing.append((at, len(self.record.body)))
        self.missing = self.missing or [(0, len(self.record.body))]


class Staging:
    """What waits, by urgency; `pull` takes the next."""

    def __init__(self, store: Store, service: Service) -> None:
        self._store = store
        self._service = service
        self.items: dict[int, Outgoing] = {}
        """By number: what was read and is not settled, staged or not."""
        self.unfinished = False
        """Whether a pass ended because it had read enough, not because nothing was left."""
        self._ready: dict[tuple[Urgency, bool], deque[Outgoing]] = {
            (urgency, bound): deque() for urgency in Urgency for bound in (False, True)
        }
        self._cursor: dict[Urgency, int] = dict.fromkeys(Urgency, 0)
        self._more: dict[Urgency, bool] = dict.fromkeys(Urgency, True)
        self._forgotten: dict[Urgency, int] = {}
        self.hopeless: Callable[[Outgoing], bool] = lambda item: True
        """Whether no link may carry a record now."""

    def arrived(self, urgency: Urgency) -> None:
        """The store has something new of that urgency."""
        self._more[urgency] = True

    def accepted(self, record: Record) -> None:
        """The store has a new record: where everything before it was read, it needs not be read from there."""
        urgency = record.urgency
        if self._more[urgency] or len(self._ready[urgency, False]) + len(self._ready[urgency, True]) >= PAGE_RECORDS:
            self._more[urgency] = True
        elif record.number > self._cursor[urgency]:
            self._cursor[urgency] = record.number
            self._stage(record)
        elif record.number not in self.items:  # told out of order
            self._cursor[urgency] = record.number - 1
            self._more[urgency] = True

    @property
    def waiting(self) -> bool:
        """Whether something may wait, here or unread in the store."""
        return any(self._ready.values()) or True in self._more.values() or bool(self._forgotten)

    def may_have(self, urgency: Urgency) -> bool:
        """Whether something of that urgency may wait, here or unread in the store."""
        ready = self._ready
        return bool(self._more[urgency] or ready[urgency, False] or ready[urgency, True] or urgency in self._forgotten)

    def settled(self, numbers: Iterable[int]) -> None:
        """The store announced that these are done with."""
        for number in numbers:
            item = self.items.pop(number, None)
            if item is not None:
                item.settled = True

    def top(self) -> Urgency | None:
        """The highest urgency of which something waits."""
        for urgency in MOST_URGENT_FIRST:
            for bound in (False, True):
                ready = self._ready[urgency, bound]
                while ready and ready[0].settled:
                    ready.popleft()
                if ready:
                    return urgency
            if self._more[urgency] and self._fill(urgency):
                return urgency
        return None

    def look_ahead(self) -> None:
        """Read what waits, a page of each urgency, although nothing can be sent: for the deadlines."""
        for urgency in Urgency:
            if self._more[urgency] and len(self._ready[urgency, False]) < PAGE_RECORDS:
                self._fill(urgency)

    def pull(
        self, urgency: Urgency, plain: bool, permits: Callable[[Outgoing], bool], place: Place = (0, 0)
    ) -> tuple[Outgoing | None, Place]:
        """Take out the first from `place` on that `permits` allows, or `None`; and the place to go on from.

        `plain`: whether records that do not restrict the links themselves may go at all.  They make the crowd, so they are
        not looked at one by one where they may not; and behind them nothing is read, whoever takes them does that.  What was
        forgotten is read again once most of what was kept has gone.
        """
        crowd, bound, pages = self._ready[urgency, False], self._ready[urgency, True], 0
        i, j = place
        while True:
            i = _next(crowd, i, permits) if plain else len(crowd)
            j = _next(bound, j, permits)
            if i < len(crowd) and (j == len(bound) or crowd[i].record.number < bound[j].record.number):
                return _take(crowd, i), (i, j)
            if j < len(bound):
                return _take(bound, j), (i, j)
            if urgency in self._forgotten and len(bound) < PAGE_RECORDS:
                self._rewind(urgency)
            if not (self._more[urgency] and (plain or not crowd)):
                return None, (i, j)
            if pages == PAGES_AT_ONCE:
                self.unfinished = True
                return None, (i, j)
            if len(bound) >= MOST_PASSED_OVER:
                if not self._forget(urgency):
                    return None, (i, j)  # all of them have a link, which is about to take them
                j = len(bound)
            pages += 1
            self._fill(urgency)

    def put_back(self, items: Iterable[Outgoing]) -> None:
        """Let `items` wait again, before all others of their urgency, in order; what waits already, stays, and so does what
        is on its way with nothing left to be sent."""
        for item in sorted(items, key=lambda item: item.record.number, reverse=True):
            if not item.staged and not item.settled and item.missing != []:
                item.staged = True
                self._ready[item.record.urgency, item.bound].appendleft(item)

    def untake(self, parts: Iterable[Part]) -> None:
        """These parts of a message were not sent after all, or not delivered."""
        waiting = []
        for item, start, end in parts:
            if end:
                item.give_back(start, end)
            if end or item.flights == 0:
                waiting.append(item)
        self.put_back(waiting)

    def again(self, record: Record) -> None:
        """Let a record wait that the store has found due for sending once more; nothing where it is under way already."""
        if record.number not in self.items:
            item = self.items[record.number] = Outgoing(record)
            self.put_back([item])

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget records that the store brings back by itself (those that were handed over)."""
        for number in numbers:
            item = self.items.pop(number, None)
            if item is not None and item.staged:
                self._ready[item.record.urgency, item.bound].remove(item)

    def rewind(self) -> None:
        """Decisions may come out otherwise: read again what was forgotten."""
        for urgency in tuple(self._forgotten):
            self._rewind(urgency)

    def _rewind(self, urgency: Urgency) -> None:
        self._cursor[urgency] = min(self._cursor[urgency], self._forgotten.pop(urgency) - 1)
        self._more[urgency] = True

    def name_known(self, queue_id: int) -> None:
        """The service knows what that queue is called: it is not named any more."""
        for item in self.items.values():
            if item.wire.queue is not None and item.wire.queue_id == queue_id:
                item.show(replace(item.record, queue_known=True))

    def dated(self, boot: bytes, offset: float, now: float) -> None:
        """Time is known: what `Store.restamp` does to the file, for what was read before."""
        for item in self.items.values():
            record = item.record
            captured = record.captured_at
            if record.time_known or captured is None:
                continue
            true = record.monotonic + offset if record.boot == boot else None
            expires = record.expires_at
            if expires is not None:
                expires += (now if true is None else true) - captured
            item.show(replace(record, captured_at=true, expires_at=expires, time_known=true is not None))

    def _forget(self, urgency: Urgency) -> bool:
        """Let a page go of those read last that no link may carry now; returns whether there were any."""
        ready, lowest = self._ready[urgency, True], self._forgotten.get(urgency, 0)
        kept, gone = deque[Outgoing](), 0
        while ready and gone < PAGE_RECORDS:
            item = ready.pop()
            if item.flights or item.missing is not None or item.alone or not self.hopeless(item):
                kept.appendleft(item)
                continue
            item.staged = False
            self.items.pop(item.record.number, None)
            lowest, gone = min(lowest or item.record.number, item.record.number), gone + 1
        ready.extend(kept)
        if gone:
            self._forgotten[urgency] = lowest
        return gone > 0

    def _fill(self, urgency: Urgency) -> bool:
        last = self._store.last_number(self._service)
        page = self._store.waiting(self._service, urgency, self._cursor[urgency], PAGE_RECORDS, PAGE_BYTES)
        # a page may be cut by count or by size: only the last number of all proves that nothing follows
        self._more[urgency] = bool(page) and page[-1].number < last
        if page:
            self._cursor[urgency] = page[-1].number
        for record in page:
            if record.number not in self.items:
                self._stage(record)
        return bool(page)

    def _stage(self, record: Record) -> None:
        item = self.items[record.number] = Outgoing(record)
        item.staged = True
        self._ready[record.urgency, item.bound].append(item)


def new_record(new: NewRecord, number: int, queue_id: int, queue_known: bool) -> Record:
    """What the store would give of a record that it has just kept under `number`."""
    return Record(
        service=new.service,
        number=number,
        queue=new.queue,
        queue_id=queue_id,
        queue_known=queue_known,
        body=new.body,
        urgency=new.urgency,
        captured_at=new.captured_at,
        boot=new.boot,
        monotonic=new.monotonic,
        time_known=new.time_known,
        expires_at=new.expires_at,
        max_cost=new.max_cost,
        links=new.links,
        replaces=new.replaces,
        attempts=0,
        handed_over=False,
        template=new.template,
    )


def _next(ready: deque[Outgoing], index: int, permits: Callable[[Outgoing], bool]) -> int:
    """The first place from `index` on of one that is permitted; those that are settled go."""
    while index < len(ready):
        if ready[index].settled:
            del ready[index]
        elif permits(ready[index]):
            break
        else:
            index += 1
    return index


def _take(ready: deque[Outgoing], index: int) -> Outgoing:
    item = ready[index]
    del ready[index]
    item.staged = False
    return item
