"""What Prometheus reads, read by its own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from rataccess.clock import SystemClock
from rataccess.objects import Service
from rataccess.services import admin
from rataccess.services.api.context import Context
from rataccess.services.api.metrics import Metrics
from rataccess.services.calls import CallStatus
from rataccess.services.receivers import ReceiverStatus
from rataccess.services.store import Changes, open_store
from rataccess.services.storethread import StoreThread
from tests.api.api_world import ApiWorld


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> ApiWorld:
    world = ApiWorld(tmp_path, Service.MANAGEMENT, store_url)
    world.add("SECRET-SERIAL", "north", "test")
    world.add("B2")
    for fleet in ("north", "test"):
        admin.set_env(world.store, {"A": fleet}, fleet=fleet)
    admin.enqueue_inbound(world.store, "B2", "q", 1)
    with open_store(world.settings.store) as store:
        store.commit(Changes(), {"messages": 7, "forged requests": 2})
        store.execute("UPDATE devices SET heard_at = ?, kept = 100 WHERE serial_number = 'B2'", (SystemClock().wall(),))
    return world


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("text/plain", "text/plain", text_format),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", open_metrics),
    ],
)
async def test_the_numbers(world: ApiWorld, accept: str, content_type: str, parse: type[object]) -> None:
    async with world.client() as client:
        response = await client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith(content_type)
    assert "SECRET-SERIAL" not in response.text
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(response.text)  # type: ignore[call-arg, attr-defined]
        for sample in family.samples
    }
    service = ("service", "management")
    assert found["rataccess_events_total", ("cause", "messages"), service] == 7
    assert found["rataccess_events_total", ("cause", "forged requests"), service] == 2
    assert found["rataccess_devices", service] == 2
    assert found["rataccess_devices_heard", ("seconds", "60"), service] == 1
    assert found["rataccess_devices_in_conflict", service] == 1
    assert found["rataccess_waiting_records", service] == 1
    assert found["rataccess_kept_bytes", service] == 100
    assert found["rataccess_parked_blocks", service] == 0


class Forwarding:
    """Receivers that say one thing."""

    def status(self) -> list[ReceiverStatus]:
        return [ReceiverStatus("hook", "webhook", "trying again", 12, 5, 1, 3, "down", None)]


class Desk:
    """A call desk that says one thing."""

    status = CallStatus("working", 2, 3, {200: 7, 3: 1}, None)


async def test_receivers_and_calls_are_told_of(world: ApiWorld) -> None:
    store = StoreThread(world.settings.store, "test")
    context = Context(world.service, world.settings, store, Forwarding(), Desk())  # type: ignore[arg-type]
    try:
        page, _ = await Metrics(context, SystemClock()).page("")
    finally:
        await store.aclose()
    lines = page.decode().splitlines()
    for line in ("lag", "failures", "delivered_total", "set_aside_total"):
        assert any(each.startswith(f'rataccess_receiver_{line}{{receiver="hook"}}') for each in lines), line
    for told in ("calls_under_way 2.0", "calls_waiting 3.0", 'call_answers_total{status="200"} 7.0'):
        assert f"rataccess_{told}" in lines
