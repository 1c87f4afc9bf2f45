"""Durable enqueue of ours: `producer.py device|store FOLDER PRODUCERS TOTAL`.

`device`: the public call, `Device.solution.enqueue`, with keys, encoding and receipts; its link has no interface, so that
nothing is sent meanwhile.  `store`: the outbox alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rataccess import Device, Service, Urgency
from rataccess.clock import SystemClock
from rataccess.config.model import StoreSettings
from rataccess.objects import encode
from rataccess.store import NewRecord, Store
from tests.bench.peers.producing import BODY, measure


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Callable[[], Any]]:
    with Device.open(folder / "rataccess.toml") as opened:
        yield lambda: opened.solution.enqueue(BODY, queue="readings")
        os._exit(0)  # what was measured has been said; a flush would wait for a link that never comes


@contextlib.contextmanager
def store(folder: Path) -> Iterator[Callable[[], Any]]:
    opened, boot = Store.open(folder / "store.sqlite", StoreSettings(), SystemClock()), os.urandom(16)

    def put() -> None:
        opened.enqueue(
            NewRecord(
                service=Service.SOLUTION,
                queue="readings",
                body=encode(BODY),
                urgency=Urgency.ROUTINE,
                captured_at=1.7e9,
                boot=boot,
                monotonic=12345.678,
            )
        )

    yield put
    opened.close()


if __name__ == "__main__":
    logging.disable()
    with {"device": device, "store": store}[sys.argv[1]](Path(sys.argv[2])) as put:
        print(json.dumps(measure(put, int(sys.argv[3]), int(sys.argv[4]))), flush=True)  # noqa: T201
