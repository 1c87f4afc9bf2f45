"""Whatever bytes arrive: a service counts, drops and goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.errors import StoreUnreachable
from rataccess.numbers import NumberSet
from rataccess.objects import Service
from rataccess.services import admin, provisioning
from rataccess.wire import ERA, Message
from tests.services.service_world import FakeDevice, World, passing_world

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def known() -> Iterator[tuple[World, FakeDevice]]:
    with passing_world(Service.SOLUTION) as world:
        yield world, world.add("A1")


@MANY
@given(
    st.lists(st.binary(max_size=64) | st.binary(max_size=40).map(lambda tail: b"\x52\x02\x00\x01ab\x93\x09\x05" + tail))
)
def test_any_datagram_is_survived_and_nobody_is_told(known: tuple[World, FakeDevice], datagrams: list[bytes]) -> None:
    world, _ = known
    before = sum(world.core.counters.values())
    assert world.core.process([(datagram, "somewhere") for datagram in datagrams]) == []
    assert sum(world.core.counters.values()) == before + len(datagrams)
    assert world.core.counters["defects"] == 0
    assert world.rows() == []


@MANY
@given(st.integers(0, 1000), st.integers(1, 255))
def test_an_altered_request_changes_nothing(known: tuple[World, FakeDevice], index: int, mask: int) -> None:
    world, device = known
    datagram, _ = device.protect(Message(records=[device.record(1, {"t": 1})]))
    altered = bytearray(datagram)
    altered[6 + index % (len(datagram) - 6)] ^= (
        mask  # from behind the token on: what stands before is not authenticated
    )
    assert world.core.process([(bytes(altered), "somewhere")]) == []
    assert world.rows() == []


_ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**33), 2**33)
    | st.binary(max_size=8)
    | st.text(max_size=8)
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(-2, 20) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
_BODIES = st.binary(max_size=40) | st.lists(_ITEMS, max_size=6).map(lambda items: b"".join(map(cbor2.dumps, items)))


@settings(max_examples=60, deadline=None)
@given(st.lists(_BODIES, min_size=1, max_size=3))
def test_any_genuine_body_is_answered(bodies: list[bytes]) -> None:
    with passing_world(Service.MANAGEMENT) as world:
        device = world.add("A1")
        for body in bodies:
            assert world.ask(device, body).code in (0x44, 0x80)
            world.core.tick()
        assert world.core.counters["defects"] == 0
        last = world.ask(device, Message(records=[device.record(2**52, "still there")])).message.acknowledged
        assert last is not None
        assert 2**52 in last


@pytest.mark.parametrize(
    "control",
    [
        *({0: 5}, {1: 0}, {1: "a"}, {1: True}, {1: 2**60}, {2: []}, {2: {1: [3, 2]}}, {2: {1: [1]}}, {2: {"a": []}}),
        *({3: 1}, {16: 3}, {16: "x" * 33}, {17: -1}),
    ],
)
def test_a_malformed_message_is_refused_as_a_whole(management: World, control: dict[int, object]) -> None:
    device = management.add("A1")
    management.send(device, device.record(1, 1))
    answer = management.send(device, device.record(2, 2), control=control, acknowledged=NumberSet(9))
    assert (answer.code, answer.message) == (0x80, Message())
    assert management.rows() == [(1, "readings")]
    assert management.core.counters["malformed messages"] == 1
    assert management.send(device, device.record(2, 2)).message.acknowledged == NumberSet(2)


def test_unknown_control_keys_are_ignored(management: World) -> None:
    device = management.add("A1")
    assert management.send(device, device.record(1, 1), control={999: {"x": [1]}}).message.acknowledged == NumberSet(1)


def test_a_replay_is_dropped_also_after_a_restart(management: World) -> None:
    device = management.add("A1")
    datagram, _ = device.protect(Message(records=[device.record(1, 1)]))
    assert len(management.core.process([(datagram, "here"), (datagram, "elsewhere")])) == 1
    management.restart()
    assert management.core.process([(datagram, "here")]) == []
    assert management.core.counters["replayed requests"] == 2


def test_a_confirmable_request_that_comes_twice_gets_the_same_answer_at_the_same_address(management: World) -> None:
    device = management.add("A1")
    datagram, identity = device.protect(Message(records=[device.record(1, 1)]), confirmable=True)
    [(first, _)] = management.core.process([(datagram, "here")])
    assert first[0] >> 4 & 3 == 2  # piggybacked on the acknowledgement
    assert first[2:4] == datagram[2:4]
    assert device.read(first, identity).message.acknowledged == NumberSet(1)
    assert management.core.process([(datagram, "here")]) == [(first, "here")]
    assert management.core.process([(datagram, "elsewhere")]) == []


def test_an_unknown_and_a_revoked_device_hear_nothing(management: World) -> None:
    device, other = management.add("A1"), management.add("B2")
    management.send(device, device.record(1, 1))
    provisioning.revoke_device(management.config, Service.MANAGEMENT, "A1")
    assert management.core.process([(device.protect(b"")[0], "here")]) == []
    assert management.ask(other).code == 0x44
    stranger = FakeDevice("C3", b"\x77", bytes(16), management.clock)
    assert management.core.process([(stranger.protect(b"")[0], "here")]) == []
    assert management.core.counters["requests of unknown devices"] == 1
    assert management.core.counters["requests of revoked devices"] == 1


def test_a_revoked_devices_answer_to_an_unasked_request_changes_nothing(management: World) -> None:
    device = management.add("A1")
    management.ask(device)
    admin.enqueue_inbound(management.store_path, "A1", "q", 1)
    [(_, answer)] = management.push(device)
    provisioning.revoke_device(management.config, Service.MANAGEMENT, "A1")
    assert management.core.process([(answer, "here")]) == []
    assert management.core.counters["answers of revoked devices"] == 1


def test_a_key_file_that_became_unreadable_changes_nothing(management: World) -> None:
    device = management.add("A1")
    path = Path(management.settings.keys)
    management.ask(device)
    path.write_text("{}}")
    assert management.ask(device).code == 0x44
    path.chmod(0o644)
    os.utime(path, (1, 1))
    assert management.ask(device).code == 0x44
    assert management.core.counters["unreadable key files"] == 2


def test_other_paths_and_methods_are_refused(management: World) -> None:
    device = management.add("A1")
    for more, code in (({"path": ("a", "b")}, 0x84), ({"code": 0x01}, 0x85)):
        datagram, identity = device.context.protect_request(b"", token=b"t", message_id=1, **more)
        [(answer, _)] = management.core.process([(datagram, "here")])
        assert device.context.unprotect_response(answer, identity).code == code


def test_noise_costs_no_transaction(management: World, monkeypatch: pytest.MonkeyPatch) -> None:
    device = management.add("A1")
    management.ask(device)
    monkeypatch.setattr(management.store, "commit", None)
    forged = bytearray(device.protect(b"")[0])
    forged[-1] ^= 1
    assert management.core.process([(bytes(forged), "x"), (b"", "x"), (b"\x70\x00\x00\x01", "x")]) == []
    assert management.core.counters["forged requests"] == 1
    assert management.core.counters["malformed datagrams"] == 1
    assert management.core.counters["empty messages and resets"] == 1


def test_counters_survive_a_restart(management: World) -> None:
    management.core.process([(b"noise", "x")])
    management.core.tick()
    management.restart()
    assert management.core.counters["malformed datagrams"] == 1


def test_sessions_in_memory_are_bounded_and_come_back_from_the_store(tmp_path: Path) -> None:
    world = World(tmp_path, Service.MANAGEMENT, sessions=16)
    devices = [world.add(f"D{index}") for index in range(20)]
    for number in (1, 2):
        for device in devices:
            assert world.send(device, device.record(number, number)).message.acknowledged == NumberSet(number)
    assert len(world.core._sessions) == 16
    assert len(world.rows()) == 40
    world.kill()


def test_no_secret_is_shown(management: World) -> None:
    device = management.add("A1")
    management.ask(device)
    secret = device.secret.hex()
    entries = json.loads(Path(management.settings.keys).read_text())["devices"]
    assert entries[0]["secret"] == secret
    session = management.core._sessions[device.kid]
    for thing in (
        session,
        session.entry,
        session.context,
        management.core,
        provisioning.entries(management.config, Service.MANAGEMENT),
    ):
        assert secret not in repr(thing)
        assert repr(device.secret) not in repr(thing)


def test_an_era_ends_where_the_server_of_the_store_was_out_of_reach_in_a_batch(
    solution: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which copy of the store it has when it is back."""
    device = solution.add("A1")
    solution.ask(device)
    before = device.era
    assert before
    solution.ask(device, Message(control={ERA: before}))
    solution.ask(device)
    assert device.era is None, "the device was told"

    def away() -> None:
        raise StoreUnreachable("no server")

    with monkeypatch.context() as patch:
        patch.setattr(solution.core._sessions, "look_around", away)
        data, _ = device.protect(Message())
        assert solution.core.process([(data, "here")]) == []
    solution.clock.passed += 10.0
    solution.ask(device)
    assert device.era
    assert device.era != before
