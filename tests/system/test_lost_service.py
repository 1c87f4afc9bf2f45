"""A service that has lost its store: the numbers of what comes are not misread."""

from __future__ import annotations

import asyncio

from rataccess.objects import Service, decode
from tests.system.test_invariants import in_virtual_time, until_delivered, world


def test_a_device_that_starts_tells_whole_numbers_to_a_service_that_knows_none() -> None:
    """Sixteen bits of 70,001 would be 4,465 to a service whose floor is 0: they come only after an acknowledgement."""

    async def scene() -> None:
        async with world() as made:
            assert made.device
            made.device.store._engine.outbox.totals.last[1] = 70_000  # as after years
            for n in range(3):
                await made.enqueue({"n": n})
            assert min(made.accepted) == 70_001
            await until_delivered(made)
            assert made.delivered() == made.accepted, "no floor was known, at either end"
            await made.kill_device()
            made.kill_service(Service.SOLUTION)
            for path in made.folder.glob("solution.sqlite*"):
                path.unlink()
            made.accepted.clear()
            made.start_service(Service.SOLUTION)
            await made.start_device()
            for n in range(3):
                await made.enqueue({"n": n})
            await asyncio.sleep(1)
            await until_delivered(made)
            assert min(made.accepted) > 70_000
            parked = made.services[Service.SOLUTION].store.execute("SELECT number, body FROM parked")
            assert {number: decode(body) for number, body in parked} == made.accepted, (
                "its queue's name was lost as well"
            )

    in_virtual_time(scene())
