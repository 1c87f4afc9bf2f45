"""What is in flight over one link for one service, and how much may be.

Rules of this file: windows, tokens, time-outs; no message is built or read here.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from rataccess.exchange.staging import Outgoing
from rataccess.security import RequestIdentity

FIRST_WINDOW = 10.0
"""Messages in flight before anything was answered (RFC 6928 allows ten segments)."""
MOST_WINDOW = 64.0
URGENT_EXTRA = 4
"""An urgent record does not wait for a window that others have filled."""
MOST_PAUSE = 30.0
"""Seconds between attempts over a link that answers nothing."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request that may still be answered."""

    token: bytes
    identity: RequestIdentity
    lane: Lane
    sent_at: float
    parts: list[tuple[Outgoing, int, int]]
    """Records, each with the byte range carried; 0, 0 for the whole."""
    live: bool = True
    """Whether it still counts for the window and the time-out."""
    timer: asyncio.TimerHandle | None = None
    flags: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Lane:
    """One link as one exchange uses it."""

    link: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    window: float = FIRST_WINDOW
    in_flight: int = 0
    silent: int = 0
    """Time-outs in a row."""
    silent_at: float = float("-inf")
    answered_at: float = float("-inf")
    not_before: float = 0.0
    probe: bool = False
    """A probe is wanted."""
    told_link: bool = False
    """Whether the service knows that what comes from here came over this link."""
    pause: asyncio.TimerHandle | None = None

    def answered(self, now: float) -> None:
        """A request was answered: grow the window."""
        self.answered_at = now
        self.window = min(MOST_WINDOW, self.window + 1)
        self.silent, self.not_before = 0, 0.0

    def overdue(self, sent_at: float, now: float, timeout: float, jitter: float) -> None:
        """A request sent at `sent_at` was not answered in time; one burst counts once.

        Where a later request was answered, one packet was lost: smaller steps will do.  Else ask seldom, and ever less.
        """
        if sent_at < self.silent_at:
            return
        self.silent_at = now
        self.window = max(1.0, self.window / 2)
        if self.answered_at >= sent_at:
            return
        self.silent += 1
        self.not_before = now + min(MOST_PAUSE, timeout * 2.0 ** min(self.silent - 1, 12)) * jitter

    def restart(self) -> None:
        """The link begins anew."""
        self.window, self.in_flight, self.silent, self.not_before = FIRST_WINDOW, 0, 0, 0.0
        self.told_link = self.probe = False

    def open_for(self, urgent: bool) -> bool:
        """Whether one more request may be in flight."""
        return self.in_flight < self.window + (URGENT_EXTRA if urgent else 0)


class Tokens:
    """Tokens as short as can be: one byte while few requests are in flight (RFC 7252 section 5.3.1)."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._next = source.randrange(256)

    def new(self, taken: dict[bytes, Flight]) -> bytes:
        """One that is not in `taken`."""
        for _ in range(16):
            self._next = (self._next + 1) & 0xFF
            token = bytes([self._next])
            if token not in taken:
                return token
        while (token := self._random.randbytes(2)) in taken:
            pass
        return token
