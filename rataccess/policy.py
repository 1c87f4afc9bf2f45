"""Which link may carry which record: pure values in, a decision with its reason out.

Rules of this file: no I/O, no clock, no state.  Everything that a decision depends on is in its arguments, so that each
decision can be made again, printed and tested.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from rataccess.driver import Evidence
from rataccess.lorawan.airtime import Modulation
from rataccess.objects import Service, Urgency
from rataccess.tariff import Tariff, Unit

LEAST_PACKET = 160
"""Bytes of a packet in which any record finds room, if need be in parts: protection 24, the longest names of link and queue
100, numbers and time 20, and 16 of the object.  What has less left of its budget carries nothing more."""
LEAST_MTU = 24
"""Bytes of the smallest packet that moves anything in compact form: protection 10, the head of a byte range, and some of it.
LoRaWAN in US915 has 11 at its slowest data rate."""
LEAST_COMPACT = 40
"""The same over a link in compact form, which names neither link nor service: protection 10, numbers and time up to 14."""

WAITS = {Urgency.ALARM: 15.0, Urgency.PROMPT: 120.0}
"""Seconds that records of an urgency wait for the next slot of a link (duty cycle, no sky) before another one is used, which
may be dearer.  Others wait for as long as it takes."""


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
    unit: Unit = Unit.BYTE
    cost_per_unit: float = 0.0
    """Price of a unit, where that is not a byte."""
    repeats: int = 1
    """How often the radio sends one packet at most."""
    modulation: Modulation | None = None
    compact: bool = False
    left: int | None = None
    """Units left in this period's budget; `None` without a budget."""
    next_slot: float | None = None
    """Seconds until it takes another packet; `None` for now."""
    suspicion: Suspicion = Suspicion.NONE
    probation: bool = False
    """It failed lately and has to be stable (and proven) before it takes over again."""

    @property
    def tariff(self) -> Tariff:
        """How its packets are counted."""
        price = self.cost_per_byte if self.unit is Unit.BYTE else self.cost_per_unit
        return Tariff(self.unit, self.billing_quantum, self.overhead, self.modulation, price)

    def billed(self, size: int) -> int:
        """Units that a packet of `size` bytes is billed as."""
        return self.tariff.units(size)

    def cost(self, size: int) -> float:
        """What that costs."""
        return self.tariff.cost(size)

    @property
    def price(self) -> float:
        """What a byte costs, by which links of one order are ranked."""
        return self.cost_per_byte if self.unit is Unit.BYTE else self.cost(self.least) / self.least

    @property
    def least(self) -> int:
        """Bytes of the smallest packet in which any record finds room."""
        least = LEAST_COMPACT if self.compact else LEAST_PACKET
        return min(least, self.mtu) if self.mtu else least

    @property
    def free(self) -> bool:
        """Whether sending costs nothing and is not rationed: neither air time nor credits ever are free."""
        return self.unit is Unit.BYTE and self.cost_per_byte == 0 and self.left is None


@dataclass(frozen=True, slots=True)
class Demand:
    """What wants to be carried."""

    service: Service
    urgency: Urgency
    size: int | None = None
    """Bytes of the packet; what exceeds a link's MTU goes in several, each judged by itself.  `None`: the least packet that
    is worth sending over the link."""
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
    if link.compact and link.ready and link.mtu < LEAST_MTU:
        return f"its packets of {link.mtu} bytes hold no record"
    size = link.least if demand.size is None else min(demand.size, link.mtu) if link.mtu else demand.size
    if demand.max_cost is not None and link.cost(size) > demand.max_cost:
        return f"would cost {link.cost(size):.4g}, the record allows {demand.max_cost:.4g}"
    if link.left is not None and (most := link.billed(size) * link.repeats) > link.left:
        return f"its budget has {link.unit.several(link.left)} left; needed: {link.unit.several(most)}"
    return None


def choose(demand: Demand, links: Sequence[LinkView]) -> Decision:
    """The link for `demand`.

    Of the links that may carry it, the first by order, cost and place in `links`; a link in doubt or on probation gives
    way to a sound one.  A merely overdue answer moves traffic only to a link that is free: a second attempt is not worth
    money, a confirmed failure is.
    """
    rejected: list[tuple[str, str]] = []
    able: list[LinkView] = []
    for link in sorted(links, key=lambda view: (view.order, view.price)):
        why = refusal(demand, link)
        if why is None:
            able.append(link)
        else:
            rejected.append((link.name, why))
    if not able:
        return Decision(None, "no link may carry it now", tuple(rejected))
    for index, link in enumerate(able):
        why = _passed_over(link, able[index + 1 :], WAITS.get(demand.urgency))
        if why is None:
            return Decision(link.name, _praise(link, index), tuple(rejected))
        rejected.append((link.name, why))
    last = min(able, key=lambda view: (view.suspicion, view.probation))
    rest = tuple(pair for pair in rejected if pair[0] != last.name)
    return Decision(last.name, f"the least doubtful of what is left ({_doubt(last)})", rest)


def _passed_over(link: LinkView, others: Sequence[LinkView], patience: float | None) -> str | None:
    sound = [other for other in others if other.suspicion is Suspicion.NONE and not other.probation]
    if link.suspicion is Suspicion.CONFIRMED or link.probation:
        return _doubt(link)
    if link.suspicion is Suspicion.UNANSWERED:
        sound = [other for other in sound if other.free]
        return _doubt(link) if sound else None
    if patience is not None and link.next_slot is not None and link.next_slot > patience:
        sound = [other for other in sound if (other.next_slot or 0.0) <= patience]
        return f"takes nothing for {link.next_slot:.0f} s" if sound else None
    return None


def _doubt(link: LinkView) -> str:
    if link.suspicion is Suspicion.CONFIRMED:
        return "silent: nothing that was sent over it lately got through"
    if link.suspicion is Suspicion.UNANSWERED:
        return "an answer is overdue"
    return "back, but not yet stable for long enough"


def _praise(link: LinkView, index: int) -> str:
    price = "free" if link.free else f"{link.price:.4g} a byte" if link.price else "rationed"
    return (
        f"best of the links that may carry it (order {link.order}, {price})" if index == 0 else f"next best ({price})"
    )
