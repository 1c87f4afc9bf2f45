"""From other threads into the event loop, many calls for one wake-up.

Rules of this file: no record, no radio; it carries calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("rataccess")


class Bridge:
    """Calls posted from any thread run on the loop, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """To be made in the loop's own thread."""
        self._loop = loop
        self._thread = threading.get_ident()
        self._calls: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` run on the loop soon; dropped once the loop is closed."""
        self._calls.append(call)
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                if threading.get_ident() == self._thread:
                    self._loop.call_soon(self._run)
                else:
                    self._loop.call_soon_threadsafe(self._run)  # wakes the loop: two system calls

    def run(self, call: Callable[[], None]) -> None:
        """As `post`; where this is the loop's thread already, and nothing was posted before, `call` runs at once."""
        if self._calls or threading.get_ident() != self._thread:
            self.post(call)
        else:
            call()

    def _run(self) -> None:
        self._scheduled = False
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception:  # noqa: BLE001 - whatever it is
                _log.exception("a call into the event loop failed")  # those after it have their turn all the same
