"""The rigs on which the contracts run here.

Rules of this file: making and breaking; no assertion.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rataccess.driver import Bearer
from rataccess.objects import Service
from rataccess.testing import DriverRig, MemoryDriver, MemoryMedium, MemoryTransport, TransportRig
from rataccess.transport import Endpoint, Packet, Transport
from rataccess_drivers.ip.interface import InterfaceDriver, InterfaceOptions
from rataccess_hil.access_point import (
    AccessPoint,
    NetworkNamespace,
    RelayAccessPoint,
    TunAccessPoint,
    VirtualInterfaceDriver,
    VirtualInterfaceOptions,
)
from rataccess_transports.udp import UdpTransport

Address = tuple[str, int]
_numbers = itertools.count(1)


class FarSide:
    """Both services, as bare UDP sockets on loopback."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Packet] = asyncio.Queue()
        self.sockets: dict[Service, socket.socket] = {}
        self.devices: dict[Service, Address] = {}

    def start(self) -> None:
        for service in Service:
            self.sockets[service] = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.bind(("127.0.0.1", 0))
            asyncio.get_running_loop().add_reader(sock, self._readable, service, sock)

    def stop(self, *services: Service) -> None:
        for service in services or tuple(self.sockets):
            sock = self.sockets.pop(service)
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def address(self, service: Service) -> Address:
        name: Address = self.sockets[service].getsockname()
        return name

    def answer(self, packet: Packet) -> None:
        self.sockets[packet.service].sendto(packet.data, self.devices[packet.service])

    def _readable(self, service: Service, sock: socket.socket) -> None:
        data, self.devices[service] = sock.recvfrom(65_536)
        self.arrived.put_nowait(Packet(data, service))


@asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    far = FarSide()
    far.start()
    try:
        yield far
    finally:
        far.stop()


class UdpWithin(UdpTransport):
    """A device in a namespace of its own, without a process of its own: only sockets are made there."""

    def __init__(self, namespace: NetworkNamespace, bearer: Bearer, endpoints: dict[Service, Endpoint]) -> None:
        super().__init__(bearer, endpoints)
        self._namespace = namespace

    async def open(self) -> None:
        with self._namespace.entered():
            await super().open()


class InterfaceWithin(InterfaceDriver):
    """Likewise."""

    def __init__(self, namespace: NetworkNamespace, options: InterfaceOptions) -> None:
        super().__init__(options)
        self._namespace = namespace

    async def open(self) -> None:
        with self._namespace.entered():
            await super().open()

    async def _reread(self) -> None:
        with self._namespace.entered():
            await super()._reread()


class UdpRig(TransportRig):
    """`UdpTransport` through an access point; it can hang."""

    def __init__(self, far: FarSide, point: AccessPoint, bearer: Bearer) -> None:
        self.far = far
        self.point = point
        self.bearer = bearer
        self.endpoints = {service: Endpoint(*point.public(far.address(service))) for service in Service}

    def build(self) -> Transport:
        return UdpTransport(self.bearer, self.endpoints)

    async def received(self) -> Packet:
        return await self.far.arrived.get()

    async def answer(self, packet: Packet) -> None:
        self.far.answer(packet)

    async def hang_medium(self) -> None:
        self.point.silent(True)


class UdpTunRig(UdpRig):
    """The same through a real interface: it can break, refuse, and become narrower."""

    point: TunAccessPoint

    def build(self) -> Transport:
        return UdpWithin(self.point.namespace, self.bearer, self.endpoints)

    async def break_medium(self) -> None:
        self.point.unplug()

    async def refuse(self, service: Service) -> None:
        self.far.stop(service)

    async def shrink_mtu(self, transport: Transport) -> None:
        self.point.path_mtu = 1000
        noticed = asyncio.Event()
        transport.on_hints(lambda _: noticed.set())
        await transport.send(Packet(bytes(transport.hints.mtu), Service.SOLUTION))
        await noticed.wait()
        # Of the other service's path the kernel knows by the same entry of its routing table or by the next packet.


class InterfaceRig(DriverRig):
    """`InterfaceDriver` on a TUN interface."""

    exclusive = False

    def __init__(self, point: TunAccessPoint) -> None:
        self.point = point

    def build(self) -> InterfaceDriver:
        options = InterfaceOptions(interface=self.point.interface, attach_timeout=5)
        return InterfaceWithin(self.point.namespace, options)

    async def lose_bearer(self) -> None:
        self.point.carrier(False)

    async def restore_bearer(self) -> None:
        self.point.carrier(True)

    async def unplug(self) -> None:
        self.point.unplug()


class VirtualInterfaceRig(DriverRig):
    """`VirtualInterfaceDriver` at a relay."""

    exclusive = False

    def __init__(self, point: RelayAccessPoint, control: Path) -> None:
        self.point = point
        self.control = control

    def build(self) -> VirtualInterfaceDriver:
        return VirtualInterfaceDriver(VirtualInterfaceOptions(control=str(self.control), attach_timeout=5))

    async def lose_bearer(self) -> None:
        self.point.carrier(False)

    async def restore_bearer(self) -> None:
        self.point.carrier(True)

    async def unplug(self) -> None:
        await self.point.stop()


class MemoryTransportRig(TransportRig):
    """The fake, which can do everything."""

    made: type[MemoryTransport] = MemoryTransport

    def __init__(self) -> None:
        self.medium = MemoryMedium()

    def build(self) -> Transport:
        return self.made(self.medium)

    async def received(self) -> Packet:
        return await self.medium.arrived.get()

    async def answer(self, packet: Packet) -> None:
        self.medium.deliver(packet)

    async def break_medium(self) -> None:
        self.medium.break_()

    async def hang_medium(self) -> None:
        self.medium.hanging = True

    async def refuse(self, service: Service) -> None:
        self.medium.refused.add(service)

    async def shrink_mtu(self, transport: Transport) -> None:
        self.medium.set_mtu(transport.hints.mtu // 2)


class MemoryDriverRig(DriverRig):
    """The fake, which can do everything."""

    made: type[MemoryDriver] = MemoryDriver

    def __init__(self) -> None:
        self.medium = MemoryMedium()

    def build(self) -> MemoryDriver:
        return self.made(self.medium)

    async def lose_bearer(self) -> None:
        self.medium.set_bearer(False)

    async def restore_bearer(self) -> None:
        self.medium.set_bearer(True)

    async def unplug(self) -> None:
        self.medium.set_present(False)

    async def hang_radio(self) -> None:
        self.medium.hanging = True


@asynccontextmanager
async def udp_over_relay() -> AsyncIterator[UdpRig]:
    async with far_side() as far:
        point = RelayAccessPoint([(("127.0.0.1", 0), far.address(service)) for service in Service])
        async with point:
            yield UdpRig(far, point, Bearer("wifi", "lo", ("127.0.0.1",), 1400))


@asynccontextmanager
async def udp_over_tun(namespace: NetworkNamespace) -> AsyncIterator[UdpTunRig]:
    async with far_side() as far, tun_point(namespace, far) as point:
        yield UdpTunRig(far, point, Bearer("wifi", point.interface, (point.address,), point.mtu))


@asynccontextmanager
async def interface_on_tun(namespace: NetworkNamespace) -> AsyncIterator[InterfaceRig]:
    async with tun_point(namespace, None) as point:
        yield InterfaceRig(point)


@asynccontextmanager
async def tun_point(namespace: NetworkNamespace, far: FarSide | None) -> AsyncIterator[TunAccessPoint]:
    nat = {(f"192.0.2.{n}", 5683): far.address(service) for n, service in enumerate(Service, 1)} if far else {}
    async with TunAccessPoint(nat, namespace=namespace, interface=f"wlan{next(_numbers)}") as point:
        yield point


@asynccontextmanager
async def virtual_interface() -> AsyncIterator[VirtualInterfaceRig]:
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder, "ap.sock")
        async with RelayAccessPoint({}, control=control) as point:
            yield VirtualInterfaceRig(point, control)
