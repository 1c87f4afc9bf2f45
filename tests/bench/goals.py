"""The goals, as data, and what was measured against them.

Rules of this file: numbers and where they come from; judging is one comparison.  A goal that names a peer is a ratio of
medians out of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import Figure, ratio, shown

Measured = Mapping[str, Any]
"""The results as plain values, as in results.json."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to reach: `most` or `least`, of a metric of a contender, or of its ratio to a peer's."""

    name: str
    bench: str
    contender: str
    metric: str
    unit: str
    most: float | None = None
    least: float | None = None
    against: tuple[str, str] | None = None
    """Bench and contender to whose median of the same metric the ratio is taken."""
    inverse: bool = False
    """The ratio is the peer's by ours: how many times ahead we are where less is better."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a goal."""

    goal: Goal
    measured: float | None
    """`None` where it was not measured."""

    @property
    def met(self) -> bool:
        goal, value = self.goal, self.measured
        if value is None:
            return False
        return (goal.most is None or value <= goal.most) and (goal.least is None or value >= goal.least)

    def text(self) -> str:
        """`met`, `missed by …` or `not measured`."""
        value, limit = self.measured, self.goal.most if self.goal.most is not None else self.goal.least
        if value is None or limit is None:
            return "not measured"
        if self.met:
            return "met"
        by = ratio(value, limit) if self.goal.most is not None else ratio(limit, value)
        return f"**missed by {shown((by - 1) * 100)} %**" if by < 3 else f"**missed, {shown(by)} times**"


TEMPLATE = "rataccess, template"
GOALS: tuple[Goal, ...] = (
    Goal("a day every 10 s, smooth", "bytes-day", f"{TEMPLATE}, smooth", "bytes", "B/record", most=4),
    Goal("a day every 10 s, noisy", "bytes-day", f"{TEMPLATE}, noisy", "bytes", "B/record", most=4),
    Goal("a day every 10 s, real", "bytes-day", f"{TEMPLATE}, real", "bytes", "B/record", most=4),
    Goal(
        "60 x fewer bytes in batches of 60 than MQTT/TLS an event",
        *("bytes-batch", TEMPLATE, "bytes", "x"),
        least=60,
        inverse=True,
        against=("bytes-one", "paho-mqtt TLS"),
    ),
    Goal(
        "60 x fewer bytes in a day's batch than MQTT/TLS an event",
        *("bytes-day", f"{TEMPLATE}, noisy", "bytes", "x"),
        least=60,
        inverse=True,
        against=("bytes-one", "paho-mqtt TLS"),
    ),
    Goal(
        "10 x fewer billed bytes over SBD than JSON one by one",
        *("rats", f"{TEMPLATE}, SBD", "bytes", "x"),
        least=10,
        inverse=True,
        against=("rats", "JSON one by one, SBD"),
    ),
    Goal(
        "20 x less air time over LoRaWAN than JSON one by one, SF7",
        *("rats", f"{TEMPLATE}, LoRaWAN SF7", "airtime", "x"),
        least=20,
        inverse=True,
        against=("rats", "JSON one by one, LoRaWAN SF7"),
    ),
    Goal(
        "the same, SF12",
        *("rats", f"{TEMPLATE}, LoRaWAN SF12", "airtime", "x"),
        least=20,
        inverse=True,
        against=("rats", "JSON one by one, LoRaWAN SF12"),
    ),
    Goal("age after carrier loss: one way and 10 ms", "loss", "rataccess, carrier", "age", "ms", most=40),
    Goal("bytes on the new link, carrier loss", "loss", "rataccess, carrier", "bytes", "B", most=120),
    Goal(
        "5 x ahead of MPTCP after carrier loss",
        *("loss", "rataccess, carrier", "age", "x"),
        least=5,
        inverse=True,
        against=("loss", "MPTCP, carrier"),
    ),
    Goal("age after silent loss: 150 ms, one way and 10 ms", "loss", "rataccess, silent", "age", "ms", most=190),
    Goal(
        "ahead of MPTCP after silent loss",
        *("loss", "rataccess, silent", "age", "x"),
        least=1,
        inverse=True,
        against=("loss", "MPTCP, silent"),
    ),
    Goal("no byte on an idle link", "idle", "rataccess, two links", "bytes", "B/hour", most=0),
    Goal("backlog over 60 ms round trip", "drain", "rataccess", "rate", "records/s", least=5000),
    Goal("resident, Wi-Fi and cellular", "resident", "rataccess, Wi-Fi and cellular", "mb", "MB", most=45),
    Goal(
        "`import rataccess`, 1.5 x `import aiocoap` with OSCORE",
        *("import", "rataccess", "ms", "x"),
        most=1.5,
        against=("import", "aiocoap OSCORE"),
    ),
    Goal(
        "all that a device needs, the same",
        *("import", "rataccess, device", "ms", "x"),
        most=1.5,
        against=("import", "aiocoap OSCORE"),
    ),
    Goal("AT round trip, 2 x a bare read", "at", "rataccess", "trip", "x", most=2, against=("at", "bare os.read")),
    Goal("lines after matching", "at", "rataccess", "lines", "lines/s", least=500_000),
    Goal("full 115,200 baud", "at", "rataccess", "share", "% of a core", most=2),
    Goal(
        "32 producers, 8 x persist-queue: the store",
        *("enqueue-32", "rataccess, store", "rate", "x"),
        least=8,
        against=("enqueue-32", "persist-queue"),
    ),
    Goal(
        "32 producers, 8 x persist-queue: `Device.enqueue`",
        *("enqueue-32", "rataccess, Device.enqueue", "rate", "x"),
        least=8,
        against=("enqueue-32", "persist-queue"),
    ),
    Goal("syncs, 32 producers", "enqueue-32", "rataccess, Device.enqueue", "syncs", "syncs/record", most=0.1),
    Goal("written, 32 producers", "enqueue-32", "rataccess, Device.enqueue", "written", "B/record", most=1500),
    Goal("client CPU, one by one", "client-cpu", "rataccess", "cpu", "us/record", most=100),
)


def judge(results: Measured) -> Iterator[Verdict]:
    """Every goal in order."""
    for goal in GOALS:
        value = _median(results, goal.bench, goal.contender, goal.metric)
        if value is not None and goal.against is not None:
            peer = _median(results, *goal.against, goal.metric)
            value = None if peer is None else _compared(goal, value, peer)
        yield Verdict(goal, value)


def _compared(goal: Goal, ours: float, peer: float) -> float:
    return ratio(peer, ours) if goal.inverse else ratio(ours, peer)


def _median(results: Measured, bench: str, contender: str, metric: str) -> float | None:
    found = results.get("benches", {}).get(bench, {}).get("contenders", {}).get(contender, {})
    values = found.get("values", {}).get(metric, [])
    return Figure.of(values).median if values else None
