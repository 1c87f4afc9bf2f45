"""UDP over an interface of the operating system: a packet is a datagram, each service has a socket of its own.

Rules of this file: datagrams only; nothing of their content, no retry of what the network lost, no choice between links.
A socket is bound to the bearer's interface and connected to its one service, so no datagram goes anywhere else and the
kernel throws away what comes from elsewhere.  It listens to nobody.

Plain non-blocking sockets on the loop's reader are used instead of asyncio's datagram endpoints because these cost one
protocol object, one transport and two callbacks more for each datagram.

What the kernel answers, and what becomes of it (udp(7), ip(7), RFC 1122 section 4.1.3.3):

    ICMP port unreachable and its like      ServiceRefused from `receive`; the transport stays usable
    EMSGSIZE, ICMP fragmentation needed     PacketTooLarge, or just a lower `mtu` in the hints (RFC 1191, RFC 8201)
    EAGAIN, ENOBUFS                         waits for room, then NotNow
    anything else                           TransportBroken
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.clock import Clock
from rataccess.driver import Bearer, Driver
from rataccess.errors import Closed, ConfigurationError, NotNow, PacketTooLarge, ServiceRefused, TransportBroken
from rataccess.objects import Service
from rataccess.transport import Downlink, Endpoint, Handover, Hints, Packet, Transport
from rataccess_transports.udp_sockets import IP_HEADERS, connected, path_mtu

RESPONSE_TIMES = {"ethernet": 0.1, "wifi": 0.2, "nr": 0.2, "lte": 0.3, "cellular": 0.5, "lte-m": 1.0, "nb-iot": 3.0}
"""Usual seconds from request to answer, to start with; the exchange measures the real ones."""

# An ICMP message of the path or the service, reported on the connected socket (net/ipv4/icmp.c, icmp_err_convert).
_REFUSALS = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENOPROTOOPT, errno.EACCES, errno.EPROTO}
)
_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})

WRITE_PATIENCE = 0.5
"""Seconds to wait for room in the send buffer: at 64 kbit/s that is some four full packets."""
WAITING_PACKETS = 256
"""Packets kept for `receive`; beyond that the kernel's own buffer fills and then drops, as UDP does."""
BATCH = 64
"""Datagrams read in one wake-up, so that a flood does not starve the loop."""


class UdpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be set for a link over UDP."""

    max_packet: Annotated[int, Meta(ge=64, le=65507)] = 1232
    """Largest packet, bytes.  1232 is what fits IPv6's minimum MTU of 1280 (RFC 8200 section 5) with its headers."""


class UdpTransport(Transport):
    """One connected UDP socket for each service, bound to the bearer's interface.

    `hints.mtu` is the least of `max_packet`, the interface's MTU less IP and UDP headers, and what the path was found to
    carry.  It never rises while the transport is open.
    """

    options_type = UdpOptions

    def __init__(
        self, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: UdpOptions | None = None
    ) -> None:
        self._bearer = bearer
        self._endpoints = dict(endpoints)
        self._options = options or UdpOptions()
        self._sockets: dict[Service, socket.socket] = {}
        self._headers: dict[Service, int] = {}
        self._incoming: deque[Packet | ServiceRefused] = deque()
        self._waiters: set[asyncio.Future[None]] = set()
        self._room = asyncio.Lock()
        self._room_made = asyncio.Event()
        self._buffer = bytearray()
        self._deliver: Callable[[Packet], None] | None = None
        self._trouble: Exception = Closed("the UDP transport is not open")
        self._usable = self._closed = False
        self._paused: set[Service] = set()
        super().__init__(
            Hints(
                rat=bearer.rat,
                mtu=self._limit(max(IP_HEADERS.values())),
                downlink=Downlink.ANYTIME,
                response_time=RESPONSE_TIMES.get(bearer.rat, 1.0),
                overhead=max(IP_HEADERS.values()),
            )
        )

    def __repr__(self) -> str:
        state = "open" if self._usable else f"unusable: {self._trouble}"
        return f"<UdpTransport {self._bearer.interface or 'any interface'} mtu={self._hints.mtu} {state}>"

    @classmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> UdpTransport:
        """See `Transport.create`; needs nothing of the driver but that its bearer is one of the operating system."""
        if not endpoints:
            raise ConfigurationError("a UDP transport needs the host and port of at least one service")
        return cls(bearer, endpoints, options)

    async def open(self) -> None:
        """Resolve, bind and connect; raises `TransportBroken` where name, route, interface or permission is missing."""
        if self._closed:
            raise Closed("the UDP transport is closed; build a new one")
        if self._usable:
            return
        try:
            for service, endpoint in self._endpoints.items():
                self._sockets[service] = await connected(self._bearer, endpoint)
        except BaseException:
            self._close_sockets()
            raise
        if self._closed:  # while a name was being resolved
            self._close_sockets()
            raise Closed("the UDP transport was closed while it was opening")
        self._start()

    async def send(self, packet: Packet) -> Handover | None:
        """See `Transport.send`; UDP has no handover, so `None`.

        An error that an earlier packet's ICMP answer left behind does not lose this one: it is sent, and `receive` tells.
        """
        sock = self._socket(packet.service)
        if len(packet.data) > self._hints.mtu:
            raise PacketTooLarge(len(packet.data), self._hints.mtu)
        try:
            sock.send(packet.data)
        except OSError as error:
            await self._send_again(sock, packet, error)
        return None

    async def receive(self) -> Packet:
        """See `Transport.receive`.  Cancelling it loses no packet."""
        while not self._incoming:
            if not self._usable:
                raise self._unusable()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        if self._closed:
            raise self._unusable()
        item = self._incoming.popleft()
        if self._paused and len(self._incoming) <= WAITING_PACKETS // 2:
            self._resume_reading()
        if isinstance(item, ServiceRefused):
            raise item
        return item

    def deliver_to(self, on_packet: Callable[[Packet], None] | None) -> None:
        """See `Transport.deliver_to`."""
        self._deliver = on_packet

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        if not self._closed:
            self._closed = True
            self._incoming.clear()
            self._end(Closed("the UDP transport is closed"))

    # --- opening ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._buffer = bytearray(65_536)
        for service, sock in self._sockets.items():
            self._headers[service] = IP_HEADERS[sock.family]
            loop.add_reader(sock, self._readable, service, sock)
        self._usable = True
        headers = max(self._headers.values())
        self.set_hints(mtu=self._limit(headers), overhead=headers)

    def _limit(self, headers: int) -> int:
        mtu = self._bearer.mtu
        return self._options.max_packet if mtu is None else max(0, min(self._options.max_packet, mtu - headers))

    # --- sending ------------------------------------------------------------------------------------------------------

    def _socket(self, service: Service) -> socket.socket:
        if not self._usable:
            raise self._unusable()
        try:
            return self._sockets[service]
        except KeyError:
            raise ConfigurationError(f"this transport has no address for the {service} service") from None

    async def _send_again(self, sock: socket.socket, packet: Packet, error: OSError) -> None:
        """Sending failed with `error`: act on it and try once more; raises what `send` raises."""
        self._handle(packet, error, first=True)
        if error.errno == errno.EAGAIN:
            await self._wait_for_room(sock)
        try:
            sock.send(packet.data)
        except OSError as second:
            self._handle(packet, second, first=False)

    def _handle(self, packet: Packet, error: OSError, *, first: bool) -> None:
        """Returns where sending may be tried again; raises otherwise."""
        number = error.errno
        if number == errno.EMSGSIZE:
            self._lower_mtu(packet.service)
            if len(packet.data) > self._hints.mtu or not first:
                raise PacketTooLarge(len(packet.data), self._hints.mtu) from error
        elif number in _FULL:
            if not first or number == errno.ENOBUFS:
                raise NotNow(f"the send queue of {self._bearer.interface or 'the interface'} is full", 0.1) from error
        elif number in _REFUSALS and first:  # left behind by an earlier packet: this one was not sent yet
            self._put(ServiceRefused(packet.service, error.strerror or str(error)))
        elif number == errno.ECONNREFUSED:
            raise ServiceRefused(packet.service, error.strerror or str(error)) from error
        else:
            raise self._break(error) from error

    async def _wait_for_room(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with self._room:  # a socket has one writer callback
            if self._usable:
                room = self._room_made = asyncio.Event()
                loop.add_writer(sock, room.set)
                try:
                    async with asyncio.timeout(WRITE_PATIENCE):
                        await room.wait()
                except TimeoutError as error:
                    name = self._bearer.interface or "the interface"
                    raise NotNow(f"the send buffer towards {name} stays full", WRITE_PATIENCE) from error
                finally:
                    if sock.fileno() >= 0:  # else closed meanwhile, and removed
                        loop.remove_writer(sock)
        if not self._usable:
            raise self._unusable()

    def _lower_mtu(self, service: Service) -> None:
        """Take over what the kernel has learned of the path (IP_MTU of a connected socket)."""
        sock = self._sockets[service]
        found = path_mtu(sock) - self._headers[service]
        self.set_hints(mtu=max(0, min(self._hints.mtu, found)))

    # --- receiving ----------------------------------------------------------------------------------------------------

    def _readable(self, service: Service, sock: socket.socket) -> None:
        """Drain the socket, up to a batch."""
        buffer = self._buffer
        for _ in range(BATCH):
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if not self._receive_failed(service, error):
                    return
                continue
            packet = Packet(bytes(buffer[:size]), service)
            deliver = self._incoming.append if self._deliver is None or self._incoming else self._deliver
            deliver(packet)
        if len(self._incoming) >= WAITING_PACKETS:
            self._pause_reading()
        if self._incoming:
            self._wake()

    def _receive_failed(self, service: Service, error: OSError) -> bool:
        """Whether reading may go on."""
        if error.errno == errno.EMSGSIZE:
            self._lower_mtu(service)
        elif error.errno in _REFUSALS:
            self._put(ServiceRefused(service, error.strerror or str(error)))
        elif error.errno != errno.EINTR:
            self._break(error)
            return False
        return True

    def _put(self, item: Packet | ServiceRefused) -> None:
        self._incoming.append(item)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _pause_reading(self) -> None:
        loop = asyncio.get_running_loop()
        for service, sock in self._sockets.items():
            if service not in self._paused:
                loop.remove_reader(sock)
                self._paused.add(service)

    def _resume_reading(self) -> None:
        loop = asyncio.get_running_loop()
        for service in tuple(self._paused):
            loop.add_reader(self._sockets[service], self._readable, service, self._sockets[service])
        self._paused.clear()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _break(self, error: OSError) -> TransportBroken:
        name = self._bearer.interface or "the interface"
        broken = TransportBroken(f"UDP over {name} failed: {error.strerror or os.strerror(error.errno or 0)}")
        broken.__cause__ = error
        self._end(broken)
        return broken

    def _end(self, trouble: Exception) -> None:
        self._trouble = trouble
        self._usable = False
        self._close_sockets()
        self._wake()
        self._room_made.set()

    def _unusable(self) -> Exception:
        """Why, as an exception of its own: one raised again and again would grow its traceback without end."""
        trouble = type(self._trouble)(*self._trouble.args)
        trouble.__cause__ = self._trouble.__cause__
        return trouble

    def _close_sockets(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock)
            loop.remove_writer(sock)
            sock.close()
        self._sockets.clear()
        self._paused.clear()
