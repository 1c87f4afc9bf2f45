"""What an exchange looks after from time to time: deadlines, records due again, answers that never came.

Rules of this file: it runs beside the lanes, spends no packet itself, and survives what the store raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import RataccessError
from rataccess.store import Store

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


class Housekeeping:
    """One exchange's."""

    def __init__(self, exchange: Exchange, store: Store, clock: Clock) -> None:
        self._exchange = exchange
        self._store = store
        self._clock = clock
        self.needed = asyncio.Event()
        """Something waits now."""

    async def run(self) -> None:
        """Until cancelled."""
        rewound_at = self._clock.monotonic()
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
            if exchange.ledger.resend(wall) + exchange.ledger.retry(self._clock.monotonic()):
                exchange.wake()
            exchange.flights.prune(self._clock.monotonic())
            if exchange.ledger.drained:
                return WHILE_IDLE
            exchange.staging.look_ahead()
        except RataccessError as error:
            _log.warning("%s: housekeeping failed: %s", exchange.service, error)
        deadlines = [item.record.expires_at for item in exchange.staging.items.values()]
        soonest = min((at - wall for at in deadlines if at is not None), default=WHILE_BUSY)
        return min(WHILE_BUSY, max(AT_MOST, soonest + 0.01))
