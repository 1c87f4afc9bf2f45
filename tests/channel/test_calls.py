"""Calls through the solution service: what is enqueued, how each reply and each silence ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.errors import (
    CallError,
    CallOutcomeUnknown,
    CallRefused,
    CallTimeout,
    Closed,
    ObjectError,
    PermanentError,
    RemoteError,
    RemoteFailed,
    RemoteRefused,
    RemoteTimeout,
    RemoteUnreachable,
    ReplyTooLarge,
    StoreFull,
    TransientError,
    UnknownRoute,
)
from rataccess.objects import ReceiptState, Urgency, decode
from rataccess.store import Record
from tests.channel.conftest import Make
from tests.channel.rig import Rig

pytestmark = pytest.mark.looptime


async def begin(rig: Rig, *arguments: Any, **options: Any) -> tuple[asyncio.Task[Any], Record]:
    """A call under way, and its record."""
    before = {one.number for one in rig.waiting()}
    task = asyncio.create_task(rig.solution.call(*arguments, **options))
    while not (found := [one for one in rig.waiting() if one.number not in before]):
        assert not task.done(), task.result()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task, found[0]


async def test_a_call_is_a_record_and_its_reply_is_one(rig: Rig) -> None:
    task, record = await begin(rig, "energyService", {"zone": "SE3"}, timeout=89.5, max_cost=0.2, repeatable=True)
    assert (record.queue, record.urgency, record.max_cost) == ("$calls", Urgency.PROMPT, 0.2)
    assert decode(record.body) == ["energyService", {"zone": "SE3"}, 90, True]
    assert record.expires_at == rig.clock.wall() + 89.5
    assert rig.exchange.expected == [], "no reply can come before the call has left"
    rig.sent([record.number])
    assert rig.exchange.expected == [pytest.approx(89.5)]
    assert rig.exchange.arrivals == [Urgency.PROMPT]
    rig.arrive(1, "$calls", [record.number, 200, {"price": 0.41}])
    assert await task == {"price": 0.41}
    assert rig.exchange.expected == []
    assert rig.waiting() == [record], "its acknowledgement settles it"
    assert await rig.solution.dequeue(0) is None, "a reply is no application's object"


async def test_defaults(rig: Rig) -> None:
    task, record = await begin(rig, "ping")
    assert decode(record.body) == ["ping", None, 60, False]
    rig.arrive(1, "$calls", [record.number, 204, None])
    assert await task is None


async def test_replies_find_their_calls_in_any_order(rig: Rig) -> None:
    calls = [await begin(rig, "double", n) for n in range(5)]
    for place, (_, record) in enumerate(reversed(calls)):
        rig.arrive(place + 1, "$calls", [record.number, 200, 2 * decode(record.body)[1]])  # type: ignore[index]
    assert [await task for task, _ in calls] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("status", "kind", "passing"),
    [
        (1, UnknownRoute, False),
        (2, RemoteUnreachable, True),
        (3, RemoteTimeout, True),
        (4, CallOutcomeUnknown, False),
        (5, ReplyTooLarge, False),
        (6, CallRefused, True),
        (42, CallRefused, True),
        (404, RemoteRefused, False),
        (301, RemoteRefused, False),
        (429, RemoteFailed, True),
        (500, RemoteFailed, True),
        (599, RemoteFailed, True),
    ],
)
async def test_each_status_has_its_error(rig: Rig, status: int, kind: type[CallError], passing: bool) -> None:
    task, record = await begin(rig, "energyService")
    rig.arrive(1, "$calls", [record.number, status, {"why": "so"}])
    with pytest.raises(kind) as caught:
        await task
    assert type(caught.value) is kind
    assert isinstance(caught.value, TransientError if passing else PermanentError)
    assert caught.value.name == "energyService"
    assert "energyService" in str(caught.value)
    if isinstance(caught.value, RemoteError):
        assert (caught.value.status, caught.value.body) == (status, {"why": "so"})


def test_who_waits_for_python_s_timeout_gets_one() -> None:
    assert issubclass(CallTimeout, TimeoutError)
    assert issubclass(RemoteTimeout, TimeoutError)


async def test_a_call_that_never_left_times_out_and_is_void(rig: Rig) -> None:
    task, _ = await begin(rig, "energyService", timeout=5)
    with pytest.raises(CallTimeout, match=r"'energyService' within 5 s; it has not left this device") as caught:
        await task
    assert not caught.value.sent
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert rig.waiting() == []
    assert rig.exchange.expected == []


async def test_a_call_that_has_left_may_have_been_carried_out(rig: Rig) -> None:
    task, record = await begin(rig, "energyService", timeout=5)
    rig.sent([record.number])
    with pytest.raises(CallTimeout, match="may have been carried out") as caught:
        await task
    assert caught.value.sent
    assert rig.waiting() == []
    rig.arrive(1, "$calls", [record.number, 200, "late"])
    assert rig.solution.calls.dropped == 1


async def test_delivery_alone_is_no_reply(rig: Rig) -> None:
    task, record = await begin(rig, "energyService", timeout=5)
    rig.settle([record.number], ReceiptState.DELIVERED)
    await asyncio.sleep(1)
    assert not task.done()
    with pytest.raises(CallTimeout, match="may have been carried out"):
        await task


async def test_an_expired_call_ends_at_once(rig: Rig) -> None:
    task, _ = await begin(rig, "energyService", timeout=50)
    rig.store.expire(rig.clock.wall() + 51)
    with pytest.raises(CallTimeout, match="has not left"):
        await task
    assert asyncio.get_running_loop().time() < 1


async def test_a_call_given_up_for_want_of_room_ends_at_once(rig: Rig) -> None:
    task, record = await begin(rig, "energyService")
    rig.settle([record.number], ReceiptState.DROPPED)
    with pytest.raises(StoreFull):
        await task


async def test_a_full_store_refuses_a_call(make: Make) -> None:
    rig = make(max_records=1)
    await rig.solution.enqueue(1, urgency=Urgency.ALARM)
    with pytest.raises(StoreFull):
        await rig.solution.call("energyService")
    assert rig.exchange.expected == []


async def test_a_cancelled_call_is_void(rig: Rig) -> None:
    task, record = await begin(rig, "energyService")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.waiting() == []
    assert rig.exchange.expected == []
    rig.arrive(1, "$calls", [record.number, 200, None])
    assert rig.solution.calls.dropped == 1


async def test_a_call_cancelled_while_it_is_stored_is_void(make: Make) -> None:
    rig = make(threaded=True)
    task = asyncio.create_task(rig.solution.call("energyService"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(rig.store.put_now, "a", b"b")
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.to_thread(rig.store.put_now, "a", b"c")
    assert rig.waiting() == []
    assert rig.exchange.expected == []


async def test_closing_ends_calls(rig: Rig) -> None:
    task, _ = await begin(rig, "energyService")
    rig.solution.close()
    with pytest.raises(Closed):
        await task


async def test_a_reply_after_a_restart_is_dropped_and_counted(rig: Rig) -> None:
    task, record = await begin(rig, "energyService")
    rig.solution.close()
    with pytest.raises(Closed):
        await task
    assert rig.waiting() == [], "the caller is gone"
    await rig.restart()
    rig.arrive(1, "$calls", [record.number, 200, None])
    assert rig.solution.calls.dropped == 1
    assert await rig.solution.dequeue(0) is None


async def test_calls_of_an_earlier_run_are_never_made(rig: Rig) -> None:
    task, record = await begin(rig, "openTheDoor", timeout=600)
    await rig.solution.enqueue("the application's own", ttl=600, urgency=Urgency.PROMPT)
    rig.store.settle = lambda *_, **__: None  # type: ignore[method-assign]  # the process was killed
    await rig.restart()
    with pytest.raises(Closed):
        await task
    assert record.number not in {one.number for one in rig.waiting()}
    assert len(rig.waiting()) == 1


@pytest.mark.parametrize("body", [7, [], [1, 200], ["1", 200, None], [1, "200", None], [True, 200, None]])
async def test_malformed_replies_are_dropped(rig: Rig, body: object) -> None:
    task, record = await begin(rig, "energyService")
    rig.arrive(1, "$calls", body)
    rig.arrive_raw(2, "$calls", b"\xff")
    assert rig.solution.calls.dropped == 2
    rig.arrive(3, "$calls", [record.number, 200, "well"])
    assert await task == "well"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("",), {}),
        (("x" * 65,), {}),
        (("x", object()), {}),
        (("x",), {"timeout": 0}),
        (("x",), {"timeout": float("inf")}),
    ],
)
async def test_a_bad_call_is_refused(rig: Rig, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ObjectError):
        await rig.solution.call(*arguments, **options)
    assert rig.waiting() == []


async def test_management_has_no_such_method(rig: Rig) -> None:
    assert not hasattr(rig.management, "call")
