"""Closing at any moment of opening, attaching, sending and being asked: everybody hears of it, and nothing is left behind.

What is left behind (tasks, descriptors, threads) fails in `tests/conftest.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Driver, RadioMessage
from rataccess.errors import RataccessError
from rataccess.objects import Service
from rataccess.transport import Packet
from rataccess_hil.memory_port import MemoryPort
from rataccess_transports.lora_private import LoraPrivateTransport
from rataccess_transports.lorawan import LoraWanTransport
from rataccess_transports.messages import MessageTransport
from tests.lora.modules.virtual import world
from tests.lora.private.site import SOLUTION, Site
from tests.lorawan.chip_rigs import in_the_field
from tests.satellite.rigs import Imt, Notecard, Sbd

pytestmark = pytest.mark.looptime

MOMENTS = [0.0, 0.001, 0.05, 0.3, 2.5, 7.5, 20.0, 60.0]


async def life(driver: Any, kind: type[MessageTransport]) -> None:
    await driver.open()
    bearer = await driver.attach()
    assert bearer is not None
    transport = kind(driver)
    try:
        await transport.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(transport.receive())
            group.create_task(ask(driver))
            for number in range(20):
                await transport.send(Packet(SOLUTION + bytes([number]), Service.SOLUTION))
    finally:
        await transport.aclose()


async def ask(driver: Driver) -> None:
    while True:
        await driver.status()
        await asyncio.sleep(0.7)


async def closed_after(seconds: float, driver: Any, kind: type[MessageTransport]) -> None:
    living = asyncio.create_task(life(driver, kind))
    await asyncio.wait({living}, timeout=seconds)
    before = asyncio.get_running_loop().time()
    async with asyncio.timeout(8):
        await driver.aclose()
        await driver.aclose()
    async with asyncio.timeout(8):
        await asyncio.wait({living})
    assert asyncio.get_running_loop().time() - before < 10
    assert not living.cancelled()
    error = living.exception()
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert error is None or isinstance(error, RataccessError), repr(error)
    with pytest.raises(RataccessError):
        await driver.send_message(RadioMessage(SOLUTION, 2))


@pytest.mark.parametrize("name", ["rak3172", "wio_e5", "rn2483"])
async def test_modules(name: str) -> None:
    for moment in MOMENTS:
        async with world(name) as made:
            await closed_after(moment, made.build(), LoraWanTransport)
            assert isinstance(made.port, MemoryPort)
            await asyncio.sleep(
                10
            )  # the module may start anew just now, and the driver may be slow to see that it is closed
            made.port.open_line("pty:/dev/module", 9600, print, print).close()  # nobody else holds it


async def test_a_module_that_has_to_start_anew_before_it_can_join() -> None:
    """Its port is opened again in the middle of attaching: not for good where the driver was closed meanwhile."""
    for moment in (0.3, 1.0, 3.0):
        async with world("rak3172", point_to_point=True, built_for="US915") as made:
            await closed_after(moment, made.build(), LoraWanTransport)
            assert isinstance(made.port, MemoryPort)
            await asyncio.sleep(10)
            made.port.open_line("pty:/dev/module", 9600, print, print).close()


async def test_the_mac_on_a_chip() -> None:
    for moment in MOMENTS:
        async with in_the_field() as field:
            await closed_after(moment, field.driver(confirmed="always"), LoraWanTransport)
            assert not field.taken


async def test_private_lora() -> None:
    for moment in MOMENTS[::2]:
        site = Site()
        async with site.working():
            await closed_after(moment, site.node(), LoraPrivateTransport)


@pytest.mark.parametrize("made", [Sbd, Imt, Notecard])
async def test_satellites(made: type[Any]) -> None:
    radio = made()
    for moment in MOMENTS:
        await closed_after(moment, radio.driver(), radio.transport_type)
    await radio.aclose()
