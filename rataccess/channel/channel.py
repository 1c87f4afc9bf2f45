"""One secure channel, as an application uses it.

Rules of this file: objects in, objects out.  It encodes, keeps receipts and waits; how records travel is the business of
the floors below.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cbor2

from rataccess.access import Access
from rataccess.channel.bridge import Bridge
from rataccess.channel.definitions import QUEUE as SCHEMAS
from rataccess.channel.definitions import Definitions
from rataccess.channel.inbound import InboundObject
from rataccess.channel.packets import AsyncPackets
from rataccess.channel.receipts import AsyncReceipt, Receipts
from rataccess.clock import Clock
from rataccess.errors import Closed, ConfigurationError, DeadlineExceeded, ObjectError
from rataccess.exchange import Exchange
from rataccess.objects import Object, ReceiptState, Service, Urgency, decode, encode
from rataccess.store import Accepted, Inbound, NewRecord, Store
from rataccess.template import Template, TemplateBook
from rataccess.transport import Hints
from rataccess.wire import RESERVED_QUEUES

_log = logging.getLogger("rataccess")

OBJECTS = "$objects"
DEFAULT_QUEUE = "default"
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
    book: TemplateBook
    """The templates that this channel's records were packed by, now and in earlier runs."""
    report: Callable[[dict[str, object]], None]
    """Takes health reports, for the management service."""


class AsyncChannel:
    """Objects to and from one service.  Made by `AsyncDevice`; never by hand."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self.service = service
        self.packets = AsyncPackets(parts.exchange)
        """Single unqueued packets, both ways."""
        self._parts = parts
        self._definitions = Definitions(service, parts.store, parts.book)
        self._arrived = asyncio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Channel {self.service}>"

    # --- up ------------------------------------------------------------------------------------------------------------

    async def define(self, template: Template) -> None:
        """Have every object of the queue `template.name` fit `template`, and travel packed by it where that is smaller.

        The service is told once, by a record that goes when something cheap carries it, however often the device is started.
        What was enqueued before stays as it is.  This holds until the device is closed: define templates at every start.

        Raises `TemplateError` where the template's id belongs to another one.
        """
        self.learn(template)

    async def enqueue(
        self,
        value: Object,
        *,
        queue: str | None = None,
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
        template: Template | None = None,
    ) -> AsyncReceipt:
        """Accept `value` for delivery; it is on disk when this returns.

        `queue`: 1 to 64 characters, not beginning with `$`; `default`, or the name of the template, where none is given.
        `ttl`: seconds after which delivery is pointless.  `max_cost`: the most that one packet with this record may cost, in
        the configuration's currency.  `links`: the only links that may carry it; empty for all.  `template`: what `value`
        must fit; it is defined with it (see `define`).

        Raises `ObjectError` (not encodable, bad queue), `TemplateError` (does not fit its template; nothing is stored),
        `ConfigurationError` (unknown link), `StoreFull`, `DiskFull`.
        """
        new = self.record(
            value, queue=queue, urgency=urgency, ttl=ttl, max_cost=max_cost, links=links, template=template
        )
        return await self._accept(new)

    def record(
        self,
        value: Object,
        *,
        queue: str | None = None,
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
        template: Template | None = None,
    ) -> NewRecord:
        """`value` as a record, checked; see `enqueue`.  From any thread."""
        if queue is None:
            queue = DEFAULT_QUEUE if template is None else template.name
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
        fitted, schema = self._definitions.fitted(value, queue, template)
        if template is not None:
            self._definitions.define(template)
        self._tell_definitions()
        body = readable(encode(fitted))
        return self.new_record(body, queue, Urgency(urgency), ttl, max_cost, tuple(links), template=schema)

    def learn(self, template: Template) -> None:
        """See `define`; from any thread."""
        self._definitions.define(template)
        self._tell_definitions()

    def _tell_definitions(self) -> None:
        """Enqueue what the service is to be told of templates; what cannot be kept now is tried again another time."""
        if not self._definitions.untold:
            return
        for template, body in self._definitions.take_untold():
            try:
                self.submit(
                    self.new_record(body, SCHEMAS, self._parts.access.least_urgency), partial(self._told, template)
                )
            except Closed:
                self._definitions.failed(template)

    def wanted(self, asked: Sequence[int]) -> None:
        """For the device: the service cannot file what it has without these definitions and names of queues."""
        with contextlib.suppress(Closed):
            for body in self._definitions.wanted(asked, self._parts.clock.monotonic()):
                urgency = max(Urgency.ROUTINE, self._parts.access.least_urgency)
                self.submit(self.new_record(body, SCHEMAS, urgency), lambda outcome: None)
            self._tell_definitions()

    def _told(self, template: Template, outcome: AsyncReceipt | Exception) -> None:
        """Perhaps in the store's own thread."""
        try:
            if isinstance(outcome, AsyncReceipt):
                self._definitions.told(template, outcome.number)
            else:
                _log.info("%s: %r is not announced yet: %s", self.service, template, outcome)
                self._definitions.failed(template)
        except Closed:
            pass  # at the next start it is told once more

    def new_record(
        self,
        body: bytes,
        queue: str,
        urgency: Urgency,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: tuple[str, ...] = (),
        replaces: str | None = None,
        template: int | None = None,
    ) -> NewRecord:
        """A record captured now."""
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
            template=template,
        )

    async def _accept(self, new: NewRecord) -> AsyncReceipt:
        waiter: asyncio.Future[AsyncReceipt] = asyncio.get_running_loop().create_future()

        def done(outcome: AsyncReceipt | Exception) -> None:
            bridge.run(partial(_resolve, waiter, outcome))

        bridge = self._parts.bridge
        self._parts.store.submit_async(new, partial(self._stored, new, done, bridge.run))
        return await waiter

    def submit(self, new: NewRecord, done: Callable[[AsyncReceipt | Exception], None]) -> None:
        """Accept `new` from any thread; `done` gets the receipt, or the error, perhaps in the store's own thread,
        before the record can leave."""
        self._parts.store.submit(new, partial(self._stored, new, done, self._parts.bridge.post))

    def accept_here(self, new: NewRecord) -> AsyncReceipt:
        """Accept `new` and wait for the disk in the calling thread; raises as `enqueue`."""
        outcomes: list[AsyncReceipt | Exception] = []
        self._parts.store.enqueue(new, partial(self._stored, new, outcomes.append, self._parts.bridge.post))
        (receipt,) = outcomes
        assert isinstance(receipt, AsyncReceipt)  # an error was raised
        return receipt

    def _stored(
        self,
        new: NewRecord,
        done: Callable[[AsyncReceipt | Exception], None],
        on_loop: Callable[[Callable[[], None]], None],
        outcome: Accepted | Exception,
    ) -> None:
        if isinstance(outcome, Exception):
            done(outcome)
            return
        # here, before anything can settle the record, its receipt is made known
        done(self._parts.receipts.new(self.service, outcome.number))
        on_loop(partial(self._parts.exchange.accepted, new, outcome.number))

    async def put(self, name: str, value: Object, *, urgency: Urgency = Urgency.ROUTINE) -> AsyncReceipt:
        """Give the named object `name` (1 to 64 characters, not beginning with `$`) a new value, here and at the service.

        An older value that was never sent is not sent any more (its receipt becomes `REPLACED`).  Raises as `enqueue`.
        """
        return await self._accept(self.named(name, value, urgency))

    def named(self, name: str, value: Object, urgency: Urgency = Urgency.ROUTINE) -> NewRecord:
        """The record that carries a named object; the local copy has the new value already."""
        if not 1 <= len(name) <= MOST_QUEUE_NAME or name.startswith("$"):
            raise ObjectError(f"object name {name!r}: 1 to {MOST_QUEUE_NAME} characters, not beginning with $")
        body = readable(encode([name, value]))
        self._parts.store.put_object(self.service, name, encode(value))
        return self.new_record(body, OBJECTS, Urgency(urgency), replaces=name)

    # --- down ----------------------------------------------------------------------------------------------------------

    def get(self, name: str, default: Object = None) -> Object:
        """The latest value of the named object, put here or by the service; `default` where there is none."""
        raw = self._parts.store.get_object(self.service, name)
        return default if raw is None else decode(raw)

    async def dequeue(self, timeout: float | None = None, *, queue: str | None = None) -> InboundObject | None:
        """The oldest inbound object (of `queue`, or of any), or `None` after `timeout` seconds (`None`: wait for ever).

        It is yours until you acknowledge it or give it back; see `InboundObject`.  Raises `Closed` where the device is
        closed meanwhile.
        """
        try:
            async with asyncio.timeout(timeout):
                while (found := self._lend(queue)) is None:
                    self._arrived.clear()
                    await self._arrived.wait()
                    if self._closed:
                        raise Closed("the device was closed")
        except TimeoutError:
            return None
        return found

    def _lend(self, queue: str | None) -> InboundObject | None:
        store = self._parts.store
        while (record := store.lend(self.service, queue)) is not None:
            try:
                return InboundObject(self.service, record, store, self._returned)
            except ObjectError as error:
                text = f"an inbound object of queue {record.queue!r} that cannot be read: {error}; dropped"
                _log.warning("%s: %s", self.service, text)
                self._parts.report({"event": "inbound", "text": text})
                store.acknowledge(self.service, record.number)
        return None

    def _returned(self) -> None:
        """An object was given back, in whatever thread."""
        self._parts.bridge.post(self._arrived.set)

    def begin(self) -> None:
        """For the device: take up what an earlier run has left in the inbox."""
        self.objects_arrived()

    def close(self) -> None:
        """For the device: nothing comes any more."""
        self._closed = True
        self._arrived.set()
        self.packets.close()

    def objects_arrived(self, objects: Sequence[Inbound] = ()) -> None:
        """For the device: the inbox has something new, `objects` among it."""
        for each in objects:
            self._keep(each)  # before they leave the inbox: a power cut between the two must not lose them
        for queue in RESERVED_QUEUES:
            while (taken := self._parts.store.take(self.service, queue)) is not None:
                self._keep(taken)
                self._take_reserved(taken)
        self._arrived.set()

    def _keep(self, record: Inbound) -> None:
        """Store what a record of a reserved queue says; it may be shown twice."""
        if record.queue != OBJECTS:
            return
        try:
            pair = decode(record.body)
        except ObjectError as error:
            _log.warning("%s: a named object that cannot be read: %s", self.service, error)
            return
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            self._parts.store.put_object(self.service, pair[0], encode(pair[1]))

    def _take_reserved(self, record: Inbound) -> None:
        """Act on a record of a reserved queue, once."""
        if record.queue != OBJECTS:
            _log.info("%s: a record of the queue %s means nothing here; dropped", self.service, record.queue)

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
        """What the link in use can do right now, or `None` without one.

        `mtu` is what an application can use of a packet: the most that `packets.send` takes.
        """
        current = self._parts.access.current
        standing = self._parts.access.links.get(current) if current else None
        hints = standing.link.hints if standing else None
        if standing is None or hints is None:
            return None
        slot = standing.next_slot or hints.next_slot
        return replace(hints, mtu=self.packets.mtu or 0, bytes_left=standing.bytes_left, next_slot=slot)

    def explain(self) -> str:
        """Why this link: the decision and what led to it, for people."""
        return self._parts.access.explain()

    def moved(self, numbers: Sequence[int], state: ReceiptState) -> None:
        """For the device: these records got as far as `state`."""
        self._parts.receipts.move(self.service, numbers, state)
        if state.final:
            with contextlib.suppress(Closed):  # the last news of a device that was closed
                self._definitions.settled(numbers, state)
                self._tell_definitions()


def readable(body: bytes) -> bytes:
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
