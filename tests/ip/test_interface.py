"""`InterfaceDriver` beyond the contract (tests/contracts runs that), on real interfaces in a namespace of their own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rataccess import registry
from rataccess.clock import SystemClock
from rataccess.driver import DriverContext, Evidence, RadioStatus
from rataccess.errors import AttachFailed, RadioNotFound
from rataccess_drivers.ip.interface import InterfaceDriver, InterfaceOptions, RequiredAddress, guess_rat
from rataccess_hil.access_point import NetworkNamespace, TunAccessPoint, why_not

ROOT = Path(__file__).parents[2]
needs_tun = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as made:
        yield made


class Announced:
    """What a driver announced, to be waited for."""

    def __init__(self, driver: InterfaceDriver) -> None:
        self.queue: asyncio.Queue[RadioStatus] = asyncio.Queue()
        driver.on_status(self.queue.put_nowait)

    async def until(self, wanted: Callable[[RadioStatus], bool]) -> list[RadioStatus]:
        heard: list[RadioStatus] = []
        async with asyncio.timeout(10):
            while not (heard and wanted(heard[-1])):
                heard.append(await self.queue.get())
        return heard


@asynccontextmanager
async def driving(
    namespace: NetworkNamespace, options: InterfaceOptions, sysfs: Path = Path("/nonexistent")
) -> AsyncIterator[InterfaceDriver]:
    driver = InterfaceDriver(options, sysfs=sysfs)
    try:
        with namespace.entered():
            await driver.open()
        yield driver
    finally:
        await driver.aclose()


@needs_tun
async def test_attach_waits_for_an_address(namespace: NetworkNamespace) -> None:
    async with TunAccessPoint({}, namespace=namespace) as point:
        namespace.ip("addr", "flush", "dev", "wlan0")
        async with driving(namespace, InterfaceOptions(interface="wlan0")) as driver:
            assert (await driver.status()).evidence is Evidence.REGISTERED
            attaching = asyncio.create_task(driver.attach())
            await asyncio.sleep(0)
            namespace.ip("addr", "add", "10.1.2.3/24", "dev", "wlan0")
            bearer = await attaching
            assert (bearer.rat, bearer.interface, bearer.addresses, bearer.mtu) == (
                "wifi",
                "wlan0",
                ("10.1.2.3",),
                point.mtu,
            )


@needs_tun
async def test_attach_says_what_is_missing(namespace: NetworkNamespace) -> None:
    async with TunAccessPoint({}, namespace=namespace) as point:
        options = InterfaceOptions(interface="wlan0", require_address=RequiredAddress.IPV6, attach_timeout=0.01)
        async with driving(namespace, options) as driver:
            with pytest.raises(AttachFailed, match="no usable ipv6 address"):
                await driver.attach()
            announced = Announced(driver)
            point.carrier(False)
            await announced.until(lambda status: status.evidence is Evidence.RADIO)
            with pytest.raises(AttachFailed, match="no carrier"):
                await driver.attach()
            namespace.ip("link", "set", "wlan0", "down")
            await announced.until(lambda status: status.evidence is Evidence.PORT)
            with pytest.raises(AttachFailed, match="ip link set wlan0 up"):
                await driver.attach()


@needs_tun
async def test_tentative_addresses_are_not_usable(namespace: NetworkNamespace) -> None:
    async with TunAccessPoint({}, namespace=namespace):
        namespace.ip("addr", "flush", "dev", "wlan0")
        namespace.ip("link", "add", "eth7", "type", "veth", "peer", "name", "eth8")
        namespace.ip("link", "set", "eth8", "up")
        namespace.run(["sysctl", "-qw", "net.ipv6.conf.eth7.dad_transmits=1"], check=False)
        namespace.ip("link", "set", "eth7", "up")
        async with driving(
            namespace, InterfaceOptions(interface="eth7", require_address=RequiredAddress.IPV6)
        ) as driver:
            announced = Announced(driver)
            namespace.ip("addr", "add", "2001:db8::7/64", "dev", "eth7")
            bearer = await driver.attach()
            assert bearer.addresses == ("2001:db8::7",)
            heard = await announced.until(lambda status: status.evidence is Evidence.BEARER)
            assert any("only" in status.detail and "2001:db8::7" in status.detail for status in heard)


@needs_tun
async def test_replugged_dongle_is_adopted_again(namespace: NetworkNamespace) -> None:
    async with (
        TunAccessPoint({}, namespace=namespace, interface="usb0") as point,
        driving(namespace, InterfaceOptions(interface="usb0")) as driver,
    ):
        first = await driver.attach()
        announced = Announced(driver)
        point.unplug()
        heard = await announced.until(lambda status: status.evidence is Evidence.NONE)
        assert heard[-1].detail == "usb0 is gone"
        attaching = asyncio.create_task(driver.attach())
        await asyncio.sleep(0)
        index = driver._view.index
        point.plug()
        assert await attaching == first
        assert index is None
        await announced.until(lambda status: status.evidence is Evidence.BEARER)


@needs_tun
async def test_replaced_address_is_a_lost_bearer(namespace: NetworkNamespace) -> None:
    async with (
        TunAccessPoint({}, namespace=namespace),
        driving(namespace, InterfaceOptions(interface="wlan0")) as driver,
    ):
        await driver.attach()
        announced = Announced(driver)
        namespace.ip("addr", "add", "10.1.2.3/24", "dev", "wlan0")
        await announced.until(lambda status: "10.1.2.3" in status.detail)
        namespace.ip("addr", "del", "10.64.0.2", "peer", "10.64.0.1", "dev", "wlan0")
        heard = await announced.until(lambda status: status.evidence is Evidence.BEARER)
        assert [status.evidence for status in heard] == [Evidence.REGISTERED, Evidence.BEARER]
        assert "10.64.0.2" in heard[0].detail


@needs_tun
async def test_foreign_interfaces_do_not_matter(namespace: NetworkNamespace) -> None:
    async with (
        TunAccessPoint({}, namespace=namespace) as point,
        driving(namespace, InterfaceOptions(interface="wlan0")) as driver,
    ):
        announced = Announced(driver)
        for command in (
            ["add", "eth7", "type", "veth", "peer", "name", "eth8"],
            ["set", "eth7", "up"],
            ["del", "eth7"],
        ):
            namespace.ip("link", *command)
        point.carrier(False)
        assert len(await announced.until(lambda status: status.evidence is Evidence.RADIO)) == 1


@needs_tun
async def test_lost_netlink_messages_are_made_up_for(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class SmallBuffer(socket.socket):
        def bind(self, address: Any, /) -> None:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            super().bind(address)

    async with TunAccessPoint({}, namespace=namespace):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", SmallBuffer)
            driver = InterfaceDriver(InterfaceOptions(interface="wlan0"))
            with namespace.entered():
                await driver.open()
        try:
            caplog.set_level("INFO")
            announced = Announced(driver)
            lines = "".join(f"addr add 10.9.{n}.1/24 dev wlan0\naddr del 10.9.{n}.1/24 dev wlan0\n" for n in range(200))
            namespace.run(["ip", "-batch", "-"], input=lines + "addr add 10.1.2.3/24 dev wlan0\n")
            with namespace.entered():
                heard = await announced.until(lambda status: "10.1.2.3" in status.detail)
            assert "10.64.0.2" in heard[-1].detail
            assert "10.9." not in heard[-1].detail
            assert "anew" in caplog.text
        finally:
            await driver.aclose()


# --- the second source of truth ---------------------------------------------------------------------------------------


@needs_tun
@pytest.mark.parametrize(("index", "carrier", "evidence"), [(0, "0", "RADIO"), (0, "1", "BEARER"), (1, "0", "BEARER")])
async def test_sysfs_is_believed_of_a_loss(
    namespace: NetworkNamespace, tmp_path: Path, index: int, carrier: str, evidence: str
) -> None:
    """`index` is what to add to the right one: sysfs may be that of another namespace."""
    async with (
        TunAccessPoint({}, namespace=namespace),
        driving(namespace, InterfaceOptions(interface="wlan0"), tmp_path) as driver,
    ):
        await driver.attach()
        (tmp_path / "wlan0").mkdir()
        assert driver._view.index is not None
        (tmp_path / "wlan0/ifindex").write_text(f"{driver._view.index + index}\n")
        (tmp_path / "wlan0/carrier").write_text(f"{carrier}\n")
        heard: list[str] = []
        driver.on_status(lambda status: heard.append(status.evidence.name))
        assert (await driver.status()).evidence.name == evidence
        assert heard == ([evidence] if evidence == "RADIO" else [])


_WATCH = """
import asyncio, sys
from rataccess_drivers.ip.interface import InterfaceDriver, InterfaceOptions
async def main():
    driver = InterfaceDriver(InterfaceOptions(interface="wlan0"))
    await driver.open()
    driver.on_status(lambda status: print("told", status.evidence.name, flush=True))
    print("open", (await driver.attach()).addresses[0], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print("asked", (await driver.status()).evidence.name, flush=True)
    await driver.aclose()
asyncio.run(main())
"""


def environment() -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "transports", "hil"))
    return {**os.environ, "PYTHONPATH": path}


@needs_tun
async def test_loss_is_known_before_the_kernel_tells(namespace: NetworkNamespace) -> None:
    """A second link event within a second is told late; who asks must not wait for that."""
    async with TunAccessPoint({}, namespace=namespace) as point:
        command = namespace.command([sys.executable, "-c", _WATCH])
        pipe = asyncio.subprocess.PIPE
        watcher = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environment())
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert await watcher.stdout.readline() == b"open 10.64.0.2\n"
                for up, line in ((False, b"told RADIO\n"), (True, b"told BEARER\n")):
                    point.carrier(up)
                    assert await watcher.stdout.readline() == line
                point.carrier(False)
                watcher.stdin.write(b"?\n")
                assert await watcher.stdout.readline() == b"told RADIO\n"
                assert await watcher.stdout.readline() == b"asked RADIO\n"
        finally:
            watcher.stdin.close()
            await watcher.wait()


# --- without privileges -----------------------------------------------------------------------------------------------


async def test_loopback_needs_no_privileges() -> None:
    driver = InterfaceDriver(InterfaceOptions(interface="lo", rat="wifi"))
    try:
        await driver.open()
        bearer = await driver.attach()
        assert "127.0.0.1" in bearer.addresses
        assert bearer.rat == "wifi"
    finally:
        await driver.aclose()


async def test_missing_interface_names_those_that_exist() -> None:
    names = sorted(name for _, name in socket.if_nameindex() if name != "lo")
    driver = InterfaceDriver(InterfaceOptions(interface="nosuchif0"))
    with pytest.raises(RadioNotFound, match="nosuchif0") as caught:
        await driver.open()
    assert all(name in str(caught.value) for name in names)


def test_an_open_driver_has_not_imported_pyroute2() -> None:
    """It costs 13 MB, a quarter of what a client may need."""
    code = (
        "import asyncio, sys\n"
        "from rataccess_drivers.ip.interface import InterfaceDriver, InterfaceOptions\n"
        "async def look():\n"
        "    driver = InterfaceDriver(InterfaceOptions(interface='lo'))\n"
        "    await driver.open()\n"
        "    await driver.aclose()\n"
        "asyncio.run(look())\n"
        "sys.exit(any(m.startswith('pyroute2') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.parametrize(
    ("name", "rat"),
    [
        ("wlan0", "wifi"),
        ("wlp2s0", "wifi"),
        ("eth0", "ethernet"),
        ("enp3s0", "ethernet"),
        ("wwan0", "cellular"),
        ("wwp0s20", "cellular"),
        ("ppp0", "cellular"),
        ("usb0", "cellular"),
        ("tun0", "ip"),
    ],
)
def test_guessed_rat(name: str, rat: str) -> None:
    assert guess_rat(name) == rat


@pytest.mark.parametrize("name", ["", "a" * 16, "wlan 0", "../etc", "eth0:1"])
def test_bad_interface_names(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"interface": name}, InterfaceOptions)


def test_registered() -> None:
    made = registry.driver("interface")
    assert made is InterfaceDriver
    options = msgspec.convert({"interface": "wlan0", "require_address": "ipv4"}, made.options_type)
    driver = made.create(options, DriverContext("wifi", SystemClock()))
    assert repr(driver) == "<InterfaceDriver wlan0 closed>"
