"""Packets as messages of a radio that moves whole messages without addresses: LoRaWAN, private LoRa, SBD, IMT, Notecard.

Rules of this file: any driver that `MovesMessages`; no radio is known here.  A packet is one message.  The service is named
by the message's port where the radio has ports, and otherwise (port 0) by bit 5 of the first byte of a packet in compact
form (docs/wire.md): 0 management, 1 solution.  What comes in for neither is counted and dropped.  The hints are the driver's
own, live; what supervision has put into them (prices, budgets) stays.  What the driver raises is passed on where it belongs
to the contract of `Transport`, and becomes `TransportBroken` otherwise.

A transport for one more such radio is a subclass of a few lines: its `unit`, its options, its ports.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from dataclasses import fields, replace
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

from rataccess.clock import Clock
from rataccess.driver import Bearer, Driver, MovesMessages, RadioMessage
from rataccess.errors import Closed, ConfigurationError, NotNow, PacketTooLarge, RataccessError, TransportBroken
from rataccess.objects import Service
from rataccess.transport import Endpoint, Handover, Hints, Packet, Transport

T = TypeVar("T")

SERVICE_BIT = 0x20
"""Of the first byte of a packet in compact form: set for the solution service."""
CLOSE_LIMIT = 8.0
"""Seconds that a driver may take to let go of a message that it was sending, or waiting for, when the transport closes."""

_UNCLAIMED: MutableMapping[MovesMessages, deque[RadioMessage]] = WeakKeyDictionary()
"""What a driver has handed to a transport that ended before anybody received it: for the next transport over that driver."""


class MessageTransport(Transport):
    """Each packet is one message of the driver's radio."""

    medium: ClassVar[str] = "messages"
    """The transport's registered name, for errors."""

    def __init__(self, driver: MovesMessages, options: Any = None) -> None:
        self._driver = driver
        self.options = options
        self._told = driver.message_hints
        self._ports = dict(self.ports())
        self._services = {port: service for service, port in self._ports.items()}
        self._trouble: RataccessError | None = Closed("the transport is not open")
        self._closed = False
        self._ended = asyncio.Event()
        self._fetching: asyncio.Task[RadioMessage] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._undo_hints: Callable[[], None] = lambda: None
        self.dropped = 0
        """Messages that came in for no service."""
        super().__init__(self.adapted(self._told))

    def __repr__(self) -> str:
        state = "open" if self._trouble is None else f"unusable: {self._trouble}"
        return f"<{type(self).__name__} {self._hints.rat} mtu={self._hints.mtu} {state}>"

    @classmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> MessageTransport:
        """See `Transport.create`; the driver must move messages.  Endpoints play no part: the network has no addresses."""
        if not isinstance(driver, MovesMessages):
            raise ConfigurationError(
                f"the transport {cls.medium} needs a driver that moves messages; {type(driver).__name__} does not"
            )
        return cls(driver, options)

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def ports(self) -> Mapping[Service, int]:
        """The port of each service; empty where the radio has none and the packet's first byte names the service."""
        return {}

    def adapted(self, hints: Hints) -> Hints:
        """The driver's hints as this transport's: they say at least that packets travel in compact form."""
        return replace(hints, compact=True)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Transport.open`; raises `TransportBroken` where the driver says at once that it receives nothing."""
        if self._closed:
            raise Closed("the transport is closed; build a new one")
        if self._trouble is None:
            return
        self._trouble = None
        self._undo_hints = self._driver.on_message_hints(self._follow)
        self._follow(self._driver.message_hints)
        fetching = self._fetch()
        await asyncio.wait({fetching}, timeout=0)
        if fetching.done() and not fetching.cancelled() and fetching.exception() is not None:
            self._look()
        if self._trouble is not None:
            raise self._unusable()

    async def aclose(self) -> None:
        """See `Transport.aclose`.  What came in and was not received is for the next transport over the same driver."""
        if self._closed:
            return
        self._closed = True
        self._end(Closed("the transport is closed"))
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_LIMIT)
        fetching, self._fetching = self._fetching, None
        if fetching is not None and fetching.done() and not fetching.cancelled() and fetching.exception() is None:
            _UNCLAIMED.setdefault(self._driver, deque()).append(fetching.result())

    def _end(self, trouble: RataccessError) -> None:
        self._trouble = trouble
        self._undo_hints()
        self._ended.set()

    def _break(self, error: RataccessError) -> RataccessError:
        """No more use: whoever sends or receives is told."""
        if self._trouble is None:
            broken = isinstance(error, TransportBroken)
            self._end(TransportBroken(str(error) if broken else f"the radio moves no messages: {error}"))
        return self._unusable()

    def _unusable(self) -> RataccessError:
        """Why, as an exception of its own: one raised again and again would grow its traceback without end."""
        return (
            type(self._trouble)(*self._trouble.args) if self._trouble is not None else Closed("the transport is closed")
        )

    # --- hints --------------------------------------------------------------------------------------------------------

    def _follow(self, hints: Hints) -> None:
        """Take over what the driver has changed, and nothing else: the rest may have been set by supervision."""
        before, now = self.adapted(self._told), self.adapted(hints)
        self._told = hints
        names = [field.name for field in fields(Hints) if getattr(before, field.name) != getattr(now, field.name)]
        self.set_hints(mtu=now.mtu, **{name: getattr(now, name) for name in names if name != "mtu"})

    # --- packets ------------------------------------------------------------------------------------------------------

    async def send(self, packet: Packet) -> Handover | None:
        """See `Transport.send`.  Raises `ConfigurationError` for a packet that names another service than its own."""
        if self._trouble is not None:
            raise self._unusable()
        if len(packet.data) > self._hints.mtu:
            raise PacketTooLarge(len(packet.data), self._hints.mtu)
        message = RadioMessage(packet.data, self._port(packet))
        try:
            return await self._unless_ended(self._driver.send_message(message))
        except NotNow:
            raise
        except PacketTooLarge as error:
            self.set_hints(mtu=min(error.limit, self._hints.mtu))
            raise
        except RataccessError as error:
            raise self._break(error) from error

    def _port(self, packet: Packet) -> int:
        if self._ports:
            return self._ports[packet.service]
        if named_service(packet.data) is not packet.service:
            raise ConfigurationError(
                f"the transport {self.medium} carries packets in compact form only, and this one does not name the"
                f" {packet.service} service"
            )
        return 0

    async def receive(self) -> Packet:
        """See `Transport.receive`.  Cancelling it loses no packet."""
        while True:
            if self._trouble is not None:
                raise self._unusable()
            message = self._unclaimed()
            if message is None:
                await self._wait(self._fetch())
                message = self._look()
            packet = None if message is None else self._packet(message)
            if packet is not None:
                return packet

    def _unclaimed(self) -> RadioMessage | None:
        """What came for an earlier transport over this driver."""
        waiting = _UNCLAIMED.get(self._driver)
        return waiting.popleft() if waiting else None

    def _fetch(self) -> asyncio.Task[RadioMessage]:
        """The one wait for the driver's next message; it outlives a cancelled `receive`."""
        if self._fetching is None:
            self._fetching = self._task(self._driver.receive_message())
        return self._fetching

    def _look(self) -> RadioMessage | None:
        """What the wait has brought, if it is over and the transport is usable."""
        if self._trouble is not None or self._fetching is None or not self._fetching.done():
            return None
        fetching, self._fetching = self._fetching, None
        try:
            return fetching.result()
        except asyncio.CancelledError:
            return None
        except RataccessError as error:
            self._break(error)
            return None

    def _packet(self, message: RadioMessage) -> Packet | None:
        service = self._services.get(message.port)
        if not self._ports and message.port == 0:
            service = named_service(message.data)
        if service is None or not message.data:
            self.dropped += 1
            return None
        return Packet(message.data, service)

    # --- tasks --------------------------------------------------------------------------------------------------------

    def _task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(coroutine, name=f"rataccess {self.medium}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited for it may have gone

    async def _wait(self, task: asyncio.Task[Any]) -> None:
        """Until it is over or the transport is."""
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()

    async def _unless_ended(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result; raises what stands in the way where the transport ends first.  Cancelling cancels it too."""
        task = self._task(coroutine)
        try:
            await self._wait(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_LIMIT)
            raise
        if not task.done():
            task.cancel()
            raise self._unusable()
        if task.cancelled():
            raise self._unusable()
        return task.result()


def named_service(data: bytes) -> Service | None:
    """The service that the first byte of a packet in compact form names; `None` for no packet at all, or a reserved kind."""
    if not data or data[0] & 0xC0 == 0xC0:
        return None
    return Service.SOLUTION if data[0] & SERVICE_BIT else Service.MANAGEMENT
