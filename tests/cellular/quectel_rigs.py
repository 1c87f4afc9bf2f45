"""What the tests of the Quectel driver run on: virtual modems, scripted modems, and ports in virtual time.

Rules of this file: making and breaking; no assertion.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tty
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rataccess.clock import SystemClock
from rataccess.driver import Bearer, DriverContext, RadioStatus
from rataccess.errors import Closed, CommandFailed, RadioSilent
from rataccess.objects import Service
from rataccess.transport import Endpoint, Packet
from rataccess_drivers.at.commands import Command, Reply, Urc
from rataccess_drivers.at.results import classify
from rataccess_drivers.cellular.options import QuectelOptions
from rataccess_drivers.cellular.profiles import BG95, EC2X, Profile
from rataccess_drivers.cellular.quectel import QuectelDriver, QuectelDriverWithPowerKey
from rataccess_drivers.gpio import LineSettings, OutputLine
from rataccess_hil.modem import VirtualBg95, VirtualModem
from rataccess_hil.network import VirtualNetwork
from rataccess_transports.at_socket import AtSocketTransport

# As the real ones, but no virtual modem of these tests is slower than a second.
QUICK = replace(
    BG95.limits,
    query=0.4,
    check=0.2,
    setting=1.0,
    radio=1.0,
    activate=2.0,
    deactivate=1.0,
    open_socket=2.0,
    send=1.0,
    reset=1.0,
)
QUICK_PROFILES = tuple(
    replace(
        profile,
        limits=QUICK,
        power=replace(
            profile.power, key_on=0.03, key_off=0.06, off=0.1, ready=0.3, reset=0.1, patience=9, discharge=0.1
        ),
    )
    for profile in (BG95, EC2X)
)
ENDPOINTS = {Service.MANAGEMENT: Endpoint("192.0.2.1", 5683), Service.SOLUTION: Endpoint("192.0.2.2", 5683)}


def corpus(name: str) -> list[dict[str, Any]]:
    """The cases of a corpus; skips where the corpora are absent."""
    for folder in Path(__file__).resolve().parents:
        path = folder / "shared" / "corpora" / f"{name}.json"
        if path.exists():
            found: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
            return found
    pytest.skip(f"the corpus {name} is not on this machine")


def driver_for(
    address: str,
    *,
    secrets: Mapping[str, str] | None = None,
    profiles: Iterable[Profile] = QUICK_PROFILES,
    lines: Mapping[str, OutputLine] | None = None,
    **options: Any,
) -> QuectelDriver:
    """A driver whose patience is that of a virtual modem; `lines` are the wires of that name."""
    for name in lines or {}:
        options[name] = LineSettings(line=name)
    kind = QuectelDriverWithPowerKey if "power_key" in options else QuectelDriver
    return kind(
        QuectelOptions(port=address, **options),
        DriverContext("lte", SystemClock(), (secrets or {}).get),
        profiles=tuple(profiles),
        line_opener=lambda settings, initial: (lines or {})[str(settings.line)],
    )


class Ear:
    """Hears what a driver announces."""

    def __init__(self, driver: QuectelDriver) -> None:
        self.heard: list[RadioStatus] = []
        self._news = asyncio.Event()
        driver.on_status(self._hear)

    def _hear(self, status: RadioStatus) -> None:
        self.heard.append(status)
        self._news.set()

    async def until(self, wanted: Callable[[RadioStatus], bool]) -> RadioStatus:
        """The first announcement, past or to come within 10 s, that is `wanted`."""
        async with asyncio.timeout(10):
            while True:
                for status in self.heard:
                    if wanted(status):
                        return status
                self._news.clear()
                await self._news.wait()


class FarSide:
    """Both services, as bare UDP sockets on loopback."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Packet] = asyncio.Queue()
        self.network = VirtualNetwork()
        self._sockets: dict[Service, socket.socket] = {}
        self._devices: dict[Service, tuple[str, int]] = {}

    def start(self) -> None:
        for service, endpoint in ENDPOINTS.items():
            self._sockets[service] = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.bind(("127.0.0.1", 0))
            self.network.forward((endpoint.host, endpoint.port), sock.getsockname())
            asyncio.get_running_loop().add_reader(sock, self._readable, service, sock)

    def stop(self) -> None:
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def answer(self, packet: Packet) -> None:
        self._sockets[packet.service].sendto(packet.data, self._devices[packet.service])

    def _readable(self, service: Service, sock: socket.socket) -> None:
        data, self._devices[service] = sock.recvfrom(65_536)
        self.arrived.put_nowait(Packet(data, service))


@asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    far = FarSide()
    far.start()
    try:
        yield far
    finally:
        far.stop()


class World:
    """A virtual modem, its services, and a driver for it."""

    def __init__(self, far: FarSide, modem: VirtualModem, driver: QuectelDriver) -> None:
        self.far, self.modem, self.driver = far, modem, driver
        self.controls = modem.controls
        self.ear = Ear(driver)

    def transport(self, bearer: Bearer) -> AtSocketTransport:
        return AtSocketTransport.create(
            driver=self.driver, bearer=bearer, endpoints=ENDPOINTS, options=None, clock=SystemClock()
        )

    async def up(self) -> tuple[Bearer, AtSocketTransport]:
        """Open and attach the driver, and open a transport."""
        await self.driver.open()
        bearer = await self.driver.attach()
        transport = self.transport(bearer)
        await transport.open()
        return bearer, transport

    def commands(self, prefix: str) -> list[str]:
        """What the driver has written of that kind."""
        return [line for line in self.controls.commands() if line.startswith(prefix)]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait, at most 10 s, until `true`: what the virtual modem has seen is told by nobody."""
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.01)

    async def asked(self, prefix: str) -> None:
        """Wait until the driver has written a command of that kind."""
        await self.until(lambda: bool(self.commands(prefix)))


@asynccontextmanager
async def world(
    kind: type[VirtualModem] = VirtualBg95, *, modem: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[World]:
    """A virtual modem with a driver (not opened) on it, which is closed at the end."""
    async with far_side() as far, kind(far.network, **(modem or {})) as virtual:
        driver = driver_for(virtual.address, **options)
        try:
            yield World(far, virtual, driver)
        finally:
            await driver.aclose()


class ScriptedModem:
    """A modem on a pseudo terminal that answers from a table; what it was asked is in `asked`.

    A reply is bytes as on the wire, or a function from the command to such bytes; `None` is no answer at all.
    """

    def __init__(self, replies: Mapping[str, bytes | Callable[[str], bytes | None] | None]) -> None:
        self.replies = dict(replies)
        self.asked: list[str] = []
        self.payloads: list[bytes] = []
        self._wanted = 0
        self._then = b""
        self._line = bytearray()
        self._master = self._slave = -1
        self.address = ""

    async def __aenter__(self) -> ScriptedModem:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.address = f"pty:{os.ttyname(self._slave)}"
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        return self

    async def __aexit__(self, *exception: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def prompt(self, count: int, then: bytes) -> bytes:
        """Ask for `count` bytes, and say `then` when they have come."""
        self._wanted, self._then = count, then
        return b"\r\n> "

    def _readable(self) -> None:
        for byte in os.read(self._master, 65_536):
            if self._wanted:
                self._line.append(byte)
                self._wanted -= 1
                if not self._wanted:
                    self.payloads.append(bytes(self._line))
                    self._line.clear()
                    self.say(self._then)
            elif byte == 0x0D:
                text = self._line.decode().strip("\x1b")
                self._line.clear()
                if text:
                    self._answer(text)
            else:
                self._line.append(byte)

    def _answer(self, text: str) -> None:
        self.asked.append(text)
        for known in (text, text.partition("=")[0] + "="):
            if known in self.replies:
                reply = self.replies[known]
                said = reply(text) if callable(reply) else reply
                if said is not None:
                    self.say(said)
                return
        self.say(b"\r\nOK\r\n" if text in ("AT", "ATE0", "AT+CMEE=1") else b"\r\nERROR\r\n")


def lines(*said: str) -> bytes:
    """Lines and OK, as a modem writes them."""
    return b"".join(f"\r\n{line}\r\n".encode() for line in (*said, "OK"))


HEALTHY: dict[str, bytes | Callable[[str], bytes | None] | None] = {
    "AT+CGMM": lines("BG95-M3"),
    "AT+CGMR": lines("BG95M3LAR02A04"),
    "AT+CGSN": lines("867698040000001"),
    "AT+CEREG=": lines(),
    "AT+CGREG=": lines(),
    "AT+CGEREP=": lines(),
    "AT+CPIN?": lines("+CPIN: READY"),
    "AT+CPSMS?": lines('+CPSMS: 0,,,"00101100","00001010"'),
    "AT+CFUN?": lines("+CFUN: 1"),
    "AT+CEREG?": lines('+CEREG: 2,5,"5B10","3787103",8'),
    "AT+CGREG?": lines("+CGREG: 2,0"),
    "AT+QIACT?": lines('+QIACT: 1,1,1,"10.64.0.2"'),
    "AT+COPS?": lines('+COPS: 0,0,"Telia",8'),
    'AT+QENG="servingcell"': lines(
        '+QENG: "servingcell","NOCONN","eMTC","FDD",310,410,B0DD811,152,5110,12,3,3,5003,-88,-11,-62,11,41'
    ),
    "AT+QICSGP=1": lines('+QICSGP: 1,"","","",0'),
}
"""A BG95 that is registered and has its context; the QENG line is a real one's."""


class FakePort:
    """An AT port in memory, for virtual time: `answers` maps a command to a reply's lines, an error line, or `None`."""

    def __init__(self, answers: Mapping[str, tuple[str, ...] | str | None]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.flood = False
        """Whether each read of a socket gives a datagram."""
        self._urcs: list[Callable[[Urc], None]] = []
        self._closed = asyncio.Event()

    async def open(self) -> None:
        self._closed = asyncio.Event()

    async def aclose(self) -> None:
        self._closed.set()

    async def resynchronise(self) -> None:
        if self.answers.get("AT", ()) is None:
            await asyncio.sleep(4.8)
            raise RadioSilent("silent")

    def on_urc(self, callback: Callable[[Urc], None]) -> Callable[[], None]:
        self._urcs.append(callback)
        return lambda: self._urcs.remove(callback)

    def on_lost(self, callback: Callable[[Exception], None]) -> Callable[[], None]:
        return lambda: None

    def say(self, line: str) -> None:
        for callback in tuple(self._urcs):
            callback(Urc(line))

    async def run(self, command: Command | str) -> Reply:
        command = Command(command) if isinstance(command, str) else command
        self.asked.append(command.text)
        await asyncio.sleep(0.01)
        if self._closed.is_set():
            raise Closed("closed")
        if self.flood and command.binary:
            return Reply(("+QIRD: 5",), (b"flood",))
        answer = self.answers.get(command.text, self.answers.get(command.text.partition("=")[0] + "=", ()))
        if answer is None:
            await asyncio.sleep(command.timeout)
            raise RadioSilent(f"no answer to {command.text}")
        if isinstance(answer, str):
            final = classify(answer)
            raise CommandFailed(answer, final.code if final else None)
        return Reply(answer)
