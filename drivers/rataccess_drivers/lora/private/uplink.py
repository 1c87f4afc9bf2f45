"""A bridge's way to one service: a UDP socket that is connected, so that nothing goes to or comes from anywhere else.

Rules of this file: datagrams; nothing is looked at.  OSError ends here: a socket that fails is opened anew with the next
datagram, after the name was looked up anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from rataccess.transport import Endpoint

LARGEST = 65_535
_AT_ONCE = 64


class Uplink(Protocol):
    """The way to one service."""

    async def send(self, datagram: bytes) -> bool:
        """Whether the machine took it (it has a route, the service was not refused just before)."""
        ...

    def close(self) -> None:
        """Let go; idempotent."""
        ...


OpenUplink = Callable[[Endpoint, Callable[[bytes], None]], Uplink]
"""Where the service is, and what is called with each datagram of it; opens nothing before the first `send`."""


class UdpUplink:
    """Over this machine's own network."""

    def __init__(self, service: Endpoint, on_datagram: Callable[[bytes], None]) -> None:
        self._service = service
        self._on_datagram = on_datagram
        self._socket: socket.socket | None = None

    async def send(self, datagram: bytes) -> bool:
        """See `Uplink.send`."""
        try:
            if self._socket is None:
                await self._open()
            assert self._socket is not None
            self._socket.send(datagram)
        except OSError:
            self.close()
            return False
        return True

    async def _open(self) -> None:
        host, port = self._service.host, self._service.port
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)
            opened.connect(address)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._readable)

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError:  # such as a refusal (ICMP): the next datagram finds out again
                return
            self._on_datagram(datagram)

    def close(self) -> None:
        """See `Uplink.close`."""
        opened, self._socket = self._socket, None
        if opened is not None:
            with contextlib.suppress(OSError, ValueError):
                asyncio.get_running_loop().remove_reader(opened)
            opened.close()
