"""What goes into one request: acknowledgements and control that are due, then records, most urgent first.

Rules of this file: it takes records out of staging and puts them into a draft; it sends nothing.  Nothing is sent for its
own sake: a request without records, probe or news for the service is not made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rataccess.exchange.lane import Lane
from rataccess.exchange.staging import Outgoing, Part
from rataccess.objects import Urgency
from rataccess.security import SecureContext
from rataccess.wire import ANSWER_LIMIT, BASE, LINK, PARTIAL, TIME, USUAL_ANSWER, MessageBuilder, fragment

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

LEAST_RANGE = 16
"""A byte range smaller than this is left for the next packet, unless it is the rest of an object."""
HEADS = ((64, 16, True), (8, 1, True), (2, 1, False), (0, 0, False))
"""What a message may say besides records, from most to least: ranges acknowledged (0 for no acknowledgement), unfinished
objects told of, and whether the link is named.  A small packet says less, so that records find room; the last says nothing
at all."""

Permits = Callable[[Lane, Outgoing, int], bool]


@dataclass(slots=True)
class Draft:
    """One request to be."""

    body: bytes = b""
    parts: list[Part] = field(default_factory=list)
    flags: frozenset[str] = frozenset()
    probe: bool = False
    """Whether it is sent although nothing waits."""


class Composer:
    """Builds drafts for one exchange, whose bodies `context` will protect."""

    def __init__(self, exchange: Exchange, context: SecureContext) -> None:
        self._exchange = exchange
        self._context = context

    def compose(self, lane: Lane, mtu: int, permits: Permits) -> Draft | None:
        """The next request for `lane`, of at most `mtu` bytes once protected; `None` where there is nothing to say.

        Raises `StoreError` where records cannot be read; nothing is taken out of staging then.
        """
        exchange = self._exchange
        news = exchange.ledger.news
        wanted = lane.probe or (bool(news) and exchange.in_use(lane.link) and exchange.free(lane.link))
        best: Draft | None = None
        for said, builder, least in self._heads(lane, mtu):
            parts, crowded = self._fill(lane, builder, permits, least)
            if parts or best is None:
                best = Draft(builder.finish(), parts, frozenset(said), lane.probe)
            if parts or not crowded:
                break
            wanted = wanted or "link" in said  # a packet so small that the link has to be named ahead of the records
        if best is None or not (best.parts or wanted):
            return None
        lane.probe = False
        news -= best.flags
        return best

    def acknowledgement(self, link: str) -> bytes:
        """The body of an answer to a request of the service's own, as it fits the link."""
        exchange = self._exchange
        hints = exchange.access.links[link].link.hints
        limit = max(0, (hints.mtu if hints else USUAL_ANSWER) - self._context.overhead - 8)  # a token of up to 8 bytes
        for ranges, partials, _ in HEADS:
            told = exchange.inflow.partial(partials)
            builder = MessageBuilder(
                limit,
                floor=None,
                now=exchange.wall(),
                acknowledged=exchange.inflow.received,
                control={PARTIAL: told} if told else {},
                most_ranges=ranges,
            )
            if builder.size <= limit:
                break
        return builder.finish()

    # --- the head ------------------------------------------------------------------------------------------------------

    def _heads(self, lane: Lane, mtu: int) -> Iterator[tuple[set[str], MessageBuilder, int]]:
        """What may be said, from most to least, as far as it fits, each with a builder that has said it, and with the
        least byte range worth a message of its own: where nothing more can be left out, any."""
        exchange, limit = self._exchange, mtu - self._context.overhead
        sizes = set[int]()
        for ranges, partials, named in HEADS:
            said = set(exchange.ledger.news)
            if named and not lane.told_link:
                said.add("link")
            if not ranges:
                said = set()
            builder = MessageBuilder(
                limit,
                floor=exchange.ledger.peer_floor,
                now=exchange.wall(),
                acknowledged=exchange.inflow.received if "acknowledge" in said else None,
                control=self._control(lane, mtu, said, partials),
                most_ranges=ranges,
            )
            if builder.size <= limit and builder.size not in sizes:
                sizes.add(builder.size)
                yield said, builder, LEAST_RANGE if ranges and builder.size else 1
            if not builder.size:
                return

    def _control(self, lane: Lane, mtu: int, said: set[str], partials: int) -> dict[int, Any]:
        exchange, control = self._exchange, dict[int, Any]()
        if exchange.ask_time:
            control[TIME] = None
        if "base" in said:
            control[BASE] = exchange.base()
        if partials and (partial := exchange.inflow.partial(partials)):
            control[PARTIAL] = partial
        if "link" in said:
            control[LINK] = lane.link
        if (said or partials) and not lane.told_link and mtu < USUAL_ANSWER:
            control[ANSWER_LIMIT] = mtu
        return control

    # --- records -------------------------------------------------------------------------------------------------------

    def _fill(self, lane: Lane, builder: MessageBuilder, permits: Permits, least: int) -> tuple[list[Part], bool]:
        """Put records in; returns them, and whether one found no room."""
        parts: list[Part] = []
        staging, overhead = self._exchange.staging, self._context.overhead

        def allowed(item: Outgoing) -> bool:
            return permits(lane, item, builder.size + overhead + len(item.record.body))

        try:
            for urgency in reversed(Urgency):
                place, plain = (0, 0), self._exchange.carries(lane, urgency)
                while True:
                    item, place = staging.pull(urgency, plain, allowed, place)
                    if item is None:
                        break
                    if not self._add(builder, item, parts, least):
                        staging.put_back([item])
                        return parts, True
                    if item.alone:
                        return parts, False
        except BaseException:
            staging.untake(parts)
            raise
        return parts, False

    def _add(self, builder: MessageBuilder, item: Outgoing, parts: list[Part], least: int) -> bool:
        """Add a record, or what fits of it; returns whether nothing of it is left to be sent."""
        if item.alone and builder.count:
            return False
        if item.missing is None:
            if builder.add(item.wire):
                parts.append((item, 0, 0))
                return True
            if builder.count:
                return False  # it may well fit whole into the next packet
        start, end = item.split()[0]
        size = min(builder.room(item.wire), end - start)
        worth = min(LEAST_RANGE if builder.count else least, end - start)
        if size < worth or not builder.add(fragment(item.wire, start, size)):
            self._unsplit(item)
            return False
        parts.append((item, start, start + size))
        rest = [(start + size, end)] if start + size < end else []
        item.missing = rest + item.split()[1:]
        return not item.missing

    def _unsplit(self, item: Outgoing) -> None:
        """Nothing of it has left in parts: another packet may take it whole."""
        if item.missing == [(0, len(item.record.body))] and not item.flights:
            item.missing = None
