"""Virtual links in virtual time: what the system tests put between a device and its services.

Rules of this file: it carries, delays, loses, doubles, reorders and records packets; it holds the laws that no device may
break (MTU, one use of each nonce) and fails loudly where one does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from rataccess.clock import Clock
from rataccess.driver import Bearer, Driver, DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import AttachFailed, Closed, PacketTooLarge, RadioSilent, ServiceRefused, TransportBroken
from rataccess.objects import Service
from rataccess.transport import Endpoint, Handover, Hints, Packet, Transport

Carry = Callable[[Service, bytes, str], list[bytes]]
"""A packet and where it comes from, to the service; its answers."""

AIRS: dict[str, Air] = {}
"""By name: how a configured driver finds the air that a test has made."""


class Air:
    """The medium of one link."""

    def __init__(self, name: str, carry: Carry, *, delay: float = 0.03, mtu: int = 1232, seed: int = 0) -> None:
        self.name = name
        self.carry = carry
        self.delay = delay
        self.mtu = mtu
        self.random = random.Random(seed)
        self.carrier = True
        self.silent = False
        self.hung = False
        self.refusing: set[Service] = set()
        self.loss = self.doubling = self.reordering = 0.0
        self.sent: list[tuple[Service, bytes]] = []
        self.bytes_up = 0
        self.bytes_down = 0
        self.receivers: list[AirTransport] = []
        self.drivers: list[AirDriver] = []
        self.recovered_by: list[str] = []
        self.cured_by = "modem reset"
        self.faults: list[str] = []
        self.on_data: Callable[[], None] = lambda: None
        self.hints: dict[str, Any] = {}
        """What else the transport claims, such as `acknowledges_handover`."""
        self.trouble: Callable[[Packet], Exception | None] = lambda packet: None
        """What `send` raises, if anything."""
        self.on_charge: Callable[[int], None] = lambda units: None
        """Tells the device's account of use besides packets."""
        self.stuck: asyncio.Event | None = None
        """While set to an event that is not set, `send` does not return."""
        AIRS[name] = self

    def set_carrier(self, up: bool) -> None:
        """Cut it or give it back; the driver is told at once."""
        self.carrier = up
        for driver in tuple(self.drivers):
            driver.tell()

    def take(self, packet: Packet) -> None:
        """A packet leaves the device."""
        if len(packet.data) > self.mtu:
            self.faults.append(f"{len(packet.data)} bytes over {self.name}, whose MTU is {self.mtu}")
        self.sent.append((packet.service, packet.data))
        self.bytes_up += len(packet.data)
        if self._vanishes():
            return
        copies = 2 if self.random.random() < self.doubling else 1
        for _ in range(copies):
            asyncio.get_running_loop().call_later(self._way(), self._arrive, packet)

    def _vanishes(self) -> bool:
        return not self.carrier or self.silent or self.hung or self.random.random() < self.loss

    def _way(self) -> float:
        late = self.random.random() * 20 * self.delay if self.random.random() < self.reordering else 0.0
        return self.delay + late

    def _arrive(self, packet: Packet) -> None:
        if not self.carrier or self.silent or self.hung:
            return
        if packet.service in self.refusing:
            asyncio.get_running_loop().call_later(self.delay, self._refuse, packet.service)
            return
        for answer in self.carry(packet.service, packet.data, self.name):
            self.answer(packet.service, answer)

    def answer(self, service: Service, data: bytes) -> None:
        """A packet from a service, on its way to the device."""
        if self._vanishes():
            return
        copies = 2 if self.random.random() < self.doubling else 1
        for _ in range(copies):
            asyncio.get_running_loop().call_later(self._way(), self._deliver, Packet(data, service))

    def _deliver(self, packet: Packet) -> None:
        if self.carrier and not self.silent and not self.hung:
            self.bytes_down += len(packet.data)
            for receiver in self.receivers:
                receiver.inbox.put_nowait(packet)

    def _refuse(self, service: Service) -> None:
        for receiver in self.receivers:
            receiver.inbox.put_nowait(ServiceRefused(str(service), "port unreachable"))


class AirOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which air."""

    air: str


class AirDriver(Driver):
    """A radio that does what the air says."""

    options_type = AirOptions

    def __init__(self, air: Air) -> None:
        super().__init__()
        self.air = air

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> AirDriver:
        return cls(AIRS[options.air])

    async def open(self) -> None:
        if self.air.hung:
            await asyncio.sleep(1.0)
            raise RadioSilent("the radio does not answer")
        if self not in self.air.drivers:
            self.air.drivers.append(self)

    async def attach(self) -> Bearer:
        await asyncio.sleep(0.2)
        if not self.air.carrier:
            raise AttachFailed("no carrier")
        return Bearer("air", mtu=self.air.mtu)

    async def status(self) -> RadioStatus:
        if self.air.hung:
            await asyncio.sleep(1.0)
            raise RadioSilent("the radio does not answer")
        return RadioStatus(Evidence.BEARER if self.air.carrier else Evidence.RADIO)

    def tell(self) -> None:
        self.announce(RadioStatus(Evidence.BEARER if self.air.carrier else Evidence.RADIO, "carrier"))

    def on_charge(self, callback: Callable[[int], None]) -> Callable[[], None]:
        self.air.on_charge = callback
        return lambda: None

    async def aclose(self) -> None:
        if self in self.air.drivers:
            self.air.drivers.remove(self)

    async def _recover(self, name: str) -> None:
        await asyncio.sleep(2.0)
        if name == self.air.cured_by:
            self.air.hung = False
            self.air.recovered_by.append(name)
        if self.air.hung:
            raise RadioSilent("still silent")

    @property
    def recoveries(self) -> Sequence[Recovery]:
        return [
            Recovery(name, lambda name=name: self._recover(name), 10.0)  # type: ignore[misc]
            for name in ("reopen port", "radio off/on", "modem reset", "power cut")
        ]


class AirTransport(Transport):
    """Packets through the air."""

    def __init__(self, air: Air) -> None:
        super().__init__(Hints(**{"rat": "air", "mtu": air.mtu, "response_time": 2 * air.delay, **air.hints}))
        self.air = air
        self.inbox: asyncio.Queue[Packet | ServiceRefused | None] = asyncio.Queue()
        self.closed = False

    @classmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> AirTransport:
        assert isinstance(driver, AirDriver)
        return cls(driver.air)

    async def open(self) -> None:
        self.air.receivers.append(self)

    async def send(self, packet: Packet) -> Handover | None:
        if self.closed:
            raise Closed("closed")
        if not self.air.carrier:
            raise TransportBroken("no carrier")
        if self.air.stuck is not None:
            await self.air.stuck.wait()
        if (trouble := self.air.trouble(packet)) is not None:
            raise trouble
        if len(packet.data) > self.air.mtu:
            raise PacketTooLarge(len(packet.data), self.air.mtu)
        self.air.take(packet)
        return Handover(str(len(self.air.sent))) if self.hints.acknowledges_handover else None

    async def receive(self) -> Packet:
        found = await self.inbox.get()
        if found is None:
            raise Closed("closed")
        if isinstance(found, ServiceRefused):
            raise found
        return found

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self.inbox.put_nowait(None)
            if self in self.air.receivers:
                self.air.receivers.remove(self)

    def set_mtu(self, mtu: int) -> None:
        self.set_hints(mtu=mtu)
