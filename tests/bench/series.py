"""One day of telemetry, every 10 seconds, in several kinds: what the byte benches send.

Rules of this file: values only, the same in every run; no I/O but reading the recorded series.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

RECORDED = Path(__file__).with_name("machine.csv.gz")
"""A real series: load, busy share and used memory of a Linux machine at work, 8,640 samples in 72 minutes."""
DAY = 8640
PERIOD = 10.0
Value = dict[str, float]

SINGLE: Value = {"temp": 21.5, "hum": 48, "volt": 3.71}
"""The event of which FIGURES of one-by-one sending are made; JSON without blanks: 34 bytes."""


def smooth(count: int) -> list[Value]:
    """A room: temperature and humidity follow the day, the battery discharges slowly; nothing is random."""
    out: list[Value] = []
    for i in range(count):
        turn = 2 * math.pi * i / DAY
        temp, hum, volt = 21.5 + 4 * math.sin(turn), 48 - 10 * math.sin(turn - 0.5), 3.9 - 0.2 * i / DAY
        out.append({"temp": round(temp, 1), "hum": round(hum), "volt": round(volt, 2)})
    return out


def noisy(count: int) -> list[Value]:
    """The same room by a cheap sensor: Gaussian noise of 0.3 degrees, 1 per cent, 10 millivolts on each sample."""
    source = random.Random(1)
    return [
        {
            "temp": round(each["temp"] + source.gauss(0, 0.3), 1),
            "hum": round(each["hum"] + source.gauss(0, 1)),
            "volt": round(each["volt"] + source.gauss(0, 0.01), 2),
        }
        for each in smooth(count)
    ]


def real(count: int) -> list[Value]:
    """What the machine did; at most 8,640."""
    with gzip.open(RECORDED, "rt") as file:
        rows = list(csv.reader(file))[:count]
    return [{"load": float(load), "busy": int(busy), "memory": float(memory)} for load, busy, memory in rows]


KINDS: Mapping[str, Callable[[int], list[Value]]] = {"smooth": smooth, "noisy": noisy, "real": real}


def take(kind: str, count: int) -> list[Value]:
    """The first `count` values of a kind; `single` is the one event again and again."""
    return [dict(SINGLE) for _ in range(count)] if kind == "single" else KINDS[kind](count)
