"""Single packets, for applications that do their own thing.

Rules of this file: nothing is kept, numbered, repeated or acknowledged; each packet is protected like everything else.
"""

from __future__ import annotations

import asyncio
from collections import deque

from rataccess.errors import Closed
from rataccess.exchange import Exchange

MOST_PACKETS = 256
MOST_BYTES = 256 * 1024
"""What waits to be received, at most; beyond either the oldest go."""


class AsyncPackets:
    """Packets to and from one service: at most once each, in no order, over the link in use."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._received: deque[bytes] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0
        """Packets that came and went because nobody received them in time."""

    def __repr__(self) -> str:
        return f"<Packets mtu={self.mtu} waiting={len(self._received)} dropped={self.dropped}>"

    @property
    def mtu(self) -> int | None:
        """Bytes of the largest packet that `send` takes now; `None` without a link."""
        return self._exchange.packet_room()

    async def send(self, data: bytes) -> None:
        """Send `data` now, once; whether it arrives nobody tells.

        Raises `PacketTooLarge` beyond `mtu`, `TransportBroken` where no link is up, `NotNow` and `BudgetExceeded` as the
        link does.
        """
        await self._exchange.send_packet(bytes(data))

    async def receive(self, timeout: float | None = None) -> bytes | None:
        """The oldest packet that waits, or `None` after `timeout` seconds (`None`: wait for ever); raises `Closed`."""
        try:
            async with asyncio.timeout(timeout):
                while not self._received:
                    if self._closed:
                        raise Closed("the device was closed")
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return None
        data = self._received.popleft()
        self._bytes -= len(data)
        return data

    def arrived(self, data: bytes) -> None:
        """For the device: a packet has come."""
        self._received.append(data)
        self._bytes += len(data)
        while len(self._received) > MOST_PACKETS or (self._bytes > MOST_BYTES and len(self._received) > 1):
            self._bytes -= len(self._received.popleft())
            self.dropped += 1
        self._arrived.set()

    def close(self) -> None:
        """For the device: nothing comes any more."""
        self._closed = True
        self._arrived.set()
