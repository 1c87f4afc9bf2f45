"""A service that has lost its store: the numbers of what comes are not misread, and it is told again what it needs."""

from __future__ import annotations

import asyncio

from rataccess import Integer, Scaled, Template
from rataccess.objects import Service
from tests.system.system_world import SystemWorld
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
            assert made.delivered() == made.accepted, "its queue's name was lost as well, and told again"

    in_virtual_time(scene())


READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100))


def test_a_service_whose_store_was_deleted_asks_and_is_told_and_files_in_order() -> None:
    async def scene() -> None:
        async with world(links={"wifi": "order = 1"}) as made:
            assert made.device
            for n in range(20):
                await made.enqueue({"temp": 20 + n / 10, "hum": n}, template=READINGS)
            await until_delivered(made)
            assert made.delivered() == made.accepted
            _forget(made)
            made.accepted.clear()
            for n in range(40):
                await made.enqueue({"temp": 30 - n / 10, "hum": n}, template=READINGS)
                if n % 10 == 9:
                    await asyncio.sleep(0.5)
            await until_delivered(made)
            await asyncio.sleep(3)
            await until_delivered(made)
            store = made.services[Service.SOLUTION].store
            counters = made.services[Service.SOLUTION].counters
            assert counters["parked blocks"] > 0
            assert store.execute("SELECT * FROM blocks") == store.execute("SELECT * FROM parked") == []
            assert made.delivered() == made.accepted
            order = [record.number or 0 for record in store.records_after(None)]
            assert order == sorted(order)
            assert {record.queue for record in store.records_after(None)} == {"readings"}
            made.check_nonces()
            assert not made.faults

    in_virtual_time(scene())


def test_a_service_that_forgets_again_and_again_is_told_once_an_hour() -> None:
    async def scene() -> None:
        async with world(links={"wifi": "order = 1"}) as made:
            assert made.device
            for _ in range(6):
                for n in range(5):
                    await made.enqueue({"temp": 20 + n / 10, "hum": n}, template=READINGS)
                await until_delivered(made)
                await asyncio.sleep(5)
                _forget(made)
                made.accepted.clear()
            last = made.device.store.last_number(Service.SOLUTION)
            assert last <= 6 * 5 + 1 + 2, "one definition, and one more with one name"
            for n in range(5):
                await made.enqueue({"temp": 20 + n / 10, "hum": n}, template=READINGS)
            await asyncio.sleep(3600)
            for _ in range(70):  # it asks ever more rarely; whatever comes is answered
                await asyncio.sleep(60)
                await made.enqueue({"temp": 1.0, "hum": 1}, template=READINGS)
            await until_delivered(made)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def _forget(made: SystemWorld) -> None:
    made.kill_service(Service.SOLUTION)
    for path in made.folder.glob("solution.sqlite*"):
        path.unlink()
    made.start_service(Service.SOLUTION)
