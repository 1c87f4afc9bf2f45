"""Stable names of serial ports, on a sysfs made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rataccess.bus import parse_port
from rataccess.errors import RadioNotFound
from rataccess_drivers.ports import PortInfo, holder, list_ports, resolve


class Sysfs:
    """A sysfs and a /proc in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "sys"
        self.proc = folder / "proc"
        (self.root / "bus/usb/devices").mkdir(parents=True)
        (self.root / "class/tty").mkdir(parents=True)
        self.proc.mkdir()

    def write(self, path: str, **files: str) -> Path:
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text + "\n")
        return folder

    def plug(self, place: str, vendor: str, product: str, ttys: dict[int, str], serial: str | None = None) -> None:
        """A USB device at `place` with a port on each interface of `ttys`, as the kernel shows it: real folders under
        `devices`, links to them (device and interfaces side by side) under `bus/usb/devices`."""
        device = self.write(f"devices/usb1/{place}", idVendor=vendor, idProduct=product, product="Modem")
        if serial is not None:
            (device / "serial").write_text(serial + "\n")
        self._link(device)
        for number, tty in ttys.items():
            interface = self.write(f"devices/usb1/{place}/{place}:1.{number}", bInterfaceNumber=f"{number:02x}")
            self._link(interface)
            kind = interface / "tty" / tty if tty.startswith("ttyACM") else interface / tty / "tty" / tty
            kind.mkdir(parents=True)
            shown = self.root / "class/tty" / tty
            shown.mkdir()
            (shown / "device").symlink_to(interface if tty.startswith("ttyACM") else interface / tty)

    def _link(self, folder: Path) -> None:
        (self.root / "bus/usb/devices" / folder.name).symlink_to(folder)

    def unplug_all(self) -> None:
        for link in (self.root / "bus/usb/devices").iterdir():
            link.unlink()

    def hold(self, process: int, name: str, path: str) -> None:
        (self.proc / str(process) / "fd").mkdir(parents=True)
        (self.proc / str(process) / "comm").write_text(name + "\n")
        (self.proc / str(process) / "fd" / "7").symlink_to(path)


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


BG95 = parse_port("usb:2c7c:0700#if3")


def test_port_is_found_by_interface(sysfs: Sysfs) -> None:
    sysfs.plug("1-1.2", "2c7c", "0700", {2: "ttyUSB1", 3: "ttyUSB2", 10: "ttyUSB5"})
    sysfs.plug("1-1.3", "1546", "1141", {3: "ttyACM0"})
    assert resolve(BG95, sysfs=sysfs.root) == "/dev/ttyUSB2"
    assert resolve(parse_port("usb:2C7C:0700#if10"), sysfs=sysfs.root) == "/dev/ttyUSB5"
    assert resolve(parse_port("usb:1546:1141#if3"), sysfs=sysfs.root) == "/dev/ttyACM0"


def test_renumbering_is_survived(sysfs: Sysfs) -> None:
    sysfs.plug("1-1.2", "2c7c", "0700", {3: "ttyUSB2"})
    assert resolve(BG95, sysfs=sysfs.root) == "/dev/ttyUSB2"
    sysfs.unplug_all()
    sysfs.plug("1-1.4", "2c7c", "0700", {3: "ttyUSB6"})
    assert resolve(BG95, sysfs=sysfs.root) == "/dev/ttyUSB6"


def test_absent_device_is_not_found_and_others_are_named(sysfs: Sysfs) -> None:
    with pytest.raises(
        RadioNotFound, match=r"usb:2c7c:0700#if3 is not plugged in .*there is no USB serial port at all"
    ):
        resolve(BG95, sysfs=sysfs.root)
    sysfs.plug("1-1.2", "2c7c", "0700", {2: "ttyUSB1"})
    with pytest.raises(RadioNotFound, match="there is usb:2c7c:0700#if2"):
        resolve(BG95, sysfs=sysfs.root)


def test_no_sysfs_at_all(tmp_path: Path) -> None:
    with pytest.raises(RadioNotFound):
        resolve(BG95, sysfs=tmp_path / "nowhere")
    assert list_ports(sysfs=tmp_path / "nowhere", proc=tmp_path / "nowhere") == []


def test_twins_are_told_apart_by_their_serial_numbers(sysfs: Sysfs) -> None:
    sysfs.plug("1-1.2", "2c7c", "0700", {3: "ttyUSB2"}, "A1")
    sysfs.plug("1-1.3", "2c7c", "0700", {3: "ttyUSB7"}, "B2")
    with pytest.raises(RadioNotFound, match="fits 2 ports") as caught:
        resolve(BG95, sysfs=sysfs.root)
    for part in ("usb:2c7c:0700@A1#if3 at USB 1-1.2 (ttyUSB2)", "usb:2c7c:0700@B2#if3", "use one of these addresses"):
        assert part in str(caught.value)
    assert resolve(parse_port("usb:2c7c:0700@B2#if3"), sysfs=sysfs.root) == "/dev/ttyUSB7"
    with pytest.raises(RadioNotFound, match="@C3#if3 is not plugged in"):
        resolve(parse_port("usb:2c7c:0700@C3#if3"), sysfs=sysfs.root)


@pytest.mark.parametrize("serials", [(None, None), ("0001", "0001"), ("0001", None)])
def test_twins_without_distinct_serial_numbers(sysfs: Sysfs, serials: tuple[str | None, str | None]) -> None:
    for place, tty, serial in zip(("1-1.2", "1-1.3"), ("ttyUSB2", "ttyUSB7"), serials, strict=True):
        sysfs.plug(place, "2c7c", "0700", {3: tty}, serial)
    with pytest.raises(RadioNotFound, match="do not tell them apart: use serial:/dev/serial/by-path/"):
        resolve(BG95, sysfs=sysfs.root)


def test_fixed_paths_stand_as_they_are(sysfs: Sysfs) -> None:
    assert resolve(parse_port("serial:/dev/serial0"), sysfs=sysfs.root) == "/dev/serial0"
    assert resolve(parse_port("pty:/run/user/0/bg95"), sysfs=sysfs.root) == "/run/user/0/bg95"


def test_ports_are_listed_with_their_holders(sysfs: Sysfs) -> None:
    sysfs.plug("1-1.2", "2c7c", "0700", {2: "ttyUSB1", 3: "ttyUSB2"}, "A1")
    sysfs.plug("1-1.3", "1546", "1141", {0: "ttyACM0"}, "B2")
    sysfs.plug("1-1.4", "1546", "1141", {0: "ttyACM1"}, "C3")
    for name, kind in (("ttyAMA0", "32"), ("ttyS1", "0")):
        device = sysfs.write("devices/platform/uart")
        folder = sysfs.write(f"class/tty/{name}", type=kind)
        (folder / "device").symlink_to(device)
    sysfs.write("class/tty/tty1")
    sysfs.hold(412, "ModemManager", "/dev/ttyUSB2")
    assert list_ports(sysfs=sysfs.root, proc=sysfs.proc) == [
        PortInfo("usb:1546:1141@B2#if0", "/dev/ttyACM0", "Modem"),
        PortInfo("usb:1546:1141@C3#if0", "/dev/ttyACM1", "Modem"),
        PortInfo("usb:2c7c:0700#if2", "/dev/ttyUSB1", "Modem"),
        PortInfo("usb:2c7c:0700#if3", "/dev/ttyUSB2", "Modem", "ModemManager (process 412)"),
        PortInfo("serial:/dev/ttyAMA0", "/dev/ttyAMA0", "UART"),
    ]


def test_what_is_listed_can_be_resolved(sysfs: Sysfs) -> None:
    sysfs.plug("1-1.2", "2c7c", "0700", {2: "ttyUSB1"}, "A1")
    sysfs.plug("1-1.3", "2c7c", "0700", {2: "ttyUSB2"}, "B2")
    for info in list_ports(sysfs=sysfs.root, proc=sysfs.proc):
        assert resolve(parse_port(info.identity), sysfs=sysfs.root) == info.path


def test_garbled_sysfs_is_survived(sysfs: Sysfs) -> None:
    sysfs.write("bus/usb/devices/1-1", idVendor="zzzz", idProduct="0700")
    sysfs.write("bus/usb/devices/1-2", idVendor="2c7c")
    sysfs.write("bus/usb/devices/1-3", idVendor="2c7c", idProduct="0700")
    sysfs.write("bus/usb/devices/1-3:1.3/ttyUSB9")
    assert list_ports(sysfs=sysfs.root, proc=sysfs.proc) == []


def test_holder_follows_links(sysfs: Sysfs, tmp_path: Path) -> None:
    target = tmp_path / "ttyUSB2"
    target.write_text("")
    link = tmp_path / "modem"
    link.symlink_to(target)
    sysfs.hold(77, "pppd", str(target))
    assert holder(str(link), proc=sysfs.proc) == "pppd (process 77)"
    assert holder(str(tmp_path / "other"), proc=sysfs.proc) is None


def test_this_process_is_named_only_if_no_other_is(sysfs: Sysfs) -> None:
    sysfs.hold(os.getpid(), "python", "/dev/ttyUSB2")
    assert holder("/dev/ttyUSB2", proc=sysfs.proc) == f"this process ({os.getpid()})"
    sysfs.hold(99, "pppd", "/dev/ttyUSB2")
    assert holder("/dev/ttyUSB2", proc=sysfs.proc) == "pppd (process 99)"
