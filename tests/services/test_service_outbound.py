"""Records for devices: inbound objects and the environment, until they are acknowledged."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest

from rataccess.errors import ConfigurationError, ObjectError
from rataccess.numbers import NumberSet
from rataccess.objects import Service, decode, encode
from rataccess.services import admin, provisioning
from rataccess.wire import ASKED_ONLY, BASE, ENVIRONMENT_QUEUE, MORE, NAMED_OBJECT_QUEUE, PARTIAL, Message
from tests.services.service_world import FakeDevice, World

SERIAL = "A1"


def environments(message: Message) -> list[object]:
    return [decode(record.body) for record in message.records if record.queue_id == ENVIRONMENT_QUEUE]


def test_an_object_is_sent_in_answers_until_it_is_acknowledged(management: World) -> None:
    device = management.add(SERIAL)
    number = admin.enqueue_inbound(management.store_path, SERIAL, "commands", {"go": 1})
    [record] = management.ask(device).message.records
    assert (record.number, record.queue, record.body) == (number, "commands", encode({"go": 1}))
    assert management.ask(device).message.records == []  # it may be on its way
    management.clock.passed += 2
    assert [r.number for r in management.ask(device).message.records] == [number]
    management.clock.passed += 60
    assert management.ask(device, Message(acknowledged=NumberSet(number))).message.records == []
    assert management.rows("outbound", "number") == []
    assert admin.list_devices(management.store_path)[0].waiting == 0


def test_the_queue_is_named_until_a_record_of_it_is_acknowledged(management: World) -> None:
    device = management.add(SERIAL)
    for value in (1, 2):
        admin.enqueue_inbound(management.store_path, SERIAL, "commands", value)
    assert [r.queue for r in management.ask(device).message.records] == ["commands", "commands"]
    management.ask(device, Message(acknowledged=NumberSet(1)))
    management.restart()
    [record] = management.ask(device).message.records
    assert (record.number, record.queue, record.queue_id) == (2, None, 8)


def test_numbers_are_never_given_twice(management: World) -> None:
    device = management.add(SERIAL)
    first = admin.enqueue_inbound(management.store_path, SERIAL, "q", 1)
    management.ask(device)
    management.ask(device, Message(acknowledged=NumberSet(first)))
    management.restart()
    assert admin.enqueue_inbound(management.store_path, SERIAL, "q", 2) == first + 1


def test_an_object_enqueued_while_the_device_listens_is_pushed_and_retried(management: World) -> None:
    device = management.add(SERIAL)
    management.ask(device, address="phone")
    admin.enqueue_inbound(management.store_path, SERIAL, "q", "now")
    sent_at = []
    for second in range(40):
        for data, to in management.core.tick():
            assert to == "phone"
            request = device.context.unprotect_request(data)
            assert not request.confirmable
            sent_at.append(second)
        management.clock.passed += 1
    assert sent_at == [0, 1, 3, 7, 15]  # after 1, 2, 4, 8 s, for the 30 s that the device is thought to listen
    assert not management.core.busy
    assert len(management.ask(device).message.records) == 1  # and then with the next exchange


def test_the_answer_to_a_push_acknowledges_it(management: World) -> None:
    device = management.add(SERIAL)
    management.ask(device)
    admin.enqueue_inbound(management.store_path, SERIAL, "q", "now")
    [(data, _)] = management.core.tick()
    request = device.context.unprotect_request(data)
    device.context.replay_state()
    body = b"\x81\x01"  # [1]
    answer = device.context.protect_response(request, 0x44, body, message_id=9)
    forged = answer[:-1] + bytes([answer[-1] ^ 1])
    assert management.core.process([(forged, "there"), (answer, "there"), (answer, "there")]) == []
    assert management.rows("outbound", "number") == []
    assert management.core.counters["forged answers"] == 1
    assert management.core.counters["answers to nothing"] == 1


def test_a_device_that_was_not_heard_is_not_written_to(management: World) -> None:
    management.add(SERIAL)
    admin.enqueue_inbound(management.store_path, SERIAL, "q", 1)
    assert management.core.tick() == []


def test_what_does_not_fit_waits_and_the_device_is_told(management: World) -> None:
    device = management.add(SERIAL)
    for index in range(4):
        admin.enqueue_inbound(management.store_path, SERIAL, "q", bytes([index]) * 500)
    answers = [management.ask(device).message for _ in range(3)]
    assert [[r.number for r in answer.records] for answer in answers] == [[1, 2], [3, 4], []]
    assert [MORE in answer.control for answer in answers] == [True, False, False]


def test_no_answer_exceeds_the_limit(tmp_path: Path) -> None:
    world = World(tmp_path, Service.MANAGEMENT, answer_bytes=200)
    device = world.add(SERIAL)
    for index in range(12):
        admin.enqueue_inbound(world.store_path, SERIAL, "q" * 30, b"x" * (20 * index))
    for number in range(1, 120, 2):
        world.clock.passed += 5
        data, _ = device.protect(Message(records=[device.record(number, 0)], control={0: None}))
        assert all(len(answer) <= 200 for answer, _ in world.core.process([(data, "x")]))
        assert all(len(push) <= 200 for push, _ in world.core.tick())
    world.kill()


@pytest.mark.parametrize("limit", [48, 51, 100, 340])
def test_an_answer_is_as_small_as_the_path_demands(management: World, limit: int) -> None:
    device = management.add(SERIAL)
    admin.enqueue_inbound(management.store_path, SERIAL, "q", b"x" * 3000)
    management.ask(device, Message(control={17: limit}))
    for number in range(1, 200, 3):
        management.clock.passed += 100
        data, _ = device.protect(Message(records=[device.record(number, 0)], control={0: None}))
        [(answer, _)] = management.core.process([(data, "here")])
        assert len(answer) <= limit


def receive_large(world: World, device: FakeDevice) -> bytes:
    """Play the device's part until a large object is whole."""
    held = bytearray()
    control: dict[int, object] = {}
    for _ in range(50):
        message = world.ask(device, Message(control=control)).message
        for record in message.records:
            assert record.offset == len(held)
            held += record.body
            if len(held) == record.total:
                world.ask(device, Message(acknowledged=NumberSet(record.number)))
                return bytes(held)
            control = {PARTIAL: {record.number: [0, len(held)]}}
    raise AssertionError(f"only {len(held)} bytes came")


def test_a_large_object_goes_in_byte_ranges_and_is_taken_up_where_the_device_says(management: World) -> None:
    device = management.add(SERIAL)
    value = bytes(range(256)) * 20
    admin.enqueue_inbound(management.store_path, SERIAL, "firmware", value)
    assert decode(receive_large(management, device)) == value
    assert management.rows("outbound", "number") == []


def test_a_missing_range_in_the_middle_is_sent(management: World) -> None:
    device = management.add(SERIAL)
    admin.enqueue_inbound(management.store_path, SERIAL, "firmware", b"x" * 5000)
    management.ask(device)
    [record] = management.ask(device, Message(control={PARTIAL: {1: [0, 100, 150, 5003]}})).message.records
    assert (record.offset, len(record.body)) == (100, 50)


def test_environments_of_fleets_and_device_are_merged_and_pushed_when_they_change(management: World) -> None:
    device = management.add(SERIAL, fleets=["north", "beta"])
    path = management.store_path
    assert management.ask(device).message.records == []
    admin.set_env(path, {"PERIOD": "60", "MODE": "n"}, fleet="north")
    admin.set_env(path, {"MODE": "b", "ONLY": "beta"}, fleet="beta")
    admin.set_env(path, {"ONLY": "device"}, serial_number=SERIAL)
    admin.set_env(path, {"NOT": "here"}, fleet="south")
    message = management.ask(device).message
    assert environments(message) == [{"PERIOD": "60", "MODE": "b", "ONLY": "device"}]
    assert message.records[0].queue is None
    management.ask(device, Message(acknowledged=NumberSet(message.records[0].number)))
    management.restart()
    assert management.ask(device).message.records == []
    admin.set_env(path, {"ONLY": None, "PERIOD": "60"}, serial_number=SERIAL)
    [push] = management.push(device)
    assert environments(push[0]) == [{"PERIOD": "60", "MODE": "b", "ONLY": "beta"}]


def test_a_change_of_fleets_changes_the_environment(management: World) -> None:
    device = management.add(SERIAL)
    admin.set_env(management.store_path, {"A": "1"}, fleet="north")
    assert management.ask(device).message.records == []
    provisioning.set_fleets(management.config, Service.MANAGEMENT, SERIAL, ["north"])
    assert environments(management.ask(device).message) == [{"A": "1"}]
    provisioning.set_fleets(management.config, Service.MANAGEMENT, SERIAL, [])
    assert environments(management.ask(device).message) == [{}]


def test_a_newer_environment_replaces_an_older_one_and_base_says_so(management: World) -> None:
    device = management.add(SERIAL)
    management.ask(device)
    for value in "123":
        admin.set_env(management.store_path, {"A": value}, serial_number=SERIAL)
        management.core.tick()
    management.clock.passed += 5
    message = management.ask(device).message
    assert environments(message) == [{"A": "3"}]
    assert message.control == {BASE: message.records[0].number}
    assert len(management.rows("outbound", "number")) == 1


def test_the_solution_service_has_no_environment(solution: World) -> None:
    device = solution.add(SERIAL)
    admin.set_env(solution.store_path, {"A": "1"}, serial_number=SERIAL)
    assert solution.ask(device).message.records == []


def test_a_named_object_can_be_put_at_the_device(solution: World) -> None:
    device = solution.add(SERIAL)
    admin.put_object(solution.store_path, SERIAL, "price", 3.2)
    [record] = solution.ask(device).message.records
    assert (record.queue_id, decode(record.body)) == (NAMED_OBJECT_QUEUE, ["price", 3.2])


def test_a_store_older_than_the_device_gives_new_numbers(management: World) -> None:
    device = management.add(SERIAL)
    for value in ("a", "b"):
        admin.enqueue_inbound(management.store_path, SERIAL, "q", value)
    message = management.ask(device, Message(acknowledged=NumberSet(500))).message
    assert [(r.number, decode(r.body)) for r in message.records] == [(501, "a"), (502, "b")]
    assert message.control == {}
    assert admin.enqueue_inbound(management.store_path, SERIAL, "q", "c") == 503


def test_a_device_enrolled_anew_starts_with_new_numbers(management: World) -> None:
    old = management.add(SERIAL)
    management.send(old, old.record(1, ["name", "old"], "$objects"), old.record(2, ["name", "older"], "$objects"))
    kid = provisioning.add_device(management.config, Service.MANAGEMENT, SERIAL, bytes(16), replace=True)
    new = FakeDevice(SERIAL, kid, bytes(16), management.clock)
    assert management.send(new, new.record(1, ["name", "new"], "$objects")).message.acknowledged == NumberSet(1)
    assert admin.get_object(management.store_path, SERIAL, "name") == "new"
    assert management.core.process([(old.protect(b"")[0], "here")]) == []


def test_what_cannot_be_is_refused(management: World) -> None:
    management.add(SERIAL)
    path = management.store_path
    with pytest.raises(ConfigurationError, match="B7"):
        admin.enqueue_inbound(path, "B7", "q", 1)
    with pytest.raises(ObjectError):
        admin.enqueue_inbound(path, SERIAL, "$environment", 1)
    with pytest.raises(ObjectError):
        admin.enqueue_inbound(path, SERIAL, "q", object())
    with pytest.raises(ConfigurationError, match="one of the two"):
        admin.set_env(path, {"A": "1"})
    with pytest.raises(ConfigurationError, match="must be text"):
        admin.set_env(path, {"A": 1}, fleet="f")  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="no store"):
        admin.list_devices(path.with_name("nothing"))
    assert not path.with_name("nothing").exists()


def test_get_env_tells_what_was_set(management: World) -> None:
    path = management.store_path
    admin.set_env(path, {"A": "1", "B": "2"}, fleet="north")
    admin.set_env(path, {"A": None}, fleet="north")
    assert admin.get_env(path, fleet="north") == {"B": "2"}
    assert admin.get_env(path, serial_number=SERIAL) == {}
    assert cbor2.dumps({}) == b"\xa0"


def test_nothing_is_sent_unasked_over_a_path_that_hears_nothing_but_answers(management: World) -> None:
    device = management.add(SERIAL)
    management.ask(device, Message(control={ASKED_ONLY: True}), address="mailbox")
    number = admin.enqueue_inbound(management.store_path, SERIAL, "q", "now")
    assert management.core.tick() == []
    assert management.core.send_packet(device.kid, b"packet") is None
    management.restart()
    [record] = management.ask(device, address="mailbox").message.records
    assert record.number == number
    management.clock.passed += 5
    assert management.core.tick() == []  # it is remembered of the address
    management.ask(device, address="wired")
    management.clock.passed += 5
    [(_, to)] = management.core.tick()
    assert to == "wired"
