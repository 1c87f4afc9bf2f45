"""The drivers of LoRaWAN modules, and the transport over them, pass the contracts, on virtual modules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rataccess.testing import DriverContract, TransportContract
from rataccess.testing.driver_contract import DriverRig
from rataccess.testing.transport_rig import TransportRig
from rataccess.transport import Packet
from tests.lora.modules.virtual import ModuleRig, ModuleTransportRig, world


class _Driver(DriverContract):
    kind = ""
    limit = 60.0

    @asynccontextmanager
    async def make(self) -> AsyncIterator[DriverRig]:
        async with world(self.kind) as made:
            yield ModuleRig(made)


@pytest.mark.looptime
class TestRak3172(_Driver):
    kind = "rak3172"


@pytest.mark.looptime
class TestWioE5(_Driver):
    kind = "wio_e5"


@pytest.mark.looptime
class TestRn2483(_Driver):
    kind = "rn2483"


class _Transport(TransportContract):
    kind = ""
    limit = 600.0

    @asynccontextmanager
    async def make(self) -> AsyncIterator[TransportRig]:
        async with world(self.kind) as made:
            driver = made.build()
            await driver.open()
            await driver.attach()
            rig = ModuleTransportRig(made, driver)
            try:
                yield rig
            finally:
                await rig.aclose()


@pytest.mark.looptime
class TestOverRak3172(_Transport):
    kind = "rak3172"


class _TransportBriefly(_Transport):
    """All three have one engine, and a search through packets costs seconds: here one packet has every byte."""

    async def test_any_bytes_pass(self) -> None:  # type: ignore[override]
        async with self.opened() as (rig, transport):
            for number, service in enumerate(rig.services):
                packet = Packet(bytes((value + 128 * number) % 256 for value in range(240)), service)
                await self.carry(rig, transport, packet)
                await self.fetch(rig, transport, packet)


@pytest.mark.looptime
class TestOverWioE5(_TransportBriefly):
    kind = "wio_e5"


@pytest.mark.looptime
class TestOverRn2483(_TransportBriefly):
    kind = "rn2483"
