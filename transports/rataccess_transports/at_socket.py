"""UDP over a radio that has a UDP stack of its own: a packet is a datagram, each service has a socket in the radio.

Rules of this file: any driver that `OpensDatagramSockets`; nothing of AT.  Sockets are connected to their one service, so
no datagram goes anywhere else.  What the radio's socket raises is passed on as it is where it belongs to the contract of
`Transport`, and becomes `TransportBroken` otherwise: one broken socket breaks the transport, since both lie on one bearer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.clock import Clock
from rataccess.driver import Bearer, DatagramSocket, Driver, OpensDatagramSockets
from rataccess.errors import Closed, ConfigurationError, NotNow, PacketTooLarge, RataccessError, TransportBroken
from rataccess.objects import Service
from rataccess.transport import Downlink, Endpoint, Handover, Hints, Packet, Transport

IPV4_HEADERS = 20 + 8
IPV6_HEADERS = 40 + 8
"""IP and UDP headers, bytes (RFC 791, RFC 8200, RFC 768), without options."""

RESPONSE_TIMES = {"nr": 0.2, "lte": 0.3, "umts": 0.6, "lte-m": 1.0, "gsm": 1.5, "nb-iot": 3.0, "ntn-nb-iot": 10.0}
"""Usual seconds from request to answer, to start with; the exchange measures the real ones."""
BITRATES = {"nb-iot": 20_000.0, "ntn-nb-iot": 1_000.0, "gsm": 40_000.0}
"""Usual uplink, bits per second, of technologies that are slower than a serial port."""
SERIAL_BITRATE = 80_000.0
"""What AT commands and their prompts leave of a port at 115200 baud."""

WAITING_PACKETS = 256
"""Packets kept for `receive`; beyond that they wait in the sockets."""
CLOSE_LIMIT = 8.0
"""Seconds for closing all sockets: twice what one should take."""


class AtSocketOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be set for a link over a radio's own sockets."""

    max_packet: Annotated[int, Meta(ge=64, le=65_507)] = 1252
    """Largest packet, bytes, further limited by the radio's sockets and the bearer's MTU.  1252 and its headers are the 1280
    bytes that every IP path carries whole (RFC 8200 section 5): radios cut larger ones into fragments, of which carriers'
    address translators lose some."""


class AtSocketTransport(Transport):
    """One socket in the radio for each service, opened by `open`."""

    options_type = AtSocketOptions

    def __init__(
        self,
        opener: OpensDatagramSockets,
        bearer: Bearer,
        endpoints: Mapping[Service, Endpoint],
        options: AtSocketOptions | None = None,
    ) -> None:
        self._opener = opener
        self._bearer = bearer
        self._endpoints = dict(endpoints)
        self._options = options or AtSocketOptions()
        self._sockets: dict[Service, DatagramSocket] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._incoming: deque[Packet] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False
        self._trouble: RataccessError = Closed("the transport is not open")
        self._usable = False
        super().__init__(
            Hints(
                rat=bearer.rat,
                mtu=self._limit(self._options.max_packet),
                downlink=Downlink.ANYTIME,
                response_time=RESPONSE_TIMES.get(bearer.rat, 1.0),
                bitrate=BITRATES.get(bearer.rat, SERIAL_BITRATE),
                overhead=self._headers,
            )
        )

    def __repr__(self) -> str:
        state = "open" if self._usable else f"unusable: {self._trouble}"
        return f"<AtSocketTransport {self._bearer.rat} mtu={self._hints.mtu} {state}>"

    @classmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> AtSocketTransport:
        """See `Transport.create`; the driver must open datagram sockets."""
        if not isinstance(driver, OpensDatagramSockets):
            raise ConfigurationError(
                f"the transport at_socket needs a driver that opens datagram sockets; {type(driver).__name__} does not"
            )
        if not endpoints:
            raise ConfigurationError("the transport at_socket needs the host and port of at least one service")
        return cls(driver, bearer, endpoints, options)

    @property
    def _headers(self) -> int:
        only_v6 = bool(self._bearer.addresses) and all(":" in address for address in self._bearer.addresses)
        return IPV6_HEADERS if only_v6 else IPV4_HEADERS

    def _limit(self, size: int) -> int:
        mtu = self._bearer.mtu
        return size if mtu is None else max(1, min(size, mtu - self._headers))

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Transport.open`; both sockets at the same time, as far as the radio can."""
        if self._closed:
            raise Closed("the transport is closed; build a new one")
        if self._usable:
            return
        tasks = [
            asyncio.create_task(self._open_socket(service, endpoint)) for service, endpoint in self._endpoints.items()
        ]
        try:
            await asyncio.gather(*tasks)
            if self._closed:
                raise Closed("the transport was closed while it was opening")
        except BaseException as error:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._close_sockets()
            if isinstance(error, RataccessError) and not isinstance(
                error, Closed | TransportBroken | ConfigurationError
            ):
                raise TransportBroken(f"the radio opened no socket: {error}") from error
            raise
        self._start()

    async def _open_socket(self, service: Service, endpoint: Endpoint) -> None:
        self._sockets[service] = await self._opener.open_datagram_socket(endpoint.host, endpoint.port)

    def _start(self) -> None:
        self._usable = True
        largest = min(socket.max_size for socket in self._sockets.values())
        self.set_hints(mtu=self._limit(min(self._options.max_packet, largest)))
        self._pumps = [
            asyncio.create_task(self._pump(service, socket), name=f"rataccess at_socket {service}")
            for service, socket in self._sockets.items()
        ]

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        if self._closed:
            return
        self._closed = True
        self._incoming.clear()
        self._end(Closed("the transport is closed"))
        pumps, self._pumps = self._pumps, []
        for pump in pumps:
            pump.cancel()
        if pumps:
            await asyncio.wait(pumps)
        await self._close_sockets()

    async def _close_sockets(self) -> None:
        sockets, self._sockets = tuple(self._sockets.values()), {}
        if not sockets:
            return
        closing = [asyncio.create_task(socket.aclose()) for socket in sockets]
        try:
            await asyncio.wait(closing, timeout=CLOSE_LIMIT)
        finally:
            for task in closing:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)

    # --- packets ------------------------------------------------------------------------------------------------------

    async def send(self, packet: Packet) -> Handover | None:
        """See `Transport.send`; returns `None` when the radio has taken the packet."""
        if not self._usable:
            raise self._unusable()
        socket = self._sockets.get(packet.service)
        if socket is None:
            raise ConfigurationError(f"this transport has no address for the {packet.service} service")
        if len(packet.data) > self._hints.mtu:
            raise PacketTooLarge(len(packet.data), self._hints.mtu)
        try:
            await socket.send(packet.data)
        except (PacketTooLarge, NotNow):
            raise
        except RataccessError as error:
            if self._closed:
                raise self._unusable() from error
            raise self._break(error) from error
        return None

    async def receive(self) -> Packet:
        """See `Transport.receive`.  Cancelling it loses no packet."""
        while not self._incoming:
            if not self._usable:
                raise self._unusable()
            self._news.clear()
            await self._news.wait()
        packet = self._incoming.popleft()
        self._room.set()
        return packet

    async def _pump(self, service: Service, socket: DatagramSocket) -> None:
        """Bring what one socket receives to where `receive` takes it."""
        while True:
            try:
                data = await socket.receive()
            except RataccessError as error:
                if not self._closed:
                    self._break(error)
                return
            self._incoming.append(Packet(data, service))
            self._news.set()
            while len(self._incoming) >= WAITING_PACKETS:
                self._room.clear()
                await self._room.wait()

    def _break(self, error: RataccessError) -> TransportBroken:
        """No more use: whoever sends or receives is told."""
        broken = error if isinstance(error, TransportBroken) else TransportBroken(f"the radio's socket broke: {error}")
        if self._usable:
            self._end(broken)
        return TransportBroken(str(broken))

    def _end(self, trouble: RataccessError) -> None:
        self._usable = False
        self._trouble = trouble
        self._news.set()
        self._room.set()

    def _unusable(self) -> RataccessError:
        """Why, as an exception of its own: one raised again and again would grow its traceback without end."""
        return type(self._trouble)(*self._trouble.args)
