"""A store's handle on a thread of its own: the service's event loop never waits for it.

Rules of this file: threads, and nothing of what is done on them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore

T = TypeVar("T")


class StoreAccess(Protocol):
    """Does work with a store, one piece after the other."""

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        """The result of `work`, or what it raised."""
        ...

    async def aclose(self) -> None:
        """Close the store's handle.  Idempotent."""
        ...


class StoreThread:
    """One thread, on which the handle is opened, used and closed."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"rataccess-{name}")
        self._store: ServiceStore | None = None
        self._closed = False

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        """See `StoreAccess`; opens the store with the first piece of work."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._work, work)

    def _work(self, work: Callable[[ServiceStore], T]) -> T:
        from rataccess.services.store import open_store

        if self._store is None:
            self._store = open_store(self._url)
        return work(self._store)

    async def aclose(self) -> None:
        """See `StoreAccess`; waits for work that is still under way."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the interpreter is going
            await asyncio.get_running_loop().run_in_executor(self._executor, self._close)
        self._executor.shutdown()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
