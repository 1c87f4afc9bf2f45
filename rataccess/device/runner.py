"""An event loop on a thread of its own, for callers without one.

Rules of this file: threads and futures; it knows nothing of devices.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Generic, Self, TypeVar

from rataccess.errors import Closed

T = TypeVar("T")


class Runner:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self.loop.run_forever, name="rataccess device", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.get_ident() == self._thread.ident:
            work.close()
            raise RuntimeError(
                "a callback runs in the device's own thread, which would wait for itself; use another thread"
            )
        with self._gate:  # what is accepted here is cancelled by `close`, so that nobody waits for ever
            if self._closed:
                work.close()
                raise Closed("the device is closed")
            waiting = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return waiting.result()
        except CancelledError as error:
            raise Closed("the device was closed meanwhile") from error
        except BaseException:
            waiting.cancel()  # Ctrl-C: nobody takes what would come
            raise

    def close(self) -> None:
        with self._gate:
            self._closed = True
        asyncio.run_coroutine_threadsafe(_end_all(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Iteration(Generic[T]):
    """An iterator over what comes, for a thread to wait in; it ends where the device is closed."""

    def __init__(self, source: AsyncIterator[T], runner: Runner) -> None:
        self._source = source
        self._runner = runner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            found = self._runner.run(_next(self._source))
        except Closed:
            found = []
        if not found:
            raise StopIteration
        return found[0]


async def call(function: Callable[[], T]) -> T:
    """`function()` on the device's own thread."""
    return function()


async def _next(source: AsyncIterator[T]) -> list[T]:
    """The next item alone, or nothing at the end."""
    try:
        return [await anext(source)]
    except StopAsyncIteration:
        return []


async def _end_all() -> None:
    """Cancel whatever still runs on this loop, and wait for it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
