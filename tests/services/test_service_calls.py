"""Calls and packets at the service: taken once, answered once, pushed while somebody waits."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import cbor2
import pytest

from rataccess.numbers import NumberSet
from rataccess.objects import Urgency, decode
from rataccess.services import admin
from rataccess.services.callin import call_row
from rataccess.services.server import Server
from rataccess.services.store import PACKETS, open_store
from rataccess.wire import CALL_QUEUE, MORE, PACKET, Message, WireRecord
from tests.services.service_world import NOW, FakeDevice, World


def call(device: FakeDevice, number: int, *items: object, at: float | None = None) -> WireRecord:
    return device.record(number, list(items), "$calls", at=at)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_is_kept_apart_from_records_and_counted_once(solution_on_each: World) -> None:
    world, woken = solution_on_each, list[int]()
    world.core.on_calls = lambda: woken.append(1)
    device = world.add("A1")
    sent = call(device, 1, "prices", {"zone": "SE3"}, 60, True, at=NOW + 900)
    for _ in range(2):
        assert world.send(device, sent, device.record(2, 2)).message.acknowledged == NumberSet(2)
    world.restart()
    world.send(device, sent)
    [waiting] = world.store.open_calls()
    assert (waiting.device, waiting.number, waiting.name, waiting.repeatable) == (device.kid, 1, "prices", True)
    assert cbor2.loads(waiting.body) == {"zone": "SE3"}
    assert waiting.expires_at == NOW + 960, "from when it was made"
    assert world.rows() == [(2, "readings")]
    assert woken == [1]


def test_a_call_that_nobody_can_time_ends_after_its_arrival(solution: World) -> None:
    device = solution.add("A1")
    now = solution.clock.wall()
    solution.send(device, call(device, 1, "prices", None, 60, False))
    solution.send(device, call(device, 2, "prices", None, 60, False, at=now + 3600))  # a clock that is ahead
    solution.send(device, call(device, 3, "prices", None, 10**9, False))
    ends = [waiting.expires_at for waiting in solution.store.open_calls()]
    assert ends == [now + 60, now + 60, now + 86_400]


@pytest.mark.parametrize(
    "items",
    [
        *((), ("prices",), ("prices", None, 60), ("", None, 60, True), (1, None, 60, True), ("n" * 65, None, 1, True)),
        *(("a\0b", None, 60, True), ("prices", None, "60", True), ("prices", None, -1, True), ("prices", None, 60, 1)),
    ],
)
def test_a_malformed_call_is_refused(solution_on_each: World, items: tuple[Any, ...]) -> None:
    world = solution_on_each
    device = world.add("A1")
    assert world.send(device, call(device, 3, *items)).message.acknowledged == NumberSet(0, [(3, 4)])
    assert world.store.open_calls() == []
    world.clock.passed += 1
    [(message, _)] = world.push(device)
    [record] = message.records
    assert (record.queue_id, decode(record.body)) == (CALL_QUEUE, [3, 6, None])


def test_a_call_to_the_management_service_is_refused(management: World) -> None:
    device = management.add("A1")
    management.send(device, call(device, 1, "prices", None, 60, True))
    assert management.rows() == []
    assert management.core.counters["calls of another service"] == 1
    management.clock.passed += 1
    [(message, _)] = management.push(device)
    assert [decode(record.body) for record in message.records] == [[1, 6, None]]


def test_a_body_that_refers_to_itself_is_kept_as_it_came(solution: World) -> None:
    """Encoded anew it would take 2^40 bytes."""
    device = solution.add("A1")
    lists = b"".join(b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + cbor2.dumps(index)) for index in range(40))
    body = b"\x98\x29\xd8\x1c\x81\x00" + lists
    raw = b"\x84\x66prices" + body + b"\x18\x3c\xf5"
    record = WireRecord(1, CALL_QUEUE, Urgency.PROMPT, raw, NOW)
    solution.send(device, record)
    [waiting] = solution.store.open_calls()
    assert waiting.body == body


def test_an_answer_is_pushed_for_as_long_as_somebody_waits_for_it(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    world.send(device, call(device, 1, "prices", None, 600, True))
    assert world.core.awaited
    world.clock.passed += 300  # push_for has long passed
    assert world.push(device) == []
    assert world.core.busy
    with open_store(world.settings.store) as desk:
        assert desk.answer_call(desk.open_calls()[0], 200, cbor2.dumps("cheap"), now=world.clock.wall())
    [(message, answer)] = world.push(device)
    assert [decode(record.body) for record in message.records] == [[1, 200, "cheap"]]
    world.clock.passed += 400
    assert world.push(device) == []
    assert not world.core.awaited
    world.core.process([(answer, "here")])


def test_an_answer_goes_with_whatever_the_device_asks_next(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, call(device, 1, "prices", None, 60, True))
    solution.store.answer_call(solution.store.open_calls()[0], 200, cbor2.dumps("cheap"))
    [record] = solution.ask(device).message.records
    assert decode(record.body) == [1, 200, "cheap"]


def test_a_large_answer_comes_in_byte_ranges(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, call(device, 1, "prices", None, 60, True))
    solution.store.answer_call(solution.store.open_calls()[0], 200, cbor2.dumps(bytes(5000)))
    message = solution.ask(device).message
    assert message.control[MORE] is True
    assert message.records[0].offset == 0


async def test_who_answers_wakes_the_server(solution: World) -> None:
    """No second passes: the answer leaves when it is there."""
    server = Server(solution.core, "127.0.0.1", 0)
    server.open()
    device, loop = solution.add("A1"), asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        data, identity = device.protect(Message(records=[call(device, 1, "prices", None, 60, True)]))
        async with asyncio.timeout(20):
            await loop.sock_sendto(udp, data, server.address)
            device.read(await loop.sock_recv(udp, 65_535), identity)
            with open_store(solution.settings.store) as desk:
                desk.answer_call(desk.open_calls()[0], 200, cbor2.dumps("cheap"))
            server._tick_later = lambda: None  # type: ignore[method-assign]
            if server._tick is not None:
                server._tick.cancel()
            await asyncio.to_thread(server.wake)
            request = device.context.unprotect_request(await loop.sock_recv(udp, 65_535))
    assert b"cheap" in request.body
    server.close()
    server.wake()  # too late, and no harm


# --- packets ----------------------------------------------------------------------------------------------------------


def test_packets_of_a_device_are_kept_without_a_number(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    for data in (b"one", b"two", b"two", b""):
        answer = world.ask(device, Message(control={PACKET: data}))
        assert (answer.code, answer.message.acknowledged) == (0x44, NumberSet()), "none of the records"
    found = world.store.records_after(None)
    assert [(each.queue, each.number, decode(each.body)) for each in found] == [
        (PACKETS, None, data) for data in (b"one", b"two", b"two")
    ]


def test_a_replayed_packet_is_none(solution: World) -> None:
    device = solution.add("A1")
    data, _ = device.protect(Message(control={PACKET: b"one"}))
    solution.core.process([(data, "here"), (data, "there")])
    solution.restart()
    solution.core.process([(data, "here")])
    assert len(solution.store.records_after(None)) == 1


def test_what_is_no_packet_is_refused(solution: World) -> None:
    assert solution.ask(solution.add("A1"), Message(control={PACKET: "text"})).code == 0x80


def test_a_packet_for_a_device_goes_once(solution_on_each: World) -> None:
    world = solution_on_each
    device = world.add("A1")
    world.ask(device)
    admin.post_packet(world.settings.store, "A1", b"down", seconds=1e9)
    [(message, _)] = world.push(device)
    assert message.control == {PACKET: b"down"}
    assert world.push(device) == []
    assert world.ask(device).message.control == {}
    assert world.rows("packets", "id") == []


def test_a_packet_waits_for_a_device_that_is_heard_in_time(solution: World) -> None:
    device = solution.add("A1")
    now = solution.clock.wall()
    for data, end in ((b"late", now + 5), (b"first", now + 500), (b"x" * 2000, now + 500), (b"second", now + 500)):
        solution.store.post_packet("A1", data, end)
    solution.clock.passed += 60
    assert solution.ask(device).message.control == {PACKET: b"first"}
    assert solution.ask(device).message.control == {PACKET: b"second"}
    assert solution.ask(device).message.control == {}
    assert solution.core.counters["packets that came too late"] == 1
    assert solution.core.counters["packets that fit no message"] == 1
    assert solution.core.counters["packets for devices"] == 2


def test_a_packet_goes_at_once_to_a_device_that_was_just_heard(solution: World) -> None:
    device = solution.add("A1")
    assert solution.core.send_packet(device.kid, b"now") is None, "never heard"
    solution.ask(device)
    found = solution.core.send_packet(device.kid, b"now")
    assert found is not None
    data, address = found
    assert address == "here"
    assert cbor2.loads(device.context.unprotect_request(data).body) == {PACKET: b"now"}
    assert solution.core.send_packet(device.kid, b"x" * 2000) is None, "too large for the path"
    solution.clock.passed += 31
    assert solution.core.send_packet(device.kid, b"now") is None, "heard too long ago"


@pytest.mark.parametrize("size", [*range(1080, 1130)])
def test_a_message_with_a_packet_and_records_keeps_its_limit(solution: World, size: int) -> None:
    device = solution.add("A1")
    for number in range(3):
        admin.enqueue_inbound(solution.settings.store, "A1", "commands", number)
    solution.store.post_packet("A1", bytes(size), solution.clock.wall() + 500)
    for kind in ("asked", "unasked"):
        if kind == "asked":
            data, _ = device.protect(b"")
            [(datagram, _)] = solution.core.process([(data, "here")])
            assert len(datagram) <= 1152
        else:
            solution.clock.passed += 5
            assert all(len(datagram) <= 1152 for datagram, _ in solution.core.tick())


def test_packets_that_nobody_fetched_are_swept_away(solution: World) -> None:
    other, _ = solution.add("B2"), solution.add("A1")
    solution.store.post_packet("A1", b"x", solution.clock.wall() + 5)
    solution.clock.passed += 61
    solution.ask(other)
    solution.core.tick()
    assert solution.rows("packets", "id") == []


@pytest.mark.parametrize(
    ("captured", "left"), [(None, 60), (-10, 50), (5, 60), (365 * 86_400, 60), (-365 * 86_400, 60)]
)
def test_a_call_ends_by_the_clock_of_the_service(solution: World, captured: float | None, left: float) -> None:
    """Whatever the device's own clock says: a year ahead, a year behind, nothing."""
    device, now = solution.add("A1"), solution.clock.wall()
    at = None if captured is None else now + captured
    row = call_row(1, call(device, 1, "prices", None, 60, True, at=at), now)
    assert row is not None
    assert row[4] == now + left
