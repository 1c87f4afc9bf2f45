"""Group commit: many callers, one thread, one sync for all that wait.

Rules of this file: queues, threads and callbacks; no SQL.  While one group is being synced the next one gathers, so that
the groups are as large as the load is high, and a lone caller waits for nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from rataccess.errors import Closed

log = logging.getLogger("rataccess.store")

Done = Callable[[Any], None]
Item = tuple[Any, Done]
"""What to do (a `NewRecord`, or a function to be called inside the transaction) and who is told the result or error."""

_MOST = 1024
"""The largest group that is waited for."""
_PATIENCE = 3
"""How often in a row the interpreter is yielded without anybody submitting before a group is closed."""
_RETRY = 1.0
"""Seconds after which changes that nobody waits for are tried again, where the disk was full."""
_STALLED = 0.05
"""Seconds after which those in a chain of callers are woken whatever has become of the one before them."""


class Committer:
    """Gathers items and has `run` commit them: in a thread, or in the thread of whoever submits.

    Callers that wait are woken in a chain, each by the one before it: woken all at once they would queue for the
    interpreter and be put to sleep again.  The committing thread sleeps until the chain has run out, because by then most
    of them have come back with their next record.

    Whoever has to wait and finds nobody at work commits in its own thread: for a lone caller no thread is woken, twice.  Not
    so the main thread, where a signal (Ctrl-C) may raise anywhere: its callbacks would be lost with it.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], bool],
        *,
        threaded: bool,
        name: str,
        quick: Callable[[], bool] = lambda: True,
    ) -> None:
        """`run` commits a group, tells the results, and returns whether something is left to be tried again.

        `quick`: whether that takes so little time that an event loop may do it.
        """
        self._run = run
        self._quick = quick
        self._gate = threading.Lock()
        self._items: list[Item] = []
        self._closed = False
        self._woken = False
        self._sleeping = False
        self._bell = threading.Lock()  # held while the thread has nothing to do
        self._bell.acquire()
        self._chain: deque[threading.Lock] = deque()
        """Callers whose results are there and who are to be woken, by the one woken before them."""
        self._usual = 1
        self._leader: int | None = None
        """The thread that commits in the place of the committing thread, which sleeps meanwhile."""
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
            self._thread.start()

    # --- callers ------------------------------------------------------------------------------------------------------

    def submit(self, item: Item) -> None:
        """Have `item` committed; raises `Closed`."""
        if self._is_here():
            self._run([item])
        else:
            self._push(item)

    def _push(self, item: Item) -> None:
        with self._gate:
            if self._closed:
                raise Closed("the store is closed")
            self._items.append(item)
            if self._sleeping and not self._chain and self._leader is None:
                self._ring()

    def call(self, what: Any, then: Done | None = None) -> Any:
        """Have `what` committed, wait, and return its result or raise its error.

        `then` is given it first, in the committing thread, before anything is announced.
        """
        results: list[Any] = []
        done = results.append if then is None else partial(_both, then, results.append)
        if self._is_here():
            self._run([(what, done)])
        elif threading.get_ident() != threading.main_thread().ident and self._lead([(what, done)]):
            pass
        else:
            turn = threading.Lock()
            turn.acquire()

            def told(result: Any) -> None:
                done(result)
                self._chain.append(turn)

            self._push((what, told))
            turn.acquire()
            self._wake_next()
        (result,) = results
        if isinstance(result, BaseException):
            raise result
        return result

    @property
    def may_lead(self) -> bool:
        """Whether an event loop may commit now what it submits, as far as can be told without waiting."""
        return self._sleeping and not self._closed and self._quick()

    def lead(self, group: list[Item]) -> bool:
        """Commit `group` in an event loop, where nobody else commits and that is quick; returns whether it did.

        Raises `Closed`.
        """
        return self.may_lead and self._lead(group)

    def _lead(self, group: list[Item]) -> bool:
        """Commit `group` in the calling thread, where nobody else commits; returns whether it did.  Raises `Closed`."""
        if not self._takes_lead():
            return False
        left = True
        try:
            left = self._run(group)
        finally:
            self._hand_back(left)
        return True

    def _takes_lead(self) -> bool:
        """Whether the calling thread commits, because nobody else does; `_hand_back` must follow.  Raises `Closed`."""
        if not self._sleeping:
            return False  # looked at without the gate: at worst the committing thread does it
        with self._gate:
            if self._closed:
                raise Closed("the store is closed")
            if not self._sleeping or self._chain or self._items or self._leader is not None:
                return False
            self._leader = threading.get_ident()
            return True

    def _hand_back(self, left: bool) -> None:
        """The committing thread goes on with what came meanwhile, and with what is `left`."""
        with self._gate:
            self._leader = None
            self._woken = self._woken or left
            if self._items or self._woken or self._closed:
                self._ring()

    def wake(self) -> None:
        """Commit what nobody waits for; raises `Closed`."""
        if self._is_here():
            self._run([])
            return
        with self._gate:
            if self._closed:
                raise Closed("the store is closed")
            self._woken = True
            if self._sleeping and not self._chain and self._leader is None:
                self._ring()

    def close(self) -> None:
        """Commit what was submitted, and end; idempotent."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            if self._sleeping and self._leader is None:
                self._ring()
        if self._thread is None:
            self._run([])
        elif threading.get_ident() not in (self._thread.ident, self._leader):
            self._thread.join()

    def _is_here(self) -> bool:
        """Whether the calling thread commits; raises `Closed`."""
        if self._thread is not None and threading.get_ident() not in (self._thread.ident, self._leader):
            return False
        if self._closed:
            raise Closed("the store is closed")
        return True

    def _wake_next(self) -> None:
        """Wake the next caller of the chain; after the last one the committing thread."""
        try:
            self._chain.popleft().release()
        except IndexError:
            with self._gate:
                waited_for = self._items or self._woken or self._closed
                if waited_for and self._sleeping and self._leader is None:
                    self._ring()

    def _ring(self) -> None:
        """Hold the gate."""
        self._sleeping = False
        self._bell.release()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        left = False
        while True:
            going = self._await_work(left)
            left = self._run(self._gather())
            if self._chain:
                self._wake_next()
            if not going:
                break
        while self._chain:
            self._wake_next()

    def _await_work(self, left: bool) -> bool:
        """Sleep until something is to be done; returns whether there will be more."""
        while True:
            with self._gate:
                if self._leader is None:
                    if self._closed:
                        return False
                    if (self._items or self._woken) and not self._chain:
                        return True
                self._sleeping = True
            timeout = _STALLED if self._chain else _RETRY if left else -1
            if self._bell.acquire(timeout=timeout):
                return not self._closed
            with self._gate:
                if self._leader is not None:
                    continue  # it rings, where there is more to do than it does
                if not self._sleeping:  # rung just after the time was over
                    self._bell.acquire()
                self._sleeping = False
            if not self._chain:
                return True
            while self._chain:  # one of the chain did not go on (its thread was interrupted): wake all
                with suppress(IndexError):
                    self._chain.popleft().release()

    def _gather(self) -> list[Item]:
        """What was submitted; where the last group was large, the same callers are given a moment to come back."""
        before, yields = 0, 0
        while before < self._usual and yields < _PATIENCE and not self._closed:
            if len(self._items) == before:
                yields += 1
            before = len(self._items)
            if before < self._usual:
                time.sleep(0)  # lets another thread have the interpreter; no time needs to pass
        with self._gate:
            self._woken = False
            group, self._items = self._items, []
        self._usual = min(max(len(group), 1), _MOST)
        return group


def _both(first: Done, second: Done, result: Any) -> None:
    try:
        first(result)
    finally:
        second(result)


def tell(callback: Callable[..., None], *arguments: Any) -> None:
    """Call back; an error there is logged and harms nobody else."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback of the store failed: %r", callback)
