"""What importing costs: instructions, time, memory.

Rules of this file: a fresh process for each figure; instruction counts need valgrind and one run, for they do not vary.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.desk import Desk, Failed, base_environment, own_environment, tool

_PROGRAM = """\
import sys, os, json
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
import time
before, began = resident(), time.perf_counter()
{imports}
print(json.dumps({{"ms": (time.perf_counter() - began) * 1e3, "mb": resident() - before, "modules": len(sys.modules)}}))
"""
_COLLECTED = re.compile(r"Collected : (\d+)")


class Imports(Bench):
    name = "import"
    title = "Import"
    text = (
        "A fresh process each; page cache warm. Instructions are counted by valgrind (callgrind), those of the bare "
        "interpreter taken off: they do not vary, so one run. `rataccess, device` is all that a device with an "
        "IP link needs "
        "before it opens anything."
    )
    metrics = (
        Metric("instructions", "million"),
        Metric("ms", "ms", wall=True),
        Metric("mb", "MB resident"),
        Metric("modules", "modules"),
    )
    ratio_of = "instructions"
    runs = 9

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        own, peer = desk.own_python, desk.peer_python
        device = "import rataccess.device"
        links = "import rataccess_drivers.ip.interface, rataccess_drivers.cellular.quectel"
        links += ", rataccess_transports.udp, rataccess_transports.at_socket"
        rows = [
            ("rataccess", own, "import rataccess", "`import rataccess`"),
            ("rataccess, device", own, device, "`from rataccess import Device`"),
            ("rataccess, device with Wi-Fi and cellular", own, f"{device}\n{links}", "and all drivers and transports"),
            ("aiocoap OSCORE", peer, "import aiocoap, aiocoap.oscore", ""),
            ("aiocoap", peer, "import aiocoap", "without OSCORE"),
            ("paho-mqtt", peer, "import paho.mqtt.client", "without TLS, which it imports when asked"),
            ("aioquic", peer, "import aioquic.asyncio", ""),
            ("pyroute2", peer, "from pyroute2 import IPRoute", ""),
        ]
        few = rows[: 4 if desk.quick else None]  # valgrind takes fifty times as long as the import
        counted = self._count([(python, imports) for _, python, imports, _ in few], (own, peer))
        yield [
            Contender(name, partial(self._run, counted.pop((python, imports), None), python, imports), note)
            for name, python, imports, note in rows
        ]

    def _run(self, instructions: float | None, python: str, imports: str) -> Values:
        done = _python([python], _PROGRAM.format(imports=imports))
        values: dict[str, float] = json.loads(done.stdout)
        if instructions is not None:
            values["instructions"] = instructions  # counted once: it does not vary
        return values

    def _count(self, what: list[tuple[str, str]], pythons: Sequence[str]) -> dict[tuple[str, str], float]:
        """Millions of instructions beyond the bare interpreter's; all at once, as they do not depend on who else runs."""
        every = [*what, *((python, "pass") for python in set(pythons))]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            found = dict(zip(every, pool.map(lambda each: self._instructions(*each), every), strict=True))
        return {
            each: count - bare
            for each in what
            if (count := found[each]) is not None and (bare := found[each[0], "pass"]) is not None
        }

    def _instructions(self, python: str, imports: str) -> float | None:
        """Millions; `None` without valgrind."""
        try:
            valgrind = tool("valgrind", "valgrind")
        except Unavailable:
            return None
        done = _python([valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", python], imports)
        found = _COLLECTED.search(done.stderr)
        return int(found.group(1)) / 1e6 if found else None


def _python(command: Sequence[str], program: str) -> subprocess.CompletedProcess[str]:
    environment = {**base_environment(), **own_environment(), "PYTHONHASHSEED": "0"}
    done = subprocess.run([*command, "-c", program], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{program}: {done.stderr[-400:]}")
    return done
