"""Iridium's DirectIP as a way in: a server that its gateway connects to, and a client of its server.

Rules of this file: connections, their limits and their ends; what is said on them is in directip.py.  A connection carries
one message, within `timeout` seconds as a whole: whoever dribbles is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from rataccess.errors import ObjectError, WayBroken
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.crowd import Crowd
from rataccess.services.sockets import Allowed, host_and_port, listen_tcp
from rataccess.services.ways import directip
from rataccess.services.ways.base import Surroundings, service_of
from rataccess.services.ways.other import WayForBoth
from rataccess.services.ways.outbox import Outbox, Outcome
from rataccess.services.ways.rooms import believed
from rataccess.services.ways.settings import DirectIpSettings

logger = logging.getLogger("rataccess.services.ways")

SBD = "sbd"
SBD_ROOM = 270
"""Bytes of the largest SBD message to a device."""
MOST_CONNECTIONS = 64
"""At a time; where one more comes, one gives way."""
_OUTCOMES = {"drop": Outcome.REFUSED, "soon": Outcome.SOON, "later": Outcome.LATER}


class DirectIpWay(WayForBoth):
    """Messages of SBD devices, and messages to them."""

    def __init__(self, settings: DirectIpSettings, around: Surroundings, key: str) -> None:
        super().__init__(settings.name, around, settings.other)
        self._settings = settings
        self._allowed = Allowed(settings.allowed, f"{key}.allowed")
        self._gateway = None if settings.gateway is None else host_and_port(settings.gateway)
        self._outbox = Outbox(self._deliver, around.count, around.random, around.repeats_after)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._crowd = Crowd(MOST_CONNECTIONS)
        self._client_id = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    async def _open(self) -> None:
        await super()._open()
        listening = listen_tcp(self._settings.host, self._settings.port)
        self._server = await asyncio.start_server(self._connected, sock=listening, limit=directip.MO_MOST + 64)
        logger.info("way %s listens on %s port %d (TCP)", self.name, *self.address)

    async def _run(self) -> None:
        await self._outbox.run()
        raise WayBroken("nothing is sent any more")

    async def _close(self) -> None:
        await super()._close()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for each in list(self._connections):
            each.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    # --- from devices -------------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            peer = writer.get_extra_info("peername")
            if peer is None or peer[0] not in self._allowed:
                self._count("connections from addresses that are not allowed")
            else:
                self._connections.add(task)
                self._crowd.enter(task, peer[0], lambda: self._give_way(task))
                async with asyncio.timeout(self._settings.timeout):
                    await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # a TimeoutError is an OSError
            self._count("connections that ended too early")
        except asyncio.CancelledError:
            pass  # the way closes, or another connection needs the room; asyncio would log it
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._met(error)
        finally:
            self._connections.discard(task)
            self._crowd.leave(task)
            writer.close()

    def _give_way(self, task: asyncio.Task[None]) -> bool:
        self._count("connections over the limit")
        return task.cancel()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = directip.length_of(await reader.readexactly(directip.HEAD))
            message = directip.decode_mo(await reader.readexactly(length))
        except ObjectError as error:
            self._count("malformed satellite messages")
            logger.debug("way %s: %s", self.name, error)
            await self._confirm(writer, taken=False)
            return
        taken = self._take(message)
        await self._confirm(writer, taken=taken)
        if not taken and not self._settings.confirm:
            _reset(writer)

    async def _confirm(self, writer: asyncio.StreamWriter, *, taken: bool) -> None:
        if self._settings.confirm:
            writer.write(directip.mo_confirmation(taken))
            await writer.drain()

    def _take(self, message: directip.MobileOriginated) -> bool:
        """Whether that is done with; where not, the gateway is to deliver it again: it has been paid for."""
        if not message.payload:
            self._count("satellite sessions without a packet")
            return True
        airway = Airway(
            self.name,
            "imei",
            message.imei,
            SBD,
            SBD_ROOM,
            unasked=self._gateway is not None,
            dear=True,
            heard_at=believed(message.time, self._around.clock),
        )
        return self._hear_for(service_of(message.payload), message.payload, airway)

    # --- to devices ---------------------------------------------------------------------------------------------------

    def _send_for(self, service: Service, airway: Airway, data: bytes) -> None:
        if self._gateway is None or len(data) > SBD_ROOM:
            self._count("answers that a way in lost")
        else:
            self._outbox.put(airway, data)

    async def _deliver(self, airway: Airway, data: bytes) -> Outcome:
        outcome, status = await self._exchange(airway.name, data, 0)
        if status == -5 and self._settings.ring:  # its queue is full: have it fetch what waits
            await self._exchange(airway.name, b"", directip.RING_ONLY)
        return outcome

    async def _exchange(self, imei: str, data: bytes, disposition: int) -> tuple[Outcome, int | None]:
        """One connection to the gateway; the outcome and the status that was confirmed."""
        self._client_id = (self._client_id + 1) % (1 << 32)
        try:
            message = directip.encode_mt(self._client_id, imei, data, disposition)
        except ObjectError:
            return Outcome.REFUSED, None
        written = False
        try:
            async with asyncio.timeout(self._settings.timeout):
                reader, writer = await self._connect()
                try:
                    written = True
                    writer.write(message)
                    await writer.drain()
                    head = await reader.readexactly(directip.HEAD)
                    found = directip.decode_confirmation(await reader.readexactly(directip.length_of(head)))
                finally:
                    writer.close()
        except (OSError, asyncio.IncompleteReadError, ObjectError) as error:
            logger.info("way %s: the gateway of %s: %s", self.name, imei, error or type(error).__name__)
            return (Outcome.UNKNOWN if written else Outcome.SOON), None
        return self._judge(found, imei), found.status

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._gateway is not None
        return await asyncio.open_connection(*self._gateway, limit=directip.MO_MOST)

    def _judge(self, found: directip.Confirmation, imei: str) -> Outcome:
        if found.client_id != self._client_id:
            logger.warning("way %s: the gateway confirms another message than was sent", self.name)
            return Outcome.UNKNOWN
        if found.status >= 0:
            return Outcome.DONE
        text, action = directip.STATUS.get(found.status, ("an error that nobody knows", "later"))
        logger.warning("way %s: a message to %s was refused with %d: %s", self.name, imei, found.status, text)
        return _OUTCOMES[action]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the connection end with a reset: who takes its orderly end for a receipt is told that this is none."""
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
