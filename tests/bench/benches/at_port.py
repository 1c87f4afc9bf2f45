"""AT clients against a modem that costs nothing: round trip, bulk lines, CPU at 115,200 baud.

Rules of this file: one modem program for all; each client alone on it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.desk import HERE, Desk, Program, tool


class AtPorts(Bench):
    name = "at"
    title = "AT port"
    text = (
        "A modem program in C on a pseudo terminal. *trip*: median of 2,000 `AT+CSQ`; *lines*: lines a second "
        "of replies of 5,000 lines, "
        "each held against the table of unsolicited codes; *share*: of one core while 16 bytes come every 1.389 "
        "ms, as a UART "
        "at 115,200 baud delivers them. On a real line of that speed the wire takes 3.5 ms a round trip."
    )
    metrics = (
        Metric("trip", "us/round trip", wall=True),
        Metric("trip_cpu", "us CPU/round trip"),
        Metric("lines", "lines/s", "more", wall=True),
        Metric("line_cpu", "us CPU/line"),
        Metric("share", "% of a core at 115,200 baud"),
    )

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        modem = compiled(desk)
        yield [
            Contender("rataccess", partial(self._run, desk, modem, ""), "AtPort with the Quectel table"),
            Contender(
                "python-gsmmodem-new", partial(self._run, desk, modem, "gsmmodem"), "SerialComms; 500 lines a reply"
            ),
            Contender("async-gsm-modem", partial(self._run, desk, modem, "async-gsm"), "ATModem; 500 lines a reply"),
            Contender("bare os.read", partial(self._run, desk, modem, "bare"), "blocking, split at CR LF, no meaning"),
        ]

    def _run(self, desk: Desk, modem: Path, kind: str) -> Values:
        with Program([str(modem)]) as running:
            path = running.hear()["path"]
            client = desk.peer("at_client", kind, path) if kind else desk.client("at_client", path)
            with client:
                return client.hear()


def compiled(desk: Desk) -> Path:
    """The modem program; raises `Unavailable`."""
    source, binary = HERE / "modem.c", desk.build / "bench-modem"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        command = [tool("gcc", "gcc"), "-O2", "-o", str(binary), str(source), "-lutil"]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            raise Unavailable(f"the modem does not compile: {done.stderr.decode()[-300:]}")
    return binary
