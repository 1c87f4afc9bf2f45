"""Facts about ports, USB devices, processes and interfaces, from /sys, /proc, /dev and /run below a given root.

Rules of this file: it reads and opens no port.  What is absent or may not be read is left out, or counted as unseen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rataccess.bus import UsbPort, parse_port
from rataccess.cli.doctor.facts import Interface, Me, Port, Process, UsbDevice, UsbInterface
from rataccess_drivers.ports import list_ports

MANAGERS = ("NetworkManager", "dhcpcd", "systemd-networkd")
_BUSES = ("spidev*", "i2c-*", "gpiochip*")
_HUB, _VIRTUAL = 0x09, 0x1D6B
"""bDeviceClass of hubs; the Linux Foundation's vendor id, of root hubs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one walk over /proc finds."""

    processes: tuple[Process, ...]
    holders: Mapping[str, tuple[Process, ...]]
    """By the target of an open descriptor."""
    unseen: int


def text(path: Path) -> str:
    """The file's text without blanks around it; empty where there is none."""
    try:
        return path.read_text(errors="replace").strip(" \t\n\0")
    except OSError:
        return ""


def number(path: Path, base: int = 10) -> int | None:
    """The whole number that the file holds."""
    try:
        return int(text(path), base)
    except ValueError:
        return None


def processes(proc: Path, own: int) -> Seen:
    """Every process but `own`, and who has which device file open."""
    found, unseen = [], 0
    holders: dict[str, tuple[Process, ...]] = {}
    for folder in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        if int(folder.name) == own or not (name := text(folder / "comm")):
            continue
        process = Process(int(folder.name), name, text(folder / "cmdline").replace("\0", " "))
        found.append(process)
        try:
            targets = set(_targets(folder / "fd"))
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue  # it has ended meanwhile
        for target in targets:
            holders[target] = (*holders.get(target, ()), process)
    return Seen(tuple(found), holders, unseen)


def _targets(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue  # closed meanwhile


def me(proc: Path) -> Me:
    """This process's user, by /proc/self/status."""
    fields = dict(line.split(":", 1) for line in text(proc / "self/status").splitlines() if ":" in line)
    numbers = fields.get("Uid", "0").split()
    groups = frozenset(int(each) for each in (fields.get("Groups", "") + " " + fields.get("Gid", "")).split())
    effective = int(numbers[1] if len(numbers) > 1 else numbers[0])
    return Me(effective, groups, int(fields.get("CapEff", "0").strip() or "0", 16))


def group_names(etc: Path) -> dict[int, str]:
    """Names of groups by their numbers."""
    rows = (line.split(":") for line in text(etc / "group").splitlines())
    return {int(row[2]): row[0] for row in rows if len(row) > 2 and row[2].isdigit()}


def ports(root: Path, seen: Seen, stat: Callable[[Path], os.stat_result]) -> tuple[Port, ...]:
    """Serial ports first, then buses."""
    found = []
    for info in list_ports(sysfs=root / "sys", proc=root / "nowhere", dev=root / "dev"):
        address = parse_port(info.identity)
        usb = None
        if isinstance(address, UsbPort):
            usb = (address.vendor, address.product, address.interface, address.serial_number)
        found.append(Port(info.path, info.identity, info.description, usb))
    for pattern in _BUSES:
        found += [Port(str(path), description="bus") for path in sorted((root / "dev").glob(pattern))]
    names = group_names(root / "etc")
    return tuple(_with_file(port, names, seen, stat) for port in found)


def _with_file(port: Port, names: Mapping[int, str], seen: Seen, stat: Callable[[Path], os.stat_result]) -> Port:
    try:
        info = stat(Path(port.path))
    except OSError:
        return port
    return replace(
        port,
        group=names.get(info.st_gid, str(info.st_gid)),
        group_number=info.st_gid,
        owner=info.st_uid,
        mode=info.st_mode & 0o777,
        holders=seen.holders.get(os.path.realpath(port.path), ()),
    )


def usb_devices(sysfs: Path) -> tuple[UsbDevice, ...]:
    """Every USB device but hubs."""
    found = []
    for device in sorted((sysfs / "bus/usb/devices").glob("*")):
        vendor, product = number(device / "idVendor", 16), number(device / "idProduct", 16)
        if vendor is None or product is None or vendor == _VIRTUAL or number(device / "bDeviceClass", 16) == _HUB:
            continue
        words = (text(device / "manufacturer"), text(device / "product"))
        found.append(
            UsbDevice(
                device.name,
                vendor,
                product,
                text(device / "serial") or None,
                " ".join(filter(None, words)),
                text(device / "power/control") or None,
                tuple(_usb_interfaces(device)),
            )
        )
    return tuple(found)


def _usb_interfaces(device: Path) -> Iterator[UsbInterface]:
    pattern = f"{device.name}:*"
    for folder in sorted(device.glob(pattern)) or sorted(device.parent.glob(pattern)):
        index, kind = number(folder / "bInterfaceNumber", 16), number(folder / "bInterfaceClass", 16)
        if index is not None and kind is not None:
            driver = folder / "driver"
            yield UsbInterface(index, kind, os.path.basename(os.readlink(driver)) if driver.is_symlink() else None)


def interfaces(root: Path, seen: Seen, addresses: Mapping[int, tuple[str, ...]]) -> tuple[Interface, ...]:
    """Every network interface but the loopback; `addresses` by index."""
    running = {process.name for process in seen.processes}
    found = []
    for folder in sorted((root / "sys/class/net").glob("*")):
        index, flags = number(folder / "ifindex"), number(folder / "flags", 16)
        if index is None or flags is None or flags & 0x8:  # IFF_LOOPBACK, linux/if.h
            continue
        carrier = text(folder / "carrier")
        found.append(
            Interface(
                folder.name,
                index,
                bool(flags & 0x1),
                carrier == "1" if carrier else None,
                addresses.get(index, ()),
                tuple(_managers(root, folder.name, index, running)),
            )
        )
    return tuple(found)


def _managers(root: Path, name: str, index: int, running: set[str]) -> Iterator[str]:
    """NetworkManager and systemd-networkd keep a file for each interface; dhcpcd, one process or one for each."""
    manager = text(root / f"run/NetworkManager/devices/{index}")
    if "NetworkManager" in running and re.search(r"^managed=true$", manager, re.MULTILINE):
        yield "NetworkManager"
    if "dhcpcd" in running and "NetworkManager" not in running:
        denied = re.search(
            rf"^\s*denyinterfaces\b.*\b{re.escape(name)}\b", text(root / "etc/dhcpcd.conf"), re.MULTILINE
        )
        if not denied:
            yield "dhcpcd"
    elif "dhcpcd" in running and any((root / "run").glob(f"dhcpcd/{name}*.pid")):
        yield "dhcpcd"
    networkd = text(root / f"run/systemd/netif/links/{index}")
    if re.search(r"^ADMIN_STATE=(configured|configuring)$", networkd, re.MULTILINE):
        yield "systemd-networkd"
