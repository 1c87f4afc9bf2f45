"""What access remembers of one link: trust, timing, spending, traffic.

Rules of this file: state and arithmetic of one link; it compares no links and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rataccess.access.budget import Budget
from rataccess.access.silence import Ration, Silence
from rataccess.access.timing import ResponseTimer
from rataccess.config import LinkSettings
from rataccess.driver import Allowance, Evidence
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.policy import LinkView, Suspicion
from rataccess.tariff import Unit
from rataccess.transport import Hints

MAX_FAILBACK = 3600.0
"""Seconds: however often a link flaps, it gets a new chance each hour."""
REATTACHED = 5.0
"""Seconds: a link that was down for less was only attached again, and nobody knows more of its network than before."""
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
    units: int = 0
    """What was sent and received, as it is billed: bytes, credits, messages or milliseconds of air time."""
    cost: float = 0.0

    def charge(self, hints: Hints | None, units: int) -> None:
        """Count what was used besides packets."""
        self.units += units
        self.cost += 0.0 if hints is None or hints.unit is Unit.BYTE else units * hints.cost_per_unit

    def bill(self, hints: Hints | None, size: int, *, sent: bool) -> None:
        """Count one packet.  Air time is what is sent."""
        if hints is not None and (sent or hints.unit is not Unit.AIRTIME):
            tariff = hints.tariff
            units = tariff.units(size)
            self.units += units
            self.cost += units * tariff.price


class Standing:
    """One link as access sees it."""

    def __init__(self, link: Link, budget: Budget | None, monotonic: Callable[[], float]) -> None:
        self.link = link
        self._monotonic = monotonic
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
        self.shut_until = float("-inf")
        """When the link takes packets again, as it said itself (event loop's clock)."""
        self.shut_why = ""
        self.unproved = False
        """Whether it failed, and is trusted again without proof: the next answer that is overdue is enough."""
        self.unaccepted = 0
        """Packets in a row that the network should have accepted and has not."""
        self.silences: dict[Service, Silence] = {service: Silence() for service in Service}
        """Where `frugal`: what came to nothing, and how long the link rests for that."""
        self.was_ready = False
        self.down_since = float("-inf")
        self._last_billed = 0
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
        hints, settings = self.link.hints or self._unknown(), self.settings
        return LinkView(
            name=self.name,
            ready=self.link.ready,
            evidence=self.link.evidence,
            order=settings.order,
            cost_per_byte=hints.cost_per_byte,
            billing_quantum=hints.billing_quantum,
            overhead=hints.overhead,
            mtu=hints.mtu,
            min_urgency=settings.min_urgency.urgency,
            unit=hints.unit,
            cost_per_unit=hints.cost_per_unit,
            modulation=hints.modulation,
            repeats=hints.repeats,
            compact=hints.compact,
            left=self.budget.left if self.budget else None,
            next_slot=self.next_slot,
            suspicion=self.suspicion,
            probation=self.probation,
        )

    def _unknown(self) -> Hints:
        """What is known of a link that was never up."""
        settings = self.settings
        quantum = settings.budget.billing_quantum if settings.budget else 1
        return Hints(
            "unknown",
            0,
            cost_per_byte=settings.cost_per_byte,
            cost_per_unit=settings.cost_per_unit,
            billing_quantum=quantum,
            unit=self.link.unit,
        )

    @property
    def free(self) -> bool:
        """Whether sending costs nothing and is not rationed, as in its `view`."""
        hints = self.link.hints or self._unknown()
        return self.budget is None and hints.unit is Unit.BYTE and hints.cost_per_byte == 0

    @property
    def frugal(self) -> bool:
        """See `Hints.frugal`."""
        return (self.link.hints or self._unknown()).frugal

    @property
    def hands_over(self) -> bool:
        """Whether its network tells itself whether it took a packet."""
        return self.link.hints is not None and self.link.hints.acknowledges_handover

    @property
    def next_slot(self) -> float | None:
        """Seconds until it takes another packet, as it said last, or until its rest is over; `None` for now."""
        now = self._monotonic()
        rest = max(silence.left(now, urgent=True) for silence in self.silences.values())
        left = max(self.shut_until - now, rest)
        return left if left > 0 else None

    @property
    def bytes_left(self) -> int | None:
        """Bytes that the budget still pays for, where its units are made of bytes; `None` without a budget."""
        view = self.view()
        if view.left is None or view.unit not in (Unit.BYTE, Unit.CREDIT):
            return None
        return view.left * (view.billing_quantum if view.unit is Unit.CREDIT else 1)

    def started(self) -> None:
        """The link can send: forget what was measured over its last bearer."""
        self.timer = ResponseTimer(self.link.hints.response_time if self.link.hints else 1.0)
        self.shut_until = float("-inf")
        self.clear()
        if self._monotonic() - self.down_since >= REATTACHED:
            for silence in self.silences.values():
                silence.wake()

    def sent(self, billed: int) -> None:
        """A packet left, which counts as so many units."""
        self.last_sent, self._last_billed = self._monotonic(), billed

    def in_vain(self, services: Iterable[Service], sent_at: float, pause: float, jitter: float) -> float:
        """What was sent at `sent_at` came to nothing: rest, for `pause` seconds at first.  Returns for how long
        urgent records wait."""
        now, ration = self._monotonic(), None
        if self.budget:
            most = max(1, self._last_billed * (self.link.hints.repeats if self.link.hints else 1))
            ration = Ration(self.budget.left / most, self.budget.next_period_in)
        for service in services:
            self.silences[service].tried(sent_at, now, pause, ration, jitter)
        return self.next_slot or 0.0

    def heard(self) -> None:
        """Its network took a packet: no rest is needed."""
        self.cancel("rest")
        for silence in self.silences.values():
            silence.end()

    def rest_left(self, service: Service, *, urgent: bool) -> float:
        """Seconds that the link rests before it is tried again with something for `service`; 0 for now."""
        return self.silences[service].left(self._monotonic(), urgent=urgent)

    def clear(self) -> None:
        """It answered: nothing speaks against it now."""
        self.suspicion, self.overdue, self.unaccepted = Suspicion.NONE, 0, 0
        self.unproved = False
        self.cancel("confirm")

    def suspect(self, now: float) -> bool:
        """One more overdue answer; returns whether that is enough to believe that the link is dead."""
        if self.suspicion is Suspicion.NONE:
            self.suspicion, self.suspected_at = Suspicion.UNANSWERED, now
        self.overdue += 1
        return self.unproved or (self.overdue >= 3 and now - self.suspected_at >= max(2.0, 2 * self.timer.timeout))

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
        if (shut := self.shut_until - self._monotonic()) > 0:
            parts.append(f"takes nothing for {shut:.0f} s ({self.shut_why})")
        if link.next_attempt is not None:
            parts.append(f"next attempt in {link.next_attempt:.0f} s")
        if self.suspicion:
            parts.append(self.suspicion.name.lower())
        if self.probation and link.evidence >= Evidence.BEARER:
            parts.append(f"on probation after {self.failures} failure(s)")
        if (silence := max(self.silences.values(), key=lambda each: each.tries)).tries:
            parts.append(silence.line(self._monotonic()))
        if self.budget:
            parts.append(self.budget.line())
        parts.append(f"{traffic.packets_up}/{traffic.packets_down} packets, {traffic.records} records")
        if traffic.units and link.unit is not Unit.BYTE:
            parts.append(f"{link.unit.several(traffic.units)} used")
        parts += [_allowance(each) for each in link.allowances()]
        return ", ".join(parts)


def _allowance(each: Allowance) -> str:
    slot = f", next slot in {each.next_slot:.0f} s" if each.next_slot else ""
    return f"{each.name}: {each.unit.several(each.left)} left of {each.limit} in {each.period:.0f} s{slot}"
