"""Relay frames at a service: taken, answered to where they came from, and passed on between the two services."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.ways import frames
from tests.ways.ways_world import NAMES, WaysWorld, acknowledged, record, until

RELAY = '[[ways]]\nkind = "relay"\nname = "relay"\nhost = "127.0.0.1"\nport = 0\n'


class Udp(asyncio.DatagramProtocol):
    """A socket that keeps what comes."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.put_nowait(data)


@contextlib.asynccontextmanager
async def udp(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.DatagramTransport, asyncio.Queue[bytes]]]:
    made = asyncio.get_running_loop().create_datagram_endpoint(Udp, remote_addr=address)
    transport, protocol = await made
    try:
        yield transport, protocol.came
    finally:
        transport.close()
        await asyncio.sleep(0)


async def next_of(came: asyncio.Queue[bytes]) -> frames.RelayFrame:
    async with asyncio.timeout(20):
        return frames.decode(await came.get())


async def test_a_packet_is_taken_and_answered_to_where_it_came_from(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, RELAY)
    device = world.add()
    async with world.running() as running, udp(running.way("relay").address) as (out, came):
        data, identity = record(device, 1)
        out.sendto(frames.encode(frames.RelayFrame("lora", NAMES["lora"], data)))
        answer = await next_of(came)
        assert (answer.kind, answer.name) == ("lora", NAMES["lora"])
        assert 1 in acknowledged(device, answer.data, identity)
        assert running.rows() == [(1, "readings", "lora_private")]


async def test_what_is_not_genuine_moves_no_answer_elsewhere(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, RELAY)
    device = world.add()
    async with world.running() as running:
        address = running.way("relay").address
        async with udp(address) as (out, came), udp(address) as (stranger, nothing):
            data, identity = record(device, 1)
            spoilt = data[:-1] + bytes([data[-1] ^ 1])
            for each in (b"", b"RA\x01", b"RA\x02\x83", b"RA\x01\x83\x01\x02\x03"):
                stranger.sendto(each)
            stranger.sendto(frames.encode(frames.RelayFrame("lora", NAMES["lora"], spoilt)))
            stranger.sendto(frames.encode(frames.RelayFrame("lora", "ffff", data)))
            out.sendto(frames.encode(frames.RelayFrame("lora", NAMES["lora"], data)))
            answer = await next_of(came)
            assert 1 in acknowledged(device, answer.data, identity)
            assert nothing.empty()
        counted = running.counters
        assert counted["malformed relay frames"] >= 3
        assert counted["packets that came by a way in"] == 3
        assert running.rows() == [(1, "readings", "lora_private")]


async def test_only_addresses_that_are_allowed(tmp_path: Path) -> None:
    world = WaysWorld(tmp_path, RELAY + 'allowed = ["192.0.2.0/24"]\n')
    async with world.running() as running, udp(running.way("relay").address) as (out, _):
        out.sendto(frames.encode(frames.RelayFrame("lora", "0a0b0c", b"\x20x")))
        await until(lambda: "datagrams from addresses that are not allowed" in running.counters)
        assert "packets that came by a way in" not in running.counters


@pytest.mark.parametrize("named", ["wrong", "10.0.0.0/33"])
def test_an_address_that_is_none_is_refused_before_anything_starts(tmp_path: Path, named: str) -> None:
    world = WaysWorld(tmp_path, RELAY + f'allowed = ["{named}"]\n')

    async def start() -> None:
        async with world.running():
            raise AssertionError("it started")

    with pytest.raises(ValueError, match=r"solution.ways\[0\].allowed"):
        asyncio.run(start())


async def test_packets_for_the_other_service_go_there_and_its_answers_come_back(tmp_path: Path) -> None:
    management = WaysWorld(tmp_path, RELAY, Service.MANAGEMENT)
    manager = management.add()
    async with management.running() as other:
        port = other.way("relay").address[1]
        directip = (
            f'[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = 0\nother = "127.0.0.1:{port}"\n'
        )
        solution = WaysWorld(tmp_path, directip)
        solution.add()
        async with solution.running() as running:
            way = running.way("sky")
            sent: asyncio.Queue[tuple[Service, bytes]] = asyncio.Queue()
            way._send_for = lambda service, airway, data: sent.put_nowait((service, data))
            data, identity = record(manager, 1, service=Service.MANAGEMENT)
            airway = Airway("sky", "deveui", NAMES["deveui"], "lorawan", 51, heard_at=management.clock.wall())
            way._hear_for(Service.MANAGEMENT, data, airway)
            async with asyncio.timeout(20):
                service, answer = await sent.get()
            assert service is Service.MANAGEMENT
            assert 1 in acknowledged(manager, answer, identity)
            assert other.rows() == [(1, "readings", "lorawan")]
            assert running.counters["packets passed on to the other service"] == 1
            way._answered(frames.encode(frames.RelayFrame("imei", "1", b"x")), None)
            assert running.counters["answers that nobody asked for"] == 1


async def test_a_packet_for_a_service_that_is_down_is_not_taken(tmp_path: Path) -> None:
    management = WaysWorld(tmp_path, RELAY, Service.MANAGEMENT)
    manager = management.add()
    async with management.running() as other:
        port = other.way("relay").address[1]
    sky = '[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = 0\n'
    async with WaysWorld(tmp_path, sky + f'other = "127.0.0.1:{port}"\n').running() as running:
        way, airway = running.way("sky"), Airway("sky", "imei", NAMES["imei"], "sbd", 270)
        data, _ = record(manager, 1, service=Service.MANAGEMENT)
        for _ in range(3):
            assert not way._hear_for(Service.MANAGEMENT, data, airway)
            await asyncio.sleep(0)
        assert running.counters["packets that did not reach the other service"] == 3
        again = WaysWorld(tmp_path, RELAY.replace("port = 0", f"port = {port}"), Service.MANAGEMENT)
        async with again.running() as other:
            assert way._hear_for(Service.MANAGEMENT, data, airway)
            await until(lambda: other.rows() == [(1, "readings", "sbd")])


async def test_the_other_service_may_have_no_address_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(type=socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    other = f'other = "later.invalid:{listener.getsockname()[1]}"\n'
    world = WaysWorld(tmp_path, '[[ways]]\nkind = "semtech"\nname = "farm"\nhost = "127.0.0.1"\nport = 0\n' + other)
    loop, found = asyncio.get_running_loop(), asyncio.get_running_loop().getaddrinfo

    async def nobody(*_: Any, **__: Any) -> Any:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(loop, "getaddrinfo", nobody)
    with listener:
        async with world.running() as running:
            way, airway = running.way("farm"), Airway("farm", "deveui", NAMES["deveui"], "lorawan", 51)
            way._hear_for(Service.MANAGEMENT, b"\x00", airway)
            await until(way._linking.done)
            monkeypatch.setattr(loop, "getaddrinfo", lambda host, *rest, **more: found("127.0.0.1", *rest, **more))
            way._hear_for(Service.MANAGEMENT, b"\x00", airway)
            await until(way._linking.done)
            way._hear_for(Service.MANAGEMENT, b"\x00", airway)
            assert running.counters["packets that did not reach the other service"] == 2
            assert running.counters["packets passed on to the other service"] == 1
