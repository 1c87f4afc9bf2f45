"""The end of records: those that are old, and that every receiver has, are deleted.

Rules of this file: when, and with what limits; which records are meant is the store's business.  One process at a time
deletes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import RataccessError
from rataccess.services.storethread import StoreAccess

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore

logger = logging.getLogger("rataccess.services")

DAY = 86_400.0
FIRST, EVERY = 60.0, 3600.0
"""Seconds after the start, and between one look and the next."""
PAUSE = 0.05
"""Seconds between two deletions of some thousand records: others want to write too."""


class Retention:
    """Deletes until closed.  `days`: how long records are kept; `receivers`: names of those that must have had them."""

    def __init__(self, days: float, receivers: Sequence[str], store: StoreAccess, clock: Clock) -> None:
        self._seconds, self._receivers = days * DAY, list(receivers)
        self._store, self._clock = store, clock
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Retention {self._seconds / DAY:g} days>"

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="retention")

    async def aclose(self) -> None:
        """Stop; what is being deleted is finished.  Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._store.aclose()

    async def _run(self) -> None:
        wait = FIRST
        while True:
            await asyncio.sleep(wait)
            wait = EVERY
            try:
                deleted = await self.look()
            except RataccessError as error:
                logger.warning("old records are not deleted now: %s", error)
                continue
            except Exception:
                logger.exception("old records are not deleted: a defect")
                continue
            if deleted:
                logger.info("old records deleted", extra={"records": deleted})

    async def look(self) -> int:
        """Delete what is due; returns how many records.  Raises the store's errors."""
        deleted = 0
        while found := await self._store.do(self._prune):
            deleted += found
            await asyncio.sleep(PAUSE)
        return deleted

    def _prune(self, store: ServiceStore) -> int:
        if not store.lease("retention"):
            return 0
        return store.prune(self._clock.wall() - self._seconds, self._receivers)
