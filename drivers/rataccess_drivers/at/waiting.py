"""One task waits for one answer, and goes on where the answer is read.

Rules of this file: the duck-typed protocol of asyncio's futures (`_asyncio_future_blocking`, documented at
`asyncio.isfuture`), and nothing of AT.

A future wakes its task in the next round of the event loop, which costs one more look at the selector: a tenth of what a
command takes on a fast port.  `Waiter.finish` may be called from a reader callback, where no task is running, and steps
the task at once; everywhere else `finish_soon` does what a future does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Waiter(Generic[T]):
    """Awaited by one task, once."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_error", "_loop", "_value", "_wake", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._wake: Callable[[Any], object] | None = None
        self._error: BaseException | None = None
        self.done = False

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        elif self._error is not None:
            raise self._error
        return self._value

    def finish(self, value: T) -> None:
        """Give `value` and run the waiting task until it waits again.  Only from a callback of the event loop."""
        self._value = value
        self.done = True
        if self._wake is not None:
            self._context.run(self._wake, self)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in the waiting task, in the next round of the loop."""
        self._error = error
        self.done = True
        if self._wake is not None:
            self._loop.call_soon(self._wake, self, context=self._context)

    # --- what a task asks of a future ---------------------------------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        self._wake = callback
        self._context = context

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value

    def cancel(self, msg: object = None) -> bool:
        if self.done:
            return False
        self.fail(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True
