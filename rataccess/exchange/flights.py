"""The requests of one exchange that may still be answered.

Rules of this file: tokens, who is in flight, who is late; no message is built or read here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.exchange.lane import Lane
from rataccess.exchange.staging import Part
from rataccess.objects import Urgency
from rataccess.security import RequestIdentity, low_bits

MOST_LATE = 512
"""Overdue requests whose late answer is still taken; the oldest go first."""
LATEST = 247.0
"""Seconds after which an answer is not waited for any more (EXCHANGE_LIFETIME, RFC 7252 section 4.8.2); its token is free
again, so that tokens stay short.  What an operator took may be answered from its mailbox much later."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request that may still be answered."""

    token: bytes
    identity: RequestIdentity
    lane: Lane
    sent_at: float
    parts: list[Part]
    """Records, each with the byte range carried; 0, 0 for the whole."""
    live: bool = True
    """Whether it still counts for the window and the time-out."""
    flags: frozenset[str] = frozenset()
    timeout: float = 0.0
    """Seconds from having been sent to being overdue."""
    due_at: float = 0.0
    """When it is overdue (event loop's clock)."""
    gone: bool = False
    """Whether sending it has ended."""
    handed: bool = False
    """Whether the operator took it: what the service does not hold yet may still be on its way."""

    @property
    def urgent(self) -> bool:
        """Whether it carries what should arrive soon."""
        return any(item.record.urgency >= Urgency.PROMPT for item, _, _ in self.parts)

    @property
    def numbers(self) -> list[int]:
        """The records that it carries, or parts of them."""
        return [item.record.number for item, _, _ in self.parts]


class Flights:
    """By token."""

    def __init__(self, source: random.Random, overdue: Callable[[Flight, float], None]) -> None:
        """`overdue` is called with a flight and its time-out where that has passed."""
        self._random = source
        self._overdue = overdue
        self._timer: asyncio.TimerHandle | None = None
        """One for all flights: most are answered long before, and a timer for each would cost more than the look."""
        self._next = source.randrange(256)
        self._flights: dict[bytes, Flight] = {}
        self._late: dict[bytes, float] = {}
        self.launched: Callable[[Flight], None] = lambda flight: None
        """Is told of each request that is about to leave."""

    def __len__(self) -> int:
        return len(self._flights)

    def token(self) -> bytes:
        """One that is free, as short as can be: one byte while few requests wait (RFC 7252 section 5.3.1)."""
        for _ in range(256):
            self._next = (self._next + 1) & 0xFF
            token = bytes([self._next])
            if token not in self._flights:
                return token
        while (token := self._random.randbytes(2)) in self._flights:
            pass
        return token

    def launch(self, flight: Flight) -> None:
        """It is about to leave."""
        self._flights[flight.token] = flight
        self.launched(flight)
        flight.lane.in_flight += 1
        flight.lane.naming += "link" in flight.flags
        for item, _, _ in flight.parts:
            item.flights += 1

    def due(self, flight: Flight, timeout: float, stuck: float) -> None:
        """`flight` is overdue `timeout` seconds after it was `sent`, or `stuck` seconds after that from now, where sending
        does not end."""
        now = asyncio.get_running_loop().time()
        flight.timeout, flight.due_at = timeout, now + stuck + timeout
        self._look_at(now + timeout)

    def sent(self, flight: Flight, now: float) -> None:
        """`flight` left at `now` (event loop's clock)."""
        flight.sent_at, flight.due_at, flight.gone = now, now + flight.timeout, True
        if flight.live:
            self._look_at(flight.due_at)

    def _look_at(self, when: float) -> None:
        """Look for overdue flights at `when`, unless that is done earlier anyway."""
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for flight in list(self._flights.values()):
            if flight.live and flight.due_at <= now:
                self._overdue(flight, flight.timeout)
        if live := [flight.due_at for flight in self._flights.values() if flight.live]:
            self._look_at(min(live))

    def land(self, flight: Flight) -> None:
        """It no longer counts for window and time-out."""
        flight.live = False
        flight.lane.in_flight -= 1
        flight.lane.naming -= "link" in flight.flags
        for item, _, _ in flight.parts:
            item.flights -= 1

    def find(self, token: bytes) -> Flight | None:
        """The request with that token."""
        return self._flights.get(token)

    @property
    def slow(self) -> list[Flight]:
        """Those in compact form, whose answer may take long."""
        return [each for each in self._flights.values() if each.live and each.identity.compact is not None]

    def compact(self, low: int) -> list[Flight]:
        """The requests in compact form that an answer with those low bits may belong to, the newest first: nearly always
        one, but what an operator took long ago may still be answered."""
        wanted = [
            each
            for each in self._flights.values()
            if each.identity.compact is not None and low_bits(each.identity.sequence_number) == low
        ]
        return wanted[::-1]

    def over(self, lane: Lane) -> list[Flight]:
        """What is in flight over one link."""
        return [each for each in self._flights.values() if each.lane is lane and each.live]

    def answered(self, flight: Flight) -> None:
        """Its token is free again."""
        self._flights.pop(flight.token, None)
        self._late.pop(flight.token, None)

    def late(self, flight: Flight, until: float) -> None:
        """It has landed, and its answer is taken all the same up to `until` (monotonic)."""
        self._late[flight.token] = until
        while len(self._late) > MOST_LATE:
            self._drop(next(iter(self._late)))

    def prune(self, now: float) -> None:
        """Give up those that were late for too long."""
        for token in [token for token, until in self._late.items() if until <= now]:
            self._drop(token)

    def close(self) -> None:
        """Forget all; no timer is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flights.clear()
        self._late.clear()

    def _drop(self, token: bytes) -> None:
        del self._late[token]
        self._flights.pop(token, None)
