"""Objects that travel in parts: how much of each went over which link, for people.

Rules of this file: it is told and remembers the latest; nothing is decided by it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MOST = 16
"""Objects that are remembered."""
Span = tuple[int, int]


@dataclass(slots=True)
class Transfer:
    """One object."""

    number: int
    size: int
    bytes: dict[str, int] = field(default_factory=dict)
    """By link: bytes of the object that left, those that went again among them."""
    again: int = 0
    """Bytes that left although the service had told that it holds them."""
    held: int = 0
    """Bytes that the service told it holds; all of them once it is delivered."""
    spans: list[Span] = field(default_factory=list)


class Transfers:
    """Of one exchange, oldest first."""

    def __init__(self) -> None:
        self._transfers: OrderedDict[int, Transfer] = OrderedDict()

    def leaving(self, link: str, number: int, size: int, span: Span) -> Callable[[], None]:
        """A part is about to leave over `link`; returns what says that it has."""
        transfer = self._transfers.get(number)
        start, end = span
        again = sum(max(0, min(end, high) - max(start, low)) for low, high in transfer.spans) if transfer else 0

        def left() -> None:
            found = self._transfers.setdefault(number, Transfer(number, size))
            found.bytes[link] = found.bytes.get(link, 0) + end - start
            found.again += again
            while len(self._transfers) > MOST:
                self._transfers.popitem(last=False)

        return left

    def told(self, number: int, spans: Iterable[Span]) -> None:
        """The service holds these ranges, which do not overlap."""
        transfer = self._transfers.get(number)
        if transfer is not None:
            transfer.spans = list(spans)
            transfer.held = sum(high - low for low, high in transfer.spans)

    def delivered(self, numbers: Iterable[int]) -> None:
        """The service has these records, whole."""
        for number in numbers:
            transfer = self._transfers.get(number)
            if transfer is not None:
                self.told(number, [(0, transfer.size)])

    def plain(self) -> list[dict[str, object]]:
        """For other programs."""
        return [
            {
                "number": each.number,
                "size": each.size,
                "bytes": dict(each.bytes),
                "held": each.held,
                "again": each.again,
            }
            for each in self._transfers.values()
        ]
