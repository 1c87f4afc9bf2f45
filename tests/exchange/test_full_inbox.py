"""An application that acknowledges nothing: what a full inbox costs, and what comes through all the same."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.objects import Service, encode
from rataccess.services import admin
from rataccess.wire import FULL
from tests.exchange.test_packets import Ear
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import in_virtual_time, until_delivered, world

SMALL = "[store]\nmax_records = 64"
FREE, PAID = {"wifi": "order = 1"}, {"sat": "order = 1\ncost_per_byte = 0.001"}
MANY = 100


def commands(made: SystemWorld, first: int = 0) -> None:
    for n in range(first, first + MANY):
        admin.enqueue_inbound(made.folder / "solution.sqlite", "T", "commands", [n, bytes(100)])


async def pass_time(made: SystemWorld, seconds: int, record_every: int = 20) -> None:
    """With the service's own requests, and a record now and then."""
    for second in range(seconds):
        if second % record_every == 0:
            await made.enqueue({"n": second})
        made.tick()
        await asyncio.sleep(1)


def waiting(made: SystemWorld) -> int:
    [(count,)] = made.services[Service.SOLUTION].store.execute("SELECT count(*) FROM outbound")
    return int(count)


@pytest.mark.parametrize("links", [FREE, PAID], ids=["free", "paid"])
def test_a_full_inbox_is_not_sent_the_same_for_ever(links: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(links=links, store=SMALL) as made:
            assert made.device
            air = next(iter(made.airs.values()))
            await made.enqueue({"n": 0})
            await until_delivered(made)
            commands(made)
            await pass_time(made, 300)
            left = waiting(made)
            assert 0 < left < MANY
            assert ear.bodies[-1].control[FULL] is True
            before, packets = air.bytes_down, len(air.sent)
            await pass_time(made, 600)
            assert waiting(made) == left
            assert air.bytes_down - before < 30 * 120, "answers without what found no room"
            assert len(air.sent) - packets < 30 * 2
            made.check_nonces()

    in_virtual_time(scene())


@pytest.mark.parametrize("links", [FREE, PAID], ids=["free", "paid"])
def test_what_is_not_the_applications_comes_through(links: dict[str, str]) -> None:
    async def scene() -> None:
        async with world(links=links, store=SMALL) as made:
            assert made.device
            await made.enqueue({"n": 0})
            await until_delivered(made)
            commands(made)
            await pass_time(made, 120)
            calling = asyncio.create_task(made.device.solution.call("prices", timeout=120))
            admin.put_object(made.folder / "solution.sqlite", "T", "limit", 7)
            admin.set_env(made.folder / "management.sqlite", {"RATE": "5"}, serial_number="T")
            store = made.services[Service.SOLUTION].store
            while not (calls := store.open_calls()):
                await asyncio.sleep(0.1)
            assert store.answer_call(calls[0], 200, encode("cheap"))
            await made.device.management.enqueue("hello")
            await pass_time(made, 60)
            assert await calling == "cheap"
            assert made.device.solution.get("limit") == 7
            assert made.device.management.env["RATE"] == "5"
            await made.kill_device()
            await made.start_device()
            await pass_time(made, 60)
            assert waiting(made) > 0

    in_virtual_time(scene())


@pytest.mark.parametrize("links", [FREE, PAID], ids=["free", "paid"])
def test_once_there_is_room_everything_comes_once_and_in_order(links: dict[str, str]) -> None:
    async def scene() -> None:
        async with world(links=links, store=SMALL) as made:
            assert made.device
            await made.enqueue({"n": 0})
            await until_delivered(made)
            commands(made)
            await pass_time(made, 120)
            found = []
            for _ in range(30):
                while (item := await made.device.solution.dequeue(0)) is not None:
                    value = item.value
                    assert isinstance(value, list)
                    found.append(value[0])
                    item.ack()
                await pass_time(made, 60)
            assert found == list(range(MANY))
            assert waiting(made) == 0

    in_virtual_time(scene())


def test_a_free_link_is_told_soon_that_there_is_room_again() -> None:
    async def scene() -> None:
        async with world(links=FREE, store=SMALL) as made:
            assert made.device
            await made.enqueue({"n": 0})
            await until_delivered(made)
            commands(made)
            await pass_time(made, 120)
            left = waiting(made)
            while (item := await made.device.solution.dequeue(0)) is not None:
                item.ack()
            await pass_time(made, 70, record_every=1000)
            assert waiting(made) < left, "without a record of the device's own"

    in_virtual_time(scene())
