"""Two network namespaces, a device's and a server's, joined by emulated links: `wifi`, and `cell` standing by.

Rules of this file: nothing here can leave the machine: the namespaces have no other interface.  Needs root; everything
that is made is taken down, also after a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.bench import Unavailable
from tests.bench.desk import HERE, Desk, Program, tool

SERVER = "10.9.0.1"
"""The server's address, on a loopback of its namespace: reached over either link."""
MTU = 1400
"""Bytes of an IP packet; what many cellular networks leave of 1500."""
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet as the emulator saw it, IP headers included."""

    at: float
    """Wall seconds."""
    link: str
    up: bool
    size: int
    carried: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Packets and their bytes."""

    up: int
    down: int
    packets: int

    @property
    def bytes(self) -> int:
        return self.up + self.down


def why_not() -> str | None:
    """Why there can be no lab here; `None` where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "this kernel has no TUN interfaces"
    for program in ("gcc", "ip"):
        if shutil.which(program) is None and shutil.which(program, path="/usr/sbin:/sbin") is None:
            return f"{program} is not installed"
    return None


def emulator(desk: Desk) -> Path:
    """The emulator, compiled where it is not; raises `Unavailable`."""
    if (reason := why_not()) is not None:
        raise Unavailable(reason)
    source, binary = HERE / "emulator.c", desk.build / "bench-emulator"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        done = subprocess.run([tool("gcc", "gcc"), "-O2", "-o", str(binary), str(source)], capture_output=True)
        if done.returncode:
            raise Unavailable(f"the emulator does not compile: {done.stderr.decode()[-300:]}")
    return binary


class Lab:
    """Two namespaces and their links; use it in a `with` block."""

    def __init__(self, desk: Desk, *, delay: float = 30.0, links: Mapping[str, float] | None = None) -> None:
        """`delay`: one way, milliseconds, of `wifi` and `cell`; `links` gives other names and delays."""
        self.links = dict(links or {"wifi": delay, "cell": delay})
        self.folder = desk.room("lab")
        number = f"{os.getpid()}-{next(_serial)}"
        self.device, self.server = f"bd{number}", f"bs{number}"
        self._binary = emulator(desk)
        self._trace = self.folder / "trace"
        self._emulator: subprocess.Popen[bytes] | None = None
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_up(self) -> None:
        for name in (self.device, self.server):
            _ip("netns", "add", name)
            _sysctl(name, "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            _ip("-n", name, "link", "set", "lo", "up")
        theirs = self.folder / "control"
        arguments = [str(self._binary), self.device, self.server, str(theirs), str(self._trace)]
        arguments += [f"{name}:{delay}" for name, delay in self.links.items()]
        self._emulator = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert self._emulator.stdout is not None
        if self._emulator.stdout.readline() != b"ready\n":
            raise Unavailable("the emulator did not start; are network namespaces and TUN allowed here?")
        self._control.bind(str(self.folder / "ours"))
        self._control.connect(str(theirs))
        self._control.settimeout(10)
        for number, name in enumerate(self.links, 1):
            self._join(number, name)
        _ip("-n", self.server, "address", "add", f"{SERVER}/32", "dev", "lo")
        for name in (self.device, self.server):
            _sysctl(name, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.tcp_no_metrics_save=1")
        # as an operator does (BCP 38): a source address of one link is refused on the other
        _sysctl(self.server, *(f"net.ipv4.conf.{each}.rp_filter=1" for each in ("all", *self.links)))

    def _join(self, number: int, name: str) -> None:
        here, there = f"10.{number}.0.1", f"10.{number}.0.2"
        _ip("-n", self.device, "address", "add", here, "peer", there, "dev", name)
        _ip("-n", self.server, "address", "add", there, "peer", here, "dev", name)
        for namespace in (self.device, self.server):
            _ip("-n", namespace, "link", "set", name, "mtu", str(MTU), "up")
        route = ("default", "via", there, "dev", name, "onlink")
        _ip("-n", self.device, "route", "add", *route, "metric", str(100 * number), "src", here)
        _ip("-n", self.device, "route", "add", *route, "table", str(number))
        _ip("-n", self.device, "rule", "add", "from", here, "table", str(number))

    def close(self) -> None:
        """Idempotent."""
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
            assert self._emulator.stdout is not None
            self._emulator.stdout.close()
        self._control.close()
        for name in (self.device, self.server):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    # --- deeds -------------------------------------------------------------------------------------------------------

    def order(self, *words: object) -> None:
        """Tell the emulator, as `emulator.c` says; it is done when this returns."""
        self._control.send(" ".join(map(str, words)).encode())
        answer = self._control.recv(64)
        if answer != b"ok":
            raise ValueError(f"the emulator does not understand {words}: {answer!r}")

    def move_route(self) -> None:
        """Take the default route of `wifi` away at once: a gift to peers that do not watch their links themselves."""
        _ip("-n", self.device, "route", "delete", "default", "via", "10.1.0.2", "dev", "wifi")

    def packets(self) -> Iterator[Seen]:
        """Every packet so far."""
        self.order("flush", "-", 0)
        with self._trace.open() as file:
            for line in file:
                at, link, source, size, fate = line.split()
                yield Seen(float(at), link, source == "0", int(size), fate == "c")

    def count(self, since: float = 0.0, until: float = float("inf"), link: str | None = None) -> Count:
        """What was sent between two moments (wall seconds), over one link or over all, also what was then lost."""
        up = down = packets = 0
        for each in self.packets():
            if since <= each.at <= until and link in (None, each.link):
                packets += 1
                up += each.size if each.up else 0
                down += 0 if each.up else each.size
        return Count(up, down, packets)

    @contextmanager
    def programs(self, *programs: Program) -> Iterator[None]:
        """End all of these, whatever happens."""
        try:
            yield
        finally:
            for each in programs:
                each.close()


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _sysctl(namespace: str, *settings: str) -> None:
    _run("ip", "netns", "exec", namespace, "sysctl", "-qw", *settings)


def _run(*command: Any) -> None:
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.decode().strip()}")
