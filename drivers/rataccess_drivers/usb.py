"""Having the kernel take a USB device off its bus and back: what pulling its plug does, with the supply left on.

Rules of this file: sysfs and usbfs, by the address of a serial port; no radio is known here.  Their places can be given, so
that tests build their own.  OSError ends here.

The kernel offers two ways: its driver core (`unbind` and `bind`, Documentation/ABI/testing/sysfs-bus-usb), which is for
root, and USBDEVFS_RESET (linux/usbdevice_fs.h), for which a udev rule that makes the device's file writable is enough.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from pathlib import Path

from rataccess.bus import DevicePort, PortAddress, UsbPort
from rataccess.errors import RadioNotFound
from rataccess_drivers.ports import DEV, SYSFS

USBDEVFS_RESET = 0x5514
"""`_IO('U', 20)`."""
APART = 0.5
"""Seconds between the two halves; the drivers of a device let go of it meanwhile."""


def on_usb(address: PortAddress, *, sysfs: Path = SYSFS) -> bool:
    """Whether the serial port is that of a USB device, as far as can be seen now."""
    return isinstance(address, UsbPort) or _folder_of_tty(address, sysfs) is not None


async def reset_usb(address: PortAddress, *, sysfs: Path = SYSFS, dev: Path = DEV) -> None:
    """Start the device behind `address` anew; its serial port vanishes, and comes back a second or two later.

    Raises `RadioNotFound` where there is no such device, several, or neither way is open to this user.
    """
    folder = _folder(address, sysfs)
    core = sysfs / "bus/usb/drivers/usb"
    try:
        _unbind(core, folder.name)
        await asyncio.sleep(APART)
        (core / "bind").write_text(folder.name)
    except OSError as refused:
        try:
            _reset(dev / f"bus/usb/{_number(folder / 'busnum'):03d}/{_number(folder / 'devnum'):03d}")
        except (OSError, ValueError) as error:
            raise RadioNotFound(
                f"the USB device {folder.name} of {address} cannot be reset: {refused}; {error}; run as root, or make its"
                " file in /dev/bus/usb writable by a udev rule"
            ) from error


def _unbind(core: Path, name: str) -> None:
    try:
        (core / "unbind").write_text(name)
    except OSError as error:
        if error.errno != errno.ENODEV:  # unbound already, by somebody who did not get further
            raise


def _reset(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, USBDEVFS_RESET, 0)
    finally:
        os.close(descriptor)


# --- which device -----------------------------------------------------------------------------------------------------


def _folder(address: PortAddress, sysfs: Path) -> Path:
    """The device's folder in sysfs, named by its place on the bus (`1-1.2`)."""
    if isinstance(address, DevicePort):
        found = _folder_of_tty(address, sysfs)
        folders = [found] if found is not None else []
    else:
        folders = [each for each in sorted((sysfs / "bus/usb/devices").glob("*")) if _fits(each, address)]
    if len(folders) == 1:
        return folders[0]
    what = (
        f"fits {len(folders)} USB devices: add the serial number" if folders else "is no USB device that is plugged in"
    )
    raise RadioNotFound(f"{address} {what}; there is nothing to reset")


def _fits(folder: Path, wanted: UsbPort) -> bool:
    try:
        same = (
            int(_read(folder / "idVendor"), 16) == wanted.vendor
            and int(_read(folder / "idProduct"), 16) == wanted.product
        )
    except ValueError:
        return False
    return same and wanted.serial_number in (None, _read(folder / "serial"))


def _folder_of_tty(address: DevicePort, sysfs: Path) -> Path | None:
    """The first folder above the port's that is a USB device's: one above for ttyACM, two for ttyUSB."""
    device = sysfs / "class/tty" / os.path.basename(os.path.realpath(address.path)) / "device"
    if address.scheme != "serial" or not device.exists():
        return None
    above = Path(os.path.realpath(device))
    return next((each for each in (above, *above.parents[:4]) if (each / "idVendor").exists()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    """Raises `ValueError` where the file holds none."""
    return int(_read(path))
