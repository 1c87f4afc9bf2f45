"""A value that changes now and then, and who waits for that.

Rules of this file: it belongs to one event loop and knows nothing of what the value means.  Changes coalesce: who looks
late sees the latest value, not each of those between.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """The latest value; `change` replaces it and wakes everybody who waits."""

    def __init__(self, value: T) -> None:
        self.value = value
        """May be read from any thread."""
        self.closed = False
        self._moved = asyncio.Event()

    def change(self, value: T) -> None:
        """The value is another now; in the loop's thread."""
        self.value = value
        self._wake()

    def close(self) -> None:
        """No change will follow: who waits is told."""
        self.closed = True
        self._wake()

    async def another(self, than: T) -> T:
        """Wait for a value other than `than` and return it; raises `StopAsyncIteration` where there will be none."""
        while self.value == than:
            if self.closed:
                raise StopAsyncIteration
            await self._moved.wait()
        return self.value

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
