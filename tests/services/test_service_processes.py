"""Two service processes on one PostgreSQL and one UDP port: whichever gets a datagram, and whichever is killed."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rataccess.numbers import NumberSet
from rataccess.objects import Service, decode
from rataccess.services import provisioning
from rataccess.services.store import open_store
from rataccess.wire import Message
from tests.services.service_world import FakeDevice, HandClock
from tests.services.test_service_process import Process

_SOCKETS = 12
"""Of a device: the kernel spreads them over the processes by their ports, so that all on one of two is 1 in 2,000."""


@pytest.fixture
def config(tmp_path: Path, postgres_url: str) -> Path:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "services.toml"
    path.write_text(f'[solution]\nhost = "127.0.0.1"\nport = {port}\nstore = "{postgres_url}"\nkeys = "s.json"\n')
    return path


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(_SOCKETS)]
        for each in found:
            each.settimeout(30)
        yield found


def flushed(device: FakeDevice, udp: socket.socket) -> list[bytes]:
    """Everything that came before the answer to a probe sent now: the process behind `udp` has handled what it had."""
    data, identity = device.protect(b"")
    udp.send(data)
    before: list[bytes] = []
    while True:
        datagram = udp.recv(65_535)
        if datagram[4:6] == data[4:6]:  # the probe's token
            device.read(datagram, identity)
            return before
        before.append(datagram)


def test_a_datagram_that_reaches_both_processes_counts_once(
    config: Path, postgres_url: str, sockets: list[socket.socket]
) -> None:
    secret = random.Random(1).randbytes(16)
    device = FakeDevice("A1", provisioning.add_device(config, Service.SOLUTION, "A1", secret), secret, HandClock())
    processes = [Process(config, Service.SOLUTION) for _ in range(2)]
    assert processes[0].port == processes[1].port
    for udp in sockets:
        udp.connect(("127.0.0.1", processes[0].port))
    for number in range(1, 16):
        data, identity = device.protect(Message(records=[device.record(number, number)]))
        for udp in sockets:
            udp.send(data)
        answers = [answer for udp in sockets for answer in flushed(device, udp)]
        assert len(answers) == 1
        assert device.read(answers[0], identity).message.acknowledged == NumberSet(number)
    assert [process.end(signal.SIGTERM) for process in processes] == [0, 0]
    with open_store(postgres_url) as store:
        assert [(each.number, decode(each.body)) for each in store.records_after(None)] == [
            (n, n) for n in range(1, 16)
        ]
        counted = store.counters()
    assert counted["records"] == 15
    assert counted["replayed requests"] == 15 * (_SOCKETS - 1)
    assert counted["messages"] == 15 * (1 + _SOCKETS)


def test_the_other_goes_on_where_one_is_killed(config: Path, postgres_url: str, sockets: list[socket.socket]) -> None:
    secret = random.Random(1).randbytes(16)
    device = FakeDevice("A1", provisioning.add_device(config, Service.SOLUTION, "A1", secret), secret, HandClock())
    processes = [Process(config, Service.SOLUTION) for _ in range(2)]
    for udp in sockets:
        udp.connect(("127.0.0.1", processes[0].port))
        udp.settimeout(0.2)
    waiting = {number: device.record(number, number) for number in range(1, 61)}
    source, sent = random.Random(2), 0
    while waiting:
        udp = source.choice(sockets)
        some = [waiting[number] for number in sorted(source.sample(sorted(waiting), min(4, len(waiting))))]
        data, identity = device.protect(Message(records=some))
        try:
            udp.send(data)
            answer = udp.recv(65_535)
            while answer[4:6] != data[4:6]:
                answer = udp.recv(65_535)
        except OSError:  # nobody answers: it was the killed one's, or nobody listens for a moment
            continue
        acknowledged = device.read(answer, identity).message.acknowledged or NumberSet()
        waiting = {number: record for number, record in waiting.items() if number not in acknowledged}
        sent += 1
        if sent == 6:
            data, _ = device.protect(Message(records=some))
            udp.send(data)  # with a message in the air
            processes.pop(0).end(signal.SIGKILL)
            processes.append(Process(config, Service.SOLUTION))
    for process in processes:
        assert process.end(signal.SIGTERM) == 0
    with open_store(postgres_url) as store:
        stored = [(each.number, decode(each.body)) for each in store.records_after(None)]
    assert sorted(stored) == [(number, number) for number in range(1, 61)]
