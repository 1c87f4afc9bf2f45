"""The judgement: what the application meant and what the service stored, compared.

Rules of this file: pure; values in, values out.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
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
        """Lines of JSON; a last line that a kill has cut is left out."""
        journal = cls()
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
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


def judge(journal: Journal, stored: Sequence[Stored], expired: int, causes: Iterable[Mapping[str, Any]]) -> Verdict:
    """Compare sample by sample.

    A sample that was meant but not noted as accepted (the process was killed between) may be stored once or not at all.
    """
    counts: Counter[str] = Counter()
    corrupted = 0
    for record in stored:
        name = record.body.get("sample") if isinstance(record.body, dict) else None
        if name not in journal.meant or journal.meant[name] != record.body:
            corrupted += 1
        else:
            counts[name] += 1
    numbers = Counter(record.number for record in stored)
    doubled = sum(count - 1 for count in counts.values()) + sum(count - 1 for count in numbers.values())
    lost = sum(1 for name in journal.accepted if not counts[name])
    enqueued = len(journal.accepted.keys() | counts.keys())
    return Verdict(
        enqueued=enqueued,
        delivered=len(counts),
        duplicated=doubled,
        lost=max(0, lost - expired),
        expired=expired,
        corrupted=corrupted,
        switches=find_switches(stored, causes),
    )


def find_switches(stored: Sequence[Stored], causes: Iterable[Mapping[str, Any]]) -> list[Switch]:
    """Where the link of consecutive deliveries changes; the cause is the device's latest decision for that link.

    A single answer that was overtaken on the old link after the change is no switch back.
    """
    decisions = sorted((each for each in causes if each.get("kind") == "switch"), key=lambda each: each["at"])
    ordered = sorted((record for record in stored if record.link), key=lambda record: record.received_at)
    switches: list[Switch] = []
    for before, after in itertools.pairwise(ordered):
        if before.link == after.link or before.link is None or after.link is None:
            continue
        fitting = [each for each in decisions if each["to"] == after.link and each["at"] <= after.received_at + 1.0]
        cause = fitting[-1]["text"].split("; now ")[0] if fitting else "second attempt over another link"
        switches.append(Switch(before.link, after.link, cause, (after.received_at - before.received_at) * 1000))
    return switches
