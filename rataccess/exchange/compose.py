"""What goes into one request: acknowledgements and control that are due, then records, most urgent first.

Rules of this file: it takes records out of staging and puts them into a draft; it sends nothing.  Nothing is sent for its
own sake: a request without records, probe or news for the service is not made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rataccess.exchange.filling import LEAST_RANGE, Filler, Filling
from rataccess.exchange.lane import Lane
from rataccess.exchange.staging import Part
from rataccess.security import SecureContext
from rataccess.template import TemplateBook
from rataccess.wire import (
    ANSWER_LIMIT,
    ASKED_ONLY,
    BASE,
    ERA,
    FULL,
    LINK,
    PACKET,
    PARTIAL,
    TIME,
    USUAL_ANSWER,
    MessageBuilder,
    Reach,
)

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

MOST_SPREAD = 0x7FFF
"""How far the highest number sent may be above the service's floor for the usual 16 bits to tell them apart."""
HEADS = ((64, 16, True), (8, 1, True), (2, 1, False), (0, 0, False))
"""What a message may say besides records, from most to least: ranges acknowledged (0 for no acknowledgement), unfinished
objects told of, and whether the link is named.  A small packet says less, so that records find room; the last says nothing
at all."""


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

    def __init__(self, exchange: Exchange, context: SecureContext, templates: TemplateBook | None) -> None:
        self._exchange = exchange
        self._context = context
        self._filler = Filler(exchange.staging, templates)
        if context.deaf:
            exchange.ledger.footing.ask()
        exchange.flights.launched = lambda flight: exchange.ledger.footing.sent(flight.identity.sequence_number)

    def compose(self, lane: Lane, mtu: int) -> Draft | None:
        """The next request for `lane`, of at most `mtu` bytes once protected; `None` where there is nothing to say.

        Raises `StoreError` where records cannot be read; nothing is taken out of staging then.
        """
        news, overhead = self._exchange.ledger.news, self.overhead(lane)
        wanted = lane.probe or self.has_news(lane)
        best: Draft | None = None
        for said, filling in self._heads(lane, mtu - overhead, mtu):
            parts, crowded = self._fill(lane, filling, overhead)
            if parts or best is None:
                best = Draft(filling.builder.finish(), parts, frozenset(said), lane.probe)
            if parts or not crowded:
                break
            wanted = wanted or "link" in said  # a packet so small that the link has to be named ahead of the records
        if best is None or not (best.parts or wanted):
            return None
        lane.probe = False
        news -= best.flags
        return best

    def has_news(self, lane: Lane) -> bool:
        """Whether there is something to tell the service that is worth a request of its own over that link."""
        exchange = self._exchange
        return exchange.ledger.urgent and exchange.in_use(lane.link) and exchange.free(lane.link)

    def overhead(self, lane: Lane) -> int:
        """What protection adds to a body over that link, in bytes."""
        compact = self._exchange.compact(lane.link)
        return self._context.compact_overhead if compact else self._context.overhead

    def packet_room(self, lane: Lane, mtu: int) -> int:
        """Bytes of the largest application packet in a message of `mtu` bytes; below 0 where none fits."""
        room = mtu - self.overhead(lane) - 2  # the map and its key; then a byte string (RFC 8949 section 3)
        return max(min(room - head, most) for head, most in ((1, 23), (2, 255), (3, 65_535)))

    def packet(self, data: bytes) -> bytes:
        """The body of a message with an application packet."""
        return MessageBuilder(len(data) + 5, floor=None, now=0.0, control={PACKET: data}).finish()

    def acknowledgement(self, link: str) -> bytes:
        """The body of an answer to a request of the service's own, as it fits the link."""
        exchange = self._exchange
        hints = exchange.access.links[link].link.hints
        # a token of up to 8 bytes, or another head
        limit = max(0, (hints.mtu if hints else USUAL_ANSWER) - self._context.overhead - 8)
        for ranges, partials, _ in HEADS:
            told = exchange.inflow.partial(partials)
            control: dict[int, Any] = {PARTIAL: told} if told else {}
            builder = MessageBuilder(
                limit,
                floor=None,
                now=exchange.wall(),
                acknowledged=exchange.inflow.received,
                control=control | ({FULL: True} if exchange.inflow.full else {}),
                most_ranges=ranges,
            )
            if builder.size <= limit:
                break
        return builder.finish()

    # --- the head ------------------------------------------------------------------------------------------------------

    def _heads(self, lane: Lane, limit: int, mtu: int) -> Iterator[tuple[set[str], Filling]]:
        """What may be said, from most to least, as far as it fits, each with a message that has said it.  Where nothing more
        can be left out, any byte range is worth one."""
        exchange = self._exchange
        sizes, naming, compact = set[int](), self._naming(lane), exchange.compact(lane.link)
        for ranges, partials, named in HEADS:
            said = set(exchange.ledger.news)
            if named and naming:
                said.add("link")
            if not ranges:
                said = set()
            elif not lane.told_path and not compact:
                said.add("path")
            control = self._control(lane, mtu, said, partials)
            if ranges and exchange.ledger.footing.naming and (era := exchange.ledger.footing.era) is not None:
                control[ERA] = era
                said.add("era")
            now, floor = exchange.wall(), self._floor(lane, "era" in said)
            reach = Reach(floor, exchange.ledger.highest, now) if compact else None  # for dense forms
            builder = MessageBuilder(
                limit,
                floor=floor,
                now=now,
                dense=reach,
                acknowledged=exchange.inflow.received if "acknowledge" in said else None,
                control=control,
                most_ranges=ranges,
            )
            if builder.size <= limit and builder.size not in sizes:
                sizes.add(builder.size)
                yield said, Filling(builder, LEAST_RANGE if ranges and builder.size else 1, floor, now, reach)
            if not builder.size:
                return

    def _naming(self, lane: Lane) -> bool:
        """Whether the link may be named: until the service has heard it, and where that costs in one request at a time.  In
        compact form never: the way in knows it."""
        if self._exchange.compact(lane.link):
            return False
        return not lane.told_link and (not lane.naming or self._exchange.free(lane.link))

    def _floor(self, lane: Lane, named: bool) -> int | None:
        """What numbers are told against, where the service can read a short one: nothing sent is so far ahead that one could
        be taken for another, and in compact form its window is known to be near.  `named`: the request names the era."""
        floor = self._exchange.ledger.footing.lowest(self._context.upcoming, named=named)
        if floor is None or self._exchange.ledger.highest - floor >= MOST_SPREAD:
            return None
        return floor if self._context.within_reach or not self._exchange.compact(lane.link) else None

    def _control(self, lane: Lane, mtu: int, said: set[str], partials: int) -> dict[int, Any]:
        exchange, control = self._exchange, dict[int, Any]()
        if exchange.ask_time and not (lane.asked_time and exchange.compact(lane.link)):
            control[TIME] = None
            said.add("time")
        if "base" in said:
            control[BASE] = exchange.base()
        if partials and (partial := exchange.inflow.partial(partials)):
            control[PARTIAL] = partial
        if exchange.inflow.full:
            control[FULL] = True
        if "link" in said:
            control[LINK] = lane.link
        if "path" in said and mtu < USUAL_ANSWER:
            control[ANSWER_LIMIT] = mtu
        if "path" in said and not exchange.listens(lane.link):
            control[ASKED_ONLY] = True
        return control

    # --- records ---------------------------------------------------------------------------------------------------------

    def _fill(self, lane: Lane, filling: Filling, overhead: int) -> tuple[list[Part], bool]:
        """Put records in; returns them, and whether one found no room."""
        sender = self._exchange.sender
        return self._filler.fill(
            filling,
            lambda urgency: sender.carries(lane, urgency),
            lambda item, size: sender.permits(lane, item, size + overhead),
        )
