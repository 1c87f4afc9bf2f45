"""The virtual cellular network: what a virtual radio's sockets are connected to.

Rules of this file: every socket is a real UDP socket on this machine.  Public addresses are forwarded by a map, as a
router's NAT would, so that a test's services can be anywhere; with `strict` nothing else is reachable.  Time passes on
the event loop only.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Address = tuple[str, int]


class Unreachable(Exception):
    """Nothing is behind this address, and the network is strict."""


@dataclass(slots=True)
class Path:
    """One direction of the network: how it treats datagrams, and how many it saw."""

    delay: float = 0.0
    """Seconds each datagram takes."""
    jitter: float = 0.0
    """Up to so many seconds more, evenly spread; datagrams may overtake each other."""
    loss: float = 0.0
    """Probability, 0 to 1, that a datagram vanishes."""
    duplicates: float = 0.0
    """Probability, 0 to 1, that a datagram arrives twice."""
    silent: bool = False
    """Whether everything vanishes."""
    packets: int = 0
    """Datagrams delivered."""
    bytes: int = 0
    """Their payload bytes."""
    lost: int = 0
    """Datagrams that vanished."""

    def copies(self, chance: random.Random) -> list[float]:
        """When (seconds from now) each copy of a datagram arrives; empty where it vanishes."""
        if self.silent or chance.random() < self.loss:
            self.lost += 1
            return []
        count = 2 if chance.random() < self.duplicates else 1
        return [self.delay + self.jitter * chance.random() for _ in range(count)]

    def count(self, size: int) -> None:
        """One datagram of `size` bytes was delivered."""
        self.packets += 1
        self.bytes += size


@dataclass(slots=True)
class VirtualNetwork:
    """Forwards datagrams between virtual radios and real sockets."""

    nat: dict[Address, Address] = field(default_factory=dict)
    """Public (host, port) to where it really listens.  A key's host may be a name."""
    hosts: dict[str, list[str]] = field(default_factory=dict)
    """What the network's DNS knows: name to addresses."""
    strict: bool = True
    """Whether addresses that are not in `nat` are unreachable; otherwise they are used as they are."""
    up: Path = field(default_factory=Path)
    """From the radio to the service."""
    down: Path = field(default_factory=Path)
    """From the service to the radio."""
    seed: int = 0
    refused: list[Address] = field(default_factory=list)
    """Destinations that were asked for and are not there."""
    port_unreachable: int = 0
    """ICMP port unreachable messages: nobody listened behind the map."""
    _chance: random.Random = field(init=False, repr=False)
    _sockets: set[NetworkSocket] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def forward(self, public: Address, real: Address) -> None:
        """Add to the map."""
        self.nat[public] = real

    def resolve(self, host: str) -> list[str]:
        """The addresses of a name, or of an address itself; empty where unknown."""
        if host in self.hosts:
            return self.hosts[host]
        if host.replace(".", "").isdigit() or ":" in host:
            return [host]
        # A name that is in the map without an address gets one of TEST-NET-2 (RFC 5737).
        names = sorted({name for name, _ in self.nat if not name.replace(".", "").isdigit()})
        return [f"198.51.100.{names.index(host) + 1}"] if host in names else []

    def destination(self, host: str, port: int) -> Address:
        """Where datagrams for a public address really go; raises `Unreachable`."""
        aliases = [name for name, _ in self.nat if host in self.resolve(name)]
        for name in (host, *self.resolve(host), *aliases):
            if (name, port) in self.nat:
                return self.nat[name, port]
        if self.strict:
            self.refused.append((host, port))
            raise Unreachable(f"{host} port {port} is not in the map of this network")
        return host, port

    async def open_socket(self, host: str, port: int, on_datagram: Callable[[bytes], None]) -> NetworkSocket:
        """A UDP socket connected to a public address; `on_datagram` is called with what arrives.

        Raises `Unreachable`.
        """
        opened = NetworkSocket(self, self.destination(host, port), on_datagram)
        await opened.open()
        self._sockets.add(opened)
        return opened

    def forget(self, closed: NetworkSocket) -> None:
        """A socket closed itself."""
        self._sockets.discard(closed)

    def silence(self, silent: bool = True) -> None:
        """Let everything vanish, in both directions, or no more."""
        self.up.silent = self.down.silent = silent

    def copies(self, path: Path) -> list[float]:
        """As `Path.copies`, with this network's chance."""
        return path.copies(self._chance)

    def stats(self) -> Mapping[str, object]:
        """The counters."""
        return {
            "up": {"packets": self.up.packets, "bytes": self.up.bytes, "lost": self.up.lost},
            "down": {"packets": self.down.packets, "bytes": self.down.bytes, "lost": self.down.lost},
            "sockets": len(self._sockets),
            "refused": [list(address) for address in self.refused],
            "port_unreachable": self.port_unreachable,
        }

    async def aclose(self) -> None:
        """Close every socket."""
        for opened in tuple(self._sockets):
            opened.close()
        # A datagram transport frees its descriptor in a callback of its own.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class NetworkSocket(asyncio.DatagramProtocol):
    """One UDP socket of a virtual radio."""

    def __init__(self, network: VirtualNetwork, peer: Address, on_datagram: Callable[[bytes], None]) -> None:
        self._network = network
        self._on_datagram = on_datagram
        self._transport: asyncio.DatagramTransport | None = None
        self.peer = peer
        """Where its datagrams really go."""
        self.local_port = 0
        """Its own UDP port on this machine."""

    async def open(self) -> None:
        """Bind and connect."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self.peer)
        self.local_port = self._transport.get_extra_info("sockname")[1]

    def send(self, data: bytes) -> None:
        """Hand a datagram to the network; nothing tells whether it arrives."""
        loop = asyncio.get_running_loop()
        for wait in self._network.copies(self._network.up):
            if wait:
                loop.call_later(wait, self._forward, data)
            else:
                self._forward(data)

    def _forward(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)
            self._network.up.count(len(data))

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        loop = asyncio.get_running_loop()
        for wait in self._network.copies(self._network.down):
            if wait:
                loop.call_later(wait, self._arrive, data)
            else:
                self._arrive(data)

    def _arrive(self, data: bytes) -> None:
        if self._transport is not None:
            self._network.down.count(len(data))
            self._on_datagram(data)

    def error_received(self, exc: Exception) -> None:
        # A modem's stack does not tell its host of ICMP errors on UDP sockets.
        self._network.port_unreachable += 1

    def close(self) -> None:
        """Free the socket; idempotent."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            self._network.forget(self)
