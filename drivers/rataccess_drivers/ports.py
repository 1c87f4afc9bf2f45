"""Where serial ports are: from the stable name in a configuration to the device file that it has now, and who holds it.

Rules of this file: reads sysfs and /proc, opens no port.  Their places can be given, so that tests build their own.

The kernel numbers ttyUSB0, ttyUSB1 ... in the order in which devices appear, which changes with every reset of a modem.
So a port is named by what does not change (vendor, product, USB interface and, if need be, serial number) and looked up
each time it is opened.  The layout read here is that of Documentation/ABI/testing/sysfs-bus-usb: a device folder holds
`idVendor`, `idProduct`, `serial`; its interfaces are `<device>:<configuration>.<number>` beside it, and the port is
`<interface>/ttyUSB0` (usb-serial) or `<interface>/tty/ttyACM0` (cdc-acm).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rataccess.bus import DevicePort, PortAddress, UsbPort, parse_port
from rataccess.errors import RadioNotFound

SYSFS = Path("/sys")
PROC = Path("/proc")
DEV = Path("/dev")


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port that is there now."""

    identity: str
    """The address to put into a configuration."""
    path: str
    description: str = ""
    """What the device calls itself."""
    holder: str | None = None
    """Who has it open, as far as this user may see."""


@dataclass(frozen=True, slots=True)
class _UsbTty:
    port: UsbPort
    name: str
    device: str
    """The kernel's name of the USB device, such as `1-1.2`: its place on the bus."""
    description: str


def port_at(address: str) -> PortAddress:
    """What a user means by `address`: a device file, or a form of `rataccess.bus`; raises `ConfigurationError`."""
    return DevicePort(address) if address.startswith("/") else parse_port(address)


def resolve(address: PortAddress, *, sysfs: Path = SYSFS, dev: Path = DEV) -> str:
    """The device file that `address` has now.

    Raises `RadioNotFound` where no plugged-in device fits, or where several do and the address does not tell them apart.
    A fixed device file is returned as it is: opening it shows whether it exists.
    """
    if isinstance(address, DevicePort):
        return address.path
    found = [tty for tty in _usb_ttys(sysfs) if _fits(tty.port, address)]
    if len(found) == 1:
        return str(dev / found[0].name)
    if found:
        raise RadioNotFound(_ambiguous(address, found))
    raise RadioNotFound(_absent(address, sysfs))


def list_ports(*, sysfs: Path = SYSFS, proc: Path = PROC, dev: Path = DEV) -> list[PortInfo]:
    """The serial ports that have a device behind them, USB ones first, each with its holder."""
    ttys = sorted(_usb_ttys(sysfs), key=lambda tty: (str(tty.port), tty.name))
    twins = [str(_without_serial(tty.port)) for tty in ttys]
    infos = []
    for tty in ttys:
        plain = _without_serial(tty.port)
        port = plain if twins.count(str(plain)) == 1 else tty.port
        path = str(dev / tty.name)
        infos.append(PortInfo(str(port), path, tty.description, holder(path, proc=proc)))
    for name in _fixed_ttys(sysfs):
        path = str(dev / name)
        infos.append(PortInfo(f"serial:{path}", path, "UART", holder(path, proc=proc)))
    return infos


def holder(path: str, *, proc: Path = PROC) -> str | None:
    """Who has `path` open, such as `ModemManager (process 412)`; `None` where nobody is seen.

    Processes of other users are invisible to an unprivileged caller.  This process is named only if no other is.
    """
    target = os.path.realpath(path)
    own = None
    for folder in proc.glob("[0-9]*"):
        if not _has_open(folder / "fd", target):
            continue
        if folder.name != str(os.getpid()):
            return f"{_process_name(folder)} (process {folder.name})"
        own = f"this process ({folder.name})"
    return own


def _has_open(folder: Path, target: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(folder / name) == target:
                return True
        except OSError:
            continue
    return False


def _process_name(folder: Path) -> str:
    return _read(folder / "comm") or "a process"


def _usb_ttys(sysfs: Path) -> Iterator[_UsbTty]:
    for device in sorted((sysfs / "bus/usb/devices").glob("*")):
        vendor, product = _hexadecimal(device / "idVendor"), _hexadecimal(device / "idProduct")
        if vendor is None or product is None:
            continue
        serial_number = _read(device / "serial") or None
        words = (_read(device / "manufacturer"), _read(device / "product"))
        for interface in _interfaces(device):
            number = _hexadecimal(interface / "bInterfaceNumber")
            for name in _tty_names(interface) if number is not None else ():
                port = UsbPort(vendor, product, number or 0, serial_number)
                yield _UsbTty(port, name, device.name, " ".join(filter(None, words)))


def _interfaces(device: Path) -> list[Path]:
    """A device's interfaces, which sysfs shows both inside it and beside it."""
    pattern = f"{device.name}:*"
    inside = sorted(device.glob(pattern))
    return inside or sorted(device.parent.glob(pattern))


def _tty_names(interface: Path) -> list[str]:
    """`ttyUSB0` directly in the interface's folder, `ttyACM0` in its folder `tty`."""
    direct = [path.name for path in interface.glob("tty?*")]
    return direct + [path.name for path in interface.glob("tty/*")]


def _fixed_ttys(sysfs: Path) -> list[str]:
    """UARTs of the board: they have a driver, and are no virtual consoles, pseudo terminals or USB ports."""
    names = []
    for path in sorted((sysfs / "class/tty").glob("*")):
        device = path / "device"
        if not device.exists() or "/usb" in os.path.realpath(device):
            continue
        # A 8250 driver announces four ports whether or not the board has them; type 0 is "unknown": nothing there.
        if _read(path / "type") != "0":
            names.append(path.name)
    return names


def _fits(port: UsbPort, wanted: UsbPort) -> bool:
    same = (port.vendor, port.product, port.interface) == (wanted.vendor, wanted.product, wanted.interface)
    return same and wanted.serial_number in (None, port.serial_number)


def _without_serial(port: UsbPort) -> UsbPort:
    return UsbPort(port.vendor, port.product, port.interface)


def _ambiguous(address: UsbPort, found: list[_UsbTty]) -> str:
    names = ", ".join(f"{tty.port} at USB {tty.device} ({tty.name})" for tty in found)
    numbers = {tty.port.serial_number for tty in found}
    if address.serial_number is None and None not in numbers and len(numbers) == len(found):
        advice = "use one of these addresses, with the serial number"
    else:
        advice = "their serial numbers do not tell them apart: use serial:/dev/serial/by-path/..."
    return f"{address} fits {len(found)} ports: {names}; {advice}"


def _absent(address: UsbPort, sysfs: Path) -> str:
    ttys = list(_usb_ttys(sysfs))
    same = [tty for tty in ttys if (tty.port.vendor, tty.port.product) == (address.vendor, address.product)]
    seen = ", ".join(str(tty.port) for tty in same or ttys) or "no USB serial port at all"
    return f"{address} is not plugged in now, or its port has no driver; there is {seen}"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _hexadecimal(path: Path) -> int | None:
    try:
        return int(_read(path), 16)
    except ValueError:
        return None
