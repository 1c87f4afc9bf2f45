"""Real processes: both services, one device's application, their folder, and what can be known of them from outside.

Rules of this file: every process that is started here is ended here; waiting is for a condition, with a deadline that only
a failure ever reaches.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from rataccess.objects import Service, decode
from rataccess.services import admin

ROOT = Path(__file__).resolve().parents[2]
WRITER = Path(__file__).with_name("writer.py")
PATIENCE = 60.0
"""Seconds after which a condition counts as never met: the machine may be very busy."""

SERVICES = """\
[management]
host = "127.0.0.1"
port = {management}
store = "management.sqlite"
keys = "management-devices.json"

[solution]
host = "127.0.0.1"
port = {solution}
store = "solution.sqlite"
keys = "solution-devices.json"
"""
LINK = """\
[links.lo]
driver = "interface"
transport = "udp"
options = { interface = "lo" }
"""
DEVICE = """\
[device]
serial_number = "P-1"
state = "{state}"
[management]
host = "127.0.0.1"
port = {management}
[solution]
host = "127.0.0.1"
port = {solution}
{link}
"""


def free_port() -> int:
    """A UDP port of 127.0.0.1 that nobody has, below those that the kernel gives out by itself."""
    for port in random.sample(range(15_000, 20_000), 100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition` is true, and return what it returned."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)
    return found


class Fleet:
    """A folder with `services.toml`, a provisioned device, and the processes; use it in a `with` block."""

    def __init__(self, folder: Path, *, namespace: str | None = None) -> None:
        self.folder = folder
        self.namespace = namespace
        self.ports = {service: free_port() for service in Service}
        self.state = folder / "P-1"
        self.journal = folder / "journal.ndjson"
        self.config = self.state / "rataccess.toml"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.variables: dict[str, str] = {}
        """What the processes' environment has besides."""
        ports = {str(service): port for service, port in self.ports.items()}
        (folder / "services.toml").write_text(SERVICES.format(**ports))
        self.provisioned = self.command("provision", "P-1", "--folder", str(self.state))
        self.configure(LINK, self.ports)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def configure(self, link: str, ports: dict[Service, int]) -> None:
        """Write the device's configuration."""
        numbers = {str(service): port for service, port in ports.items()}
        self.config.write_text(DEVICE.format(state=self.state, link=link, **numbers))

    # --- processes -----------------------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> str:
        """Run a `rataccess` command to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "rataccess", *arguments],
            cwd=self.folder,
            env=environment() | self.variables,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*inside, sys.executable, *arguments],
                cwd=self.folder,
                env=environment() | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        return process

    def serve(self, service: Service, name: str | None = None) -> None:
        """Start a service as the process `name` (that of the service unless given); returns once it listens."""
        name = name or str(service)
        log = self.folder / f"{name}.log"
        before = log.read_bytes().count(b"listens on") if log.exists() else 0
        process = self.start(name, ["-m", "rataccess", "serve", str(service), "--log-level", "debug"])
        until(
            lambda: log.read_bytes().count(b"listens on") > before or process.poll() is not None, "the service listens"
        )
        assert process.poll() is None, log.read_text()

    def write(self, period: float) -> subprocess.Popen[bytes]:
        """Start the application."""
        return self.start("writer", [str(WRITER), str(self.config), str(self.journal), str(period)])

    def end(self, name: str, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(PATIENCE)

    # --- what is known -------------------------------------------------------------------------------------------------

    def notes(self) -> list[dict[str, Any]]:
        """The journal; a line that a kill has cut is left out."""
        found = []
        for line in self.journal.read_text().split("\n") if self.journal.exists() else []:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def accepted(self) -> int:
        return sum("accepted" in note for note in self.notes())

    def stored(self, service: Service) -> list[admin.ReceivedRecord]:
        """Every record of the application that the service has."""
        path = self.folder / f"{service}.sqlite"
        found: list[admin.ReceivedRecord] = []
        while page := admin.records(path, after=found[-1].id if found else 0):
            found += page
        return found

    def account(self) -> list[str]:
        """What is wrong: each accepted record is to be stored once, under its number and unaltered, at its service."""
        notes = self.notes()
        meant = {note["meant"]: note for note in notes if "meant" in note}
        numbers = {note["accepted"]: note["number"] for note in notes if "accepted" in note}
        faults, seen = [], set()
        for service in Service:
            for record in self.stored(service):
                body: Any = decode(record.body)
                name = body["name"]
                if name in seen:
                    faults.append(f"{name} is stored twice")
                seen.add(name)
                if meant[name]["body"] != body or meant[name]["service"] != service:
                    faults.append(f"{name} differs, or is at the wrong service")
                if name in numbers and numbers[name] != record.number:
                    faults.append(f"{name} has number {record.number}, was told {numbers[name]}")
        return faults + [f"{name} is lost" for name in numbers.keys() - seen]

    def status(self) -> dict[str, Any] | None:
        """What the device says of itself; `None` while it does not run."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError, ValueError):
            client.settimeout(5)
            client.connect(str(self.state / "control.sock"))
            client.shutdown(socket.SHUT_WR)
            found: dict[str, Any] = json.loads(b"".join(iter(lambda: client.recv(65_536), b"")))
            return found
        return None


def environment() -> dict[str, str]:
    """The environment of every process here: nothing but what they need."""
    paths = [str(ROOT), *(str(ROOT / folder) for folder in ("drivers", "transports", "hil"))]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths)}


def sockets_of(process: int) -> Iterator[tuple[str, list[str]]]:
    """Every socket of a process: the table of /proc/PID/net (proc(5)) that lists it, and its row there."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    names = "tcp tcp6 udp udp6 udplite udplite6 raw raw6 icmp icmp6 packet netlink unix"
    for table in names.split():
        path = Path(f"/proc/{process}/net/{table}")
        for row in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = row.split()
            for inode in inodes & set(fields):
                yield table, fields
                inodes.discard(inode)
    for inode in inodes:
        yield "unknown", [inode]
