"""The application of the demo: samples this machine and enqueues each sample.  `python -m ... CONFIG JOURNAL PERIOD`.

Rules of this file: it uses the library as any application would, and knows no radio.  The journal gets a line before each
enqueue and one after, so that whoever reads it knows what was meant, and what was accepted, whenever the process dies.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from rataccess import Device, Urgency
from rataccess.clock import SystemClock
from rataccess.errors import DeadlineExceeded

FLUSH = 30.0
"""Seconds that the last records have once the application is told to end."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def sample() -> dict[str, object]:
    """Load, memory, temperature where there is one, network counters: proc(5), and thermal zones of sysfs."""
    memory = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    found: dict[str, object] = {"load": [float(each) for each in _read("/proc/loadavg").split()[:3]]}
    if "MemAvailable" in memory:
        found["memory_kb"] = int(memory["MemAvailable"].split()[0])
    temperature = _read("/sys/class/thermal/thermal_zone0/temp").strip()
    if temperature.lstrip("-").isdigit():
        found["temperature"] = int(temperature) / 1000
    rows = [line.split() for line in _read("/proc/net/dev").splitlines() if ":" in line]
    found["network"] = {row[0].rstrip(":"): [int(row[1]), int(row[9])] for row in rows if len(row) > 9}
    return found


def main(arguments: list[str]) -> None:
    """Sample until SIGTERM, then deliver what is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    configuration, journal_path, period = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demo ends it
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    if os.fstat(journal).st_size:
        os.write(journal, b"\n")  # the run before may have been killed in the middle of a line

    def note(**entry: object) -> None:
        os.write(journal, json.dumps(entry).encode() + b"\n")

    with Device.open(configuration) as device:
        for count in itertools.count():
            name = f"{os.getpid()}-{count}"
            body = {"sample": name, **sample()}
            note(meant=name, body=body)
            urgency = Urgency.ALARM if count % 20 == 19 else Urgency.ROUTINE
            receipt = device.solution.enqueue(body, queue="readings", urgency=urgency)
            note(accepted=name, record=receipt.number)
            if ended.wait(period):
                break
        clock = SystemClock()
        started = clock.monotonic()
        with contextlib.suppress(DeadlineExceeded):  # the demo will see what is missing
            device.flush(FLUSH)
        note(flushed=round(clock.monotonic() - started, 3))
    os.close(journal)


if __name__ == "__main__":
    main(sys.argv[1:])
