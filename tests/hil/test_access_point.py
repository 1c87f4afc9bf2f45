"""The access point: its controls in this process, over the control socket, and as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rataccess.driver import Evidence, RadioStatus
from rataccess.errors import AttachFailed, PortLost, RadioNotFound
from rataccess_hil.access_point import (
    AccessPoint,
    Address,
    Control,
    NetworkNamespace,
    RelayAccessPoint,
    TunAccessPoint,
    VirtualInterfaceDriver,
    VirtualInterfaceOptions,
    why_not,
)
from rataccess_hil.access_point.base import FLOWS

ROOT = Path(__file__).parents[2]
KINDS = ("relay", "tun")


class Ends:
    """A device's socket and a service's, with an access point between them."""

    def __init__(self, point: AccessPoint, device: socket.socket, service: socket.socket) -> None:
        self.point = point
        self.device = device
        self.service = service

    async def up(self, data: bytes) -> Address:
        """Send up, see it arrive; where from."""
        self.device.send(data)
        arrived, source = await read(self.service)
        assert arrived == data
        return source

    async def down(self, data: bytes, to: Address) -> None:
        self.service.sendto(data, to)
        assert (await read(self.device))[0] == data

    async def until(self, counter: str, value: int) -> None:
        """Wait, event by event, for a counter of the access point."""
        await turn_until(lambda: self.point.stats()[counter] >= value)


async def turn_until(condition: Callable[[], bool]) -> None:
    """Turn the event loop until `condition`, which only what happens on it can bring about."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came about")


def namespaces() -> str:
    return subprocess.check_output(["ip", "netns", "list"], text=True)


async def read(sock: socket.socket) -> tuple[bytes, Address]:
    async with asyncio.timeout(10):
        data, source = await asyncio.get_running_loop().sock_recvfrom(sock, 65_536)
        return data, source


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


@asynccontextmanager
async def ends(kind: str) -> AsyncIterator[Ends]:
    if kind == "tun" and (reason := why_not()):
        pytest.skip(reason)
    with udp() as service:
        service.bind(("127.0.0.1", 0))
        real: Address = service.getsockname()
        point: AccessPoint
        if kind == "relay":
            point = RelayAccessPoint([(("127.0.0.1", 0), real)])
        else:
            point = TunAccessPoint({("192.0.2.1", 5683): real})
        async with point:
            with device_socket(point) as device:
                device.connect(point.public(real))
                yield Ends(point, device, service)


def device_socket(point: AccessPoint) -> socket.socket:
    if isinstance(point, TunAccessPoint):
        with point.namespace.entered():
            return udp()
    return udp()


@pytest.fixture(params=KINDS)
async def between(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    async with ends(request.param) as made:
        yield made


# --- both kinds -------------------------------------------------------------------------------------------------------


async def test_carries_both_ways_and_counts(between: Ends) -> None:
    source = await between.up(b"four")
    await between.down(b"seven b", source)
    stats = between.point.stats()
    assert (stats["up_packets"], stats["up_bytes"], stats["down_packets"], stats["down_bytes"]) == (1, 4, 1, 7)
    assert stats["dropped"] == stats["malformed"] == stats["refused"] == 0


@pytest.mark.parametrize("how", ["silent", "carrier", "loss"])
async def test_dead_air_drops_in_both_directions(between: Ends, how: str) -> None:
    source = await between.up(b"before")
    set_dead(between.point, how, True)
    if how != "carrier" or isinstance(between.point, RelayAccessPoint):
        between.device.send(b"lost on the way up")
        await between.until("dropped", 1)
    dropped = between.point.stats()["dropped"]
    between.service.sendto(b"lost on the way down", source)
    await between.until("dropped", dropped + 1)
    set_dead(between.point, how, False)
    before = between.point.stats()
    if how == "carrier" and isinstance(between.point, TunAccessPoint):
        return  # the kernel's own carrier comes back with its own delay; tests of the driver see to that
    await between.down(b"after", await between.up(b"after"))
    assert between.point.stats()["dropped"] == before["dropped"]


def set_dead(point: AccessPoint, how: str, dead: bool) -> None:
    if how == "silent":
        point.silent(dead)
    elif how == "carrier":
        point.carrier(not dead)
    else:
        point.loss = 1.0 if dead else 0.0


async def test_rebinding_shows_the_device_at_another_port(between: Ends) -> None:
    first = await between.up(b"one")
    between.point.rebind()
    second = await between.up(b"two")
    assert first != second
    await between.down(b"answer", second)


async def test_map_can_change_while_packets_flow(between: Ends) -> None:
    await between.up(b"one")
    with udp() as other:
        other.bind(("127.0.0.1", 0))
        (public,) = between.point.nat
        between.point.nat[public] = other.getsockname()
        between.device.send(b"two")
        assert (await read(other))[0] == b"two"


async def test_stop_is_idempotent_and_forgets_what_is_in_flight(between: Ends) -> None:
    between.point.delay = 3600.0
    between.device.send(b"in flight")
    await turn_until(lambda: bool(between.point._in_flight))
    await between.point.stop()
    await between.point.stop()
    assert not between.point._in_flight


async def test_flows_are_bounded() -> None:
    async with ends("relay") as between:
        await between.up(b"first")
        for number in range(FLOWS + 10):
            between.point._up(number, next(iter(between.point.nat)), b"x", lambda data: None, lambda: None)
        assert len(between.point._flows) == FLOWS


@pytest.mark.looptime
async def test_delay_is_one_way_and_what_is_in_flight_dies_with_the_air() -> None:
    point = RelayAccessPoint({}, delay=2.0)
    loop = asyncio.get_running_loop()
    start = loop.time()
    landed: list[float] = []
    point._carry(lambda: landed.append(loop.time() - start))
    await asyncio.sleep(1.0)
    point._carry(lambda: landed.append(loop.time() - start))
    await asyncio.sleep(1.5)
    point.silent(True)
    await asyncio.sleep(10)
    assert landed == [2.0]
    assert point.stats()["dropped"] == 1


# --- the tun kind only ------------------------------------------------------------------------------------------------


async def test_service_that_is_down_is_refused_as_by_a_network() -> None:
    async with ends("tun") as between:
        between.service.close()
        between.device.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            await read(between.device)


async def test_unknown_address_is_refused() -> None:
    async with ends("tun") as between:
        between.device.connect(("198.51.100.1", 9))
        between.device.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            await read(between.device)
        assert between.point.stats()["refused"] == 1


async def test_two_access_points_in_one_namespace() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with udp() as service, NetworkNamespace() as namespace:
        service.bind(("127.0.0.1", 0))
        nat = {("192.0.2.1", 5683): service.getsockname()}
        wifi = TunAccessPoint(nat, namespace=namespace, interface="wlan0", metric=600)
        cell = TunAccessPoint(
            nat, namespace=namespace, interface="wwan0", address="10.65.0.2", gateway="10.65.0.1", metric=700
        )
        async with wifi, cell:
            for interface, point in (("wlan0", wifi), ("wwan0", cell)):
                with namespace.entered(), udp() as device:
                    device.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                    device.sendto(interface.encode(), ("192.0.2.1", 5683))
                assert (await read(service))[0] == interface.encode()
                assert point.stats()["up_packets"] == 1


async def test_nothing_is_left_behind() -> None:
    if reason := why_not():
        pytest.skip(reason)
    point = TunAccessPoint({})
    async with point:
        assert point.namespace.name in namespaces()
        assert "wlan0" in point.namespace.ip("link")
    assert point.namespace.name not in namespaces()
    with pytest.raises(OSError, match=r"ip .*"):
        point.namespace.ip("link")


async def test_failed_start_leaves_nothing_behind() -> None:
    if reason := why_not():
        pytest.skip(reason)
    point = TunAccessPoint({}, address="not an address")
    with pytest.raises(OSError, match="not an address"):
        await point.start()
    assert point.namespace.name not in namespaces()


# --- the control socket and the driver at it --------------------------------------------------------------------------


@asynccontextmanager
async def controlled(folder: Path) -> AsyncIterator[tuple[RelayAccessPoint, Path]]:
    path = folder / "ap.sock"
    async with RelayAccessPoint([(("127.0.0.1", 0), ("127.0.0.1", 9))], control=path) as point:
        yield point, path


async def ask(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        async with asyncio.timeout(10):
            writer.write(b"".join(line + b"\n" for line in lines))
            return [json.loads(await reader.readline()) for _ in lines]
    finally:
        writer.close()
        await writer.wait_closed()


async def test_controls_over_the_socket(tmp_path: Path) -> None:
    async with controlled(tmp_path) as (point, path):
        assert path.stat().st_mode & 0o777 == 0o600
        (answer,) = await ask(path, b'{"carrier": false, "silent": true, "delay": 0.5, "loss": 0.25}')
        assert answer["ok"]
        assert point.state() == {"carrier": False, "silent": True, "delay": 0.5, "loss": 0.25, "mtu": 1400}
        assert answer["stats"] == point.stats()
        assert answer["nat"] == [[list(public), list(real)] for public, real in point.nat.items()]
    assert not path.exists()


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b'{"power": 1}', b'{"delay": "soon"}', b"{", b'"text"', b"\xff"])
async def test_bad_requests_are_answered_and_change_nothing(tmp_path: Path, line: bytes) -> None:
    async with controlled(tmp_path) as (point, path):
        before = point.state()
        refused, fine = await ask(path, line, b"{}")
        assert not refused["ok"]
        assert refused["error"]
        assert fine["ok"]
        assert point.state() == before


def driver_at(path: Path, attach_timeout: float = 10.0) -> VirtualInterfaceDriver:
    return VirtualInterfaceDriver(VirtualInterfaceOptions(control=str(path), attach_timeout=attach_timeout))


async def test_driver_hears_of_the_carrier(tmp_path: Path) -> None:
    async with controlled(tmp_path) as (point, path):
        driver = driver_at(path)
        try:
            await driver.open()
            bearer = await driver.attach()
            assert (bearer.rat, bearer.interface, bearer.mtu) == ("wifi", "lo", 1400)
            heard: asyncio.Queue[RadioStatus] = asyncio.Queue()
            driver.on_status(heard.put_nowait)
            for up in (False, True, False):
                point.carrier(up)
                async with asyncio.timeout(10):
                    assert (await heard.get()).evidence is (Evidence.BEARER if up else Evidence.RADIO)
            await point.stop()
            async with asyncio.timeout(10):
                assert (await heard.get()).evidence is Evidence.NONE
            with pytest.raises(PortLost):
                await driver.status()
            with pytest.raises(RadioNotFound):
                await driver.recoveries[0].run()
        finally:
            await driver.aclose()


async def test_driver_without_carrier_fails_to_attach(tmp_path: Path) -> None:
    async with controlled(tmp_path) as (point, path):
        point.carrier(False)
        driver = driver_at(path, attach_timeout=0.01)
        try:
            await driver.open()
            with pytest.raises(AttachFailed):
                await driver.attach()
        finally:
            await driver.aclose()


async def test_driver_without_access_point(tmp_path: Path) -> None:
    with pytest.raises(RadioNotFound, match="nobody"):
        await driver_at(tmp_path / "nobody").open()


# --- as a process -----------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "transports", "hil"))
    return {**os.environ, "PYTHONPATH": path}


class Process:
    """An access point of its own."""

    def __init__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "rataccess_hil.access_point", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(20)


@pytest.fixture
def service() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def test_relay_process(tmp_path: Path, service: socket.socket) -> None:
    path = tmp_path / "ap.sock"
    nat = f"127.0.0.1:0=127.0.0.1:{service.getsockname()[1]}"
    process = Process("--kind", "relay", "--control", str(path), "--nat", nat)
    try:
        (((host, port), _),) = process.ready["nat"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device, Control(path) as control:
            device.sendto(b"hello", (host, port))
            assert service.recv(100) == b"hello"
            assert control.stats()["up_packets"] == 1
            assert control.silent(True)["silent"]
            assert not control.carrier(False)["carrier"]
            assert control.delay(0.25)["delay"] == 0.25
            with pytest.raises(ValueError, match="unknown request"):
                control.ask(power=1)
    finally:
        assert process.end() == 0
    assert not path.exists()


def test_tun_process(tmp_path: Path, service: socket.socket) -> None:
    if reason := why_not():
        pytest.skip(reason)
    arguments = ("--nat", f"192.0.2.1:5683=127.0.0.1:{service.getsockname()[1]}", "--interface", "wlan7")
    process = Process("--kind", "tun", "--control", str(tmp_path / "ap.sock"), *arguments)
    try:
        namespace = NetworkNamespace(process.ready["namespace"])
        with namespace.entered():
            device = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with device:
            device.sendto(b"hello", ("192.0.2.1", 5683))
            assert service.recv(100) == b"hello"
        assert namespace.run(["cat", "/sys/class/net/wlan7/carrier"]).stdout == "1\n"
        with Control(tmp_path / "ap.sock") as control:
            control.carrier(False)
        assert namespace.run(["cat", "/sys/class/net/wlan7/carrier"]).stdout == "0\n"
    finally:
        assert process.end() == 0
    assert namespace.name not in namespaces()


def test_tun_process_in_a_user_namespace(tmp_path: Path) -> None:
    """Full powers over a network of its own, none over this machine's."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK) or shutil.which("unshare") is None:
        pytest.skip("needs access to /dev/net/tun, and unshare(1)")
    within = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'
    prefix = ("unshare", "--map-root-user", "--net", "--mount", "sh", "-c", within, "sh")
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no user namespaces")
    path = tmp_path / "ap.sock"
    process = Process("--kind", "tun", "--control", str(path), "--nat", "192.0.2.1:5683=127.0.0.1:9", prefix=prefix)
    try:
        with Control(path) as control:
            assert control.carrier(False)["carrier"] is False
        assert process.ready["namespace"] not in namespaces()
    finally:
        assert process.end() == 0


def test_namespace_names_are_unique() -> None:
    assert NetworkNamespace().name != NetworkNamespace().name
