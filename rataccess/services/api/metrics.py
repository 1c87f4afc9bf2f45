"""What Prometheus is told.

Rules of this file: a registry of its own; numbers of the whole service, no serial number in any label.  They are counted
when they are asked for, on the store's own thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rataccess.clock import Clock
from rataccess.services import admin
from rataccess.services.api.context import Context
from rataccess.services.calls import CallStatus
from rataccess.services.receivers import ReceiverStatus, aside
from rataccess.services.store import ServiceStore

HEARD_WITHIN = (60, 3600, 86_400)
"""Seconds for which devices that were heard are counted."""
_COUNTED = {
    "outbound": ("rataccess_waiting_records", "Records that wait for devices"),
    "partials": ("rataccess_unfinished_records", "Records of which only parts have come"),
    "parked": ("rataccess_parked_records", "Records whose queue has no name yet"),
    "blocks": ("rataccess_parked_blocks", "Packed records whose template is not known yet"),
    "calls": ("rataccess_open_calls", "Calls of devices that have no answer yet"),
}


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the store says at one moment."""

    counters: dict[str, int]
    devices: int
    heard: dict[int, int]
    kept_bytes: int
    rows: dict[str, int]
    conflicts: int
    aside: dict[str, int]


class Metrics:
    """Of one service in this process."""

    def __init__(self, context: Context, clock: Clock) -> None:
        self._context, self._clock = context, clock
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._families = _Families()
        self._registry.register(self._families)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the format that `accept` prefers.  Raises the store's errors."""
        now = self._clock.wall()
        counted = await self._context.do(lambda store: _count(store, now))
        self._families.now = [
            *_of_store(counted, str(self._context.service)),
            *_of_receivers(self._context.receivers.status() if self._context.receivers else []),
            *_of_calls(self._context.calls.status if self._context.calls else None),
        ]
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Families(Collector):
    """Hands on what was counted last."""

    def __init__(self) -> None:
        self.now: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.now


def _count(store: ServiceStore, now: float) -> _Counted:
    def one(sql: str, *parameters: object) -> int:
        return int(store.execute(sql, parameters)[0][0] or 0)

    return _Counted(
        admin.counters(store),
        one("SELECT count(DISTINCT serial_number) FROM devices"),
        {within: one("SELECT count(*) FROM devices WHERE heard_at > ?", now - within) for within in HEARD_WITHIN},
        one("SELECT sum(kept) FROM devices"),
        {table: one(f"SELECT count(*) FROM {table}") for table in _COUNTED},
        admin.count_conflicts(store),
        aside.counted(store),
    )


def _of_store(counted: _Counted, service: str) -> Iterator[Metric]:
    events = CounterMetricFamily("rataccess_events", "What the service has counted", labels=["service", "cause"])
    for cause, value in sorted(counted.counters.items()):
        events.add_metric([service, cause], value)
    yield events
    heard = GaugeMetricFamily("rataccess_devices_heard", "Enrolments heard lately", labels=["service", "seconds"])
    for within, value in counted.heard.items():
        heard.add_metric([service, str(within)], value)
    yield heard
    gauges = {
        ("rataccess_devices", "Devices that were ever enrolled"): counted.devices,
        ("rataccess_kept_bytes", "Bytes of records in the store"): counted.kept_bytes,
        ("rataccess_devices_in_conflict", "Devices whose fleets disagree about a variable"): counted.conflicts,
        **{_COUNTED[table]: value for table, value in counted.rows.items()},
    }
    for (name, text), value in gauges.items():
        yield _gauge(name, text, ["service"], [([service], value)])
    stand = [([receiver], float(count)) for receiver, count in sorted(counted.aside.items())]
    yield _gauge("rataccess_aside_records", "Records that a receiver refused and that stand aside", ["receiver"], stand)


def _of_receivers(found: list[ReceiverStatus]) -> Iterator[Metric]:
    def of(name: str, text: str, values: list[tuple[str, float]]) -> Metric:
        return _gauge(f"rataccess_receiver_{name}", text, ["receiver"], [([each], value) for each, value in values])

    lags = [(each.name, each.lag) for each in found if each.lag is not None]
    yield of("lag", "Records that are still before the receiver", [(name, float(lag)) for name, lag in lags])
    yield of("failures", "Failures in a row", [(each.name, each.failures) for each in found])
    for name, text in (("delivered", "Records delivered"), ("set_aside", "Records refused and kept aside")):
        family = CounterMetricFamily(f"rataccess_receiver_{name}", f"{text} since the start", labels=["receiver"])
        for each in found:
            family.add_metric([each.name], getattr(each, name))
        yield family


def _of_calls(found: CallStatus | None) -> Iterator[Metric]:
    if found is None:
        return
    yield _gauge("rataccess_calls_under_way", "Calls that are being carried out", [], [([], found.under_way)])
    yield _gauge("rataccess_calls_waiting", "Calls that wait for their turn", [], [([], found.waiting)])
    answers = CounterMetricFamily("rataccess_call_answers", "Answers to calls since the start", labels=["status"])
    for status, value in sorted(found.answered.items()):
        answers.add_metric([str(status)], value)
    yield answers


def _gauge(name: str, text: str, labels: list[str], values: list[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for labelled, value in values:
        family.add_metric(labelled, value)
    return family
