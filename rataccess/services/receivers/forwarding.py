"""Records to one receiver: in order, each at least once, whatever fails.

Rules of this file: the store's cursor moves only after the receiver has taken what stands before it.  A receiver that is
down is tried again, ever more rarely; one that refuses what it is given is given less at a time, until the record at fault
stands alone, is kept aside with the reason, and the rest goes on.  Nothing here knows what kind of receiver it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import RataccessError, ReceiverDown, RecordRefused, StoreError
from rataccess.link.backoff import exponential, usable
from rataccess.services.receivers import aside
from rataccess.services.receivers.base import Receiver, key_of
from rataccess.services.receivers.choice import Choice
from rataccess.services.storethread import StoreAccess

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore, StoredRecord
    from rataccess.services.store.aside import Aside

logger = logging.getLogger("rataccess.services")

POLL = 2.0
"""Seconds after which the store is looked into unasked: another process may have filed records."""
GATHER = 0.1
"""Seconds between being told of records and reading them: one batch for many commits."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before a receiver that failed is tried again; doubled each time."""
LONGEST_ASKED = 3600.0
"""Seconds that a receiver may ask to be left alone."""
KEEP_EVERY = 5.0
"""Seconds after which the cursor is kept though nothing was delivered (every record was for others)."""
COUNT_EVERY = 10.0
"""Seconds between counts of what a receiver has still before it."""
MOST_IN_A_ROW = 20
"""Records kept aside with none taken between: after that the receiver is at fault, not the records, and they wait."""


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """How forwarding to one receiver goes."""

    name: str
    kind: str
    state: str
    """`forwarding`, `trying again` (see `retry_at`), `standing by` (another process forwards to it) or `closed`."""
    lag: int | None
    """Records that are still before it, those for others among them; `None` before the first look."""
    delivered: int
    """Records delivered since the start."""
    set_aside: int
    """Records that it refused and that are kept aside, since the start."""
    failures: int
    """Failures in a row."""
    last_error: str | None
    retry_at: float | None
    """Wall time of the next try, in seconds since 1970, while it is `trying again`."""


class Forwarding:
    """One receiver's task."""

    def __init__(
        self,
        receiver: Receiver,
        choice: Choice,
        store: StoreAccess,
        clock: Clock,
        *,
        name: str,
        kind: str = "",
        from_now: bool = False,
        random: Random | None = None,
    ) -> None:
        """`from_now`: where the store does not know the name, what it holds already is not for this receiver."""
        self.name, self.kind = name, kind
        self._from_now = from_now
        self._receiver, self._choice, self._store, self._clock = receiver, choice, store, clock
        self._random = random or Random()
        self._told, self._closing = asyncio.Event(), asyncio.Event()
        self._state = "forwarding"
        self._opened = self._held = False
        self._position: str | None = None
        """Up to here everything was taken or is for others."""
        self._kept: tuple[str | None, bytes | None] = (None, None)
        """The cursor in the store."""
        self._kept_at = clock.monotonic()
        self._waiting: list[StoredRecord] = []
        """Read and chosen, not yet taken."""
        self._read_to: str | None = None
        self._again: Aside | None = None
        """What is to be sent again next."""
        self._again_at = -POLL
        self._size = receiver.most
        self._refusals = self._in_a_row = self._failures = self._delivered = self._set_aside = 0
        self._lag: int | None = None
        self._counted_at = clock.monotonic()
        self._error: str | None = None
        self._retry_at: float | None = None

    def __repr__(self) -> str:
        return f"<Forwarding {self.name} {self._state} lag={self._lag}>"

    @property
    def status(self) -> ReceiverStatus:
        """How it goes."""
        return ReceiverStatus(
            self.name,
            self.kind,
            self._state,
            self._lag,
            self._delivered,
            self._set_aside,
            self._failures,
            self._error,
            self._retry_at,
        )

    def wake(self) -> None:
        """Records were filed."""
        self._told.set()

    def finish(self) -> None:
        """Have `run` return once it has delivered what is there, or at the first failure."""
        self._closing.set()
        self._told.set()

    async def run(self) -> None:
        """Forward until `finish`, or until cancelled; then everything is closed."""
        try:
            while True:
                closing = self._closing.is_set()
                if await self._attempt():
                    continue
                if closing:
                    break
                await self._rest()
            await self._keep_up()
        finally:
            self._state = "closed"
            await asyncio.shield(self._let_go())

    async def _let_go(self) -> None:
        await self._receiver.aclose()
        await self._store.aclose()

    # --- one step -------------------------------------------------------------------------------------------------------

    async def _attempt(self) -> bool:
        """One step; whether the next may follow at once."""
        try:
            more = await self._step()
        except RecordRefused as error:
            return await self._refused(error)
        except RataccessError as error:
            await self._failed(error)
            return False
        except Exception as error:
            logger.exception("receiver %s: a defect; it is tried again", self.name)
            await self._failed(ReceiverDown(f"a defect ({type(error).__name__})"))
            return False
        if self._failures:
            logger.info("receiver %s takes records again", self.name)
        self._failures, self._retry_at, self._error = 0, None, None
        return more

    async def _step(self) -> bool:
        now = self._clock.monotonic()
        if not await self._store.do(lambda store: self._look(store, now)):
            await self._stand_by()
            return False
        self._state = "forwarding"
        if not self._opened:
            await self._receiver.open(self._kept[1])
            self._opened = True
        if self._again is not None:
            await self._send_again(self._again)
            return True
        if self._waiting:
            await self._deliver(self._waiting[: self._size])
            return True
        if self._read_to == self._position:
            return False
        self._position = self._read_to
        if self._clock.monotonic() - self._kept_at >= KEEP_EVERY:
            await self._keep()
        return True

    def _look(self, store: ServiceStore, now: float) -> bool:
        """On the store's thread, while the loop waits: whether the receiver is ours; reads what comes next."""
        if not store.lease(f"receiver {self.name}"):
            return False
        if not self._held:
            if self._from_now and self.name not in store.cursors():
                store.move_cursor(self.name, newest(store))
            self._kept = store.cursor(self.name)
            self._position = self._read_to = self._kept[0]
            self._held = True
        if not self._waiting:
            records = store.records_after(self._position, self._receiver.most, self._receiver.most_bytes)
            self._waiting = self._choice.among(records, store)
            self._read_to = records[-1].position if records else self._position
        self._count(store, now)
        if self._again is not None or now - self._again_at >= POLL:
            self._again, self._again_at = aside.next_again(store, self.name), now
        return True

    def _count(self, store: ServiceStore, now: float) -> None:
        """Counting a long backlog takes long: not each time."""
        if self._read_to == self._position:
            self._lag = 0
        elif self._lag is None or now - self._counted_at >= COUNT_EVERY:
            self._lag, self._counted_at = store.backlog(self.name), now

    async def _stand_by(self) -> None:
        """Another process has the receiver."""
        self._state = "standing by"
        self._forget()
        await self._close_receiver()

    def _forget(self) -> None:
        """What was read may be done already, or not be counted: the store's cursor says so."""
        self._held, self._waiting = False, []

    async def _send_again(self, refused: Aside) -> None:
        """One that stood aside, alone and once: what is refused still stands aside again."""
        reason, now = None, self._clock.wall()
        if not await self._store.do(lambda store: self._choice.among([refused.record], store)):
            reason = "it is not for this receiver any more"
        else:
            try:
                await self._hand_over([refused.record])
            except RecordRefused as error:
                reason = str(error)
        if reason is not None:
            told = reason
            await self._store.do(lambda store: aside.refused_again(store, self.name, refused.key, told, now))
            logger.error("receiver %s refuses record %s again: %s", self.name, refused.key, reason)
            return
        await self._keep()
        await self._store.do(lambda store: aside.taken(store, self.name, refused.key))
        self._delivered += 1
        logger.info("receiver %s has taken record %s, which had stood aside", self.name, refused.key)

    async def _hand_over(self, batch: list[StoredRecord]) -> None:
        await self._receiver.prepare()
        if self._receiver.state != self._kept[1]:
            await self._keep()
        await self._receiver.deliver(batch)

    async def _deliver(self, batch: list[StoredRecord]) -> None:
        await self._hand_over(batch)
        self._taken(len(batch))
        self._delivered += len(batch)
        self._in_a_row = 0
        if self._size < self._receiver.most:
            self._size = min(2 * self._size, self._receiver.most)
        else:
            self._refusals = 0
        await self._keep()

    def _taken(self, count: int) -> None:
        """The first `count` records that wait are done."""
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        self._position = done[-1].position if self._waiting else self._read_to
        self._lag = None if self._lag is None else max(0, self._lag - count)

    async def _keep(self) -> None:
        position, state = self._position, self._receiver.state
        await self._store.do(lambda store: store.move_cursor(self.name, position, state))
        self._kept, self._kept_at = (position, state), self._clock.monotonic()

    async def _keep_up(self) -> None:
        """At the end: keep the cursor where records for others moved it."""
        if self._held and self._position != self._kept[0]:
            with contextlib.suppress(RataccessError):
                await self._keep()

    # --- trouble --------------------------------------------------------------------------------------------------------

    async def _refused(self, error: RecordRefused) -> bool:
        """Give it less at a time, or keep the one record aside; whether to go on at once."""
        self._refusals += 1
        count = len(self._waiting[: self._size])
        if count > 1 and (error.too_large or self._refusals >= self._receiver.tries):
            self._size = (count + 1) // 2
            return True
        if count == 1 and self._refusals >= self._receiver.tries and self._in_a_row < MOST_IN_A_ROW:
            return await self._put_aside(self._waiting[0], str(error))
        await self._failed(error)
        return False

    async def _put_aside(self, record: StoredRecord, reason: str) -> bool:
        now = self._clock.wall()
        try:
            await self._store.do(lambda store: store.set_aside(self.name, key_of(record), record, reason, now))
            self._taken(1)
            self._set_aside += 1
            self._in_a_row += 1
            await self._keep()
        except RataccessError as error:
            await self._failed(error)
            return False
        logger.error("receiver %s refuses record %s, which is kept aside: %s", self.name, key_of(record), reason)
        return True

    async def _failed(self, error: RataccessError) -> None:
        """Close the receiver and wait, each time longer."""
        self._failures += 1
        wait = exponential(self._failures, FIRST_WAIT, LONGEST_WAIT, self._random)
        wait = max(wait, usable(getattr(error, "retry_after", None), LONGEST_ASKED) or 0.0)
        if isinstance(error, StoreError):
            self._forget()
        reason = str(error)
        if reason != self._error:
            logger.warning("receiver %s: %s; again in %.1f s", self.name, reason, wait)
        self._error, self._retry_at, self._state = reason, self._clock.wall() + wait, "trying again"
        await self._close_receiver()
        await self._wait_it_out(wait)

    async def _wait_it_out(self, wait: float) -> None:
        """Pause, counting now and then what piles up meanwhile."""
        while wait > COUNT_EVERY and not self._closing.is_set():
            await self._pause(COUNT_EVERY)
            wait -= COUNT_EVERY
            if self._held:
                with contextlib.suppress(RataccessError):
                    self._lag = await self._store.do(lambda store: store.backlog(self.name))
        await self._pause(wait)

    async def _close_receiver(self) -> None:
        self._opened = False
        await self._receiver.aclose()

    # --- waiting --------------------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Until there may be something to do."""
        if self._failures:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._told.wait()
        if self._told.is_set():
            await self._pause(GATHER)
            self._told.clear()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def newest(store: ServiceStore) -> str | None:
    """The position behind which everything comes that is not to be read yet; `None` where the store has no record."""
    database = store.database
    backwards = ", ".join(f"{each} DESC" for each in database.order.split(", "))
    statement = f"SELECT {database.position} FROM records AS r WHERE {database.after} ORDER BY {backwards} LIMIT 1"
    found = store.execute(statement, database.place(None))
    return str(found[0][0]) if found else None
