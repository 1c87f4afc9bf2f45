"""How often a link that is up and silent is asked for proof."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rataccess.access.standing import MAX_FAILBACK, Standing
from rataccess.access.trust import FREE_PROBE_EVERY, Trust
from rataccess.config import LinkSettings
from rataccess.driver import Evidence
from rataccess.tariff import Unit


class Link:
    name, ready, evidence, hints, detail, unit = "wifi", True, Evidence.BEARER, None, "", Unit.BYTE

    def __init__(self, cost: float, failback_after: float) -> None:
        self.settings = LinkSettings(
            driver="interface", transport="udp", cost_per_byte=cost, failback_after=failback_after
        )

    def doubt(self, why: str) -> None:
        """Nobody answers."""


def waits(monkeypatch: pytest.MonkeyPatch, cost: float = 0.0, failback_after: float = 5.0) -> list[float]:
    """The waits between twelve probes that nobody answers, as planned and as told."""
    standing = Standing(cast(Any, Link(cost, failback_after)), None, lambda: 0.0)
    standing.probation, standing.failures = True, 1
    notes: list[str] = []
    access = SimpleNamespace(note=lambda kind, text: notes.append(text))
    trust = Trust(cast(Any, access), cast(Any, SimpleNamespace(monotonic=lambda: 0.0)))
    planned: list[float] = []
    monkeypatch.setattr(standing, "later", lambda what, seconds, call: planned.append(seconds))
    for _ in range(12):
        trust._tried(standing)
    assert notes == [f"wifi: no answer to the probe; next one in {wait:.0f} s" for wait in planned]
    return planned


def test_a_link_that_costs_nothing_is_asked_once_a_minute_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(monkeypatch)[:4] == [10.0, 20.0, 40.0, FREE_PROBE_EVERY]
    assert max(waits(monkeypatch)) == FREE_PROBE_EVERY


def test_a_dear_link_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(monkeypatch, cost=0.01)[-1] == MAX_FAILBACK


def test_never_sooner_than_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(waits(monkeypatch, failback_after=300.0)) == {300.0}
