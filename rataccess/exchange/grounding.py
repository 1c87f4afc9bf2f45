"""Which requests are given up before an answer has come, so that their records go again.

Rules of this file: it gives records back to staging; it sends nothing, and says nothing about links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rataccess.exchange.flights import LATEST, Flight

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange


class Grounding:
    """One exchange's."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def ground(self, flight: Flight) -> None:
        """The flight is given up: what it told is untold, and records that no other flight carries wait again."""
        exchange = self._exchange
        if flight.live:
            exchange.flights.land(flight)
            exchange.ledger.news |= flight.flags & {"acknowledge", "base", "hello"}
            exchange.staging.untake([part for part in flight.parts if not part[0].settled])
            exchange.flights.late(flight, exchange.monotonic() + LATEST)

    def outrun(self, answered: Flight) -> None:
        """In compact form an answer acknowledges all that came before: what was sent earlier over the same link, and is
        not acknowledged, was lost."""
        if answered.identity.compact is None:
            return
        for flight in self._exchange.flights.over(answered.lane):
            if flight.identity.compact is not None and flight.sent_at < answered.sent_at:
                self.ground(flight)

    def stop_waiting(self) -> None:
        """A link takes the records whose answers are quick: what was sent in compact form is not waited for any longer.

        What an operator is taking at this moment is, where it would only go to the same one again, and be paid for twice.
        """
        exchange = self._exchange
        current = exchange.access.current
        if current is None or exchange.compact(current):
            return
        for flight in exchange.flights.slow:
            if flight.gone or all(exchange.sender.link_for(item) != flight.lane.link for item, _, _ in flight.parts):
                self.ground(flight)
        exchange.wake()
