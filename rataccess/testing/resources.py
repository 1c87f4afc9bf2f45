"""What a process holds: to see whether something was left behind.

Rules of this file: looking only.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURNS = 30
"""Turns of the event loop; the end of a local conversation takes five."""


def held() -> dict[str, list[str]]:
    """Open files (number and target), tasks of the running loop besides this one, and threads."""
    return {
        "files": _files(),
        "tasks": sorted(repr(task.get_coro()) for task in asyncio.all_tasks() - {asyncio.current_task()}),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


async def settled() -> dict[str, list[str]]:
    """What is held once the conversations that are ending have ended."""
    before, same = held(), 0
    while same < TURNS:
        await asyncio.sleep(0)
        now = held()
        before, same = now, same + 1 if now == before else 0
    return before


async def nothing_left(before: dict[str, list[str]]) -> None:
    """See that what is held is what was held; the rig's own end of a conversation may need some turns of the loop."""
    for _ in range(TURNS):
        if held() == before:
            return
        await asyncio.sleep(0)
    now = held()
    left = {kind: sorted(set(now[kind]) ^ set(before[kind])) for kind in before if now[kind] != before[kind]}
    raise AssertionError(f"left behind (or gone): {left}")


def _files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:  # the listing's own
            continue
    return sorted(found)


async def within(limit: float, awaitable: Coroutine[Any, Any, T], what: str) -> T:
    """The result of `awaitable`; an `AssertionError` that names `what` where it takes more than `limit` seconds."""
    try:
        async with asyncio.timeout(limit) as deadline:
            return await awaitable
    except TimeoutError as error:
        if deadline.expired():
            raise AssertionError(f"{what} did not end within {limit} s") from error
        raise


async def eventually(limit: float, condition: Callable[[], bool], changed: asyncio.Event, what: str) -> None:
    """Wait until `condition`, which is looked at whenever `changed` is set."""

    async def wait() -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    await within(limit, wait(), what)
