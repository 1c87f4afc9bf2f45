"""What it was measured on: machine, kernel, versions.

Rules of this file: facts only; nothing that names a person, a host or an address.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench import peers_venv
from tests.bench.bench import Unavailable
from tests.bench.desk import Desk

OWN = ("cbor2", "cryptography", "msgspec", "pyroute2", "pyserial", "tenacity", "psycopg")
PEERS = ("paho-mqtt", "aiocoap", "aioquic", "persist-queue", "litequeue", "python-gsmmodem-new", "async-gsm-modem")


def describe(desk: Desk) -> dict[str, Any]:
    """Everything that a reader needs to judge the figures."""
    return {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "ours": {name: _version(name) for name in OWN},
        "peers": _peers(desk),
        "tools": {"mosquitto": _said("mosquitto", "-h"), "postgresql": _said(_postgres(), "--version")},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _peers(desk: Desk) -> dict[str, str]:
    try:
        there = {name.lower(): version for name, version in peers_venv.versions(desk.peer_python).items()}
    except Unavailable as error:
        return {"none": str(error)}
    return {name: there[name] for name in PEERS if name in there}


def _postgres() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return str(found[-1]) if found else "postgres"


def _said(program: str, argument: str) -> str | None:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        return None
    done = subprocess.run([path, argument], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else None
