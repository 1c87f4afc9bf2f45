"""The virtual modem on a real port, carrying real datagrams, driven by clients that are not ours."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest
import serial

from rataccess.clock import LoopClock
from rataccess_hil.modem import FAST, Hang, Power, Sim, Start, Timings, VirtualBg95, VirtualEc25
from rataccess_hil.network import VirtualNetwork
from tests.hil.bench import EchoServer, Host, eventually

PUBLIC = ("198.51.100.7", 5683)


async def bring_up(host: Host) -> None:
    assert (await host.ask("ATE0"))[-1] == "OK"
    assert await host.ask('AT+QICSGP=1,1,"apn","","",0') == ["OK"]
    assert await host.ask("AT+QIACT=1") == ["OK"]


async def open_socket(host: Host, index: int = 0, mode: int = 0) -> None:
    said = await host.ask(f'AT+QIOPEN=1,{index},"UDP","{PUBLIC[0]}",{PUBLIC[1]},0,{mode}', rb"\+QIOPEN: \d+,\d+\r\n")
    assert said == ["OK", f"+QIOPEN: {index},0"]


async def send(host: Host, data: bytes, index: int = 0) -> None:
    host.write(f"AT+QISEND={index},{len(data)}\r".encode())
    await host.until(rb"\r\n> ")
    host.write(data)
    await host.until(rb"SEND OK\r\n")


async def read(host: Host, index: int = 0) -> bytes:
    host.write(f"AT+QIRD={index},1500\r".encode())
    head = await host.until(rb"\+QIRD: \d+\r\n")
    size = int(head.split(b": ")[1])
    rest = await host.until(rb".{%d}(\r\n)?\r\nOK\r\n" % size)
    return rest[:size]


async def test_carries_bytes_for_real() -> None:
    everything = bytes(range(256)) * 5
    async with EchoServer() as server:
        network = VirtualNetwork(nat={PUBLIC: server.address})
        async with VirtualBg95(network=network) as modem, Host(modem.port.link) as host:
            await bring_up(host)
            await open_socket(host)
            await send(host, everything)
            await host.until(rb'\+QIURC: "recv",0\r\n')
            assert await read(host) == everything[::-1]
            assert await read(host) == b""
            assert modem.controls.stats()["network"]["up"] == {"packets": 1, "bytes": 1280, "lost": 0}
        assert server.received == [everything]


async def test_pushes_data_in_push_mode() -> None:
    async with EchoServer() as server:
        network = VirtualNetwork(nat={PUBLIC: server.address})
        async with VirtualBg95(network=network) as modem, Host(modem.port.link) as host:
            await bring_up(host)
            await open_socket(host, 3, mode=1)
            await send(host, b"\r\nOK\r\n!", 3)
            await host.until(rb'\+QIURC: "recv",3,7\r\n!\n\rKO\n\r\r\n')


async def test_twelve_sockets_do_not_mix_up() -> None:
    async with EchoServer() as server:
        network = VirtualNetwork(nat={PUBLIC: server.address})
        async with VirtualBg95(network=network) as modem, Host(modem.port.link) as host:
            await bring_up(host)
            for index in range(12):
                await open_socket(host, index)
            for index in range(12):
                await send(host, f"<{index}>".encode(), index)
                await host.until(rb'\+QIURC: "recv",%d\r\n' % index)
            for index in range(12):
                assert await read(host, index) == f"<{index}>".encode()[::-1]


async def test_a_destination_that_is_not_there() -> None:
    async with VirtualBg95() as modem, Host(modem.port.link) as host:
        await bring_up(host)
        ask = 'AT+QIOPEN=1,0,"UDP","{}",5683,0,0'
        assert (await host.ask(ask.format("192.0.2.1"), rb"QIOPEN: 0,\d+\r\n"))[-1] == "+QIOPEN: 0,566"
        assert (await host.ask(ask.format("no.example"), rb"QIOPEN: 0,\d+\r\n"))[-1] == "+QIOPEN: 0,565"
        assert modem.network.refused == [("192.0.2.1", 5683), ("no.example", 5683)]


async def test_a_udp_service_sends_to_many() -> None:
    async with EchoServer() as server, EchoServer() as other:
        network = VirtualNetwork(nat={PUBLIC: server.address, ("198.51.100.8", 7): other.address})
        async with VirtualBg95(network=network) as modem, Host(modem.port.link) as host:
            await bring_up(host)
            await host.ask('AT+QIOPEN=1,0,"UDP SERVICE","127.0.0.1",0,4000,0', rb"QIOPEN: 0,0\r\n")
            for target in ('"198.51.100.7",5683', '"198.51.100.8",7', '"192.0.2.1",9'):
                host.write(f"AT+QISEND=0,2,{target}\r".encode())
                await host.until(rb"> ")
                host.write(b"hi")
                await host.until(rb"SEND OK\r\n")
            await eventually(lambda: modem.core.data.received == 4)
            answers = {(await host.ask("AT+QIRD=0"))[0] for _ in range(2)}
            assert answers == {'+QIRD: 2,"198.51.100.7",5683', '+QIRD: 2,"198.51.100.8",7'}
            await host.ask("AT+QICLOSE=0")
            assert network.stats()["sockets"] == 0


async def test_names_are_resolved_by_the_network() -> None:
    network = VirtualNetwork(hosts={"coap.example": ["192.0.2.5"]})
    async with VirtualBg95(network=network) as modem, Host(modem.port.link) as host:
        await bring_up(host)
        said = await host.ask('AT+QIDNSGIP=1,"coap.example"', rb'dnsgip","[\d.]+"\r\n')
        assert said == ["OK", '+QIURC: "dnsgip",0,1,600', '+QIURC: "dnsgip","192.0.2.5"']
        network.silence()
        assert (await host.ask('AT+QIDNSGIP=1,"coap.example"', rb'dnsgip",\d+\r\n'))[-1] == '+QIURC: "dnsgip",565'


def dialogue_by_pyserial(path: str) -> list[bytes]:
    """A whole session, blocking, by another library."""
    with serial.Serial(path, 115200, timeout=10, exclusive=True, rtscts=False) as port:

        def ask(data: bytes, until: bytes = b"OK\r\n") -> bytes:
            port.write(data)
            return bytes(port.read_until(until))

        said = [ask(b"ATE0\r"), ask(b"AT+CPIN?\r"), ask(b'AT+QICSGP=1,1,"apn"\r'), ask(b"AT+QIACT=1\r")]
        said.append(ask(b'AT+QIOPEN=1,0,"UDP","198.51.100.7",5683,0,0\r', b"+QIOPEN: 0,0\r\n"))
        said.append(ask(b"AT+QISEND=0,4\r", b"> "))
        said.append(ask(b"\x00\x1b\x1a\r", b'"recv",0\r\n'))
        said.append(ask(b"AT+QIRD=0,1500\r"))
        return said


async def test_pyserial_drives_it() -> None:
    async with EchoServer() as server:
        network = VirtualNetwork(nat={PUBLIC: server.address})
        async with VirtualBg95(network=network) as modem:
            said = await asyncio.to_thread(dialogue_by_pyserial, str(modem.port.link))
    assert said[0].endswith(b"\r\nOK\r\n")
    assert said[1] == b"\r\n+CPIN: READY\r\n\r\nOK\r\n"
    assert said[6] == b'\r\nSEND OK\r\n\r\n+QIURC: "recv",0\r\n'
    assert said[7] == b"\r\n+QIRD: 4\r\n\r\x1a\x1b\x00\r\n\r\nOK\r\n"
    assert server.received == [b"\x00\x1b\x1a\r"]


# --- life -------------------------------------------------------------------------------------------------------------


async def test_reopening_the_port_wakes_a_hung_one() -> None:
    async with VirtualBg95() as modem:
        async with Host(modem.port.link) as host:
            assert (await host.ask("AT"))[-1] == "OK"
            modem.controls.hang("port")
            host.write(b"AT\r")
            await eventually(lambda: modem.core.swallowed == 3)
            assert host.heard == b""
        async with Host(modem.port.link) as host:
            assert (await host.ask("AT"))[-1] == "OK"


async def test_wires_bring_back_a_dead_firmware() -> None:
    timings = FAST
    async with VirtualBg95(timings=timings) as modem, Host(modem.port.link) as host:
        modem.controls.hang(Hang.FIRMWARE)
        assert modem.supply.read() is True
        modem.supply.write(False)
        assert modem.core.power is Power.OFF
        modem.supply.write(True)
        await host.until(rb"\r\nRDY\r\n.*PB DONE\r\n")
        assert modem.controls.stats()["boots"] == 2


@pytest.mark.looptime
async def test_the_power_key_in_virtual_time() -> None:
    async with VirtualBg95(start=Start.OFF, timings=Timings()) as modem:
        await asyncio.sleep(60)
        assert modem.controls.stats()["power"] == Power.OFF
        modem.power_key.write(True)
        await asyncio.sleep(0.575)
        modem.power_key.write(False)
        await asyncio.sleep(2.0)
        assert modem.controls.stats()["power"] == Power.BOOTING
        await asyncio.sleep(0.6)
        assert modem.controls.stats()["power"] == Power.RUNNING
        assert modem.core.registration.stat == 0
        await asyncio.sleep(10.0)
        assert modem.core.registration.stat == 1
        modem.reset_line.write(True)
        await asyncio.sleep(2.9)
        modem.reset_line.write(False)
        await asyncio.sleep(20.0)
        assert modem.core.boots == 2


@pytest.mark.looptime
async def test_its_clock_is_the_one_it_was_given() -> None:
    async with VirtualBg95(clock=LoopClock(start=1_767_225_600.0), timings=Timings()) as modem:
        await asyncio.sleep(3600)
        modem.pump()
        core = modem.core
        assert core.epoch + core.schedule.now == pytest.approx(1_767_225_600.0 + asyncio.get_running_loop().time())


async def test_its_own_usb_port_vanishes_while_it_restarts() -> None:
    async with VirtualBg95(usb=True) as modem:
        async with Host(modem.port.link) as host:
            await host.ask("AT+CFUN=1,1")
            assert (await host.hangup()).errno == errno.EIO
            await eventually(lambda: modem.port.connected)
        async with Host(modem.port.link) as host:
            assert (await host.ask("ATE0"))[-1] == "OK"


async def test_an_unpowered_one_has_no_usb_port() -> None:
    async with VirtualBg95(usb=True, start=Start.UNPOWERED) as modem:
        assert not modem.port.link.exists()
        modem.supply.write(True)
        await eventually(lambda: modem.port.link.exists())
        async with Host(modem.port.link) as host:
            assert (await host.ask("AT"))[-1] == "OK"


async def test_an_ec25_answers_by_its_name() -> None:
    async with VirtualEc25(sim=Sim(imsi="240080000000001")) as modem, Host(modem.port.link) as host:
        await host.ask("ATE0")
        assert await host.ask("AT+CGMM;+CIMI") == ["EC25", "240080000000001", "OK"]


async def test_everything_is_freed_whatever_was_under_way() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    async with EchoServer() as server:
        network = VirtualNetwork(nat={PUBLIC: server.address})
        network.down.delay = 60.0
        modem = VirtualBg95(network=network)
        await modem.open()
        async with Host(modem.port.link) as host:
            await bring_up(host)
            await open_socket(host)
            await send(host, b"x")
            host.write(b"AT+COPS=?\r")
        await modem.aclose()
        await modem.aclose()
        assert network.stats()["sockets"] == 0
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == descriptors


# --- controls ---------------------------------------------------------------------------------------------------------


async def test_controls_are_called_by_name() -> None:
    async with VirtualBg95() as modem, Host(modem.port.link) as host:
        await host.ask("ATE0")
        await host.ask("AT+CEREG=1")
        do = modem.controls.do
        do("coverage", {"on": False})
        assert await host.until(rb"\r\n") == b"\r\n"
        await host.until(rb"\+CEREG: 2\r\n")
        do("roam", {"on": True})
        do("coverage", {"on": True})
        await host.until(rb"\+CEREG: 5\r\n")
        do("deny", {"cause": 11})
        await host.until(rb"\+CEREG: 3\r\n")
        do("deny", {"cause": None})
        await host.until(rb"\+CEREG: 5\r\n")
        do("signal", {"rsrp": -120})
        assert (await host.ask("AT+CESQ"))[0].endswith(",21")
        do("sim", {"present": False})
        assert "+CPIN: NOT READY\r\n" in (await host.until(rb"\+CEREG: 0\r\n")).decode()
        do("sim", {"present": True})
        await host.until(rb"\+CEREG: 5\r\n")
        do("urc", {"line": "+QIND: SMS DONE"})
        await host.until(rb"SMS DONE\r\n")
        do("misspell", {"right": "OK", "wrong": "0K"})
        assert (await host.ask("AT", rb"0K\r\n")) == ["0K"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("explode", {}, "there is no control 'explode'"),
        ("_changed", {}, "there is no control"),
        ("do", {}, "there is no control"),
        ("line", {"name": "dtr", "level": True}, "there is no line 'dtr'"),
        ("cut", {"direction": "sideways"}, "no direction"),
        ("interject", {"line": "X", "where": "nowhere"}, "no place"),
        ("hang", {"how": "softly"}, "softly"),
    ],
)
async def test_controls_that_do_not_exist_say_what_does(name: str, arguments: dict[str, object], message: str) -> None:
    async with VirtualBg95() as modem:
        with pytest.raises(ValueError, match=message):
            modem.controls.do(name, arguments)


async def test_every_control_has_a_contract() -> None:
    async with VirtualBg95() as modem:
        for name in modem.controls.names():
            assert getattr(modem.controls, name).__doc__


async def test_path_faults_reach_the_modem() -> None:
    async with VirtualBg95() as modem, Host(modem.port.link) as host:
        await host.ask("ATE0")
        modem.controls.drop(count=2, direction="to radio")
        host.write(b"AT\r")
        await eventually(lambda: modem.port.to_radio.lost == 2)
        assert await host.ask("AT") == ["OK"]
        modem.controls.cut(after=4, direction="to host")
        host.write(b"AT\r")
        assert await host.until(rb"\r\nOK") == b"\r\nOK"
        modem.controls.mend()
        assert await host.ask("AT") == ["OK"]
        modem.controls.freeze()
        host.write(b"AT\r")
        await eventually(lambda: modem.port.to_radio.lost == 5)
        modem.controls.thaw()
        assert await host.ask("AT") == ["OK"]
        modem.controls.garble(rate=1.0, direction="to radio")
        host.write(b"AT\r")
        await eventually(lambda: modem.port.to_radio.garbled == 3)
        modem.controls.mend()
        modem.controls.delay(0.0)
        host.write(b"\r")
        assert (await host.ask("AT"))[-1] == "OK"
        assert modem.controls.journal(3)
        assert modem.controls.commands()[-1] == "AT"
        modem.controls.renumber()
        await host.hangup()
