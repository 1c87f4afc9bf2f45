"""Bus addresses: how a configuration names a port so that the name outlives renumbering.

Rules of this file: text in, values out; nothing is opened or looked up here (drivers do that).

    usb:2c7c:0700#if3            the serial port on USB interface 3 of the device 2c7c:0700
    usb:2c7c:0700@SERIAL#if3     the same, where several such devices are plugged in
    serial:/dev/serial0          a fixed device file
    pty:/run/user/0/bg95         a pseudo terminal, such as a virtual radio's
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rataccess.errors import ConfigurationError

_USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?:@([^#]+))?#if(\d{1,2})")


@dataclass(frozen=True, slots=True)
class UsbPort:
    """A serial port by vendor, product (both 0 to 0xffff), USB interface number and, where needed, serial number."""

    vendor: int
    product: int
    interface: int
    serial_number: str | None = None

    def __str__(self) -> str:
        where = f"@{self.serial_number}" if self.serial_number else ""
        return f"usb:{self.vendor:04x}:{self.product:04x}{where}#if{self.interface}"


@dataclass(frozen=True, slots=True)
class DevicePort:
    """A serial port by its device file; `scheme` is `serial` or `pty`."""

    path: str
    scheme: str = "serial"

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"


PortAddress = UsbPort | DevicePort


def parse_port(text: str) -> PortAddress:
    """The port that `text` names; raises `ConfigurationError` for any other form."""
    match = _USB.fullmatch(text)
    if match:
        vendor, product, serial_number, interface = match.groups()
        return UsbPort(int(vendor, 16), int(product, 16), int(interface), serial_number)
    scheme, _, path = text.partition(":")
    if scheme in ("serial", "pty") and path.startswith("/"):
        return DevicePort(path, scheme)
    raise ConfigurationError(
        f"{text!r} is no port address; allowed: usb:VVVV:PPPP#ifN, usb:VVVV:PPPP@SERIAL#ifN, serial:/dev/..., pty:/..."
    )
