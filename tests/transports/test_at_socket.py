"""UDP over a radio's own sockets, with a radio that is a fake."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from rataccess.clock import SystemClock
from rataccess.driver import Bearer, DatagramSocket, Driver
from rataccess.errors import (
    Closed,
    ConfigurationError,
    NotNow,
    PacketTooLarge,
    RadioSilent,
    RataccessError,
    TransportBroken,
)
from rataccess.objects import Service
from rataccess.registry import transport as registered
from rataccess.testing import MemoryDriver, MemoryMedium
from rataccess.transport import Endpoint, Packet
from rataccess_transports.at_socket import AtSocketOptions, AtSocketTransport

ENDPOINTS = {Service.MANAGEMENT: Endpoint("192.0.2.1", 5683), Service.SOLUTION: Endpoint("host.example", 5684)}
LTE_M = Bearer("lte-m", None, ("10.0.0.2",))


class FakeSocket(DatagramSocket):
    """A socket of the radio; `refuse` is raised by the next sends."""

    max_size = 1460

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.refuse: RataccessError | None = None
        self.hanging = False
        self.closed = 0
        self._incoming: deque[bytes | RataccessError] = deque()
        self._news = asyncio.Event()

    async def send(self, data: bytes) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.refuse is not None:
            raise self.refuse
        self.sent.append(data)

    async def receive(self) -> bytes:
        while not self._incoming:
            self._news.clear()
            await self._news.wait()
        item = self._incoming.popleft()
        if isinstance(item, RataccessError):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed += 1
        if self.hanging:
            await asyncio.Event().wait()

    def arrive(self, item: bytes | RataccessError) -> None:
        self._incoming.append(item)
        self._news.set()


class FakeRadio:
    """Opens fake sockets; `refuse` by port."""

    def __init__(self) -> None:
        self.sockets: dict[int, FakeSocket] = {}
        self.refuse: dict[int, RataccessError] = {}

    async def open_datagram_socket(self, host: str, port: int) -> DatagramSocket:
        await asyncio.sleep(0)
        if port in self.refuse:
            raise self.refuse[port]
        self.sockets[port] = FakeSocket()
        return self.sockets[port]


def build(radio: FakeRadio, bearer: Bearer = LTE_M, options: AtSocketOptions | None = None) -> AtSocketTransport:
    return AtSocketTransport(radio, bearer, ENDPOINTS, options)


@asynccontextmanager
async def opened(radio: FakeRadio, **rest: Any) -> AsyncIterator[AtSocketTransport]:
    transport = build(radio, **rest)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.aclose()


# --- making ---------------------------------------------------------------------------------------------------------------


def make(driver: object, endpoints: dict[Service, Endpoint]) -> AtSocketTransport:
    made = registered("at_socket").create(
        driver=cast(Driver, driver), bearer=LTE_M, endpoints=endpoints, options=None, clock=SystemClock()
    )
    assert isinstance(made, AtSocketTransport)
    return made


def test_needs_a_driver_with_sockets_and_an_endpoint() -> None:
    assert make(FakeRadio(), ENDPOINTS).hints.rat == "lte-m"
    with pytest.raises(ConfigurationError, match="MemoryDriver"):
        make(MemoryDriver(MemoryMedium()), ENDPOINTS)
    with pytest.raises(ConfigurationError, match="service"):
        make(FakeRadio(), {})


@pytest.mark.parametrize(
    ("bearer", "options", "mtu", "overhead"),
    [
        (LTE_M, None, 1252, 28),
        (LTE_M, AtSocketOptions(max_packet=1460), 1460, 28),
        (LTE_M, AtSocketOptions(max_packet=4000), 1460, 28),
        (Bearer("lte", None, ("10.0.0.2",), 1280), AtSocketOptions(max_packet=1460), 1252, 28),
        (Bearer("lte", None, ("2001:db8::2",), 1280), None, 1232, 48),
        (Bearer("lte", None, ("10.0.0.2", "2001:db8::2")), None, 1252, 28),
    ],
)
async def test_mtu(bearer: Bearer, options: AtSocketOptions | None, mtu: int, overhead: int) -> None:
    async with opened(FakeRadio(), bearer=bearer, options=options) as transport:
        assert (transport.hints.mtu, transport.hints.overhead) == (mtu, overhead)
        with pytest.raises(PacketTooLarge):
            await transport.send(Packet(bytes(mtu + 1), Service.SOLUTION))
        await transport.send(Packet(bytes(mtu), Service.SOLUTION))


def test_slower_radios_are_known_as_such() -> None:
    times = [build(FakeRadio(), Bearer(rat)).hints.response_time for rat in ("lte", "lte-m", "nb-iot", "ntn-nb-iot")]
    assert times == sorted(times)
    assert build(FakeRadio(), Bearer("something new")).hints.response_time > 0


# --- opening --------------------------------------------------------------------------------------------------------------


async def test_each_service_has_its_socket() -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        await transport.send(Packet(b"m", Service.MANAGEMENT))
        await transport.send(Packet(b"s", Service.SOLUTION))
        assert {port: socket.sent for port, socket in radio.sockets.items()} == {5683: [b"m"], 5684: [b"s"]}


@pytest.mark.parametrize("error", [TransportBroken("565"), RadioSilent("silent"), NotNow("DNS busy", 2.0)])
async def test_one_socket_that_does_not_open_closes_the_other(error: RataccessError) -> None:
    radio = FakeRadio()
    radio.refuse[5684] = error
    transport = build(radio)
    with pytest.raises(TransportBroken):
        await transport.open()
    assert radio.sockets[5683].closed == 1
    with pytest.raises(Closed):
        await transport.send(Packet(b"x", Service.MANAGEMENT))
    await transport.aclose()


async def test_cancelled_opening_leaves_nothing_open() -> None:
    radio = FakeRadio()
    transport = build(radio)
    opening = asyncio.create_task(transport.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert all(socket.closed for socket in radio.sockets.values())
    await transport.aclose()
    with pytest.raises(Closed):
        await transport.open()


# --- moving packets -------------------------------------------------------------------------------------------------------


async def test_what_arrives_on_both_sockets_is_merged() -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        for n in range(3):
            radio.sockets[5683].arrive(b"m%d" % n)
            radio.sockets[5684].arrive(b"s%d" % n)
        came = [await transport.receive() for _ in range(6)]
        for service, letter in ((Service.MANAGEMENT, b"m"), (Service.SOLUTION, b"s")):
            assert [each.data for each in came if each.service is service] == [letter + b"%d" % n for n in range(3)]


async def test_busy_radio_is_passed_on_and_breaks_nothing() -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        radio.sockets[5684].refuse = NotNow("full", 1.5)
        with pytest.raises(NotNow) as caught:
            await transport.send(Packet(b"x", Service.SOLUTION))
        assert caught.value.retry_after == 1.5
        radio.sockets[5684].refuse = None
        await transport.send(Packet(b"x", Service.SOLUTION))


@pytest.mark.parametrize("error", [TransportBroken("gone"), RadioSilent("hung"), Closed("driver closed")])
@pytest.mark.parametrize("sending", [False, True])
async def test_one_broken_socket_breaks_both_ways(error: RataccessError, sending: bool) -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        waiting = asyncio.create_task(transport.receive())
        await asyncio.sleep(0)
        if sending:
            radio.sockets[5683].refuse = error
            with pytest.raises(TransportBroken):
                await transport.send(Packet(b"x", Service.MANAGEMENT))
        else:
            radio.sockets[5683].arrive(error)
        with pytest.raises(TransportBroken):
            await waiting
        with pytest.raises(TransportBroken):
            await transport.send(Packet(b"x", Service.SOLUTION))
        with pytest.raises(TransportBroken):
            await transport.receive()


async def test_packets_that_came_before_the_break_are_not_lost() -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        radio.sockets[5683].arrive(b"in time")
        radio.sockets[5683].arrive(TransportBroken("gone"))
        await asyncio.sleep(0)
        assert (await transport.receive()).data == b"in time"
        with pytest.raises(TransportBroken):
            await transport.receive()


async def test_flood_stays_in_the_sockets() -> None:
    radio = FakeRadio()
    async with opened(radio) as transport:
        for n in range(1000):
            radio.sockets[5683].arrive(b"%d" % n)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(transport._incoming) <= 257
        assert [(await transport.receive()).data for _ in range(1000)] == [b"%d" % n for n in range(1000)]


# --- closing --------------------------------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_closing_ends_in_bounded_time_when_sockets_hang() -> None:
    radio = FakeRadio()
    transport = build(radio)
    await transport.open()
    for socket in radio.sockets.values():
        socket.hanging = True
    start = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(transport.receive())
    await asyncio.sleep(0)
    await transport.aclose()
    assert asyncio.get_running_loop().time() - start < 10
    with pytest.raises(Closed):
        await waiting
    await transport.aclose()
    assert [socket.closed for socket in radio.sockets.values()] == [1, 1]
