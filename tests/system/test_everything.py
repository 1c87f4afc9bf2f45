"""Everything switched on at once, and every trouble: templates, calls, packets, inbound objects, fleets, named objects."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.objects import Service
from tests.system.everything_world import EVENTS, FIRST, FLOATS, ROUTES, SECOND, URGENCIES, EverythingWorld, full_disks
from tests.system.test_invariants import SHM, in_virtual_time

LINKS = {
    "wifi": "order = 1\nfailback_after = 5",
    "lte": 'order = 2\nfailback_after = 5\nmin_urgency = "routine"\ncost_per_byte = 0.001\n'
    "budget = { bytes = 150000, period = 600.0, billing_quantum = 10 }",
}


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[EverythingWorld]:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        made = EverythingWorld(Path(folder), options.pop("links", LINKS), **options)
        with full_disks(made):
            try:
                await made.start()
                yield made
            finally:
                await made.stop()


TROUBLE = (
    "carrier", "silent", "hang", "loss", "double", "reorder", "alter", "refuse", "service", "killed service", "device",
    "crash", "device full", "service full", "heal", "heal", "heal", "heal", "heal", "heal",
)  # fmt: skip
WORK = (
    "first", "first", "second", "events", "floats", "plain", "plain", "call", "call", "packet", "post", "command",
    "take", "take", "environment", "put", "define", "ttl",
)  # fmt: skip


async def do(made: EverythingWorld, deed: str, link: str, service: Service) -> None:
    air, draw = made.airs[link], made.random
    options: dict[str, Any] = {"urgency": draw.choice(URGENCIES)}
    assert made.device
    if deed == "heal":
        await heal(made)
    elif deed == "carrier":
        air.set_carrier(not air.carrier)
    elif deed == "silent":
        air.silent = not air.silent
    elif deed == "hang":
        air.hung = True
    elif deed in ("loss", "double", "reorder"):
        name = {"loss": "loss", "double": "doubling", "reorder": "reordering"}[deed]
        setattr(air, name, 0.0 if getattr(air, name) else 0.3)
    elif deed == "alter":
        made.altering = 0.0 if made.altering else 0.2
    elif deed == "refuse":
        air.refusing ^= {service}
    elif deed in ("service", "killed service"):
        if service in made.services:
            await made.end_service(service, killed=deed == "killed service")
        else:
            made.start_service(service)
    elif deed in ("device", "crash"):
        made.full_disk(False)
        await (made.kill_device() if deed == "device" else made.crash_device())
        if deed == "crash":  # an acknowledgement of the last moments may be undone by that
            made.acknowledged = {number: at for number, at in made.acknowledged.items() if at < made.written_at() - 2.0}
        await made.start_device()
    elif deed == "device full":
        made.full_disk("device" not in made.full)
    elif deed == "service full":
        made.full ^= {service}
    elif deed == "first":
        for _ in range(draw.choice([1, 5, 60])):
            await made.reading(FIRST, **options)
    elif deed == "second":
        for _ in range(draw.choice([1, 5, 60])):
            await made.reading(SECOND, **options)
    elif deed == "events":
        for _ in range(draw.choice([1, 4])):
            await made.event(**options)
    elif deed == "floats":
        for _ in range(draw.choice([1, 20])):
            await made.floats(**options)
    elif deed == "plain":
        for _ in range(draw.choice([1, 5, 30])):
            await made.plain(**options)
    elif deed == "ttl":
        await made.reading(FIRST, ttl=draw.choice([0.5, 5.0, 60.0]), **options)
        await made.plain(links=("wifi",), **options)
        await made.floats(max_cost=draw.choice([0.0, 0.3]), **options)
    elif deed == "call":
        made.call(
            draw.choice([*ROUTES, "missing"]),
            repeatable=draw.random() < 0.5,
            timeout=draw.choice([2.0, 10.0, 60.0]),
            wait=draw.choice([0.0, 0.5, 5.0, 15.0]),
        )
    elif deed == "packet":
        await made.packet()
    elif deed == "post":
        made.post_packet()
    elif deed == "command":
        made.command()
    elif deed == "take":
        await made.take(draw.choice(["acknowledge", "acknowledge", "keep", "give back"]))
    elif deed == "environment":
        made.environment()
    elif deed == "put":
        await made.put_object()
    else:
        await made.device.solution.define(draw.choice([FIRST, SECOND, EVENTS, FLOATS]))


async def heal(made: EverythingWorld) -> None:
    for air in made.airs.values():
        air.silent = False
        air.loss = air.doubling = air.reordering = 0.0
        air.refusing.clear()
        air.set_carrier(True)
    made.altering = 0.0
    made.full_disk(False)
    made.full.clear()
    for service in Service:
        if service not in made.services:
            made.start_service(service)


async def end(made: EverythingWorld) -> None:
    """Trouble is over; the device starts once more, so that what was left with the application comes again."""
    await heal(made)
    await asyncio.sleep(1)
    await made.kill_device()
    await made.start_device()
    await made.settle()
    assert not made.account()


def run(script: list[tuple[str, str, Service, float]], seed: int) -> None:
    async def scene() -> None:
        async with world(seed=seed) as made:
            for deed, link, service, pause in script:
                await do(made, deed, link, service)
                await asyncio.sleep(pause)
            await end(made)

    in_virtual_time(scene())


def long_script(seed: int, length: int) -> list[tuple[str, str, Service, float]]:
    draw = random.Random(seed)
    pauses = [0.0, 0.01, 0.1, 0.5, 2.0, 10.0, 40.0]
    return [
        (
            draw.choice(WORK if draw.random() < 0.75 else TROUBLE),
            draw.choice(["wifi", "lte"]),
            draw.choice(list(Service)),
            draw.choice(pauses),
        )
        for _ in range(length)
    ]


@pytest.mark.parametrize("seed", [0, 2])
def test_whatever_happens_each_promise_is_kept(seed: int) -> None:
    run(long_script(seed, 80), seed)


SCRIPT = st.lists(
    st.tuples(
        st.sampled_from(WORK + TROUBLE),
        st.sampled_from(["wifi", "lte"]),
        st.sampled_from(list(Service)),
        st.floats(0.0, 30.0),
    ),
    max_size=14,
)


@given(SCRIPT, st.integers(0, 1000))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_little_happens_each_promise_is_kept(script: list[tuple[str, str, Service, float]], seed: int) -> None:
    run(script, seed)
