"""A LoRaWAN network with one virtual module in it, and the driver of that module."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rataccess.clock import LoopClock
from rataccess.driver import Driver, DriverContext, Forgetful, RadioMessage
from rataccess.errors import PacketTooLarge
from rataccess.objects import Service
from rataccess.testing.driver_contract import DriverRig
from rataccess.testing.transport_rig import TransportRig
from rataccess.transport import Packet, Transport
from rataccess_drivers.byteline import open_byte_line
from rataccess_drivers.gpio import LineSettings, OutputLine
from rataccess_drivers.lora.modules.driver import ModuleDriver, Rak3172Driver, Rn2483Driver, WioE5Driver
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_hil.lora import (
    Ether,
    NetworkServer,
    ReceivedUplink,
    VirtualGateway,
    VirtualRak3172,
    VirtualRn2483,
    VirtualRn2903,
    VirtualWioE5,
)
from rataccess_hil.lora.module import Port, SerialModule
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.pty_radio import PtyRadio
from rataccess_transports.lorawan import LoraWanTransport

EUI, JOIN_EUI, KEY = 0x70B3D57ED0000001, 0x0102030405060708, bytes(range(16))
PORTS = {1: Service.MANAGEMENT, 2: Service.SOLUTION}
KINDS: dict[str, tuple[type[SerialModule], type[ModuleDriver]]] = {
    "rak3172": (VirtualRak3172, Rak3172Driver),
    "wio_e5": (VirtualWioE5, WioE5Driver),
    "rn2483": (VirtualRn2483, Rn2483Driver),
    "rn2903": (VirtualRn2903, Rn2483Driver),
}


class World:
    """Everything from the module's port to the network server; `data_rate` is where the module begins."""

    def __init__(self, kind: str, port: Port, region: str = "EU868", **options: Any) -> None:
        module, self.driver = KINDS[kind]
        self.kind = kind
        self.port = port
        self.ether = Ether(seed=1)
        self.server = NetworkServer(region=region)
        self.server.sender.duty_cycle = False
        self.gateway = VirtualGateway(self.ether, self.server, region=region)
        self.module = module(port, self.ether, region=options.pop("built_for", region), dev_eui=EUI, seed=2, **options)
        self.module.device.plan.duty_cycle = False
        self.known = self.server.add_device(EUI, KEY, JOIN_EUI)
        self.heard: asyncio.Queue[ReceivedUplink] = asyncio.Queue()
        self.server.on_uplink = lambda device, uplink: self.heard.put_nowait(uplink)
        self.memory = Forgetful()
        self.clock = LoopClock()
        self.secrets = {"lora.appkey": KEY.hex()}

    def build(self, **options: Any) -> ModuleDriver:
        """A driver for the module, not opened."""
        address = self.port.address if isinstance(self.port, PtyRadio) else "pty:/dev/module"
        merged: dict[str, Any] = {"port": address, "region": "EU868", "join_eui": f"{JOIN_EUI:016X}", **options}
        if self.kind.startswith("rn"):
            merged.setdefault("dev_eui", f"{EUI:016X}")
        for wire in ("reset", "power_switch"):
            if wire in merged:
                merged[wire] = LineSettings(line=merged[wire])
        merged.setdefault("data_rate", 3 if merged["region"] in ("US915", "AU915") else 5)
        context = DriverContext("lora", self.clock, self.secrets.get, self.memory)
        opener = self.port.open_line if isinstance(self.port, MemoryPort) else open_byte_line
        return self.driver(ModuleOptions(**merged), context, open_line=opener, gpio_opener=self.open_wire)

    def open_wire(self, settings: LineSettings, initial: bool) -> OutputLine:
        """The module's reset line (4) or supply (5)."""
        return _Wire(self.module, settings.line == 4)


class _Wire:
    """Active is in reset, or supplied."""

    def __init__(self, module: SerialModule, reset: bool) -> None:
        self._module, self._reset = module, reset

    def write(self, value: bool) -> None:
        if not self._reset:
            self._module.power(value)
        elif value:
            self._module.power(False)
        else:
            self._module.power(True)

    def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def world(kind: str, port: Port | None = None, **options: Any) -> AsyncIterator[World]:
    """A network that is up."""
    made = World(kind, port or MemoryPort(), **options)
    await made.gateway.open()
    try:
        yield made
    finally:
        made.module.hang()
        await made.gateway.aclose()


class ModuleRig(DriverRig):
    """For the contract of drivers."""

    def __init__(self, made: World) -> None:
        self.world = made

    def build(self) -> Driver:
        return self.world.build()

    async def lose_bearer(self) -> None:
        """The module restarts by itself; a Wio-E5 says nothing of that, so its port goes."""
        if self.world.kind == "wio_e5":
            await self.unplug()
        else:
            self.world.module.crash()

    async def restore_bearer(self) -> None:
        assert isinstance(self.world.port, MemoryPort)
        self.world.port.connect()

    async def unplug(self) -> None:
        assert isinstance(self.world.port, MemoryPort)
        self.world.port.disconnect()

    async def hang_radio(self) -> None:
        self.world.module.hang()


class ModuleTransportRig(TransportRig):
    """For the contract of transports: the transport over an attached driver; the network server is the far side."""

    def __init__(self, made: World, driver: ModuleDriver) -> None:
        self.world = made
        self.driver = driver
        self._flushing: asyncio.Task[None] | None = None

    def build(self) -> Transport:
        return LoraWanTransport(self.driver)

    async def received(self) -> Packet:
        while True:
            uplink = await self.world.heard.get()
            if uplink.port in PORTS and uplink.data:
                return Packet(uplink.data, PORTS[uplink.port])

    async def answer(self, packet: Packet) -> None:
        """A class A device hears nothing without an uplink: what waits is fetched by one as soon as the module is free."""
        port = next(port for port, service in PORTS.items() if service is packet.service)
        self.world.known.send(packet.data, port=port)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self.world.known.queue:
            await self.driver.send_message(RadioMessage(b"?", 9))

    async def aclose(self) -> None:
        """Let go of the module."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self.driver.aclose()

    async def shrink_mtu(self, transport: Transport) -> None:
        """The data rate falls behind our back, as the network may have it with any downlink."""
        device = self.world.module.device
        device.adr, device.rate = False, 0
        with contextlib.suppress(PacketTooLarge):
            await transport.send(Packet(bytes(transport.hints.mtu), Service.SOLUTION))

    async def break_medium(self) -> None:
        assert isinstance(self.world.port, MemoryPort)
        self.world.port.disconnect()

    async def hang_medium(self) -> None:
        self.world.module.hang()
