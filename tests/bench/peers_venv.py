"""The virtual environment of the peers, made once and kept under `build/`.

Rules of this file: pip and its ordinary index, nothing else; what is installed here is never installed beside ours.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.bench import Unavailable

PEERS = (
    "paho-mqtt >= 2",
    "aiocoap[oscore] >= 0.4.12",
    "aioquic >= 1.2",
    "persist-queue >= 1",
    "litequeue >= 0.9",
    "python-gsmmodem-new >= 0.13",
    "async-gsm-modem >= 0.1.2",
    "pyserial >= 3.5",
    "pyroute2 >= 0.7.9",
)


def ready(build: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of the peers' environment, which is made where it is not there.  Raises `Unavailable`."""
    folder = build / "bench-venv"
    python = folder / "bin" / "python"
    mark = folder / ".ready"
    wanted = hashlib.sha256("\n".join((sys.version, *PEERS)).encode()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return python
    say("making the peers' virtual environment")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS]
        subprocess.run(pip, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise Unavailable(f"the peers cannot be installed: {error} {said.decode(errors='replace')[-300:]}") from error
    mark.write_text(wanted)
    return python


def versions(python: Path | str) -> dict[str, str]:
    """Name and version of everything installed there."""
    done = subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"], capture_output=True
    )
    return {each["name"]: each["version"] for each in json.loads(done.stdout or b"[]")}
