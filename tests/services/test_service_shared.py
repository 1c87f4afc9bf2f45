"""Several service processes on one PostgreSQL: exactly once, whichever of them a datagram comes to."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rataccess.errors import StoreUnreachable
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, encode
from rataccess.security import SecureContext
from rataccess.services import admin
from rataccess.services.core import ServiceCore
from rataccess.services.store import open_store
from rataccess.wire import BASE, Message
from tests.servers.postgres import Postgres
from tests.services.service_world import FakeDevice, World


@pytest.fixture
def other(shared: World) -> Iterator[ServiceCore]:
    """A second process's core."""
    with open_store(shared.settings.store) as store:
        yield shared.another_core(store)


def both(shared: World, other: ServiceCore, data: bytes) -> list[tuple[int, bytes]]:
    """Give a datagram to both; which of them answered, and what."""
    found = []
    for index, core in enumerate((shared.core, other)):
        found += [(index, answer) for answer, _ in core.process([(data, "here")])]
    return found


def test_a_datagram_that_both_get_is_counted_once(shared: World, other: ServiceCore) -> None:
    device = shared.add("A1")
    for number in range(1, 8):
        data, identity = device.protect(Message(records=[device.record(number, number)]))
        [(index, answer)] = both(shared, other, data)
        assert index == 0
        assert device.read(answer, identity).message.acknowledged == NumberSet(number)
    assert other.counters["replayed requests"] == 7
    assert shared.rows(columns="number, queue") == [(number, "readings") for number in range(1, 8)]


def test_a_device_may_go_to_and_fro_between_them(shared: World, other: ServiceCore) -> None:
    device = shared.add("A1")
    source = random.Random(5)
    for number in range(1, 30):
        core = source.choice((shared.core, other))
        again = [device.record(number - 1, "again")] if number > 1 else []
        data, identity = device.protect(Message(records=[*again, device.record(number, number)]))
        [(answer, _)] = core.process([(data, "here")])
        assert device.read(answer, identity).message.acknowledged == NumberSet(number)
    assert [number for number, _ in shared.rows()] == list(range(1, 30))
    assert [record.body for record in shared.store.records_after(None)] == [encode(number) for number in range(1, 30)]


def test_two_at_the_same_moment_take_turns(shared: World) -> None:
    """Threads with cores of their own, and every datagram to each of them."""
    devices = [shared.add(f"D{index}") for index in range(4)]
    datagrams = []
    for number in range(1, 31):
        for device in devices:
            data, _ = device.protect(Message(records=[device.record(number, [device.serial_number, number])]))
            datagrams.append((data, device.serial_number))
    begin, answers = threading.Barrier(3), []

    def serve(seed: int) -> list[bytes]:
        mine = list(datagrams)
        random.Random(seed).shuffle(mine)
        with open_store(shared.settings.store) as store:
            core = shared.another_core(store)
            begin.wait()
            given = [answer for start in range(0, len(mine), 7) for answer, _ in core.process(mine[start : start + 7])]
            assert core.counters["batches that the store refused"] == core.counters["defects"] == 0
            return given

    with ThreadPoolExecutor(3) as pool:
        for given in pool.map(serve, range(3)):
            answers += given
    assert len(answers) == len(set(answers)) == len(datagrams), "each was answered by one of them, and once"
    stored = shared.store.execute("SELECT device, number FROM records")
    assert len(stored) == len(set(stored)) == len(datagrams)


def test_no_nonce_repeats_among_processes(shared: World, other: ServiceCore) -> None:
    """Both send unasked requests to the same device: their sequence numbers differ."""
    device = shared.add("A1")
    seen: set[bytes] = set()
    for round_ in range(6):
        core = (shared.core, other)[round_ % 2]
        data, _ = device.protect(Message(records=[device.record(round_ + 1, 1)]))
        assert len(core.process([(data, "here")])) == 1
        for _ in range(3):
            admin.enqueue_inbound(shared.settings.store, "A1", "commands", round_)
        shared.clock.passed += 70
        data, _ = device.protect(b"")
        core.process([(data, "here")])
        for _ in range(8):
            shared.clock.passed += 1.5
            for push, _ in core.tick():
                assert push[7] >> 4 == 9, "the OSCORE option, behind a token of three bytes"
                partial_iv = push[9 : 8 + (push[7] & 0x0F)]
                assert partial_iv not in seen, "a Partial IV came twice"
                seen.add(partial_iv)
    assert len(seen) > 6


def test_sequence_numbers_are_reserved_in_blocks_of_their_own(shared: World) -> None:
    shared.add("A1")
    numbers: list[int] = []
    handles = [open_store(shared.settings.store) for _ in range(3)]
    contexts = [
        SecureContext(sender_id=b"", recipient_id=b"\0", secret=bytes(16), memory=handle, name="one")
        for handle in handles
    ]
    source = random.Random(1)
    for _ in range(2000):
        context = source.choice(contexts)
        _, identity = context.protect_request(b"", token=b"t", message_id=1)
        numbers.append(identity.sequence_number)
    for handle in handles:
        handle.close()
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 2000 + 3 * 256


def test_what_waits_goes_out_by_who_heard_the_device_last(shared: World, other: ServiceCore) -> None:
    device = shared.add("A1")
    for core in (shared.core, other):
        assert len(core.process([(device.protect(b"")[0], "here")])) == 1
    admin.enqueue_inbound(shared.settings.store, "A1", "commands", "go")
    assert shared.core.tick() == []
    [(push, address)] = other.tick()
    assert address == "here"
    request = device.context.unprotect_request(push)
    device.context.replay_state()
    answer = device.context.protect_response(request, 0x44, cbor(NumberSet(1)), message_id=1)
    other.process([(answer, "here")])
    assert shared.rows("outbound", "number") == []


def cbor(numbers: NumberSet) -> bytes:
    return encode(numbers.acknowledgement())


def test_settings_of_one_are_seen_by_the_other(shared: World, other: ServiceCore, tmp_path: Path) -> None:
    device = shared.add("A1")
    shared.send(device, device.record(1, 1), control={BASE: 1})
    queue = device.record(2, "x", "late", named=False)
    data, _ = device.protect(Message(records=[queue]))
    other.process([(data, "here")])
    shared.send(device, device.record(3, "x", "late"))
    data, _ = device.protect(Message(records=[device.record(4, "x", "late", named=False)]))
    other.process([(data, "here")])
    assert shared.rows() == [(1, "readings"), (2, "late"), (3, "late"), (4, "late")]


def test_a_lost_connection_costs_a_batch_and_nothing_else(shared: World, postgres: Postgres) -> None:
    device = shared.add("A1")
    shared.send(device, device.record(1, 1))
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rataccess'")
    answer = shared.send(
        device, device.record(2, 2)
    )  # the connection is found dead before anything was done: a new one
    assert answer.message.acknowledged == NumberSet(2)


def test_a_connection_lost_in_the_middle_of_a_batch(
    shared: World, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = shared.add("A1")
    shared.send(device, device.record(1, 1))
    commit = type(shared.store).commit

    def lose(*arguments: object) -> None:
        postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rataccess'")
        commit(*arguments)  # type: ignore[arg-type]

    data, identity = device.protect(Message(records=[device.record(2, 2)]))
    with monkeypatch.context() as patched:
        patched.setattr(type(shared.store), "commit", lose)
        assert shared.core.process([(data, "here")]) == []
    assert shared.core.counters["batches that the store refused"] == 1
    assert shared.core.process([(data, "here")]) == [], "it waits before it asks again"
    shared.clock.passed += 1.5
    [(answer, _)] = shared.core.process([(data, "here")])
    assert device.read(answer, identity).message.acknowledged == NumberSet(2)


def test_a_restart_of_the_server_loses_nothing(shared: World, postgres: Postgres) -> None:
    device = shared.add("A1")
    open_numbers = set(range(1, 31))
    for life in range(3):
        for number in sorted(open_numbers)[:7]:
            acknowledge(shared, device, number, open_numbers)
        postgres.stop("immediate" if life else "fast")
        for number in sorted(open_numbers)[:2]:
            acknowledge(shared, device, number, open_numbers)
        postgres.start()
        shared.clock.passed += 1.5
    while open_numbers:
        acknowledge(shared, device, min(open_numbers), open_numbers)
        shared.clock.passed += 1.5
    assert [number for number, _ in shared.rows()] == list(range(1, 31))
    assert shared.core.counters["batches that the store refused"] > 0


def acknowledge(world: World, device: FakeDevice, number: int, open_numbers: set[int]) -> None:
    data, identity = device.protect(Message(records=[device.record(number, number)]))
    for answer, _ in world.core.process([(data, "here")]):
        acknowledged = device.read(answer, identity).message.acknowledged
        assert acknowledged is not None
        open_numbers -= {each for each in open_numbers if each in acknowledged}


def test_a_server_that_is_away_is_named_without_its_password(postgres: Postgres) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://someone:geheim@127.0.0.1:{closed.getsockname()[1]}/none"
        with pytest.raises(StoreUnreachable) as caught:
            open_store(url)
    told = f"{caught.value!r} {caught.value.__cause__!r} {caught.value}"
    assert "geheim" not in told
    assert "127.0.0.1" in str(caught.value)


def test_nothing_appears_behind_what_was_read(shared: World) -> None:
    """Two transactions that overlap: the one that began first ends last."""
    device = shared.store.device("A1", b"\x01").id
    row = "INSERT INTO records(device, number, queue, urgency, received_at, body) VALUES (?, ?, 'q', 1, 1.0, ?)"
    with open_store(shared.settings.store) as slow, open_store(shared.settings.store) as reader:
        with slow.transaction() as database:
            database.execute(row, (device, 1, b"\x01"))
            shared.store.execute(row, (device, 2, b"\x02"))
            assert reader.records_after(None) == [], "record 2 waits for what may still come before it"
        found = reader.records_after(None)
        assert [record.number for record in found] == [1, 2]
        assert reader.records_after(found[-1].position) == []


async def test_listeners_share_a_port(shared: World) -> None:
    from rataccess.services.server import Server

    shared.add("A1")
    one = Server(shared.core, "127.0.0.1", 0)
    one.open()
    with open_store(shared.settings.store) as store:
        two = Server(shared.another_core(store), "127.0.0.1", one.address[1])
        two.open()
        assert one.address == two.address
        loop = asyncio.get_running_loop()
        devices = [shared.add(f"D{index}") for index in range(12)]
        for index, device in enumerate(devices):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.setblocking(False)
                data, identity = device.protect(Message(records=[device.record(1, index)]))
                async with asyncio.timeout(20):
                    await loop.sock_sendto(udp, data, one.address)
                    answer = device.read(await loop.sock_recv(udp, 65535), identity)
                assert answer.message.acknowledged == NumberSet(1)
        two.close()
    one.close()
    assert len(shared.rows()) == 12


def test_the_environment_is_put_among_the_records_once(tmp_path: Path, postgres_url: str) -> None:
    world = World(tmp_path, Service.MANAGEMENT, store=postgres_url)
    device = world.add("A1")
    with open_store(postgres_url) as store:
        other = world.another_core(store)
        admin.set_env(postgres_url, {"PERIOD": "60"}, serial_number="A1")
        for core in (world.core, other, world.core, other):
            core.process([(device.protect(b"")[0], "here")])
        assert world.store.execute("SELECT number, queue_id, urgency FROM outbound") == [(1, 1, Urgency.PROMPT)]
    world.kill()
