"""The application of the demo: samples this machine and enqueues each sample.  `python -m ... CONFIG JOURNAL PERIOD`.

On SIGUSR1 it enqueues a picture of 2,000 bytes as well, which only fits small packets in parts.

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

from rataccess import Device, Integer, Scaled, Template, Text, Urgency
from rataccess.clock import SystemClock
from rataccess.errors import DeadlineExceeded

FLUSH = 30.0
"""Seconds that the last records have once the application is told to end."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


READINGS = Template(
    "readings",
    id=1,
    sample=Text(24),
    load=Scaled(0, 1000, 0.01),
    processes=Integer(0, 2**22),
    memory_kb=Integer(0, 2**40, optional=True),
    temperature=Scaled(-40, 150, 0.001, optional=True),
    received=Integer(0, 2**48, optional=True),
    sent=Integer(0, 2**48, optional=True),
)
"""What a sample holds: ten of them and more fit one packet of LoRaWAN."""
PICTURE_BYTES = 2000


def sample() -> dict[str, object]:
    """Load, processes, memory, temperature where there is one, bytes of the network: proc(5), and thermal zones of sysfs."""
    memory = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    load = (_read("/proc/loadavg") or "0 0 0 0/0").split()
    found: dict[str, object] = {"load": min(1000.0, float(load[0])), "processes": int(load[3].partition("/")[2])}
    if "MemAvailable" in memory:
        found["memory_kb"] = int(memory["MemAvailable"].split()[0])
    temperature = _read("/sys/class/thermal/thermal_zone0/temp").strip()
    if temperature.lstrip("-").isdigit() and -40_000 <= int(temperature) <= 150_000:
        found["temperature"] = int(temperature) / 1000
    rows = [line.split() for line in _read("/proc/net/dev").splitlines() if ":" in line]
    counts = [(int(row[1]), int(row[9])) for row in rows if len(row) > 9]
    if counts:
        found["received"], found["sent"] = (sum(column) for column in zip(*counts, strict=True))
    return found


def main(arguments: list[str]) -> None:
    """Sample until SIGTERM, then deliver what is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    configuration, journal_path, period = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    ended = threading.Event()
    pictures = threading.Semaphore(0)
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGUSR1, lambda *_: pictures.release())
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
            receipt = device.solution.enqueue(body, queue="readings", urgency=urgency, template=READINGS)
            note(accepted=name, record=receipt.number)
            if pictures.acquire(blocking=False):
                picture = {"sample": f"{name}-picture", "picture": os.urandom(PICTURE_BYTES).hex()[:PICTURE_BYTES]}
                note(meant=picture["sample"], body=picture)
                receipt = device.solution.enqueue(picture, queue="pictures", urgency=Urgency.PROMPT)
                note(accepted=picture["sample"], record=receipt.number)
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
