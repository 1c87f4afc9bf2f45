"""The driver `lorawan_chip` on virtual chips, a virtual gateway and a virtual network that share no code with it."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.driver import RadioMessage
from rataccess.transport import Handover
from tests.lorawan.chip_rigs import attached

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("chip", ["sx1262", "sx1276"])
async def test_join_uplink_downlink(chip: str) -> None:
    async with attached(chip) as (field, driver):
        assert field.device.joins == 1
        assert await driver.send_message(RadioMessage(b"first", 2)) is None
        field.device.send(b"order", 1)
        await driver.send_message(RadioMessage(b"second", 2))
        assert await driver.receive_message() == RadioMessage(b"order", 1)
        await asyncio.sleep(1)
        assert [each.data for each in field.device.uplinks] == [b"first", b"second"]


async def test_confirmed_is_a_handover() -> None:
    async with attached(options={"confirmed": True}) as (_, driver):
        assert await driver.send_message(RadioMessage(b"alarm", 2)) == Handover("FCnt 0")
