"""A LoRa link out of reach: its budget is not used up before the network is back, and alarms do not go in bursts; a full
disk and a clock that is set cost no try, no credit and no processor time of their own."""

from __future__ import annotations

import asyncio
import itertools
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rataccess import Integer, Template
from rataccess.driver import Bearer
from rataccess.errors import DiskFull
from rataccess.exchange.lane import MOST_PAUSE
from rataccess.exchange.ledger import RESEND_AFTER
from rataccess.objects import Service, Urgency
from rataccess.security.context import SecureContext
from rataccess.transport import Handover, Packet
from tests.compact.compact_world import compact_world
from tests.system.air import AirDriver
from tests.system.four_rats import LINKS, FourRats
from tests.system.radios import LoRaAir
from tests.system.test_clocks import start
from tests.system.test_invariants import SHM, in_virtual_time

HOUR = 3600.0


@asynccontextmanager
async def rats(links: dict[str, str]) -> AsyncIterator[FourRats]:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        world = FourRats(Path(folder), links)
        if "lora" in links:
            world.lora.lossy = 0.0
        try:
            await world.start()
            await asyncio.sleep(60)
            yield world
        finally:
            await world.stop()


async def sample(world: FourRats, seconds: float, urgency: Urgency = Urgency.ROUTINE) -> None:
    end = world.clock.monotonic() + seconds
    while world.clock.monotonic() < end:
        await world.enqueue({"n": len(world.accepted)}, urgency=urgency)
        await asyncio.sleep(1200)


def test_hours_out_of_coverage_leave_air_time_for_what_waited() -> None:
    """At SF12 a day's 60 s pay for eight packets with their repetitions; nobody else can carry anything."""

    async def scene() -> None:
        lora = {"lora": "order = 1\nbudget = { airtime = 60.0, period = 86400.0 }"}
        async with rats(lora) as world:
            world.lora.set_rate(0)
            world.lora.covered = False
            await sample(world, 4 * HOUR)
            assert world.device
            budget = world.device.access.links["lora"].budget
            assert budget is not None
            assert budget.left > 20_000
            told = world.device.explain()
            assert "nothing got through in" in told
            assert "(alarms: " in told
            world.lora.covered = True
            world.lora.set_rate(5)
            await world.enqueue({"leak": 1}, urgency=Urgency.ALARM)
            await asyncio.sleep(5 * HOUR)
            assert world.delivered() == world.accepted
            assert "nothing got through" not in world.device.explain()
            assert not world.account()

    in_virtual_time(scene())


def test_a_link_whose_air_time_is_used_up_is_not_brought_up_before_it_may_send_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt to join is time on the air as well, and went on when the budget had nothing left."""
    attach, join = AirDriver.attach, 4000

    async def joining(driver: AirDriver) -> Bearer:
        assert isinstance(driver.air, LoRaAir)
        driver.air.bill(join)
        driver.air.on_charge(join)
        return await attach(driver)

    async def scene() -> None:
        budget = {"lora": "order = 1\nbudget = { airtime = 30.0, period = 86400.0 }"}
        async with rats(budget) as world:
            world.lora.set_carrier(False)
            await world.enqueue({"n": 0})
            await asyncio.sleep(20 * HOUR)
            assert world.device
            assert "that costs air time too" in world.device.explain()
            spent = world.lora.spent.total()
            await world.kill_device()
            await world.start_device()
            await asyncio.sleep(60)
            assert world.lora.spent.total() == spent, "nor after a restart"
            world.lora.set_carrier(True)
            await asyncio.sleep(26 * HOUR)
            assert world.delivered() == world.accepted
            assert 30_000 <= max(world.lora.spent.values()) < 30_000 + join

    monkeypatch.setattr(AirDriver, "attach", joining)
    in_virtual_time(scene())


def test_alarms_take_the_satellite_while_lora_rests_and_do_not_wake_it() -> None:
    async def scene() -> None:
        async with rats({name: LINKS[name] for name in ("lora", "sat")}) as world:
            world.lora.set_rate(0)
            world.lora.covered = False
            world.sat.failing = world.sat.twice = 0.0
            for n in range(8):
                before = world.sat.accepted
                await world.enqueue({"leak": n}, urgency=Urgency.ALARM)
                await asyncio.sleep(60)
                assert world.sat.accepted == before + 1
                await asyncio.sleep(HOUR / 4)
            assert sum(world.lora.spent.values()) < 8 * 7000, "not each of them tried it first"

    in_virtual_time(scene())


def test_alarms_over_a_silent_link_go_one_by_one() -> None:
    """Uplinks that are not confirmed: only the absence of an answer, for half a minute, tells of the silence."""

    async def scene() -> None:
        async with compact_world(links={"lora": "order = 1"}) as world:
            await world.enqueue({"n": 0})
            await asyncio.sleep(60)
            lora, times = world.airs["lora"], list[float]()
            take = lora.take
            lora.take = lambda packet: (times.append(world.clock.monotonic()), take(packet))  # type: ignore[method-assign,assignment,func-returns-value]
            lora.silent = True
            for n in range(8):
                await world.enqueue({"leak": n, "where": "x" * 30}, urgency=Urgency.ALARM)
            await asyncio.sleep(HOUR)
            later = [at for at in times if at > times[0] + 25]
            assert 5 < len(later) < 20
            assert min(b - a for a, b in itertools.pairwise(later)) > 25, (
                "nobody sends the next before the last is overdue"
            )

    in_virtual_time(scene())


def test_a_disk_that_is_full_for_hours_is_tried_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with rats({"lora": "order = 1", "wifi": "order = 2"}) as world:
            protect, tries = SecureContext.protect_request, list[float]()

            def full(*arguments: object, **options: object) -> None:
                tries.append(world.clock.monotonic())
                raise DiskFull("no room")

            monkeypatch.setattr(SecureContext, "protect_request", full)
            await world.enqueue({"n": 0}, links=["wifi"])
            await asyncio.sleep(HOUR)
            assert 100 < len(tries) < 140, "twice a minute, not each second"
            monkeypatch.setattr(SecureContext, "protect_request", protect)
            await asyncio.sleep(MOST_PAUSE + 1)
            assert world.delivered() == world.accepted

    in_virtual_time(scene())


@pytest.mark.parametrize("ahead", [-365 * 86_400.0, 365 * 86_400.0])
def test_what_a_satellite_took_goes_again_after_its_time_however_the_clock_is_set(ahead: float) -> None:
    """Set back by a year it was sent again in a year; set forward, at once, and paid for again."""

    async def scene() -> None:
        async with rats({"sat": LINKS["sat"]}) as world:
            clock = await start(world)
            world.sat.failing = world.sat.twice = 0.0
            world.kill_service(Service.SOLUTION)  # what the gateway passes on is lost
            await world.enqueue({"leak": 1}, urgency=Urgency.ALARM)
            await asyncio.sleep(HOUR)
            assert world.sat.accepted == 1
            clock.ahead = ahead
            await asyncio.sleep(RESEND_AFTER - 2 * HOUR)
            assert world.sat.accepted == 1
            world.start_service(Service.SOLUTION)
            await asyncio.sleep(3 * HOUR)
            assert world.sat.accepted == 2
            assert world.delivered() == world.accepted

    in_virtual_time(scene())


def test_alarms_between_records_that_wait_are_acknowledged_however_many_gaps_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only alarms may go by satellite: each is a range of its own in what the service has, and none is paid for twice."""

    async def scene() -> None:
        async with rats({"sat": 'order = 1\nmin_urgency = "alarm"'}) as world:
            world.watch(monkeypatch)
            world.sat.failing = world.sat.twice = 0.0
            for n in range(80):
                await world.enqueue({"n": n}, urgency=Urgency.ALARM if n % 2 else Urgency.ROUTINE)
            for _ in range(4):
                for _ in range(7):
                    await asyncio.sleep(1800)
                    world.tick()
                await world.enqueue({"leak": 1}, urgency=Urgency.ALARM)
            await asyncio.sleep(600)
            assert len(world.bought["sat"]) == 44
            assert set(world.bought["sat"].values()) == {1}

    in_virtual_time(scene())


def test_a_record_for_the_satellite_alone_is_not_sent_again_in_the_middle_of_its_session() -> None:
    """Another link came up, and what was on its way in compact form was given up: it went into a second, paid session."""

    async def scene() -> None:
        async with rats({"wifi": "order = 1", "sat": "order = 2"}) as world:
            transmit = world.sat.transmit

            async def slowly(packet: Packet) -> Handover | None:
                await asyncio.sleep(120)
                return await transmit(packet)

            world.sat.failing = world.sat.twice = 0.0
            world.sat.transmit = slowly  # type: ignore[method-assign]
            world.airs["wifi"].set_carrier(False)
            await world.enqueue({"leak": 1}, urgency=Urgency.ALARM, links=["sat"])
            await asyncio.sleep(10)
            world.airs["wifi"].set_carrier(True)
            await asyncio.sleep(600)
            assert world.sat.accepted == 1
            assert world.delivered() == world.accepted

    in_virtual_time(scene())


def test_the_first_minutes_tell_what_each_link_waits_for() -> None:
    """No sky, no bearer, no budget set: nothing has gone anywhere yet, and `explain` says why and until when."""

    async def scene() -> None:
        links = {"wifi": "order = 1", "sat": 'order = 2\nmin_urgency = "alarm"'}
        async with rats(links) as world:
            world.airs["wifi"].set_carrier(False)
            world.sat.sky = False
            await world.enqueue({"leak": 1}, urgency=Urgency.ALARM)
            await asyncio.sleep(70)
            assert world.device
            in_use, alarms, wifi, sat, *_ = world.device.explain().splitlines()
            assert in_use.startswith("in use: no link")
            assert alarms.startswith("for alarms: sat: best of the links")
            assert re.search(r"no carrier.*, next attempt in \d+ s", wifi)
            assert re.search(r"takes nothing for \d+ s \(no satellite in sight\)", sat)

    in_virtual_time(scene())


@pytest.mark.parametrize("least", ["routine", "alarm"])
def test_what_a_template_means_is_told_where_no_link_takes_bulk(least: str) -> None:
    """The definition waited for a link that was not configured, and what was delivered could never be read."""

    async def scene() -> None:
        async with rats({"lora": f'order = 1\nmin_urgency = "{least}"'}) as world:
            readings = Template("readings", id=1, level=Integer(0, 4000))
            for n in range(3):
                await world.enqueue({"level": n}, template=readings, urgency=Urgency.ALARM)
            await asyncio.sleep(1200)
            assert world.delivered() == world.accepted

    in_virtual_time(scene())


def test_what_a_satellite_took_is_asked_after_where_that_is_free() -> None:
    """Wi-Fi was up all the time, and nobody asked: the record waited for six hours, and was paid for again."""

    async def scene() -> None:
        async with rats({"wifi": "order = 1", "sat": "order = 2"}) as world:
            world.sat.failing = world.sat.twice = 0.0
            await world.enqueue({"leak": 1}, urgency=Urgency.ALARM, links=["sat"])
            assert world.device
            await world.device.flush(HOUR)
            wifi = len(world.airs["wifi"].sent)
            await asyncio.sleep(RESEND_AFTER)
            assert world.sat.accepted == 1
            assert len(world.airs["wifi"].sent) == wifi, "idle again"

    in_virtual_time(scene())
