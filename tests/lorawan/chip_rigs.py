"""The driver `lorawan_chip` on virtual chips, before a virtual gateway and network: what its tests run on.

Rules of this file: making and breaking; no assertion.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess_drivers.lora.class_a import LoRaWanChipDriver
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions
from rataccess_drivers.lora.spi import SpiBus
from rataccess_drivers.lora.transceiver import Chip, ChipLine, TransceiverOptions
from rataccess_hil.lora import (
    Ether,
    NetworkDevice,
    NetworkServer,
    VirtualChip,
    VirtualGateway,
    VirtualSx1262,
    VirtualSx1276,
)

APP_KEY = bytes(range(100, 116))
DEV_EUI = 0x70B3D57ED0001234


class _Held:
    """An SPI device that somebody has open."""

    def __init__(self, bus: SpiBus, field: Field) -> None:
        self._bus = bus
        self._field = field

    def transfer(self, data: bytes) -> bytes | bytearray | list[int]:
        return self._bus.transfer(data)

    def close(self) -> None:
        self._field.taken = False
        self._bus.close()


@dataclass
class Field:
    """A device's chip in reach of a gateway."""

    ether: Ether
    network: NetworkServer
    device: NetworkDevice
    gateway: VirtualGateway
    chip: VirtualChip
    region: str
    memory: Forgetful = field(default_factory=Forgetful)
    clock: LoopClock = field(default_factory=LoopClock)
    taken: bool = False
    secrets: dict[str, str] = field(default_factory=lambda: {"field.appkey": APP_KEY.hex()})

    def _open_spi(self, device: str, mode: int, speed: int) -> SpiBus:
        """For one process at a time, as our own opener has it."""
        if self.taken:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.taken = True
        return _Held(self.chip.open_spi(device, mode, speed), self)

    def driver(self, **options: Any) -> LoRaWanChipDriver:
        """A driver for it, not opened."""
        lines = {"reset": "reset", "irq": "dio0", "timeout_irq": "dio1"}
        if isinstance(self.chip, VirtualSx1262):
            lines = {"reset": "reset", "irq": "dio1", "busy": "busy"}
        kind = Chip.SX1262 if isinstance(self.chip, VirtualSx1262) else Chip.SX1276
        wires: dict[str, Any] = {role: ChipLine(line=line) for role, line in lines.items()}
        told: dict[str, Any] = {
            "region": self.region,
            "dev_eui": f"{DEV_EUI:016X}",
            "ask_time": False,
            "confirmed": "never",
        } | options
        context = DriverContext("field", self.clock, self.secrets.get, self.memory)
        return LoRaWanChipDriver(
            LoRaWanChipOptions(transceiver=TransceiverOptions(chip=kind, **wires), **told),
            context,
            open_spi=self._open_spi,
            open_gpio=self.chip.open_gpio,
            chance=Random(3),
        )


@asynccontextmanager
async def in_the_field(
    chip: str = "sx1262", region: str = "EU868", *, distance: float = 500.0, **network: Any
) -> AsyncIterator[Field]:
    """A chip so many metres from a gateway."""
    ether = Ether(seed=5)
    server = NetworkServer(region=region, seed=5, **network)
    server.sender.duty_cycle = False  # else an answer may have to wait for a later uplink
    device = server.add_device(DEV_EUI, APP_KEY)
    make = VirtualSx1262 if chip == "sx1262" else VirtualSx1276
    virtual = make(ether, position=(distance, 0.0))
    async with VirtualGateway(ether, server, region=region) as gateway:
        yield Field(ether, server, device, gateway, virtual, region)


@asynccontextmanager
async def attached(
    *where: str, options: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[Field, LoRaWanChipDriver]]:
    """A driver that has joined."""
    async with in_the_field(*where, **more) as field:
        driver = field.driver(**(options or {}))
        try:
            await driver.open()
            await driver.attach()
            yield field, driver
        finally:
            await driver.aclose()
