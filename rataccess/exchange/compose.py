"""What goes into one request: acknowledgements and control that are due, then records, most urgent first.

Rules of this file: it takes records out of staging and puts them into a draft; it sends nothing.  Nothing is sent for its
own sake: a request without records, probe or news for the service is not made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rataccess.exchange.lane import Lane
from rataccess.exchange.staging import Outgoing
from rataccess.objects import Urgency
from rataccess.security import SecureContext
from rataccess.transport import Hints
from rataccess.wire import ANSWER_LIMIT, BASE, LINK, PARTIAL, TIME, USUAL_ANSWER, MessageBuilder, fragment

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

LEAST_RANGE = 16
"""A byte range smaller than this is left for the next packet, unless it is the rest of an object."""

Permits = Callable[[Lane, Outgoing, int], bool]


@dataclass(slots=True)
class Draft:
    """One request to be."""

    body: bytes = b""
    parts: list[tuple[Outgoing, int, int]] = field(default_factory=list)
    flags: frozenset[str] = frozenset()


class Composer:
    """Builds drafts for one exchange, whose bodies `context` will protect."""

    def __init__(self, exchange: Exchange, context: SecureContext) -> None:
        self._exchange = exchange
        self._context = context

    def compose(self, lane: Lane, hints: Hints, permits: Permits) -> Draft | None:
        """The next request for `lane`, or `None` where there is nothing to say."""
        exchange = self._exchange
        said = exchange.news | (set() if lane.told_link else {"link"})
        builder = MessageBuilder(
            max(0, hints.mtu - self._context.overhead),
            floor=exchange.peer_floor,
            now=exchange.wall(),
            acknowledged=exchange.received if "acknowledge" in said else None,
            control=self._control(lane, hints, said),
        )
        parts = self._fill(lane, builder, permits)
        wanted = lane.probe or (bool(exchange.news) and exchange.in_use(lane.link) and exchange.free(lane.link))
        if not (parts or wanted):
            return None
        lane.probe = False
        exchange.news -= said
        return Draft(builder.finish(), parts, frozenset(said))

    def _control(self, lane: Lane, hints: Hints, said: set[str]) -> dict[int, Any]:
        exchange, control = self._exchange, dict[int, Any]()
        if exchange.ask_time:
            control[TIME] = None
        if "base" in said:
            control[BASE] = exchange.base()
        if partial := exchange.partial:
            control[PARTIAL] = partial
        if "link" in said:
            control[LINK] = lane.link
            if hints.mtu < USUAL_ANSWER:
                control[ANSWER_LIMIT] = hints.mtu
        return control

    def _fill(self, lane: Lane, builder: MessageBuilder, permits: Permits) -> list[tuple[Outgoing, int, int]]:
        parts: list[tuple[Outgoing, int, int]] = []
        staging, overhead = self._exchange.staging, self._context.overhead

        def allowed(item: Outgoing) -> bool:
            return permits(lane, item, builder.size + overhead + len(item.record.body))

        for urgency in reversed(Urgency):
            while (item := staging.pull(urgency, allowed)) is not None:
                if item.missing == [] or self._exchange.expired(item):
                    continue
                if item.missing is None and builder.add(item.wire):
                    parts.append((item, 0, 0))
                elif not self._add_range(builder, item, parts):
                    staging.put_back([item])
                    return parts
        return parts

    def _add_range(self, builder: MessageBuilder, item: Outgoing, parts: list[tuple[Outgoing, int, int]]) -> bool:
        """Add a byte range of an object too large for one packet; returns whether the packet may take still more."""
        room = builder.room(item.wire)
        if item.missing is None and builder.count:
            return False  # it may well fit whole into the next packet
        start, end = item.split()[0]
        size = min(room, end - start)
        if size < 1 or size < min(LEAST_RANGE, end - start):
            return False
        if not builder.add(fragment(item.wire, start, size)):
            return False
        parts.append((item, start, start + size))
        if start + size < end:
            item.missing = [(start + size, end), *item.split()[1:]]
            return False
        item.missing = item.split()[1:]
        return not item.missing
