"""The invariants of the design, each by name, with a whole device and whole services in virtual time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import looptime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.objects import ReceiptState, Service, Urgency
from rataccess.services import admin
from tests.system.system_world import SystemWorld

LINKS = {"wifi": "order = 1\nfailback_after = 5", "lte": "order = 2\nfailback_after = 5"}
SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None


def in_virtual_time(scene: Any) -> None:
    """Run the coroutine `scene` to its end in a loop whose time jumps."""
    # few rounds without events before time moves: nothing here waits for the world outside
    loop = looptime.new_event_loop(start=0, end=40 * 86_400, noop_cycles=3)
    try:
        loop.run_until_complete(scene)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[SystemWorld]:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        made = SystemWorld(Path(folder), options.pop("links", LINKS), **options)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()


async def until_delivered(made: SystemWorld, seconds: float = 600.0) -> None:
    assert made.device
    await made.device.flush(seconds)


DEEDS = st.sampled_from(
    [
        "carrier",
        "silent",
        "hang",
        "loss",
        "double",
        "reorder",
        "refuse",
        "service",
        "device",
        "crash",
        "command",
        "records",
        "records",
        "burst",
    ]
)
SCRIPT = st.lists(
    st.tuples(DEEDS, st.sampled_from(["wifi", "lte"]), st.sampled_from(list(Service)), st.floats(0.0, 30.0)),
    max_size=14,
)


@given(SCRIPT, st.integers(0, 1000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_invariant_1_and_7_every_accepted_record_is_delivered_exactly_once(
    script: list[tuple[str, str, Service, float]], seed: int
) -> None:
    async def scene() -> None:
        async with world(seed=seed) as made:
            for deed, link, service, pause in script:
                await _do(made, deed, link, service)
                await asyncio.sleep(pause)
            await _heal(made)
            await made.enqueue({"last": True})
            await until_delivered(made)
            assert made.delivered() == made.accepted
            assert await _commands(made) == list(range(made.commands))
            made.check_nonces()
            assert not made.faults

    in_virtual_time(scene())


async def _commands(made: SystemWorld) -> list[object]:
    """What has come down, in order, once the services had time to say it."""
    assert made.device
    for _ in range(90):
        made.tick()
        await asyncio.sleep(1)
        if not any(each.waiting for each in admin.list_devices(made.folder / "solution.sqlite")):
            break
        await made.enqueue({"hello": 1})
    found: list[object] = []
    while (item := await made.device.solution.dequeue(0)) is not None:
        found.append(item.value)
        item.ack()
    return found


async def _do(made: SystemWorld, deed: str, link: str, service: Service) -> None:
    air = made.airs[link]
    if deed == "carrier":
        air.set_carrier(not air.carrier)
    elif deed == "silent":
        air.silent = not air.silent
    elif deed == "hang":
        air.hung = True
    elif deed in ("loss", "double", "reorder"):
        name = {"loss": "loss", "double": "doubling", "reorder": "reordering"}[deed]
        setattr(air, name, 0.0 if getattr(air, name) else 0.3)
    elif deed == "refuse":
        air.refusing ^= {service}
    elif deed == "service":
        if service in made.services:
            made.kill_service(service)
        else:
            made.start_service(service)
    elif deed == "device":
        await made.kill_device()
        await made.start_device()
    elif deed == "crash":
        await made.crash_device()
        await made.start_device()
    elif deed == "command":
        for _ in range(3):
            admin.enqueue_inbound(made.folder / "solution.sqlite", "T", "commands", made.commands)
            made.commands += 1
        made.tick()
    else:
        for _ in range(60 if deed == "burst" else 3):
            number = len(made.accepted)
            value: Any = {"n": number, "blob": b"x" * (4000 if number % 11 == 5 else 3)}
            await made.enqueue(value, urgency=Urgency(number % 4), queue=f"q{number % 3}")


async def _heal(made: SystemWorld) -> None:
    for air in made.airs.values():
        air.silent = False
        air.loss = air.doubling = air.reordering = 0.0
        air.refusing.clear()
        air.set_carrier(True)
    for service in Service:
        if service not in made.services:
            made.start_service(service)


def test_invariant_2_a_replayed_or_altered_message_changes_nothing() -> None:
    async def scene() -> None:
        async with world() as made:
            for n in range(30):
                await made.enqueue({"n": n})
            await until_delivered(made)
            core = made.services[Service.SOLUTION]
            before = made.delivered()
            for service, data in made.airs["wifi"].sent:
                if service is Service.SOLUTION:
                    assert core.process([(data, "replay")]) == []
                    for position in range(0, len(data), 3):
                        altered = bytearray(data)
                        altered[position] ^= 0x40
                        core.process([(bytes(altered), "altered")])
            assert made.delivered() == before == made.accepted

    in_virtual_time(scene())


@given(st.integers(60, 1400), st.integers(1, 6000))
@settings(max_examples=15, deadline=None)
def test_invariant_3_no_packet_exceeds_the_mtu_of_the_moment(mtu: int, size: int) -> None:
    async def scene() -> None:
        async with world() as made:
            made.airs["wifi"].mtu = mtu
            made.airs["lte"].mtu = max(60, mtu // 2)
            await made.kill_device()
            await made.start_device()
            await made.enqueue({"blob": bytes(size)})
            await asyncio.sleep(0.4)
            made.airs["wifi"].set_carrier(False)
            for n in range(20):
                await made.enqueue({"n": n})
            await until_delivered(made)
            assert made.delivered() == made.accepted
            made.check_nonces()
            assert not made.faults

    in_virtual_time(scene())


def test_invariant_3_a_shrinking_mtu_is_obeyed_at_once() -> None:
    async def scene() -> None:
        async with world() as made:
            await asyncio.sleep(1)
            air = made.airs["wifi"]
            for mtu in (1000, 400, 120, 900):
                air.mtu = mtu
                for receiver in air.receivers:
                    receiver.set_mtu(mtu)
                await made.enqueue({"blob": b"y" * 2000, "mtu": mtu})
                await until_delivered(made)
            assert made.delivered() == made.accepted
            assert not air.faults

    in_virtual_time(scene())


def test_invariant_3_no_budget_is_exceeded_not_even_by_restarts() -> None:
    links = {"lte": "budget = { bytes = 20000, period = 86400.0, billing_quantum = 100 }"}

    async def scene() -> None:
        async with world(links=links) as made:
            spent = 0
            for day in range(3):
                for n in range(400):
                    await made.enqueue({"day": day, "n": n, "pad": b"p" * 60})
                for hour in range(4):
                    await asyncio.sleep(3600)
                    await (made.crash_device() if hour % 2 else made.kill_device())
                    await made.start_device()
                air = made.airs["lte"]
                billed = sum(-(-len(data) // 100) * 100 for _, data in air.sent)
                assert billed - spent <= 20_000, "more was sent in one period than the budget allows"
                spent = billed
                await asyncio.sleep(86_400 - (made.clock.wall() % 86_400) + 1)
            assert 20_000 < spent <= 60_000, "the budget is used, and refilled with each period"
            assert len(made.delivered()) > 200

    in_virtual_time(scene())


def test_invariant_5_a_flood_starves_neither_the_other_channel_nor_a_higher_urgency() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            made.airs["wifi"].delay = made.airs["lte"].delay = 0.3
            await asyncio.sleep(2)
            for n in range(4000):
                await made.enqueue({"n": n, "pad": b"z" * 200}, urgency=Urgency.BULK)
            start = asyncio.get_running_loop().time()
            alarm = await made.device.solution.enqueue({"fire": True}, urgency=Urgency.ALARM, queue="alarms")
            other = await made.device.management.enqueue({"hello": 1}, queue="log", urgency=Urgency.BULK)
            await alarm.wait(5)
            await other.wait(5)
            assert asyncio.get_running_loop().time() - start < 2.0, "virtual seconds: two round trips and a half"
            assert len(made.delivered()) < 4000, "the flood is still under way"

    in_virtual_time(scene())


@given(st.lists(st.binary(max_size=120), max_size=40), st.data())
@settings(max_examples=25, deadline=None)
def test_invariant_6_any_bytes_from_the_network_do_no_harm(noise: list[bytes], data: st.DataObject) -> None:
    async def scene() -> None:
        async with world() as made:
            await asyncio.sleep(1)
            await made.enqueue({"n": 1})
            await asyncio.sleep(1)
            real = [packet for _, packet in made.airs["wifi"].sent]
            for each in noise:
                service = data.draw(st.sampled_from(list(Service)))
                base = data.draw(st.sampled_from([*real, each]))
                mixed = bytes(a ^ b for a, b in zip(base, each.ljust(len(base), b"\0"), strict=False))
                for hostile in (each, mixed):
                    made.services[service].process([(hostile, "noise")])
                    made.airs["wifi"].answer(service, hostile)
            await asyncio.sleep(1)
            await made.enqueue({"n": 2})
            await until_delivered(made)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_expired_and_dropped_records_are_told_and_leave_no_hole() -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            for air in made.airs.values():
                air.set_carrier(False)
            late = await made.device.solution.enqueue({"stale": 1}, ttl=10)
            await asyncio.sleep(30)
            assert late.state is ReceiptState.EXPIRED
            for air in made.airs.values():
                air.set_carrier(True)
            for n in range(5):
                await made.enqueue({"n": n})
            await until_delivered(made)
            await made.enqueue({"n": 6})
            await until_delivered(made)
            await asyncio.sleep(20)
            assert made.delivered() == made.accepted
            exchange = made.device._exchanges[Service.SOLUTION]
            assert exchange.peer_floor == max(made.accepted), "the service was told that the expired number is void"

    in_virtual_time(scene())
