"""A UDP socket on the event loop.

Rules of this file: datagrams to a callback and out again; no meaning.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from rataccess.errors import WayBroken
from rataccess.services.server import listen

logger = logging.getLogger("rataccess.services.ways")


class UdpSocket(asyncio.DatagramProtocol):
    """Between `listening` or `connected` and `close`."""

    def __init__(self, taken: Callable[[bytes, Any], None], defect: Callable[[Exception], None]) -> None:
        """`taken` is called with each datagram and the address that it came from, `defect` with what it raises."""
        self._taken, self._defect = taken, defect
        self._transport: asyncio.DatagramTransport | None = None
        self._lost = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of our end."""
        assert self._transport is not None
        name = self._transport.get_extra_info("sockname")
        return name[0], name[1]

    async def listening(self, host: str, port: int) -> None:
        """Take datagrams on a port.  Raises `ConfigurationError` where it cannot be had."""
        udp = listen(host, port)
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=udp)

    async def connected(self, host: str, port: int) -> None:
        """Exchange datagrams with one address and no other.  Raises `WayBroken` where it has no meaning now."""
        try:
            self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, remote_addr=(host, port)
            )
        except OSError as error:
            raise WayBroken(f"{host} port {port}: {error.strerror or error}") from error

    def send(self, data: bytes, address: Any = None) -> bool:
        """Send one datagram; whether it could be tried, and was not refused there and then: on one machine the kernel says
        at once that nobody listens."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._refused()  # of an earlier datagram: it would be told instead of sending this one
        try:
            self._transport.sendto(data, address)
        except (OSError, ValueError) as error:
            logger.debug("send: %s", error)
            return False
        return not self._refused()

    def _refused(self) -> bool:
        assert self._transport is not None
        return bool(self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    async def until_lost(self) -> None:
        """Raises `WayBroken` when the socket has been lost."""
        await self._lost.wait()
        raise WayBroken("the socket was lost")

    def close(self) -> None:
        """Idempotent."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            self._taken(data, addr)
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._defect(error)

    def error_received(self, exc: Exception) -> None:
        logger.debug("receive: %s", exc)  # an ICMP error of an earlier datagram: it says nothing about this socket

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
