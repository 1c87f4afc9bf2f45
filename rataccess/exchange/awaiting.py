"""Asking for replies that the service cannot send unasked.

Rules of this file: it decides when to ask, and has the exchange probe; what comes is read by `reception`.

Where the service reaches the device at any time it sends the reply by itself, and asking only covers for a lost packet:
rarely, and only where that is free.  Elsewhere (after an uplink, in a session that the device begins) asking is the only
way: soon at first, then after twice as long each time, so that a reply waits no longer than what is called took itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.transport import Downlink, Hints

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

SOONEST = 2.0
"""Seconds before the first question; what is called takes a moment itself."""
MOST_DOUBLINGS = 6
MOST_DOUBLINGS_PAID = 16
"""The same where a question costs something: a day's wait is asked for a dozen times."""
RARELY = 4.0
"""So many times longer between questions where the service sends unasked: its own repetitions (1 s, 2 s, 4 s) come first."""


class Awaiting:
    """The replies that one exchange awaits."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._awaited: dict[int, tuple[float, float | None]] = {}
        """Deadline of each reply, and the most that asking for it may cost."""
        self._count = 0
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, deadline: float, max_cost: float | None = None) -> Callable[[], None]:
        """A reply is awaited up to `deadline` (event loop's clock), and no question for it may cost more than `max_cost`;
        returns what says that it has come."""
        self._count += 1
        key = self._count
        self._awaited[key] = deadline, max_cost
        self._asked = 0  # the newest reply sets the pace
        self._plan()

        def came() -> None:
            if self._awaited.pop(key, None) is not None and not self._awaited:
                self.close()

        return came

    def close(self) -> None:
        """No timer is left."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        self.close()
        wait = self._pause()
        if wait < max(deadline for deadline, _ in self._awaited.values()) - self._clock.monotonic():
            self._timer = asyncio.get_running_loop().call_later(wait, self._ask)

    def _pause(self) -> float:
        hints = self._hints()
        first = max(SOONEST, 2 * hints.response_time) if hints else SOONEST
        if hints and hints.downlink is Downlink.ANYTIME:
            first *= RARELY
        current = self._exchange.access.current
        free = current is None or self._exchange.free(current)
        return first * float(2 ** min(self._asked, MOST_DOUBLINGS if free else MOST_DOUBLINGS_PAID))

    def _ask(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        self._awaited = {key: each for key, each in self._awaited.items() if each[0] > now}
        if not self._awaited:
            return
        current, hints = self._exchange.access.current, self._hints()
        if current is not None and hints is not None and self._worth_asking(current, hints):
            self._exchange.probe(current)
        self._asked += 1
        self._plan()

    def _worth_asking(self, link: str, hints: Hints) -> bool:
        if hints.downlink is Downlink.ANYTIME:
            return self._exchange.free(link)
        return hints.downlink is not Downlink.NONE and any(
            self._exchange.affords(link, max_cost) for _, max_cost in self._awaited.values()
        )

    def _hints(self) -> Hints | None:
        current = self._exchange.access.current
        standing = self._exchange.access.links.get(current) if current is not None else None
        return standing.link.hints if standing is not None else None
