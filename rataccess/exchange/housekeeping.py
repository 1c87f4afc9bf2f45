"""What an exchange looks after from time to time: deadlines, records due again, answers that never came, long silence.

Rules of this file: it runs beside the lanes, sends no packet itself, and survives what the store raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from rataccess.clock import Clock, ClockWatch
from rataccess.errors import RataccessError
from rataccess.store import Store
from rataccess.transport import Downlink

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

_log = logging.getLogger("rataccess.exchange")

AT_MOST = 5.0
"""Seconds between two looks, however much goes on: a deadline is told no later than that."""
WHILE_BUSY = 60.0
"""Seconds between looks while something waits and no deadline comes before.  Records that no link could carry are looked at
afresh then: a budget may have been filled since."""
WHILE_IDLE = 300.0
LOOK_AGAIN = WHILE_BUSY
TIME_AFTER = 60.0
"""Seconds after which the time is asked for over a link that is not free; again after an hour, then twice as long each time,
up to a day.  Without the time nothing expires, no budget knows its day, and records go undated."""
UNHEARD = 86_400.0
"""Seconds without a word of the service after which it is asked for what it has, where that is not free: it cannot, or does
not for long, speak unasked there, and the device may have nothing to tell it for months."""
UNHEARD_SESSION = 6 * 86_400.0
"""The same, once it was heard, where it reaches the device by its network for a week after that."""
AFTER_HANDOVER = 600.0
"""Seconds between questions for what operators took, where asking is free."""
OWED = 2 * 3600.0
"""Seconds that an acknowledgement waits there for something to ride on: after three hours, and again and again, the service
pays for sending once more what was not acknowledged."""


class Housekeeping:
    """One exchange's."""

    def __init__(self, exchange: Exchange, store: Store, clock: Clock) -> None:
        self._exchange = exchange
        self._store = store
        self._clock = clock
        self.needed = asyncio.Event()
        """Something waits now."""
        self._began_at = self._asked_at = 0.0
        self._asked_time = 0
        self._owed_since: float | None = None
        self._after_handover_at = float("-inf")
        self._watch = ClockWatch(clock)

    async def run(self) -> None:
        """Until cancelled."""
        rewound_at = self._began_at = self._clock.monotonic()
        while True:
            self.needed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look()):
                    await self.needed.wait()
                    await asyncio.sleep(AT_MOST)
            if self._clock.monotonic() - rewound_at >= LOOK_AGAIN:
                rewound_at = self._clock.monotonic()
                self._exchange.staging.rewind()
                self._exchange.wake()

    def _look(self) -> float:
        """Settle, resend and forget what is due; returns after how many seconds to look again."""
        exchange, wall = self._exchange, self._clock.wall()
        try:
            if self._clock.wall_known():
                self._store.expire(wall)
            if self._watch.was_set():  # that makes nothing due, and puts nothing off
                exchange.ledger.dated(wall)
            if exchange.ledger.resend(wall) + exchange.ledger.retry(self._clock.monotonic()):
                exchange.wake()
            exchange.flights.prune(self._clock.monotonic())
            self._ask(self._clock.monotonic())
            self._ask_for_free(self._clock.monotonic())
            if exchange.ledger.drained:
                return WHILE_IDLE
            exchange.staging.look_ahead()
        except RataccessError as error:
            _log.warning("%s: housekeeping failed: %s", exchange.service, error)
        deadlines = [item.record.expires_at for item in exchange.staging.items.values()]
        soonest = min((at - wall for at in deadlines if at is not None), default=WHILE_BUSY)
        return min(WHILE_BUSY, max(AT_MOST, soonest + 0.01))

    def _ask(self, now: float) -> None:
        """Have the service asked where it would not speak otherwise, and what the device needs of it is overdue."""
        exchange = self._exchange
        link = exchange.access.current
        owed = "acknowledge" in exchange.ledger.news
        self._owed_since = (now if self._owed_since is None else self._owed_since) if owed else None
        if link is None or exchange.free(link) or now < self._question_at(link) or not exchange.affords(link, None):
            return
        self._asked_at, self._owed_since = now, None
        self._asked_time += exchange.ask_time
        exchange.lane(link).asked_time = False  # the answer to what the operator took may have been lost
        exchange.probe(link)

    def _ask_for_free(self, now: float) -> None:
        """What an operator took is asked after over a link that costs nothing, rather than paid for again."""
        exchange, link = self._exchange, self._exchange.access.current
        due = exchange.ledger.handed and now >= self._after_handover_at
        if due and link is not None and exchange.answers_for_free(link):
            self._after_handover_at = now + AFTER_HANDOVER
            exchange.ledger.news.add("hello")
            exchange.lane(link).wake.set()

    def _question_at(self, link: str) -> float:
        """When the next question is due, if it is to go over `link` (event loop's clock)."""
        exchange = self._exchange
        if exchange.ask_time:
            asked = self._asked_time or exchange.lane(link).asked_time
            wait = min(UNHEARD, 3600.0 * 2 ** min(max(0, self._asked_time - 1), 10)) if asked else TIME_AFTER
            return max(self._asked_at, self._began_at) + wait
        hints = exchange.access.links[link].link.hints
        in_sessions = hints is not None and hints.downlink is Downlink.ON_SESSION
        if in_sessions and self._owed_since is not None:
            return self._owed_since + OWED
        answers = [each.last_answers.get(exchange.service) for each in exchange.access.links.values()]
        heard = max((at for at in answers if at is not None), default=self._began_at)
        wait = UNHEARD_SESSION if in_sessions and heard > self._began_at else UNHEARD
        return max(self._asked_at, heard) + wait
