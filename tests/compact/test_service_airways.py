"""Packets in compact form at a service: taken by the name that a network gives, answered over the same airway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rataccess.objects import Service
from rataccess.security import RequestIdentity
from rataccess.services.airway import Airway
from rataccess.services.keyfile import read_entries, write_entries
from rataccess.wire import Message, decode_message, encode_message
from tests.services.service_world import FakeDevice, World

LORAWAN = Airway("chirpstack", "deveui", "0102030405060708", link="lorawan", room=51)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Service.SOLUTION)
    yield world
    world.kill()


def name(world: World, device: FakeDevice, **identities: str) -> None:
    """Have the networks' names of a device known to its service."""
    path = Path(world.settings.keys)
    entries = [
        msgspec.structs.replace(each, identities=identities) if each.serial_number == device.serial_number else each
        for each in read_entries(path)
    ]
    write_entries(path, entries)


def compact(device: FakeDevice, message: Message | bytes) -> tuple[bytes, RequestIdentity]:
    body = message if isinstance(message, bytes) else encode_message(message, floor=None, now=device.clock.wall())
    return device.context.protect_compact(body, Service.SOLUTION)


def test_a_record_that_came_by_an_airway_is_filed_and_acknowledged_over_it(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    data, identity = compact(device, Message(records=[device.record(1, 21.5)]))
    [(answer, to)] = world.core.process([(data, LORAWAN)])
    assert to is LORAWAN
    assert len(answer) <= LORAWAN.room
    response = device.context.unprotect_compact_response(answer, identity)
    message = decode_message(response.body, floor=0, now=world.clock.wall())
    assert message.acknowledged is not None
    assert 1 in message.acknowledged
    assert world.rows(columns="number, queue, link") == [(1, "readings", "lorawan")]


def test_what_is_not_genuine_is_counted_by_cause_and_changes_nothing(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    data, _ = compact(device, Message(records=[device.record(1, 21.5)]))
    for packet, airway, cause in (
        (data, LORAWAN._replace(name="ffff030405060708"), "packets of unknown names"),
        (data, LORAWAN._replace(kind="imei"), "packets of unknown names"),
        (data[:-1] + bytes([data[-1] ^ 1]), LORAWAN, "forged requests"),
        (bytes([data[0] ^ 0x20]) + data[1:], LORAWAN, "packets for the other service"),
        (data[:9], LORAWAN, "malformed datagrams"),
        (bytes([0xC0]) + data[1:], LORAWAN, "malformed datagrams"),
        (bytes([data[0] ^ 0xC0]) + data[1:], LORAWAN, "answers to nothing"),
    ):
        before = world.core.counters.get(cause, 0)
        assert world.core.process([(packet, airway)]) == []
        assert world.core.counters[cause] == before + 1, cause
    assert world.rows() == []
    assert len(world.core.process([(data, LORAWAN)])) == 1, "the genuine one is still taken"
    assert world.core.process([(data, LORAWAN)]) == []
    assert world.core.counters["replayed requests"] == 1
