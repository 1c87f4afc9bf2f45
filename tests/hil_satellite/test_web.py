"""Web hooks and web calls of the platforms before the gateway: what they hold, when they are repeated, over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from dataclasses import replace
from urllib.parse import parse_qs, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess_hil.satellite import IridiumGateway, Location, MoMessage
from rataccess_hil.satellite.http import HttpServer, Request, Response, post
from rataccess_hil.satellite.web_mt import WebMt
from rataccess_hil.satellite.webhook import HookPoster, lingo, rockblock_form, rockblock_json, thing_of

IMEI = "300234063904190"
MESSAGE = MoMessage(IMEI, 75, b"hello", 3, 1_436_465_708, 99, 0, Location(52.3868, -0.2964, 2))


def test_rockblock_posts_have_the_documented_fields() -> None:
    kind, body = rockblock_form(MESSAGE, serial=4440)
    assert kind == "application/x-www-form-urlencoded"
    assert b"transmit_time=15-07-09+18%3A15%3A08" in body
    fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert fields == {
        "imei": IMEI,
        "device_type": "ROCKBLOCK",
        "serial": "4440",
        "momsn": "75",
        "transmit_time": "15-07-09 18:15:08",
        "iridium_latitude": "52.3868",
        "iridium_longitude": "-0.2964",
        "iridium_cep": "2.0",
        "data": "68656c6c6f",
    }
    kind, body = rockblock_json(MESSAGE, long_year=True)
    found = json.loads(body)
    assert kind == "application/json"
    assert (found["momsn"], found["transmit_time"], found["data"]) == (75, "2015-07-09 18:15:08", b"hello".hex())


def test_rockblock_signs_by_rs256() -> None:
    key = rsa.generate_private_key(65537, 1024)
    fields = json.loads(rockblock_json(MESSAGE, key=key)[1])
    head, body, signature = fields["JWT"].split(".")
    sealed = base64.urlsafe_b64decode(signature + "==")
    key.public_key().verify(sealed, f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "RS256"
    assert json.loads(base64.urlsafe_b64decode(body + "=="))["data"] == "68656c6c6f"


def test_cloudloop_posts_lingo() -> None:
    found = json.loads(lingo(MESSAGE)[1])
    assert base64.b64decode(found["message"]) == b"hello"
    assert found["identity"]["hardware"]["imei"] == IMEI
    assert found["sbd"]["momsn"] == 75
    assert found["receivedAt"] == {"year": 2015, "month": 7, "day": 9, "hour": 18, "minute": 15, "second": 8}
    imt = json.loads(lingo(replace(MESSAGE, topic=244))[1])
    assert "sbd" not in imt
    assert imt["imt"]["topic"] == 244


@pytest.mark.looptime
async def test_posts_again_after_2_4_8_seconds() -> None:
    gateway = IridiumGateway(clock=LoopClock())
    tries: list[float] = []
    answers = iter([500, OSError("refused"), "silence", 404, 200, 200])

    async def server(url: str, content_type: str, body: bytes) -> int:
        tries.append(asyncio.get_running_loop().time())
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        if answer == "silence":
            await asyncio.sleep(3600)
        assert isinstance(answer, int)
        return answer

    async with HookPoster(gateway, "http://example.invalid/", post=server) as poster:
        gateway.take_mo(IMEI, 1, b"one")
        gateway.take_mo(IMEI, 2, b"two")
        await poster.drained()
    # The silent one is given 5 s before it counts as failed.
    assert [round(later - earlier) for earlier, later in itertools.pairwise(tries)] == [2, 4, 8 + 5, 16, 0]
    assert (poster.delivered, poster.failed_tries) == (2, 4)


@pytest.mark.looptime
async def test_gives_up_after_twelve_hours() -> None:
    gateway = IridiumGateway(clock=LoopClock())

    async def server(url: str, content_type: str, body: bytes) -> int:
        return 503

    async with HookPoster(gateway, "http://example.invalid/", post=server) as poster:
        gateway.take_mo(IMEI, 1, b"one")
        await poster.drained()
    assert poster.given_up == 1
    assert asyncio.get_running_loop().time() > 12 * 3600


async def test_posts_over_http() -> None:
    gateway = IridiumGateway()
    heard: list[Request] = []

    def handle(request: Request) -> Response:
        heard.append(request)
        return Response(200 if len(heard) > 1 else 503)

    async with HttpServer(handle) as server, asyncio.timeout(10):
        url = f"http://127.0.0.1:{server.address[1]}/hook?x=1"
        async with HookPoster(gateway, url, first_retry=0.001) as poster:
            gateway.take_mo(IMEI, 1, b"one")
            await poster.drained()
    assert [each.target for each in heard] == ["/hook?x=1"] * 2
    assert heard[0] == heard[1]
    assert parse_qs(heard[0].body.decode())["data"] == [b"one".hex()]


async def test_post_tells_of_no_answer() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"not HTTP at all\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionResetError):
            await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "text/plain", b"x")


def form(web: WebMt, **fields: str) -> str:
    """RockBLOCK's answer to a form with the right login."""
    given = {"imei": IMEI, "username": "user", "password": "password", "data": b"down".hex(), **fields}
    body = urlencode(given).encode()
    return web.handle(Request("POST", "/rockblock/MT", "application/x-www-form-urlencoded", body)).body.decode()


def test_rockblock_answers_with_every_code() -> None:
    gateway = IridiumGateway(clock=LoopClock())
    gateway.subscribe(IMEI)
    web = WebMt(gateway)
    assert form(web).startswith("OK,")
    assert form(web, password="wrong").startswith("FAILED,10,")
    assert form(web, imei="300234063904191").startswith("FAILED,11,")
    assert form(web, data="0g").startswith("FAILED,14,")
    assert form(web, data="00" * 271).startswith("FAILED,15,")
    assert form(web, data="").startswith("FAILED,16,")
    web.credit = 0
    assert form(web).startswith("FAILED,13,")
    web.unrented.add(IMEI)
    assert form(web).startswith("FAILED,12,")
    web.credit, web.unrented = None, set()
    web.refuse_next.append(99)
    assert form(web).startswith("FAILED,99,")
    assert gateway.queued(IMEI) == 1
    assert form(web, flush="yes", data=b"new".hex()).startswith("OK,")
    assert [each.payload for each in gateway.of(IMEI).queue] == [b"new"]


async def test_cloudloop_takes_both_kinds_over_http() -> None:
    gateway = IridiumGateway()
    gateway.subscribe(IMEI, longest_mt=100_000)
    async with HttpServer(WebMt(gateway).handle) as server, asyncio.timeout(10):

        async def call(name: str, **fields: object) -> int:
            body = json.dumps({"token": "token", "thing": thing_of(IMEI), **fields}).encode()
            return await post(f"http://127.0.0.1:{server.address[1]}/Data/{name}", "application/json", body)

        data = base64.b64encode(bytes(5000)).decode()
        assert await call("DoSendImtMessage", message=data, topic="IMT_TOPIC_RAW") == 200
        assert await call("DoSendSbdMessage", message="00ff") == 200
        assert await call("DoSendImtMessage", message="!") == 400
        assert await call("DoSendImtMessage", message=data, token="wrong") == 401
        assert await call("DoSendImtMessage", message=data, thing="wrong") == 404
        assert await call("DoSendNothing") == 404
    assert [(len(each.payload), each.topic) for each in gateway.of(IMEI).queue] == [(5000, 244), (2, None)]


@settings(max_examples=40)
@given(
    st.text(max_size=30),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""]),
    st.binary(max_size=60),
)
def test_any_request_is_answered(path: str, kind: str, body: bytes) -> None:
    web = WebMt(IridiumGateway(clock=LoopClock()))
    for target in (f"/{path}", "/rockblock/MT", f"/Data/DoSendImtMessage?{path}"):
        assert web.handle(Request("POST", target, kind, body)).status in (200, 400, 401, 404)


async def test_noise_is_no_request() -> None:
    async with HttpServer(lambda request: Response(200)) as server, asyncio.timeout(10):
        for noise in (
            b"",
            b"GET\r\n\r\n",
            b"\x00\xff\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        ):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(noise)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
