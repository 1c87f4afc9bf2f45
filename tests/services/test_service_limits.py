"""What one device may take: its rate, its room, its share of a batch; and what noise may make a service allocate."""

from __future__ import annotations

import asyncio
import random
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.numbers import NumberSet
from rataccess.objects import Service
from rataccess.services.fairness import FairQueue
from rataccess.services.limits import BURST, Allowance
from rataccess.services.server import MOST_IN_BATCH, Server
from rataccess.wire import Message, fragment
from tests.services.service_world import FakeDevice, World

MIB = 1 << 20


# --- rate -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 500)), max_size=200))
def test_in_the_long_run_no_more_passes_than_the_rates(steps: list[tuple[float, int]]) -> None:
    allowance, now, messages, size = Allowance(10, 1000), 0.0, 0, 0
    for passed, length in steps:
        now += passed
        if allowance.open(now):
            allowance.charge(1, length)
            messages, size = messages + 1, size + length
    assert messages <= 10 * (now + BURST)
    assert size <= 1000 * (now + BURST) + 500, "one message may overdraw"


def test_a_rate_of_nothing_is_no_limit() -> None:
    allowance = Allowance(0, 0)
    for _ in range(1000):
        assert allowance.open(1.0)
        allowance.charge(1, MIB)


def test_a_device_beyond_its_rate_is_dropped_before_its_datagrams_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, Service.SOLUTION, message_rate=2)
    device, other = world.add("A1"), world.add("B2")
    requests = [device.protect(Message(records=[device.record(number, number)])) for number in range(1, 21)]
    answered = [world.core.process([(data, "here")]) for data, _ in requests]
    assert [len(each) for each in answered] == [1] * 10 + [0] * 10
    assert world.core.counters["messages over the rate"] == 10
    assert world.send(other, other.record(1, 1)).message.acknowledged == NumberSet(1)
    world.clock.passed += 3
    again = [world.core.process([(data, "here")]) for data, _ in requests[10:]]
    assert [len(each) for each in again] == [1] * 6 + [0] * 4, "what was dropped was not struck out"
    world.kill()


def test_nobody_uses_up_what_belongs_to_another(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION, message_rate=2)
    device = world.add("A1")
    world.send(device, device.record(1, 1))
    seen, _ = device.protect(Message(records=[device.record(2, 2)]))
    world.core.process([(seen, "here")])
    forged = bytearray(device.protect(b"")[0])
    forged[-1] ^= 1
    for _ in range(50):
        assert world.core.process([(bytes(forged), "there"), (seen, "there")]) == []
    assert world.core.counters["forged requests"] == world.core.counters["replayed requests"] == 50
    assert world.send(device, device.record(3, 3)).message.acknowledged == NumberSet(3)
    world.kill()


# --- room -------------------------------------------------------------------------------------------------------------


def test_records_beyond_a_devices_room_stay_on_the_device(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION, kept_bytes=MIB)
    device, other = world.add("A1"), world.add("B2")
    for number in range(1, 20):
        answer = world.send(device, device.record(number, bytes(60_000)))
    assert answer.message.acknowledged == NumberSet(17)
    assert world.core.counters["records over the quota"] == 2
    assert world.send(device, device.record(20, 1)).message.acknowledged == NumberSet(17, [(20, 21)]), "it still fits"
    assert world.send(other, other.record(1, bytes(60_000))).message.acknowledged == NumberSet(1)
    world.restart()
    assert world.send(device, device.record(18, bytes(60_000))).message.acknowledged == NumberSet(17, [(20, 21)])
    world.store.move_cursor("all", world.store.records_after(None, max_bytes=10 * MIB)[-1].position)
    while world.store.prune(world.clock.wall() + 1, ["all"]):
        pass
    for number in (18, 19):
        answer = world.send(device, device.record(number, bytes(60_000)))
    assert answer.message.acknowledged == NumberSet(20)
    world.kill()


def test_parts_of_what_has_no_room_are_not_taken_either(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION, kept_bytes=MIB)
    device = world.add("A1")
    for number in range(1, 17):
        world.send(device, device.record(number, bytes(60_000)))
    large = device.record(20, bytes(100_000))
    answer = world.send(device, fragment(large, 0, 50_000))
    assert answer.message.control == {}
    assert world.rows("fragments", "number") == []
    world.kill()


# --- share ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), max_size=300), st.integers(1, 40))
def test_senders_take_turns_and_keep_their_order(senders: list[int], most: int) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue(1000, 1000)
    for index, sender in enumerate(senders):
        queue.put(sender, (sender, index), 1)
    taken, waiting = [], list(enumerate(senders))
    while batch := queue.take(most):
        counts = [sum(1 for sender, _ in batch if sender == each) for each in {sender for _, sender in waiting}]
        assert max(counts) - min(counts) <= 1 or len(batch) == len(waiting) or min(counts) >= 0
        fewest = {each: sum(1 for _, sender in waiting if sender == each) for each in set(senders)}
        for each, left in fewest.items():
            got = sum(1 for sender, _ in batch if sender == each)
            assert got >= min(left, most // max(1, len([count for count in fewest.values() if count])))
        taken += batch
        waiting = [(index, sender) for index, sender in waiting if (sender, index) not in batch]
    assert sorted(index for _, index in taken) == list(range(len(senders)))
    for each in set(senders):
        own = [index for sender, index in taken if sender == each]
        assert own == sorted(own)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=200))
def test_a_full_queue_takes_from_who_has_most(items: list[tuple[int, int]]) -> None:
    queue: FairQueue[int] = FairQueue(10, 100)
    for sender, size in items:
        queue.put(sender, sender, size)
        assert len(queue) <= 10
        assert queue._bytes <= 100
        assert queue._bytes == sum(size for waiting in queue._senders.values() for _, size in waiting)
    assert queue.dropped + len(queue) == len(items)


def test_a_sender_with_less_than_its_share_loses_nothing() -> None:
    queue: FairQueue[str] = FairQueue(100, 10**6)
    for index in range(1000):
        queue.put("flood", "flood", 1)
        if index % 250 == 0:
            queue.put(f"quiet {index}", "quiet", 1)
    assert queue.take(5).count("quiet") == 4


async def test_a_device_that_floods_does_not_slow_the_others(solution: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: with a thousand datagrams of one device before them, the others are in the very next batch."""
    flooder, quiet = solution.add("FLOOD"), [solution.add(f"Q{index}") for index in range(20)]
    server = Server(solution.core, "127.0.0.1", 0)
    process, batches = solution.core.process, list[list[bytes]]()

    def watched(datagrams: list[tuple[bytes, object]]) -> object:
        batches.append([data for data, _ in datagrams])
        return process(datagrams)

    monkeypatch.setattr(solution.core, "process", watched)
    server.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(server.address)
        flood = [flooder.protect(Message(records=[flooder.record(number, 1)]))[0] for number in range(1, 1001)]
        others = [device.protect(Message(records=[device.record(1, 1)]))[0] for device in quiet]
        for data in flood + others:  # all of it waits in the kernel before the loop turns
            udp.send(data)
        while sum(map(len, batches)) < 1020:
            await asyncio.sleep(0)
    server.close()
    assert set(others) <= set(batches[0]), "each of the others is in the first batch"
    assert len(batches[0]) == MOST_IN_BATCH
    assert len(solution.rows()) == 1020
    per_device = solution.store.execute("SELECT device, count(*) FROM records GROUP BY device ORDER BY count(*)")
    assert [count for _, count in per_device] == [1] * 20 + [1000]


# --- noise ------------------------------------------------------------------------------------------------------------


def noise(device: FakeDevice, count: int, size: int) -> list[tuple[bytes, str]]:
    source = random.Random(3)
    seen, _ = device.protect(b"")
    made = []
    for index in range(count):
        forged = bytearray(device.protect(source.randbytes(size))[0])
        forged[-1] ^= 0xFF
        made += [(bytes(forged), f"a{index}"), (source.randbytes(size), f"b{index}"), (seen, f"c{index}")]
        made.append((b"\x52\x02\x00\x01ab\x93\x09\x05" + source.randbytes(size), f"d{index}"))
    return made


def test_noise_leaves_nothing_behind(solution: World) -> None:
    """Forged, replayed, malformed, unknown, each from an address of its own: no session, no row, no memory."""
    device = solution.add("A1")
    solution.ask(device)
    batch = noise(device, 60, 1000)
    solution.core.process(batch)  # the replayed one counts once, and counters have their names
    solution.core.tick()
    before = (solution.rows("devices", "id, version"), solution.rows())
    tracemalloc.start()
    try:
        solution.core.process(batch)
        first, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            solution.core.process(batch)
        last, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last - first < 20_000, "1200 datagrams more, and nothing stays"
    assert peak - first < 1_000_000
    assert len(solution.core._sessions) == 1
    assert (solution.rows("devices", "id, version"), solution.rows()) == before


def test_forged_requests_push_no_session_out_of_the_memory(tmp_path: Path) -> None:
    world = World(tmp_path, Service.SOLUTION, sessions=16)
    devices = [world.add(f"D{index}") for index in range(40)]
    for device in devices[:16]:
        world.ask(device)
    kept = {session.kid for session in world.core._sessions.values()}
    for device in devices[16:]:
        forged = bytearray(device.protect(b"")[0])
        forged[-1] ^= 1
        assert world.core.process([(bytes(forged), "x")]) == []
    assert {session.kid for session in world.core._sessions.values()} == kept
    world.kill()


def test_noise_asks_the_store_for_nothing(solution: World, monkeypatch: pytest.MonkeyPatch) -> None:
    device, other = solution.add("A1"), solution.add("B2")
    solution.ask(device)
    batch = noise(device, 5, 100) + noise(other, 5, 100)
    solution.core.process(batch)

    def refuse(*_: object) -> None:
        raise AssertionError("a statement")

    monkeypatch.setattr(solution.store.database, "execute", refuse)
    assert solution.core.process(batch) == []
