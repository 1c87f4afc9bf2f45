"""What other processes cost: CPU seconds and resident memory, from /proc.

Rules of this file: Linux's proc(5) only.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(process: int) -> float:
    """User and system time of all threads of a process until now; 10 ms fine."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_mb(process: int) -> float:
    """Megabytes (10^6) in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE / 1e6


def family(process: int) -> list[int]:
    """A process and its children."""
    found = [process]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == process:
                    found.append(int(entry.name))
    return found


def family_cpu_seconds(process: int) -> float:
    """Of a process, its children, and its children that have ended."""
    total = 0.0
    for each in family(process):
        with contextlib.suppress(OSError):
            total += cpu_seconds(each)
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return total + (int(fields[13]) + int(fields[14])) / _TICK
