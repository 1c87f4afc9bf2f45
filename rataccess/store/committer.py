"""Group commit: many callers, one thread, one sync for all that wait.

Rules of this file: queues, threads and callbacks; no SQL.  While one group is being synced the next one gathers, so that
the groups are as large as the load is high, and a lone caller waits for nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from rataccess.errors import Closed

log = logging.getLogger("rataccess.store")

Done = Callable[[Any], None]
Item = tuple[Any, Done]
"""What to do (a `NewRecord`, or a function to be called inside the transaction) and who is told the result or error."""

_MOST = 1024
"""Items in one group: a larger one would keep the first of them waiting."""
_PATIENCE = 3
"""How often in a row the interpreter is yielded without anybody submitting before a group is closed."""
_RETRY = 1.0
"""Seconds after which changes that nobody waits for are tried again, where the disk was full."""
_STOP = object()


class Committer:
    """Gathers items and has `run` commit them: in a thread, or in the thread of whoever submits."""

    def __init__(self, run: Callable[[list[Item]], bool], *, threaded: bool, name: str) -> None:
        """`run` commits a group, tells the results, and returns whether something is left to be tried again."""
        self._run = run
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._woken = False
        self._usual = 1
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
            self._thread.start()

    def submit(self, item: Item) -> None:
        """Have `item` committed; raises `Closed`."""
        if self._thread is None or self._thread.ident == threading.get_ident():
            self._check()
            self._run([item])
            return
        with self._gate:
            self._check()
            self._queue.put(item)

    def call(self, what: Any) -> Any:
        """Have `what` committed, wait, and return its result or raise its error."""
        waiter = _Waiter()
        self.submit((what, waiter.tell))
        return waiter.wait()

    def wake(self) -> None:
        """Commit what nobody waits for; raises `Closed`."""
        if self._thread is None or self._thread.ident == threading.get_ident():
            self._check()
            self._run([])
            return
        with self._gate:
            self._check()
            if not self._woken:
                self._woken = True
                self._queue.put(None)

    def close(self) -> None:
        """Commit what was submitted, and end; idempotent."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(_STOP)
        if self._thread is None:
            self._run([])
        elif self._thread.ident != threading.get_ident():
            self._thread.join()

    def _check(self) -> None:
        if self._closed:
            raise Closed("the store is closed")

    def _loop(self) -> None:
        left, going = False, True
        while going:
            group = self._gather(_RETRY if left else None)
            going = not group or group[-1] is not _STOP  # nothing is submitted after it
            left = self._run([item for item in group if item is not None and item is not _STOP])

    def _gather(self, timeout: float | None) -> list[Any]:
        """What has been submitted; where the last group was large, the same callers are given a moment to come back."""
        try:
            group = [self._queue.get(timeout=timeout)]
        except Empty:
            return []
        self._woken = False  # before the rest is taken: whoever wakes from here on is in this group or starts the next
        yields = 0
        while True:
            before = len(group)
            self._drain_into(group)
            yields = yields + 1 if len(group) == before else 0
            if len(group) >= self._usual or yields > _PATIENCE or group[-1] is _STOP:
                break
            time.sleep(0)  # lets another thread have the interpreter; no time needs to pass
        self._usual = min(len(group), _MOST)
        return group

    def _drain_into(self, group: list[Any]) -> None:
        get = self._queue.get_nowait
        try:
            while len(group) < _MOST:
                group.append(get())
        except Empty:
            pass


class _Waiter:
    """One caller waiting for one result."""

    __slots__ = ("_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._result: Any = None

    def tell(self, result: Any) -> None:
        self._result = result
        self._lock.release()

    def wait(self) -> Any:
        self._lock.acquire()
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


def tell(callback: Callable[..., None], *arguments: Any) -> None:
    """Call back; an error there is logged and harms nobody else."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback of the store failed: %r", callback)
