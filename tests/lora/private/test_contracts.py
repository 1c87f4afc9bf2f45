"""The driver and the transport of private LoRa pass the contracts, with a hub and virtual chips."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import cbor2
import pytest

from rataccess.driver import DriverContext, Evidence, RadioMessage
from rataccess.errors import RataccessError
from rataccess.objects import Service
from rataccess.registry import driver as registered_driver
from rataccess.registry import transport as registered_transport
from rataccess.testing import CompactTransportContract, DriverContract, DriverRig, TransportRig
from rataccess.transport import Packet, Transport
from rataccess_drivers.lora.private.driver import LoraPrivateDriver
from rataccess_drivers.lora.private.options import NodeOptions
from rataccess_transports.lora_private import LoraPrivateTransport
from tests.lora.chips.virtual import options
from tests.lora.private.site import MANAGEMENT, NETWORK, SOLUTION, Site

ADDRESS = 5


class NodeRig(DriverRig):
    """A node's chip, which admits one driver at a time."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.chip = site.chip()
        self.built: list[LoraPrivateDriver] = []
        self._open = 0
        self._plugged = True

    def build(self) -> LoraPrivateDriver:
        settings = NodeOptions(transceiver=options("sx1276"), address=ADDRESS, **self.site.settings)
        context = DriverContext("node", self.site.clock)
        driver = LoraPrivateDriver(settings, context, open_spi=self._open_spi, open_gpio=self.chip.open_gpio)
        self.built.append(driver)
        return driver

    def _open_spi(self, device: str, mode: int, speed: int) -> Any:
        if not self._plugged:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", device)
        if self._open:
            raise OSError(errno.EBUSY, "Device or resource busy")
        handle = self.chip.open_spi(device, mode, speed)
        close = handle.close
        self._open += 1

        def closed() -> None:
            self._open -= 1
            close()

        handle.close = closed  # type: ignore[method-assign]
        return handle

    async def lose_bearer(self) -> None:
        """The hub is out of reach, which is noticed by what is sent."""
        self.site.ether.obstruct(self.chip.station, 300)
        for driver in self.built:
            with suppress(RataccessError):
                while (await driver.status()).evidence is Evidence.BEARER:
                    await driver.send_message(RadioMessage(SOLUTION))

    async def restore_bearer(self) -> None:
        self.site.ether.clear()

    async def unplug(self) -> None:
        self._plugged = False
        self.chip.unplug()

    async def hang_radio(self) -> None:
        self.chip.hang()


class TestLoraPrivateDriver(DriverContract):
    pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]  # type: ignore[assignment]

    @asynccontextmanager
    async def make(self) -> AsyncIterator[NodeRig]:
        async with Site().working() as site:
            yield NodeRig(site)


class SiteRig(TransportRig):
    """An attached node, its hub, and both services behind that."""

    def __init__(self, site: Site, rig: NodeRig, driver: LoraPrivateDriver) -> None:
        self.site, self.rig, self.driver = site, rig, driver

    def build(self) -> Transport:
        return LoraPrivateTransport(self.driver)

    async def received(self) -> Packet:
        while True:
            for service, uplink in ((Service.MANAGEMENT, self.site.management), (Service.SOLUTION, self.site.solution)):
                if uplink.heard:
                    return Packet(cbor2.loads(uplink.heard.popleft()[3:])[2], service)
            await asyncio.sleep(0.02)

    async def answer(self, packet: Packet) -> None:
        uplink = self.site.solution if packet.service is Service.SOLUTION else self.site.management
        uplink.say(b"RA\x01" + cbor2.dumps(["lora", f"{NETWORK:02x}{ADDRESS:04x}", packet.data]))

    async def break_medium(self) -> None:
        await self.rig.unplug()
        while self.driver._trouble is None:
            await asyncio.sleep(0.1)

    async def hang_medium(self) -> None:
        await self.rig.hang_radio()


class TestLoraPrivateTransport(CompactTransportContract):
    pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]  # type: ignore[assignment]

    @asynccontextmanager
    async def make(self) -> AsyncIterator[SiteRig]:
        async with Site(frequency=869_525_000, bandwidth=250_000).working() as site:
            rig = NodeRig(site)
            driver = rig.build()
            await driver.open()
            await driver.attach()
            try:
                yield SiteRig(site, rig, driver)
            finally:
                await driver.aclose()


def test_registered() -> None:
    assert registered_driver("lora_private") is LoraPrivateDriver
    assert registered_transport("lora_private") is LoraPrivateTransport
    assert MANAGEMENT != SOLUTION
