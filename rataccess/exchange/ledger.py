"""What became of records: acknowledged, refused, handed over, settled.

Rules of this file: it applies what answers say to staging and store; it sends nothing and knows no token.  A record is
settled by the service's acknowledgement, over whatever link that comes, and stays in memory until the store has announced
that it is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rataccess.access import Access, Kind
from rataccess.exchange.flights import Flight
from rataccess.exchange.footing import Footing
from rataccess.exchange.staging import Outgoing, Staging
from rataccess.exchange.transfers import Transfers
from rataccess.numbers import NumberSet
from rataccess.objects import MAX_OBJECT_BYTES, ReceiptState, Service
from rataccess.store import Store

RESEND_AFTER = 6 * 3600.0
"""Seconds that a record which the operator took (handover) waits for its acknowledgement."""
MOST_HANDED = 4096
"""Records handed over in an earlier run that an acknowledgement can settle before they are due again."""
ASIDE = 3600.0
"""Seconds that a record waits which the service refused although it travelled alone: a newer service may take it."""
Span = tuple[int, int]


class Ledger:
    """One service's."""

    def __init__(self, service: Service, store: Store, access: Access, staging: Staging, transfers: Transfers) -> None:
        self._service = service
        self._store = store
        self._access = access
        self._staging = staging
        self._transfers = transfers
        self._settling: set[int] = set()
        self._aside: dict[int, float] = {}
        self.handed: dict[int, int] = {}
        """Records that the operator has, by number: the queue id to be confirmed with them, or 0."""
        self.footing = Footing()
        self.highest = store.last_number(service)
        """No record with a higher number was ever sent."""
        self._parts: dict[int, list[Span]] = {}
        """What the service holds of records that the operator has whole, and that are to go again soon."""
        self._told = NumberSet()
        """What the service has acknowledged, as far as it was looked at."""
        self.news: set[str] = {"hello"}
        """What the service is to be told, of `hello`, `acknowledge`, `base`: reason enough for a request that is free."""
        self.patient = False
        """Whether an acknowledgement may wait a moment for a request that goes anyway."""
        self._noted_bare = False
        self.delivered: Callable[[list[int]], None] = lambda numbers: None
        """Is told what has arrived at the service."""
        for record in store.due_for_resend(service, float("inf"), MOST_HANDED):
            self.handed[record.number] = 0 if record.queue_known else record.queue_id

    @property
    def peer_floor(self) -> int | None:
        """Up to where the service has acknowledged, as it said last."""
        return self.footing.floor

    @property
    def urgent(self) -> bool:
        """Whether the service is to be told something that does not wait."""
        return bool(self.news) and not (self.patient and self.news == {"acknowledge"})

    @property
    def drained(self) -> bool:
        """Whether every record of this service is settled, and the store has said so."""
        if self._settling or self._staging.items:
            return False
        return not any(
            records for (service, _), (records, _) in self._store.depth().items() if service is self._service
        )

    def settled(self, numbers: Sequence[int]) -> None:
        """The store has written down that these records are settled: delivered, expired, dropped or replaced."""
        self._settling.difference_update(numbers)
        self._staging.settled(numbers)
        for number in numbers:
            self.handed.pop(number, None)
            self._aside.pop(number, None)
            self._parts.pop(number, None)

    # --- acknowledgements ----------------------------------------------------------------------------------------------

    def acknowledged(
        self, numbers: NumberSet, flight: Flight | None, link: str, *, era: bytes | None = None, upcoming: int = 0
    ) -> None:
        """The service says which numbers have arrived, in answer to `flight` or unasked; `era` is what its floors are of,
        where it tells, and `upcoming` the sequence number of the next request."""
        answers = None if flight is None else flight.identity.sequence_number
        if self.footing.told(numbers.floor, answers, era, upcoming):
            self._access.note(Kind.SERVICE, f"the {self._service} service has forgotten what it acknowledged")
            self.news.add("base")
            self._told = NumberSet()
        arrived = [number for number in (flight.numbers if flight else ()) if number in numbers]
        self.deliver([*arrived, *self._news_of(numbers)], link)
        gaps = next(numbers.ranges(), None) is not None
        if gaps and numbers.floor == self.peer_floor and numbers.floor + 1 < self._store.base(self._service):
            self.news.add("base")  # a hole that nothing will ever fill: expired, dropped or replaced records

    def _news_of(self, numbers: NumberSet) -> Iterator[int]:
        """What is acknowledged for the first time, of the records that are here or with the operator: whatever request
        brought them, and although its own answer may have been lost."""
        for start, end in numbers.beyond(self._told):
            for known in (self._staging.items, self.handed):
                if end - start <= len(known):
                    yield from [number for number in range(start, end) if number in known]
                else:
                    yield from [number for number in known if start <= number < end]
        self._told.update(numbers)

    def deliver(self, numbers: Iterable[int], link: str) -> None:
        """These have arrived at the service, which told so over `link`."""
        done = []
        for number in sorted(set(numbers)):
            item, queue_id = self._staging.items.get(number), self.handed.pop(number, None)
            if (item is None and queue_id is None) or (item is not None and item.settled):
                continue
            if item is not None:
                item.settled = True
                queue_id = item.wire.queue_id if item.wire.queue is not None else queue_id
            if queue_id:
                self._store.confirm_queue(self._service, queue_id)
                self._staging.name_known(queue_id)
            done.append(number)
        if done:
            self._access.links[link].traffic.records += len(done)
            self._settling.update(done)
            self._transfers.delivered(done)
            cheap = self._access.links[link].free  # elsewhere a power cut would have it paid for twice
            self._store.settle(self._service, done, ReceiptState.DELIVERED, patient=cheap)
            self.delivered(done)

    def taken(self, flight: Flight, link: str, live: bool) -> None:
        """The service answered `flight` with a bare 2.04: it acknowledges nothing, and took the message as a whole.

        That is all that will ever be known of its records: they count as delivered; one that went in parts does once each
        part was so answered.
        """
        if live and any(end for _, _, end in flight.parts) and not self._noted_bare:
            self._noted_bare = True
            text = f"the {self._service} service acknowledges no records: one that goes in parts counts as delivered"
            self._access.note(Kind.SERVICE, f"{text} once each part was answered")
        whole = [
            item.record.number
            for item, _, end in flight.parts
            if not end or (live and not item.missing and not item.flights and not item.staged)
        ]
        self.deliver(whole, link)

    def left_over(self, flight: Flight, told: object, live: bool) -> bool:
        """Have parts of an answered flight wait again that the service does not hold; returns whether it took any.

        `told` is control 2 of the answer: the byte ranges that the service holds of unfinished objects.
        """
        held = told if isinstance(told, dict) else {}
        took, again = not flight.parts, []
        for number, edges in held.items():
            other = self._staging.items.get(number) if isinstance(number, int) else None
            if other is not None and (spans := _spans(edges, len(other.record.body))):
                other.told = True
                other.told_of(spans)
                self._transfers.told(number, spans)
        for item, start, end in flight.parts:
            if item.settled:
                took = True
                continue
            if flight.handed:
                continue
            spans = _spans(held.get(item.record.number), len(item.record.body))
            if end:
                item.told = bool(spans)
                item.told_of(spans)
            has_it = bool(end) and any(low <= start and end <= high for low, high in spans)
            took = took or has_it
            if item.flights == 0 and end and spans:
                item.hold(spans)
                again.append(item)
            elif live and not has_it:
                if end:
                    item.give_back(start, end)
                if end or item.flights == 0:
                    again.append(item)
        self._staging.put_back(again)
        return took

    # --- refusals ------------------------------------------------------------------------------------------------------

    def refused(self, flight: Flight, now: float) -> None:
        """The service took the message for genuine and refused it whole: find the record that it cannot read.

        Each goes alone from now on; one that was alone already is set aside, so that it holds up no other.
        """
        items = [item for item, _, _ in flight.parts if not item.settled]
        if len(items) == 1 and items[0].alone:
            number = items[0].record.number
            self._aside[number] = now + ASIDE
            text = f"the {self._service} service cannot read record {number}; set aside, to be tried again in an hour"
            self._access.note(Kind.SERVICE, text)
            return
        for item in items:
            item.alone, item.packable = True, False
        self._staging.untake([part for part in flight.parts if not part[0].settled])

    def retry(self, now: float) -> int:
        """Records that were set aside for long enough wait again; returns how many."""
        due = [number for number, until in self._aside.items() if until <= now]
        for number in due:
            del self._aside[number]
        items = [self._staging.items[number] for number in due if number in self._staging.items]
        for item in items:
            item.missing = None
            item.told_of(())
        self._staging.put_back(items)
        return len(items)

    # --- handover ------------------------------------------------------------------------------------------------------

    def hand_over(self, flight: Flight, now: float) -> list[int]:
        """The operator took a landed flight (`now` in wall seconds): which records it has whole by now."""
        flight.handed = True
        if "era" in flight.flags:
            self.footing.handed_over()
        whole: dict[int, Outgoing] = {
            item.record.number: item
            for item, _, end in flight.parts
            if not item.settled and item.flights == 0 and (not end or not item.missing)
        }
        for number, item in whole.items():
            self.handed[number] = item.wire.queue_id if item.wire.queue is not None else 0
        self._staging.drop(whole)
        if whole:
            self._store.hand_over(self._service, list(whole), now + RESEND_AFTER)
        return list(whole)

    def incomplete(self, told: object, due: float) -> None:
        """The service, which answers at once, holds only parts of records that the operator has had whole (`told`:
        control 2): what it lacks of them goes again at `due` (wall seconds)."""
        numbers = [number for number in told if number in self.handed] if isinstance(told, dict) else []
        for number in numbers:
            self._parts[number] = _spans(told[number], MAX_OBJECT_BYTES)  # type: ignore[index]
        if numbers:
            self._store.hand_over(self._service, numbers, due)

    def resend(self, now: float) -> int:
        """Have what was handed over long ago (`now` in wall seconds) sent again, over whatever link there is; returns how
        many records that are."""
        due = self._store.due_for_resend(self._service, now, 64)
        for record in due:
            self._staging.again(record)
            item, spans = self._staging.items[record.number], self._parts.pop(record.number, ())
            if spans and not item.flights and spans[-1][1] <= len(record.body):
                item.told = True
                item.told_of(spans)
                item.hold(spans)
            self._store.hand_over(self._service, [record.number], now + RESEND_AFTER)
        return len(due)

    def dated(self, now: float) -> None:
        """The wall clock was put right: what the operator has is due as long from now as it was."""
        if self.handed:
            self._store.hand_over(self._service, list(self.handed), now + RESEND_AFTER)


def _spans(told: object, size: int) -> list[Span]:
    """Byte ranges as a peer told them, or none where they cannot be."""
    if not isinstance(told, list) or len(told) % 2:
        return []
    if any(type(edge) is not int or not 0 <= edge <= size for edge in told):
        return []
    return [(low, high) for low, high in zip(told[::2], told[1::2], strict=True) if low < high]
