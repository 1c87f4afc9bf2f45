"""Which link may carry which record: pure values in, a decision with its reason out.

Rules of this file: no I/O, no clock, no state.  Everything that a decision depends on is in its arguments, so that each
decision can be made again, printed and tested.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from rataccess.driver import Evidence
from rataccess.objects import Service, Urgency

LEAST_PACKET = 160
"""Bytes of a packet in which any record finds room, if need be in parts: protection 24, the longest names of link and queue
100, numbers and time 20, and 16 of the object.  What has less left of its budget carries nothing more."""


class Suspicion(enum.IntEnum):
    """How far we doubt a link that looks healthy from outside."""

    NONE = 0
    UNANSWERED = 1
    """A request is overdue: worth a second attempt over another link that costs nothing."""
    CONFIRMED = 2
    """Another link answered where this one did not, or several requests went unanswered."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """What policy knows of one link."""

    name: str
    ready: bool
    evidence: Evidence = Evidence.BEARER
    order: int = 0
    cost_per_byte: float = 0.0
    billing_quantum: int = 1
    overhead: int = 0
    """Bytes that the network adds to each packet."""
    mtu: int = 1232
    min_urgency: Urgency = Urgency.BULK
    bytes_left: int | None = None
    """Left in this period's budget; `None` without a budget."""
    suspicion: Suspicion = Suspicion.NONE
    probation: bool = False
    """It failed lately and has to be stable (and proven) before it takes over again."""

    def billed(self, size: int) -> int:
        """Bytes that a packet of `size` is billed as."""
        quantum = max(1, self.billing_quantum)
        return -(-(size + self.overhead) // quantum) * quantum

    @property
    def free(self) -> bool:
        """Whether sending costs nothing and is not rationed."""
        return self.cost_per_byte == 0 and self.bytes_left is None


@dataclass(frozen=True, slots=True)
class Demand:
    """What wants to be carried."""

    service: Service
    urgency: Urgency
    size: int = LEAST_PACKET
    """Bytes of the packet; what exceeds a link's MTU goes in several, each judged by itself."""
    max_cost: float | None = None
    links: tuple[str, ...] = ()
    """The only links allowed; empty for all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which link, why, and why not the others."""

    link: str | None
    reason: str
    rejected: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        others = "; ".join(f"not {name}: {why}" for name, why in self.rejected)
        return f"{self.link or 'no link'}: {self.reason}" + (f" ({others})" if others else "")


def refusal(demand: Demand, link: LinkView) -> str | None:
    """Why `link` may not carry `demand`, or `None` where it may."""
    if demand.links and link.name not in demand.links:
        return "not among the links that the record allows"
    if not link.ready:
        return f"down, got as far as {link.evidence.name}"
    if demand.urgency < link.min_urgency:
        return f"takes {link.min_urgency.name} and above, this is {demand.urgency.name}"
    billed = link.billed(min(demand.size, link.mtu) if link.mtu else demand.size)
    if demand.max_cost is not None and billed * link.cost_per_byte > demand.max_cost:
        return f"would cost {billed * link.cost_per_byte:.4g}, the record allows {demand.max_cost:.4g}"
    if link.bytes_left is not None and billed > link.bytes_left:
        return f"its budget has {link.bytes_left} bytes left, {billed} are needed"
    return None


def choose(demand: Demand, links: Sequence[LinkView]) -> Decision:
    """The link for `demand`.

    Of the links that may carry it, the first by order, cost and place in `links`; a link in doubt or on probation gives
    way to a sound one.  A merely overdue answer moves traffic only to a link that is free: a second attempt is not worth
    money, a confirmed failure is.
    """
    rejected: list[tuple[str, str]] = []
    able: list[LinkView] = []
    for link in sorted(links, key=lambda view: (view.order, view.cost_per_byte)):
        why = refusal(demand, link)
        if why is None:
            able.append(link)
        else:
            rejected.append((link.name, why))
    if not able:
        return Decision(None, "no link may carry it now", tuple(rejected))
    for index, link in enumerate(able):
        why = _passed_over(link, able[index + 1 :])
        if why is None:
            return Decision(link.name, _praise(link, index), tuple(rejected))
        rejected.append((link.name, why))
    last = min(able, key=lambda view: (view.suspicion, view.probation))
    rest = tuple(pair for pair in rejected if pair[0] != last.name)
    return Decision(last.name, f"the least doubtful of what is left ({_doubt(last)})", rest)


def _passed_over(link: LinkView, others: Sequence[LinkView]) -> str | None:
    sound = [other for other in others if other.suspicion is Suspicion.NONE and not other.probation]
    if link.suspicion is Suspicion.CONFIRMED or link.probation:
        return _doubt(link)
    if link.suspicion is Suspicion.UNANSWERED:
        sound = [other for other in sound if other.free]
        return _doubt(link) if sound else None
    return None


def _doubt(link: LinkView) -> str:
    if link.suspicion is Suspicion.CONFIRMED:
        return "silent: its requests went unanswered"
    if link.suspicion is Suspicion.UNANSWERED:
        return "an answer is overdue"
    return "back, but not yet stable for long enough"


def _praise(link: LinkView, index: int) -> str:
    price = "free" if link.free else f"{link.cost_per_byte:.4g} a byte" if link.cost_per_byte else "within its budget"
    return (
        f"best of the links that may carry it (order {link.order}, {price})" if index == 0 else f"next best ({price})"
    )
