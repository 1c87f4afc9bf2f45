"""A serial line that loses and alters bytes both ways: no crash, no hang, nothing twice, and work goes on afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import RadioMessage
from rataccess.errors import RataccessError
from tests.satellite.rigs import Imt, Notecard, Radio, Sbd
from tests.satellite.test_broken_everywhere import DOWN, UP, Disk, hear, insist, started

pytestmark = pytest.mark.looptime

RATE = 0.004


def noise(radio: Radio, rate: float) -> None:
    for wire in (radio.port.to_radio, radio.port.to_host):
        wire.garble(rate=rate)
        wire.drop(rate=rate)


@pytest.mark.parametrize("kind", [Sbd, Imt, Notecard])
async def test_noise(kind: type[Any]) -> None:
    radio = kind()
    disk = Disk()
    came: list[bytes] = []
    driver = await started(radio, disk)
    noise(radio, RATE)
    radio.down(DOWN)
    accepted = False
    for _ in range(12):
        hearing = asyncio.create_task(hear(driver, came))
        try:
            async with asyncio.timeout(2_000):
                accepted = bool(await driver.send_message(RadioMessage(UP)))
        except RataccessError as error:
            await asyncio.sleep(min(getattr(error, "retry_after", None) or 30.0, 300.0))
        await driver.aclose()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        if accepted:
            break
        driver = radio.driver(disk)
        try:
            async with asyncio.timeout(2_000):
                await driver.open()
                await driver.attach()
        except RataccessError:
            await asyncio.sleep(30)
    noise(radio, 0.0)
    await driver.aclose()
    known = accepted or await insist(radio, disk)
    assert radio.up() == [UP] if known else len(radio.up()) <= 1
    driver = await started(radio, disk)
    hearing = asyncio.create_task(hear(driver, came))
    assert await driver.send_message(RadioMessage(b"after"))
    await asyncio.sleep(300)
    await driver.aclose()
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    assert radio.up()[-1] == b"after"
    assert len(came) <= 1
    assert came == [DOWN] or kind is Imt  # whose modem keeps no copy of what was spoilt on its way to us
    await radio.aclose()
