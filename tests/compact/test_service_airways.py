"""Packets in compact form at a service: taken by the name that a network gives, answered over the same airway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, encode
from rataccess.security import BAD_REQUEST, RequestIdentity
from rataccess.services.airway import Airway
from rataccess.services.keyfile import read_entries, write_entries
from rataccess.services.store import open_store
from rataccess.wire import (
    CALL_QUEUE,
    ERA,
    PARTIAL,
    TIME,
    Message,
    MessageBuilder,
    Reach,
    decode_message,
    encode_message,
    fragment,
)
from tests.services.service_world import FakeDevice, World

LORAWAN = Airway("chirpstack", "deveui", "0102030405060708", link="lorawan", room=51)


@pytest.fixture
def shared(tmp_path: Path, postgres_url: str) -> Iterator[World]:
    world = World(tmp_path, Service.SOLUTION, store=postgres_url)
    yield world
    world.kill()


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


# --- numbers that are read against what was known when they were sent ---------------------------------------------------


def dense(device: FakeDevice, number: int, floor: int, highest: int) -> bytes:
    """A packet with one record in the densest form."""
    record = device.record(number, number, named=False)
    now = device.clock.wall()
    record = msgspec.structs.replace(record, captured_at=now)
    builder = MessageBuilder(41, floor=floor, now=now, dense=Reach(floor, highest, now))
    assert builder.add(record)
    body = builder.finish()
    assert body[0] >> 6 == 3
    return device.context.protect_compact(body, Service.SOLUTION)[0]


def meet(world: World, device: FakeDevice) -> None:
    """The device hears the service's era and names it: short numbers are read from then on."""
    world.ask(device)
    world.ask(device, Message(control={ERA: device.era}))
    assert device.era is None, "it is told no longer"


def upto(world: World, device: FakeDevice, numbers: range) -> None:
    """These records arrive, by UDP."""
    world.send(device, *(device.record(number, number) for number in numbers))


def test_a_packet_that_was_hours_under_way_is_read_as_it_was_meant(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    meet(world, device)
    upto(world, device, range(1, 11))
    late = dense(device, 12, 10, 12)
    for start in range(13, 1413, 100):
        upto(world, device, range(start, start + 100))
    upto(world, device, range(11, 12))
    assert world.core.process([(late, LORAWAN)]) != []
    found = {record.number: record.body for record in world.store.records_after(None, limit=2000)}
    assert found == {number: encode(number) for number in range(1, 1413)}


def test_a_late_packet_is_not_read_where_nobody_knows_any_more_what_it_meant(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    meet(world, device)
    upto(world, device, range(1, 11))
    late = dense(device, 11, 10, 11)
    upto(world, device, range(12, 14))
    world.restart()
    assert world.core.process([(late, LORAWAN)]) == []
    assert world.core.counters["packets that came too late to be read"] == 1
    assert [number for number, _ in world.rows()] == [*range(1, 11), 12, 13]
    assert len(world.core.process([(dense(device, 11, 10, 13), LORAWAN)])) == 1, "it comes again"
    assert [number for number, _ in world.rows()] == list(range(1, 14))


def test_a_capture_time_is_read_against_when_the_network_heard_it(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    meet(world, device)
    upto(world, device, range(1, 2))
    packet, sent_at = dense(device, 2, 1, 2), world.clock.wall()
    world.clock.passed += 5 * 86_400
    world.core.process([(packet, LORAWAN._replace(heard_at=sent_at + 2))])
    assert world.rows(columns="number, captured_at")[1] == (2, pytest.approx(sent_at, abs=0.01))


# --- what is answered --------------------------------------------------------------------------------------------------


def opened(device: FakeDevice, answers: list[tuple[bytes, object]], identity: RequestIdentity) -> Message:
    [(answer, _)] = answers
    body = device.context.unprotect_compact_response(answer, identity).body
    return decode_message(body, floor=0, now=device.clock.wall(), compact=True)


DEAR = Airway("directip", "imei", "300234010753370", link="sbd", room=270, unasked=True, dear=True)


@pytest.fixture
def satellite(world: World) -> FakeDevice:
    device = world.add("SN1")
    name(world, device, imei=DEAR.name)
    return device


def test_a_satellite_is_answered_when_the_device_asks(world: World, satellite: FakeDevice) -> None:
    data, _ = compact(satellite, Message(records=[satellite.record(1, 1)]))
    assert world.core.process([(data, DEAR)]) == []
    data, identity = compact(satellite, Message(control={TIME: None}))
    message = opened(satellite, world.core.process([(data, DEAR)]), identity)
    assert message.control[TIME] == round(world.clock.wall() * 1000)
    assert message.acknowledged == NumberSet(1), "which rides along"
    data, identity = compact(satellite, b"")
    assert opened(satellite, world.core.process([(data, DEAR)]), identity).acknowledged == NumberSet(1)


def test_a_satellite_is_answered_when_records_have_waited_for_long(world: World, satellite: FakeDevice) -> None:
    for number in range(1, 4):
        data, identity = compact(satellite, Message(records=[satellite.record(number, 1)]))
        assert world.core.process([(data, DEAR)]) == []
        assert world.core.tick() == []
        world.clock.passed += 3500
    world.restart()
    data, identity = compact(satellite, Message(records=[satellite.record(4, 1)]))
    assert world.core.process([(data, DEAR)]) == []
    world.clock.passed += 400
    data, identity = compact(satellite, Message(records=[satellite.record(5, 1)]))
    message = opened(satellite, world.core.process([(data, DEAR)]), identity)
    assert message.acknowledged == NumberSet(5)
    assert world.core.tick() == []


def test_urgent_records_and_replies_do_not_wait(world: World, satellite: FakeDevice) -> None:
    world.ask(satellite, Message(records=[satellite.record(1, 1)]))
    device = world.core._sessions[satellite.kid].device
    world.store.enqueue(device, "commands", b"\x01", Urgency.ROUTINE, world.clock.wall())
    world.store.lock_devices({device})
    data, _ = compact(satellite, Message(records=[satellite.record(2, 1)]))
    world.restart()
    assert world.core.process([(data, DEAR)]) == []
    world.store.enqueue(device, CALL_QUEUE, b"\x83\x01\x18\xc8\xf6", Urgency.ROUTINE, world.clock.wall())
    world.restart()
    data, identity = compact(satellite, Message(records=[satellite.record(3, 1)]))
    message = opened(satellite, world.core.process([(data, DEAR)]), identity)
    assert {record.number for record in message.records} == {1, 2}, "the other one rides along"
    assert message.acknowledged == NumberSet(3)


def test_an_answer_that_fits_no_packet_is_not_sent(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    data, _ = compact(device, Message(records=[device.record(1, 1)]))
    assert world.core.process([(data, LORAWAN._replace(room=11))]) == []
    assert world.core.counters["answers that fit no packet"] == 1
    assert world.rows() == [(1, "readings")]


def test_processes_that_share_a_store_answer_what_each_has_heard(shared: World) -> None:
    device = shared.add("SN1")
    name(shared, device, deveui=LORAWAN.name)
    with open_store(shared.settings.store) as store:
        cores = (shared.core, shared.another_core(store))
        meet(shared, device)
        for number in range(1, 9):
            body = Message(records=[device.record(number, number, named=number == 1)])
            data, identity = compact(device, encode_message(body, floor=number - 1, now=shared.clock.wall()))
            own = LORAWAN._replace(way=f"way {number % 2}")
            [(answer, to)] = cores[number % 2].process([(data, own)])
            assert to == own
            response = device.context.unprotect_compact_response(answer, identity)
            message = decode_message(response.body, floor=0, now=shared.clock.wall(), compact=True)
            assert message.acknowledged == NumberSet(number)
            assert cores[1 - number % 2].process([(data, own)]) == [], "of one that both get, one finds it struck out"
        assert device.context.within_reach, "a process that has seen little completes short numbers all the same"
    assert [number for number, _ in shared.rows()] == list(range(1, 9))


def test_a_genuine_packet_that_is_malformed_is_told_so_and_changes_nothing(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    for body in (b"\xff", b"\xc0", b"\x60", b"\xa1\x01\x00"):
        data, identity = compact(device, body)
        [(answer, _)] = world.core.process([(data, LORAWAN)])
        assert device.context.unprotect_compact_response(answer, identity).code == BAD_REQUEST
    assert world.rows() == []
    assert world.core.counters["malformed messages"] == 4


def test_ranges_without_a_head_or_beyond_the_object_are_dropped(world: World) -> None:
    device = world.add("SN1")
    name(world, device, deveui=LORAWAN.name)
    whole = device.record(1, bytes(100))
    head = Message(records=[fragment(whole, 0, 30)])
    known = bytes.fromhex("7000000100001e") + whole.body[30:60]
    for body, cause in (
        (known, "ranges of unknown records"),
        (head, None),
        (bytes.fromhex("70000001000060") + bytes(20), "conflicting fragment"),
        (known, None),
    ):
        data, identity = compact(device, body)
        [(answer, _)] = world.core.process([(data, LORAWAN)])
        message = decode_message(
            device.context.unprotect_compact_response(answer, identity).body,
            floor=0,
            now=world.clock.wall(),
            compact=True,
        )
        assert cause is None or world.core.counters[cause] == 1
    assert message.control[PARTIAL] == {1: [0, 60]}
