"""DirectIP over TCP: the gateway delivers MO messages to servers, and listens for MT messages.

Rules of this file: sockets and tasks; messages are in `directip`, queues in `gateway`.  Each MO message has a connection of
its own; what cannot be delivered is tried again, in order, and never thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from rataccess_hil.part import TcpListener
from rataccess_hil.satellite.delivery import Delivery
from rataccess_hil.satellite.directip import (
    DirectIpError,
    Element,
    MoMessage,
    MtConfirmation,
    MtMessage,
    MtStatus,
    missing,
    unwrap,
)
from rataccess_hil.satellite.gateway import IridiumGateway

Address = tuple[str, int]
RETRIES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each further try; the last one is repeated (the real gateway's figures are unverified)."""


class MoSender(Delivery):
    """Delivers a gateway's MO messages to one server.

    `confirmed` waits for the optional confirmation element, and delivers again after a failure or none within `timeout`
    seconds.  `piece` cuts what is sent into pieces of so many bytes, as a slow network would; `twice` delivers each message
    a second time.
    """

    def __init__(
        self,
        gateway: IridiumGateway,
        server: Address,
        *,
        confirmed: bool = False,
        retries: Sequence[float] = RETRIES,
        timeout: float = 10.0,
        piece: int | None = None,
        twice: bool = False,
    ) -> None:
        super().__init__(gateway)
        self.server, self.confirmed, self.retries, self.timeout = server, confirmed, retries, timeout
        self.piece, self.twice = piece, twice

    def _copies(self, message: MoMessage) -> int:
        if message.topic is not None:
            return 0  # IMT goes another way
        return 2 if self.twice else 1

    def _pause(self, tries: int) -> float:
        return self.retries[min(tries, len(self.retries)) - 1]

    async def _try(self, message: MoMessage) -> bool:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self.timeout):
                reader, writer = await asyncio.open_connection(*self.server)
                await self._write(writer, message.encode())
                return not self.confirmed or await self._confirmed(reader)
        except (OSError, TimeoutError, DirectIpError):
            return False
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        piece = self.piece or len(data)
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
            await writer.drain()
            await asyncio.sleep(0)
        if not self.confirmed:
            writer.write_eof()

    async def _confirmed(self, reader: asyncio.StreamReader) -> bool:
        elements = dict(unwrap(await read_message(reader)))
        return elements.get(Element.MO_CONFIRMATION) == b"\x01"


class MtListener(TcpListener):
    """Takes MT messages for a gateway, one for each connection, and answers each with a confirmation.

    What is no DirectIP message is answered with status -7, as far as an answer is possible.  `allowed` says which client
    addresses are served; others get -10.  `address` is where it listens, once open.
    """

    def __init__(
        self,
        gateway: IridiumGateway,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        allowed: Callable[[str], bool] = lambda host: True,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(host, port)
        self._gateway, self._allowed, self._timeout = gateway, allowed, timeout
        self.taken = 0
        self.malformed = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._timeout):
            answer = await self._answer(reader, writer.get_extra_info("peername")[0])
            writer.write(answer.encode())
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, host: str) -> MtConfirmation:
        try:
            message = MtMessage.decode(await read_message(reader))
        except DirectIpError:
            self.malformed += 1
            return MtConfirmation(0, " " * 15, 0, MtStatus.PROTOCOL_ERROR)
        if not self._allowed(host):
            return MtConfirmation(message.client_id, message.imei, 0, MtStatus.ADDRESS_REFUSED)
        self.taken += 1
        return self._gateway.submit(message)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Exactly one message; raises `DirectIpError` where the stream ends before, or begins with something else."""
    data = b""
    while more := missing(data):
        part = await reader.read(more)
        data += part
        if data[:1] not in (b"", b"\x01"):
            raise DirectIpError(f"a message begins with revision 1, not with {data[0]}")
        if not part:
            raise DirectIpError(f"the stream ended after {len(data)} bytes of a message")
    return data
