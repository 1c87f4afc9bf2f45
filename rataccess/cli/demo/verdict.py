"""The judgement: what the application meant and what the service stored, compared.

Rules of this file: pure; values in, values out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Journal:
    """What the application wrote down."""

    meant: dict[str, Any] = field(default_factory=dict)
    """Sample name to body: written before each enqueue."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Sample name to record number: written after each enqueue."""

    @classmethod
    def read(cls, text: str) -> Journal:
        """Lines of JSON; a line that a kill has cut is left out."""
        journal = cls()
        for line in text.split("\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict):
                continue
            if "meant" in entry:
                journal.meant[entry["meant"]] = entry["body"]
            elif "accepted" in entry:
                journal.accepted[entry["accepted"]] = entry["record"]
        return journal


@dataclass(frozen=True, slots=True)
class Stored:
    """One record as the service has it.  `received_at` is seconds since 1970."""

    number: int
    received_at: float
    link: str | None
    body: Any


@dataclass(frozen=True, slots=True)
class Switch:
    """Delivery went from one link to another."""

    origin: str
    target: str
    cause: str
    gap_ms: float
    """From the last delivery over the old link to the first over the new one."""


@dataclass(slots=True)
class Verdict:
    """What the demo found."""

    enqueued: int
    delivered: int
    duplicated: int
    lost: int
    expired: int
    corrupted: int
    switches: list[Switch]

    @property
    def good(self) -> bool:
        """Whether every accepted sample was delivered once, unaltered."""
        return not (self.lost or self.duplicated or self.corrupted) and self.delivered > 0


STRAY = 1.0
"""Seconds: answers over the old link that come in for less than this after a change are no switch back."""
SLACK = 0.5
"""Seconds that a delivery may be ahead of the device's own note of the decision: the note waits for an answer."""


def judge(journal: Journal, stored: Sequence[Stored], expired: int, causes: Iterable[Mapping[str, Any]]) -> Verdict:
    """Compare sample by sample.

    A sample that was meant but not noted as accepted (the process was killed between) may be stored once or not at all.
    A record is a duplicate where its sample or its number was stored before.
    """
    names: set[str] = set()
    numbers: set[int] = set()
    corrupted = duplicated = 0
    for record in stored:
        name = record.body.get("sample") if isinstance(record.body, dict) else None
        if not isinstance(name, str) or name not in journal.meant or journal.meant[name] != record.body:
            corrupted += 1
            name = None
        if name in names or record.number in numbers:
            duplicated += 1
        numbers.add(record.number)
        if name is not None:
            names.add(name)
    lost = len(journal.accepted.keys() - names)
    return Verdict(
        enqueued=len(journal.accepted.keys() | names),
        delivered=len(names),
        duplicated=duplicated,
        lost=max(0, lost - expired),
        expired=expired,
        corrupted=corrupted,
        switches=find_switches(stored, causes),
    )


def find_switches(stored: Sequence[Stored], causes: Iterable[Mapping[str, Any]]) -> list[Switch]:
    """Where the link of consecutive deliveries changes; the cause is the device's latest decision for that link.

    What was overtaken, and comes in over the old link for a moment after the change, is no switch back.
    """
    decisions = sorted((each for each in causes if each.get("kind") == "switch"), key=lambda each: float(each["at"]))
    runs = _without_strays(_runs(stored), decisions)
    switches: list[Switch] = []
    for before, after in itertools.pairwise(runs):
        cause = _cause(decisions, after, before[0].received_at)
        gap = (after[0].received_at - before[-1].received_at) * 1000
        switches.append(Switch(str(before[0].link), str(after[0].link), cause or _unsaid(after), gap))
    return switches


def _unsaid(run: Run) -> str:
    """Why, where the link in use did not change."""
    return "alarms do not wait" if run[0].link == "satellite" else "second attempt over another link"


Run = list[Stored]
"""Consecutive deliveries over one link."""


def _runs(stored: Sequence[Stored]) -> list[Run]:
    ordered = sorted((record for record in stored if record.link), key=lambda record: record.received_at)
    return [list(group) for _, group in itertools.groupby(ordered, key=lambda record: record.link)]


def _without_strays(runs: list[Run], decisions: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Leave out short runs between two of another link for which there was no decision, and join what they parted."""
    kept: list[Run] = []
    for index, run in enumerate(runs):
        between = 0 < index < len(runs) - 1
        brief = run[-1].received_at - run[0].received_at < STRAY
        if between and brief and _cause(decisions, run, runs[index - 1][0].received_at) is None:
            continue
        if kept and kept[-1][0].link == run[0].link:
            kept[-1] = kept[-1] + run
        else:
            kept.append(run)
    return kept


def _cause(decisions: Sequence[Mapping[str, Any]], run: Run, since: float) -> str | None:
    """Why the device went to the link of `run`: its latest decision for it since `since`, when another was in use."""
    until = run[0].received_at + SLACK
    fitting = [each for each in decisions if each["to"] == run[0].link and since <= each["at"] <= until]
    return str(fitting[-1]["text"]).split("; now ")[0] if fitting else None
