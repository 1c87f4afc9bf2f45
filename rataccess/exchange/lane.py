"""One link as one exchange uses it: how much may be in flight, and when to try again.

Rules of this file: windows and pauses; no message is built or read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field

FIRST_WINDOW = 10.0
"""Messages in flight before anything was answered (RFC 6928 allows ten segments)."""
MOST_WINDOW = 64.0
URGENT_EXTRA = 4
"""An urgent record does not wait for a window that others have filled."""
MOST_PAUSE = 30.0
"""Seconds between attempts over a link that answers nothing."""
TROUBLE_PAUSE = 1.0
"""Seconds of rest after an error that nothing else paces, such as a full disk; twice as long each time in a row."""
LEAST_PAUSE = 0.001
"""Seconds: a shorter rest would end before the clock has moved, again and again."""


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
    """Silence, or refusals of the service: only probes go before this."""
    shut_until: float = 0.0
    """The link itself takes nothing (busy, duty cycle, budget, trouble): not even a probe goes before this."""
    probe: bool = False
    """A probe is wanted."""
    told_link: bool = False
    """Whether the service knows that what comes from here came over this link, or the operator was paid to tell it."""
    told_path: bool = False
    """The same of what its answers have to mind: how large they may be, whether anything else gets through."""
    asked_time: bool = False
    """Whether a question for the time was answered, or the operator was paid to carry it."""
    naming: int = 0
    """Requests in flight that name the link."""
    pause: asyncio.TimerHandle | None = None
    limit: int | None = None
    """Bytes of the largest packet, where the link refused one that its hints allow."""
    troubles: int = 0
    """Errors in a row that were no fault of the link."""
    fruitless: int = 0
    """Answers in a row that acknowledged nothing of what was sent."""

    def answered(self, now: float) -> None:
        """A request was answered: grow the window."""
        self.answered_at = now
        self.window = min(MOST_WINDOW, self.window + 1)
        self.silent, self.not_before = 0, 0.0

    def overdue(self, sent_at: float, now: float, timeout: float, jitter: float, *, dear: bool = False) -> None:
        """A request sent at `sent_at` was not answered in time; one burst counts once.

        Where a later request was answered, one packet was lost: smaller steps will do.  Else ask seldom, and ever less.
        Where each request is dear the link itself rests, and then they go one by one.
        """
        if sent_at < self.silent_at:
            return
        self.silent_at = now
        self.window = max(1.0, self.window / 2)
        if self.answered_at >= sent_at:
            return
        self.silent += 1
        if dear:
            self.window = 1.0
            return
        self.not_before = now + min(MOST_PAUSE, timeout * 2.0 ** min(self.silent - 1, 12)) * jitter

    def in_vain(self, now: float, jitter: float) -> None:
        """An answer acknowledged nothing of what it answers: the service cannot take it now; ask ever less often."""
        self.fruitless += 1
        self.not_before = now + min(MOST_PAUSE, 0.5 * 2.0 ** min(self.fruitless, 12)) * jitter

    def in_trouble(self, now: float) -> float:
        """Something failed that is no fault of the link: returns for how many seconds nothing goes over it."""
        pause = min(MOST_PAUSE, TROUBLE_PAUSE * 2.0 ** min(self.troubles, 12))
        self.troubles += 1
        self.shut_until = now + pause
        return pause

    def pause_left(self, now: float) -> float:
        """Seconds until something may be sent; 0 or less for now."""
        return max(self.shut_until, float("-inf") if self.probe else self.not_before) - now

    def wait(self, seconds: float) -> None:
        """Look again in so many seconds."""
        if self.pause:
            self.pause.cancel()
        self.pause = asyncio.get_running_loop().call_later(max(LEAST_PAUSE, seconds), self.wake.set)

    def close(self) -> None:
        """No timer is left."""
        if self.pause:
            self.pause.cancel()

    def told(self, flags: Container[str]) -> None:
        """A request that said `flags` was answered, or the operator has it."""
        self.told_link = self.told_link or "link" in flags
        self.told_path = self.told_path or "path" in flags
        self.asked_time = self.asked_time or "time" in flags

    def accepted(self) -> None:
        """The operator took a request: the link is not silent."""
        self.silent, self.not_before = 0, 0.0

    def restart(self, *, dear: bool = False) -> None:
        """The link begins anew.  Where air time is dear (`dear`) it is tried at once, and as warily as before: one that has
        no coverage falls and rises many times a day."""
        if not dear:
            self.window, self.silent = FIRST_WINDOW, 0
        self.in_flight, self.not_before, self.naming = 0, 0.0, 0
        self.told_link = self.told_path = self.asked_time = self.probe = False
        self.limit, self.fruitless, self.shut_until = None, 0, 0.0

    def open_for(self, urgent: bool, extra: int = URGENT_EXTRA) -> bool:
        """Whether one more request may be in flight; `extra` urgent ones may be besides what fills the window."""
        return self.in_flight < self.window + (extra if urgent else 0)
