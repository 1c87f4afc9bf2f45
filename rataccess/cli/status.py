"""`rataccess status` and `rataccess explain`: ask a running device on this machine.

Rules of this file: it reads the device's control socket and prints.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rataccess.config import load
from rataccess.errors import Closed

PATIENCE = 5.0
"""Seconds that a running device may take to answer."""


def fetch(config: Path | None) -> dict[str, Any]:
    """The state of the device that runs with `config`.

    Raises `ConfigurationError`, or `Closed` where none runs.
    """
    configuration = load(config)
    path = Path(configuration.device.state) / "control.sock"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            document = b"".join(iter(lambda: client.recv(65_536), b""))
        found: dict[str, Any] = json.loads(document)
    except (OSError, ValueError) as error:
        raise Closed(
            f"no device answers at {path} ({error}); start the application that opens "
            f"device {configuration.device.serial_number!r}, or name its configuration with --config"
        ) from error
    return found


def show_status(found: dict[str, Any], *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console()
    console.print(f"[bold]{found['device']}[/] uses [bold]{found['in_use'] or 'no link'}[/]")
    table = Table("link", "evidence", "in use", "answers in", "records", "packets", "bytes", "detail")
    for name, link in found["links"].items():
        took = link["response_time"]
        table.add_row(
            name,
            link["evidence"],
            "yes" if name == found["in_use"] else "",
            "" if took is None else f"{took * 1000:.0f} ms",
            str(link["records"]),
            str(link["packets"]),
            str(link["bytes"]),
            link["detail"],
        )
    console.print(table)
    waiting = sum(each["records"] for each in found["outbox"].values())
    console.print(f"waiting: {waiting} record(s); " + ", ".join(f"{k}: {v}" for k, v in found["counters"].items()))
