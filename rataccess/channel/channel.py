"""One secure channel, as an application uses it.

Rules of this file: objects in, objects out.  It encodes, keeps receipts and waits; how records travel is the business of
the floors below.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cbor2

from rataccess.access import Access
from rataccess.channel.bridge import Bridge
from rataccess.channel.environment import KEY as ENVIRONMENT
from rataccess.channel.environment import Environment
from rataccess.channel.receipts import AsyncReceipt, Receipts
from rataccess.clock import Clock
from rataccess.errors import Closed, ConfigurationError, DeadlineExceeded, ObjectError
from rataccess.exchange import Exchange
from rataccess.objects import Object, ReceiptState, Service, Urgency, decode, encode
from rataccess.store import Accepted, Inbound, NewRecord, Store
from rataccess.transport import Hints

_log = logging.getLogger("rataccess")

OBJECTS = "$objects"
ENVIRONMENT_QUEUE = "$environment"
MOST_QUEUE_NAME = 64
MOST_DEPTH = 64
"""Containers within containers, as many as a receiver follows (rataccess/wire.py)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a channel is made of."""

    store: Store
    access: Access
    exchange: Exchange
    receipts: Receipts
    bridge: Bridge
    clock: Clock
    boot: bytes
    """Identifies this run of the machine: the monotonic clock means nothing in another."""


class AsyncChannel:
    """Objects to and from one service.  Made by `AsyncDevice`; never by hand."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self.service = service
        self._parts = parts
        self._arrived = asyncio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Channel {self.service}>"

    # --- up ------------------------------------------------------------------------------------------------------------

    async def enqueue(
        self,
        value: Object,
        *,
        queue: str = "default",
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
    ) -> AsyncReceipt:
        """Accept `value` for delivery; it is on disk when this returns.

        `queue`: 1 to 64 characters, not beginning with `$`.  `ttl`: seconds after which delivery is pointless.
        `max_cost`: the most that one packet with this record may cost, in the configuration's currency.  `links`: the
        only links that may carry it; empty for all.

        Raises `ObjectError` (not encodable, bad queue), `ConfigurationError` (unknown link), `StoreFull`, `DiskFull`.
        """
        new = self.record(value, queue=queue, urgency=urgency, ttl=ttl, max_cost=max_cost, links=links)
        return await self._accept(new)

    def record(
        self,
        value: Object,
        *,
        queue: str = "default",
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
    ) -> NewRecord:
        """`value` as a record, checked; see `enqueue`."""
        if not 1 <= len(queue) <= MOST_QUEUE_NAME or queue.startswith("$"):
            raise ObjectError(
                f"queue {queue!r}: a name has 1 to {MOST_QUEUE_NAME} characters and does not begin with $"
            )
        if ttl is not None and not ttl > 0:
            raise ObjectError(f"ttl {ttl!r}: seconds, more than 0")
        unknown = [name for name in links if name not in self._parts.access.links]
        if unknown:
            known = ", ".join(self._parts.access.links)
            raise ConfigurationError(f"links {unknown!r} are not configured; configured: {known}")
        return self._new(_readable(encode(value)), queue, Urgency(urgency), ttl, max_cost, tuple(links))

    def _new(
        self,
        body: bytes,
        queue: str,
        urgency: Urgency,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: tuple[str, ...] = (),
        replaces: str | None = None,
    ) -> NewRecord:
        clock = self._parts.clock
        now = clock.wall()
        return NewRecord(
            service=self.service,
            queue=queue,
            body=body,
            urgency=urgency,
            captured_at=now,
            boot=self._parts.boot,
            monotonic=clock.monotonic(),
            time_known=clock.wall_known(),
            expires_at=None if ttl is None else now + ttl,
            max_cost=max_cost,
            links=links,
            replaces=replaces,
        )

    async def _accept(self, new: NewRecord) -> AsyncReceipt:
        waiter: asyncio.Future[AsyncReceipt] = asyncio.get_running_loop().create_future()

        def done(outcome: AsyncReceipt | Exception) -> None:
            self._parts.bridge.post(lambda: _resolve(waiter, outcome))

        self.submit(new, done)
        return await waiter

    def submit(self, new: NewRecord, done: Callable[[AsyncReceipt | Exception], None]) -> None:
        """Accept `new` from any thread; `done` gets the receipt, or the error, perhaps in the store's own thread."""

        def stored(outcome: Accepted | Exception) -> None:
            if isinstance(outcome, Exception):
                done(outcome)
                return
            # here, before anything can settle the record, its receipt is made known
            receipt = self._parts.receipts.new(self.service, outcome.number)
            self._parts.bridge.post(lambda: self._parts.exchange.arrived(new.urgency))
            done(receipt)

        self._parts.store.submit(new, stored)

    async def put(self, name: str, value: Object, *, urgency: Urgency = Urgency.ROUTINE) -> AsyncReceipt:
        """Give the named object `name` (1 to 64 characters, not beginning with `$`) a new value, here and at the service.

        An older value that was never sent is not sent any more (its receipt becomes `REPLACED`).  Raises as `enqueue`.
        """
        return await self._accept(self.named(name, value, urgency))

    def named(self, name: str, value: Object, urgency: Urgency = Urgency.ROUTINE) -> NewRecord:
        """The record that carries a named object; the local copy has the new value already."""
        if not 1 <= len(name) <= MOST_QUEUE_NAME or name.startswith("$"):
            raise ObjectError(f"object name {name!r}: 1 to {MOST_QUEUE_NAME} characters, not beginning with $")
        body = _readable(encode([name, value]))
        self._parts.store.put_object(self.service, name, encode(value))
        return self._new(body, OBJECTS, Urgency(urgency), replaces=name)

    # --- down ----------------------------------------------------------------------------------------------------------

    def get(self, name: str, default: Object = None) -> Object:
        """The latest value of the named object, put here or by the service; `default` where there is none."""
        raw = self._parts.store.get_object(self.service, name)
        return default if raw is None else decode(raw)

    async def dequeue(self, timeout: float | None = None, *, queue: str | None = None) -> Object | None:
        """The oldest inbound object (of `queue`, or of any), or `None` after `timeout` seconds (`None`: wait for ever)."""
        try:
            async with asyncio.timeout(timeout):
                while (found := self._parts.store.take(self.service, queue)) is None:
                    self._arrived.clear()
                    await self._arrived.wait()
                    if self._closed:
                        raise Closed("the device was closed")
        except TimeoutError:
            return None
        return decode(found.body)

    def close(self) -> None:
        """For the device: nothing comes any more."""
        self._closed = True
        self._arrived.set()

    def objects_arrived(self, objects: Sequence[Inbound] = ()) -> None:
        """For the device: the inbox has something new, `objects` among it."""
        for each in objects:
            self._apply(each)  # before they leave the inbox: a power cut between the two must not lose them
        for queue in (OBJECTS, ENVIRONMENT_QUEUE):
            while (taken := self._parts.store.take(self.service, queue)) is not None:
                self._apply(taken)
        self._arrived.set()

    def _apply(self, each: Inbound) -> None:
        if each.queue == ENVIRONMENT_QUEUE:
            self._parts.store.put_object(self.service, ENVIRONMENT, each.body)
        if each.queue != OBJECTS:
            return
        try:
            pair = decode(each.body)
        except ObjectError as error:
            _log.warning("%s: a named object that cannot be read: %s", self.service, error)
            return
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            self._parts.store.put_object(self.service, pair[0], encode(pair[1]))

    # --- both ----------------------------------------------------------------------------------------------------------

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of this channel is settled.

        Raises `DeadlineExceeded` after `timeout` seconds; what is left stays queued, on disk.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._parts.exchange.drained()
        except TimeoutError as error:
            left = sum(
                count for (service, _), (count, _) in self._parts.store.depth().items() if service is self.service
            )
            raise DeadlineExceeded(f"{left} record(s) for {self.service} are still queued after {timeout} s") from error

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one."""
        current = self._parts.access.current
        standing = self._parts.access.links.get(current) if current else None
        return standing.link.hints if standing else None

    def explain(self) -> str:
        """Why this link: the decision and what led to it, for people."""
        return self._parts.access.explain()

    def moved(self, numbers: Sequence[int], state: ReceiptState) -> None:
        """For the device: these records got as far as `state`."""
        self._parts.receipts.move(self.service, numbers, state)


class AsyncManagementChannel(AsyncChannel):
    """The channel to the management service, which alone sends environment variables."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(Service.MANAGEMENT, parts)
        self.env = Environment(parts.store)


def _readable(body: bytes) -> bytes:
    """`body`, of which the other end can make an object again; `ObjectError` else: it would be refused there for ever."""
    try:
        cbor2.loads(body, max_depth=MOST_DEPTH)
    except Exception as error:
        raise ObjectError(f"the object could not be read at the other end: {error}") from error
    return body


def _resolve(waiter: asyncio.Future[AsyncReceipt], outcome: AsyncReceipt | Exception) -> None:
    if waiter.done():
        return
    if isinstance(outcome, Exception):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
