"""Records that stand aside: listed, sent again, dropped, on both databases; and where a new receiver begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from rataccess.clock import LoopClock
from rataccess.errors import ReceiverDown, RecordRefused, UnknownRecord
from rataccess.objects import encode
from rataccess.services.receivers import Forwarding, NdjsonSettings, aside, key_of
from rataccess.services.receivers import forwarding as module
from rataccess.services.receivers.choice import Choice
from rataccess.services.store import StoredRecord
from tests.receivers.receiver_world import Inline, Killed, Records, Told, drained, forwarding
from tests.services.conftest import store_url

__all__ = ["store_url"]

pytestmark = pytest.mark.looptime(start=0)
BAD = encode("bad")


@pytest.fixture
def records(store_url: str) -> Iterator[Records]:
    """A store on SQLite, and one on PostgreSQL."""
    found = Records(store_url)
    yield found
    found.close()


class Picky(Told):
    """Refuses what says "bad" until it has `learnt`."""

    tries = 1

    def __init__(self) -> None:
        super().__init__(self._judge)
        self.learnt = False

    def _judge(self, moment: str, batch: Sequence[StoredRecord]) -> None:
        if moment == "before" and not self.learnt and any(each.body == BAD for each in batch):
            raise RecordRefused("cannot read that")


@contextlib.asynccontextmanager
async def running(found: Forwarding) -> AsyncIterator[None]:
    task = asyncio.create_task(found.run())
    try:
        yield
    finally:
        found.finish()
        await asyncio.gather(task, return_exceptions=True)


async def refused(records: Records, *values: object) -> Picky:
    """What a receiver named "told" has set aside of `values`."""
    records.add(*values)
    picky = Picky()
    await drained(forwarding(picky, records.url, LoopClock()))
    return picky


def keys(records: Records) -> list[tuple[str, bool]]:
    return [(each.key, each.again) for each in aside.listed(records.store, "told")]


async def test_what_stands_aside_is_listed_by_pages_and_shown(records: Records) -> None:
    await refused(records, 1, "bad", "bad", 2, "bad")
    found = aside.listed(records.store, "told")
    assert [(each.key, each.receiver, each.reason, each.again) for each in found] == [
        (f"4131-{number}", "told", "cannot read that", False) for number in (2, 3, 5)
    ]
    page = aside.listed(records.store, "told", after="4131-2", limit=1)
    assert [each.key for each in page] == ["4131-3"]
    assert aside.listed(records.store, "other") == []
    assert aside.counted(records.store) == {"told": 3}
    assert aside.shown(records.store, "told", "4131-3").record.body == BAD
    aside.send_again(records.store, "told", "4131-3")
    assert aside.shown(records.store, "told", "4131-3").record.body == BAD
    assert aside.counted(records.store) == {"told": 3}
    with pytest.raises(UnknownRecord, match="4131-4"):
        aside.shown(records.store, "told", "4131-4")


async def test_what_is_sent_again_is_taken_once_and_gone(records: Records) -> None:
    picky = await refused(records, 1, "bad", "bad", 2)
    picky.learnt = True
    forwards = forwarding(picky, records.url, LoopClock())
    async with running(forwards):
        await asyncio.sleep(2 * module.POLL)
        assert len(picky.taken) == 2  # nobody has asked for it yet
        aside.send_again(records.store, "told", "4131-2")
        aside.send_again(records.store, "told", "4131-2")  # said already
        await asyncio.sleep(2 * module.POLL + 1)
        assert [each.number for each in picky.taken] == [1, 4, 2]
        assert keys(records) == [("4131-3", False)]
        assert aside.send_all_again(records.store, "told") == 1
        await asyncio.sleep(2 * module.POLL + 1)
    assert [each.number for each in picky.taken] == [1, 4, 2, 3]
    assert aside.counted(records.store) == {}
    assert forwards.status.delivered == 2
    with pytest.raises(UnknownRecord):
        aside.send_again(records.store, "told", "4131-2")


async def test_what_is_refused_again_stands_aside_again_and_holds_up_nothing(records: Records) -> None:
    picky = await refused(records, "bad", "bad")
    aside.send_all_again(records.store, "told")
    records.add(3)
    await drained(forwarding(picky, records.url, LoopClock()))
    assert [each.number for each in picky.taken] == [3]
    assert keys(records) == [("4131-1", False), ("4131-2", False)]


async def test_a_receiver_that_is_down_gets_it_when_it_is_up(records: Records) -> None:
    picky = await refused(records, "bad")
    aside.send_again(records.store, "told", "4131-1")
    loop = asyncio.get_running_loop()

    def down(moment: str, batch: Sequence[StoredRecord]) -> None:
        if loop.time() < 100:
            raise ReceiverDown("nobody there")

    picky.behave = down
    forwards = forwarding(picky, records.url, LoopClock())
    async with running(forwards):
        await asyncio.sleep(99)
        assert keys(records) == [("4131-1", True)]
        records.add(2)
        await asyncio.sleep(100)
    assert [each.number for each in picky.taken] == [1, 2]
    assert keys(records) == []


async def test_a_device_that_left_the_receivers_fleet_is_not_sent_again(records: Records) -> None:
    settings = NdjsonSettings(name="told", file="unused", fleets=("north",))
    records.store.set_fleets("A1", ["north"])
    records.add("bad")
    picky = Picky()
    await drained(forwarding(picky, records.url, LoopClock(), settings=settings))
    records.store.set_fleets("A1", ["south"])
    picky.learnt = True
    aside.send_again(records.store, "told", "4131-1")
    await drained(forwarding(picky, records.url, LoopClock(), settings=settings))
    assert picky.taken == []
    assert [each.reason for each in aside.listed(records.store, "told")] == ["it is not for this receiver any more"]


async def test_a_kill_after_it_was_taken_sends_it_once_more_with_its_key(records: Records) -> None:
    picky = await refused(records, "bad")
    picky.learnt = True
    aside.send_again(records.store, "told", "4131-1")

    def die(moment: str) -> None:
        if picky.taken:
            raise Killed

    with pytest.raises(Killed):
        await forwarding(picky, records.url, LoopClock(), trouble=die).run()
    picky.open_now = 0
    await drained(forwarding(picky, records.url, LoopClock()))
    assert [key_of(each) for each in picky.taken] == ["4131-1", "4131-1"]
    assert keys(records) == []


async def test_what_is_dropped_is_gone_also_while_it_waits_to_be_sent_again(records: Records) -> None:
    await refused(records, "bad", "bad", "bad")
    aside.send_again(records.store, "told", "4131-2")
    aside.drop(records.store, "told", "4131-2")
    assert keys(records) == [("4131-1", False), ("4131-3", False)]
    with pytest.raises(UnknownRecord):
        aside.drop(records.store, "told", "4131-2")
    aside.refused_again(records.store, "told", "4131-2", "late", 0.0)  # its refusal brings nothing back
    assert aside.drop_all(records.store, "told") == 2
    assert keys(records) == []


# --- where a new receiver begins --------------------------------------------------------------------------------------


def beginning(told: Told, records: Records) -> Forwarding:
    settings = NdjsonSettings(name="told", file="unused", start="now")
    choice = Choice(settings)
    return Forwarding(told, choice, Inline(records.url), LoopClock(), name="told", from_now=True)


async def test_a_new_receiver_may_begin_with_what_comes_now(records: Records) -> None:
    records.add(*range(3))
    told = Told()
    async with running(beginning(told, records)):
        await asyncio.sleep(module.POLL)
        records.add(3)
        await asyncio.sleep(2 * module.POLL)
    assert [each.number for each in told.taken] == [4]
    records.add(4)  # from then on it is like any other
    await drained(beginning(told, records))
    assert [each.number for each in told.taken] == [4, 5]


async def test_what_came_while_it_never_was_up_is_not_passed_by(records: Records) -> None:
    def down(moment: str, batch: Sequence[StoredRecord]) -> None:
        raise ReceiverDown("nobody there")

    async with running(beginning(Told(down), records)):  # an empty store: its position is none
        await asyncio.sleep(1)
        records.add(1)
        await asyncio.sleep(5)
    told = Told()
    await drained(beginning(told, records))
    assert [each.number for each in told.taken] == [1]
