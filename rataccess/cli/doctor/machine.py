"""The machine: everything that the checks ask of it, below a root that tests choose.

Rules of this file: it reads; only `_try_sync` writes, one file that it removes again.  What is no file (the clock, the file
system's figures, addresses) comes through functions that tests replace.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rataccess.cli.doctor import ports
from rataccess.cli.doctor.configured import configured
from rataccess.cli.doctor.facts import Disk, Facts, Process, Time
from rataccess.cli.doctor.ports import number, text
from rataccess_drivers.ip import rtnetlink
from rataccess_drivers.ip.view import AddressSeen

PACKAGES = (
    ("serial", "serial ports (pyserial)"),
    ("periphery", "GPIO and SPI (python-periphery)"),
    ("smbus2", "I2C"),
    ("tenacity", "retries"),
    ("cbor2", "objects"),
    ("msgspec", "configuration"),
    ("cryptography", "keys and protection"),
    ("rich", "this command line (rataccess[cli])"),
    ("segno", "QR codes of `rataccess provision` (rataccess[cli])"),
)
_KEEPERS = ("chronyd", "ntpd", "ntpsec", "systemd-timesyncd", "openntpd")
_BOOT_FILES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")
_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5


def kernel_addresses() -> dict[int, tuple[str, ...]]:
    """The machine's addresses by interface index, by a dump over rtnetlink(7)."""
    found: dict[int, tuple[str, ...]] = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(2.0)
            asked.send(rtnetlink.dump_request(rtnetlink.GETADDR))
            while True:
                for message in rtnetlink.messages(asked.recv(1 << 16)):
                    if message.kind in (rtnetlink.DONE, rtnetlink.ERROR):
                        return found
                    event = rtnetlink.event(message)
                    if isinstance(event, AddressSeen):
                        found[event.index] = (*found.get(event.index, ()), event.address)
    except (OSError, rtnetlink.Damaged):
        return found


def kernel_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined: adjtimex(2), which asks nothing of the caller."""

    class Timex(ctypes.Structure):
        _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_long * 64))

    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(Timex(modes=0)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def sync_error(folder: Path) -> tuple[str | None, float | None]:
    """Write and synchronise a file and its folder: (what failed, or `None`; seconds that it took)."""
    began = time.monotonic()
    try:
        descriptor, name = tempfile.mkstemp(prefix=".rataccess-doctor-", dir=folder)
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(name)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    except OSError as error:
        return error.strerror or str(error), None
    return None, time.monotonic() - began


def has_package(name: str) -> bool:
    """Whether it could be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@dataclass(frozen=True)
class Machine:
    """Where to look."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    own_process: int = field(default_factory=os.getpid)
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    synchronised: Callable[[], bool | None] = kernel_synchronised
    addresses: Callable[[], Mapping[int, tuple[str, ...]]] = kernel_addresses
    stat: Callable[[Path], os.stat_result] = os.stat
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    sync: Callable[[Path], tuple[str | None, float | None]] = sync_error
    has_package: Callable[[str], bool] = has_package
    release: str = field(default_factory=platform.release)


def gather(machine: Machine, config: Path | None = None) -> Facts:
    """Everything that the checks ask for; `config` is a configuration file, found by the usual rules where `None`."""
    root = machine.root
    seen = ports.processes(root / "proc", machine.own_process)
    found = configured(config, machine.environ, root)
    state = found.state or "/var/lib/rataccess"
    boot_file, consoles = _consoles(root)
    return Facts(
        model=text(root / "proc/device-tree/model") or text(root / "sys/class/dmi/id/product_name"),
        me=ports.me(root / "proc"),
        ports=ports.ports(root, seen, machine.stat),
        usb=ports.usb_devices(root / "sys"),
        interfaces=ports.interfaces(root, seen, machine.addresses()),
        processes=seen.processes,
        unseen=seen.unseen,
        time=_time(machine, seen.processes),
        disk=_disk(machine, state, configured=found.state is not None),
        configured=found,
        missing_packages=tuple(each for each in PACKAGES if not machine.has_package(each[0])),
        modules=_modules(root, machine.release),
        available_modules=_available(root, machine.release),
        consoles=consoles,
        boot_file=boot_file,
        gettys=_gettys(seen.processes, root),
        voltage_alarms=_alarms(root / "sys"),
        throttled=number(root / "sys/devices/platform/soc/soc:firmware/get_throttled", 16),
    )


# --- clocks -----------------------------------------------------------------------------------------------------------


def _time(machine: Machine, running: tuple[Process, ...]) -> Time:
    root = machine.root
    uptime = text(root / "proc/uptime").split()
    names = {process.name for process in running}
    return Time(
        machine.wall(),
        machine.monotonic(),
        float(uptime[0]) if uptime else None,
        machine.synchronised(),
        tuple(each for each in _KEEPERS if each[:15] in names),
        tuple(path.name for path in sorted((root / "sys/class/rtc").glob("rtc*"))),
        text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource") or None,
    )


# --- disk -------------------------------------------------------------------------------------------------------------


def _disk(machine: Machine, state: str, *, configured: bool) -> Disk | None:
    folder = machine.root / state.lstrip("/") if machine.root != Path("/") else Path(state)
    exists = folder.is_dir()
    if not exists and not configured:
        return None
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        figures = machine.statvfs(there)
    except OSError:
        return Disk(state, exists)
    failed, took = machine.sync(folder) if exists else (None, None)
    mount, device, kind, options = _mount(machine.root, state)
    block = re.sub(r"p?\d+$", "", os.path.basename(device)) if "mmcblk" in device else ""
    life = text(machine.root / f"sys/block/{block}/device/life_time").split() if block else []
    return Disk(
        state,
        exists,
        figures.f_bavail * figures.f_frsize,
        figures.f_favail,
        figures.f_files,
        bool(figures.f_flag & os.ST_RDONLY) or "ro" in options,
        mount,
        device,
        kind,
        options,
        failed,
        took,
        max((int(each, 16) for each in life), default=None),
        number(machine.root / f"sys/block/{block}/device/pre_eol_info", 16) if block else None,
    )


def _mount(root: Path, folder: str) -> tuple[str, str, str, tuple[str, ...]]:
    """The mount that holds `folder`: place, device, type, options."""
    best = ("", "", "", ())  # type: tuple[str, str, str, tuple[str, ...]]
    for line in text(root / "proc/self/mounts").splitlines():
        device, place, kind, options = line.split()[:4]
        place = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), place)
        if (folder == place or folder.startswith(place.rstrip("/") + "/")) and len(place) >= len(best[0]):
            best = (place, device, kind, tuple(options.split(",")))
    return best


# --- kernel and board -------------------------------------------------------------------------------------------------


def _modules(root: Path, release: str) -> frozenset[str]:
    loaded = {path.name for path in (root / "sys/module").glob("*")}
    builtin = _names(text(root / f"lib/modules/{release}/modules.builtin"))
    return frozenset(loaded | builtin)


def _available(root: Path, release: str) -> frozenset[str] | None:
    listing = text(root / f"lib/modules/{release}/modules.dep")
    return frozenset(_names(listing)) if listing else None


def _names(listing: str) -> set[str]:
    names = (os.path.basename(line.partition(":")[0]).partition(".ko")[0] for line in listing.splitlines())
    return {name.replace("-", "_") for name in names}


def _consoles(root: Path) -> tuple[str, tuple[str, ...]]:
    """The boot file, and the serial consoles that it or the running kernel's command line names."""
    file = next((each for each in _BOOT_FILES if (root / each).is_file()), "")
    lines = " ".join((text(root / "proc/cmdline"), text(root / file) if file else ""))
    found = re.findall(r"\bconsole=((?:serial|ttyS|ttyAMA)\d+)", lines)
    return f"/{file}" if file else "", tuple(dict.fromkeys(found))


def _gettys(running: tuple[Process, ...], root: Path) -> tuple[str, ...]:
    wanted = (root / "etc/systemd/system/getty.target.wants").glob("serial-getty@*.service")
    found = [path.name.partition("@")[2].removesuffix(".service") for path in wanted]
    for process in running:
        if process.name == "agetty":
            found += re.findall(r"\b((?:serial|ttyS|ttyAMA|ttyUSB|ttyACM)\d+)\b", process.command)
    return tuple(dict.fromkeys(found))


def _alarms(sysfs: Path) -> tuple[str, ...]:
    """Sensors whose `in*_lcrit_alarm` is set (Documentation/hwmon/sysfs-interface); `rpi_volt` is the Pi's own."""
    found = []
    for path in sorted((sysfs / "class/hwmon").glob("hwmon*/in*_lcrit_alarm")):
        if text(path) == "1":
            found.append(f"{text(path.parent / 'name') or path.parent.name} {path.name}")
    return tuple(found)
