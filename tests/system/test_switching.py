"""Falling back and coming back: how soon, at what price, and without flapping.  Times are virtual, so they are exact."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.access import Kind
from rataccess.objects import Service, Urgency
from rataccess.services import admin
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import LINKS, in_virtual_time, until_delivered, world

ONE_WAY = 0.030
MARGIN = 0.010


async def _traffic(made: SystemWorld, seconds: float, period: float = 0.07) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await made.enqueue({"at": loop.time()})
        await asyncio.sleep(period)


def _worst_age(made: SystemWorld, since: float) -> float:
    """Of the records delivered after `since` (wall time), the longest from capture to arrival."""
    records = admin.records(made.folder / "solution.sqlite", limit=100_000)
    return max(r.received_at - r.captured_at for r in records if r.received_at >= since and r.captured_at is not None)


@pytest.mark.parametrize("phase", [0.0, 0.013, 0.037, 0.061])
def test_after_carrier_loss_the_oldest_record_is_one_way_old(phase: float) -> None:
    async def scene() -> None:
        async with world() as made:
            await _traffic(made, 5.0)
            await asyncio.sleep(phase)
            cut = made.clock.wall()
            made.airs["wifi"].set_carrier(False)
            sent = made.airs["lte"].bytes_up
            await made.enqueue({"at": 0})
            await asyncio.sleep(0)
            assert made.airs["lte"].bytes_up - sent <= 120, "bytes on the new link for the first delivery"
            await _traffic(made, 3.0)
            await until_delivered(made)
            # what was in flight when the link died has waited for at most one way of the old link before it went again
            assert _worst_age(made, cut) <= 2 * ONE_WAY + MARGIN
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_after_silent_loss_the_oldest_record_waits_for_one_time_out() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await _traffic(made, 8.0)
            timeout = made.device.access.links["wifi"].timer.timeout
            cut = made.clock.wall()
            made.airs["wifi"].silent = True
            await _traffic(made, 4.0)
            await until_delivered(made)
            assert _worst_age(made, cut) <= max(0.150, timeout) + ONE_WAY + MARGIN
            assert made.delivered() == made.accepted
            assert made.device.access.current == "lte"

    in_virtual_time(scene())


def test_a_dead_service_is_not_taken_for_a_dead_link() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await _traffic(made, 3.0)
            made.kill_service(Service.SOLUTION)
            await _traffic(made, 10.0)
            assert made.device.access.current == "wifi"
            made.start_service(Service.SOLUTION)
            await until_delivered(made)
            assert made.device.access.current == "wifi"
            switches = [entry for entry in made.device.access.log if entry.kind is Kind.SWITCH]
            assert len(switches) <= 2, [entry.text for entry in switches]
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_refusal_of_the_service_is_no_fault_of_the_link() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await _traffic(made, 2.0)
            made.airs["wifi"].refusing.add(Service.SOLUTION)
            await _traffic(made, 4.0)
            made.airs["wifi"].refusing.clear()
            await until_delivered(made)
            assert made.device.access.current == "wifi"
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_coming_back_is_make_before_break_and_waits_longer_each_time_it_flaps() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await _traffic(made, 2.0)
            waits = []
            for _ in range(4):
                made.airs["wifi"].set_carrier(False)
                await _traffic(made, 1.0)
                assert made.device.access.current == "lte"
                made.airs["wifi"].set_carrier(True)
                start = asyncio.get_running_loop().time()
                while made.device.access.current != "wifi":
                    await _traffic(made, 0.2)
                waits.append(asyncio.get_running_loop().time() - start)
            # failback_after, twice as long for each failure in a row; on top of it, time to attach and to prove itself
            assert all(wait >= 5.0 * 2**count for count, wait in enumerate(waits)), waits
            await until_delivered(made)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_link_that_is_up_but_dead_does_not_get_the_traffic_back() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await _traffic(made, 2.0)
            made.airs["wifi"].silent = True
            await _traffic(made, 120.0, period=1.0)
            assert made.device.access.current == "lte"
            probes = len(made.airs["wifi"].sent)
            await _traffic(made, 600.0, period=5.0)
            assert len(made.airs["wifi"].sent) - probes < 30, "probes become rare"
            made.airs["wifi"].silent = False
            await _traffic(made, 3600.0, period=30.0)
            assert made.device.access.current == "wifi"

    in_virtual_time(scene())


def test_an_idle_link_carries_no_byte() -> None:
    async def scene() -> None:
        async with world() as made:
            await made.enqueue({"n": 1})
            await until_delivered(made)
            await asyncio.sleep(5)
            before = {name: (air.bytes_up, air.bytes_down) for name, air in made.airs.items()}
            await asyncio.sleep(2 * 86_400)
            assert {name: (air.bytes_up, air.bytes_down) for name, air in made.airs.items()} == before

    in_virtual_time(scene())


def test_a_keepalive_is_sent_on_the_link_in_use_only() -> None:
    links = {name: f"{lines}\nkeepalive = 60" for name, lines in LINKS.items()}

    async def scene() -> None:
        async with world(links=links) as made:
            await made.enqueue({"n": 1})
            await asyncio.sleep(5)
            before = {name: len(air.sent) for name, air in made.airs.items()}
            await asyncio.sleep(3600)
            assert 50 <= len(made.airs["wifi"].sent) - before["wifi"] <= 61
            assert len(made.airs["lte"].sent) == before["lte"]

    in_virtual_time(scene())


def test_a_backlog_of_ten_thousand_drains_in_about_two_seconds() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.set_carrier(False)
            await asyncio.sleep(1)
            for n in range(10_000):
                await made.enqueue({"temp": 21.5, "hum": 48, "volt": 3.71, "n": n})
            made.airs["wifi"].set_carrier(True)
            while made.device.access.current is None:
                await asyncio.sleep(0.01)
            start = asyncio.get_running_loop().time()
            await until_delivered(made)
            assert asyncio.get_running_loop().time() - start <= 2.0, "virtual seconds, at 60 ms round trip"
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_records_below_the_urgency_of_a_dear_link_wait_for_another() -> None:
    links = {"wifi": "order = 1", "sat": 'order = 9\ncost_per_byte = 0.01\nmin_urgency = "alarm"'}

    async def scene() -> None:
        async with world(links=links) as made:
            assert made.device
            made.airs["wifi"].set_carrier(False)
            await asyncio.sleep(2)
            low = await made.device.solution.enqueue({"n": 1})
            high = await made.device.solution.enqueue({"n": 2}, urgency=Urgency.ALARM)
            frugal = await made.device.solution.enqueue({"n": 3}, urgency=Urgency.ALARM, max_cost=0.001)
            await high.wait(30)
            await asyncio.sleep(60)
            assert not low.state.final
            assert not frugal.state.final
            assert "ALARM" in made.device.explain()
            made.airs["wifi"].set_carrier(True)
            await low.wait(60)
            await frugal.wait(60)

    in_virtual_time(scene())


def test_a_record_may_name_its_links() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            receipt = await made.device.solution.enqueue({"n": 1}, links=["lte"])
            await receipt.wait(10)
            (record,) = admin.records(made.folder / "solution.sqlite", limit=10)
            assert record.link == "lte"

    in_virtual_time(scene())


def test_late_answers_are_no_reason_to_change_links() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            made.airs["wifi"].reordering = 0.1  # one packet in ten is up to 0.6 s late
            await _traffic(made, 120.0, period=0.2)
            await until_delivered(made)
            switches = [entry for entry in made.device.access.log if entry.kind is Kind.SWITCH]
            assert len(switches) <= 2, [entry.text for entry in switches]
            assert made.delivered() == made.accepted

    in_virtual_time(scene())
