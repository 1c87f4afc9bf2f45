"""Durable enqueue: one producer, and 32 that wait each for its own record.

Rules of this file: syncs are counted by strace in a run of its own, for it slows what it watches.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rataccess.cli.provision import provision_device
from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.desk import Desk, Program, own_environment, tool
from tests.bench.fleet import SERVICES

METRICS = (
    Metric("rate", "records/s", "more", wall=True),
    Metric("cpu", "us CPU/record"),
    Metric("syncs", "syncs/record"),
    Metric("written", "B written/record"),
)
_TABLE = re.compile(
    r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:fsync|fdatasync|sync_file_range)$", re.MULTILINE
)
_NO_LINK = """\
[device]
serial_number = "BENCH-1"
state = "{state}"
[management]
host = "127.0.0.1"
port = 9
[solution]
host = "127.0.0.1"
port = 9
[links.none]
driver = "interface"
transport = "udp"
options = {{ interface = "nosuch0" }}
"""


class Enqueue(Bench):
    """The same for any number of producers."""

    metrics = METRICS
    ratio_of = "rate"
    producers = 1
    total = 2000
    text = (
        "Every put is on disk when it returns, where the contender's settings promise that; `syncs/record` "
        "tells whether they "
        "do: well below one with one producer is not power-safe. A file system on a virtual disk; on an SD card "
        "syncs "
        "and bytes decide. `Device.enqueue` is the public call with encoding, checks and receipt; `store` is "
        "the outbox alone."
    )

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        self._counted: dict[str, float] = {}
        rows = [
            ("rataccess, Device.enqueue", "own", "device", "group commit, WAL, synchronous=FULL"),
            ("rataccess, store", "own", "store", "the outbox alone"),
            ("persist-queue", "peer", "persist-queue", "SQLiteAckQueue, auto_commit"),
            ("litequeue", "peer", "litequeue", "its defaults, which are not power-safe"),
            ("bare SQLite", "peer", "sqlite", "one insert and commit each, WAL, synchronous=FULL"),
            ("bare file", "peer", "file", "append and fdatasync"),
        ]
        yield [Contender(name, partial(self._run, desk, whose, kind), note) for name, whose, kind, note in rows]

    def _run(self, desk: Desk, whose: str, kind: str) -> Values:
        if kind not in self._counted:
            with contextlib.suppress(Unavailable):
                self._counted[kind] = self._syncs(desk, whose, kind)
        total = self.total
        with self._program(desk, whose, kind, desk.room(kind), total) as program:
            values: dict[str, float] = program.hear()
        values.pop("count")
        if kind in self._counted:
            values["syncs"] = self._counted[kind]
        return values

    def _syncs(self, desk: Desk, whose: str, kind: str) -> float:
        strace = tool("strace", "strace")
        folder = desk.room(kind)
        out = folder / "strace.txt"
        wrapper = [strace, "-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", str(out)]
        with self._program(desk, whose, kind, folder, self.total // 4, wrapper) as program:
            count = float(program.hear()["count"])
            program.process.wait(60)
        return sum(map(int, _TABLE.findall(out.read_text()))) / count

    def _program(
        self, desk: Desk, whose: str, kind: str, folder: Path, total: int, wrapper: Sequence[str] = ()
    ) -> Program:
        if kind == "device":
            prepare(folder)
        if whose == "own":
            program = [desk.own_python, str(Path(__file__).absolute().parents[1] / "clients" / "producer.py")]
        else:
            program = [desk.peer_python, str(Path(__file__).absolute().parents[1] / "peers" / "producer.py")]
        arguments = [kind, str(folder), str(self.producers), str(total)]
        return Program([*wrapper, *program, *arguments], environment=own_environment())


def prepare(folder: Path) -> None:
    """A provisioned device without a usable link."""
    (folder / "services.toml").write_text(SERVICES.format(host="127.0.0.1", management=9, solution=10))
    provision_device("BENCH-1", folder / "state", folder / "services.toml")
    for each in (folder / "state").iterdir():
        shutil.move(each, folder / each.name)
    folder.chmod(0o700)
    (folder / "rataccess.toml").write_text(_NO_LINK.format(state=folder))


class EnqueueOne(Enqueue):
    name = "enqueue-one"
    title = "Durable enqueue, one producer"


class EnqueueMany(Enqueue):
    name = "enqueue-32"
    title = "Durable enqueue, 32 producers"
    producers = 32
    total = 6400
