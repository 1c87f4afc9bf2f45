"""An event loop at the store: what it submits, and what became of that.

Rules of this file: asyncio on one side, the committer on the other; no SQL.  What one turn of the loop submits is committed
together.  While commits are quick and nobody else is at it the loop commits itself, which spares two changes of thread for
each record; else the committing thread does, and the loop is woken once for each group of results.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial

from rataccess.errors import Closed
from rataccess.store.committer import Committer, Item, tell
from rataccess.store.records import Accepted, NewRecord

_Future = asyncio.Future[Accepted]
_MOST_HERE = 64
"""Records that the loop commits itself, at most: more of them take long even where the disk is quick."""


class Landing:
    """One event loop at one store."""

    def __init__(self, loop: asyncio.AbstractEventLoop, committer: Committer) -> None:
        self.loop = loop
        self._thread = threading.get_ident()
        self._committer = committer
        self._turn: list[Item] = []
        """Submitted in this turn of the loop."""
        self._landed: deque[tuple[_Future, Accepted | Exception]] = deque()
        self._called = False

    def submit(self, item: Item) -> None:
        """Have `item` committed; who is told is told in the loop or in the committing thread.  Raises `Closed`."""
        if self._turn:
            self._turn.append(item)
        elif self._committer.may_lead:
            self._turn.append(item)
            self.loop.call_soon(self._end_turn)
        else:
            self._committer.submit(item)

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, []
        outcomes: list[Accepted | Exception] = []
        try:
            if len(turn) <= _MOST_HERE and self._committer.lead([(what, outcomes.append) for what, _ in turn]):
                for (_, done), outcome in zip(turn, outcomes, strict=True):
                    tell(done, outcome)
            else:
                while turn:
                    self._committer.submit(turn[0])
                    del turn[0]
        except Closed as error:
            for _, done in turn:
                tell(done, error)

    def bring(self, new: NewRecord) -> asyncio.Future[Accepted]:
        """Submit `new`; the future gives what `Store.enqueue` returns or raises."""
        future: _Future = self.loop.create_future()
        self.submit((new, partial(self._land, future)))
        return future

    def _land(self, future: _Future, result: Accepted | Exception) -> None:
        """In the loop, or in the committing thread."""
        self._landed.append((future, result))
        if threading.get_ident() == self._thread:
            self._deliver()
        elif not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits there
                self.loop.call_soon_threadsafe(self._deliver)

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
