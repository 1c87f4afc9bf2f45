"""Who is let in, and how much is taken from anybody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import pytest

from rataccess.clock import SystemClock
from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services.api import ApiServer, guard
from rataccess.services.api.server import read_token
from rataccess.services.secret import FromEnvironment
from rataccess.services.settings import ApiSettings
from tests.api.api_world import AUTHORISED, ENVIRON, TOKEN, ApiWorld, of

JSON = {"content-type": "application/json"}


@pytest.fixture
def world(tmp_path: Path) -> ApiWorld:
    return ApiWorld(tmp_path, Service.SOLUTION)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer " + "x" * 5000,
    ],
)
async def test_without_the_token_nothing_is_told(world: ApiWorld, header: str | None) -> None:
    async with world.client(headers={} if header is None else {"authorization": header}) as client:
        for method, path in (
            ("GET", "/v1/devices"),
            ("GET", "/metrics"),
            ("POST", "/v1/devices/x/revoke"),
            ("GET", "/no"),
        ):
            response = await client.request(method, path)
            assert of(response, 401) == {"error": "a bearer token is needed"}
            assert response.headers["www-authenticate"] == "Bearer"
        of(await client.get("/health"))
        of(await client.get("/openapi.json"))


async def test_the_scheme_is_written_as_one_likes(world: ApiWorld) -> None:
    async with world.client(headers={"authorization": f"bearer {TOKEN}"}) as client:
        of(await client.get("/v1/devices"))


class Reached(Exception):
    """The application was asked."""


async def guarded(pieces: Sequence[bytes], limit: int, *, told: int | None = None, seconds: float = 0) -> int:
    """The status that a body gets which comes in pieces, each after some seconds; raises `Reached` where it was let in."""
    sent: list[guard.Message] = []
    waiting = list(pieces)

    async def app(_: guard.Scope, receive: guard.Receive, __: guard.Send) -> None:
        assert (await receive())["body"] == b"".join(pieces)
        raise Reached

    async def receive() -> guard.Message:
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: guard.Message) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + TOKEN.encode())]
    if told is not None:
        headers.append((b"content-length", str(told).encode()))
    scope = {"type": "http", "path": "/v1/devices", "method": "POST", "headers": headers}
    await guard.Guard(app, TOKEN, limit)(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_a_body_over_the_limit_is_not_taken() -> None:
    assert await guarded([b""], 100, told=101) == 413
    assert await guarded([b""], 100, told=10**30) == 413
    assert await guarded([b"x" * 60, b"x" * 41, b"never asked for"], 100) == 413
    assert await guarded([b"x" * 60, b"x" * 41, b"never asked for"], 100, told=5) == 413
    for pieces in ([b"x" * 100], [b"x" * 60, b"x" * 40], [b""]):
        with pytest.raises(Reached):
            await guarded(pieces, 100, told=sum(map(len, pieces)))


@pytest.mark.looptime
async def test_a_body_that_does_not_end_is_given_up() -> None:
    assert await guarded([b"x"] * 100, 200, seconds=10) == 408


async def test_limits_hold_over_real_http(world: ApiWorld) -> None:
    world.add("A1")
    limit = 1024 * 1024
    body = b'{"queue": "q", "value": "' + b"x" * limit + b'"}'
    for _ in range(2):
        async with world.client() as client:
            with contextlib.suppress(httpx.TransportError):  # it may be cut off while it is still sending
                of(await client.post("/v1/devices/A1/inbound", content=body, headers=JSON), 413)
            with contextlib.suppress(httpx.TransportError):
                assert (await client.get("/v1/devices", headers={"x-long": "x" * 200_000})).status_code == 400
            assert of(await client.get("/v1/devices"))["devices"][0]["waiting"] == 0
            of(await client.post("/v1/devices/A1/inbound", content=b" " * limit, headers=JSON), 400)


async def test_what_was_changed_is_logged_without_the_token(world: ApiWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.add("A1")
    with caplog.at_level(logging.INFO, "rataccess"):
        async with world.client() as client:
            of(await client.get("/v1/devices/A1"))
            of(await client.post("/v1/devices/A1/revoke"))
    events = [vars(each) for each in caplog.records if each.getMessage() == "administration request"]
    assert [(each["method"], each["path"], each["status"]) for each in events] == [
        ("POST", "/v1/devices/A1/revoke", 200)
    ]
    assert TOKEN not in caplog.text


# --- the token and the address ----------------------------------------------------------------------------------------


def settings(**more: object) -> ApiSettings:
    return msgspec.convert({"port": 0, **more}, ApiSettings)


def test_a_token_comes_from_the_environment_or_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    assert read_token(settings(token={"env": "API_TOKEN"}), "api", ENVIRON) == TOKEN
    assert read_token(settings(token_file=str(path)), "api") == TOKEN
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"mode 0640.*chmod 600"):
        read_token(settings(token_file=str(path)), "api")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_token(settings(token_file=str(tmp_path / "none")), "api")
    path.write_bytes(b"\xff" * 40)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not plain text"):
        read_token(settings(token_file=str(path)), "api")


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with a space in it, long enough", "é" * 20])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^solution\.api\.token") as caught:
        read_token(settings(token={"env": "T"}), "solution.api", {"T": token})
    assert not token or token not in str(caught.value)


def test_the_token_is_in_no_repr(world: ApiWorld) -> None:
    server = ApiServer(world.service, world.settings, SystemClock(), environ=ENVIRON)
    assert TOKEN not in repr(server) + repr(vars(server)) + repr(world.settings.api)
    assert isinstance(world.settings.api.token if world.settings.api else None, FromEnvironment)


async def test_an_address_that_cannot_be_had_is_named(world: ApiWorld) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert world.settings.api is not None
        api = msgspec.structs.replace(world.settings.api, port=port)
        server = ApiServer(
            world.service, msgspec.structs.replace(world.settings, api=api), SystemClock(), environ=ENVIRON
        )
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            await server.start()
        await server.aclose()


async def test_it_listens_on_ipv6_as_well(world: ApiWorld) -> None:
    assert world.settings.api is not None
    api = msgspec.structs.replace(world.settings.api, host="::1")
    server = ApiServer(world.service, msgspec.structs.replace(world.settings, api=api), SystemClock(), environ=ENVIRON)
    try:
        await server.start()
    except ConfigurationError:
        pytest.skip("this machine has no IPv6")
    try:
        async with httpx.AsyncClient(headers=AUTHORISED, trust_env=False) as client:
            of(await client.get(f"http://[::1]:{server.address[1]}/v1/devices"))
    finally:
        await server.aclose()
