"""What the demo shows: live on a terminal, plain lines elsewhere, and the tables at the end.

Rules of this file: it prints what it is given, in 80 columns where the terminal has no more; it judges nothing.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rataccess.cli.demo.watch import Watch
from rataccess.tariff import Unit

LADDER = ("PORT", "RADIO", "SIM", "REGISTERED", "BEARER", "REACHABLE")
KEPT = 200
"""Lines of the time line that are kept; as many are shown as fit."""
FEWEST = 4
ABOVE = 12
"""Rows of the screen that are not for the time line."""
PLAIN_EVERY = 2.0
"""Seconds between plain lines of state."""
PLAIN_WIDTH = 100
"""Columns of tables that go to a file or a pipe."""
STYLES = {"switch": "bold cyan", "recovery": "bold green", "service": "magenta", "link": "", "step": "bold yellow"}


class View:
    """The running demo."""

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console()
        self._quiet = quiet
        live = self._console.is_terminal and not quiet
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if live else None
        self._lines: list[tuple[float, int, str, str]] = []
        """Time, order of arrival, kind, text: decisions are seen later than they were taken."""
        self._count = 0
        self._next_plain = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the time line on the terminal, above the tables."""
        if self._live:
            self._live.stop()
            for line in self._lines:
                self._console.print(_line(line))

    def say(self, text: str) -> None:
        """A line about the whole."""
        self._add(0.0, "say", text)

    def step(self, at: float, text: str) -> None:
        """A deed of the script, done `at` seconds after the start."""
        self._add(at, "step", f">>> {text}")

    def decision(self, at: float, decision: dict[str, Any]) -> None:
        """The device decided something, `at` seconds after the start."""
        text = str(decision["text"])
        if decision["kind"] == "switch":
            text = f"{decision['from'] or 'none'} -> {decision['to'] or 'none'}: {text.split('; now ')[0]}"
        self._add(at, decision["kind"], text)

    def show(self, watch: Watch, now: float) -> None:
        """The state now."""
        if self._live:
            room = max(FEWEST, self._console.height - ABOVE)
            lines = [_line(line) for line in self._lines[-room:]]
            panel = Panel(Group(*lines), title="time line", box=box.ROUNDED, padding=(0, 0))
            self._live.update(Group(_links(watch), *_facts(watch, now), panel), refresh=True)
        elif now >= self._next_plain:
            self._next_plain = now + PLAIN_EVERY
            self._add(now, "state", _plain(watch))

    def _add(self, at: float, kind: str, text: str) -> None:
        self._count += 1
        line = (at, self._count, kind, text)
        if self._live:
            insort(self._lines, line)
            del self._lines[:-KEPT]
        elif not self._quiet:
            self._console.print(_line(line).plain, highlight=False, markup=False, soft_wrap=True)


def _line(line: tuple[float, int, str, str]) -> Text:
    at, _, kind, text = line
    if kind == "say":
        return Text(f"        {text}", style="dim", overflow="ellipsis", no_wrap=True)
    shown = text if kind in ("step", "state") else f"{kind}: {text}"
    indent = "" if kind == "step" else "    "
    return Text(f"{max(0.0, at):6.2f} s {indent}{shown}", style=STYLES.get(kind, ""), overflow="ellipsis", no_wrap=True)


def _links(watch: Watch) -> Table:
    """Each link and how far up the evidence ladder it stands."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1), show_edge=False)
    table.add_column("link", no_wrap=True)
    table.add_column("in use", no_wrap=True)
    table.add_column("evidence", no_wrap=True)
    table.add_column("answers", justify="right", no_wrap=True)
    table.add_column("what is known of it", ratio=1, no_wrap=True, overflow="ellipsis")
    if watch.device is None:
        for name in watch.traffic:
            table.add_row(f"[dim]{name}[/]", "", f"[dim]{'·' * len(LADDER)}[/]", "", "")
        return table
    for name, link in watch.device["links"].items():
        took = link["response_time"]
        used = "[bold green]<<<[/]" if name == watch.in_use else ""
        answers = "" if took is None else f"{took * 1000:.0f} ms"
        table.add_row(name, used, _rungs(link["evidence"]), answers, escape(_detail(link)))
    return table


def _rungs(evidence: str) -> str:
    """A bar of six rungs, and the name of the highest that was reached."""
    reached = LADDER.index(evidence) + 1 if evidence in LADDER else 0
    style = "bold green" if reached == len(LADDER) else "yellow" if reached else "red"
    return f"[{style}]{'■' * reached}[/][dim]{'·' * (len(LADDER) - reached)}[/] [{style}]{evidence}[/]"


def _detail(link: dict[str, Any]) -> str:
    doubts = {"UNANSWERED": "an answer is overdue", "CONFIRMED": "silent"}
    doubt = doubts.get(link["suspicion"], "on probation" if link["probation"] and link["ready"] else "")
    return "; ".join(each for each in (doubt, link["detail"]) if each)


def _facts(watch: Watch, now: float) -> list[Text]:
    delivered = f"delivered [bold]{len(watch.stored)}[/]"
    if watch.device is None:
        facts, why = f"{now:5.1f} s   {delivered}   [bold red]the application does not run[/]", ""
    else:
        facts = f"{now:5.1f} s   {delivered}   outbox [bold]{_waiting(watch.device)}[/]"
        why = watch.device["explanation"].splitlines()[0]
    return [
        Text.from_markup(facts),
        Text(why, style="bold"),
        Text(f"evidence: {' < '.join(LADDER)}", style="dim", overflow="ellipsis", no_wrap=True),
    ]


def _waiting(device: dict[str, Any]) -> int:
    return sum(each["records"] for each in device["outbox"].values())


def _plain(watch: Watch) -> str:
    if watch.device is None:
        return f"the application does not run; delivered {len(watch.stored)}"
    links = " ".join(f"{name}={link['evidence']}" for name, link in watch.device["links"].items())
    return f"{links}; in use: {watch.in_use}; outbox {_waiting(watch.device)}, delivered {len(watch.stored)}"


def print_result(result: dict[str, Any], console: Console | None = None) -> None:
    """The tables at the end."""
    console = console or Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    counts = _table("records")
    names = ("enqueued", "delivered", "duplicated", "lost", "expired", "corrupted")
    for name in names:
        counts.add_column(name, justify="right")
    counts.add_row(*[_count(name, result[name]) for name in names])
    links = _table("links")
    links.add_column("link")
    links.add_column("RAT")
    for name in ("records", "packets", "bytes", "spent", "cost"):
        links.add_column(name, justify="right")
    for name, link in result["links"].items():
        counts_of = [str(link[what]) for what in ("records", "packets", "bytes")]
        links.add_row(name, str(link["rat"]), *counts_of, _spent(link), f"{link['cost']:.2f}" if link["cost"] else "-")
    console.print(counts, links, _switches(result), *_endnotes(result), sep="\n", soft_wrap=False)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _count(name: str, value: int) -> str:
    wrong = value and name in ("duplicated", "lost", "corrupted")
    return f"[bold red]{value}[/]" if wrong else str(value)


def _spent(link: dict[str, Any]) -> str:
    """What the link's network counted: air time, credits; nothing where it counts bytes."""
    unit = Unit(link["unit"])
    return "-" if unit is Unit.BYTE else unit.several(link["units"])


def _transfer(each: dict[str, Any]) -> str:
    """Which link carried how much of an object that went in parts."""
    shares = ", ".join(f"{count} B over {link}" for link, count in each["bytes"].items())
    return f"in parts: {shares}; sent though acknowledged: {each['again']} B"


def _switches(result: dict[str, Any]) -> Table:
    table = _table("switches (gap: from the last delivery before to the first after)")
    table.add_column("from")
    table.add_column("to")
    table.add_column("gap", justify="right", no_wrap=True)
    table.add_column("cause")
    for each in result["switches"]:
        table.add_row(each["from"], each["to"], f"{each['gap_ms']:.0f} ms", escape(each["cause"]))
    return table


def _endnotes(result: dict[str, Any]) -> list[Text]:
    recovered = [
        Text(f"recovered: {each['link']} by {each['step']!r} in {each['seconds']:.1f} s")
        for each in result["recoveries"]
    ]
    wrong = result["lost"] or result["duplicated"] or result["corrupted"] or not result["delivered"]
    verdict = "NOT every sample arrived once and unaltered" if wrong else "every sample arrived once and unaltered"
    return [
        *recovered,
        *[Text(_transfer(each)) for each in result["transfers"]],
        Text(f"Wi-Fi path: {result['wifi_path']}"),
        Text(verdict, style="bold red" if wrong else "bold green"),
    ]
