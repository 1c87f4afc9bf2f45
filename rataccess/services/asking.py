"""What a service asks a device to tell again: schemas and names of queues without which it cannot file what it has.

Rules of this file: when to ask for what; pure, times are given, in seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection

from rataccess.wire import MOST_WANTED

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds from asking to asking again, doubled each time: what is on its way comes within the first, and a device tells the
same once an hour at most."""
_ROOM_FOR_EACH = 32
"""Bytes of an answer for each id asked for: it takes 4 of them."""


class Asking:
    """One device's."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[float, int]] = {}
        """When to ask again, and how often it was asked."""

    def due(self, wanted: Collection[int], limit: int, now: float) -> list[int]:
        """Which of `wanted` to ask for in an answer of `limit` bytes (0: no room); they count as asked for."""
        if not (wanted and limit):
            return []
        self._asked = {each: asked for each, asked in self._asked.items() if each in wanted}
        most = max(1, min(MOST_WANTED, limit // _ROOM_FOR_EACH))
        due = [each for each in sorted(wanted) if each not in self._asked or self._asked[each][0] <= now][:most]
        for each in due:
            _, times = self._asked.get(each, (0.0, 0))
            self._asked[each] = now + min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(times, 12)), times + 1
        return due
