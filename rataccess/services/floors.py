"""Up to where a device's records had arrived when a message was sent: what its short record numbers are read against.

Rules of this file: values only.  A packet may be hours under way while others arrive: read against the floor of today, a
short number could be taken for another.  What was known before anything came that was sent later is what the sender
counted on.
"""

from __future__ import annotations

from collections import deque

_REMEMBERED = 64
"""Changes of the floor looked back on: what is later than that is not read, and comes again."""


class Floors:
    """One device's."""

    __slots__ = ("_known",)

    def __init__(self, highest: int, floor: int) -> None:
        """The highest sequence number that was seen, -1 for none, and the floor, both as of now."""
        self._known = deque([(highest, floor)], _REMEMBERED)

    def before(self, number: int) -> int | None:
        """The floor before any message with that sequence number or a higher one; `None` where that is not known."""
        return next((floor for highest, floor in reversed(self._known) if highest < number), None)

    def note(self, highest: int, floor: int) -> None:
        """So it is now."""
        last_highest, last_floor = self._known[-1]
        if floor == last_floor:
            return
        if highest == last_highest:
            self._known.pop()
        self._known.append((highest, floor))
