"""Inbound objects as the application gets them: until acknowledged they are not gone."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rataccess.errors import Closed
from rataccess.exchange.inbound import Inflow
from rataccess.objects import Service, Urgency, encode
from rataccess.wire import Message, WireRecord
from tests.channel.conftest import Make
from tests.channel.rig import Rig

pytestmark = pytest.mark.looptime


async def numbers(rig: Rig, queue: str | None = None) -> list[int]:
    found = []
    while (item := await rig.solution.dequeue(0, queue=queue)) is not None:
        found.append(item.number)
    return found


def divide(one: int, value: object) -> None:
    assert value == 3
    raise ZeroDivisionError(one)


async def test_an_object_says_where_it_is_from(rig: Rig) -> None:
    rig.arrive(5, "commands", {"open": "valve"})
    item = await rig.solution.dequeue()
    assert item
    assert (item.value, item.queue, item.number, item.captured_at) == ({"open": "valve"}, "commands", 5, 7.0)
    assert repr(item) == "<InboundObject solution 5 commands>", "what it holds is nobody's business in a log"


async def test_acknowledged_by_ack_or_by_a_with_block(rig: Rig) -> None:
    for number in range(1, 5):
        rig.arrive(number, "q", number)
    first, second, third, fourth = [await rig.solution.dequeue() for _ in range(4)]
    assert first
    assert second
    assert third
    assert fourth
    first.ack()
    first.ack()
    with second as value:
        assert value == 2
    with pytest.raises(ZeroDivisionError), third as value:
        divide(1, value)
    with fourth:
        fourth.ack()
    await rig.restart()
    assert await numbers(rig) == [3]


async def test_what_was_given_back_comes_again_to_whoever_waits(rig: Rig) -> None:
    rig.arrive(1, "q", 1)
    item = await rig.solution.dequeue()
    assert item
    waiting = asyncio.create_task(rig.solution.dequeue())
    await asyncio.sleep(1)
    assert not waiting.done(), "one is enough"
    item.give_back()
    again = await waiting
    assert again
    assert again.number == 1
    item.give_back()
    item.ack()
    assert await numbers(rig) == [], "it is somebody else's now"
    await rig.restart()
    assert await numbers(rig) == [1]


async def test_a_cancelled_task_gives_back(rig: Rig) -> None:
    rig.arrive(1, "q", 1)

    async def work() -> None:
        item = await rig.solution.dequeue()
        assert item
        with item:
            await asyncio.sleep(99)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(rig) == [1]


async def test_acknowledging_after_the_end_says_so_and_it_comes_again(rig: Rig) -> None:
    rig.arrive(1, "q", 1)
    item = await rig.solution.dequeue()
    assert item
    await rig.restart()
    with pytest.raises(Closed):
        item.ack()
    item.give_back()
    assert await numbers(rig) == [1]


async def test_waiting_ends_by_time_by_arrival_and_by_closing(rig: Rig) -> None:
    assert await rig.solution.dequeue(3) is None
    assert asyncio.get_running_loop().time() == pytest.approx(3)
    waiting = [asyncio.create_task(rig.solution.dequeue(queue=queue)) for queue in ("a", None, "b")]
    await asyncio.sleep(1)
    rig.arrive(1, "b", "for b or any")
    rig.arrive(2, "b", "for the other of them")
    await asyncio.sleep(1)
    assert [task.done() for task in waiting] == [False, True, True]
    assert {task.result().number for task in waiting[1:]} == {1, 2}  # type: ignore[union-attr]
    rig.solution.close()
    with pytest.raises(Closed):
        await waiting[0]


async def test_what_cannot_be_read_holds_up_nobody(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.arrive_raw(1, "q", b"\xff")
    rig.arrive(2, "q", "fine")
    with caplog.at_level(logging.WARNING):
        assert await numbers(rig) == [2]
    assert "cannot be read" in caplog.text
    assert [report["event"] for report in rig.reports] == ["inbound"]
    await rig.restart()
    assert await numbers(rig) == [2], "what was not acknowledged; the other is gone"


async def test_reserved_queues_never_show(rig: Rig) -> None:
    for number, queue in enumerate(("$objects", "$environment", "$health", "$schemas", "$calls"), 1):
        rig.arrive(number, queue, ["x", 1])
        rig.arrive(number, queue, ["x", 1], Service.MANAGEMENT)
    assert await rig.solution.dequeue(0) is None
    assert await rig.management.dequeue(0) is None
    assert rig.solution.get("x") == rig.management.get("x") == 1


async def test_a_full_inbox_takes_what_is_not_the_application_s_from_a_mixed_message(make: Make) -> None:
    rig = make(max_records=32)
    for number in range(1, 28):
        rig.arrive(number, "commands", number)
    inflow = Inflow(Service.SOLUTION, rig.store)
    records = [WireRecord(number, 8, Urgency.PROMPT, encode(number), None, "commands") for number in range(28, 31)]
    records += [WireRecord(number, 0, Urgency.PROMPT, encode(["x", number]), None) for number in (31, 32)]
    kept = inflow.take(Message(records=records))
    assert [each.number for each in kept] == [31, 32]
    rig.solution.objects_arrived(kept)
    assert rig.solution.get("x") == 32


async def test_an_application_that_never_acknowledges_does_not_lock_out_replies_and_environment(make: Make) -> None:
    rig = make(max_records=32)
    for number in range(1, 29):
        rig.arrive(number, "commands", number)
    assert len(await numbers(rig)) == 28
    call = asyncio.create_task(rig.solution.call("energyService"))
    await asyncio.sleep(0)
    (record,) = rig.waiting()
    rig.arrive(99, "$calls", [record.number, 200, "here"])
    rig.arrive(1, "$environment", {"A": "1"}, Service.MANAGEMENT)
    assert await call == "here"
    assert dict(rig.management.env) == {"A": "1"}
