"""What `UdpTransport` promises beyond the contract (tests/contracts runs that)."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest

from rataccess import registry
from rataccess.clock import SystemClock
from rataccess.driver import Bearer
from rataccess.errors import Closed, ConfigurationError, NotNow, PacketTooLarge, ServiceRefused, TransportBroken
from rataccess.objects import Service
from rataccess.testing import MemoryDriver, MemoryMedium
from rataccess.transport import Endpoint, Hints, Packet
from rataccess_hil.access_point import NetworkNamespace, TunAccessPoint, why_not
from rataccess_transports import udp
from rataccess_transports.udp import UdpOptions, UdpTransport

LOOPBACK = Bearer("wifi", "lo", ("127.0.0.1",), 65_536)
needs_tun = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")


@contextmanager
def service(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind((host, port))
        yield sock


@asynccontextmanager
async def opened(transport: UdpTransport) -> AsyncIterator[UdpTransport]:
    try:
        async with asyncio.timeout(10):
            await transport.open()
        yield transport
    finally:
        await transport.aclose()


def to(sock: socket.socket, bearer: Bearer = LOOPBACK, **options: Any) -> UdpTransport:
    host, port, *_ = sock.getsockname()
    return UdpTransport(bearer, {Service.SOLUTION: Endpoint(host, port)}, UdpOptions(**options))


def packet(data: bytes) -> Packet:
    return Packet(data, Service.SOLUTION)


async def receive(transport: UdpTransport) -> Packet:
    async with asyncio.timeout(10):
        return await transport.receive()


# --- where packets go -------------------------------------------------------------------------------------------------


async def test_sockets_are_bound_to_the_interface_and_connected_to_the_service() -> None:
    with service() as sock:
        async with opened(to(sock)) as transport:
            (own,) = transport._sockets.values()
            assert own.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
            assert own.getpeername() == sock.getsockname()


async def test_strangers_are_not_heard() -> None:
    with service() as sock, service() as stranger:
        async with opened(to(sock)) as transport:
            (own,) = transport._sockets.values()
            stranger.sendto(b"stranger", own.getsockname())
            sock.sendto(b"service", own.getsockname())
            assert (await receive(transport)).data == b"service"


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
async def test_ipv6() -> None:
    with ExitStack() as stack:
        try:
            sock = stack.enter_context(service("::1"))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6 loopback: {error}")
        async with opened(to(sock, Bearer("wifi", "lo", ("::1",), 1280))) as transport:
            assert transport.hints.mtu == 1280 - 48
            await transport.send(packet(bytes(transport.hints.mtu)))
            data, device = sock.recvfrom(2000)
            assert len(data) == 1232
            sock.sendto(b"answer", device)
            assert await receive(transport) == packet(b"answer")


async def test_host_names_are_resolved_to_a_kind_of_address_that_the_bearer_has() -> None:
    with service() as sock:
        endpoints = {Service.SOLUTION: Endpoint("localhost", sock.getsockname()[1])}
        async with opened(UdpTransport(LOOPBACK, endpoints)) as transport:
            await transport.send(packet(b"hello"))
            assert sock.recv(100) == b"hello"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", ""])
async def test_bad_host_name(host: str) -> None:
    transport = UdpTransport(LOOPBACK, {Service.SOLUTION: Endpoint(host, 5683)})
    with pytest.raises(TransportBroken):
        await transport.open()


async def test_host_without_a_usable_kind_of_address() -> None:
    transport = UdpTransport(LOOPBACK, {Service.SOLUTION: Endpoint("::1", 5683)})
    with pytest.raises(TransportBroken, match=r"127\.0\.0\.1"):
        await transport.open()


async def test_missing_interface() -> None:
    bearer = Bearer("wifi", "nosuchif0", ("127.0.0.1",))
    transport = UdpTransport(bearer, {Service.SOLUTION: Endpoint("127.0.0.1", 5683)})
    with pytest.raises(TransportBroken, match="nosuchif0"):
        await transport.open()


async def test_binding_may_need_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldKernel(socket.socket):
        def setsockopt(self, *given: Any) -> None:
            if given[1] == socket.SO_BINDTODEVICE:
                raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", OldKernel)
    transport = UdpTransport(LOOPBACK, {Service.SOLUTION: Endpoint("127.0.0.1", 5683)})
    with pytest.raises(TransportBroken, match="CAP_NET_RAW"):
        await transport.open()


async def test_closing_while_a_name_is_being_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        await answer.wait()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 5683))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    transport = UdpTransport(LOOPBACK, {Service.SOLUTION: Endpoint("service.example", 5683)})
    opening = asyncio.create_task(transport.open())
    await asked.wait()
    await transport.aclose()
    answer.set()
    with pytest.raises(Closed):
        await opening
    with pytest.raises(Closed):
        await transport.open()


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interface_mtu", "max_packet", "mtu"),
    [
        (1400, 1232, 1232),
        (1260, 1232, 1232),
        (1259, 1232, 1231),
        (600, 1232, 572),
        (None, 1232, 1232),
        (1400, 200, 200),
    ],
)
async def test_mtu(interface_mtu: int | None, max_packet: int, mtu: int) -> None:
    with service() as sock:
        async with opened(
            to(sock, Bearer("lte", "lo", ("127.0.0.1",), interface_mtu), max_packet=max_packet)
        ) as transport:
            assert (transport.hints.mtu, transport.hints.overhead, transport.hints.rat) == (mtu, 28, "lte")


def test_before_open_the_hints_expect_the_larger_headers() -> None:
    hints = UdpTransport(Bearer("wifi", mtu=1000), {Service.SOLUTION: Endpoint("127.0.0.1", 5683)}).hints
    assert (hints.mtu, hints.overhead) == (952, 48)


async def test_slower_radios_are_given_more_time() -> None:
    def time(rat: str) -> float:
        return UdpTransport(Bearer(rat), {}).hints.response_time

    assert time("ethernet") < time("lte") < time("lte-m") < time("nb-iot")


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_refusal_leaves_the_transport_usable() -> None:
    with service() as sock:
        transport = to(sock)
        port = sock.getsockname()[1]
    async with opened(transport):
        await transport.send(packet(b"nobody hears"))
        with pytest.raises(ServiceRefused) as caught:
            await receive(transport)
        assert caught.value.service == "solution"
        with service(port=port) as sock:
            await transport.send(packet(b"somebody does"))
            data, device = sock.recvfrom(100)
            sock.sendto(data, device)
            assert await receive(transport) == packet(b"somebody does")


async def test_refusal_of_an_earlier_packet_does_not_lose_the_next() -> None:
    with service() as sock:
        transport = to(sock)
        port = sock.getsockname()[1]
    async with opened(transport):
        await transport.send(packet(b"nobody hears"))  # on loopback the refusal is there before this returns
        with service(port=port) as sock:
            await transport.send(packet(b"somebody does"))
            assert sock.recv(100) == b"somebody does"
            with pytest.raises(ServiceRefused):
                await receive(transport)


# --- floods -----------------------------------------------------------------------------------------------------------


async def test_unread_packets_stay_in_the_kernel() -> None:
    with service() as sock:
        async with opened(to(sock)) as transport:
            (own,) = transport._sockets.values()
            for number in range(2000):
                sock.sendto(number.to_bytes(2, "big"), own.getsockname())
                if number % 100 == 0:
                    await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(transport._incoming) < udp.WAITING_PACKETS + udp.BATCH
            first = [await receive(transport) for _ in range(udp.WAITING_PACKETS)]
            assert [item.data for item in first] == [number.to_bytes(2, "big") for number in range(len(first))]
            sock.sendto(b"after", own.getsockname())
            while (await receive(transport)).data != b"after":
                sock.sendto(b"after", own.getsockname())  # lost while the kernel's buffer is full


async def test_empty_and_huge_datagrams_arrive_whole() -> None:
    with service() as sock:
        async with opened(to(sock)) as transport:
            (own,) = transport._sockets.values()
            for data in (b"", bytes(65_507)):
                sock.sendto(data, own.getsockname())
                assert await receive(transport) == packet(data)


# --- a real interface -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_tun(sock: socket.socket) -> AsyncIterator[tuple[TunAccessPoint, UdpTransport]]:
    public = ("192.0.2.1", 5683)
    async with TunAccessPoint({public: sock.getsockname()}, interface="wlan0") as point:
        bearer = Bearer("wifi", "wlan0", (point.address,), point.mtu)
        transport = UdpTransport(bearer, {Service.SOLUTION: Endpoint(*public)})
        try:
            with point.namespace.entered():
                await transport.open()
            yield point, transport
        finally:
            await transport.aclose()


def slow_down(namespace: NetworkNamespace) -> None:
    """A queue like that of a slow radio: what waits in it counts against the send buffer."""
    if shutil.which("tc") is None:
        pytest.skip("tc(8) (iproute2) is not installed")
    shaper = [
        "tc",
        "qdisc",
        "add",
        "dev",
        "wlan0",
        "root",
        "tbf",
        "rate",
        "8kbit",
        "burst",
        "2000",
        "limit",
        "10000000",
    ]
    done = namespace.run(shaper, check=False)
    if done.returncode:
        pytest.skip(f"this kernel has no token bucket: {done.stderr.strip()}")


async def first_that_waits(transport: UdpTransport) -> asyncio.Task[Any]:
    for _ in range(20_000):
        sending = asyncio.create_task(transport.send(packet(bytes(1000))))
        await asyncio.sleep(0)
        if not sending.done():
            return sending
        await sending
    raise AssertionError("the queue has no end")


@needs_tun
async def test_full_queue_is_not_now_and_passes() -> None:
    with service() as sock:
        async with over_tun(sock) as (point, transport):
            slow_down(point.namespace)
            with pytest.raises(NotNow) as caught:
                await (await first_that_waits(transport))
            assert caught.value.retry_after > 0
            waiting = await first_that_waits(transport)
            point.namespace.run(["tc", "qdisc", "del", "dev", "wlan0", "root"])
            async with asyncio.timeout(10):
                await waiting


@needs_tun
async def test_closing_ends_a_send_that_waits_for_room() -> None:
    with service() as sock:
        async with over_tun(sock) as (point, transport):
            slow_down(point.namespace)
            waiting = await first_that_waits(transport)
            await transport.aclose()
            with pytest.raises(Closed):
                await waiting


@needs_tun
@pytest.mark.parametrize(
    "what",
    [
        lambda namespace: namespace.ip("addr", "flush", "dev", "wlan0"),
        lambda namespace: namespace.ip("link", "set", "wlan0", "down"),
        lambda namespace: namespace.ip("link", "del", "wlan0"),
    ],
    ids=["address lost", "switched off", "interface gone"],
)
async def test_lost_bearer_breaks_the_transport(what: Callable[[NetworkNamespace], str]) -> None:
    with service() as sock:
        async with over_tun(sock) as (point, transport):
            await transport.send(packet(b"hello"))
            what(point.namespace)
            with pytest.raises(TransportBroken, match="wlan0"):
                await transport.send(packet(b"lost"))
            with pytest.raises(TransportBroken):
                await receive(transport)


@needs_tun
async def test_narrow_path_lowers_the_mtu_without_an_error_from_receive() -> None:
    with service() as sock:
        async with over_tun(sock) as (point, transport):
            point.path_mtu = 700
            changed: asyncio.Queue[Hints] = asyncio.Queue()
            transport.on_hints(changed.put_nowait)
            waiting = asyncio.create_task(transport.receive())
            await transport.send(packet(bytes(1000)))
            async with asyncio.timeout(10):
                assert (await changed.get()).mtu == 672
            with pytest.raises(PacketTooLarge):
                await transport.send(packet(bytes(673)))
            await transport.send(packet(bytes(672)))
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                data, device = await loop.sock_recvfrom(sock, 2000)
                await loop.sock_sendto(sock, b"answer", device)
                assert len(data) == 672
                assert await waiting == packet(b"answer")


# --- making -----------------------------------------------------------------------------------------------------------


def test_registered() -> None:
    made = registry.transport("udp")
    assert made is UdpTransport
    options = msgspec.convert({"max_packet": 512}, made.options_type)
    endpoints = {Service.SOLUTION: Endpoint("127.0.0.1", 5683)}
    driver = MemoryDriver(MemoryMedium())
    transport = made.create(driver=driver, bearer=LOOPBACK, endpoints=endpoints, options=options, clock=SystemClock())
    assert transport.hints.mtu == 512
    with pytest.raises(ConfigurationError):
        made.create(driver=driver, bearer=LOOPBACK, endpoints={}, options=None, clock=SystemClock())


@pytest.mark.parametrize("given", [{"max_packet": 0}, {"max_packet": 70_000}, {"packet": 1}])
def test_bad_options(given: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, UdpOptions)
