"""The cellular driver and its transport pass the contracts, on a virtual BG95 that speaks AT over a pseudo terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from rataccess import registry
from rataccess.clock import SystemClock
from rataccess.driver import Bearer, Driver, DriverContext
from rataccess.objects import Service
from rataccess.testing import DriverContract, DriverRig, TransportContract, TransportRig
from rataccess.transport import Endpoint, Packet, Transport
from tests.contracts.contract_rigs import FarSide, far_side

modem = pytest.importorskip("rataccess_hil.modem")
network = pytest.importorskip("rataccess_hil.network")
pytest.importorskip("rataccess_drivers.cellular.quectel", reason="the cellular driver is not there")


class ModemRig(DriverRig):
    """A virtual BG95 in coverage."""

    def __init__(self, virtual: Any) -> None:
        self.virtual = virtual

    def build(self) -> Driver:
        made = registry.driver("quectel")
        assert made.options_type is not None
        options = msgspec.convert({"port": self.virtual.address, "apn": "internet"}, made.options_type)
        return made.create(options, DriverContext("cellular", SystemClock()))

    async def lose_bearer(self) -> None:
        self.virtual.controls.lose_context()

    async def restore_bearer(self) -> None:
        """The network gives a new context to who asks."""

    async def unplug(self) -> None:
        self.virtual.controls.disconnect()

    async def hang_radio(self) -> None:
        self.virtual.controls.hang("firmware")


class AtSocketRig(TransportRig):
    """The modem's own UDP sockets, over an attached driver."""

    def __init__(self, far: FarSide, virtual: Any, driver: Driver, bearer: Bearer) -> None:
        self.far = far
        self.virtual = virtual
        self.driver = driver
        self.bearer = bearer

    def build(self) -> Transport:
        return registry.transport("at_socket").create(
            driver=self.driver, bearer=self.bearer, endpoints=ENDPOINTS, options=None, clock=SystemClock()
        )

    async def received(self) -> Packet:
        return await self.far.arrived.get()

    async def answer(self, packet: Packet) -> None:
        self.far.answer(packet)

    async def break_medium(self) -> None:
        self.virtual.controls.disconnect()

    async def hang_medium(self) -> None:
        self.virtual.controls.hang("firmware")


ENDPOINTS = {service: Endpoint(f"192.0.2.{number}", 5683) for number, service in enumerate(Service, 1)}


class TestQuectelDriver(DriverContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[ModemRig]:
        async with modem.VirtualBg95() as virtual:
            yield ModemRig(virtual)


class TestAtSocketTransport(TransportContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[AtSocketRig]:
        async with far_side() as far, network.VirtualNetwork() as air:
            for service, endpoint in ENDPOINTS.items():
                air.forward((endpoint.host, endpoint.port), far.address(service))
            async with modem.VirtualBg95(network=air) as virtual:
                driver = ModemRig(virtual).build()
                try:
                    await driver.open()
                    yield AtSocketRig(far, virtual, driver, await driver.attach())
                finally:
                    await driver.aclose()
