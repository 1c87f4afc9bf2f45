"""A waiter is a future that goes on at once."""

from __future__ import annotations

import asyncio

import pytest

from rataccess_drivers.at.waiting import Waiter


async def wait(waiter: Waiter[int]) -> int:
    return await waiter


async def test_task_goes_on_inside_the_callback() -> None:
    loop = asyncio.get_running_loop()
    waiter: Waiter[int] = Waiter(loop)
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    seen = []

    def callback() -> None:
        waiter.finish(7)
        seen.append(task.done())

    loop.call_soon(callback)
    assert await task == 7
    assert seen == [True]


async def test_value_that_is_there_already() -> None:
    waiter: Waiter[int] = Waiter(asyncio.get_running_loop())
    waiter.finish(7)
    assert await waiter == 7


async def test_error() -> None:
    waiter: Waiter[int] = Waiter(asyncio.get_running_loop())
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    waiter.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await task


async def test_cancelled_task() -> None:
    waiter: Waiter[int] = Waiter(asyncio.get_running_loop())
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    assert task.cancel("gone")
    with pytest.raises(asyncio.CancelledError, match="gone"):
        await task
    assert waiter.done


async def test_cancelled_between_the_error_and_its_turn() -> None:
    waiter: Waiter[int] = Waiter(asyncio.get_running_loop())
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    waiter.fail(ValueError("no"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_time_limit() -> None:
    waiter: Waiter[int] = Waiter(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await waiter
