"""Two ways to talk to a virtual modem that share nothing with the drivers: in virtual time, and over a real port.

Rules of this file: no AT engine of ours.  `Bench` drives the sans-I/O interpreter; `Host` reads and writes a descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from rataccess_hil.modem import BG95, COMMANDS, Air, Modem, Personality, Sim, Timings
from rataccess_hil.modem.actions import Action, CloseSocket, OpenSocket, SendDatagram


def corpus(name: str) -> dict[str, Any]:
    """A corpus beside the project; skips where there is none."""
    for folder in Path(__file__).resolve().parents:
        path = folder.parent / "shared" / "corpora" / f"{name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    pytest.skip(f"the corpus {name} is not beside this checkout")


class Bench:
    """A modem without port or loop; time passes when `wait` says so, with a real BG95's timings."""

    def __init__(
        self,
        *,
        personality: Personality = BG95,
        timings: Timings | None = None,
        sim: Sim | None = None,
        air: Air | None = None,
        warm: bool = True,
        starts_with_supply: bool = False,
        usb: bool = False,
    ) -> None:
        self.modem = Modem(
            COMMANDS,
            personality,
            timings or Timings(),
            sim,
            air,
            epoch=1_767_225_600.0,
            starts_with_supply=starts_with_supply,
            usb=usb,
        )
        self.actions: list[Action] = []
        if warm:
            self.modem.start_warm()
            self.ask("ATE0")
            self.ask("AT+CMEE=1")

    def wait(self, seconds: float) -> bytes:
        """Let time pass; what the modem said meanwhile."""
        self.modem.run_until(self.modem.schedule.now + seconds)
        self.actions += self.modem.actions
        self.modem.actions.clear()
        said = bytes(self.modem.output)
        self.modem.output.clear()
        return said

    def write(self, data: bytes) -> None:
        """The host writes."""
        self.modem.receive(data)

    def ask(self, command: str, seconds: float = 0.1) -> list[str]:
        """Write a command line and return the lines said within `seconds`."""
        self.write(command.encode() + b"\r")
        return lines(self.wait(seconds))

    def hear(self, seconds: float) -> list[str]:
        """The lines said within `seconds`."""
        return lines(self.wait(seconds))

    def do(self, change: Callable[[Modem], object], seconds: float = 0.0) -> list[str]:
        """Change something, and return the lines said within `seconds`."""
        change(self.modem)
        return lines(self.wait(seconds))

    # --- the world ----------------------------------------------------------------------------------------------------

    def online(self) -> None:
        """Context 1 up."""
        assert self.ask('AT+QICSGP=1,1,"apn","","",0') == ["OK"]
        assert self.ask("AT+QIACT=1", 2.0) == ["OK"]

    def socket(self, index: int = 0, mode: int = 0, service: str = "UDP") -> int:
        """An open socket; its serial number."""
        self.actions.clear()
        assert self.ask(f'AT+QIOPEN=1,{index},"{service}","198.51.100.7",5683,0,{mode}', 1.0) == ["OK"]
        opened = next(action for action in self.actions if isinstance(action, OpenSocket))
        assert self.do(lambda modem: modem.data.opened(opened.serial, 0)) == [f"+QIOPEN: {index},0"]
        return opened.serial

    def datagram(self, serial: int, data: bytes) -> bytes:
        """A datagram comes down; what the modem said."""
        self.modem.data.arrived(serial, data, ("198.51.100.7", 5683))
        return self.wait(0.0)

    def sent(self) -> list[bytes]:
        """Datagrams that went up."""
        return [action.data for action in self.actions if isinstance(action, SendDatagram)]

    def closed(self) -> list[int]:
        """Sockets that were closed."""
        return [action.serial for action in self.actions if isinstance(action, CloseSocket)]


def lines(said: bytes) -> list[str]:
    """Text without its empty lines."""
    return [line for line in said.decode("ascii", "backslashreplace").split("\r\n") if line]


async def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something holds that nothing announces; raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0)


class Host:
    """A host with a descriptor: writes, and waits for what matches."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._heard = b""
        self._news = asyncio.Event()
        self.failure: OSError | None = None
        self.descriptor = -1

    async def __aenter__(self) -> Self:
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self.descriptor, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self.descriptor)
        os.close(self.descriptor)

    def _read(self) -> None:
        try:
            data = os.read(self.descriptor, 65536)
            if not data:
                raise OSError(errno.EIO, "hung up")
            self._heard += data
        except BlockingIOError:
            return
        except OSError as error:
            self.failure = error
            asyncio.get_running_loop().remove_reader(self.descriptor)
        self._news.set()

    def write(self, data: bytes) -> None:
        assert os.write(self.descriptor, data) == len(data)

    async def until(self, pattern: bytes, seconds: float = 10.0) -> bytes:
        """All that was heard up to the end of the first match; raises `TimeoutError` with what was heard."""
        try:
            async with asyncio.timeout(seconds):
                while not (match := re.search(pattern, self._heard, re.DOTALL)):
                    await self._next()
        except TimeoutError:
            raise TimeoutError(f"{pattern!r} was not heard, but {self._heard!r}") from None
        said, self._heard = self._heard[: match.end()], self._heard[match.end() :]
        return said

    async def hangup(self, seconds: float = 10.0) -> OSError:
        """Wait for the port to fail."""
        async with asyncio.timeout(seconds):
            while self.failure is None:
                await self._next()
        return self.failure

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def ask(self, command: str, final: bytes = rb"(OK|ERROR[^\r]*)\r\n") -> list[str]:
        """Write a command line and wait for its final line."""
        self.write(command.encode() + b"\r")
        return lines(await self.until(final))

    @property
    def heard(self) -> bytes:
        """What was heard and not taken."""
        return self._heard


class EchoServer(asyncio.DatagramProtocol):
    """A real UDP server on loopback that sends everything back reversed."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.address = ("", 0)
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.address = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()
        await asyncio.sleep(0)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport is not None
        self.received.append(data)
        self._transport.sendto(data[::-1], addr)
