"""What is known of a machine, and what was found wrong with it: values only.

Rules of this file: no I/O and no judgement.  What could not be seen is `None` or named as unseen, never guessed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Level(enum.StrEnum):
    """How bad a finding is."""

    PROBLEM = "problem"
    """Something that is configured, or the library itself, cannot work."""
    WARNING = "warning"
    """It works now and may fail, or is slower or dearer than it need be."""
    NOTE = "note"
    """Worth knowing; does not count in the exit status."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    check: str
    """The check's name, such as `port-held`."""
    level: Level
    subject: str
    """What it is about: a port, an interface, a folder."""
    text: str
    """What was found."""
    meaning: str
    """What follows from it."""
    mend: tuple[str, ...] = ()
    """Commands, or lines for a file, that mend it."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running process."""

    number: int
    name: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.name} (process {self.number})"


@dataclass(frozen=True, slots=True)
class Port:
    """A device file that a driver may open: serial port, SPI or I2C bus, GPIO chip."""

    path: str
    identity: str = ""
    """Its port address for a configuration; empty for what is no serial port."""
    description: str = ""
    usb: tuple[int, int, int, str | None] | None = None
    """Vendor, product, interface, serial number."""
    group: str = ""
    group_number: int = 0
    owner: int = 0
    mode: int = 0o660
    holders: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """One interface of a USB device."""

    number: int
    kind: int
    """bInterfaceClass; 0xff is vendor-specific, as serial ports of modems are."""
    driver: str | None


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device that may be a radio."""

    name: str
    """Its place on the bus, such as `1-1.2`."""
    vendor: int
    product: int
    serial_number: str | None = None
    description: str = ""
    power_control: str | None = None
    """`on` (never suspended) or `auto`."""
    interfaces: tuple[UsbInterface, ...] = ()

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x} {self.description}".strip()


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface."""

    name: str
    index: int
    up: bool
    carrier: bool | None
    addresses: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    """Who configures it: `NetworkManager`, `dhcpcd`, `systemd-networkd`."""


@dataclass(frozen=True, slots=True)
class Me:
    """The user that runs this."""

    number: int = 0
    groups: frozenset[int] = frozenset()
    capabilities: int = 0
    """CapEff of proc_pid_status(5), a bit mask."""

    def can(self, capability: int) -> bool:
        """Whether it has the capability of that number (linux/capability.h)."""
        return bool(self.capabilities >> capability & 1)


@dataclass(frozen=True, slots=True)
class Time:
    """The machine's clocks."""

    wall: float
    monotonic: float
    uptime: float | None
    """Seconds since start, sleep included (proc_uptime(5))."""
    synchronised: bool | None
    """Whether the kernel's clock is disciplined (adjtimex(2)); `None` where that cannot be asked."""
    keepers: tuple[str, ...] = ()
    """Programs that keep it so: chronyd, ntpd, systemd-timesyncd."""
    rtcs: tuple[str, ...] = ()
    source: str | None = None
    """The kernel's clock source."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Where the state is kept."""

    folder: str
    exists: bool = True
    free_bytes: int | None = None
    free_inodes: int | None = None
    inodes: int | None = None
    read_only: bool = False
    mount: str = ""
    device: str = ""
    kind: str = ""
    options: tuple[str, ...] = ()
    sync_error: str | None = None
    """Why a file could not be written and synchronised; `None` where it could."""
    sync_seconds: float | None = None
    wear: int | None = None
    """Of an eMMC, life used in tenths (1 to 11), the worse of its two figures (JEDEC eMMC 5.0, life_time)."""
    end_of_life: int | None = None
    """Of an eMMC, PRE_EOL_INFO: 1 normal, 2 warning, 3 urgent."""


@dataclass(frozen=True, slots=True)
class LinkFact:
    """A configured link, as far as it names hardware."""

    name: str
    driver: str
    driver_error: str | None = None
    port: str | None = None
    port_error: str | None = None
    interface: str | None = None
    pin: bool | None = None
    """Whether the key store has a PIN for it; `None` where that is not asked or cannot be seen."""
    app_key_error: str | None = None
    """What is wrong with its LoRaWAN AppKey; empty where the key store has none, `None` where nothing is, or can be seen."""
    own_mac: bool = False
    """Whether LoRaWAN is spoken by the driver, and not by a module that keeps keys of its own."""
    place: str | None = None
    """The device file of its port, or its bus and where on it the radio is; two links cannot have the same."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration."""

    source: str | None = None
    """The file, or `None` where none was found."""
    error: str | None = None
    links: tuple[LinkFact, ...] = ()
    state: str | None = None
    keys: str | None = None
    key_modes: tuple[tuple[str, int], ...] = ()
    """Files and folders of the key store with their modes."""
    key_error: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    model: str = ""
    """The board, by the device tree or DMI."""
    me: Me = Me()
    ports: tuple[Port, ...] = ()
    usb: tuple[UsbDevice, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    processes: tuple[Process, ...] = ()
    unseen: int = 0
    """Processes of which the open files may not be looked at."""
    time: Time = field(default_factory=lambda: Time(0.0, 0.0, None, None))
    disk: Disk | None = None
    configured: Configured = Configured()
    missing_packages: tuple[tuple[str, str], ...] = ()
    """(package, what needs it)."""
    modules: frozenset[str] = frozenset()
    """Kernel modules that are loaded or built in."""
    available_modules: frozenset[str] | None = None
    """Those that could be loaded; `None` where that cannot be seen."""
    consoles: tuple[str, ...] = ()
    """Serial ports that the kernel's command line makes a console."""
    boot_file: str = ""
    """The file with that command line."""
    gettys: tuple[str, ...] = ()
    """Ports with a log-in prompt."""
    voltage_alarms: tuple[str, ...] = ()
    """Sensors that report under-voltage now."""
    throttled: int | None = None
    """The Raspberry Pi firmware's get_throttled."""

    @property
    def raspberry(self) -> bool:
        """Whether it is a Raspberry Pi."""
        return "Raspberry Pi" in self.model

    def running(self, name: str) -> Process | None:
        """The first process of that name (of which the kernel keeps 15 characters)."""
        return next((each for each in self.processes if each.name == name[:15]), None)

    def port(self, path: str) -> Port | None:
        """The port with that device file."""
        return next((each for each in self.ports if each.path == path), None)
