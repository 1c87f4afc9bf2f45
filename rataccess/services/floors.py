"""Up to where a device's records had arrived when a message was sent, and whether the device counted from there: what its
short record numbers are read against (docs/wire.md, Short numbers).

Rules of this file: values only.  A packet may be hours under way while others arrive: read against the floor of today, a
short number could be taken for another.  What was known before anything came that was sent later is what the sender
counted on.  And the store may have been put back from an old copy, so that the sender counts on more than is known here:
only what the device has heard in this *era* proves that it was not.
"""

from __future__ import annotations

import secrets
from collections import deque

_REMEMBERED = 64
"""Changes of the floor looked back on: what is later than that is not read, and comes again."""
WINDOW = 16
"""A request is read although nobody knows what its device has heard in this era, where it is so near to one of which that
was known in an earlier one: devices count from nothing that they were told since."""
_ERA_BYTES = 3
"""Two eras are the same by chance in one of 16 million; then a device's short numbers are misread only if its store was put
back from an old copy as well."""


class Era:
    """The time in which a process has the store without a break: nobody puts an old copy back within one."""

    def __init__(self) -> None:
        self.name = secrets.token_bytes(_ERA_BYTES)

    def end(self) -> None:
        """The store was out of reach, or has forgotten something: another era begins."""
        self.name = secrets.token_bytes(_ERA_BYTES)


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


class Trust:
    """From which of one device's requests on its short numbers can be read."""

    __slots__ = ("_era", "_heard", "_since", "_sure_before", "sure")

    def __init__(self, era: Era) -> None:
        self._era = era
        self._sure_before = -WINDOW - 1
        self._heard = b""
        """The era that `_since` is of."""
        self._since = 0
        self.sure: int | None = None
        """The highest request that was sent, as is known, on nothing that was not in the store: kept with it, for the
        next era."""

    def load(self, sure: int | None) -> None:
        """Go on from what the store keeps; what was sent before `sure` and comes only now, no floor is known for."""
        self.sure = sure
        self._sure_before = -WINDOW - 1 if sure is None else sure

    def since(self) -> int | None:
        """The first request that is known to have been sent when the device had heard this era; `None`: none yet."""
        return self._since if self._heard == self._era.name else None

    def hears(self, number: int, named: object) -> bool:
        """The request `number` names that era (`None`: none; empty: it asks).

        Returns whether the device counts on what was told in this one, or in one after it."""
        if named == b"":
            self._heard = b""  # it has lost its memory, and asks
            return False
        since = self.since()
        if named == self._era.name and (since is None or number < since):
            self._heard, self._since = self._era.name, number
        since = self.since()
        fresh = since is not None and number >= since
        if fresh:
            self.sure = number if self.sure is None else max(self.sure, number)
        return fresh

    def reads(self, number: int) -> bool:
        """Whether the short numbers of the request `number` can be read, should it name no era."""
        since = self.since()
        if since is not None and number >= since:
            return True
        return number <= self._sure_before + WINDOW
