"""Calls of a device whose clock is unknown, or jumps: time limits are durations, and no clock's business."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.errors import CallTimeout
from rataccess.objects import Service, encode
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, until_delivered, world

YEAR = 365 * 86_400
ONE = {"wifi": "order = 1"}


class OwnClock:
    """The device's: as wrong as it is told, while the services' is right."""

    def __init__(self, made: SystemWorld) -> None:
        self._clock, self.ahead, self.known = made.clock, 0.0, True

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall() + self.ahead

    def wall_known(self) -> bool:
        return self.known


async def start(made: SystemWorld) -> OwnClock:
    clock = OwnClock(made)
    await made.kill_device()
    world_clock, made.clock = made.clock, clock  # type: ignore[assignment]
    try:
        await made.start_device()
    finally:
        made.clock = world_clock
    return clock


async def answered(made: SystemWorld, after: float) -> object:
    """One call that the desk answers `after` some seconds, if it still may."""
    assert made.device
    calling = asyncio.create_task(made.device.solution.call("prices", timeout=60))
    store = made.services[Service.SOLUTION].store
    while not (calls := store.open_calls()):
        await asyncio.sleep(0.1)
        if calling.done():
            return await calling
    await asyncio.sleep(after)
    assert calls[0].expires_at > made.clock.wall()
    assert store.answer_call(calls[0], 200, encode("cheap"))
    for _ in range(10):
        made.tick()
        await asyncio.sleep(1)
    return await calling


@pytest.mark.parametrize("ahead", [0.0, YEAR, -YEAR])
@pytest.mark.parametrize("known", [True, False])
def test_a_call_is_answered_whatever_the_clock_says(ahead: float, known: bool) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            clock = await start(made)
            clock.ahead, clock.known = ahead, known
            if not known:
                made.kill_service(Service.MANAGEMENT)  # or it would tell
            assert await answered(made, 20) == "cheap"

    in_virtual_time(scene())


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_clock_that_jumps_in_the_middle_of_a_call(jump: float) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            clock = await start(made)
            asyncio.get_running_loop().call_later(5, lambda: setattr(clock, "ahead", jump))
            assert await answered(made, 20) == "cheap"
            assert await answered(made, 20) == "cheap"

    in_virtual_time(scene())


@pytest.mark.parametrize("known", [True, False])
def test_a_call_that_cannot_leave_ends_in_time_and_never_leaves(known: bool) -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            clock = await start(made)
            clock.known = known
            made.kill_service(Service.MANAGEMENT)
            await asyncio.sleep(1)
            made.airs["wifi"].set_carrier(False)
            assert made.device
            before = asyncio.get_running_loop().time()
            with pytest.raises(CallTimeout) as caught:
                await made.device.solution.call("prices", timeout=60)
            assert asyncio.get_running_loop().time() - before == pytest.approx(60, abs=1)
            assert not caught.value.sent
            made.airs["wifi"].set_carrier(True)
            await made.enqueue({"n": 1})
            await asyncio.sleep(30)
            assert made.services[Service.SOLUTION].store.open_calls() == []
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_a_time_learnt_in_the_middle_of_a_call() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            clock = await start(made)
            clock.ahead, clock.known = -50 * YEAR, False
            await until_delivered(made)
            assert await answered(made, 20) == "cheap"

    in_virtual_time(scene())
