"""What the service reads short record numbers against, as far as a device can be sure of it (docs/wire.md, Short numbers).

Rules of this file: sequence numbers, floors and eras; no message is built or read here.

A service's store may be put back from an old copy while the device goes on.  Its floor is then lower than what it told the
device, and a short number counted from that would be filed under another.  So the device names the *era* of the floors that
it counts from, until the service has heard it; and it counts from nothing that the service has told within its last 16
requests only, for a service that has just been started reads on only where it knows one of them.
"""

from __future__ import annotations

WINDOW = 16
"""Sequence numbers that a request may be ahead of the last one known to an older run of the service, and still be read."""


class Footing:
    """One exchange's, in one run, which begins at least `WINDOW` sequence numbers after the one before: what was known when
    that sent its last requests is forgotten."""

    def __init__(self) -> None:
        self.floor: int | None = None
        """Up to where the service has acknowledged, as it said last."""
        self.era: bytes | None = None
        """Of the floors; `None` where the service tells none."""
        self.naming = False
        """Whether requests name the era: the service may not know that the device does."""
        self._since = 0
        """Requests from here on were sent in this era."""
        self._learnt = 0
        """Requests from here on were sent when the floor was known."""
        self._known: dict[int, int | None] = {}
        """Of the last requests by sequence number: the floor known when it was sent, or told in answer to it."""

    def ask(self) -> None:
        """The device has lost its memory: have the service tell its era, under a sequence number of its own."""
        self.era, self.naming = b"", True

    def sent(self, number: int) -> None:
        """A request takes that sequence number."""
        self._known[number] = self.floor
        if len(self._known) > WINDOW:
            del self._known[next(iter(self._known))]

    def lowest(self, upcoming: int, *, named: bool) -> int | None:
        """The lowest floor that the request with the sequence number `upcoming` can be read against; `None`: not known.

        `named`: it names the era, and is not read in another one.
        """
        if named or self.floor is None:
            return self.floor
        if self.naming:
            return None
        floors = [self.floor]
        for number, floor in self._known.items():
            if number >= upcoming - WINDOW:
                if floor is None:
                    return None
                floors.append(floor)
        return min(floors)

    def told(self, floor: int, answers: int | None, era: bytes | None, upcoming: int) -> bool:
        """The service has told `floor`, in answer to the request with the sequence number `answers`, or in a request of its
        own (`None`); `upcoming` is the device's next one.  Returns whether the service has forgotten what it told."""
        if answers in self._known:
            known = self._known[answers]
            self._known[answers] = floor if known is None else max(known, floor)
        if answers is None:
            if era != self.era:
                return False  # nobody knows how old it is
        elif answers < self._since:
            return False
        new = era is not None and era != self.era
        if answers is not None:
            self.naming = era is not None
        lower = self.floor is not None and floor < self.floor
        if lower and not new and (answers is None or answers < self._learnt):
            return False  # said before what is known already
        if new:
            self.era, self._since = era, upcoming
        if new or floor != self.floor:
            self.floor, self._learnt = floor, upcoming
        return lower

    def handed_over(self) -> None:
        """The operator was paid to deliver a request that names the era."""
        self.naming = False
