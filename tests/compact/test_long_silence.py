"""Devices that have nothing but a link that is not free: what they need of their services comes, seldom asked for.

Rules of this file: whole devices in virtual time; what is asked for, how often, and what it costs.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

import rataccess.link.link as link_module
from rataccess.clock import LoopClock
from rataccess.device import asynchronous
from rataccess.exchange import housekeeping
from rataccess.exchange.flights import Flight, Flights
from rataccess.exchange.lane import Lane
from rataccess.link.timing import LinkTiming
from rataccess.objects import Service, Urgency
from rataccess.services import admin
from tests.compact.compact_contexts import pair
from tests.compact.compact_world import CompactWorld, compact_world
from tests.security.oscore_reference import SECRET
from tests.system.test_invariants import in_virtual_time

HOUR = 3600.0
UNHEARD, UNHEARD_SESSION, OWED = 4 * HOUR, 16 * HOUR, HOUR
"""Instead of days."""
ALONE = {"lora": {"lora": "order = 1"}, "sat": {"sat": "order = 1"}}


@pytest.fixture(autouse=True)
def quiet_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days become hours, and radios are looked at seldom."""
    monkeypatch.setattr(link_module, "LinkTiming", partial(LinkTiming, watch_every=900.0))
    monkeypatch.setattr(asynchronous, "LOOK_AT_CLOCK", 900.0)
    for name in ("UNHEARD", "UNHEARD_SESSION", "OWED"):
        monkeypatch.setattr(housekeeping, name, globals()[name])


def of_management(made: CompactWorld, link: str) -> int:
    """Packets that the device has sent to the management service."""
    return [service for service, _ in made.airs[link].sent].count(Service.MANAGEMENT)


async def without_time(made: CompactWorld) -> LoopClock:
    """The device starts again, and does not know how late it is."""
    await made.kill_device()
    known, made.clock = made.clock, LoopClock(start=0.0, known=False)
    device, made.clock = await made.start_device(), known
    return device._clock  # type: ignore[return-value]


async def serve(made: CompactWorld, hours: float) -> None:
    """For so long the services send what they have, and satellites come by."""
    for _ in range(round(12 * hours)):
        await asyncio.sleep(HOUR / 12)
        made.tick()
        made.session()


@pytest.mark.parametrize("link", ["lora", "sat"])
def test_a_device_without_a_clock_asks_for_the_time_where_nothing_is_free(link: str) -> None:
    async def scene() -> None:
        async with compact_world(links=ALONE[link]) as made:
            clock = await without_time(made)
            await asyncio.sleep(600)
            assert of_management(made, link) == 1, "once, where the operator took it, or an answer may still come"
            made.session()
            await asyncio.sleep(1)
            assert clock.wall_known()
            assert clock.wall() == pytest.approx(made.clock.wall(), abs=30)
            await asyncio.sleep(0.9 * UNHEARD)
            assert of_management(made, link) == 1

    in_virtual_time(scene())


def test_an_answer_that_waited_for_hours_tells_the_time_all_the_same() -> None:
    async def scene() -> None:
        async with compact_world(links=ALONE["sat"]) as made:
            clock = await without_time(made)
            await asyncio.sleep(HOUR)
            assert made.mailbox
            made.session()
            await asyncio.sleep(1)
            assert clock.wall() == pytest.approx(made.clock.wall(), abs=30)

    in_virtual_time(scene())


def test_a_question_for_the_time_whose_answer_was_lost_is_asked_again_ever_less_often() -> None:
    async def scene() -> None:
        async with compact_world(links=ALONE["sat"]) as made:
            clock = await without_time(made)
            for hours, asked in ((0.5, 1), (1.5, 2), (3.5, 3), (7.5, 4)):
                made.mailbox.clear()
                await asyncio.sleep(hours * HOUR - made.clock.monotonic())
                assert of_management(made, "sat") == asked
            made.session()
            await asyncio.sleep(1)
            assert clock.wall_known()

    in_virtual_time(scene())


@pytest.mark.parametrize("link", ["lora", "sat"])
def test_an_environment_reaches_a_device_that_has_nothing_to_say(link: str) -> None:
    async def scene() -> None:
        async with compact_world(links=ALONE[link]) as made:
            device = made.device
            assert device
            await asyncio.sleep(1)
            admin.set_env(made.folder / "management.sqlite", {"PERIOD": "30"}, serial_number="T")
            await asyncio.sleep(UNHEARD - 600)
            assert of_management(made, link) == 0
            await serve(made, 1.0)
            assert dict(device.management.env) == {"PERIOD": "30"}
            await serve(made, 13.0)
            used = of_management(made, link)
            assert used == (2 if link == "sat" else 4), "a question and an acknowledgement; a question a day"
            waiting = admin.list_devices(made.folder / "management.sqlite")[0].waiting
            assert waiting == 0
            assert made.services[Service.MANAGEMENT].counters["unasked requests"] == 0

    in_virtual_time(scene())


async def test_what_operators_took_lengthens_no_token_elsewhere() -> None:
    flights, lane = Flights(random.Random(1), lambda flight, timeout: None), Lane("sat")
    context, _ = pair(SECRET)
    for number in range(400):
        _, identity = context.protect_compact(b"", Service.SOLUTION)
        flight = Flight(b"compact" + number.to_bytes(5, "big"), identity, lane, 0.0, [])
        flights.launch(flight)
        flights.land(flight)
        flights.late(flight, float("inf"))
    assert {len(flights.token()) for _ in range(300)} == {1}


def test_a_link_without_coverage_falls_and_rises_without_a_burst_each_time() -> None:
    async def scene() -> None:
        async with compact_world(links=ALONE["lora"]) as made:
            lora = made.airs["lora"]
            await made.enqueue({"n": 0})
            await asyncio.sleep(60)
            assert made.delivered() == made.accepted
            lora.silent, before = True, len(made.solution_packets("lora"))
            for n in range(1, 37):
                await asyncio.sleep(HOUR / 6)
                await made.enqueue({"n": n})
            assert made.device
            assert sum("doubts" in each.text for each in made.device.access.log) > 4, "its radio was looked after"
            assert len(made.solution_packets("lora")) - before < 60, "not all that waits, each time (196)"
            lora.silent = False
            await asyncio.sleep(HOUR)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_an_alarm_does_not_wait_for_a_link_that_came_back_without_proof() -> None:
    async def scene() -> None:
        links = {"lora": "order = 1\nfailback_after = 60", "sat": 'order = 2\nmin_urgency = "alarm"'}
        async with compact_world(links=links) as made:
            lora, sat = made.airs["lora"], made.airs["sat"]
            await made.enqueue({"n": 0})
            await asyncio.sleep(60)
            lora.silent, waited = True, list[float]()
            for n in range(1, 37):
                await asyncio.sleep(HOUR / 6)
                await made.enqueue({"n": n})
                if n % 3 == 0:
                    before, since = len(sat.sent), made.clock.monotonic()
                    await made.enqueue({"leak": n}, urgency=Urgency.ALARM)
                    while len(sat.sent) == before and made.clock.monotonic() - since < HOUR:
                        await asyncio.sleep(5)
                    waited.append(made.clock.monotonic() - since)
            assert max(waited) < 60

    in_virtual_time(scene())
