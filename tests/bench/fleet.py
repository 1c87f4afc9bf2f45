"""Ours for the benches: both services as processes, and a provisioned device's configuration.

Rules of this file: real programs with their ordinary settings; what is unusual is an argument.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rataccess.cli.provision import provision_device
from rataccess.objects import Service, decode
from rataccess.services import admin
from tests.bench.desk import PATIENCE, Desk, Failed, Program, own_environment

SERVICES = """\
[management]
host = "{host}"
port = {management}
store = "management.sqlite"
keys = "management-devices.json"

[solution]
host = "{host}"
port = {solution}
store = "solution.sqlite"
keys = "solution-devices.json"
"""
DEVICE = """\
[device]
serial_number = "BENCH-1"
state = "{state}"
[management]
host = "{host}"
port = {management}
[solution]
host = "{host}"
port = {solution}
{links}
"""
LOOPBACK = """
[links.lo]
driver = "interface"
transport = "udp"
options = { interface = "lo" }
"""
WIFI_ONLY = """
[links.wifi]
driver = "interface"
transport = "udp"
order = 1
options = { interface = "wifi" }
"""
WIFI_AND_CELL = (
    WIFI_ONLY
    + """
[links.cell]
driver = "interface"
transport = "udp"
order = 2
options = { interface = "cell" }
"""
)


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    """A port of 127.0.0.1 that nobody has, below those that the kernel gives out by itself."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed("no port is free")


class Fleet:
    """Services that run, and a device that can be started with `config`."""

    def __init__(
        self, desk: Desk, *, host: str = "127.0.0.1", inside: str | None = None, links: str = LOOPBACK
    ) -> None:
        """`inside`: the namespace of the services."""
        self.folder = desk.room("fleet")
        self.state = self.folder / "device"
        self.config = self.state / "rataccess.toml"
        self.ports: Mapping[Service, int] = {service: free_port() for service in Service}
        ports = {str(service): port for service, port in self.ports.items()}
        self._listen = "0.0.0.0" if inside else host
        (self.folder / "services.toml").write_text(SERVICES.format(host=self._listen, **ports))
        provision_device("BENCH-1", self.state, self.folder / "services.toml")
        self.config.write_text(DEVICE.format(state=self.state, host=host, links=links, **ports))
        self._desk, self._inside = desk, inside

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Both services, listening."""
        with contextlib.ExitStack() as stack:
            for service in Service:
                stack.enter_context(serve(self._desk, service, self.folder, self._inside))
            yield

    def arrivals(self) -> list[tuple[dict[str, float], float]]:
        """Bodies and arrival times (wall seconds) of the solution records, in order of arrival."""
        found: list[tuple[dict[str, float], float]] = []
        for record in self.records():
            body = decode(record.body)
            if isinstance(body, dict):
                found.append((body, record.received_at))
        return found

    def records(self) -> list[admin.ReceivedRecord]:
        """Every solution record that the service has."""
        path = self.folder / "solution.sqlite"
        found: list[admin.ReceivedRecord] = []
        while page := admin.records(path, after=found[-1].id if found else 0, limit=10_000):
            found += page
        return found


@contextmanager
def serve(desk: Desk, service: Service, folder: Path, inside: str | None = None) -> Iterator[Program]:
    """One service with `services.toml` of `folder`, listening; `inside`: its network namespace."""
    command = [desk.own_python, "-m", "rataccess", "serve", str(service), "--log-level", "warning"]
    command += ["-c", str(folder / "services.toml")]
    log = folder / f"{service}.log"
    port = int(tomllib.loads((folder / "services.toml").read_text())[str(service)]["port"])
    with Program(command, inside=inside, folder=folder, log=log, environment=own_environment()) as program:
        listening(program, port, "udp", inside)
        yield program


def listening(program: Program, port: int, table: str = "tcp", inside: str | None = None) -> None:
    """Wait until somebody has the port, by the kernel's table of the right namespace.  Raises `Failed`."""
    wanted, state = f":{port:04X} ", " 0A " if table == "tcp" else " 07 "
    command = [*(["ip", "netns", "exec", inside] if inside else []), "cat", f"/proc/net/{table}", f"/proc/net/{table}6"]
    end = time.monotonic() + PATIENCE
    while program.process.poll() is None and time.monotonic() < end:
        found = subprocess.run(command, capture_output=True, text=True).stdout
        if any(wanted in line and state in line for line in found.splitlines()):
            return
        time.sleep(0.02)
    raise Failed(f"{program} does not listen at port {port}: {program.said()}")
