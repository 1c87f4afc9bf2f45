"""What a service gets through: messages a second and CPU a message, by store and number of devices.

Rules of this file: devices are real contexts with their own keys in one generator process, which shares the machine with
service and database; so CPU a message says more than messages a second.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rataccess.objects import Service
from rataccess.services.keyfile import DeviceEntry, write_entries
from rataccess.services.provisioning import shortest_unused
from rataccess.services.store import open_store
from tests.bench import postgres, processes
from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.desk import Desk, Program
from tests.bench.fleet import free_port, serve

_WINDOW = 256
_CONFIG = """\
[solution]
host = "127.0.0.1"
port = {port}
store = "{store}"
keys = "keys.json"
sessions = 16384
"""


class Load(Bench):
    name = "load"
    title = "Services: messages a second and their cost"
    text = (
        "One solution service; 100, 1,000 and 10,000 devices with keys of their own send messages of one record "
        "in turn, 256 "
        "under way, each answered once it is committed (SQLite: WAL, synchronous=FULL; PostgreSQL: as it comes, "
        "fsync on). "
        "The generator, which opens every answer, and the database run on the same two cores. *cpu* is the "
        "service's, "
        "*database* what PostgreSQL's processes take besides. *first* is the first message of every device, "
        "when the service "
        "makes its session; once for each row. Sessions are kept for all (`sessions = 16384`)."
    )
    metrics = (
        Metric("rate", "messages/s", "more", wall=True),
        Metric("cpu", "us of service CPU/message"),
        Metric("database", "us of database CPU/message"),
        Metric("first", "messages/s at first contact", "more", wall=True),
        Metric("mb", "MB resident, service"),
    )
    ratio_of = "cpu"
    sizes = (100, 1_000, 10_000)
    messages = 3_000

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        with contextlib.ExitStack() as stack:
            try:
                server, reason = stack.enter_context(postgres.running(desk)), ""
            except Unavailable as error:
                server, reason = None, str(error)
            rows = []
            for size in self.sizes:
                rows.append(self._contender(desk, stack, f"SQLite, {size:,} devices", size, "service.sqlite", None))
                name = f"PostgreSQL, {size:,} devices"
                if server is None:
                    rows.append(Contender(f"rataccess, {name}", partial(_missing, reason)))
                else:
                    url = server.database(f"bench{size}")
                    rows.append(self._contender(desk, stack, name, size, url, server.main_process()))
            yield rows

    def _contender(
        self, desk: Desk, stack: contextlib.ExitStack, name: str, size: int, store: str, database: int | None
    ) -> Contender:
        row = _Row(desk, stack, size, store, database, self.messages)
        return Contender(f"rataccess, {name}", row.run)


class _Row:
    """One service and its swarm, started when it is first asked."""

    def __init__(
        self, desk: Desk, stack: contextlib.ExitStack, size: int, store: str, database: int | None, messages: int
    ) -> None:
        self._desk, self._stack, self._size, self._store = desk, stack, size, store
        self._database, self._messages = database, messages
        self._running: tuple[Program, Program] | None = None

    def run(self) -> Values:
        values: dict[str, float] = {}
        if self._running is None:
            self._running = self._start()
            values["first"] = self._size / self._send(self._size)
        service, _ = self._running
        before, database = processes.cpu_seconds(service.process.pid), self._database_cpu()
        seconds = self._send(self._messages)
        values["rate"] = self._messages / seconds
        values["cpu"] = (processes.cpu_seconds(service.process.pid) - before) / self._messages * 1e6
        if self._database is not None:
            values["database"] = (self._database_cpu() - database) / self._messages * 1e6
        values["mb"] = processes.resident_mb(service.process.pid)
        return values

    def _database_cpu(self) -> float:
        return processes.family_cpu_seconds(self._database) if self._database is not None else 0.0

    def _send(self, messages: int) -> float:
        assert self._running is not None
        self._running[1].tell(json.dumps({"messages": messages, "window": _WINDOW}))
        return float(self._running[1].hear()["seconds"])

    def _start(self) -> tuple[Program, Program]:
        folder, port = self._desk.room("load"), free_port()
        (folder / "services.toml").write_text(_CONFIG.format(port=port, store=self._store))
        enrol(folder, self._store if "://" in self._store else str(folder / self._store), self._size)
        service = self._stack.enter_context(serve(self._desk, Service.SOLUTION, folder))
        swarm = self._stack.enter_context(self._desk.client("swarm", "127.0.0.1", port, folder / "keys.json"))
        swarm.hear()
        return service, swarm


def enrol(folder: Path, store: str, count: int) -> None:
    """Key file and store as provisioning `count` devices one by one leaves them."""
    source, kids = random.Random(1), set[bytes]()
    entries = []
    for number in range(count):
        kid = shortest_unused(kids) if count <= 100 else number.to_bytes(2, "big")
        kids.add(kid)
        serial = f"LOAD-{number}"
        entries.append(DeviceEntry(serial_number=serial, kid=kid.hex(), secret=source.randbytes(16).hex()))
    write_entries(folder / "keys.json", entries)
    with open_store(store) as opened, opened.transaction():
        for entry in entries:
            opened.device(entry.serial_number, bytes.fromhex(entry.kid))


def _missing(reason: str) -> Values:
    raise Unavailable(reason)
