"""What the demo shows: live on a terminal, plain lines elsewhere, and the tables at the end.

Rules of this file: it prints what it is given.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from rataccess.cli.demo.watch import Watch

LADDER = ("PORT", "RADIO", "SIM", "REGISTERED", "BEARER", "REACHABLE")
LINES = 14
PLAIN_EVERY = 2.0
"""Seconds between plain lines of state."""


class View:
    """The running demo."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console()
        self._quiet = quiet
        self._live = (
            Live(console=self._console, refresh_per_second=8) if self._console.is_terminal and not quiet else None
        )
        self._lines: deque[str] = deque(maxlen=LINES)
        self._next_plain = 0.0
        self._now = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line of the time line."""
        if self._live:
            self._lines.append(f"[{style}]{text}[/]" if style else text)
        elif not self._quiet:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, now: float, text: str) -> None:
        """A deed of the script."""
        self.say(f"{now:6.1f} s  >>> {text}", "bold yellow")

    def decision(self, decision: dict[str, Any]) -> None:
        """The device decided something."""
        self.say(f"{self._now:6.1f} s      {decision['kind']}: {decision['text']}")

    def show(self, watch: Watch, now: float) -> None:
        """The state now."""
        self._now = now
        if self._live:
            self._live.update(
                Group(_links(watch), _facts(watch, now), Panel("\n".join(self._lines), title="time line"))
            )
        elif not self._quiet and now >= self._next_plain:
            self._next_plain = now + PLAIN_EVERY
            self.say(f"{now:6.1f} s      {_plain(watch)}")


def _links(watch: Watch) -> Table:
    table = Table("link", *LADDER, "in use", "answers in", "detail", expand=True)
    device = watch.device or {"links": {}, "in_use": None}
    for name, link in device["links"].items():
        reached = LADDER.index(link["evidence"]) if link["evidence"] in LADDER else -1
        rungs = ["[green]o[/]" if index <= reached else "[dim].[/]" for index in range(len(LADDER))]
        took = link["response_time"]
        used = "[bold green]<<<[/]" if name == device["in_use"] else ""
        table.add_row(name, *rungs, used, "" if took is None else f"{took * 1000:.0f} ms", link["detail"])
    return table


def _facts(watch: Watch, now: float) -> str:
    if watch.device is None:
        return f"{now:5.1f} s   the application does not run   delivered {len(watch.stored)}"
    waiting = sum(each["records"] for each in watch.device["outbox"].values())
    why = watch.device["explanation"].splitlines()[0]
    return f"{now:5.1f} s   outbox {waiting}   delivered {len(watch.stored)}   {why}"


def _plain(watch: Watch) -> str:
    if watch.device is None:
        return f"the application does not run; delivered {len(watch.stored)}"
    waiting = sum(each["records"] for each in watch.device["outbox"].values())
    links = " ".join(f"{name}={link['evidence']}" for name, link in watch.device["links"].items())
    return f"{links} in use: {watch.device['in_use']}; outbox {waiting}, delivered {len(watch.stored)}"


def print_result(result: dict[str, Any]) -> None:
    """The tables at the end."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    counts = Table("enqueued", "delivered", "duplicated", "lost", "expired", "altered", title="records")
    names = ("enqueued", "delivered", "duplicated", "lost", "expired", "corrupted")
    counts.add_row(*[str(result[name]) for name in names])
    console.print(counts)
    links = Table("link", "RAT", "records", "packets", "bytes", title="links")
    for name, link in result["links"].items():
        links.add_row(name, str(link["rat"]), *[str(link[what]) for what in ("records", "packets", "bytes")])
    console.print(links)
    switches = Table("from", "to", "gap", "cause", title="switches (gap: last delivery before to first delivery after)")
    for each in result["switches"]:
        switches.add_row(each["from"], each["to"], f"{each['gap_ms']:.0f} ms", each["cause"])
    console.print(switches)
    for each in result["recoveries"]:
        console.print(f"recovered: {each['link']} by {each['step']!r}, {each['seconds']:.1f} s after the trouble began")
    console.print(f"Wi-Fi path: {result['wifi_path']}")
