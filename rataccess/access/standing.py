"""What access remembers of one link: trust, timing, spending, traffic.

Rules of this file: state and arithmetic of one link; it compares no links and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rataccess.access.budget import Budget
from rataccess.access.timing import ResponseTimer
from rataccess.config import LinkSettings
from rataccess.driver import Evidence
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.policy import LinkView, Suspicion

MAX_FAILBACK = 3600.0
"""Seconds: however often a link flaps, it gets a new chance each hour."""
FORGIVEN_AFTER = 10.0
"""A link that has worked for this many times its last waiting time starts anew."""


@dataclass(slots=True)
class Traffic:
    """Counters of one link since start; bytes include what the network adds."""

    packets_up: int = 0
    bytes_up: int = 0
    packets_down: int = 0
    bytes_down: int = 0
    records: int = 0
    """Records whose delivery was acknowledged over this link."""


class Standing:
    """One link as access sees it."""

    def __init__(self, link: Link, budget: Budget | None) -> None:
        self.link = link
        self.budget = budget
        self.timer = ResponseTimer(1.0)
        self.traffic = Traffic()
        self.suspicion = Suspicion.NONE
        self.suspected_at = 0.0
        self.overdue = 0
        self.accuser: Service | None = None
        """Whose unanswered request began the suspicion."""
        self.failures = 0
        self.probation = False
        self.stable_from = 0.0
        """When it may take over again, on the event loop's clock."""
        self.last_answers: dict[Service, float] = {}
        self.last_sent = float("-inf")
        self.was_ready = False
        self._last_wait = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Standing {self.link.name} {self.suspicion.name} failures={self.failures} probation={self.probation}>"

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def settings(self) -> LinkSettings:
        return self.link.settings

    def view(self) -> LinkView:
        """What policy may know."""
        hints, settings = self.link.hints, self.settings
        return LinkView(
            name=self.name,
            ready=self.link.ready,
            evidence=self.link.evidence,
            order=settings.order,
            cost_per_byte=hints.cost_per_byte if hints else settings.cost_per_byte,
            billing_quantum=hints.billing_quantum
            if hints
            else settings.budget.billing_quantum
            if settings.budget
            else 1,
            overhead=hints.overhead if hints else 0,
            mtu=hints.mtu if hints else 0,
            min_urgency=settings.min_urgency.urgency,
            bytes_left=self.budget.left if self.budget else None,
            suspicion=self.suspicion,
            probation=self.probation,
        )

    @property
    def free(self) -> bool:
        """Whether sending costs nothing and is not rationed, as in its `view`."""
        hints = self.link.hints
        return self.budget is None and not (hints.cost_per_byte if hints else self.settings.cost_per_byte)

    def started(self) -> None:
        """The link can send: forget what was measured over its last bearer."""
        self.timer = ResponseTimer(self.link.hints.response_time if self.link.hints else 1.0)
        self.clear()

    def clear(self) -> None:
        """It answered: nothing speaks against it now."""
        self.suspicion, self.overdue = Suspicion.NONE, 0
        self.cancel("confirm")

    def suspect(self, now: float) -> bool:
        """One more overdue answer; returns whether that is enough to believe that the link is dead."""
        if self.suspicion is Suspicion.NONE:
            self.suspicion, self.suspected_at = Suspicion.UNANSWERED, now
        self.overdue += 1
        return self.overdue >= 3 and now - self.suspected_at >= max(2.0, 2 * self.timer.timeout)

    def fail(self, now: float) -> float:
        """It failed while it was trusted; returns how long it must be stable before it is preferred again."""
        if now - self.stable_from > FORGIVEN_AFTER * max(self._last_wait, self.settings.failback_after):
            self.failures = 0
        self.failures += 1
        self.probation = True
        return self.wait(now)

    def wait(self, now: float, longest: float = MAX_FAILBACK) -> float:
        """Start the time of stability anew: twice as long for each failure in a row; returns it in seconds.

        It is `longest` at most, but never less than what is configured.
        """
        growth = 2.0 ** min(max(self.failures, 1) - 1, 20)
        usual = self.settings.failback_after
        self._last_wait = min(MAX_FAILBACK, max(longest, usual), usual * growth)
        self.stable_from = now + self._last_wait
        return self._last_wait

    def later(self, what: str, seconds: float, call: Callable[[], None]) -> None:
        """Have `call` called in `seconds`, instead of what was planned under the same name."""
        self.cancel(what)

        def due() -> None:
            del self._timers[what]
            call()

        self._timers[what] = asyncio.get_running_loop().call_later(seconds, due)

    def planned(self, what: str) -> bool:
        """Whether something is planned under that name."""
        return what in self._timers

    def cancel(self, what: str | None = None) -> None:
        """Drop one plan, or all."""
        for name in [what] if what else list(self._timers):
            handle = self._timers.pop(name, None)
            if handle:
                handle.cancel()

    def line(self) -> str:
        """One line for people."""
        link, traffic = self.link, self.traffic
        parts = [f"{self.name}: {link.evidence.name}"]
        if link.detail:
            parts.append(link.detail)
        if self.timer.smoothed is not None:
            parts.append(f"answers in {self.timer.smoothed * 1000:.0f} ms")
        if self.suspicion:
            parts.append(self.suspicion.name.lower())
        if self.probation and link.evidence >= Evidence.BEARER:
            parts.append(f"on probation after {self.failures} failure(s)")
        if self.budget:
            parts.append(
                f"{self.budget.left} bytes of its budget left, full again in {self.budget.next_period_in:.0f} s"
            )
        parts.append(f"{traffic.packets_up}/{traffic.packets_down} packets, {traffic.records} records")
        return ", ".join(parts)
