"""Which way a device is sent what waits for it, where it was heard by several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess.objects import Service
from rataccess.services import admin, provisioning
from rataccess.services.airway import Airway
from rataccess.wire import Message
from tests.services.service_world import FakeDevice, World
from tests.ways.ways_world import IMEI, NAMES, compact, record

SKY = Airway("sky", "imei", IMEI, link="sbd", room=270, unasked=True, dear=True)
LTE = ("192.0.2.1", 40_000)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Service.SOLUTION)
    yield world
    world.kill()


@pytest.fixture
def device(world: World) -> FakeDevice:
    made = world.add("SN1")
    provisioning.set_identities(world.settings, world.service, "SN1", NAMES)
    return made


def wait_for_it(world: World) -> None:
    admin.enqueue_inbound(world.settings.store, "SN1", "commands", {"open": True})


def test_a_message_that_was_hours_under_way_does_not_draw_the_device_back_to_a_satellite(
    world: World, device: FakeDevice
) -> None:
    slow, _ = record(device, 1)
    quick, _ = device.protect(Message(records=[device.record(2, 1)]))
    assert [to for _, to in world.core.process([(quick, LTE)])] == [LTE]
    assert (
        world.core.process([(slow, SKY)]) == []
    )  # its records wait for a dear answer that something else makes needless
    assert world.rows(columns="number, link") == [(1, "sbd"), (2, None)]
    wait_for_it(world)
    assert [to for _, to in world.core.tick()] == [LTE]
    later, _ = record(device, 3)  # sent after all that, it says where the device is now
    world.core.process([(later, SKY)])
    world.clock.passed += 70
    assert {to for _, to in world.core.tick()} <= {SKY}


def test_a_late_question_is_answered_where_it_came_from(world: World, device: FakeDevice) -> None:
    slow, identity = compact(device, Message(), Service.SOLUTION)
    quick, _ = device.protect(Message())
    world.core.process([(quick, LTE)])
    [(answer, to)] = world.core.process([(slow, SKY)])
    assert to is SKY
    assert device.context.unprotect_compact_response(answer, identity).code


def test_over_ip_a_device_is_not_called_for_days_because_a_satellite_could(world: World, device: FakeDevice) -> None:
    world.core.process([(record(device, 1)[0], SKY)])
    quick, _ = device.protect(Message(records=[device.record(2, 1)]))
    world.core.process([(quick, LTE)])
    wait_for_it(world)
    assert [to for _, to in world.core.tick()] == [LTE]
    world.clock.passed += world.settings.push_for + 1
    for _ in range(5):
        assert world.core.tick() == []
        world.clock.passed += 100
