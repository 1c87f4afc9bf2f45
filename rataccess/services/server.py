"""The socket of a service: datagrams in batches to the core, its answers back from the address that was asked.

Rules of this file: UDP and timers on the event loop; no meaning of datagrams.  One wake-up takes what waits (a bounded
batch), commits it inline and answers.  Inline, because most of a commit is inserting, which a thread would not hide; the
kernel's buffer collects the next batch meanwhile, which grows with the time that a commit takes (docs/services.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from rataccess.errors import ConfigurationError, ProtectionFailed, StoreCorrupt, StoreError
from rataccess.security import peek
from rataccess.services.airway import Airway
from rataccess.services.core import Datagram, ServiceCore
from rataccess.services.fairness import FairQueue
from rataccess.services.sockets import NO_IPV6

logger = logging.getLogger("rataccess.services")

MOST_IN_BATCH = 256
"""Datagrams for one commit: 6,400 records at 25 each, which took about 0.16 s (docs/services.md)."""
RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes that may wait in the kernel during a commit: some thousand datagrams of 1 kB, its own overhead included."""
MOST_WAITING = 4096
"""Datagrams that wait in the process for their turn, where more come than one batch holds."""
MOST_WAITING_BYTES = 16 * 1024 * 1024
_LARGEST_DATAGRAM = 65_535
_TICK = 1.0
_TICK_FOR_CALLS = 0.2
"""Seconds between ticks while a device waits for the answer to a call, which another process may give."""
_ANCILLARY_BYTES = socket.CMSG_SPACE(20)
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux's <linux/in.h>; Python 3.11 does not name it


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a datagram came from, and at which of our addresses it arrived: the answer leaves from there."""

    address: Any
    ancillary: tuple[tuple[int, int, bytes], ...] = ()

    def __str__(self) -> str:
        return f"{self.address[0]} {self.address[1]}"


class Server:
    """One service on one UDP socket."""

    def __init__(self, core: ServiceCore, host: str, port: int) -> None:
        self._core = core
        self._host, self._port = host, port
        self._socket: socket.socket | None = None
        self._buffer = bytearray(_LARGEST_DATAGRAM)
        self._tick: asyncio.TimerHandle | None = None
        self._waiting: FairQueue[Datagram] = FairQueue(MOST_WAITING, MOST_WAITING_BYTES)
        self._turn: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._ways: dict[str, Callable[[Airway, bytes], None]] = {}

    def __repr__(self) -> str:
        return f"<Server {self._core.service} {self.address if self._socket else 'closed'}>"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        assert self._socket is not None
        name = self._socket.getsockname()
        return name[0], name[1]

    def open(self) -> None:
        """Listen.  Raises `ConfigurationError` where the address cannot be had."""
        self._ended = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._socket = listen(self._host, self._port, shared=self._core.store.shared)
        asyncio.get_running_loop().add_reader(self._socket, self._guarded, self._receive)
        logger.info("%s service listens on %s port %d (UDP)", self._core.service, *self.address)

    async def run(self) -> None:
        """Serve until `stop`; raises what made it impossible to go on (`StoreCorrupt`, a defect)."""
        assert self._ended is not None
        await self._ended

    def stop(self) -> None:
        """Have `run` return."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def close(self) -> None:
        """Stop listening, keep the counters.  Idempotent."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._loop = None
        for timer in (self._tick, self._turn):
            if timer is not None:
                timer.cancel()
        self._socket.close()
        self._socket = None
        self._core.save_counters()

    def _guarded(self, work: Any) -> None:
        """Run a callback of the loop; what it cannot handle ends `run`."""
        try:
            work()
        except Exception as error:
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(error)
            else:
                logger.exception("after the end")

    # --- ways in -------------------------------------------------------------------------------------------------------

    def add_way(self, name: str, send: Callable[[Airway, bytes], None]) -> None:
        """Have what is for an `Airway` of the way `name` given to `send`, in the event loop; that never blocks or raises."""
        self._ways[name] = send

    def heard(self, batch: Sequence[tuple[bytes, Airway]]) -> bool:
        """Take packets in compact form that came by a way in (in the event loop); answers go to that way's `send`.

        `False` where they were not taken, for the store is away or the server is not open: they should come again, where the
        way has a means to say so.
        """
        if self._socket is None:
            return False
        before = self._core.refused
        if batch:
            self._guarded(lambda: self._take(list(batch)))
        return self._core.refused == before

    # --- datagrams ------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at once for what waits for devices (from any thread): something was put there by this process."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._guarded, self._on_wake)

    def _on_wake(self) -> None:
        if self._socket is not None:
            if self._tick is not None:
                self._tick.cancel()
            self._on_tick()

    def _receive(self) -> None:
        self._take(self._drain(MOST_IN_BATCH))

    def _take(self, batch: list[Datagram]) -> None:
        if len(batch) >= MOST_IN_BATCH or len(self._waiting):
            self._queue(batch)
        elif batch:
            self._serve(batch)

    def _queue(self, batch: list[Datagram]) -> None:
        """More has come than one batch holds: its senders take turns."""
        before = self._waiting.dropped
        while batch:
            for data, peer in batch:
                self._waiting.put(_sender(data, peer), (data, peer), len(data))
            batch = self._drain(MOST_IN_BATCH) if len(self._waiting) < MOST_WAITING else []
        for _ in range(self._waiting.dropped - before):
            self._core.count("datagrams over a sender's share")
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._guarded, self._on_turn)

    def _on_turn(self) -> None:
        self._turn = None
        if self._socket is None:
            return
        self._serve(self._waiting.take(MOST_IN_BATCH))
        if len(self._waiting):
            self._turn = asyncio.get_running_loop().call_soon(self._guarded, self._on_turn)

    def _serve(self, batch: list[Datagram]) -> None:
        self._send(self._core.process(batch))
        if self._tick is None and self._core.busy:
            self._tick_later()

    def _drain(self, most: int) -> list[Datagram]:
        assert self._socket is not None
        batch: list[Datagram] = []
        while len(batch) < most:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([self._buffer], _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError as error:  # an ICMP error of an earlier answer: it says nothing about this socket
                logger.debug("receive: %s", error)
                continue
            batch.append((bytes(memoryview(self._buffer)[:size]), Peer(address, _answer_from(ancillary))))
        return batch

    def _send(self, datagrams: Sequence[Datagram]) -> None:
        assert self._socket is not None
        for data, peer in datagrams:
            if isinstance(peer, Airway):
                self._send_by_way(data, peer)
                continue
            assert isinstance(peer, Peer)
            try:
                self._socket.sendmsg([data], peer.ancillary, 0, peer.address)
            except OSError as error:  # buffer full, no route: the device asks again
                self._core.count("answers that could not be sent")
                logger.debug("send: %s", error)

    def _send_by_way(self, data: bytes, airway: Airway) -> None:
        send = self._ways.get(airway.way)
        if send is None:  # it was taken out of the configuration
            self._core.count("answers that could not be sent")
        else:
            send(airway, data)

    def _on_tick(self) -> None:
        self._tick = None
        try:
            self._send(self._core.tick())
        except StoreCorrupt:
            raise
        except StoreError as error:
            logger.warning("nothing is sent unasked: %s", error)
        if self._core.busy:
            self._tick_later()

    def _tick_later(self) -> None:
        after = _TICK_FOR_CALLS if self._core.awaited else _TICK
        self._tick = asyncio.get_running_loop().call_later(after, self._guarded, self._on_tick)


def _sender(data: bytes, peer: Hashable) -> Hashable:
    """Who a datagram says it is from, and the host that it came from."""
    if isinstance(peer, Airway):
        return peer.place
    host = peer.address[0] if isinstance(peer, Peer) else peer
    try:
        return peek(data).kid, host
    except ProtectionFailed:
        return None, host


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A UDP socket on `host`, non-blocking, that tells at which address each datagram arrived.

    `::` takes IPv4 as well; where the machine has no IPv6 it is `0.0.0.0`.  `shared`: other processes of the same user may
    listen there too, and the kernel gives each address's datagrams to one of them.  Raises `ConfigurationError`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, address, shared)
    except OSError as error:
        if host == "::" and (isinstance(error, socket.gaierror) or error.errno in NO_IPV6):
            return listen("0.0.0.0", port, shared=shared)
        raise ConfigurationError(f"cannot listen on {host} port {port} (UDP): {error.strerror or error}") from error


def _bound(family: int, address: Any, shared: bool) -> socket.socket:
    result = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            result.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            result.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            result.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        if shared:
            result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _enlarge(result)
        result.bind(address)
    except BaseException:
        result.close()
        raise
    return result


def _enlarge(udp: socket.socket) -> None:
    try:  # beyond net.core.rmem_max, with the capability to administer networks
        udp.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BUFFER)
    except OSError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _answer_from(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[tuple[int, int, bytes], ...]:
    """Packet information for an answer from the address at which the datagram arrived (ip(7), RFC 3542 section 6.1)."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= 12:
            return ((level, kind, struct.pack("@I4s4s", 0, data[4:8], b"\0\0\0\0")),)
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= 20:
            return ((level, kind, data[:16] + struct.pack("@I", 0)),)
    return ()
