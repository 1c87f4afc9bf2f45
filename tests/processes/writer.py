"""An application as a process of its own: `python writer.py CONFIG JOURNAL PERIOD`; SIGTERM ends it, delivered.

Rules of this file: it uses the library as any application would.  A line of the journal is written before each enqueue and
one after, so that a reader knows what was meant and what was accepted whenever the process dies.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path

from rataccess import Device, Service, Urgency


def main(configuration: Path, journal_path: Path, period: float) -> None:
    logging.basicConfig(level=logging.DEBUG)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    source = random.Random(os.getpid())

    def note(**entry: object) -> None:
        os.write(journal, json.dumps(entry).encode() + b"\n")

    os.write(journal, b"\n")
    with Device.open(configuration) as device:
        for count in itertools.count():
            service = Service.SOLUTION if count % 4 else Service.MANAGEMENT
            body = {"name": f"{os.getpid()}-{count}", "filling": "x" * source.choice((0, 40, 400, 4000))}
            note(meant=body["name"], service=service, body=body)
            channel = device.solution if service is Service.SOLUTION else device.management
            receipt = channel.enqueue(body, queue="samples", urgency=source.choice(list(Urgency)))
            note(accepted=body["name"], number=receipt.number)
            if ended.wait(period):
                break
        device.flush(60.0)
    os.close(journal)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
