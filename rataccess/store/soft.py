"""What is to be written with the next group commit, and already counts for readers.

Rules of this file: plain containers.  Two of them exist at a time: one that callers fill, one that is being committed; a
failed commit folds the second back into the first, so that a full disk loses nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from rataccess.objects import ReceiptState, Service
from rataccess.store.schema import SERVICES

V = TypeVar("V")
_PIECE = 64
"""Records settled at once on a full disk: each may change a page of its own."""


def _of_each() -> dict[Service, dict[int, float]]:
    return {service: {} for service in SERVICES}


def _parts(whole: dict[int, V]) -> Iterator[dict[int, V]]:
    numbers = sorted(whole)
    for start in range(0, len(numbers), _PIECE):
        yield {number: whole[number] for number in numbers[start : start + _PIECE]}


@dataclass(slots=True)
class Soft:
    """Changes that nobody waits for."""

    settling: dict[Service, dict[int, ReceiptState]] = field(default_factory=lambda: {one: {} for one in SERVICES})
    handing: dict[Service, dict[int, float]] = field(default_factory=_of_each)
    marks: dict[Service, dict[int, int]] = field(default_factory=lambda: {one: {} for one in SERVICES})
    puts: dict[str, bytes] = field(default_factory=dict)
    objects: dict[tuple[Service, str], bytes] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    expire_at: float | None = None

    def leaving(self, service: Service, number: int) -> bool:
        """Whether a record is about to be settled or handed over."""
        return number in self.settling[service] or number in self.handing[service]

    def durable(self) -> bool:
        """Whether something here must survive a power cut once it is committed."""
        return bool(
            self.puts
            or self.objects
            or self.expire_at is not None
            or any(self.settling.values())
            or any(self.handing.values())
        )

    def idle(self) -> bool:
        """Whether nothing here is worth a commit of its own (attempts wait for company)."""
        return not (self.durable() or self.taken or self.confirmed)

    def pieces(self) -> Iterator[Soft]:
        """The same as changes that need little room each: memory first, because security counters are in it."""
        yield Soft(puts=self.puts, marks=self.marks, objects=self.objects, confirmed=self.confirmed, taken=self.taken)
        for service in SERVICES:
            for some in _parts(self.handing[service]):
                piece = Soft()
                piece.handing[service] = some
                yield piece
            for states in _parts(self.settling[service]):
                piece = Soft()
                piece.settling[service] = states
                yield piece
        yield Soft(expire_at=self.expire_at)

    def is_empty(self) -> bool:
        """Whether there is nothing at all here."""
        return self.idle() and not any(self.marks.values())

    def fold(self, newer: Soft) -> None:
        """Add what came later."""
        for service in SERVICES:
            for number, state in newer.settling[service].items():
                self.settling[service].setdefault(number, state)
            self.handing[service].update(newer.handing[service])
            for number, more in newer.marks[service].items():
                self.marks[service][number] = self.marks[service].get(number, 0) + more
        self.puts.update(newer.puts)
        self.objects.update(newer.objects)
        self.confirmed |= newer.confirmed
        self.taken |= newer.taken
        if newer.expire_at is not None:
            self.expire_at = newer.expire_at
