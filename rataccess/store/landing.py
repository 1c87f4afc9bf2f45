"""Results of the committing thread, brought to an event loop.

Rules of this file: asyncio on one side, the committing thread on the other; no SQL.  The loop is woken once for each group
of results, not once for each result: a wake-up costs a system call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial

from rataccess.store.committer import Committer
from rataccess.store.records import Accepted, NewRecord

_Future = asyncio.Future[Accepted]


class Landing:
    """Where one event loop awaits results."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._call_soon = loop.call_soon_threadsafe
        self._create_future = loop.create_future
        self._landed: deque[tuple[_Future, Accepted | Exception]] = deque()
        self._called = False

    def bring(self, committer: Committer, new: NewRecord) -> asyncio.Future[Accepted]:
        """Submit `new`; the future gives what `Store.enqueue` returns or raises."""
        future: _Future = self._create_future()
        committer.submit((new, partial(self._land, future)))
        return future

    def _land(self, future: _Future, result: Accepted | Exception) -> None:
        """In the committing thread."""
        self._landed.append((future, result))
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits there
                self._call_soon(self._deliver)

    def _deliver(self) -> None:
        """In the loop."""
        self._called = False  # first: what lands from here on calls again
        while self._landed:
            future, result = self._landed.popleft()
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
