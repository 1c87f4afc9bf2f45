"""Forwarding to one receiver: its own pace, nothing lost, in order; in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from rataccess.clock import LoopClock
from rataccess.errors import ReceiverDown, RecordRefused
from rataccess.services.receivers import Forwarding, MqttSettings, NdjsonSettings, Receivers, key_of
from rataccess.services.receivers import forwarding as module
from rataccess.services.store import StoredRecord
from tests.receivers.receiver_world import Inline, Killed, Records, Told, drained, forwarding, no_room, positions

pytestmark = pytest.mark.looptime(start=0)

Behaviour = Callable[[str, Sequence[StoredRecord]], None]


@contextlib.asynccontextmanager
async def running(*forwardings: Forwarding) -> AsyncIterator[None]:
    """They run while the block lasts."""
    tasks = [asyncio.create_task(each.run()) for each in forwardings]
    try:
        yield
    finally:
        for each in forwardings:
            each.finish()
        await asyncio.gather(*tasks)


async def test_records_arrive_in_order_and_once(records: Records) -> None:
    records.add(*range(25))
    told = Told()
    await drained(forwarding(told, records.url, LoopClock()))
    assert positions(told.taken) == positions(records.all())
    assert told.sizes == [10, 10, 5]
    records.add("later")
    again = Told()
    await drained(forwarding(again, records.url, LoopClock()))
    assert positions(again.taken) == [("A1", 26)]


async def test_what_is_filed_later_is_forwarded_when_it_is_told_and_when_it_is_not(records: Records) -> None:
    told = Told()
    running_now = forwarding(told, records.url, LoopClock())
    async with running(running_now):
        await asyncio.sleep(1)
        records.add(1)
        running_now.wake()
        await asyncio.sleep(2 * module.GATHER)
        assert len(told.taken) == 1
        records.add(2)
        await asyncio.sleep(module.POLL)
        assert len(told.taken) == 2
    assert running_now.status.state == "closed"


async def test_one_that_is_down_for_an_hour_loses_nothing_and_slows_nobody(records: Records) -> None:
    clock, loop = LoopClock(), asyncio.get_running_loop()

    def down(moment: str, batch: Sequence[StoredRecord]) -> None:
        if loop.time() < 3600:
            raise ReceiverDown("nobody there")

    late, well = Told(down), Told()
    slow, quick = (forwarding(each, records.url, clock, name=name) for name, each in (("slow", late), ("quick", well)))
    async with running(slow, quick):
        for minute in range(60):
            records.add(minute)
            slow.wake()
            quick.wake()
            await asyncio.sleep(2 * module.GATHER)
            assert len(well.taken) == minute + 1  # at once, whatever the other does
            await asyncio.sleep(60 - 2 * module.GATHER)
            if minute == 58:
                assert (late.taken, slow.status.state, slow.status.last_error) == ([], "trying again", "nobody there")
                assert slow.status.lag is not None
                assert slow.status.retry_at is not None
                assert clock.wall() < slow.status.retry_at <= clock.wall() + module.LONGEST_WAIT
        await asyncio.sleep(module.LONGEST_WAIT)
        assert positions(late.taken) == positions(records.all())
        assert (slow.status.failures, slow.status.last_error, slow.status.lag) == (0, None, 0)
    assert slow.status.delivered == 60


async def test_tries_become_rarer_and_an_asked_for_wait_is_kept(records: Records) -> None:
    records.add(1)
    loop, tries = asyncio.get_running_loop(), []

    def down(moment: str, batch: Sequence[StoredRecord]) -> None:
        tries.append(loop.time())
        raise ReceiverDown("busy", retry_after=500.0 if len(tries) == 9 else None)

    async with running(forwarding(Told(down), records.url, LoopClock())):
        await asyncio.sleep(1500)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert module.FIRST_WAIT / 2 <= gaps[0] <= module.FIRST_WAIT
    assert all(gap <= module.LONGEST_WAIT for gap in gaps[:8])
    assert gaps[7] >= module.LONGEST_WAIT / 2
    assert gaps[8] == 500


async def test_a_refused_record_is_found_kept_aside_and_the_rest_goes_on(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    records.add(*range(30))

    def picky(moment: str, batch: Sequence[StoredRecord]) -> None:
        if moment == "before" and any(each.number in (4, 17) for each in batch):
            raise RecordRefused("will not have it")

    told = Told(picky)
    runs = forwarding(told, records.url, LoopClock())
    with caplog.at_level(logging.ERROR):
        async with running(runs):
            await asyncio.sleep(60)
    assert [each.number for each in told.taken] == [n for n in range(1, 31) if n not in (4, 17)]
    aside = sorted(records.store.aside("told"), key=lambda each: each.record.number or 0)
    assert [(each.record.number, each.reason) for each in aside] == [(4, "will not have it"), (17, "will not have it")]
    assert aside[0].record in records.all()
    assert aside[0].key == key_of(aside[0].record)
    assert records.store.count_aside() == {"told": 2}
    assert runs.status.set_aside == 2
    assert [each.levelname for each in caplog.records if "kept aside" in each.message] == ["ERROR", "ERROR"]
    records.store.forget_aside("told", aside[0].key)
    assert [each.record.number for each in records.store.aside()] == [17]


async def test_a_batch_that_is_too_large_is_halved_at_once(records: Records) -> None:
    records.add(*range(10))

    def small(moment: str, batch: Sequence[StoredRecord]) -> None:
        if len(batch) > 3:
            raise RecordRefused("too much", too_large=True)

    told = Told(small)
    async with running(forwarding(told, records.url, LoopClock())):
        await asyncio.sleep(0.5)  # less than the first wait after a failure
        assert len(told.taken) == 10


async def test_one_that_refuses_everything_is_not_given_everything_to_refuse(records: Records) -> None:
    records.add(*range(100))

    def refuses(moment: str, batch: Sequence[StoredRecord]) -> None:
        if moment == "before" and asyncio.get_running_loop().time() < 7200:
            raise RecordRefused("no")

    told = Told(refuses)
    runs = forwarding(told, records.url, LoopClock())
    async with running(runs):
        await asyncio.sleep(7000)
        assert runs.status.set_aside == module.MOST_IN_A_ROW
        assert runs.status.state == "trying again"
        await asyncio.sleep(1000)
        assert len(told.taken) == 100 - module.MOST_IN_A_ROW


async def test_a_store_without_room_delays_and_loses_nothing(records: Records) -> None:
    records.add(*range(12))
    fails = iter([False, False, True, False, True, True])

    def trouble(moment: str) -> None:
        if moment == "before the store" and next(fails, False):
            raise no_room()

    told = Told()
    async with running(forwarding(told, records.url, LoopClock(), trouble=trouble)):
        await asyncio.sleep(60)
    numbers = [each.number for each in told.taken]
    assert sorted(set(numbers)) == list(range(1, 13))  # type: ignore[type-var]
    assert list(dict.fromkeys(numbers)) == list(range(1, 13))


async def test_a_defect_of_a_receiver_stops_nothing_else(records: Records, caplog: pytest.LogCaptureFixture) -> None:
    records.add(1)
    broken = iter([True])

    def defect(moment: str, batch: Sequence[StoredRecord]) -> None:
        if next(broken, False):
            raise KeyError("oops")

    told = Told(defect)
    async with running(forwarding(told, records.url, LoopClock())):
        await asyncio.sleep(10)
    assert len(told.taken) == 1
    assert "a defect" in caplog.text


async def test_only_one_of_two_processes_forwards_and_the_other_takes_over(records: Records) -> None:
    records.add(1, 2)
    first, second = Told(), Told()
    one, two = (forwarding(each, records.url, LoopClock()) for each in (first, second))
    async with running(two):
        async with running(one):
            await asyncio.sleep(5)
            states = {one.status.state, two.status.state}
            assert states == {"forwarding", "standing by"}
            holder, other = (first, second) if one.status.state == "forwarding" else (second, first)
            assert (len(holder.taken), len(other.taken)) == (2, 0)
        await asyncio.sleep(module.POLL)
        records.add(3)
        await asyncio.sleep(2 * module.POLL)
        assert two.status.state == "forwarding"
    assert positions(second.taken)[-1:] == [("A1", 3)]
    assert len(first.taken) + len(second.taken) == 3


async def test_a_receiver_gets_only_what_it_may(records: Records) -> None:
    for serial_number in ("A1", "B2", "C3"):
        records.add(1, serial_number=serial_number)
        records.add(2, serial_number=serial_number, queue="alarms")
    records.store.set_fleets("B2", ["north", "pumps"])

    async def given(**filters: Any) -> list[tuple[str, str]]:
        told = Told()
        name = "-".join(filters) or "all"
        settings = NdjsonSettings(name=name, file="unused", **filters)
        await drained(forwarding(told, records.url, LoopClock(), name=name, settings=settings))
        assert records.store.backlog(name) == 0  # what is for others is passed by
        return [(each.serial_number, each.queue) for each in told.taken]

    assert len(await given()) == 6
    assert await given(queues=("alarms",)) == [("A1", "alarms"), ("B2", "alarms"), ("C3", "alarms")]
    assert await given(devices=("C3",)) == [("C3", "readings"), ("C3", "alarms")]
    assert await given(fleets=("north",)) == [("B2", "readings"), ("B2", "alarms")]
    assert await given(fleets=("south", "pumps"), devices=("A1",), queues=("alarms",)) == [
        ("A1", "alarms"),
        ("B2", "alarms"),
    ]


async def test_a_device_that_left_a_fleet_is_not_forwarded_any_more(records: Records) -> None:
    records.store.set_fleets("A1", ["north"])
    told = Told()
    settings = MqttSettings(name="told", host="unused", fleets=("north",))
    async with running(forwarding(told, records.url, LoopClock(), settings=settings)):
        records.add(1)
        await asyncio.sleep(module.POLL)
        records.store.set_fleets("A1", ["south"])
        records.add(2)
        await asyncio.sleep(2 * module.POLL)
    assert len(told.taken) == 1


async def test_records_for_others_move_the_cursor_too(records: Records) -> None:
    settings = NdjsonSettings(name="told", file="unused", queues=("never",))
    async with running(forwarding(Told(), records.url, LoopClock(), settings=settings)):
        records.add(*range(50))
        await asyncio.sleep(3 * module.KEEP_EVERY)
        records.add(1)
        await asyncio.sleep(module.POLL)
        assert records.store.backlog("told") == 0


async def test_a_kill_between_delivery_and_cursor_delivers_again_with_the_same_key(records: Records) -> None:
    records.add(*range(5))
    first = Told()

    def die(moment: str) -> None:
        if first.taken:
            raise Killed

    with pytest.raises(Killed):
        await forwarding(first, records.url, LoopClock(), trouble=die).run()
    assert len(first.taken) == 5
    second = Told()
    await drained(forwarding(second, records.url, LoopClock()))
    assert [key_of(each) for each in second.taken] == [key_of(each) for each in first.taken]


async def test_closing_gives_up_at_its_deadline(records: Records, tmp_path: object) -> None:
    records.add(1)
    settings = NdjsonSettings(name="stuck", file=f"{tmp_path}/lines")
    receivers = Receivers([settings], records.url, LoopClock(), environ={}, store=lambda name: Inline(records.url))
    stuck = Told()

    async def never(batch: Sequence[StoredRecord]) -> None:
        await asyncio.Event().wait()

    stuck.deliver = never  # type: ignore[method-assign]
    receivers._receivers = [stuck]
    receivers.start()
    await asyncio.sleep(1)
    assert [each.name for each in receivers.status()] == ["stuck"]
    await receivers.aclose(deadline=5)
    assert asyncio.get_running_loop().time() == pytest.approx(6)
    await receivers.aclose()
    assert receivers.status() == []


async def test_a_packet_has_a_key_of_its_own(records: Records) -> None:
    records.packet(b"\x01")
    records.packet(b"\x01")
    records.add(1)
    keys = [key_of(each) for each in records.all()]
    assert len(set(keys)) == 3
    assert keys[0].startswith("4131-packet-")
    assert keys[2] == "4131-1"
