"""Datagrams that wait for the next batch, shared fairly among their senders.

Rules of this file: pure.  A datagram's sender is who it says it is, from the host that it came from: neither is proved
here, so both together make a share, and what many pretend to be one takes from nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """At most `most` items of at most `most_bytes` in all; where it is full, the sender with most loses its last."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._senders: OrderedDict[Hashable, deque[tuple[T, int]]] = OrderedDict()
        self._count = self._bytes = 0
        self._heavy: Hashable = None
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def put(self, sender: Hashable, item: T, size: int) -> None:
        """Add an item, the last of its sender's."""
        self._senders.setdefault(sender, deque()).append((item, size))
        self._count += 1
        self._bytes += size
        while self._count > self._most or self._bytes > self._most_bytes:
            self._drop()

    def take(self, most: int) -> list[T]:
        """Up to `most` items, one of each sender in turn, each sender's in order."""
        taken: list[T] = []
        while self._senders and len(taken) < most:
            sender, items = self._senders.popitem(last=False)
            item, size = items.popleft()
            taken.append(item)
            self._count -= 1
            self._bytes -= size
            if items:
                self._senders[sender] = items  # at the end of the row
        return taken

    def _drop(self) -> None:
        sender = self._heaviest()
        items = self._senders[sender]
        _, size = items.pop()
        self._count -= 1
        self._bytes -= size
        self.dropped += 1
        if not items:
            del self._senders[sender]

    def _heaviest(self) -> Hashable:
        """The sender that loses: the one of last time while it has more than its share, so that this costs little."""
        if len(self._senders.get(self._heavy, ())) * len(self._senders) <= self._count:
            self._heavy = max(self._senders, key=lambda each: len(self._senders[each]))
        return self._heavy
