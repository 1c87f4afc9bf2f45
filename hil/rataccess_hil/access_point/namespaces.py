"""Network namespaces: a device's own network stack on this machine, by way of ip(8).

Rules of this file: what it makes it takes away; names are unique to the process, so that runs do not meet.  It blocks for
some milliseconds a command: it is for setting up and taking down.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

_numbers = itertools.count(1)
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21  # linux/capability.h


class NetworkNamespace:
    """A network namespace with its own loopback up.  Make it with `create`, or use it in a `with` block."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"rat{os.getpid()}-{next(_numbers)}"

    def __repr__(self) -> str:
        return f"<NetworkNamespace {self.name}>"

    def create(self) -> None:
        """Raises `OSError` with what ip(8) said."""
        ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def delete(self) -> None:
        """Idempotent.  Processes that still run in it keep it alive without its name."""
        ip("netns", "del", self.name, check=False)

    def __enter__(self) -> Self:
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()

    def ip(self, *arguments: str) -> str:
        """Run ip(8) on it; raises `OSError` with what it said."""
        return ip("-n", self.name, *arguments)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs `arguments` within it (with /sys of its own)."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command within it to its end."""
        return subprocess.run(self.command(arguments), text=True, **{"capture_output": True, "check": True, **options})

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command within it; ending it is the caller's."""
        return subprocess.Popen(self.command(arguments), **options)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's new sockets belong to the namespace meanwhile; sockets keep theirs for ever.  /sys stays."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)


def ip(*arguments: str, check: bool = True) -> str:
    """Run ip(8); raises `OSError` with what it said, unless not `check`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def why_not() -> str | None:
    """Why no namespace with a TUN device can be made here, or `None` where one can: the reason for a skip."""
    if shutil.which("ip") is None:
        return "ip(8) (iproute2) is not installed"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing or not accessible"
    effective = _effective_capabilities()
    if not (effective >> _CAP_NET_ADMIN & 1 and effective >> _CAP_SYS_ADMIN & 1):
        return "network namespaces need root, or CAP_NET_ADMIN and CAP_SYS_ADMIN (as in a user namespace)"
    if not os.access("/run", os.W_OK):
        return "/run is not writable (in a user namespace: mount a tmpfs over it)"
    return None


def _effective_capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _setns(descriptor: int) -> None:
    """setns(2); Python has it from 3.12 on."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
