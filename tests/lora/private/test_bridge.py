"""A bridge's ways to the services: relay frames that the services read, UDP to two addresses and no other, its process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess.driver import Forgetful
from rataccess.errors import ConfigurationError, DiskFull, ObjectError
from rataccess.objects import Service
from rataccess.services.ways import frames
from rataccess.transport import Endpoint
from rataccess_drivers.lora.private import __main__ as program
from rataccess_drivers.lora.private.bridge import Bridge
from rataccess_drivers.lora.private.options import NodeOptions, plan
from rataccess_drivers.lora.private.relay import from_service, named_service, node_name, to_service
from rataccess_drivers.lora.private.uplink import UdpUplink
from rataccess_transports.messages import named_service as transports_view
from tests.lora.chips.virtual import options
from tests.lora.private.site import Site

CONFIGURATION = """
management = "127.0.0.1:7001"
solution = "[::1]:7002"
network = 42
[transceiver]
wiring = "waveshare_sx1262"
spi = "/dev/spidev99.9"
"""


@settings(max_examples=60)
@given(st.integers(1, 255), st.integers(1, 65535), st.binary(min_size=1, max_size=240), st.booleans())
def test_services_read_what_bridges_write(network: int, address: int, data: bytes, unasked: bool) -> None:
    read = frames.decode(to_service(network, address, data, room=240, unasked=unasked))
    assert (read.kind, read.name, read.data) == ("lora", node_name(network, address), data)
    assert read.told == {"room": 240, "unasked": unasked}
    answer = frames.encode(frames.RelayFrame(read.kind, read.name, data))
    assert from_service(answer, network) == (address, data)


@settings(max_examples=60)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"RA\x01" + data))
def test_any_datagram(datagram: bytes) -> None:
    try:
        address, data = from_service(datagram, 1)
    except ObjectError:
        return
    assert 1 <= address <= 65535
    assert data


@given(st.binary(max_size=3))
def test_both_ends_agree_on_the_service_of_a_packet(packet: bytes) -> None:
    assert named_service(packet) is transports_view(packet)


async def test_datagrams_go_to_the_service_and_come_from_nowhere_else() -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[bytes] = asyncio.Queue()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for each in (service, other):
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        uplink = UdpUplink(Endpoint("127.0.0.1", service.getsockname()[1]), came.put_nowait)
        try:
            assert await uplink.send(b"up")
            data, address = await loop.sock_recvfrom(service, 100)
            assert data == b"up"
            other.sendto(b"forged", address)
            service.sendto(b"down", address)
            assert await came.get() == b"down"
            assert came.empty()
        finally:
            uplink.close()
            uplink.close()


async def test_a_service_that_refuses_is_found_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    uplink = UdpUplink(Endpoint("127.0.0.1", port), lambda datagram: None)
    try:
        assert await uplink.send(b"into the void")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
            service.setblocking(False)
            service.bind(("127.0.0.1", port))
            while not await uplink.send(b"again"):  # the refusal of the first is told with the second
                await asyncio.sleep(0)
            assert await asyncio.get_running_loop().sock_recv(service, 100) == b"again"
    finally:
        uplink.close()


async def test_a_name_that_nobody_knows_is_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*name: object, **how: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    uplink = UdpUplink(Endpoint("services.example", 1), lambda datagram: None)
    assert not await uplink.send(b"x")
    uplink.close()


@pytest.mark.looptime
async def test_a_bridge_without_its_radio_says_so() -> None:
    site = Site()
    site.hub_chip.faults.absent = True
    with pytest.raises(Exception, match=r"no transceiver|busy line"):
        await site.bridge.run()
    assert all(uplink.closed for uplink in site.uplinks)
    assert len(site.bridge.allowances()) == 6


def configured(tmp_path: Path, text: str = CONFIGURATION) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_configuration_of_the_process(tmp_path: Path) -> None:
    found = program.settings(configured(tmp_path))
    assert found.network == 42
    assert found.transceiver.wiring == "waveshare_sx1262"
    bridge = Bridge(found, LoopClock())
    addresses = {service: (up._service.host, up._service.port) for service, up in bridge._uplinks.items()}  # type: ignore[attr-defined]
    assert addresses == {Service.MANAGEMENT: ("127.0.0.1", 7001), Service.SOLUTION: ("::1", 7002)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("management = 5", "management"),
        ("nonsense", "bridge.toml"),
        (CONFIGURATION + "unknown = 1", "unknown"),
        (CONFIGURATION.replace("42", "300"), "255"),
        (CONFIGURATION.replace("network", 'region = "MARS"\nnetwork'), "MARS"),
        (CONFIGURATION.replace(":7001", ":70010"), "1 to 65535"),
        (CONFIGURATION.replace("127.0.0.1", "a..b"), "name of a host"),
        (CONFIGURATION, "/dev/spidev99.9"),
    ],
)
def test_mistakes_end_the_process_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert program.main([str(configured(tmp_path, text))]) == 1
    assert said in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(tmp_path / "none.toml")]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_air_time_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    memory = program.FileMemory(path)
    assert memory.get("a") is None
    memory.put("a", b"1")
    memory.put_now("b", b"2")
    assert program.FileMemory(path).get("a") == b"1"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="damaged"):
        program.FileMemory(path)


def test_a_full_disk_is_an_error_of_the_store_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    memory = program.FileMemory(path)
    memory.put_now("a", b"1")
    path.with_name("state.new").mkdir()  # what cannot be written, whoever tries
    with pytest.raises(DiskFull, match="--state"):
        memory.put_now("a", b"2")
    assert memory.get("a") == b"1"
    assert program.FileMemory(path).get("a") == b"1"


async def test_a_signal_ends_the_process() -> None:
    site = Site()
    serving = asyncio.create_task(program.serve(site.bridge))
    while not site.bridge.working:
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert not site.bridge.working
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"region": "MARS"}, "EU868"),
        ({"frequency": 868_650_000}, "not allowed"),
        ({"frequency": 915_000_000}, "not allowed"),
        ({"power_dbm": 22}, "16 dBm"),
        ({"bandwidth": 500_000}, "reach beyond"),
        ({"bandwidth": 250_000, "region": "IN865"}, "reach beyond"),
        ({"region": "AU915", "spreading_factor": 12}, "too slow"),
    ],
)
def test_what_a_region_forbids_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        plan(NodeOptions(transceiver=options("sx1262"), network=1, address=1, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "frequency", "mtu"),
    [
        ({"spreading_factor": 7}, 869_525_000, 240),
        ({"spreading_factor": 12}, 869_525_000, 58),
        ({"region": "US915", "bandwidth": 500_000}, 902_300_000, 240),
    ],
)
def test_what_follows_from_the_settings(settings: dict[str, object], frequency: int, mtu: int) -> None:
    found = plan(NodeOptions(transceiver=options("sx1262"), network=1, address=1, **settings))  # type: ignore[arg-type]
    assert found.channel.frequency == frequency
    assert found.mtu == mtu
    assert found.channel.modulation.time_on_air(mtu + 7) <= 2.8


@pytest.mark.looptime
async def test_no_message_is_longer_than_what_its_band_has_in_an_hour() -> None:
    settings = NodeOptions(
        transceiver=options("sx1262"), network=1, address=1, frequency=869_000_000, spreading_factor=12, longest=10.0
    )
    found = plan(settings)
    ledger = found.ledger(Forgetful(), "airtime", LoopClock())
    assert found.channel.modulation.time_on_air(found.mtu + 7) <= 3.6
    assert ledger.wait(869_000_000, found.channel.modulation.time_on_air(found.mtu + 7)) == 0
