"""What a record costs the device itself, in counts that no busy machine blurs: compositions, commits, reads, decisions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.access import access as access_module
from rataccess.exchange.compose import Composer
from rataccess.objects import ReceiptState
from rataccess.store.database import Database
from rataccess.store.store import Store
from tests.exchange.test_exchange_odd import ONE, exchange_of
from tests.system.test_invariants import in_virtual_time, until_delivered, world

COSTLY = {"sat": "order = 1\ncost_per_byte = 0.01"}


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """One entry for each call of a method from now on."""
    calls, real = list[None](), getattr(owner, name)

    def method(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, method)
    return calls


def test_a_record_by_itself_costs_one_composition_one_commit_and_no_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with world() as made:
            assert made.device
            await made.enqueue({"n": 0})
            await until_delivered(made)
            await asyncio.sleep(10)
            with monkeypatch.context() as patch:
                composed = counted(patch, Composer, "compose")
                commits = counted(patch, Database, "commit")
                reads = counted(patch, Store, "waiting")
                for n in range(100):
                    receipt = await made.device.solution.enqueue({"n": n}, queue="readings")
                    assert await receipt.wait(5) is ReceiptState.DELIVERED
                    made.accepted[receipt.number] = {"n": n}
            assert len(composed) == 100, "only the link that policy chose, once"
            assert len(commits) <= 100 + 3, "settling rides on the next one; sequence numbers are reserved now and then"
            assert len(reads) <= 8
            await until_delivered(made)
            assert made.delivered() == made.accepted

    in_virtual_time(scene())


def test_what_was_delivered_is_written_down_soon_although_nothing_follows() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            receipt = await made.device.solution.enqueue({"n": 1}, queue="readings")
            made.accepted[receipt.number] = {"n": 1}
            assert await receipt.wait(5) is ReceiptState.DELIVERED
            assert any(count for count, _ in made.device.store.depth().values())
            await asyncio.sleep(1)
            assert not any(count for count, _ in made.device.store.depth().values())
            assert not exchange_of(made).staging.items

    in_virtual_time(scene())


def test_what_was_delivered_over_a_link_that_costs_is_written_down_at_once() -> None:
    async def scene() -> None:
        async with world(links=COSTLY) as made:
            assert made.device
            receipt = await made.device.solution.enqueue({"n": 1}, queue="readings")
            made.accepted[receipt.number] = {"n": 1}
            assert await receipt.wait(5) is ReceiptState.DELIVERED
            await asyncio.sleep(0)
            assert not any(count for count, _ in made.device.store.depth().values())

    in_virtual_time(scene())


def test_a_power_cut_between_delivery_and_its_being_written_down_doubles_nothing() -> None:
    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            for n in range(5):
                receipt = await made.device.solution.enqueue({"n": n}, queue="readings")
                made.accepted[receipt.number] = {"n": n}
                assert await receipt.wait(5) is ReceiptState.DELIVERED
            await made.crash_device()
            await made.start_device()
            assert made.device
            await made.enqueue({"after": 1})
            await until_delivered(made)
            assert made.delivered() == made.accepted
            assert not made.faults

    in_virtual_time(scene())


def test_decisions_are_made_once_for_a_packet_not_for_a_record_also_where_a_budget_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        async with world(links={"wifi": "order = 1\nbudget = { bytes = 10000000 }"}) as made:
            assert made.device
            made.airs["wifi"].set_carrier(False)
            await asyncio.sleep(1)
            for n in range(1000):
                await made.enqueue({"n": n})
            sent = len(made.airs["wifi"].sent)
            with monkeypatch.context() as patch:
                decided = counted(patch, access_module, "choose")
                made.airs["wifi"].set_carrier(True)
                await until_delivered(made)
            packets = len(made.airs["wifi"].sent) - sent
            assert len(decided) <= 12 * packets < 1000

    in_virtual_time(scene())
