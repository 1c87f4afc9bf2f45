"""A machine made of files: a Raspberry Pi with a BG95 on USB, as its /sys, /proc, /dev, /etc and /run look.

The layouts are those of real machines; USB attributes and interface numbers are a BG95-M3's (2c7c:0700).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rataccess.cli.doctor import Machine

DIALOUT = 20
WALL = 1_767_225_600.0
SOUND = {"f_bavail": 1 << 20, "f_frsize": 4096, "f_favail": 100_000, "f_files": 200_000, "f_flag": 0}


class Tree:
    """Files below `root`; `machine` looks at them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modes: dict[str, tuple[int, int, int]] = {}
        """Of device files: mode, owner, group."""
        self.figures = dict(SOUND)
        self.machine = Machine(
            root=root,
            environ={},
            own_process=1,
            wall=lambda: WALL,
            monotonic=lambda: 1000.0,
            synchronised=lambda: True,
            addresses=lambda: {2: ("192.0.2.7",), 3: ("192.0.2.8",)},
            stat=self._stat,
            statvfs=lambda path: SimpleNamespace(**self.figures),  # type: ignore[arg-type,return-value]
            sync=lambda folder: (None, 0.004),
            has_package=lambda name: True,
            release="6.6.31-rpi",
        )

    def but(self, **changes: Any) -> Machine:
        """The machine with other functions."""
        return replace(self.machine, **changes)

    def _stat(self, path: Path) -> os.stat_result:
        mode, owner, group = self.modes.get(path.name, (0o660, 0, DIALOUT))
        path.stat()  # it has to be there
        return os.stat_result((0o020000 | mode, 0, 0, 1, owner, group, 0, 0, 0, 0))

    def write(self, path: str, content: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def process(self, number: int, name: str, *opened: str, command: str = "") -> None:
        """A running process that has `opened` these device files."""
        self.write(f"proc/{number}/comm", name[:15] + "\n")
        self.write(f"proc/{number}/cmdline", command or name)
        (self.root / f"proc/{number}/fd").mkdir()
        for index, path in enumerate(opened):
            (self.root / f"proc/{number}/fd/{index + 3}").symlink_to(self.root / path.lstrip("/"))

    def usb(self, place: str, vendor: str, model: str, drivers: dict[int, str | None], **words: str) -> None:
        """A USB device; `drivers` by interface number (`None` for none); each with `option` has a ttyUSB."""
        base = f"sys/bus/usb/devices/{place}"
        self.write(f"{base}/idVendor", vendor + "\n")
        self.write(f"{base}/idProduct", model + "\n")
        self.write(f"{base}/bDeviceClass", "00\n")
        self.write(f"{base}/power/control", words.pop("power", "on") + "\n")
        for name, word in words.items():
            self.write(f"{base}/{name}", word + "\n")
        for number, driver in drivers.items():
            folder = f"{base}/{place}:1.{number}"
            self.write(f"{folder}/bInterfaceNumber", f"{number:02x}\n")
            self.write(f"{folder}/bInterfaceClass", "ff\n")
            if driver:
                (self.root / f"{folder}/driver").symlink_to(f"/sys/bus/usb/drivers/{driver}")
                existing = len(list((self.root / "dev").glob("ttyUSB*")))
                (self.root / f"{folder}/ttyUSB{existing}").mkdir()
                self.write(f"dev/ttyUSB{existing}")

    def interface(self, name: str, index: int, *, flags: str = "0x1003", carrier: str = "1") -> None:
        base = f"sys/class/net/{name}"
        self.write(f"{base}/ifindex", f"{index}\n")
        self.write(f"{base}/flags", flags + "\n")
        self.write(f"{base}/carrier", carrier + "\n")


def sound(root: Path) -> Tree:
    """A machine on which nothing is wrong."""
    tree = Tree(root)
    tree.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    tree.write(
        "proc/self/status",
        "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\nGroups:\t20 27 1000\nCapEff:\t0\n",
    )
    tree.write("proc/uptime", "1000.30 3000.00\n")
    tree.write("proc/self/mounts", "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\nproc /proc proc rw 0 0\n")
    tree.write("proc/cmdline", "console=tty1 root=/dev/mmcblk0p2 rootwait\n")
    tree.write("boot/firmware/cmdline.txt", "console=tty1 root=/dev/mmcblk0p2 rootwait\n")
    tree.write("etc/group", "root:x:0:\ndialout:x:20:me\nme:x:1000:\n")
    tree.process(1, "systemd")
    tree.process(301, "systemd-timesyncd")
    tree.process(350, "NetworkManager")
    tree.process(351, "systemd-networkd")
    (tree.root / "dev").mkdir()
    words = {"manufacturer": "Quectel, Incorporated", "product": "BG95-M3", "serial": "0123456789ABCDEF"}
    tree.usb("1-1.2", "2c7c", "0700", {0: "option", 1: "option", 2: "option"}, **words)
    for name in ("spidev0.0", "i2c-1", "gpiochip0"):
        tree.write(f"dev/{name}")
    tree.interface("lo", 1, flags="0x9")
    tree.interface("eth0", 2)
    tree.interface("wlan0", 3)
    for index in (2, 3):
        tree.write(f"run/NetworkManager/devices/{index}", "[device]\nmanaged=true\nroute-metric-default-eff=100\n")
        tree.write(f"run/systemd/netif/links/{index}", "ADMIN_STATE=unmanaged\nOPER_STATE=routable\n")
    tree.write("sys/class/rtc/rtc0/name", "rtc-ds1307 1-0068\n")
    tree.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n")
    for name in ("option", "spidev"):
        (tree.root / f"sys/module/{name}").mkdir(parents=True)
    tree.write("lib/modules/6.6.31-rpi/modules.dep", "kernel/drivers/usb/serial/option.ko.xz: kernel/x.ko.xz\n")
    tree.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    return tree
