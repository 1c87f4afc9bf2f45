"""One device, heard by every way at once, in any order and more than once: the same records, and the same acknowledged."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rataccess.lorawan.crypto import open_frame, seal
from rataccess.lorawan.frame import Downlink, Uplink, decode, encode
from rataccess.objects import Service
from rataccess.security import RequestIdentity
from rataccess.services import provisioning
from rataccess.services.ways import frames
from rataccess.services.ways.semtech.sessions import DeviceState, Session
from rataccess.wire import Message
from rataccess_hil.satellite import IridiumGateway
from rataccess_hil.satellite.directip_link import MtListener
from tests.servers.mosquitto import Mosquitto
from tests.servers.mosquitto import mosquitto as mosquitto
from tests.servers.mosquitto import mosquitto_server as mosquitto_server
from tests.services.service_world import FakeDevice
from tests.ways.test_brokers import UP, Network, event, network
from tests.ways.test_hooks import form, post
from tests.ways.test_iridium import deliver, mo
from tests.ways.test_relay import udp
from tests.ways.ways_world import APP_KEY, DEV_EUI, IMEI, NAMES, RunningWorld, WaysWorld, acknowledged, compact, until


class Radio:
    """A LoRaWAN device in a session, and its gateway's socket."""

    def __init__(self, session: Session, out: asyncio.DatagramTransport, came: asyncio.Queue[bytes]) -> None:
        self._session, self._out, self.came = session, out, came
        self._fcnt = 0
        out.sendto(b"\x02ab\x02" + bytes(8))

    def send(self, data: bytes, port: int = 2) -> None:
        frame = Uplink(dev_addr=self._session.dev_addr, fcnt=self._fcnt, port=port, payload=data)
        self._fcnt += 1
        phy = encode(seal(self._session.keys, frame))
        rxpk = {"tmst": 7, "freq": 868.1, "modu": "LORA", "datr": "SF7BW125", "rssi": -60, "lsnr": 9, "stat": 1}
        body = {"rxpk": [{**rxpk, "size": len(phy), "data": base64.b64encode(phy).decode()}]}
        self._out.sendto(b"\x02cd\x00" + bytes(8) + json.dumps(body).encode())

    async def downlink(self, port: int = 2) -> bytes:
        async with asyncio.timeout(30):
            while True:
                datagram = await self.came.get()
                if datagram[3] == 3:
                    break
        found = decode(base64.b64decode(json.loads(datagram[4:])["txpk"]["data"]))
        assert isinstance(found, Downlink)
        assert found.port == port
        return open_frame(self._session.keys, found, found.fcnt).payload


class Everywhere:
    """A running service and a device that reaches it by every way."""

    def __init__(
        self,
        running: RunningWorld,
        device: FakeDevice,
        server: Network,
        radio: Radio,
        relay: tuple[asyncio.DatagramTransport, asyncio.Queue[bytes]],
    ) -> None:
        self.running, self.device, self.server, self.radio = running, device, server, radio
        self.relay, self.relayed = relay
        self.send: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "chirpstack": lambda data: server.publish(UP, event(data)),
            "semtech": self._by_radio,
            "directip": lambda data: deliver(running, mo(data)),
            "rockblock": lambda data: post(running, "rock", data=form(data)),
            "relay": self._by_relay,
        }

    async def _by_radio(self, data: bytes) -> None:
        self.radio.send(data)

    async def _by_relay(self, data: bytes) -> None:
        self.relay.sendto(frames.encode(frames.RelayFrame("lora", NAMES["lora"], data)))

    def packet(self, *numbers: int) -> tuple[bytes, RequestIdentity]:
        records = [self.device.record(number, {"n": number}, at=None) for number in numbers]
        return compact(self.device, Message(records=records), Service.SOLUTION)


@contextlib.asynccontextmanager
async def everywhere(folder: Path, broker: Mosquitto, store: str) -> AsyncIterator[Everywhere]:
    sky = IridiumGateway()
    sky.subscribe(IMEI)
    async with MtListener(sky) as listener:
        ways = (
            f'[[ways]]\nkind = "chirpstack"\nname = "lns"\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\n'
            '[[ways]]\nkind = "semtech"\nname = "farm"\nhost = "127.0.0.1"\nport = 0\ngather = 0.05\n'
            '[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = 0\n'
            f'gateway = "127.0.0.1:{listener.address[1]}"\n'
            '[[ways]]\nkind = "rockblock"\nname = "rock"\nport = 0\npath = "/secret"\n'
            '[[ways]]\nkind = "relay"\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
        )
        world = WaysWorld(folder, ways, store=store)
        device = world.add()
        provisioning.set_app_key(world.settings, world.service, "SN1", APP_KEY)
        session = Session.begin(APP_KEY, dev_addr=0x12345, join_nonce=1, dev_nonce=1, net_id=0, rx_delay=1)
        async with world.running() as running:
            running.way("farm").network.restore(DeviceState(DEV_EUI, {}, 1, session))
            async with (
                network(broker, "application/+/device/+/command/down") as server,
                udp(running.way("farm").address) as (out, came),
                udp(running.way("relay").address) as relay,
                asyncio.timeout(60),
            ):
                await running.way("lns").subscribed.wait()
                yield Everywhere(running, device, server, Radio(replace(session), out, came), relay)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_every_way_at_once(
    tmp_path: Path, mosquitto: Mosquitto, kind: str, request: pytest.FixtureRequest
) -> None:
    store = "solution.sqlite3" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    chance = random.Random(11)
    async with everywhere(tmp_path, mosquitto, store) as made:
        packets = [made.packet(2 * n + 1, 2 * n + 2) for n in range(12)]
        sent = [(data, way) for data, _ in packets for way in chance.sample(sorted(made.send), 2)]
        chance.shuffle(sent)
        for data, way in sent:
            await made.send[way](data)
        await until(lambda: made.running.counters.get("packets that came by a way in", 0) >= len(sent))
        counted = made.running.counters
        assert counted["records"] == 24
        assert counted["replayed requests"] == len(sent) - 12
        assert [row[0] for row in made.running.rows()] == list(range(1, 25))
        await heard_alike(made)


async def heard_alike(made: Everywhere) -> None:
    """Whatever way asks, the same is acknowledged."""
    answers = {}
    _, lies = await made.server.downlink()  # the network says that this has gone out
    await made.server.publish(UP.replace("/up", "/txack"), json.dumps({"queueItemId": lies["id"]}).encode())
    for number, way in enumerate(("chirpstack", "semtech", "relay", "plain"), start=25):
        if way == "plain":
            data, identity = made.device.protect(Message(records=[made.device.record(number, 1, at=None)]))
            async with udp(made.running.parts.server.address) as (out, came):
                out.sendto(data)
                answers[way] = made.device.read(await came.get(), identity).message.acknowledged
            continue
        data, identity = made.packet(number)
        drain(made.radio.came)
        drain(made.relayed)
        await made.send[way](data)
        answers[way] = await answer_of(made, way, identity)
    assert all(
        set(range(1, number + 1)) <= _numbers(each, number) for number, each in enumerate(answers.values(), start=25)
    )


async def answer_of(made: Everywhere, way: str, identity: RequestIdentity) -> Any:
    """What an answer acknowledges; answers to earlier packets are left aside."""
    while True:
        if way == "chirpstack":
            data = base64.b64decode((await made.server.downlink())[1]["data"])
        elif way == "semtech":
            data = await made.radio.downlink()
        else:
            data = frames.decode(await made.relayed.get()).data
        with contextlib.suppress(Exception):
            return acknowledged(made.device, data, identity)


def drain(queue: asyncio.Queue[bytes]) -> None:
    while not queue.empty():
        queue.get_nowait()


def _numbers(found: Any, most: int) -> set[int]:
    return {number for number in range(1, most + 1) if number in found}


async def test_one_gateway_serves_both_services(tmp_path: Path) -> None:
    relay = '[[ways]]\nkind = "relay"\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'
    management = WaysWorld(tmp_path, relay, Service.MANAGEMENT)
    manager = management.add()
    session = Session.begin(APP_KEY, dev_addr=0x12345, join_nonce=1, dev_nonce=1, net_id=0, rx_delay=15)
    async with management.running() as other:
        port = other.way("relay").address[1]
        farm = '[[ways]]\nkind = "semtech"\nname = "farm"\nhost = "127.0.0.1"\nport = 0\nrx1_delay = 15\ngather = 1.0\n'
        solution = WaysWorld(tmp_path, f'{farm}other = "127.0.0.1:{port}"\n')
        device = solution.add()
        provisioning.set_app_key(solution.settings, solution.service, "SN1", APP_KEY)
        async with solution.running() as running, udp(running.way("farm").address) as (out, came):
            running.way("farm").network.restore(DeviceState(DEV_EUI, {}, 1, session))
            radio = Radio(replace(session), out, came)
            data, identity = compact(manager, Message(records=[manager.record(1, 7, at=None)]), Service.MANAGEMENT)
            radio.send(data, 1)
            assert 1 in acknowledged(manager, await radio.downlink(1), identity)
            data, identity = compact(device, Message(records=[device.record(1, 7, at=None)]), Service.SOLUTION)
            radio.send(data, 2)
            assert 1 in acknowledged(device, await radio.downlink(2), identity)
            assert running.rows() == [(1, "readings", "lorawan")]
        assert other.rows() == [(1, "readings", "lorawan")]
