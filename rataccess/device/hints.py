"""Changes of the link in use and of its hints, told to the application.

Rules of this file: it looks when it is told that something may have changed, and tells once for each change; many at once
are told as one.  Callbacks are the application's: what they raise is logged and harms nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from rataccess.channel import Watched
from rataccess.transport import Hints

_log = logging.getLogger("rataccess")

State = tuple["str | None", "Hints | None"]
"""The name of the link in use and what it can do now; `None` for both without one."""
HintsCallback = Callable[["Hints | None"], None]


class HintsWatch:
    """Looks at what `look` returns whenever `stir` is called; belongs to one event loop."""

    def __init__(self, look: Callable[[], State]) -> None:
        self._look = look
        self.watched: Watched[State] = Watched((None, None))
        self._callbacks: list[HintsCallback] = []
        self._planned: asyncio.Handle | None = None

    def stir(self) -> None:
        """Something may have changed: look once the event loop has done what it is at."""
        if self._planned is None and not self.watched.closed:
            self._planned = asyncio.get_running_loop().call_soon(self._tell)

    def subscribe(self, callback: HintsCallback) -> Callable[[], None]:
        """See `AsyncDevice.on_hints`."""
        entry: HintsCallback = lambda hints: callback(hints)  # noqa: E731 - one of its own for each subscription
        self._callbacks.append(entry)

        def undo() -> None:
            if entry in self._callbacks:
                self._callbacks.remove(entry)

        return undo

    def close(self) -> None:
        """Nothing is told any more."""
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        self._callbacks.clear()
        self.watched.close()

    def _tell(self) -> None:
        self._planned = None
        state = self._look()
        if state == self.watched.value:
            return
        self.watched.change(state)
        for callback in tuple(self._callbacks):
            if callback not in self._callbacks:
                continue  # undone by one before it
            try:
                callback(state[1])
            except Exception:  # noqa: BLE001 - the application's own
                _log.exception("a callback for hints failed")


class HintChanges:
    """Each item is the hints of the link in use after a change of the link or of its hints; `None` without a link.

    Changes that come while nobody waits are given as one, the latest.  The iteration ends where the device is closed.
    """

    def __init__(self, watched: Watched[State]) -> None:
        self._watched = watched
        self._seen = watched.value

    def __aiter__(self) -> HintChanges:
        return self

    async def __anext__(self) -> Hints | None:
        self._seen = await self._watched.another(self._seen)
        return self._seen[1]
