"""Fakes in memory that pass the contracts: for tests of what stands above transports and drivers.

Rules of this file: no I/O, no clock, and nothing thrown away: the far side gets what was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rataccess.clock import Clock
from rataccess.driver import Bearer, Driver, DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    PacketTooLarge,
    PortBusy,
    PortLost,
    RadioNotFound,
    RadioSilent,
    ServiceRefused,
    TransportBroken,
)
from rataccess.objects import Service
from rataccess.transport import Endpoint, Handover, Hints, Packet, Transport


class MemoryMedium:
    """A radio, its network and the services, all in memory, with everything under control.

    `arrived` has the packets that the services got; `deliver` is a service sending.
    """

    def __init__(self, *, rat: str = "memory", mtu: int = 512) -> None:
        self.rat = rat
        self.mtu = mtu
        self.arrived: asyncio.Queue[Packet] = asyncio.Queue()
        self.present = True
        self.bearer = True
        self.broken = False
        self.hanging = False
        self.refused: set[Service] = set()
        self.transport: MemoryTransport | None = None
        """The open one."""
        self.driver: MemoryDriver | None = None
        """The open one."""

    def deliver(self, packet: Packet) -> None:
        """Bring a packet to the device; without an open transport it is lost, as on any air."""
        if self.transport is not None and not self.hanging:
            self.transport.arrive(packet)

    def break_(self) -> None:
        """The medium breaks for good."""
        self.broken = True
        if self.transport is not None:
            self.transport.end(TransportBroken("the medium in memory is broken"))

    def set_bearer(self, up: bool) -> None:
        """The network gives or takes the bearer; the radio tells."""
        self.bearer = up
        self._moved()

    def set_present(self, present: bool) -> None:
        """The radio is plugged in or out."""
        self.present = present
        self._moved()

    def set_mtu(self, mtu: int) -> None:
        """The medium carries packets of another size now."""
        self.mtu = mtu
        if self.transport is not None:
            self.transport.set_hints(mtu=mtu)

    def _moved(self) -> None:
        if self.driver is not None:
            self.driver.moved()


class MemoryTransport(Transport):
    """A transport over a `MemoryMedium`."""

    def __init__(self, medium: MemoryMedium, hints: Hints | None = None) -> None:
        super().__init__(hints or Hints(rat=medium.rat, mtu=medium.mtu))
        self.medium = medium
        self._incoming: asyncio.Queue[Packet | None] = asyncio.Queue()
        self._refusals: list[Service] = []
        self._trouble: Exception | None = Closed("the transport in memory is not open")

    @classmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> MemoryTransport:
        """See `Transport.create`; the driver must be a `MemoryDriver`."""
        assert isinstance(driver, MemoryDriver)
        return cls(driver.medium)

    async def open(self) -> None:
        """See `Transport.open`."""
        if self.medium.broken:
            raise TransportBroken("the medium in memory is broken")
        self._trouble = None
        self.medium.transport = self

    async def send(self, packet: Packet) -> Handover | None:
        """See `Transport.send`."""
        self._check()
        if len(packet.data) > self.hints.mtu:
            raise PacketTooLarge(len(packet.data), self.hints.mtu)
        if packet.service in self.medium.refused:
            raise ServiceRefused(packet.service, "nobody listens in memory")
        if not self.medium.hanging:
            self.medium.arrived.put_nowait(packet)
        return None

    async def receive(self) -> Packet:
        """See `Transport.receive`."""
        self._check()
        packet = await self._incoming.get()
        if packet is None:
            self._incoming.put_nowait(None)  # for whoever else waits
            self._check()
            raise Closed("the transport in memory is closed")
        return packet

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self.end(Closed("the transport in memory is closed"))

    def arrive(self, packet: Packet) -> None:
        """The medium brings a packet."""
        self._incoming.put_nowait(packet)

    def end(self, trouble: Exception) -> None:
        """No more use; the first trouble stays, but `Closed` is stronger."""
        if self._trouble is None or isinstance(trouble, Closed):
            self._trouble = trouble
        if self.medium.transport is self:
            self.medium.transport = None
        self._incoming.put_nowait(None)

    def _check(self) -> None:
        if self._trouble is not None:
            raise type(self._trouble)(*self._trouble.args)


class MemoryDriver(Driver):
    """A driver for the radio of a `MemoryMedium`."""

    def __init__(self, medium: MemoryMedium) -> None:
        super().__init__()
        self.medium = medium
        self.attach_limit = 10.0
        self._open = False
        self._moved = asyncio.Event()

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> MemoryDriver:
        """See `Driver.create`; `options` is the medium."""
        return cls(options)

    async def open(self) -> None:
        """See `Driver.open`."""
        if not self.medium.present:
            raise RadioNotFound("the radio in memory is unplugged")
        if self.medium.driver not in (None, self):
            raise PortBusy("another driver holds the radio in memory")
        self.medium.driver = self
        self._open = True

    async def attach(self) -> Bearer:
        """See `Driver.attach`."""
        try:
            async with asyncio.timeout(self.attach_limit):
                while not self._up():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise AttachFailed("the network in memory gives no bearer") from error
        return Bearer(self.medium.rat, mtu=self.medium.mtu)

    async def status(self) -> RadioStatus:
        """See `Driver.status`."""
        self._up()
        return self._status()

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._open = False
        if self.medium.driver is self:
            self.medium.driver = None
        self._moved.set()

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """One, which ends a hang."""
        return (Recovery("modem reset", self._reset, deadline=5.0),)

    def moved(self) -> None:
        """The medium changed."""
        self._moved.set()
        self.announce(self._status())

    async def _reset(self) -> None:
        self.medium.hanging = False

    def _up(self) -> bool:
        if not self._open:
            raise Closed("the driver in memory is not open")
        if not self.medium.present:
            raise PortLost("the radio in memory is unplugged")
        if self.medium.hanging:
            raise RadioSilent("the radio in memory hangs")
        return self.medium.bearer

    def _status(self) -> RadioStatus:
        if not self.medium.present:
            return RadioStatus(Evidence.NONE, "unplugged", rat=self.medium.rat)
        evidence = Evidence.BEARER if self.medium.bearer else Evidence.REGISTERED
        return RadioStatus(evidence, "in memory", rat=self.medium.rat)
