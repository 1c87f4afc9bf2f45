"""`rataccess status` and `rataccess explain`: ask a running device on this machine.

Rules of this file: it reads the device's control socket and prints.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from rataccess.cli.tables import console, folding
from rataccess.config import load
from rataccess.errors import Closed
from rataccess.tariff import Unit

PATIENCE = 5.0
"""Seconds that a running device may take to answer."""
_LATEST = 8
"""Decisions that the live view shows."""


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
            client.shutdown(socket.SHUT_WR)  # nothing is asked but the state
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
    else:
        console().print(_view(found))


def _view(found: dict[str, Any]) -> Group:
    head = Text.assemble((str(found["device"]), "bold"), " uses ", (found["in_use"] or "no link", "bold"))
    table = folding("link", "evidence", "in use", "answers in", "records", "packets", "bytes", "used", "left", "detail")
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
            *_counted(link),
            Text(link["detail"]),
        )
    counters = ", ".join(f"{name}: {count}" for name, count in found["counters"].items())
    lines = [f"waiting: {_waiting(found)} record(s); {counters}", *_complaints(found)]
    return Group(head, table, *map(Text, lines))


def _counted(link: dict[str, Any]) -> tuple[str, str]:
    """What was used of what the link's network counts, with its price, and what its budget has left."""
    unit, budget = Unit(link["unit"]), link["budget"]
    used = "" if unit is Unit.BYTE else unit.several(link["units"])
    cost = f"{', ' if used else ''}costs {link['cost']:.4g}" if link["cost"] else ""
    return used + cost, "" if budget is None else unit.several(budget["left"])


def _complaints(found: dict[str, Any]) -> list[str]:
    """What the application leaves undone."""
    full = [f"inbox full ({service}): the application acknowledges nothing" for service in found["inbox_full"]]
    dropped = [f"{count} {what} came and nobody took them" for what, count in found["dropped"].items() if count]
    return full + dropped


def _waiting(found: dict[str, Any]) -> int:
    return sum(each["records"] for each in found["outbox"].values())


# --- watching ---------------------------------------------------------------------------------------------------------


def watch(config: Path | None, every: float) -> None:
    """Show it anew every `every` seconds until Ctrl-C: in place on a terminal, else a line whenever something changed.

    A device that is closed meanwhile is waited for.  Raises as `fetch` where none runs at the start.
    """
    found: dict[str, Any] | None = fetch(config)
    if not console().is_terminal:
        _watch_lines(config, every, found)
        return
    with Live(console=console(), auto_refresh=False, transient=False) as live:
        while True:
            live.update(_live(found), refresh=True)
            time.sleep(every)
            found = _again(config)


def _watch_lines(config: Path | None, every: float, found: dict[str, Any] | None) -> None:
    before = ""
    while True:
        line = summary(found)
        if line != before:
            print(line, flush=True)
            before = line
        time.sleep(every)
        found = _again(config)


def _again(config: Path | None) -> dict[str, Any] | None:
    try:
        return fetch(config)
    except Closed:
        return None


def summary(found: dict[str, Any] | None) -> str:
    """One line: device, link in use, evidence of each link, what waits."""
    if found is None:
        return "the device does not run"
    links = " ".join(f"{name}={link['evidence']}" for name, link in found["links"].items())
    return f"{found['device']} uses {found['in_use'] or 'no link'}; {links}; waiting {_waiting(found)}"


def _live(found: dict[str, Any] | None) -> Group:
    if found is None:
        return Group(Text("the device does not run; waiting for it (Ctrl-C ends)"))
    decisions = [Text(f"{_clock(each['at'])}  {each['text']}") for each in found["decisions"][-_LATEST:]]
    return Group(_view(found), *decisions, Text("Ctrl-C ends", style="dim"))


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
