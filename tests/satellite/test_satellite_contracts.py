"""The satellite drivers and their transports pass the contracts, on virtual radios and in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rataccess import registry
from rataccess.testing import CompactTransportContract, DriverContract
from tests.satellite.rigs import Imt, MessageRig, Notecard, NotecardOnI2c, Radio, SatelliteRig, Sbd


class _Drivers(DriverContract):
    pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]  # type: ignore[assignment]
    limit = 2_000.0
    radio: type[Radio]

    @asynccontextmanager
    async def make(self) -> AsyncIterator[SatelliteRig]:
        radio = self.radio()
        try:
            yield SatelliteRig(radio, exclusive=self.radio is not NotecardOnI2c)
        finally:
            await radio.aclose()


class TestSbdDriver(_Drivers):
    radio = Sbd


class TestImtDriver(_Drivers):
    radio = Imt


class TestNotecardDriver(_Drivers):
    radio = Notecard


class TestNotecardOnI2cDriver(_Drivers):
    radio = NotecardOnI2c


class _Transports(CompactTransportContract):
    pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]  # type: ignore[assignment]
    limit = 5_000.0
    radio: type[Radio]

    @asynccontextmanager
    async def make(self) -> AsyncIterator[MessageRig]:
        radio = self.radio()
        driver = radio.driver()
        await driver.open()
        await driver.attach()
        try:
            yield MessageRig(radio, driver)
        finally:
            await driver.aclose()
            await radio.aclose()


class TestSbdTransport(_Transports):
    radio = Sbd


class TestImtTransport(_Transports):
    radio = Imt


class TestNotecardTransport(_Transports):
    radio = Notecard


@pytest.mark.parametrize("radio", [Sbd, Imt, Notecard])
def test_registered(radio: type[Radio]) -> None:
    name = radio.transport_type.medium
    assert registry.driver(name) is radio.driver_type
    assert registry.transport(name) is radio.transport_type
