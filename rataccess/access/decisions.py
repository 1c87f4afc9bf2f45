"""The decision log: what was decided about links, when and why.

Rules of this file: it keeps and prints; it decides nothing.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What an entry is about."""

    SWITCH = "switch"
    LINK = "link"
    RECOVERY = "recovery"
    BUDGET = "budget"
    SERVICE = "service"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision.  `at` is wall time in seconds since 1970."""

    at: float
    kind: Kind
    text: str
    origin: str | None = None
    """For a switch: the link that was in use."""
    target: str | None = None
    """For a switch: the link in use now, or `None`."""


class DecisionLog:
    """The last `most` decisions."""

    def __init__(self, most: int = 256) -> None:
        self._entries: deque[Entry] = deque(maxlen=most)

    def add(self, entry: Entry) -> None:
        """Keep `entry`; the oldest goes where there are too many."""
        self._entries.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Recovered:
    """One rung of a recovery ladder that ended the trouble, or failed to.  `at` is wall time, `seconds` since it began."""

    at: float
    link: str
    step: str
    seconds: float
    ok: bool
