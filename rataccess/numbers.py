"""Sets of record numbers, kept as a floor and ranges above it.

Rules of this file: pure values.  A receiver of records keeps one `NumberSet` for each sender: every number up to `floor`
is settled, and so are the ranges above it.  `acknowledgement` is its form on the wire (docs/wire.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from rataccess.errors import ObjectError

MAX_NUMBER = 2**53
"""Larger record numbers are refused: no device gets there, an attacker might."""


class NumberSet:
    """The numbers 1 to `floor`, and separate half-open ranges above it."""

    __slots__ = ("_ends", "_starts", "floor")

    def __init__(self, floor: int = 0, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.floor = floor
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add_range(start, end)

    def __contains__(self, number: int) -> bool:
        if number <= self.floor:
            return True
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumberSet):
            return NotImplemented
        return (self.floor, self._starts, self._ends) == (other.floor, other._starts, other._ends)

    def __repr__(self) -> str:
        return f"<NumberSet 1..{self.floor} {list(self.ranges())}>"

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The half-open ranges above the floor, ascending."""
        return zip(self._starts, self._ends, strict=True)

    def copy(self) -> NumberSet:
        """An independent copy."""
        twin = NumberSet(self.floor)
        twin._starts, twin._ends = list(self._starts), list(self._ends)
        return twin

    def add(self, number: int) -> bool:
        """Add one number; returns whether it is new."""
        if number == self.floor + 1 and not self._starts:  # as nearly always
            self.floor = number
            return True
        if number in self:
            return False
        self.add_range(number, number + 1)
        return True

    def add_range(self, start: int, end: int) -> None:
        """Add `start` to `end - 1`; merges neighbours, raises the floor where they touch it."""
        start = max(start, self.floor + 1)
        if end <= start:
            return
        low = bisect_right(self._ends, start - 1)  # first range that ends at or after start
        high = bisect_right(self._starts, end)  # first range that begins after end
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
        self._absorb()

    def raise_floor(self, floor: int) -> None:
        """Settle every number up to `floor`."""
        if floor > self.floor:
            self.add_range(self.floor + 1, floor + 1)

    def update(self, other: NumberSet) -> None:
        """Add all of `other`."""
        self.raise_floor(other.floor)
        for start, end in other.ranges():
            self.add_range(start, end)

    def beyond(self, known: NumberSet) -> Iterator[tuple[int, int]]:
        """The half-open ranges of what is here and not in `known`, ascending."""
        if self.floor > known.floor:
            yield from known.gaps(known.floor + 1, self.floor + 1)
        for start, end in self.ranges():
            yield from known.gaps(max(start, known.floor + 1), end)

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The half-open ranges between `start`, which lies above the floor, and `end` that are not here."""
        index = bisect_right(self._ends, start)
        while start < end:
            upto = min(end, self._starts[index]) if index < len(self._starts) else end
            if start < upto:
                yield start, upto
            start, index = (self._ends[index] if index < len(self._ends) else end), index + 1

    def _absorb(self) -> None:
        while self._starts and self._starts[0] <= self.floor + 1:
            self.floor = max(self.floor, self._ends[0] - 1)
            del self._starts[0], self._ends[0]

    def acknowledgement(self, most_ranges: int = 64) -> list[int]:
        """`[floor, gap, length, gap, length ...]`: the lowest `most_ranges` ranges above the floor, each as the count of
        missing numbers before it and its own length."""
        items, last = [self.floor], self.floor + 1
        for start, end in list(self.ranges())[:most_ranges]:
            items += [start - last, end - start]
            last = end
        return items

    @classmethod
    def from_acknowledgement(cls, items: object) -> NumberSet:
        """The inverse of `acknowledgement`; raises `ObjectError` for anything that is not one."""
        if not isinstance(items, list) or len(items) % 2 != 1 or len(items) > 2049:
            raise ObjectError("an acknowledgement is a list of an odd count of numbers, 2049 at most")
        if any(type(item) is not int or not 0 <= item <= MAX_NUMBER for item in items):
            raise ObjectError("an acknowledgement holds whole numbers from 0 to 2^53 only")
        result, last = cls(items[0]), items[0] + 1
        for gap, length in zip(items[1::2], items[2::2], strict=True):
            if gap == 0 or length == 0:
                raise ObjectError("gaps and lengths of an acknowledgement are at least 1")
            result.add_range(last + gap, last + gap + length)
            last += gap + length
        return result
