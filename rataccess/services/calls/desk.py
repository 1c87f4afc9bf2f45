"""The desk: takes calls from the store, has them carried out, puts the answers back.

Rules of this file: each call is claimed before its request leaves, and answered once.  One process at a time works at the
desk of a store.  A call that was begun by a process that is no more is begun again only where that is harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.errors import ObjectError, RataccessError, StoreError
from rataccess.link.backoff import exponential
from rataccess.services.calls.remote import REFUSED, TIMED_OUT, UNKNOWN_OUTCOME, UNKNOWN_ROUTE, Outcome, Remote
from rataccess.services.calls.routes import Route, routes
from rataccess.services.calls.settings import RouteSettings
from rataccess.services.storethread import StoreAccess, StoreThread

if TYPE_CHECKING:
    from rataccess.services.store import PendingCall, ServiceStore

logger = logging.getLogger("rataccess.services")

POLL = 2.0
"""Seconds after which the store is looked into unasked."""
GATHER = 0.02
"""Seconds between being told and looking: one look for many commits."""
WINDOW = 2000
"""Calls that are looked at together."""
MOST, MOST_PER_DEVICE = 32, 4
"""Calls under way, of all devices and of one."""
MOST_WAITING = 64
"""Calls of one device that may be open; those after them are refused."""
FLUSH = 5.0
"""Seconds for calls under way when the service stops."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class CallStatus:
    """How the desk does."""

    state: str
    """`working`, `trying again` (the store is not to be had), `standing by` (another process works) or `closed`."""
    under_way: int
    waiting: int
    """Calls that wait for their turn, as of the last look."""
    answered: Mapping[int, int]
    """Answers given since the start, by status."""
    last_error: str | None


class CallDesk:
    """Carries calls out until closed."""

    def __init__(
        self,
        settings: Mapping[str, RouteSettings],
        url: str,
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
        *,
        most: int = MOST,
        most_per_device: int = MOST_PER_DEVICE,
        environ: Mapping[str, str] | None = None,
        store: StoreAccess | None = None,
    ) -> None:
        """`settings` are the routes by name, `url` is the store's; `wake` is called on the event loop when an answer is in
        the store.  `environ` holds the secrets (default: the process's own).

        Raises one `ConfigurationError` that lists every mistake of the routes.
        """
        self._routes = routes(settings, environ)
        self._clock, self._answer_waits = clock, wake
        self._most, self._most_per_device = most, most_per_device
        self._store = store or StoreThread(url, "calls")
        self._remote = Remote(clock)
        self._random = Random()
        self._told, self._closing = asyncio.Event(), asyncio.Event()
        self._running: dict[int, tuple[PendingCall, asyncio.Task[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._state, self._waiting, self._failures = "closed", 0, 0
        self._error: str | None = None
        self._answered: Counter[int] = Counter()

    def __repr__(self) -> str:
        return f"<CallDesk {', '.join(self._routes) or 'no routes'}: {len(self._running)} under way>"

    @property
    def status(self) -> CallStatus:
        """How it does."""
        return CallStatus(self._state, len(self._running), self._waiting, dict(self._answered), self._error)

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._state = "working"
        self._task = asyncio.create_task(self._run(), name="calls")

    def wake(self) -> None:
        """Calls were filed.  Call it on the event loop, after the commit."""
        self._told.set()

    async def aclose(self, deadline: float = FLUSH) -> None:
        """Begin no more calls, wait `deadline` (s) for those under way, then stop.  Idempotent."""
        self._closing.set()
        self._told.set()
        task, self._task = self._task, None
        if task is None:
            return
        await asyncio.wait({task, *self._tasks()}, timeout=deadline)
        late = [each for each in (task, *self._tasks()) if not each.done()]
        for each in late:
            each.cancel()
        await asyncio.gather(task, *late, return_exceptions=True)
        await self._remote.aclose()
        await self._store.aclose()
        self._state = "closed"

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for _, task in self._running.values()]

    # --- taking calls ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closing.is_set():
            self._told.clear()
            try:
                calls = await self._store.do(_look)
                self._failures = 0
                self._state = "working" if calls is not None else "standing by"
                self._begin_all(calls or [])
            except RataccessError as error:
                await self._failed(str(error))
                continue
            except Exception as error:
                logger.exception("calls: a defect; tried again")
                await self._failed(type(error).__name__)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._told.wait()
            await self._pause(GATHER)

    async def _failed(self, reason: str) -> None:
        self._failures += 1
        wait = exponential(self._failures, _FIRST_WAIT, _LONGEST_WAIT, self._random)
        self._error, self._state = reason, "trying again"
        logger.warning("calls wait: %s; again in %.1f s", reason, wait)
        await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _begin_all(self, calls: Sequence[PendingCall]) -> None:
        """Begin what may begin now, the oldest first, no device taking more than its share."""
        if self._closing.is_set():
            return
        of_device = Counter(call.device for call, _ in self._running.values())
        open_of_device: Counter[bytes] = Counter()
        self._waiting = 0
        for call in calls:
            open_of_device[call.device] += 1
            if call.id in self._running:
                continue
            outcome = self._settled(call, open_of_device[call.device])
            if outcome is None and (
                len(self._running) >= self._most or of_device[call.device] >= self._most_per_device
            ):
                self._waiting += 1
                continue
            of_device[call.device] += outcome is None
            task = asyncio.create_task(self._handle(call, outcome), name=f"call {call.id}")
            self._running[call.id] = (call, task)

    def _settled(self, call: PendingCall, place: int) -> Outcome | None:
        """The outcome of a call that needs, or may have, no request."""
        route = self._routes.get(call.name)
        if call.state == "started" and not (call.repeatable or (route and route.settings.repeatable)):
            return Outcome(UNKNOWN_OUTCOME, reason="it was begun by a process that is no more")
        if route is None:
            return Outcome(UNKNOWN_ROUTE, reason="there is no such route")
        if call.expires_at <= self._clock.wall():
            return Outcome(TIMED_OUT, reason="its time was over before it began")
        if place > MOST_WAITING and call.state == "new":
            return Outcome(REFUSED, reason=f"the device has more than {MOST_WAITING} calls open")
        return None

    # --- one call -------------------------------------------------------------------------------------------------------

    async def _handle(self, call: PendingCall, outcome: Outcome | None) -> None:
        try:
            if outcome is None:
                if not await self._store.do(lambda store: store.claim_call(call)):
                    return
                outcome = await self._carry_out(call, self._routes[call.name])
            await self._answer(call, outcome)
        except RataccessError as error:  # it could not be claimed: it is still there
            self._error = str(error)
            logger.warning("call %s of %s waits: %s", call.name, call.serial_number, error)
            await self._pause(POLL)
        finally:
            del self._running[call.id]
            self._told.set()

    async def _carry_out(self, call: PendingCall, route: Route) -> Outcome:
        """Ask the remote; whatever happens there is an outcome."""
        settings = route.settings
        seconds = min(settings.deadline, call.expires_at - self._clock.wall())
        try:
            request = await asyncio.to_thread(route.request, call.body, f"{call.device.hex()}-{call.number}")
        except ObjectError as error:
            return Outcome(REFUSED, reason=str(error))
        try:
            return await self._remote.ask(
                request,
                seconds=max(seconds, 0.0),
                limit=settings.response_limit,
                repeatable=settings.repeatable or call.repeatable,
                ca_file=settings.ca_file,
            )
        except Exception:
            logger.exception("call %s: a defect", call.name)
            return Outcome(UNKNOWN_OUTCOME, reason="a defect")

    async def _answer(self, call: PendingCall, outcome: Outcome) -> None:
        """Put the answer into the store, however long that takes: the request was made."""

        def answer(store: ServiceStore) -> bool:
            return store.answer_call(call, outcome.status, outcome.body, self._clock.wall())

        for attempt in range(1, 1_000_000):
            try:
                given = await self._store.do(answer)
                break
            except StoreError as error:
                if self._closing.is_set():
                    raise
                self._error = str(error)
                logger.warning("the answer to call %s of %s waits: %s", call.name, call.serial_number, error)
                await self._pause(exponential(attempt, _FIRST_WAIT, _LONGEST_WAIT, self._random))
        if given:
            self._answered[outcome.status] += 1
            level = logging.INFO if outcome.status >= 100 else logging.WARNING
            reason = outcome.reason
            logger.log(level, "call %s of %s: status %d (%s)", call.name, call.serial_number, outcome.status, reason)
            self._answer_waits()


def _look(store: ServiceStore) -> list[PendingCall] | None:
    """On the store's thread: the open calls, or `None` where another process works at this desk."""
    return store.open_calls(WINDOW) if store.lease("calls") else None
