"""ChirpStack's and The Things Stack's events over a real mosquitto, and downlinks back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rataccess.services import admin
from rataccess.services.airway import Airway
from rataccess.services.ways import brokers
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto
from tests.servers.mosquitto import mosquitto as mosquitto
from tests.servers.mosquitto import mosquitto_server as mosquitto_server
from tests.ways.corpora import corpus
from tests.ways.ways_world import DEV_EUI, RunningWorld, WaysWorld, acknowledged, record, until

APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
UP = f"application/{APPLICATION}/device/{DEV_EUI}/event/up"


def chirpstack(broker: Mosquitto, **more: str) -> str:
    options = {"host": '"127.0.0.1"', "port": str(broker.port), "tls": "false", **more}
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    return f'[[ways]]\nkind = "chirpstack"\nname = "lns"\n{lines}'


def event(data: bytes, **more: Any) -> bytes:
    info = {"applicationId": APPLICATION, "devEui": DEV_EUI}
    lora = {"bandwidth": 125000, "spreadingFactor": 7}
    told = {"deviceInfo": info, "fPort": 2, "data": base64.b64encode(data).decode(), "dr": 5}
    return json.dumps({**told, "txInfo": {"modulation": {"lora": lora}}, **more}).encode()


class Network:
    """A network server's end of the broker."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def publish(self, topic: str, payload: bytes) -> None:
        await self._client.publish(topic, payload, qos=1)

    async def downlink(self) -> tuple[str, Any]:
        async with asyncio.timeout(30):
            async for message in self._client.messages:
                return str(message.topic), json.loads(message.payload)
        raise AssertionError("the broker hung up")


@contextlib.asynccontextmanager
async def network(broker: Mosquitto, topic: str) -> AsyncIterator[Network]:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", broker.port, identifier="network-server") as client:
        await client.subscribe(topic, qos=1)
        yield Network(client)


@contextlib.asynccontextmanager
async def subscribed(world: WaysWorld) -> AsyncIterator[RunningWorld]:
    async with world.running() as running:
        async with asyncio.timeout(30):
            await running.way("lns").subscribed.wait()
        yield running


async def test_an_uplink_is_filed_and_answered(tmp_path: Path, mosquitto: Mosquitto) -> None:
    world = WaysWorld(tmp_path, chirpstack(mosquitto))
    device = world.add()
    async with subscribed(world) as running, network(mosquitto, "application/+/device/+/command/down") as server:
        data, identity = record(device, 1)
        await server.publish(UP, event(data))
        topic, command = await server.downlink()
        assert topic == f"application/{APPLICATION}/device/{DEV_EUI}/command/down"
        assert (command["devEui"], command["fPort"], command["confirmed"]) == (DEV_EUI, 2, False)
        answer = base64.b64decode(command["data"])
        assert len(answer) <= 242
        assert 1 in acknowledged(device, answer, identity)
        assert running.rows() == [(1, "readings", "lorawan")]


async def test_events_that_are_not_for_us_and_garbage_change_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    world = WaysWorld(tmp_path, chirpstack(mosquitto))
    device = world.add()
    async with subscribed(world) as running, network(mosquitto, "application/+/device/+/command/down") as server:
        data, identity = record(device, 1)
        for each in corpus("chirpstack_events")["events"]:
            await server.publish(each["topic"], json.dumps(each["payload"]).encode())
        for garbage in (b"", b"\xff", b"{", b"[" * 5000, b'{"data": 7}', event(data, fPort=1), event(data, fPort=7)):
            await server.publish(UP, garbage)
        await server.publish(UP, event(data))
        _, command = await server.downlink()
        assert 1 in acknowledged(device, base64.b64decode(command["data"]), identity)
        assert running.counters["malformed events of network servers"] == 5
        assert running.counters["uplinks on the port of another"] == 3  # the corpus's uplink is on port 1
        assert running.counters["packets that came by a way in"] == 1


async def test_a_defect_loses_one_event_and_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(topic: str, payload: bytes) -> Any:
        raise RuntimeError("a defect")

    world = WaysWorld(
        tmp_path, '[[ways]]\nkind = "chirpstack"\nname = "lns"\nhost = "127.0.0.1"\nport = 1\ntls = false\n'
    )
    async with world.running() as running:
        monkeypatch.setattr(running.way("lns"), "_read", broken)
        running.way("lns")._take(UP, b"{}")
        assert running.counters["ways in that met a defect"] == 1
    assert "a defect" in caplog.text


async def test_a_broker_that_goes_away_is_found_again(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WaysWorld(tmp_path, chirpstack(mosquitto))
    device = world.add()
    async with subscribed(world) as running:
        mosquitto.stop()
        await until(lambda: running.way("lns").state == "trying again")
        monkeypatch.setattr(brokers, "STALE", -1.0)
        running.way("lns").send(Airway("lns", "deveui", DEV_EUI, via=APPLICATION), b"too late")
        mosquitto.start()
        async with asyncio.timeout(30):
            await running.way("lns").subscribed.wait()
        await until(lambda: running.counters.get("answers that a way in lost") == 1)
        monkeypatch.setattr(brokers, "STALE", 30.0)
        async with network(mosquitto, "application/+/device/+/command/down") as server:
            data, identity = record(device, 1)
            await server.publish(UP, event(data))
            _, command = await server.downlink()
            assert 1 in acknowledged(device, base64.b64decode(command["data"]), identity)
        assert running.rows() == [(1, "readings", "lorawan")]
        assert running.counters["ways in begun again"] >= 1


async def test_what_comes_while_the_service_is_away_is_kept_for_its_client_id(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    world = WaysWorld(tmp_path, chirpstack(mosquitto, client_id='"solution-1"'))
    device = world.add()
    async with subscribed(world):
        pass
    async with network(mosquitto, "application/+/device/+/command/down") as server:
        await server.publish(UP, event(record(device, 1)[0]))
        async with subscribed(world) as running:
            await server.downlink()
            assert running.rows() == [(1, "readings", "lorawan")]


async def test_answers_to_what_came_meanwhile_do_not_pile_up(
    tmp_path: Path, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    world = WaysWorld(tmp_path, chirpstack(mosquitto, client_id='"solution-1"'))
    device = world.add()
    async with subscribed(world):
        pass
    async with network(mosquitto, "application/+/device/+/command/down") as server:
        for number in range(1, 6):
            await server.publish(UP, event(record(device, number)[0]))
        async with subscribed(world) as running:
            _, command = await server.downlink()
            await until(lambda: len(running.rows()) == 5)
            assert running.counters["answers by a way in"] == 1
            assert running.counters["answers that a newer one replaced"] == 3
            # it has gone out with the next uplink, whose own answer waits; that is made needless by the next one's
            data, _ = record(device, 6)
            await server.publish(UP, event(data))
            await server.publish(UP.replace("/up", "/txack"), json.dumps({"queueItemId": command["id"]}).encode())
            data, identity = record(device, 7)
            await server.publish(UP, event(data))
            _, command = await server.downlink()
            told = acknowledged(device, base64.b64decode(command["data"]), identity)
            assert all(number in told for number in range(1, 8))
            # one that did not fit is told smaller
            context = {"queue_item_id": command["id"], "max_payload_size": "80"}
            log = {"level": "ERROR", "code": "DOWNLINK_PAYLOAD_SIZE", "context": context}
            await server.publish(UP.replace("/up", "/log"), json.dumps(log).encode())
            admin.enqueue_inbound(world.settings.store, "SN1", "commands", "x" * 150)
            await server.publish(UP, event(record(device, 8)[0]))
            _, command = await server.downlink()
            assert 50 < len(base64.b64decode(command["data"])) <= 80
            # and what is not JSON is told once
            for _ in range(3):
                await server.publish(UP, b"\n\x24protobuf")
            await until(lambda: running.counters.get("malformed events of network servers") == 3)
    assert caplog.text.count("are no JSON") == 1


async def test_what_the_store_cannot_keep_now_is_kept_later(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "AGAIN", 0.01)
    world = WaysWorld(tmp_path, chirpstack(mosquitto))
    device = world.add()
    async with subscribed(world) as running, network(mosquitto, "application/+/device/+/command/down") as server:
        with running.store_away(monkeypatch):
            for number in (1, 2, 3):
                await server.publish(UP, event(record(device, number)[0]))
            await until(lambda: len(running.way("lns")._unkept) == 3)
            assert running.rows() == []
        await server.downlink()
        await until(lambda: not running.way("lns")._unkept)
        assert [row[0] for row in running.rows()] == [1, 2, 3]
        way, kept = running.way("lns"), list[int]()

        def hear(batch: Any) -> bool:
            (data, _), *_ = batch
            kept.append(data[0])
            return bool(data[0] != 7)

        way._heard = hear
        way._unkept.extend((bytes([each]), None) for each in (1, 7, 2, 7))
        await until(lambda: kept[-3:] == [7, 7, 7])  # the last has nobody behind it
        assert running.counters["packets that the store refused for good"] == 1
        assert kept[:5] == [1, 7, 2, 7, 7]


async def test_several_processes_share_the_uplinks_and_each_learns_what_went_out(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    worlds = [WaysWorld(tmp_path / name, chirpstack(mosquitto, group='"solution"')) for name in _folders(tmp_path)]
    async with subscribed(worlds[0]) as one, subscribed(worlds[1]) as two, network(mosquitto, "nothing") as server:
        for _ in range(4):
            await server.publish(UP, event(b"\x20x"))
        log = b'{"level":"ERROR","code":"DOWNLINK_GATEWAY"}'
        await server.publish(UP.replace("/up", "/log"), log)
        refused = "downlinks that a network refused"
        await until(lambda: one.counters.get(refused) == two.counters.get(refused) == 1)
        came = [each.counters.get("packets that came by a way in", 0) for each in (one, two)]
        assert sum(came) == 4


def _folders(tmp_path: Path) -> list[str]:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return ["one", "two"]


async def test_tls_and_a_password(tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = {"port": str(mosquitto.tls_port), "tls": "true", "ca_file": f'"{mosquitto.ca_file}"'}
    async with subscribed(WaysWorld(tmp_path, chirpstack(mosquitto, **tls))):
        pass
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    login = {"port": str(mosquitto.password_port), "username": f'"{USER}"', "password": '{ env = "BROKER_PASSWORD" }'}
    async with subscribed(WaysWorld(tmp_path / "b", chirpstack(mosquitto, **login))):
        pass


async def test_the_things_stack(tmp_path: Path, mosquitto: Mosquitto) -> None:
    toml = (
        '[[ways]]\nkind = "the_things_stack"\nname = "lns"\nhost = "127.0.0.1"\ntls = false\n'
        f'port = {mosquitto.port}\napplication = "meters"\nusername = "{USER}"\n'
    )
    world = WaysWorld(tmp_path, toml)
    device = world.add()
    prefix = "v3/meters@ttn/devices/pump-1"
    ids = {"device_id": "pump-1", "dev_eui": DEV_EUI.upper()}
    async with subscribed(world) as running, network(mosquitto, f"{prefix}/down/replace") as server:
        data, identity = record(device, 1)
        up = {"f_port": 2, "frm_payload": base64.b64encode(data).decode(), "settings": {}}
        lora = {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 12}}}
        await server.publish(f"{prefix}/up", b"{}")
        await server.publish(f"{prefix}/down/failed", json.dumps({"end_device_ids": ids}).encode())
        await server.publish(
            f"{prefix}/up", json.dumps({"end_device_ids": ids, "uplink_message": {**up, "settings": lora}}).encode()
        )
        topic, pushed = await server.downlink()
        [downlink] = pushed["downlinks"]
        assert (topic, downlink["f_port"]) == (f"{prefix}/down/replace", 2)
        answer = base64.b64decode(downlink["frm_payload"])
        assert len(answer) <= 51
        assert 1 in acknowledged(device, answer, identity)
        assert running.rows() == [(1, "readings", "lorawan")]
        assert running.counters["malformed events of network servers"] == 1
        assert running.counters["downlinks that a network refused"] == 1
