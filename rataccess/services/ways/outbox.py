"""Messages to devices that a provider takes one at a time, and charges for.

Rules of this file: waiting, order, and giving up; how one message is delivered is the kind's.  One device's full queue holds
up no other device.  What may have been charged for is not sent again: the service's core notices that it did not arrive.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from rataccess.link.backoff import exponential
from rataccess.services.airway import Airway
from rataccess.services.ways.base import service_of

MOST_FOR_ONE = 8
"""Messages that wait for one device; the oldest are dropped: what they acknowledge, a later one does as well."""
MOST_WAITING = 1024
FORGOTTEN = 86_400.0
"""Seconds after which a message is given up."""
LEAST = 60.0
"""Seconds within which nothing is taken for made anew."""
SOON, LATER = (30.0, 3600.0), (900.0, 3600.0)
"""Seconds before the next try: the first, and the longest."""


class Outcome(enum.Enum):
    """What became of one try."""

    DONE = "done"
    REFUSED = "refused"
    """Trying again is useless."""
    SOON = "soon"
    """The provider is in trouble, or cannot be reached."""
    LATER = "later"
    """Somebody has to do something first: the device fetch what waits, a person pay."""
    UNKNOWN = "unknown"
    """It may have been taken."""


@dataclass(eq=False, slots=True)
class _Waiting:
    airway: Airway
    data: bytes
    since: float
    due: float
    tries: int = 0


class Outbox:
    """Delivers while `run` runs; `put` at any time."""

    def __init__(
        self,
        deliver: Callable[[Airway, bytes], Awaitable[Outcome]],
        count: Callable[[str], None],
        random: Random,
        repeats_after: float,
    ) -> None:
        """`repeats_after`: seconds after which the services make a message anew of what was not acknowledged."""
        self._repeats_after = max(LEAST, repeats_after)
        self._deliver, self._count, self._random = deliver, count, random
        self._waiting: list[_Waiting] = []
        self._told = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, airway: Airway, data: bytes) -> None:
        """Have `data` delivered, after what waits for the device already.

        What has waited for so long that its service has made it anew since gives way to that: both would be charged for.
        """
        now = asyncio.get_running_loop().time()
        for each in [each for each in self._waiting if self._is_repeated(each, airway, data, now)]:
            self._waiting.remove(each)
            self._count("answers that a newer one replaced")
        mine = [each for each in self._waiting if each.airway.place == airway.place]
        for each in (
            mine[: max(0, len(mine) + 1 - MOST_FOR_ONE)] or self._waiting[: len(self._waiting) + 1 - MOST_WAITING]
        ):
            self._drop(each)
        self._waiting.append(_Waiting(airway, data, now, now))
        self._told.set()

    def _is_repeated(self, each: _Waiting, airway: Airway, data: bytes, now: float) -> bool:
        same = each.airway.place == airway.place and service_of(each.data) is service_of(data)
        return same and now - each.since >= self._repeats_after

    def _drop(self, each: _Waiting) -> None:
        self._waiting.remove(each)
        self._count("answers that a way in lost")

    async def run(self) -> None:
        """Deliver, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._told.clear()
            first = self._first(loop.time())
            if first is None or first.due > loop.time():
                await self._wait(None if first is None else first.due - loop.time())
                continue
            outcome = await self._deliver(first.airway, first.data)
            if first in self._waiting:  # it may have been dropped meanwhile
                self._settle(first, outcome, loop.time())

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            pass

    def _first(self, now: float) -> _Waiting | None:
        """Of each device's oldest, the one that is due first."""
        for each in [each for each in self._waiting if now - each.since > FORGOTTEN]:
            self._drop(each)
        oldest: dict[str, _Waiting] = {}
        for each in self._waiting:
            oldest.setdefault(each.airway.place, each)
        return min(oldest.values(), key=lambda each: each.due, default=None)

    def _settle(self, each: _Waiting, outcome: Outcome, now: float) -> None:
        match outcome:
            case Outcome.DONE:
                self._waiting.remove(each)
                self._count("answers by a way in")
            case Outcome.REFUSED:
                self._waiting.remove(each)
                self._count("answers that a provider refused")
            case Outcome.UNKNOWN:
                self._waiting.remove(each)
                self._count("answers of unknown outcome")
            case Outcome.SOON | Outcome.LATER:
                each.tries += 1
                first, longest = SOON if outcome is Outcome.SOON else LATER
                each.due = now + exponential(each.tries, first, longest, self._random)
                self._count("answers that a provider takes later")
