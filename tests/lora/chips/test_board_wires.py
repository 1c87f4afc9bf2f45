"""What boards have around the chip: TCXO, RF switches, chip select of their own, a busy line that hangs."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from rataccess.errors import ConfigurationError, MissingExtra, PortLost, RadioSilent, RataccessError
from rataccess_drivers.lora import spi
from rataccess_drivers.lora.transceiver import ChipLine, TransceiverOptions, open_transceiver
from rataccess_hil.lora import Ether, VirtualSx1262
from tests.lora.chips.virtual import FREQUENCY, KINDS, SF7, opened, options, transceiver, virtual_chip

pytestmark = pytest.mark.looptime


async def test_a_tcxo_needs_its_supply() -> None:
    chip = VirtualSx1262(Ether(1), tcxo=True, tcxo_volts=1.8)
    radio = transceiver("sx1262", chip, tcxo_volts=1.8, dio2_rf_switch=True, dc_dc=True)
    await radio.open()
    await radio.transmit(b"x", frequency=FREQUENCY, modulation=SF7, power_dbm=22)
    assert radio.startup > 0.005
    assert chip.errors == 0
    await radio.aclose()
    assert chip.violations == []


@pytest.mark.parametrize("volts", [None, 1.6])
async def test_a_tcxo_without_its_supply_is_named(volts: float | None) -> None:
    chip = VirtualSx1262(Ether(1), tcxo=True, tcxo_volts=1.8)
    with pytest.raises(RadioSilent, match="tcxo_volts"):
        await transceiver("sx1262", chip, tcxo_volts=volts).open()


@pytest.mark.parametrize("kind", KINDS)
async def test_external_switches_follow_what_is_done(kind: str) -> None:
    lines: dict[str, Any] = {"tx_enable": ChipLine(line="tx_enable"), "rx_enable": ChipLine(line="rx_enable")}
    async with opened(kind, Ether(1), **lines) as (chip, radio):

        def levels() -> tuple[bool, bool]:
            return chip.pins["tx_enable"].level, chip.pins["rx_enable"].level

        assert levels() == (False, False)
        sending = asyncio.create_task(radio.transmit(bytes(100), frequency=FREQUENCY, modulation=SF7, power_dbm=14))
        await asyncio.sleep(0.05)
        assert levels() == (True, False)
        await sending
        listening = asyncio.create_task(radio.receive(frequency=FREQUENCY, modulation=SF7, symbols=200))
        await asyncio.sleep(0.05)
        assert levels() == (False, True)
        await listening
        assert levels() == (False, False)


async def test_a_busy_line_that_stays_high_is_named() -> None:
    chip = VirtualSx1262(Ether(1))
    chip.faults.stuck_busy = True
    with pytest.raises(RadioSilent, match="busy line"):
        await transceiver("sx1262", chip).open()


@pytest.mark.parametrize("kind", KINDS)
async def test_chip_select_of_the_boards_own(kind: str) -> None:
    chip = virtual_chip(kind, Ether(1))
    selected: list[bool] = []
    level = True

    class Select:
        fd = -1

        def write(self, value: bool) -> None:
            nonlocal level
            level = value

        def close(self) -> None:
            selected.append(level)

    class Bus:
        def __init__(self, below: Any) -> None:
            self.below = below
            self.close = below.close

        def transfer(self, data: bytes) -> Any:
            assert level is False
            return self.below.transfer(data)

    def line(at: str, name: int | str, direction: str, edge: str) -> Any:
        return Select() if name == "cs" else chip.open_gpio(at, name, direction, edge)

    with_select = options(kind, chip_select=ChipLine(line="cs"))
    radio = open_transceiver(with_select, kind, open_spi=lambda *where: Bus(chip.open_spi(*where)), open_gpio=line)
    await radio.open()
    await radio.transmit(b"x", frequency=FREQUENCY, modulation=SF7, power_dbm=14)
    await radio.aclose()
    assert selected == [True]


@pytest.mark.parametrize("kind", KINDS)
async def test_power_is_limited(kind: str) -> None:
    ether = Ether(1)
    async with opened(kind, ether, max_power_dbm=10) as (_, radio):
        await radio.transmit(b"x", frequency=FREQUENCY, modulation=SF7, power_dbm=20)
        assert ether.log[-1].power_dbm == pytest.approx(10)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_reset_line_a_chip_is_found_in_any_mode(kind: str) -> None:
    ether = Ether(1)
    async with opened(kind, ether) as (chip, radio):
        await radio.sleep()
        second = transceiver(kind, chip, reset=None)
        await second.open()
        await second.transmit(b"x", frequency=FREQUENCY, modulation=SF7, power_dbm=14)
        await second.aclose()
        assert len(ether.log) == 1


def test_machines_without_periphery_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "periphery", None)
    with pytest.raises(MissingExtra, match="python-periphery"):
        spi.open_spi("/dev/spidev0.0", 0, 1_000_000)


async def test_no_such_device() -> None:
    from rataccess.errors import RadioNotFound

    lines: dict[str, Any] = {"irq": ChipLine(line=1), "busy": ChipLine(line=2)}
    radio = open_transceiver(TransceiverOptions(wiring="waveshare_sx1262", spi="/dev/spidev99.9", **lines), "x")
    with pytest.raises(RadioNotFound, match="switch SPI on"):
        await radio.open()
    with pytest.raises(ConfigurationError):
        open_transceiver(TransceiverOptions(wiring="x"), "x")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bus_that_spoils_bytes_hangs_nothing(kind: str) -> None:
    ether = Ether(1)
    virtual = virtual_chip(kind, ether, seed=4)
    virtual.faults.corrupt_rate = 0.2
    radio = transceiver(kind, virtual)
    ends: list[str] = []
    for _ in range(12):
        try:
            await radio.open()
            await radio.transmit(b"x" * 20, frequency=FREQUENCY, modulation=SF7, power_dbm=14)
            await radio.receive(frequency=FREQUENCY, modulation=SF7, symbols=20)
            await radio.channel_free(frequency=FREQUENCY, modulation=SF7)
        except RataccessError as error:
            ends.append(type(error).__name__)
        else:
            ends.append("fine")
        await radio.aclose()
    assert len(set(ends)) > 1, ends
    assert "fine" in ends


class Line:
    """An interrupt line whose edges carry times of a clock of their own."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.edges: list[int] = []
        self.fails = False

    def rise(self, nanoseconds: int) -> None:
        self.edges.append(nanoseconds)
        os.eventfd_write(self.fd, 1)

    def poll(self, timeout: float | None = None) -> bool:
        if self.fails:
            raise OSError(19, "No such device")
        return bool(self.edges)

    def read_event(self) -> Any:
        at = self.edges.pop(0)
        if not self.edges:
            os.eventfd_read(self.fd)
        return SimpleNamespace(edge="rising", timestamp=at)

    def read(self) -> bool:
        return False

    def write(self, value: bool) -> None:
        """An input."""

    def close(self) -> None:
        os.close(self.fd)


async def test_edges_have_the_time_of_the_kernel_where_it_is_believable() -> None:
    line, interrupts, loop = Line(), spi.Interrupts("x"), asyncio.get_running_loop()
    interrupts.watch(line)
    await asyncio.sleep(10)
    stamps = {loop.time() - 0.002: loop.time() - 0.002, 1_767_225_600.0: loop.time(), 0.0: loop.time()}
    for stamp, expected in stamps.items():
        interrupts.clear()
        line.rise(round(stamp * 1e9))
        assert await interrupts.wait(1) == pytest.approx(expected, abs=1e-3)
    interrupts.clear()
    assert await interrupts.wait(0.5) is None
    line.rise(1)
    interrupts.clear()  # also what the loop has not seen yet
    assert await interrupts.wait(0.5) is None
    line.fails = True
    os.eventfd_write(line.fd, 1)
    with pytest.raises(PortLost, match="No such device"):
        await interrupts.wait(1)
