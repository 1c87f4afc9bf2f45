"""Checks about permissions, clocks, disk, configuration, packages and supply; see `checks`.

Rules of this file: no I/O; every threshold is argued where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rataccess.cli.doctor.facts import Facts, Finding, Level, LinkFact
from rataccess.clock import EARLIEST_PLAUSIBLE

CAP_NET_RAW = 13
"""linux/capability.h.  SO_BINDTODEVICE asks for it on a socket that is bound already; since Linux 5.7 not for the first time
(socket(7))."""
CAP_DAC_OVERRIDE = 1
FREE_LEAST = 64 << 20
"""Bytes: SQLite's log, a checkpoint and a quarantined copy of a small store."""
FREE_INODES_LEAST = 256
SYNC_SLOW = 0.5
"""Seconds for one fsync: a worn or counterfeit SD card; each group commit waits for one."""
LIFE_USED_MOST = 8
"""Tenths of an eMMC's life."""
SLEPT = 60.0
"""Seconds that the monotonic clock lags behind the uptime."""


def port_permission(facts: Facts) -> Iterator[Finding]:
    """This user may not open a port."""
    if facts.me.number == 0 or facts.me.can(CAP_DAC_OVERRIDE):
        return
    for port in facts.ports:
        bits = port.mode if port.owner == facts.me.number else 0
        bits >>= 6
        if port.group_number in facts.me.groups:
            bits |= port.mode >> 3
        if (bits | port.mode) & 0o6 == 0o6:
            continue
        group_may = port.mode >> 3 & 0o6 == 0o6
        yield Finding(
            "port-permission",
            Level.PROBLEM if port.identity else Level.NOTE,
            port.path,
            f"{port.path} (mode {port.mode:03o}, group {port.group}) may not be opened by user {facts.me.number}",
            "opening it fails with PortBusy: permission refused",
            (f"sudo usermod -aG {port.group} $USER  # then log in again",)
            if group_may and port.group != "root"
            else (
                "rataccess doctor --fix-rules | sudo tee /etc/udev/rules.d/78-rataccess.rules",
                "sudo udevadm control --reload",
                "sudo udevadm trigger",
            ),
        )


def bind_permission(facts: Facts) -> Iterator[Finding]:
    """A UDP link is tied to its interface with SO_BINDTODEVICE."""
    if facts.me.number == 0 or facts.me.can(CAP_NET_RAW) or not any(link.interface for link in facts.configured.links):
        return
    yield Finding(
        "bind-permission",
        Level.NOTE,
        "SO_BINDTODEVICE",
        "this user has no CAP_NET_RAW",
        "before Linux 5.7 a socket cannot be tied to its interface without it, and packets may leave by another one",
        ("add AmbientCapabilities=CAP_NET_RAW to the service's systemd unit",),
    )


def wall_clock(facts: Facts) -> Iterator[Finding]:
    """The wall clock was never set, or nobody keeps it right."""
    time = facts.time
    enable = "sudo timedatectl set-ntp true"
    if time.wall < EARLIEST_PLAUSIBLE:
        yield Finding(
            "clock-unset",
            Level.WARNING,
            "wall clock",
            "the wall clock is before 2025: it was never set since the machine started",
            "records are dated once the management service or NTP has told the time; until then they wait with the date "
            "unknown" + ("" if time.rtcs else "; there is no RTC, so each start begins like that"),
            (enable, "dtoverlay=i2c-rtc,ds3231 in /boot/firmware/config.txt, with such a clock wired to I2C"),
        )
    elif time.synchronised is False:
        who = f"{', '.join(time.keepers)} runs, and has not synchronised" if time.keepers else "no NTP program runs"
        yield Finding(
            "clock-unsynchronised",
            Level.WARNING,
            "wall clock",
            f"the kernel's clock is not synchronised: {who}",
            "capture times drift by seconds a day; deadlines (ttl) of records drift with them",
            (enable, "timedatectl timesync-status"),
        )
    if not time.rtcs and facts.raspberry and time.wall >= EARLIEST_PLAUSIBLE:
        yield Finding(
            "no-rtc",
            Level.NOTE,
            "RTC",
            "there is no battery-backed clock",
            "after a power cut the time is unknown until a link is up",
            ("dtoverlay=i2c-rtc,ds3231 in /boot/firmware/config.txt, with such a clock wired to I2C",),
        )


def monotonic_clock(facts: Facts) -> Iterator[Finding]:
    """The monotonic clock stood still, or is coarse."""
    time = facts.time
    if time.uptime is not None and time.uptime - time.monotonic > SLEPT:
        yield Finding(
            "clock-slept",
            Level.WARNING,
            "monotonic clock",
            f"this machine slept for {time.uptime - time.monotonic:.0f} s since it started",
            "while it sleeps nothing is watched or sent, and back-offs last longer",
            ("sudo systemctl mask sleep.target suspend.target hibernate.target",),
        )
    if time.source in ("jiffies", "refined-jiffies"):
        yield Finding(
            "clock-coarse",
            Level.WARNING,
            "monotonic clock",
            f"the kernel keeps time by {time.source}",
            "time is told in steps of up to 10 ms, which blurs response times and so the hedging of slow answers",
            ("cat /sys/devices/system/clocksource/clocksource0/available_clocksource",),
        )


def disk_room(facts: Facts) -> Iterator[Finding]:
    """The state folder cannot take what is enqueued."""
    disk = facts.disk
    if disk is None:
        return
    make = f"sudo install -d -m 700 -o $USER {disk.folder}"
    if not disk.exists:
        meaning = "the store and the keys are kept there: the device cannot start"
        yield Finding("state-missing", Level.PROBLEM, disk.folder, "the state folder does not exist", meaning, (make,))
    if disk.read_only:
        yield Finding(
            "disk-read-only",
            Level.PROBLEM,
            disk.folder,
            f"{disk.mount or 'its file system'} is mounted read-only",
            "nothing can be enqueued; a file system that became read-only by itself has an error: see dmesg",
            (f"sudo mount -o remount,rw {disk.mount or '/'}", "dmesg --level=err | tail"),
        )
    elif disk.sync_error:
        yield Finding(
            "disk-sync",
            Level.PROBLEM,
            disk.folder,
            f"a file cannot be written and synchronised: {disk.sync_error}",
            "enqueue raises StoreError or DiskFull",
            (f"sudo chown -R $USER {disk.folder}", "dmesg --level=err | tail"),
        )
    elif disk.sync_seconds is not None and disk.sync_seconds > SYNC_SLOW:
        yield Finding(
            "disk-slow",
            Level.WARNING,
            disk.folder,
            f"one fsync took {disk.sync_seconds:.1f} s",
            "each enqueue waits for one; a worn or counterfeit SD card does that before it fails",
            ("sudo apt install f3 && f3write /mnt && f3read /mnt  # on the card, or replace it",),
        )
    yield from _space(facts)


def _space(facts: Facts) -> Iterator[Finding]:
    disk = facts.disk
    assert disk is not None
    clear = ("sudo journalctl --vacuum-size=50M", "sudo apt clean", f"sudo du -xh {disk.mount or '/'} | sort -h | tail")
    if disk.free_bytes is not None and disk.free_bytes < FREE_LEAST:
        yield Finding(
            "disk-full",
            Level.PROBLEM,
            disk.folder,
            f"{disk.free_bytes / 2**20:.0f} MB are free",
            "enqueue raises DiskFull when the rest is used up",
            clear,
        )
    if disk.inodes and disk.free_inodes is not None and disk.free_inodes < FREE_INODES_LEAST:
        yield Finding(
            "disk-inodes",
            Level.PROBLEM,
            disk.folder,
            f"{disk.free_inodes} of {disk.inodes} inodes are free",
            "no new file can be made although bytes are free; SQLite needs two for its log",
            clear,
        )


def disk_kind(facts: Facts) -> Iterator[Finding]:
    """The state folder does not outlive a power cut, or its card is wearing out."""
    disk = facts.disk
    if disk is None:
        return
    if disk.kind in ("tmpfs", "ramfs", "overlay"):
        yield Finding(
            "disk-volatile",
            Level.WARNING,
            disk.folder,
            f"the state folder is on {disk.kind}",
            "it may be gone after a power cut, with the records that were accepted and the counters that keep a key from "
            "being used twice: such a device must be provisioned anew",
            ("set device.state in rataccess.toml to a folder on a disk",),
        )
    if (disk.end_of_life or 0) >= 2 or (disk.wear or 0) > LIFE_USED_MOST:
        yield Finding(
            "disk-worn",
            Level.WARNING,
            disk.device,
            f"the eMMC says: life used {disk.wear or 0} tenths, end-of-life state {disk.end_of_life or 1} of 3",
            "its writes will begin to fail",
            ("replace it; until then lengthen the period between samples",),
        )
    if "mmcblk" in disk.device and disk.options and not {"noatime", "relatime"} & set(disk.options):
        yield Finding(
            "disk-atime",
            Level.NOTE,
            disk.mount,
            f"{disk.mount} is mounted without noatime",
            "each read of a file costs a write, which wears the card",
            (f"sudo mount -o remount,noatime {disk.mount}  # and the same word in /etc/fstab",),
        )


def configuration(facts: Facts) -> Iterator[Finding]:
    """What the configuration names is not there."""
    found = facts.configured
    if found.source is None:
        text = "no rataccess.toml was found"
        meaning = "links, keys and the state folder cannot be examined"
        mend = ("rataccess doctor --config FILE", "rataccess provision SERIAL  # makes one")
        yield Finding("no-configuration", Level.NOTE, "rataccess.toml", text, meaning, mend)
    elif found.error:
        meaning = "the device does not start with it"
        yield Finding("configuration", Level.PROBLEM, found.source, found.error, meaning, (f"edit {found.source}",))
    names = {interface.name for interface in facts.interfaces} | {"lo"}
    for link in found.links:
        subject = f"links.{link.name}"
        edit = f"edit {subject}.options in {found.source}"
        if link.driver_error:
            meaning = "the device does not start with it, or the link stays down"
            yield Finding("link-driver", Level.PROBLEM, subject, link.driver_error, meaning, (f"edit {found.source}",))
        if link.port_error:
            meaning = "the link stays down and looks for the port once a minute"
            look = "lsusb" if link.port else "ls /dev/spidev* /dev/i2c-*"
            yield Finding("link-port", Level.PROBLEM, subject, link.port_error, meaning, (look, edit))
        first = next(each for each in found.links if each.place == link.place)
        if link.place and first is not link:
            text = f"links.{first.name} is on {link.place} as well"
            meaning = "a radio belongs to one link: the one that comes second finds it busy"
            yield Finding("link-port", Level.PROBLEM, subject, text, meaning, (edit,))
        if link.interface and link.interface not in names:
            text = f"there is no interface {link.interface}; there are {', '.join(sorted(names - {'lo'})) or 'none'}"
            yield Finding("link-interface", Level.PROBLEM, subject, text, "the link stays down", ("ip link", edit))


def keys(facts: Facts) -> Iterator[Finding]:
    """The key store is missing, or others may read it."""
    found = facts.configured
    open_ = [(path, mode) for path, mode in found.key_modes if mode & 0o077]
    for path, mode in open_:
        yield Finding(
            "key-mode",
            Level.PROBLEM,
            path,
            f"mode {mode:03o}: others may read or change it",
            "the key store refuses it: whoever has the root key can speak for the device",
            (f"chmod go= {path}",),
        )
    if found.key_error and not open_:
        mend = ("rataccess provision SERIAL  # or: sudo chown -R $USER FOLDER", f"ls -la {found.keys}")
        yield Finding("keys", Level.PROBLEM, found.keys or "", found.key_error, "the device does not start", mend)
    file = f"{found.keys}/secrets.toml"
    for link in found.links:
        if link.pin is False:
            yield Finding(
                "no-pin",
                Level.NOTE,
                f"links.{link.name}",
                "no PIN is kept for its SIM",
                "a SIM that asks for one keeps the link down; one that does not is fine",
                (f"printf '[{link.name}]\\npin = \"....\"\\n' >> {file} && chmod 600 {file}",),
            )
        if link.app_key_error is not None:
            yield _without_app_key(link, link.app_key_error, file)


def _without_app_key(link: LinkFact, error: str, file: str) -> Finding:
    if error:
        meaning, mend = "the link stays down", f"edit {file}"
        return Finding("no-app-key", Level.PROBLEM, f"links.{link.name}", error, meaning, (mend,))
    meaning = "a module joins with the key that it holds; one that holds none, or another network's, does not join"
    level = Level.PROBLEM if link.own_mac else Level.NOTE
    if link.own_mac:
        meaning = "the link stays down: the driver joins the LoRaWAN network with it"
    mend = f"printf '[{link.name}]\\nappkey = \"32 hexadecimal digits\"\\n' >> {file} && chmod 600 {file}"
    return Finding("no-app-key", level, f"links.{link.name}", "no LoRaWAN AppKey is kept for it", meaning, (mend,))


def packages(facts: Facts) -> Iterator[Finding]:
    """Something that the library needs is not installed."""
    for name, purpose in facts.missing_packages:
        extra = "rataccess[cli]" if "[cli]" in purpose else "rataccess"
        meaning = f"not available: {purpose}"
        mend = (f"pip install '{extra}'",)
        yield Finding("package", Level.WARNING, name, f"the Python package {name} is missing", meaning, mend)


def supply(facts: Facts) -> Iterator[Finding]:
    """The board's supply is too weak for a radio that transmits."""
    throttled = facts.throttled or 0
    now, since_start = throttled & 0x1, throttled & 0x10000  # Raspberry Pi documentation, get_throttled
    alarms = ", ".join(facts.voltage_alarms)
    if facts.voltage_alarms or now or since_start:
        when = "now" if facts.voltage_alarms or now else "since the machine started"
        yield Finding(
            "under-voltage",
            Level.WARNING,
            "supply",
            f"under-voltage {when}" + (f" ({alarms})" if alarms else f" (get_throttled {throttled:#x})"),
            "a modem draws up to 2 A while it transmits: it resets, or takes the board with it",
            ("vcgencmd get_throttled", "use a stronger supply and a shorter cable, or a powered USB hub for the modem"),
        )


CHECKS: dict[str, Callable[[Facts], Iterator[Finding]]] = {
    "port-permission": port_permission,
    "bind-permission": bind_permission,
    "wall-clock": wall_clock,
    "monotonic-clock": monotonic_clock,
    "disk-room": disk_room,
    "disk-kind": disk_kind,
    "configuration": configuration,
    "keys": keys,
    "packages": packages,
    "supply": supply,
}
