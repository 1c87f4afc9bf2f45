"""Producers in threads, and what they cost; only the standard library.  Both ours and the peers' programs use it.

Rules of this file: the same loop for everybody; nothing of any contender.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

MOST_SECONDS = 2.0
BODY = {"temp": 21.5, "hum": 48, "volt": 3.71}


def written() -> int:
    """Bytes that this process has caused to be written to disk, see proc(5)."""
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])


def measure(put: Callable[[], Any], producers: int, total: int) -> dict[str, float]:
    """`total` puts by `producers` threads, each of which waits for its put before the next; fewer where the disk is slow."""
    put()
    each, done = total // producers, [0] * producers
    end = time.perf_counter() + MOST_SECONDS

    def work(number: int) -> None:
        for count in range(1, each + 1):  # noqa: B007 - how many were put
            put()
            if time.perf_counter() > end:
                break
        done[number] = count

    threads = [threading.Thread(target=work, args=(number,)) for number in range(producers)]
    bytes_before, began, cpu = written(), time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, used, count = time.perf_counter() - began, time.process_time() - cpu, sum(done)
    return {
        "rate": count / seconds,
        "cpu": used / count * 1e6,
        "written": (written() - bytes_before) / count,
        "count": count,
    }
