"""The sending half of an exchange: one task for each link, which composes a message at the moment of sending.

Rules of this file: it asks policy, takes what the composer drafts, protects it and gives it to access; what could not be
sent waits again.  What comes of a request that has left is the business of `exchange` and `reception`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import BudgetExceeded, NotNow, PacketTooLarge, RataccessError, ServiceRefused, TransportBroken
from rataccess.exchange.compose import Draft
from rataccess.exchange.flights import Flight
from rataccess.exchange.housekeeping import LOOK_AGAIN
from rataccess.exchange.lane import URGENT_EXTRA, Lane
from rataccess.exchange.staging import Outgoing
from rataccess.objects import Urgency
from rataccess.policy import Decision, Demand
from rataccess.security import RequestIdentity, SecureContext
from rataccess.store import Store
from rataccess.transport import Handover, Packet

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

_log = logging.getLogger("rataccess.exchange")

STUCK = 2.0
"""Seconds that handing one packet to a radio may take before that is silence too: 1,460 bytes at 9,600 baud take 1.6 s."""
STUCK_SESSION = 600.0
"""The same where `send` returns only when the operator has the packet: satellite modems try for minutes."""
SOON = 15.0
"""Seconds that an urgent record waits for its answer in compact form: class A answers within 2 to 7 (RX1 and RX2)."""
WITH_ANOTHER = 600.0
"""Seconds that others wait for it: most devices have sent something else by then, whose answer acknowledges both."""
COMPACT = b"compact"
"""Before a sequence number: what a flight in compact form is found by, longer than any token."""


class Sender:
    """Sends for one exchange, through `context`."""

    def __init__(self, exchange: Exchange, context: SecureContext, store: Store, clock: Clock) -> None:
        self._exchange = exchange
        self._context = context
        self._store = store
        self._clock = clock
        self._demands = {urgency: Demand(exchange.service, urgency) for urgency in Urgency}

    async def run(self, lane: Lane) -> None:
        """Send over one link whenever it is woken; until cancelled."""
        while True:
            await lane.wake.wait()
            lane.wake.clear()
            try:
                while await self._send_one(lane):
                    pass
            except Exception as error:  # noqa: BLE001 - a lane that ended would be silence for ever
                level = logging.WARNING if isinstance(error, RataccessError) else logging.CRITICAL
                service = self._exchange.service
                _log.log(level, "%s over %s: sending failed: %s", service, lane.link, error, exc_info=True)
                lane.wait(lane.in_trouble(self._clock.monotonic()))

    async def _send_one(self, lane: Lane) -> bool:
        exchange = self._exchange
        staging, link = exchange.staging, exchange.access.links[lane.link].link
        if not link.ready or link.hints is None:
            return False
        if not (lane.probe or staging.waiting or exchange.composer.has_news(lane)):
            return False
        if (pause := lane.pause_left(self._clock.monotonic())) > 0:
            lane.wait(pause)
            return False
        urgency = staging.top()
        urgent = urgency is not None and urgency >= Urgency.PROMPT
        if (rest := exchange.access.rest_left(lane.link, exchange.service, urgent=urgent)) > 0:
            lane.wait(rest)
            return False
        if not lane.open_for(urgent, self._extra(lane)):
            return False
        staging.unfinished = False
        draft = exchange.composer.compose(lane, self._room(lane, link.hints.mtu))
        if draft is None:
            if staging.unfinished:
                lane.wait(0.05)  # there is more to look through, and others want the event loop too
            return False
        return await self._launch(lane, draft)

    def _extra(self, lane: Lane) -> int:
        """How many urgent requests may be in flight besides others: where each is dear and none is answered, one by one."""
        if not (lane.silent and self._exchange.frugal(lane.link)):
            return URGENT_EXTRA
        return 0 if any(flight.urgent for flight in self._exchange.flights.over(lane)) else 1

    def _room(self, lane: Lane, mtu: int) -> int:
        return self._exchange.access.room(lane.link, mtu if lane.limit is None else min(lane.limit, mtu))

    # --- policy --------------------------------------------------------------------------------------------------------

    def permits(self, lane: Lane, item: Outgoing, size: int) -> bool:
        """Whether `item`, for whose urgency `carries` has spoken where it does not restrict the links itself, may go over
        this lane's link now, in a packet of `size` bytes."""
        record = item.record
        if record.expires_at is not None and self._expired(item):
            return False
        if not item.bound:
            return True
        decision = self._decide(item, size)
        if decision.link is None and record.links:
            self._exchange.access.wanted(record.links)
        return decision.link == lane.link

    def carries(self, lane: Lane, urgency: Urgency) -> bool:
        """Whether policy gives this lane's link records of that urgency which do not restrict the links themselves."""
        return self.chosen(urgency) == lane.link

    def chosen(self, urgency: Urgency) -> str | None:
        """The link that policy gives them."""
        return self._exchange.access.decide(self._demands[urgency]).link

    def link_for(self, item: Outgoing) -> str | None:
        """The link that policy gives `item` now."""
        return self._decide(item).link

    def hopeless(self, item: Outgoing) -> bool:
        """Whether no link may carry `item` now."""
        return self.link_for(item) is None

    def _decide(self, item: Outgoing, size: int | None = None) -> Decision:
        record = item.record
        needed = None if record.max_cost is None else size
        demand = Demand(self._exchange.service, record.urgency, needed, record.max_cost, record.links)
        return self._exchange.access.decide(demand)

    def _expired(self, item: Outgoing) -> bool:
        """Whether it is too late to send `item`; housekeeping settles it."""
        expires_at = item.record.expires_at
        return expires_at is not None and self._clock.wall_known() and expires_at <= self._clock.wall()

    # --- launching -----------------------------------------------------------------------------------------------------

    async def _launch(self, lane: Lane, draft: Draft) -> bool:
        try:
            await self._fly(lane, draft)
        except RataccessError as error:
            return self._not_sent(lane, error)
        return True

    async def _fly(self, lane: Lane, draft: Draft) -> Flight:
        """Protect and send; returns what may be answered.

        Where it did not leave, everything waits again and the error is raised.
        """
        exchange, flight = self._exchange, None
        standing = exchange.access.links[lane.link]
        hints = standing.link.hints
        try:
            token, data, identity = self._protect(lane, draft.body)
            flight = Flight(token, identity, lane, self._clock.monotonic(), draft.parts, flags=draft.flags)
            exchange.flights.launch(flight)
            exchange.ledger.highest = max(exchange.ledger.highest, *flight.numbers, 0)
            stuck = STUCK_SESSION if hints and hints.acknowledges_handover else STUCK
            exchange.flights.due(flight, self._patience(flight, standing.timer.timeout), stuck)
            leaving = [
                exchange.transfers.leaving(lane.link, item.record.number, len(item.record.body), (start, end))
                for item, start, end in draft.parts
                if end
            ]
            handover = await exchange.access.send(lane.link, Packet(data, exchange.service))
            for part in leaving:
                part()
        except BaseException:
            lane.probe = lane.probe or draft.probe
            self._abandon(flight, draft)
            raise
        self._sent(flight, handover)
        return flight

    def _protect(self, lane: Lane, body: bytes) -> tuple[bytes, bytes, RequestIdentity]:
        """What the flight is found by, the packet, and what its answer is read with."""
        exchange = self._exchange
        if exchange.compact(lane.link):
            data, identity = self._context.protect_compact(body, exchange.service)
            return COMPACT + identity.sequence_number.to_bytes(5, "big"), data, identity
        token = exchange.flights.token()
        data, identity = self._context.protect_request(body, token=token, message_id=exchange.message_id())
        return token, data, identity

    def _patience(self, flight: Flight, usual: float) -> float:
        """Seconds after which an answer to `flight` is overdue, `usual` where nothing is against asking again.

        Where air time is dear, the answer to a later request may still tell that it arrived, and does so soonest.
        """
        if not self._exchange.compact(flight.lane.link):
            return usual
        return max(2 * usual, SOON) if flight.urgent else max(2 * usual, WITH_ANOTHER)

    def _abandon(self, flight: Flight | None, draft: Draft) -> None:
        """It never left."""
        exchange = self._exchange
        if flight is None or flight.live:
            if flight is not None:
                exchange.flights.land(flight)
                exchange.flights.answered(flight)
            exchange.ledger.news |= draft.flags & {"acknowledge", "base", "hello"}
            exchange.staging.untake([part for part in draft.parts if not part[0].settled])

    def _not_sent(self, lane: Lane, error: RataccessError) -> bool:
        """What could not be sent waits again; returns whether to try at once."""
        exchange, now = self._exchange, self._clock.monotonic()
        if isinstance(error, PacketTooLarge) and error.limit < min(error.size, lane.limit or error.size):
            lane.limit = max(0, error.limit)  # smaller each time: this ends
            return True
        if isinstance(error, ServiceRefused):
            exchange.refused(lane.link)
        elif isinstance(error, BudgetExceeded):  # policy gives the link nothing more; a budget is looked at again soon
            lane.shut_until = now + min(LOOK_AGAIN, error.retry_after)
        elif isinstance(error, NotNow):
            lane.shut_until = now + max(0.01, error.retry_after)
        elif exchange.access.links[lane.link].link.ready:
            _log.warning("%s over %s: not sent: %s", exchange.service, lane.link, error)
            lane.in_trouble(now)
        exchange.wake()
        return False

    def _sent(self, flight: Flight, handover: Handover | None) -> None:
        exchange, flight.lane.troubles = self._exchange, 0
        if items := [item for item, _, _ in flight.parts if not item.settled]:
            # only of a record that a newer one may replace does it matter whether it ever left
            if marked := [item.record.number for item in items if item.record.replaces is not None]:
                self._store.mark_sent(exchange.service, marked)
            exchange.observer.records_sent([item.record.number for item in items])
        if not flight.live:
            return  # answered already, or given up while the radio was stuck
        exchange.flights.sent(flight, self._clock.monotonic())
        if handover is not None:
            flight.lane.accepted()
            flight.lane.told(flight.flags)
            exchange.flights.land(flight)
            exchange.flights.late(flight, float("inf"))
            exchange.observer.records_handed_over(exchange.ledger.hand_over(flight, self._clock.wall()))
        elif self._should_have_been_accepted(flight):
            exchange.overdue(flight, 0.0)

    def _should_have_been_accepted(self, flight: Flight) -> bool:
        hints = self._exchange.access.links[flight.lane.link].link.hints
        return hints is not None and hints.acknowledges_handover

    # --- an application's own packets ----------------------------------------------------------------------------------

    def packet_room(self) -> int | None:
        """See `Exchange.packet_room`."""
        lane = self._in_use()
        hints = self._exchange.access.links[lane.link].link.hints if lane else None
        if lane is None or hints is None:
            return None
        return max(0, self._exchange.composer.packet_room(lane, self._room(lane, hints.mtu)))

    async def send_packet(self, data: bytes) -> None:
        """See `Exchange.send_packet`."""
        lane, room = self._in_use(), self.packet_room()
        if lane is None or room is None:
            raise TransportBroken(
                "no link is up: the packet was not sent and is not kept; wait for one, see `on_hints`"
            )
        if len(data) > room:
            raise PacketTooLarge(len(data), room)
        if (pause := lane.shut_until - self._clock.monotonic()) > 0:
            raise NotNow(f"link {lane.link!r} takes nothing now", pause)
        flight = await self._fly(lane, Draft(self._exchange.composer.packet(data)))
        if flight.identity.compact is not None:
            self._exchange.grounding.ground(flight)  # where air time is dear a service does not answer it

    def _in_use(self) -> Lane | None:
        current = self._exchange.access.current
        standing = self._exchange.access.links.get(current) if current is not None else None
        return self._exchange.lane(standing.name) if standing is not None and standing.link.ready else None
