"""Hints of a radio that moves messages, and the announcement of their changes.

Rules of this file: values and callbacks.  When the time of `next_slot` has come it is looked at again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rataccess.transport import Hints


class Announcer:
    """A live `Hints` value."""

    def __init__(self, hints: Hints, due: Callable[[], None] | None = None) -> None:
        self.hints = hints
        self._due = due or (lambda: self.slot(0.0))
        self._callbacks: list[Callable[[Hints], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def on_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages.on_message_hints`."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def change(self, **changes: Any) -> None:
        """Replace fields, and tell where anything did change."""
        new = replace(self.hints, **changes)
        if new != self.hints:
            self.hints = new
            for callback in tuple(self._callbacks):
                callback(new)

    def slot(self, seconds: float) -> None:
        """The radio may send again in `seconds`; 0 for now."""
        self.close()
        self.change(next_slot=seconds or None)
        if seconds:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    def close(self) -> None:
        """No timer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
