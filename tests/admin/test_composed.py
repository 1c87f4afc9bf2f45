"""A service with all its parts: what comes in goes out, while people ask and change."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services import admin, provisioning, settings
from rataccess.services.running import composed
from rataccess.wire import Message
from tests.services.service_world import FakeDevice, HandClock

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
TEXT = """\
[solution]
host = "127.0.0.1"
port = 0
store = "s.sqlite"
keys = "s.json"
ndjson = "lines"
[[solution.receivers]]
kind = "ndjson"
name = "alarms"
file = "alarms"
queues = ["alarms"]
[solution.routes.energy]
url = "http://127.0.0.1:9/"
[solution.api]
port = 0
token = { env = "COMPOSED_TOKEN" }
[management]
host = "127.0.0.1"
port = 0
store = "m.sqlite"
keys = "m.json"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPOSED_TOKEN", TOKEN)
    path = tmp_path / "services.toml"
    path.write_text(TEXT)
    return path


def device_of(config: Path, service: Service = Service.SOLUTION) -> FakeDevice:
    secret = random.Random(service).randbytes(16)
    return FakeDevice("A1", provisioning.add_device(config, service, "A1", secret), secret, HandClock())


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what another thread does."""
    async with asyncio.timeout(30):
        while not (found := condition()):
            await asyncio.sleep(0.01)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_records_go_to_their_receivers_and_people_see_it(config: Path) -> None:
    device, folder = device_of(config), config.parent
    loop = asyncio.get_running_loop()
    async with composed(Service.SOLUTION, settings.load(config, Service.SOLUTION)) as running:
        assert running.api is not None
        host, port = running.api.address
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.connect(running.server.address)
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=headers, trust_env=False) as client:
                data, _ = device.protect(Message(records=[device.record(1, 1), device.record(2, 2, "alarms")]))
                await loop.sock_sendall(udp, data)
                async with asyncio.timeout(30):
                    await loop.sock_recv(udp, 65535)
                await until(lambda: len(lines(folder / "lines")) == 2 and len(lines(folder / "alarms")) == 1)
                told = (await client.get("/v1/receivers")).json()["receivers"]
                assert [(each["name"], each["kind"]) for each in told] == [("ndjson", "ndjson"), ("alarms", "ndjson")]
                assert (await client.get("/v1/devices/A1")).json()["records"] == 2
                await client.post("/v1/devices/A1/inbound", json={"queue": "q", "value": "hello"})
                async with asyncio.timeout(30):
                    request = device.context.unprotect_request(await loop.sock_recv(udp, 65535))
                assert b"hello" in request.body
                assert (await client.post("/v1/devices/A1/revoke")).status_code == 200
                await loop.sock_sendall(udp, device.protect(b"")[0])
                await until(lambda: admin.counters(folder / "s.sqlite").get("requests of revoked devices"))
    assert [line["record"] for line in lines(folder / "lines")] == [1, 2]


async def test_a_long_question_to_the_store_holds_up_no_datagram(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, loop = device_of(config), asyncio.get_running_loop()
    asked, answered = threading.Event(), threading.Event()

    def slowly(_: object) -> dict[str, int]:
        asked.set()
        answered.wait(60)
        return {}

    monkeypatch.setattr(admin, "counters", slowly)
    async with composed(Service.SOLUTION, settings.load(config, Service.SOLUTION)) as running:
        assert running.api is not None
        url = "http://{}:{}/v1/counters".format(*running.api.address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.connect(running.server.address)
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False) as client:
                asking = asyncio.create_task(client.get(url, timeout=60))
                try:
                    await until(asked.is_set)
                    data, identity = device.protect(Message(records=[device.record(1, 1)]))
                    await loop.sock_sendall(udp, data)
                    async with asyncio.timeout(30):
                        assert device.read(await loop.sock_recv(udp, 65535), identity).code == 0x44
                    assert not asking.done()
                finally:
                    answered.set()
                assert (await asking).json() == {"counters": {}}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"COMPOSED_TOKEN"',
            '"NOT_SET_ANYWHERE"',
            "solution.api.token: the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("http://127.0.0.1:9/", "ftp://x", "solution.routes.energy"),
        (
            'kind = "ndjson"\nname = "alarms"\nfile = "alarms"',
            'kind = "webhook"\nname = "a"\nurl = "x"',
            "solution.receivers",
        ),
    ],
)
def test_what_is_wrong_with_a_part_is_found_before_anything_begins(config: Path, old: str, new: str, told: str) -> None:
    config.write_text(TEXT.replace(old, new))

    async def begin() -> None:
        async with composed(Service.SOLUTION, settings.load(config, Service.SOLUTION)):
            raise AssertionError("it started")

    with pytest.raises(ConfigurationError, match=told):
        asyncio.run(begin())


def test_what_is_wrong_with_several_parts_is_told_at_once(config: Path) -> None:
    wrong = TEXT.replace('"COMPOSED_TOKEN"', '"NOT_SET_ANYWHERE"').replace("http://127.0.0.1:9/", "ftp://x")
    config.write_text(wrong + '[[solution.receivers]]\nkind = "webhook"\nname = "a"\nurl = "x"\n')

    async def begin() -> None:
        async with composed(Service.SOLUTION, settings.load(config, Service.SOLUTION)):
            raise AssertionError("it started")

    with pytest.raises(ConfigurationError) as told:
        asyncio.run(begin())
    for key in ("solution.api.token", "solution.routes.energy", "solution.receivers["):
        assert key in str(told.value)


async def test_a_service_has_only_the_parts_that_are_configured(config: Path) -> None:
    async with composed(Service.MANAGEMENT, settings.load(config, Service.MANAGEMENT)) as running:
        assert (running.receivers, running.calls, running.api) == (None, None, None)


def test_serve_logs_json_lines_without_secrets_and_ends_when_told(config: Path) -> None:
    device = device_of(config)
    paths = [str(ROOT), *(str(ROOT / folder) for folder in ("drivers", "transports", "hil"))]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths), "COMPOSED_TOKEN": TOKEN}
    command = [sys.executable, "-m", "rataccess", "serve", "solution", "-c", str(config), "--log-level", "debug"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = []
    while "listens on" not in (line := process.stdout.readline()):
        assert line, process.communicate()
        told.append(line)
    port = int(json.loads(line)["message"].split("port ")[1].split()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(30)
        udp.connect(("127.0.0.1", port))
        data, identity = device.protect(Message(records=[device.record(1, 1)]))
        udp.send(data)
        assert device.read(udp.recv(65535), identity).code == 0x44
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    events = [json.loads(each) for each in [*told, line, *out.splitlines()]]
    assert {each["service"] for each in events} == {"solution"}
    whole = json.dumps(events)
    assert TOKEN not in whole
    assert device.secret.hex() not in whole
    assert len(lines(config.parent / "lines")) == 1
