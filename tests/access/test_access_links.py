"""Cold links, keep-alive, held links, explanations: whole devices in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.errors import BudgetExceeded, DiskFull, NotNow, TransportBroken
from rataccess.objects import Service, Urgency
from rataccess.transport import Packet
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, until_delivered, world

COLD = {"wifi": "order = 1\nfailback_after = 5", "lte": "order = 2\nhot = false\nfailback_after = 20"}


def held(made: SystemWorld, name: str = "lte") -> bool:
    assert made.device
    return made.device.access.links[name].link.held


def test_a_cold_link_stays_down_while_another_carries_even_at_the_start_and_after_a_lost_packet() -> None:
    async def scene() -> None:
        async with world(links=COLD) as made:
            assert made.device
            for n in range(20):
                await made.enqueue({"n": n})
                await asyncio.sleep(0.5)
                assert held(made)
            made.airs["wifi"].silent = True
            await made.enqueue({"n": 20})
            await asyncio.sleep(0.3)
            made.airs["wifi"].silent = False
            await until_delivered(made)
            assert not made.airs["lte"].drivers
            assert held(made)

    in_virtual_time(scene())


def test_a_cold_link_comes_up_when_nothing_before_it_carries_and_goes_after_a_while() -> None:
    async def scene() -> None:
        async with world(links=COLD) as made:
            assert made.device
            await asyncio.sleep(2)
            for _ in range(2):
                made.airs["wifi"].set_carrier(False)
                await made.enqueue({"lost": "carrier"})
                await asyncio.sleep(1)
                assert made.device.access.current == "lte"
                made.airs["wifi"].set_carrier(True)
                while made.device.access.current != "wifi":
                    await asyncio.sleep(0.5)
                assert not held(made), "make before break: it stays for a while"
                await asyncio.sleep(30)
                assert held(made)
                standing = made.device.access.links["lte"]
                assert (standing.failures, standing.probation) == (0, False), "being told to stand down is no failure"
            made.airs["wifi"].silent = True
            await made.enqueue({"lost": "silently"})
            await until_delivered(made, 60)
            assert made.device.access.current == "lte"
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_at_the_start_a_cold_link_waits_for_the_others_but_not_for_ever() -> None:
    async def scene() -> None:
        async with world(links=COLD) as made:
            await made.kill_device()
            made.airs["wifi"].set_carrier(False)
            await made.start_device()
            await asyncio.sleep(15)
            assert held(made)
            await asyncio.sleep(6)
            assert not held(made)

    in_virtual_time(scene())


def test_a_record_that_only_a_cold_link_may_carry_has_it_come_up() -> None:
    async def scene() -> None:
        async with world(links=COLD) as made:
            assert made.device
            await asyncio.sleep(2)
            receipt = await made.device.solution.enqueue({"n": 1}, links=["lte"])
            await receipt.wait(60)
            assert made.device.access.current == "wifi"
            await asyncio.sleep(300)
            assert held(made)

    in_virtual_time(scene())


def test_a_keepalive_comes_after_exactly_that_much_silence() -> None:
    async def scene() -> None:
        async with world(links={"wifi": "keepalive = 60"}) as made:
            assert made.device
            standing = made.device.access.links["wifi"]
            await asyncio.sleep(59)
            await made.enqueue({"n": 1})
            await asyncio.sleep(59)
            before = standing.last_sent
            await asyncio.sleep(2)
            assert standing.last_sent - before == pytest.approx(60, abs=0.1)

    in_virtual_time(scene())


def test_the_explanation_names_links_reasons_services_and_budgets() -> None:
    links = {"wifi": "order = 1", "sat": "order = 2\nbudget = { bytes = 5000 }\ncost_per_byte = 0.5\nhot = true"}

    async def scene() -> None:
        async with world(links=links) as made:
            assert made.device
            await made.enqueue({"n": 1})
            await until_delivered(made)
            made.kill_service(Service.SOLUTION)
            await made.enqueue({"n": 2})
            await asyncio.sleep(10)
            text = made.device.explain()
            assert "in use: wifi: best of the links that may carry it (order 1, free)" in text
            assert "the solution service does not answer" in text
            assert "5000 bytes of its budget left" in text
            assert "wifi: REACHABLE" in text
            assert "latest decisions:" in text
            assert "now wifi" in text

    in_virtual_time(scene())


def test_bytes_that_were_not_sent_are_given_back_and_those_that_were_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world(links={"lte": "budget = { bytes = 9000, billing_quantum = 100 }"}) as made:
            assert made.device
            await asyncio.sleep(2)
            access, air = made.device.access, made.airs["lte"]
            budget = access.links["lte"].budget
            assert budget
            packet = Packet(bytes(150), Service.SOLUTION)
            before = budget.left
            air.trouble = lambda packet: NotNow("busy", 1.0)
            with pytest.raises(NotNow):
                await access.send("lte", packet)
            assert budget.left == before
            air.trouble = lambda packet: TransportBroken("nobody knows whether it left")
            with pytest.raises(TransportBroken):
                await access.send("lte", packet)
            assert budget.left == before - 200
            air.trouble = lambda packet: None
            await asyncio.sleep(60)
            assert access.room("lte", 1232) == 1232
            budget.charge(budget.left - 350)
            assert access.room("lte", 1232) == 300
            with pytest.raises(BudgetExceeded):
                await access.send("lte", Packet(bytes(301), Service.SOLUTION))

            def full(key: str, value: bytes) -> None:
                raise DiskFull("full")

            left = budget.left
            with monkeypatch.context() as patch:
                patch.setattr(budget._memory, "put_now", full)
                budget._taken = 0
                sent = len(air.sent)
                with pytest.raises(DiskFull):
                    await access.send("lte", packet)
                assert len(air.sent) == sent, "what cannot be written down is not spent"
            assert budget.left == left

    in_virtual_time(scene())


def test_nothing_is_planned_after_closing() -> None:
    async def scene() -> None:
        async with world(links={**COLD, "wifi": COLD["wifi"] + "\nkeepalive = 7"}) as made:
            assert made.device
            await made.enqueue({"n": 1}, urgency=Urgency.ALARM)
            device = made.device
            access, exchange = device.access, device._exchanges[Service.SOLUTION]
            late = [data for _, data in made.airs["wifi"].sent]
            await made.kill_device()
            for standing in access.links.values():
                assert not standing._timers
                access.overdue(standing.name, Service.SOLUTION, 1e9)
                access.answered(standing.name, Service.SOLUTION, 0.1)
                access.hints_changed(standing.link)
                assert not standing._timers
            for data in late:
                exchange.packet_received("wifi", data)
            assert not exchange.reception._replies

    in_virtual_time(scene())
