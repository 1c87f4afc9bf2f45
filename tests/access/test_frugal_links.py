"""Links whose networks count packets: what they accept is proof, and nobody asks them anything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from rataccess.access import Access
from rataccess.clock import LoopClock
from rataccess.config import BudgetSettings, LinkSettings
from rataccess.driver import Evidence, Forgetful
from rataccess.errors import BudgetExceeded, NotNow
from rataccess.lorawan import Modulation
from rataccess.objects import Service, Urgency
from rataccess.policy import Demand, Suspicion
from rataccess.tariff import Unit
from rataccess.transport import Handover, Hints, Packet

SBD = Hints(
    "sbd", 340, unit=Unit.CREDIT, billing_quantum=50, cost_per_unit=0.1, acknowledges_handover=True, compact=True
)
LORA = Hints("lorawan", 222, unit=Unit.AIRTIME, acknowledges_handover=True, compact=True)
PACKET = Packet(bytes(60), Service.SOLUTION)

pytestmark = pytest.mark.looptime


class Radio:
    """A link that is up; `outcome` is what becomes of the next packets."""

    def __init__(self, name: str, order: int, hints: Hints, budget: BudgetSettings | None = None) -> None:
        self.name, self.hints, self.unit = name, hints, hints.unit
        self.settings = LinkSettings(driver="x", transport="y", order=order, budget=budget, failback_after=100.0)
        self.evidence, self.detail, self.ready, self.held = Evidence.BEARER, "up", True, False
        self.outcome: Handover | Exception | None = None
        self.next_attempt: float | None = None
        self.doubts: list[str] = []

    def start(self) -> None:
        """It is up."""

    def release(self) -> None:
        """It is up."""

    def prove(self, how: str = "a service answered") -> None:
        self.detail = how

    def allowances(self) -> tuple[()]:
        return ()

    def doubt(self, why: str) -> None:
        self.doubts.append(why)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def send(self, packet: Packet) -> Handover | None:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class User:
    """An exchange that counts what it is told."""

    def __init__(self) -> None:
        self.probes: list[str] = []
        self.lost: list[str] = []

    def probe(self, link: str) -> None:
        self.probes.append(link)

    def link_lost(self, link: str) -> None:
        self.lost.append(link)

    def access_changed(self) -> None:
        """Nothing waits."""

    def packet_received(self, link: str, data: bytes) -> None:
        """Nothing is read."""


def world(*radios: Radio) -> tuple[Access, User]:
    access, user = Access(LoopClock(), Forgetful()), User()
    for radio in radios:
        access.add(cast(Any, radio))
    for service in Service:
        access.use(service, cast(Any, user))
    access.start()
    for standing in access.links.values():
        standing.was_ready = True
        standing.started()
    return access, user


def alarm(access: Access) -> str | None:
    return access.decide(Demand(Service.SOLUTION, Urgency.ALARM)).link


async def test_two_packets_that_its_network_did_not_accept_fell_a_link_and_no_probe_brings_it_back() -> None:
    lora, sat = Radio("lora", 1, LORA), Radio("sat", 2, SBD)
    access, user = world(lora, sat)
    await access.send("lora", PACKET)
    assert access.links["lora"].suspicion is Suspicion.NONE, "one may be a lorry before the gateway"
    await access.send("lora", PACKET)
    assert alarm(access) == "sat"
    assert user.lost == ["lora"] * 2, "both exchanges send what is in flight again"
    assert "accepted none of the last 2 packet(s)" in lora.doubts[0]
    await asyncio.sleep(99)
    assert alarm(access) == "sat"
    await asyncio.sleep(2)
    assert alarm(access) == "lora", "the next packet is the proof"
    assert not user.probes
    for _ in range(2):
        await access.send("lora", PACKET)
    await asyncio.sleep(101)
    assert alarm(access) == "sat", "it waits longer each time"
    await asyncio.sleep(100)
    lora.outcome = Handover("1")
    await access.send("lora", PACKET)
    await access.send("lora", PACKET)
    assert access.links["lora"].unaccepted == 0
    assert lora.detail == "its network took a packet"
    await access.aclose()


async def test_an_alarm_does_not_wait_for_a_slot_and_a_routine_record_does() -> None:
    lora, sat = Radio("lora", 1, LORA), Radio("sat", 2, SBD)
    access, _ = world(lora, sat)
    lora.outcome = NotNow("duty cycle", 40.0)
    with pytest.raises(NotNow):
        await access.send("lora", PACKET)
    assert alarm(access) == "sat"
    assert access.decide(Demand(Service.SOLUTION, Urgency.ROUTINE)).link == "lora"
    assert "takes nothing for 40 s" in str(access.decide(Demand(Service.SOLUTION, Urgency.ALARM)))
    told = access.explain()
    assert "lora: BEARER, up, takes nothing for 40 s (duty cycle), 0/0 packets" in told
    assert "\nfor alarms: sat: next best" in told, "not the same link as for ordinary records"
    await asyncio.sleep(41)
    assert alarm(access) == "lora"
    sat.outcome = lora.outcome = NotNow("no sky", 50.0)
    for name in ("lora", "sat"):
        with pytest.raises(NotNow):
            await access.send(name, PACKET)
    assert alarm(access) == "lora", "where none is sooner, the better one"
    await access.aclose()


async def test_credits_are_spent_as_they_are_billed_and_given_back_for_what_never_left() -> None:
    sat = Radio("sat", 1, SBD, BudgetSettings(credits=5))
    access, _ = world(sat)
    sat.outcome = Handover("7")
    await access.send("sat", PACKET)
    standing = access.links["sat"]
    assert standing.budget is not None
    assert (standing.traffic.units, standing.traffic.cost, standing.budget.left) == (2, 0.2, 3)
    assert access.room("sat", 340) == 150
    sat.outcome = NotNow("no sky", 10.0)
    with pytest.raises(NotNow):
        await access.send("sat", PACKET)
    assert standing.budget.left == 3
    access.packet_received(cast(Any, sat), Packet(bytes(80), Service.MANAGEMENT))
    assert (standing.budget.left, standing.traffic.units) == (1, 4), "what comes down is billed too"
    sat.outcome = Handover("8")
    with pytest.raises(BudgetExceeded):
        await access.send("sat", PACKET)
    assert alarm(access) == "sat", "50 bytes may still go"
    assert "1 credit of its budget left" in access.explain()
    assert "4 credits used" in access.explain()
    await access.aclose()


async def test_a_budget_keeps_room_for_repetitions_and_counts_those_that_were_made() -> None:
    lora = Radio(
        "lora", 1, replace(LORA, overhead=13, modulation=Modulation(7), repeats=3), BudgetSettings(airtime=0.8)
    )
    access, _ = world(lora)
    standing = access.links["lora"]
    assert standing.budget is not None
    once = standing.view().billed(60)
    assert once == 134, (
        "73 bytes at SF7: (8 * 73 - 28 + 44) / 28 -> 22 codewords of 5 symbols, 20.25 more, 1.024 ms each"
    )
    lora.outcome = Handover("1")
    await access.send("lora", PACKET)
    assert standing.budget.left == 800 - once
    access.charged(cast(Any, lora), once)
    assert (standing.budget.left, standing.traffic.units) == (800 - 2 * once, 2 * once)
    await access.send("lora", PACKET)
    assert standing.budget.left == 800 - 3 * once, "398: three times 134 would be 402"
    lora.outcome = Handover("2")
    with pytest.raises(BudgetExceeded):
        await access.send("lora", PACKET)
    assert 0 < access.room("lora", 222) < 60
    assert standing.budget.left == 800 - 3 * once
    await access.aclose()
