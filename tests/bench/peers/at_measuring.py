"""What an AT client is asked; only the standard library.  Both ours and the peers' programs use it.

Rules of this file: the same questions for everybody; nothing of any contender.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

TRIPS = 2000
LINES = 5_000
BULKS = 4
SLOW_LINES = 500
PACED = 720
"""Times 16 bytes, 1.389 ms apart: a second."""
Ask = Callable[[str], Awaitable[int]]
"""A command to its end; the number of lines of its reply."""


async def measure(ask: Ask, lines: int = LINES) -> dict[str, float]:
    """Round trips, lines in bulk, and the share of a core at full 115,200 baud."""
    for _ in range(100):
        await ask("AT+CSQ")
    trips, cpu = [], time.process_time()
    for _ in range(TRIPS):
        began = time.perf_counter()
        await ask("AT+CSQ")
        trips.append(time.perf_counter() - began)
    trip_cpu = (time.process_time() - cpu) / TRIPS
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(BULKS):
        if (found := await ask(f"AT+BULK={lines}")) < lines:
            raise SystemExit(f"{found} of {lines} lines came")
    seconds, line_cpu = time.perf_counter() - began, (time.process_time() - cpu) / lines / BULKS
    began, cpu = time.perf_counter(), time.process_time()
    await ask(f"AT+PACE={PACED}")
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    return {
        "trip": statistics.median(trips) * 1e6,
        "trip_cpu": trip_cpu * 1e6,
        "lines": lines * BULKS / seconds,
        "line_cpu": line_cpu * 1e6,
        "share": share * 100,
    }
