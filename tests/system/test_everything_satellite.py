"""Templates and calls over a link that is paid by the message and speaks when spoken to: nothing is paid twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rataccess.errors import CallTimeout, RemoteTimeout
from rataccess.objects import Service
from rataccess.services import admin
from rataccess.transport import Downlink
from rataccess.wire import LINK
from tests.exchange.test_packets import Ear
from tests.system.air import Air
from tests.system.everything_world import FIRST, EverythingWorld
from tests.system.test_invariants import SHM, in_virtual_time

SATELLITE = {"sat": 'order = 9\ncost_per_byte = 0.01\nmin_urgency = "routine"\nfailback_after = 5'}
BOTH = {"wifi": "order = 1\nfailback_after = 5", **SATELLITE}


class Mailbox:
    """Answers and unasked requests wait until the device has sent something; each message is counted."""

    def __init__(self, air: Air, mtu: int) -> None:
        air.mtu, air.delay = mtu, 5.0
        air.hints = {
            "downlink": Downlink.AFTER_UPLINK,
            "acknowledges_handover": True,
            "cost_per_byte": 0.01,
            "billing_quantum": 50,
        }
        self.up, self.down = list[tuple[Service, int]](), list[tuple[Service, int]]()
        self._waiting: list[tuple[Service, bytes]] = []
        self._take, self._answer = air.take, air.answer
        air.take, air.answer = self.take, self.answer  # type: ignore[method-assign]

    def take(self, packet: Any) -> None:
        self.up.append((packet.service, len(packet.data)))
        self._take(packet)
        waiting, self._waiting = self._waiting, []
        for service, data in waiting:
            self.down.append((service, len(data)))
            self._answer(service, data)

    def answer(self, service: Service, data: bytes) -> None:
        self._waiting.append((service, data))


@asynccontextmanager
async def world(links: dict[str, str], mtu: int = 340) -> AsyncIterator[tuple[EverythingWorld, Mailbox]]:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        made = EverythingWorld(Path(folder), links)
        mailbox = Mailbox(made.airs["sat"], mtu)
        try:
            await made.start()
            yield made, mailbox
        finally:
            await made.stop()


def solution(messages: list[tuple[Service, int]]) -> list[int]:
    return [size for service, size in messages if service is Service.SOLUTION]


@pytest.mark.parametrize("mtu", [60, 340])
def test_records_of_a_template_are_paid_once(mtu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed over by satellite without their schema; Wi-Fi brings schema and acknowledgement, and not one record again."""
    ear = Ear(monkeypatch)

    async def scene() -> None:
        async with world(BOTH, mtu) as (made, mailbox):
            assert made.device
            made.airs["wifi"].set_carrier(False)
            await asyncio.sleep(60)
            ear.bodies.clear()
            await made.device.solution.define(FIRST)
            for _ in range(40):
                await made.reading(FIRST)
            await made.plain()
            await asyncio.sleep(900)
            paid, numbers = solution(mailbox.up), _numbers(ear)
            assert sorted(set(numbers) & made.accepted.keys()) == sorted(made.accepted), "all of it has left"
            assert sum(LINK in each.control for each in ear.bodies) <= 1, "the link is named once a session"
            assert max(paid) <= mtu
            assert len(paid) <= {60: 60, 100: 12, 340: 4}[mtu]
            made.airs["wifi"].set_carrier(True)
            await made.device.solution.flush(600)
            await asyncio.sleep(60)
            assert solution(mailbox.up) == paid
            assert "duplicate records" not in admin.counters(made.folder / "solution.sqlite")
            assert not made.account()

    in_virtual_time(scene())


def _numbers(ear: Ear) -> list[int]:
    plain = [record.number for each in ear.bodies for record in each.records]
    return plain + [number for each in ear.bodies for block in each.blocks for number in block.numbers]


def test_nobody_pays_for_asking_about_a_call_that_has_not_left() -> None:
    async def scene() -> None:
        async with world(SATELLITE) as (made, mailbox):
            assert made.device
            await made.enqueue({"n": 1})
            await asyncio.sleep(60)
            before = list(mailbox.up)
            with pytest.raises(CallTimeout) as late:
                await made.device.solution.call("soon", [1, 0.0], timeout=900, max_cost=0.0)
            assert not late.value.sent
            assert mailbox.up == before

    in_virtual_time(scene())


@pytest.mark.parametrize(("name", "wait"), [("soon", 0.0), ("slow", 15.0), ("never", 0.0)])
def test_asking_for_the_answer_to_a_call_is_paid_ever_less_often(name: str, wait: float) -> None:
    async def scene() -> None:
        async with world(SATELLITE) as (made, mailbox):
            assert made.device
            await asyncio.sleep(60)
            made.call(name, repeatable=False, timeout=900.0, wait=wait)
            await asyncio.sleep(1000)
            ups = solution(mailbox.up)
            questions = 2 if name == "never" else 1  # after 20 s, and after 40 s more: the route waits for 20
            assert len(ups) <= 1 + questions + 1, "the call, the questions, and an acknowledgement of the answer"
            assert sum(ups[1:]) <= 20 * len(ups[1:]) + 6, "and the era of the service is named once"
            assert made.made[0] == 1
            assert isinstance(made.outcomes[0], RemoteTimeout if name == "never" else list)
            made._account_for_calls()
            assert not made.faults

    in_virtual_time(scene())
