"""The virtual network: real sockets, a map, losses that are counted."""

from __future__ import annotations

import asyncio

import pytest

from rataccess_hil.network import Unreachable, VirtualNetwork
from tests.hil.bench import EchoServer, eventually

PUBLIC = ("198.51.100.7", 5683)


async def take(queue: asyncio.Queue[bytes]) -> bytes:
    async with asyncio.timeout(10):
        return await queue.get()


async def test_carries_bytes_to_where_the_map_says() -> None:
    async with EchoServer() as server, VirtualNetwork(nat={PUBLIC: server.address}) as network:
        came: asyncio.Queue[bytes] = asyncio.Queue()
        socket = await network.open_socket(*PUBLIC, came.put_nowait)
        socket.send(b"abc")
        assert await take(came) == b"cba"
        assert server.received == [b"abc"]
        assert network.stats()["up"] == {"packets": 1, "bytes": 3, "lost": 0}
        assert network.stats()["down"] == {"packets": 1, "bytes": 3, "lost": 0}


async def test_a_strict_network_refuses_what_is_not_mapped() -> None:
    async with VirtualNetwork(nat={PUBLIC: ("127.0.0.1", 9)}) as network:
        for address in (("198.51.100.7", 5684), ("192.0.2.1", 5683)):
            with pytest.raises(Unreachable):
                await network.open_socket(*address, lambda data: None)
        assert network.refused == [("198.51.100.7", 5684), ("192.0.2.1", 5683)]


async def test_an_open_network_uses_addresses_as_they_are() -> None:
    async with EchoServer() as server, VirtualNetwork(strict=False) as network:
        came: asyncio.Queue[bytes] = asyncio.Queue()
        (await network.open_socket(*server.address, came.put_nowait)).send(b"xy")
        assert await take(came) == b"yx"


async def test_names_lead_to_the_same_place_as_their_addresses() -> None:
    network = VirtualNetwork(nat={("coap.example", 5683): ("127.0.0.1", 4000)}, hosts={"other.example": ["192.0.2.9"]})
    (address,) = network.resolve("coap.example")
    assert network.destination("coap.example", 5683) == network.destination(address, 5683) == ("127.0.0.1", 4000)
    assert network.resolve("other.example") == ["192.0.2.9"]
    assert network.resolve("nobody.example") == []
    assert network.resolve("192.0.2.1") == ["192.0.2.1"]


async def test_silence_swallows_both_ways_and_is_counted() -> None:
    async with EchoServer() as server, VirtualNetwork(nat={PUBLIC: server.address}) as network:
        came: asyncio.Queue[bytes] = asyncio.Queue()
        socket = await network.open_socket(*PUBLIC, came.put_nowait)
        network.silence()
        socket.send(b"lost")
        network.up.silent = False
        socket.send(b"answer lost")
        await eventually(lambda: network.down.lost)
        network.silence(False)
        socket.send(b"ok")
        assert await take(came) == b"ko"
        assert server.received == [b"answer lost", b"ok"]
        assert (network.up.lost, network.down.lost) == (1, 1)


async def test_loss_and_duplicates_are_as_likely_as_asked_and_repeatable() -> None:
    def run() -> tuple[int, int]:
        network = VirtualNetwork(seed=7)
        network.up.loss, network.up.duplicates = 0.3, 0.5
        copies = [len(network.copies(network.up)) for _ in range(1000)]
        return copies.count(0), copies.count(2)

    lost, doubled = run()
    assert 250 < lost < 350
    assert 300 < doubled < 400
    assert run() == (lost, doubled)


@pytest.mark.looptime
async def test_delay_is_taken_on_the_loop() -> None:
    network = VirtualNetwork()
    network.up.delay, network.up.jitter = 2.0, 1.0
    waits = [network.copies(network.up)[0] for _ in range(100)]
    assert all(2.0 <= wait <= 3.0 for wait in waits)
    assert len(set(waits)) > 50


async def test_delayed_datagrams_arrive() -> None:
    async with EchoServer() as server, VirtualNetwork(nat={PUBLIC: server.address}) as network:
        network.up.delay = network.down.delay = 0.01
        came: asyncio.Queue[bytes] = asyncio.Queue()
        (await network.open_socket(*PUBLIC, came.put_nowait)).send(b"ab")
        assert await take(came) == b"ba"


async def test_a_closed_port_is_counted_and_not_told() -> None:
    async with EchoServer() as server:
        address = server.address
    async with VirtualNetwork(nat={PUBLIC: address}) as network:
        socket = await network.open_socket(*PUBLIC, lambda data: None)
        socket.send(b"anybody")
        await eventually(lambda: network.port_unreachable)


async def test_closing_frees_every_socket() -> None:
    network = VirtualNetwork(nat={PUBLIC: ("127.0.0.1", 9)})
    async with network:
        for _ in range(5):
            socket = await network.open_socket(*PUBLIC, lambda data: None)
        assert network.stats()["sockets"] == 5
        socket.close()
        socket.close()
        socket.send(b"into the void")
        assert network.stats()["sockets"] == 4
    assert network.stats()["sockets"] == 0
