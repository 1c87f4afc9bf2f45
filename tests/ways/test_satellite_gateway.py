"""The ways by satellite against a virtual Iridium gateway with a codec of its own, and the platforms before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess_hil.satellite import IridiumGateway
from rataccess_hil.satellite.directip_link import MoSender, MtListener
from rataccess_hil.satellite.http import HttpServer
from rataccess_hil.satellite.web_mt import WebMt
from rataccess_hil.satellite.webhook import HookPoster, lingo, rockblock_form, rockblock_json, thing_of
from tests.ways.test_codecs import _KEY
from tests.ways.test_hooks import CLOUDLOOP, ROCKBLOCK
from tests.ways.ways_world import IMEI, RunningWorld, WaysWorld, record, until

DIRECTIP = '[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = 0\nconfirm = true\n'


def to(name: str, link: str = "sbd", via: Any = None) -> Airway:
    return Airway(name, "imei", IMEI, link, 270, dear=True, via=via)


async def test_directip_both_ways(tmp_path: Path) -> None:
    sky = IridiumGateway()
    radio = sky.subscribe(IMEI)
    async with MtListener(sky) as listener:
        world = WaysWorld(tmp_path, DIRECTIP + f'gateway = "127.0.0.1:{listener.address[1]}"\n')
        device = world.add()
        async with world.running() as running:
            options: dict[str, Any] = {"confirmed": True, "piece": 7, "twice": True}
            async with MoSender(sky, running.way("sky").address, **options) as sender:
                for number in (1, 2):
                    sky.take_mo(IMEI, number, record(device, number)[0])
                sky.delivers_checks = True
                sky.take_mo(IMEI, 3, None)
                await sender.drained()
                assert sender.failed_tries == 0
            assert [row[0] for row in running.rows()] == [1, 2]
            assert running.counters["replayed requests"] == 2
            running.way("sky").send(to("sky"), b"hello")
            await until(lambda: bool(radio.queue))
            assert radio.queue[0].payload == b"hello"
            radio.rings_enabled, radio.attached = True, True
            sky.refuse_next = [-5]
            running.way("sky").send(to("sky"), b"again")
            await until(lambda: radio.rings > 0)
            await until(lambda: running.counters.get("answers that a provider takes later") == 1)


@pytest.mark.parametrize(
    ("body", "options"),
    [(rockblock_form, {}), (rockblock_form, {"long_year": True, "key": _KEY}), (rockblock_json, {"key": _KEY})],
)
async def test_rockblock_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Any, options: dict[str, Any]
) -> None:
    pem = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rock.pem").write_bytes(pem)
    monkeypatch.setenv("ROCK_PASSWORD", "password")
    sky = IridiumGateway()
    radio = sky.subscribe(IMEI)
    async with HttpServer(WebMt(sky).handle) as web:
        more = f'url = "http://127.0.0.1:{web.address[1]}/rockblock/MT"\n'
        more += 'username = "user"\npassword = { env = "ROCK_PASSWORD" }\n'
        signed = 'jwt_key_file = "rock.pem"\n' if "key" in options else ""
        world = WaysWorld(tmp_path, ROCKBLOCK + more + signed)
        device = world.add()
        async with world.running() as running:
            await _posted(sky, running, "rock", lambda message: body(message, **options), record(device, 1)[0])
            assert running.rows() == [(1, "readings", "sbd")]
            running.way("rock").send(to("rock"), b"hello")
            await until(lambda: bool(radio.queue))
    assert radio.queue[0].payload == b"hello"


@pytest.mark.parametrize("topic", [None, 244])
async def test_cloudloop_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: int | None) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "token")
    sky = IridiumGateway()
    radio = sky.subscribe(IMEI)
    link = "sbd" if topic is None else "imt"
    async with HttpServer(WebMt(sky).handle) as web:
        world = WaysWorld(
            tmp_path, CLOUDLOOP + f'url = "http://127.0.0.1:{web.address[1]}"\ntoken = {{ env = "CLOUD_TOKEN" }}\n'
        )
        device = world.add()
        async with world.running() as running:
            await _posted(sky, running, "cloud", lingo, record(device, 1)[0], topic)
            assert running.rows() == [(1, "readings", link)]
            running.way("cloud").send(to("cloud", link, thing_of(IMEI)), b"hello")
            await until(lambda: bool(radio.queue))
    assert radio.queue[0].payload == b"hello"
    assert world.service is Service.SOLUTION


async def _posted(
    sky: IridiumGateway, running: RunningWorld, name: str, body: Any, data: bytes, topic: int | None = None
) -> None:
    host, port = running.way(name).address
    async with HookPoster(sky, f"http://{host}:{port}/secret", form=body) as poster:
        sky.take_mo(IMEI, 1, data, topic=topic)
        await poster.drained()
        assert (poster.delivered, poster.failed_tries) == (1, 0)
