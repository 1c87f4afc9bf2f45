"""The Quectel driver, and the transport over its sockets, pass the contracts on a virtual BG95."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rataccess.driver import Bearer
from rataccess.objects import Service
from rataccess.testing import DriverContract, DriverRig, TransportContract, TransportRig
from rataccess.transport import Packet, Transport
from rataccess_drivers.cellular.quectel import QuectelDriver
from rataccess_hil.modem import VirtualBg95
from rataccess_hil.modem.state import Hang
from tests.cellular.quectel_rigs import World, driver_for, far_side, world


class QuectelRig(DriverRig):
    """A virtual BG95."""

    def __init__(self, modem: VirtualBg95) -> None:
        self.modem = modem

    def build(self) -> QuectelDriver:
        return driver_for(self.modem.address, registration_timeout=5.0)

    async def lose_bearer(self) -> None:
        self.modem.controls.coverage(False)

    async def restore_bearer(self) -> None:
        self.modem.controls.coverage(True)

    async def unplug(self) -> None:
        self.modem.controls.disconnect()

    async def hang_radio(self) -> None:
        self.modem.controls.hang(Hang.FIRMWARE)


class TestQuectelDriver(DriverContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[QuectelRig]:
        async with far_side() as far, VirtualBg95(far.network) as modem:
            yield QuectelRig(modem)


class AtSocketRig(TransportRig):
    """An attached driver on a virtual BG95, and both services."""

    services = tuple(Service)

    def __init__(self, world: World, bearer: Bearer) -> None:
        self.world, self.bearer = world, bearer

    def build(self) -> Transport:
        return self.world.transport(self.bearer)

    async def received(self) -> Packet:
        return await self.world.far.arrived.get()

    async def answer(self, packet: Packet) -> None:
        self.world.far.answer(packet)

    async def break_medium(self) -> None:
        self.world.controls.lose_context()

    async def hang_medium(self) -> None:
        self.world.controls.hang(Hang.FIRMWARE)


class TestAtSocketOverQuectel(TransportContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[AtSocketRig]:
        async with world() as w:
            await w.driver.open()
            yield AtSocketRig(w, await w.driver.attach())
