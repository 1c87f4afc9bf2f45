"""Every record exactly once, over LoRaWAN, a satellite and LTE in any order, with all that can come between."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rataccess.exchange import ledger
from rataccess.objects import Service, Urgency, decode
from rataccess.services import admin
from rataccess.template import Integer, Scaled, Template
from tests.compact.compact_world import LINKS, CompactWorld, compact_world, until
from tests.system.test_invariants import _commands as commands
from tests.system.test_invariants import in_virtual_time

S = Service.SOLUTION
RESEND = 1200.0
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A world takes half a second: to make a failing script shorter would take many."""
TEMPLATE = Template("packed", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), id=1)
DEEDS = "record record burst object alarm command silent carrier hold mailbox device crash service slow"
STEP = st.tuples(st.sampled_from(DEEDS.split()), st.sampled_from(["lora", "sat", "lte"]), st.floats(0.0, 400.0))
SCRIPT = st.lists(STEP, max_size=12)


async def do(made: CompactWorld, deed: str, link: str) -> None:
    air, source = made.airs[link], made.random
    if deed == "record":
        await made.enqueue({"n": len(made.accepted)})
    elif deed == "burst":
        for _ in range(source.randrange(300)):
            value = {"temp": source.randrange(-400, 850) / 10, "hum": source.randrange(101)}
            await made.enqueue(value, template=TEMPLATE, queue="packed")
    elif deed == "object":
        await made.enqueue(source.randbytes(source.randrange(200, 900)))
    elif deed == "alarm":
        await made.enqueue({"leak": len(made.accepted)}, urgency=Urgency.ALARM)
    elif deed == "command":
        admin.enqueue_inbound(made.folder / "solution.sqlite", "T", "commands", made.commands)
        made.commands += 1
    elif deed == "silent":
        air.silent = not air.silent
    elif deed == "carrier":
        air.set_carrier(not air.carrier)
    elif deed == "hold":
        made.holding = not made.holding
        if not made.holding:
            made.let_go()
    elif deed == "mailbox":
        made.session()
    elif deed == "slow":
        made.airs["lora"].mtu = source.choice((51, 115, 222))
        for receiver in made.airs["lora"].receivers:
            receiver.set_mtu(made.airs["lora"].mtu)
    elif deed in ("device", "crash"):
        await (made.kill_device() if deed == "device" else made.crash_device())
        await made.start_device()
    elif deed == "service":
        made.kill_service(S)
        made.start_service(S)


@given(SCRIPT, st.integers(0, 1000))
@settings(max_examples=6, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_every_record_exactly_once_over_any_of_them(script: list[tuple[str, str, float]], seed: int) -> None:
    async def scene() -> None:
        async with compact_world(links=LINKS, seed=seed, services="answer_dear_after = 600.0") as made:
            given = list[object]()
            made.airs["lora"].loss = 0.1
            await asyncio.sleep(1)
            for deed, link, wait in script:
                await do(made, deed, link)
                for _ in range(4):
                    await asyncio.sleep(wait / 4)
                    made.tick()
            made.holding = False
            made.let_go()
            for air in made.airs.values():
                air.silent, air.loss = False, 0.0
                if not air.carrier:
                    air.set_carrier(True)
            for _ in range(4):
                await asyncio.sleep(RESEND / 3)
                made.tick()
                made.session()
            await made.enqueue("the end")  # a device that says nothing hears nothing
            await until(lambda: made.delivered() == made.accepted, 4 * RESEND)
            for _ in range(3):
                await asyncio.sleep(10)
                made.tick()
            given += await commands(made)
            assert given == list(range(made.commands))
            assert made.faults == []
            assert [fault for air in made.airs.values() for fault in air.faults] == []
            numbers = made.services[S].store.execute("SELECT number FROM records")
            assert len(numbers) == len(set(numbers)) == len(made.accepted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "RESEND_AFTER", RESEND)
        in_virtual_time(scene())


def test_templates_travel_dense_too_and_are_read_when_their_schema_is_known() -> None:
    async def scene() -> None:
        async with compact_world(links={"lora": "order = 1"}) as made:
            lora, source = made.airs["lora"], random.Random(3)
            await asyncio.sleep(1)
            sizes = list[int]()
            for _ in range(5):
                value = {"temp": source.randrange(-400, 850) / 10, "hum": source.randrange(101)}
                before = len(lora.sent)
                await made.enqueue(value, template=TEMPLATE, queue="packed")
                await asyncio.sleep(700)
                sizes += [len(data) for _, data in lora.sent[before:]]
            assert sizes[-3:] == [19, 19, 19], "17 bits of values"
            rows = made.services[S].store.records_after(None)
            assert [decode(row.body) for row in rows if row.queue == "packed"] == list(made.accepted.values())

    in_virtual_time(scene())
