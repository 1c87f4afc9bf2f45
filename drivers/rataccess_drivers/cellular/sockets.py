"""UDP sockets inside a Quectel modem (`QIOPEN`, `QISEND`, `QIRD`, buffer access mode).

Rules of this file: sockets only; contexts and registration belong to others, who call `break_all`.  One packet is one
`QISEND`; the port takes them one after another, and nothing waits between them.  A `recv` URC is said once until the
buffer was read empty (Quectel TCP/IP application note), so reading always goes on until 0; and because a URC may be lost on
the line, `look` reads a socket again whenever somebody has reason to doubt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rataccess.driver import DatagramSocket
from rataccess.errors import (
    Closed,
    CommandFailed,
    ConfigurationError,
    DriverError,
    NotNow,
    PacketTooLarge,
    RadioSilent,
    RataccessError,
    TransportBroken,
)
from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.grammar import quote
from rataccess_drivers.cellular.causes import CONTEXT_GONE, IDENTITY_IN_USE, socket_error
from rataccess_drivers.cellular.console import Console, Interruptible
from rataccess_drivers.cellular.context import last_error
from rataccess_drivers.cellular.profiles import MOST_READ, MOST_SENT, SOCKETS, Limits

WAITING = 256
"""Datagrams kept for `receive`; beyond that they stay in the modem, which drops what it cannot hold."""
# Seconds after which a modem whose send buffer was full has sent some of it (NB-IoT passes about 2 kB in that time).
_BUFFER_WAIT = 1.0
# `AT+QISENDEX` takes 512 digits.
_MOST_SENT_IN_HEX = 256
# Seconds for closing in all, with whatever command is before it on the port.
_CLOSE_LIMIT = 4.0


class QuectelSocket(DatagramSocket):
    """One connected UDP socket."""

    max_size = MOST_SENT

    def __init__(self, table: SocketTable, number: int, peer: str) -> None:
        self._table = table
        self.number = number
        self.peer = peer
        self._trouble: Callable[[], RataccessError] | None = None
        self._incoming: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._again = False
        self._sending = Interruptible()

    def __repr__(self) -> str:
        return f"<QuectelSocket {self.number} to {self.peer}{' unusable' if self._trouble else ''}>"

    async def send(self, data: bytes) -> None:
        """See `DatagramSocket.send`; returns when the modem has taken the datagram (`SEND OK`).

        Raises `ValueError` for an empty datagram, which QISEND cannot send (length 0 is a question to it).
        """
        if self._trouble is not None:
            raise self._trouble()
        if len(data) > MOST_SENT:
            raise PacketTooLarge(len(data), MOST_SENT)
        if not data:
            raise ValueError("an empty datagram cannot be sent")
        try:
            await self._sending.run(self._table.send(self, data))
        except TransportBroken as error:
            self.break_off(str(error))
            raise

    async def receive(self) -> bytes:
        """See `DatagramSocket.receive`; cancelling it loses nothing."""
        while not self._incoming:
            if self._trouble is not None:
                raise self._trouble()
            self._changed.clear()
            await self._changed.wait()
        if self._trouble is not None and isinstance(self._trouble(), Closed):
            raise self._trouble()
        self._room.set()
        return self._incoming.popleft()

    async def aclose(self) -> None:
        """See `DatagramSocket.aclose`; within 4 s."""
        self._end(lambda: Closed(f"socket {self.number} to {self.peer} is closed"))
        await self.stop_reading()
        await self._table.close(self)

    # --- what the modem tells -----------------------------------------------------------------------------------------

    def break_off(self, why: str) -> None:
        """It is of no more use: whoever sends or waits is told `TransportBroken`."""
        if self._trouble is None:
            self._end(lambda: TransportBroken(why))

    def look(self) -> None:
        """Data may wait in the modem: read until there is none."""
        if self._trouble is not None:
            return
        if self._reader is not None and not self._reader.done():
            self._again = True
            return
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read_all(), name=f"rataccess socket {self.number}")

    async def stop_reading(self) -> None:
        """End the reading that is under way."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    def push(self, data: bytes) -> None:
        """A datagram that came by itself."""
        if self._trouble is None and len(self._incoming) < WAITING:
            self._incoming.append(data)
            self._changed.set()

    def _end(self, trouble: Callable[[], RataccessError]) -> None:
        self._trouble = trouble
        self._changed.set()
        self._room.set()
        self._sending.interrupt(trouble)

    async def _read_all(self) -> None:
        silences = 0
        while self._trouble is None:
            if len(self._incoming) >= WAITING:
                self._room.clear()
                await self._room.wait()
                continue
            self._again = False
            try:
                data = await self._table.read(self)
            except RadioSilent as error:
                silences += 1
                if silences > 1:  # once may have been noise on the line
                    self.break_off(str(error))
                continue
            except RataccessError as error:
                self.break_off(f"reading socket {self.number} failed: {error}")
                return
            silences = 0
            if data:
                self.push(data)
            elif not self._again:
                return


class SocketTable:
    """The sockets of one modem.  `context_lost` is called when a socket command finds that the context is gone."""

    def __init__(self, console: Console, limits: Limits, context: int, context_lost: Callable[[str], None]) -> None:
        self._console = console
        self._limits = limits
        self._context = context
        self._context_lost = context_lost
        self._sockets: dict[int, QuectelSocket] = {}
        self._opening: dict[int, asyncio.Future[int]] = {}
        self._suspect: set[int] = set()
        """Numbers whose sockets may still be open in the modem, though nobody here has them."""

    async def open(self, host: str, port: int) -> QuectelSocket:
        """A socket connected to `host` and `port`.

        Raises `TransportBroken` (with the modem's cause), `RadioSilent`, `PortLost` or another `DriverError`.
        """
        if not host.isprintable() or '"' in host:
            raise ConfigurationError(f"{host!r} is no host name")
        number = self._free_number()
        self._opening[number] = asyncio.get_running_loop().create_future()
        try:
            if number in self._suspect:
                await self._forget(number)
            error = await self._open(number, host, port)
            if error == IDENTITY_IN_USE:
                await self._forget(number)
                error = await self._open(number, host, port)
            if error:
                raise self._refused(error, f"opening a UDP socket to {host} port {port}")
        except BaseException:
            self._suspect.add(number)
            raise
        finally:
            self._opening.pop(number, None)
        opened = self._sockets[number] = QuectelSocket(self, number, f"{host} port {port}")
        return opened

    def _free_number(self) -> int:
        free = [number for number in range(SOCKETS) if number not in self._sockets and number not in self._opening]
        if not free:
            raise TransportBroken(f"all {SOCKETS} sockets of {self._console.name} are in use")
        # one that is surely closed first
        return min(free, key=lambda number: (number in self._suspect, number))

    async def _open(self, number: int, host: str, port: int) -> int:
        """The error number of one QIOPEN, 0 for success."""
        result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._opening[number] = result
        text = f'AT+QIOPEN={self._context},{number},"UDP",{quote(host)},{port},0,0'
        try:
            await self._console.run(Command(text, timeout=self._limits.setting))
        except CommandFailed as error:
            told = await last_error(self._console, self._limits)
            if told:
                return told
            raise TransportBroken(f"opening a UDP socket failed: {error}") from error
        try:
            async with asyncio.timeout(self._limits.open_socket):
                return await result
        except TimeoutError as error:
            limit = self._limits.open_socket
            raise TransportBroken(f"no answer to opening a UDP socket to {host} within {limit:g} s") from error

    async def _forget(self, number: int) -> None:
        """Close what an earlier program, or an attempt that was given up, left open under `number`."""
        try:
            await self._console.order(f"AT+QICLOSE={number},1", self._limits.close + 10.0)
        except CommandFailed:
            return  # there was none
        finally:
            self._suspect.discard(number)

    async def send(self, socket: QuectelSocket, data: bytes) -> None:
        """One QISEND."""
        try:
            reply = await self._console.run(self._sending(socket.number, data))
        except CommandFailed as error:
            number = await last_error(self._console, self._limits)
            raise self._refused(number, "sending a datagram") from error
        except DriverError as error:
            raise TransportBroken(str(error)) from error
        if reply.final != "SEND OK":
            raise NotNow("the modem's send buffer is full", _BUFFER_WAIT)

    def _sending(self, number: int, data: bytes) -> Command:
        """Raw after a prompt, but for what begins with the byte that leaves a prompt: that goes as hexadecimal text."""
        finals, limit = ("SEND OK", "SEND FAIL"), self._limits.send
        if data[:1] == b"\x1b" and len(data) <= _MOST_SENT_IN_HEX:
            return Command(f'AT+QISENDEX={number},"{data.hex().upper()}"', timeout=limit, success=finals)
        return Command(f"AT+QISEND={number},{len(data)}", timeout=limit, payload=data, success=finals)

    async def read(self, socket: QuectelSocket) -> bytes:
        """One QIRD: a datagram, or nothing."""
        command = Command(
            f"AT+QIRD={socket.number},{MOST_READ}", prefixes=("+QIRD:",), timeout=self._limits.query, binary="+QIRD:"
        )
        reply = await self._console.run(command)
        return b"".join(reply.payloads)

    async def close(self, socket: QuectelSocket) -> None:
        """QICLOSE, as far as the modem answers."""
        if self._sockets.get(socket.number) is not socket:
            return
        try:
            async with asyncio.timeout(_CLOSE_LIMIT):
                await self._console.order(f"AT+QICLOSE={socket.number},1", self._limits.close)
        except (RataccessError, TimeoutError):
            self._suspect.add(socket.number)
        finally:
            self._sockets.pop(socket.number, None)

    def _refused(self, number: int | None, doing: str) -> RataccessError:
        error = socket_error(number, doing)
        if number in CONTEXT_GONE:
            self._context_lost(str(error))
        return error

    # --- what the modem tells -----------------------------------------------------------------------------------------

    def opened(self, number: int, error: int) -> None:
        """The URC that ends a QIOPEN."""
        result = self._opening.get(number)
        if result is not None and not result.done():
            result.set_result(error)

    def find(self, number: int) -> QuectelSocket | None:
        """The open socket of that number."""
        return self._sockets.get(number)

    def look(self) -> None:
        """Read every socket: a URC may have been lost."""
        for socket in tuple(self._sockets.values()):
            socket.look()

    def break_all(self, why: str, *, gone: bool = False) -> None:
        """Nothing passes any more; `gone`: and the modem has forgotten them, so there is nothing to close."""
        for socket in tuple(self._sockets.values()):
            socket.break_off(why)
        for result in self._opening.values():
            if not result.done():
                result.set_exception(TransportBroken(why))
                result.exception()  # whoever waits is told; if nobody does, so be it
        if gone:
            self._sockets.clear()
            self._suspect.clear()

    async def aclose(self, why: str) -> None:
        """Break every socket and end all reading; the modem is told nothing."""
        sockets = tuple(self._sockets.values())
        self.break_all(why)
        for socket in sockets:
            await socket.stop_reading()
