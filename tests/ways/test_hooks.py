"""Web-hooks of RockBLOCK and Cloudloop, and the requests that send to devices, against a server of the provider's shape."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services import provisioning
from rataccess.services.airway import Airway
from rataccess.services.ways import hooks
from rataccess.services.ways.ways import Ways
from tests.ways.test_codecs import _KEY, token
from tests.ways.ways_world import IMEI, RunningWorld, WaysWorld, record, until

ROCKBLOCK = '[[ways]]\nkind = "rockblock"\nname = "rock"\nport = 0\npath = "/secret"\n'
CLOUDLOOP = '[[ways]]\nkind = "cloudloop"\nname = "cloud"\nport = 0\npath = "/secret"\n'


class Provider:
    """Answers requests with what it is told, and keeps them."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, list[str]]]] = []
        self.answers: list[tuple[int, str]] = []

    async def taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        body = (await reader.readexactly(size)).decode()
        self.got.append((head.split()[1], parse_qs(body)))
        status, text = self.answers.pop(0) if self.answers else (200, "OK,12345")
        if status:
            writer.write(
                f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode()
            )
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.taken, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await asyncio.sleep(0)


async def post(running: RunningWorld, name: str, path: str = "/secret", method: str = "POST", **body: Any) -> int:
    import httpx

    host, port = running.way(name).address
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.request(method, f"http://{host}:{port}{path}", **body)
        assert answer.content == b""
        return answer.status_code


def form(data: bytes, **more: str) -> dict[str, str]:
    when = "26-11-21 12:00:00"
    return {"imei": IMEI, "momsn": "7", "serial": "1", "transmit_time": when, "data": data.hex(), **more}


@pytest.mark.parametrize("how", ["data", "json"])
async def test_rockblocks_posts_are_taken_as_form_and_as_json(tmp_path: Path, how: str) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK)
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        sent: dict[str, Any] = {how: form(data)}
        assert await post(running, "rock", **sent) == 200
        assert running.rows() == [(1, "readings", "sbd")]
        assert await post(running, "rock", data=form(b"")) == 200
        assert running.counters["satellite sessions without a packet"] == 1


async def test_whatever_is_posted_is_answered_alike(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK)
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        assert await post(running, "rock", data=form(data[:-1] + b"\0")) == 200
        assert await post(running, "rock", data=form(data, imei="1")) == 200
        assert await post(running, "rock", content=b"\xff\xfe") == 200
        assert await post(running, "rock", content=b"[" * 1000) == 200
        assert await post(running, "rock", "/", data=form(data)) == 404
        assert await post(running, "rock", method="GET") == 405
        assert await post(running, "rock", content=bytes(300_000)) == 413
        assert running.counters["malformed satellite messages"] == 4
        assert running.counters["requests to another path of a web-hook"] == 1
        assert running.rows() == []


async def test_what_the_store_cannot_keep_is_to_be_posted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK)
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        with running.store_away(monkeypatch):
            assert await post(running, "rock", data=form(data)) == 503  # it was paid for
            assert await post(running, "rock", data=form(data)) == 503
            assert await post(running, "rock", data=form(data, imei="1")) == 200
        assert await post(running, "rock", data=form(data)) == 200
        assert running.rows() == [(1, "readings", "sbd")]


async def test_strangers_find_nothing(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, ROCKBLOCK + 'allowed = ["192.0.2.1"]\n')
    async with world.running() as running:
        assert await post(running, "rock", data=form(b"\x20x")) == 404
        assert running.counters["requests from addresses that are not allowed"] == 1


async def test_a_token_is_checked_where_the_key_is_known(tmp_path: Path) -> None:
    pem = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rock.pem").write_bytes(pem)
    world = WaysWorld(tmp_path, ROCKBLOCK + 'jwt_key_file = "rock.pem"\n')
    device = world.add()
    async with world.running() as running:
        data, _ = record(device, 1)
        for wrong in (
            {},
            {"JWT": "a.b.c"},
            {"JWT": token({"imei": "1"})},
            {"JWT": token({"imei": IMEI, "data": "00"})},
        ):
            assert await post(running, "rock", data=form(data, **wrong)) == 200
        assert running.counters["malformed satellite messages"] == 4
        assert running.rows() == []
        right = token({"imei": IMEI, "data": data.hex().upper(), "momsn": "7"})
        assert await post(running, "rock", data=form(data, JWT=right)) == 200
        assert running.rows() == [(1, "readings", "sbd")]


_CODES = [
    (200, "OK,4114651", "answers by a way in"),
    *((200, f"FAILED,{code},x", "answers that a provider refused") for code in (11, 14, 15, 16)),
    *((200, f"FAILED,{code},x", "answers that a provider takes later") for code in (10, 12, 13, 99, 77)),
    (503, "", "answers that a provider takes later"),
    (429, "", "answers that a provider takes later"),
    (500, "", "answers of unknown outcome"),
    (504, "", "answers of unknown outcome"),
    (400, "", "answers that a provider refused"),
    (200, "what?", "answers of unknown outcome"),
    (0, "", "answers of unknown outcome"),
]


async def test_every_answer_of_rockblock_has_its_consequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCK_PASSWORD", "pass")
    provider = Provider()
    async with provider.listening() as url:
        more = f'url = "{url}/MT"\nusername = "me"\npassword = {{ env = "ROCK_PASSWORD" }}\nflush = true\n'
        world = WaysWorld(tmp_path, ROCKBLOCK + more)
        async with world.running() as running:
            for number, (status, text, cause) in enumerate(_CODES):
                before = running.counters.get(cause, 0)
                provider.answers = [(status, text)]
                to = Airway("rock", "imei", f"{number:015}", "sbd", 270, dear=True)
                running.way("rock").send(to, b"hello")
                await until(lambda cause=cause, before=before: running.counters.get(cause, 0) == before + 1)  # type: ignore[misc]
    wanted = {"username": ["me"], "password": ["pass"], "data": [b"hello".hex()], "flush": ["yes"]}
    assert provider.got == [("/MT", {"imei": [f"{number:015}"], **wanted}) for number in range(len(_CODES))]


def lingo(data: bytes, kind: str = "sbd") -> dict[str, Any]:
    when = {"year": 2026, "month": 11, "day": 21, "hour": 12, "second": 1}
    return {
        "id": "c0eb3dd4",
        "receivedAt": when,
        "identity": {
            "subscriber": {"type": f"SUBSCRIBER_TYPE_{kind.upper()}"},
            "hardware": {"imei": IMEI},
            "thingId": "DgXe",
        },
        kind: {"momsn": 5394, "sessionAt": when},
        "message": base64.b64encode(data).decode(),
    }


@pytest.mark.parametrize("kind", ["sbd", "imt"])
async def test_cloudloops_posts_are_taken_and_answered_by_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "token")
    provider = Provider()
    async with provider.listening() as url:
        world = WaysWorld(tmp_path, CLOUDLOOP + f'url = "{url}"\ntoken = {{ env = "CLOUD_TOKEN" }}\n')
        device = world.add()
        async with world.running() as running:
            heard: list[Airway] = []
            way = running.way("cloud")
            to_core = way._heard

            def hear(batch: Any) -> Any:
                heard.extend(airway for _, airway in batch)
                return to_core(batch)

            way._heard = hear
            assert await post(running, "cloud", content=json.dumps(lingo(record(device, 1)[0], kind))) == 200
            assert running.rows() == [(1, "readings", kind)]
            assert (heard[0].via, heard[0].dear, heard[0].room) == ("DgXe", True, 270 if kind == "sbd" else 65_000)
            way.send(heard[0], b"hello")
            await until(lambda: running.counters.get("answers by a way in") == 1)
            for number, how in enumerate(("json", "data"), start=2):  # the older formats
                old: dict[str, Any] = {how: {"imei": IMEI, "data": record(device, number)[0].hex()}}
                assert await post(running, "cloud", **old) == 200
                assert len(running.rows()) == number
    [(path, fields)] = provider.got
    assert path == ("/Data/DoSendSbdMessage" if kind == "sbd" else "/Data/DoSendImtMessage")
    assert fields["message"] == [b"hello".hex() if kind == "sbd" else "aGVsbG8="]
    assert (fields["token"], fields["thing"]) == (["token"], ["DgXe"])


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (ROCKBLOCK + 'username = "me"\n', "username and password belong together"),
        (ROCKBLOCK + 'url = "ftp://x"\n', "url"),
        (ROCKBLOCK.replace('"/secret"', '"secret"'), "path: allowed"),
        (ROCKBLOCK.replace('"/secret"', '"/hook?key=secret"'), "path: allowed"),  # it would never be posted to
        (ROCKBLOCK.replace('"/secret"', '{ env = "NOT_SET_ANYWHERE" }'), "NOT_SET_ANYWHERE is not set"),
        (ROCKBLOCK + 'jwt_key_file = "absent.pem"\n', "cannot be read"),
        (ROCKBLOCK + CLOUDLOOP.replace('"cloud"', '"rock"'), "given 2 times"),
        ('[[ways]]\nkind = "semtech"\nname = "a"\nsub_band = 2\n', "sub_band"),
        ('[[ways]]\nkind = "semtech"\nname = "a"\ngather = 1\n', "gather"),
        ('[[ways]]\nkind = "semtech"\nname = "a"\nother = "h:70000"\n', "ways[0].other: found 'h:70000'"),
        ('[[ways]]\nkind = "directip"\nname = "a"\ngateway = "[::1]:0"\n', "ways[0].gateway: found '[::1]:0'"),
        ('[[ways]]\nkind = "semtech"\nname = "a"\nregion = "US915"\nfrequencies = [902300000]\n', "frequencies"),
        ('[[ways]]\nkind = "chirpstack"\nname = "a"\nhost = "h"\npassword = { env = "HOME" }\n', "username: missing"),
        ('[[ways]]\nkind = "chirpstack"\nname = "a"\nhost = "h"\ntls = false\nca_file = "x"\n', "tls"),
    ],
)
async def test_mistakes_are_found_before_anything_starts(tmp_path: Path, toml: str, told: str) -> None:
    world = WaysWorld(tmp_path, toml)
    with pytest.raises(ConfigurationError, match=r"solution\.ways") as error:
        async with world.running():
            raise AssertionError("it started")
    assert told in str(error.value)
    assert "pass" not in str(error.value).replace("password", "")


async def test_a_way_that_cannot_listen_ends_the_start_with_all_closed(tmp_path: Path) -> None:
    holder = WaysWorld(tmp_path, ROCKBLOCK)
    async with holder.running() as running:
        port = running.way("rock").address[1]
        (tmp_path / "b").mkdir()
        second = ROCKBLOCK.replace('"rock"', '"two"').replace("port = 0", f"port = {port}")
        world = WaysWorld(tmp_path / "b", ROCKBLOCK + second, Service.MANAGEMENT)
        with pytest.raises(ConfigurationError, match=str(port)):
            async with world.running():
                raise AssertionError("it started")


def test_what_is_shown_of_ways_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCK_PASSWORD", "hidden")
    world = WaysWorld(tmp_path, ROCKBLOCK + 'username = "me"\npassword = { env = "ROCK_PASSWORD" }\n')
    world.add()
    provisioning.set_app_key(world.settings, world.service, "SN1", b"0123456789abcdef")
    [entry] = provisioning.entries(world.settings, world.service)
    assert b"0123456789abcdef".hex() not in repr(entry)
    assert "secret" not in repr(world.settings.ways)
    assert Ways is not None


async def test_every_secret_that_is_missing_is_told_in_one_list(tmp_path: Path) -> None:
    absent = {name: f'{{ env = "NOT_SET_{name}" }}' for name in ("PATH", "USER", "PASSWORD", "TOKEN")}
    rock = ROCKBLOCK.replace('"/secret"', absent["PATH"])
    rock += f"username = {absent['USER']}\npassword = {absent['PASSWORD']}\n"
    world = WaysWorld(tmp_path, rock + CLOUDLOOP + f"token = {absent['TOKEN']}\n")
    with pytest.raises(ConfigurationError) as error:
        async with world.running():
            raise AssertionError("it started")
    heading, *told = str(error.value).splitlines()
    assert heading == "4 mistakes in the configuration:"
    assert all(any(f"NOT_SET_{name} is not set" in line for line in told) for name in absent)


@pytest.mark.parametrize("said", [b"", b"POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nimei="])
async def test_strangers_keep_no_provider_out(
    tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "MOST_AT_ONCE", 3)
    world = WaysWorld(tmp_path, ROCKBLOCK)
    async with world.running() as running:
        idle = [await asyncio.open_connection(*running.way("rock").address) for _ in range(6)]
        for _, writer in idle:
            writer.write(said)
        assert await post(running, "rock", data=form(b"")) == 200
        for reader, writer in idle:
            with contextlib.suppress(ConnectionError):
                if not said:
                    writer.write(b"\0\r\n\r\n")
                    await reader.read()
            writer.close()
    assert "Invalid HTTP" not in caplog.text


@pytest.mark.parametrize(
    "said", [b"", b"POST /secret HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"]
)
async def test_whoever_connects_and_asks_nothing_is_hung_up_on(
    tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rataccess.services import webserver

    monkeypatch.setattr(webserver, "HEAD_WITHIN", 0.05)
    monkeypatch.setattr(hooks, "MOST_AT_ONCE", 2)
    world = WaysWorld(tmp_path, ROCKBLOCK)
    async with world.running() as running:
        idle = [await asyncio.open_connection(*running.way("rock").address) for _ in range(3)]
        for _, writer in idle:
            writer.write(said)
        async with asyncio.timeout(30):
            for reader, writer in idle:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                writer.close()
        assert await post(running, "rock", data=form(b"")) == 200
