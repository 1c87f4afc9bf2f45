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

WHILE_BUSY = 5.0
"""Seconds between looks, while anything waits."""
WHILE_IDLE = 300.0
LOOK_AGAIN = 60.0
"""Seconds between fresh looks at records that no link could carry: a budget may have been filled since."""


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
            busy = self._look()
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WHILE_IDLE):
                        await self.needed.wait()
            await asyncio.sleep(WHILE_BUSY)
            if self._clock.monotonic() - rewound_at >= LOOK_AGAIN:
                rewound_at = self._clock.monotonic()
                self._exchange.staging.rewind()
            self._exchange.wake()

    def _look(self) -> bool:
        """Settle, resend and forget what is due; returns whether anything waits."""
        exchange, wall = self._exchange, self._clock.wall()
        try:
            if self._clock.wall_known():
                self._store.expire(wall)
            exchange.ledger.resend(wall)
            exchange.ledger.retry(self._clock.monotonic())
            exchange.flights.prune(self._clock.monotonic())
            return not exchange.ledger.drained
        except RataccessError as error:
            _log.warning("%s: housekeeping failed: %s", exchange.service, error)
            return True
