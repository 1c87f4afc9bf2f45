"""The driver `lorawan_chip` passes the contract of drivers, on a virtual SX1262 in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rataccess.driver import RadioMessage
from rataccess.errors import Closed, TransportBroken
from rataccess.testing import DriverContract, DriverRig
from rataccess_drivers.lora.class_a import LoRaWanChipDriver
from tests.lorawan.chip_rigs import Field, in_the_field


class ChipRig(DriverRig):
    """A chip in reach of a gateway.  A transceiver tells nothing unasked: what fails is found by the next message."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.built: list[LoRaWanChipDriver] = []

    def build(self) -> LoRaWanChipDriver:
        self.built.append(self.field.driver())
        return self.built[-1]

    async def lose_bearer(self) -> None:
        self.field.chip.unplug()
        for each in self.built:
            with pytest.raises((Closed, TransportBroken)):
                await each.send_message(RadioMessage(b"x", 2))

    async def restore_bearer(self) -> None:
        self.field.chip.faults.bus_error = None

    async def hang_radio(self) -> None:
        self.field.chip.hang()


@pytest.mark.looptime
class TestLoRaWanChipDriver(DriverContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[ChipRig]:
        async with in_the_field() as field:
            yield ChipRig(field)
