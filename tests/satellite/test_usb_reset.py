"""USB devices that are reset: which one, by which way, and what a 9704 is after that."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from rataccess.bus import DevicePort, PortAddress, UsbPort, parse_port
from rataccess.driver import RadioMessage
from rataccess.errors import RadioNotFound, RadioSilent
from rataccess_drivers import usb
from tests.satellite.rigs import Imt

MODEM = parse_port("usb:0403:6015#if0")


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two FTDI devices, the one at 1-1.3 a 9704 on ttyUSB7; the kernel's driver core, and a hub with a ttyACM."""
    root = tmp_path / "sys"
    for name, serial, number in (("1-1.2", "A1", 5), ("1-1.3", "B2", 6)):
        folder = root / "bus/usb/devices" / name
        (folder / f"{name}:1.0/ttyUSB{number + 1}/tty").mkdir(parents=True)
        values = {"idVendor": "0403", "idProduct": "6015", "serial": serial, "busnum": "1", "devnum": str(number)}
        for file, value in values.items():
            (folder / file).write_text(value + "\n")
        tty = root / "class/tty" / f"ttyUSB{number + 1}"
        tty.mkdir(parents=True)
        (tty / "device").symlink_to(folder / f"{name}:1.0/ttyUSB{number + 1}")
    (root / "bus/usb/devices/usb1").mkdir()
    core = root / "bus/usb/drivers/usb"
    core.mkdir(parents=True)
    (core / "unbind").touch()
    (core / "bind").touch()
    return root


def bound(sysfs: Path) -> list[str]:
    return [(sysfs / "bus/usb/drivers/usb" / name).read_text() for name in ("unbind", "bind")]


@pytest.mark.looptime
@pytest.mark.parametrize("address", [parse_port("usb:0403:6015@B2#if0"), DevicePort("/dev/ttyUSB7")])
async def test_unbound_and_bound(sysfs: Path, address: PortAddress) -> None:
    assert usb.on_usb(address, sysfs=sysfs)
    await usb.reset_usb(address, sysfs=sysfs)
    assert bound(sysfs) == ["1-1.3", "1-1.3"]


@pytest.mark.looptime
async def test_which_device_is_never_guessed(sysfs: Path) -> None:
    assert not usb.on_usb(DevicePort("/dev/ttyAMA0"), sysfs=sysfs)
    assert not usb.on_usb(DevicePort("/dev/ttyUSB7", "pty"), sysfs=sysfs)
    for address, why in (
        (MODEM, "2 USB devices"),
        (UsbPort(1, 2, 0), "plugged in"),
        (DevicePort("/dev/ttyUSB9"), "plugged"),
    ):
        with pytest.raises(RadioNotFound, match=why):
            await usb.reset_usb(address, sysfs=sysfs)
    assert bound(sysfs) == ["", ""]


@pytest.mark.looptime
async def test_by_the_device_s_file_where_sysfs_is_not_ours(
    sysfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unbind", "bind"):
        (sysfs / "bus/usb/drivers/usb" / name).unlink()
        (sysfs / "bus/usb/drivers/usb" / name).mkdir()  # nobody can write that, root neither
    address = DevicePort("/dev/ttyUSB7")
    with pytest.raises(RadioNotFound, match="udev rule"):
        await usb.reset_usb(address, sysfs=sysfs, dev=tmp_path)
    file = tmp_path / "bus/usb/001/006"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(RadioNotFound, match="udev rule"):  # no USB device's file
        await usb.reset_usb(address, sysfs=sysfs, dev=tmp_path)
    asked: list[Any] = []

    def ioctl(descriptor: int, request: int, value: int) -> int:
        asked.append((os.readlink(f"/proc/self/fd/{descriptor}"), request, value))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    await usb.reset_usb(address, sysfs=sysfs, dev=tmp_path)
    assert asked == [(str(file), 0x5514, 0)]


class UsbImt(Imt):
    """A 9704 whose port is away for a moment after each reset."""

    usual = {**Imt.usual, "port": str(MODEM), "ready_timeout": 5.0}

    def __init__(self) -> None:
        super().__init__()
        self.away = 0
        self.resets: list[PortAddress] = []

    async def reset(self, address: PortAddress) -> None:
        self.resets.append(address)
        self.away = max(2, self.away)
        self.modem.controls.replug()

    def open_line(self, *arguments: Any) -> Any:
        if self.away:
            self.away -= 1
            raise RadioNotFound("not plugged in now")
        return self.port.open_line(*arguments)

    def ways(self) -> dict[str, Any]:
        return {**super().ways(), "open_line": self.open_line, "usb_resetter": self.reset}


@pytest.mark.looptime
async def test_a_silent_9704_speaks_after_its_usb_was_reset() -> None:
    radio = UsbImt()
    modem = radio.driver()
    await modem.open()
    await modem.attach()
    radio.hang()
    names = [rung.name for rung in modem.recoveries]
    assert names == ["reopen port", "radio off/on", "usb reset"]
    for rung in modem.recoveries[:2]:
        with pytest.raises(RadioSilent):
            await rung.run()
    assert radio.resets == []
    await modem.recoveries[2].run()
    assert radio.resets == [MODEM]
    await modem.aclose()
    await modem.open()
    await modem.attach()
    assert await modem.send_message(RadioMessage(b"hello"))
    radio.away = 100
    with pytest.raises(RadioNotFound, match="not plugged in now"):
        await modem.recoveries[2].run()
    await modem.aclose()
    await radio.aclose()
