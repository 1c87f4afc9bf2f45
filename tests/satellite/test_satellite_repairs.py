"""Recoveries, wires, and real buses of the satellite drivers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.clock import LoopClock, SystemClock
from rataccess.driver import DriverContext, Evidence, Forgetful, RadioMessage
from rataccess.errors import MissingExtra, PortLost, RadioNotFound, RadioSilent
from rataccess_drivers.gpio import LineSettings
from rataccess_drivers.satellite import notecard_bus
from rataccess_drivers.satellite.notecard import NotecardDriver, NotecardOptions
from rataccess_drivers.satellite.sbd import SbdDriver, SbdOptions
from rataccess_hil.memory_port import MemoryPort
from rataccess_hil.pty_radio import PtyRadio
from rataccess_hil.satellite import IridiumGateway, Model, Virtual9603
from rataccess_hil.satellite.notecard import VirtualNotecard
from tests.satellite.rigs import Imt, Notecard, Sbd

HELLO = RadioMessage(b"hello")


class Wired:
    """A wire to a virtual radio's supply; what was done to it is in `levels`."""

    def __init__(self, supply: Any) -> None:
        self.supply = supply
        self.levels: list[bool] = []

    def __call__(self, settings: LineSettings, initial: bool) -> Wired:
        self.write(initial)
        return self

    def write(self, value: bool) -> None:
        if not self.levels or self.levels[-1] != value:
            self.levels.append(value)
            self.supply.write(value)

    def close(self) -> None:
        """Nothing is held."""


class WiredSbd(Sbd):
    usual = {**Sbd.usual, "sleep": {"line": 1}, "power_switch": {"line": 2}}

    def ways(self) -> dict[str, Any]:
        self.wire = Wired(self.modem.supply)
        return {**super().ways(), "line_opener": self.wire}


class WiredImt(Imt):
    usual = {**Imt.usual, "power_enable": {"line": 1}}

    def ways(self) -> dict[str, Any]:
        self.wire = Wired(self.modem.supply)
        return {**super().ways(), "line_opener": self.wire}


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (WiredSbd, ["reopen port", "radio off/on", "sleep pin", "power cut"]),
        (WiredImt, ["reopen port", "radio off/on", "power cut"]),
        (Notecard, ["reopen port", "modem reset"]),
    ],
)
async def test_every_rung_leaves_a_radio_that_works(kind: type[Any], names: list[str]) -> None:
    radio = kind()
    assert [rung.name for rung in radio.driver().recoveries] == names
    for number in range(len(names)):
        driver = radio.driver()
        async with asyncio.timeout(driver.recoveries[number].deadline):
            await driver.recoveries[number].run()
        await driver.aclose()
        await driver.open()
        await driver.attach()
        assert await driver.send_message(HELLO)
        await driver.aclose()
    assert radio.up() == [b"hello"] * len(names)
    await radio.aclose()


@pytest.mark.looptime
@pytest.mark.parametrize("kind", [WiredSbd, WiredImt])
async def test_a_power_cut_ends_what_nothing_else_does(kind: type[Any]) -> None:
    radio = kind()
    driver = radio.driver(**({"sleep": None} if kind is WiredSbd else {}))  # both wires are the same here
    await driver.open()
    radio.hang()
    await driver.aclose()
    for rung in driver.recoveries:
        if rung.name != "power cut":
            with pytest.raises((RadioSilent, PortLost)):
                await rung.run()
            await driver.aclose()
    await driver.recoveries[-1].run()
    await driver.aclose()
    await driver.open()
    await driver.aclose()
    await radio.aclose()


@pytest.mark.looptime
@pytest.mark.parametrize("kind", [Sbd, Imt, Notecard])
async def test_a_recovery_while_a_message_is_under_way(kind: type[Any]) -> None:
    """The port is closed under it; whoever waits is told, nothing hangs, and it is accounted for afterwards."""
    radio, memory = kind(), Forgetful()
    driver = radio.driver(memory)
    await driver.open()
    await driver.attach()
    radio.down(b"\x01down")
    sending = asyncio.create_task(driver.send_message(HELLO))
    await asyncio.sleep(1.5)
    await driver.recoveries[0].run()
    await asyncio.sleep(100)
    assert sending.done()
    sending.exception()
    await driver.aclose()
    driver = radio.driver(memory)
    await driver.open()
    await driver.attach()
    assert len(radio.up()) <= 1
    await driver.aclose()
    await radio.aclose()


@pytest.mark.looptime
async def test_the_modem_sleeps_while_the_driver_is_closed() -> None:
    radio = WiredSbd()
    radio.usual = {**radio.usual, "power_switch": None}
    driver = radio.driver()
    await driver.open()
    await driver.aclose()
    assert radio.wire.levels == [True, False]
    await radio.aclose()


@pytest.mark.looptime
async def test_a_modem_with_hardware_handshake_on_three_wires() -> None:
    port = MemoryPort()
    modem = Virtual9603(port, IridiumGateway(clock=LoopClock()), model=Model(flow_control=3))
    driver = SbdDriver(SbdOptions(port="pty:/x"), DriverContext("sat", LoopClock()), open_line=port.open_line)
    await driver.open()
    assert driver.identity.imei == modem.imei
    await driver.aclose()
    await modem.aclose()


async def test_sbd_on_a_real_terminal() -> None:
    """In real time: nothing that goes through the air."""
    async with PtyRadio() as pty:
        modem = Virtual9603(pty, IridiumGateway())
        driver = SbdDriver(SbdOptions(port=pty.address), DriverContext("sat", SystemClock()))
        await driver.open()
        assert (await driver.status()).evidence >= Evidence.RADIO
        assert driver.identity.imei == modem.imei
        await driver.aclose()
        await modem.aclose()


async def test_notecard_on_i2c_in_a_real_thread() -> None:
    """In real time, with the driver's own thread, which ends with it."""
    async with VirtualNotecard() as card:
        options = NotecardOptions(i2c=1)
        driver = NotecardDriver(options, DriverContext("note", SystemClock()), open_bus=lambda bus: card.smbus())
        await driver.open()
        assert driver.identity["device"] == card.device
        await driver.aclose()


async def test_no_bus_and_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    options = NotecardOptions(i2c="/dev/i2c-there-is-none")
    with pytest.raises(RadioNotFound, match="enable I2C"):
        await NotecardDriver(options, DriverContext("note", SystemClock(), memory=Forgetful())).open()
    monkeypatch.setitem(__import__("sys").modules, "smbus2", None)
    with pytest.raises(MissingExtra, match="smbus2"):
        notecard_bus.open_smbus(1)
