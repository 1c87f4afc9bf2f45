"""Findings for people and for programs.

Rules of this file: it prints; what it prints was found elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rich.console import Console
from rich.markup import escape

from rataccess.cli.doctor.facts import Facts, Finding, Level
from rataccess.cli.tables import folding

_COLOURS = {Level.PROBLEM: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def exit_status(findings: list[Finding]) -> int:
    """1 where there is a problem or a warning, else 0."""
    return int(any(finding.level is not Level.NOTE for finding in findings))


def as_json(facts: Facts, findings: list[Finding]) -> str:
    """Everything that was seen and found."""
    document = {
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "facts": _plain(dataclasses.asdict(facts)),
    }
    return json.dumps(document, indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def show(facts: Facts, findings: list[Finding]) -> None:
    """A table of what there is, then each finding with what it means and what mends it."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"machine: {escape(facts.model) or 'unknown'}, user {facts.me.number}")
    _table(console, "serial ports", ("address", "device file", "what", "held by"), _ports(facts))
    _table(console, "interfaces", ("name", "state", "addresses", "managed by"), _interfaces(facts))
    for finding in findings:
        colour = _COLOURS[finding.level]
        console.print(
            f"\n[{colour}]{finding.level}[/] {escape(finding.subject)}: {escape(finding.text)}  ({finding.check})"
        )
        console.print(f"  means: {escape(finding.meaning)}")
        for line in finding.mend:
            console.print(f"  mend:  {escape(line)}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    console.print("\n" + ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items()))


def _table(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        console.print(f"{title}: none")
        return
    table = folding(*heads, title=title)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _ports(facts: Facts) -> list[tuple[str, ...]]:
    nobody = "not seen" if facts.unseen else ""
    return [
        (port.identity, port.path, port.description, ", ".join(map(str, port.holders)) or nobody)
        for port in facts.ports
        if port.identity
    ]


def _interfaces(facts: Facts) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in facts.interfaces:
        state = "off" if not each.up else "carrier" if each.carrier else "no carrier"
        rows.append((each.name, state, ", ".join(each.addresses), ", ".join(each.managers)))
    return rows
