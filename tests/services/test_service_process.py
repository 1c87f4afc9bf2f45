"""The services as processes on real sockets: killed, stopped, and asked by a stranger's stack."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiocoap
import aiocoap.oscore
import cbor2
import msgspec
import pytest

from rataccess.errors import ConfigurationError
from rataccess.numbers import NumberSet
from rataccess.objects import Service
from rataccess.services import admin, provisioning, settings
from rataccess.services.running import serving
from rataccess.services.server import Server, listen
from rataccess.wire import Message
from tests.services.service_world import FakeDevice, HandClock

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from rataccess.objects import Service
from rataccess.services.running import run
run(Service(sys.argv[1]), Path(sys.argv[2]), listening=lambda host, port: print(port, flush=True))
"""


class Process:
    """A service in a process of its own."""

    def __init__(self, config: Path, service: Service) -> None:
        arguments = [sys.executable, "-c", PROGRAM, service.value, str(config)]
        self.process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "services.toml"
    path.write_text(
        '[management]\nhost = "127.0.0.1"\nport = 0\nstore = "m.sqlite3"\nkeys = "m.json"\n'
        '[solution]\nhost = "127.0.0.1"\nport = 0\nstore = "s.sqlite3"\nkeys = "s.json"\nndjson = "s.ndjson"\n'
    )
    return path


def device_of(config: Path, service: Service) -> FakeDevice:
    secret = random.Random(service).randbytes(16)
    return FakeDevice("A1", provisioning.add_device(config, service, "A1", secret), secret, HandClock())


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as result:
        result.settimeout(10)
        yield result


def test_nothing_acknowledged_is_lost_or_doubled_by_kills(config: Path, udp: socket.socket) -> None:
    device = device_of(config, Service.SOLUTION)
    waiting = {number: device.record(number, {"n": number}) for number in range(1, 61)}
    source = random.Random(1)
    for life in range(4):
        process = Process(config, Service.SOLUTION)
        udp.connect(("127.0.0.1", process.port))
        for index in range(12):
            records = [waiting[number] for number in sorted(source.sample(sorted(waiting), min(3, len(waiting))))]
            data, identity = device.protect(Message(records=records))
            udp.send(data)
            if index == 11 and life < 3:
                process.end(signal.SIGKILL)  # with a message in the air
                break
            acknowledged = device.read(udp.recv(65535), identity).message.acknowledged or NumberSet()
            waiting = {number: record for number, record in waiting.items() if number not in acknowledged}
    while waiting:
        data, identity = device.protect(Message(records=list(waiting.values())))
        udp.send(data)
        acknowledged = device.read(udp.recv(65535), identity).message.acknowledged or NumberSet()
        waiting = {number: record for number, record in waiting.items() if number not in acknowledged}
    assert process.end(signal.SIGTERM) == 0
    stored = [cbor2.loads(record.body)["n"] for record in admin.records(config.with_name("s.sqlite3"))]
    lines = [json.loads(line) for line in config.with_name("s.ndjson").read_text().splitlines()]
    assert sorted(stored) == list(range(1, 61))
    assert [(line["record"], line["body"]["n"]) for line in lines] == [(n, n) for n in stored]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_stops_in_order_when_told(config: Path, udp: socket.socket, number: signal.Signals) -> None:
    device = device_of(config, Service.MANAGEMENT)
    process = Process(config, Service.MANAGEMENT)
    data, identity = device.protect(Message(records=[device.record(1, 1)]))
    udp.sendto(data, ("127.0.0.1", process.port))
    assert device.read(udp.recv(65535), identity).message.acknowledged == NumberSet(1)
    assert process.end(number) == 0
    assert admin.counters(config.with_name("m.sqlite3"))["messages"] == 1


async def answer_to(server: Server, data: bytes, host: str) -> tuple[bytes, tuple[str, int]]:
    """Send from a socket that takes answers from anywhere, and tell from where one came."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.bind(("127.0.0.1", 0))
        await loop.sock_sendto(udp, data, (host, server.address[1]))
        async with asyncio.timeout(10):
            return await loop.sock_recvfrom(udp, 65535)


@pytest.mark.parametrize("listen_on", ["0.0.0.0", "::"])
async def test_the_answer_comes_from_the_address_that_was_asked(config: Path, listen_on: str) -> None:
    device = device_of(config, Service.MANAGEMENT)
    everywhere = msgspec.structs.replace(settings.load(config, Service.MANAGEMENT), host=listen_on)
    async with serving(Service.MANAGEMENT, everywhere) as server:
        data, identity = device.protect(Message(records=[device.record(1, 1)]))
        answer, origin = await answer_to(server, data, "127.0.0.2")
        assert origin == ("127.0.0.2", server.address[1])
        assert device.read(answer, identity).message.acknowledged == NumberSet(1)


async def test_an_inbound_object_reaches_a_waiting_device_unasked(config: Path) -> None:
    device = device_of(config, Service.MANAGEMENT)
    loop = asyncio.get_running_loop()
    async with serving(Service.MANAGEMENT, settings.load(config, Service.MANAGEMENT)) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.connect(server.address)
            data, _ = device.protect(b"")
            await loop.sock_sendall(udp, data)
            async with asyncio.timeout(10):
                await loop.sock_recv(udp, 65535)
                admin.enqueue_inbound(config.with_name("m.sqlite3"), "A1", "q", "hello")
                request = device.context.unprotect_request(await loop.sock_recv(udp, 65535))
    assert b"hello" in request.body


async def test_a_damaged_store_ends_the_service_with_an_error(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = device_of(config, Service.MANAGEMENT)
    async with serving(Service.MANAGEMENT, settings.load(config, Service.MANAGEMENT)) as server:
        monkeypatch.setattr(server._core, "process", lambda _: 1 / 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(device.protect(b"")[0], server.address)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(10):
                await server.run()


def test_an_address_that_cannot_be_had_is_named() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(ConfigurationError, match=str(first.getsockname()[1])):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(ConfigurationError, match=r"198\.51\.100\.1"):
        listen("198.51.100.1", 0)


# --- a stranger's stack -----------------------------------------------------------------------------------------------


class PlainContext(aiocoap.oscore.CanProtect, aiocoap.oscore.CanUnprotect, aiocoap.oscore.SecurityContextUtils):  # type: ignore[misc]
    """aiocoap's own OSCORE with the keys of a device, in memory."""

    def __init__(self, device: FakeDevice) -> None:
        self.alg_aead = aiocoap.oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = aiocoap.oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id, self.id_context = device.kid, b"", None
        self.derive_keys(b"", device.secret)
        self.sender_sequence_number = 0
        self.recipient_replay_window = aiocoap.oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Nothing is kept."""


async def test_a_plain_coap_client_with_oscore_is_served(config: Path) -> None:
    device = device_of(config, Service.SOLUTION)
    async with serving(Service.SOLUTION, settings.load(config, Service.SOLUTION)) as server:
        uri = f"coap://127.0.0.1:{server.address[1]}"
        client = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
        client.client_credentials[f"{uri}/*"] = PlainContext(device)
        try:
            async with asyncio.timeout(20):
                body = cbor2.dumps(-2) + cbor2.dumps(None) + cbor2.dumps([8 * 4, "readings"]) + cbor2.dumps({"t": 21.5})
                first = await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=body)).response
                again = await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=body)).response
                wrong = await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=b"\xff")).response
        finally:
            await client.shutdown()
        assert (first.code, cbor2.loads(first.payload)) == (aiocoap.CHANGED, [1])
        assert (again.code, cbor2.loads(again.payload)) == (aiocoap.CHANGED, [1])
        assert wrong.code == aiocoap.BAD_REQUEST
    [record] = admin.records(config.with_name("s.sqlite3"))
    assert (record.queue, record.number, cbor2.loads(record.body)) == ("readings", 1, {"t": 21.5})
