"""What every access point can do: the controls, the counters, and the way of a datagram through it.

Rules of this file: no socket to the device's side (that is what kinds differ in); the services' side is here, as one real
UDP socket for each flow, so that a service sees each of the device's sockets as a peer of its own, as behind a NAT.
"""

from __future__ import annotations

import asyncio
import random
import socket
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

Address = tuple[str, int]
"""IPv4 address and UDP port."""

AddressMap = Mapping[Address, Address] | Iterable[tuple[Address, Address]]
"""Public to real; pairs, where several public addresses have port 0."""

FLOWS = 1024
"""Flows kept; the oldest unused is forgotten, as in a home router's table."""
BATCH = 64


@dataclass(slots=True)
class Stats:
    """Datagrams and their payload bytes that got through, and what did not."""

    up_packets: int = 0
    up_bytes: int = 0
    down_packets: int = 0
    down_bytes: int = 0
    dropped: int = 0
    """By carrier, silence or loss."""
    refused: int = 0
    """Nobody listened at the service's real address, or the map has none."""
    malformed: int = 0


@dataclass(slots=True)
class _Flow:
    """One of the device's sockets talking to one public address."""

    sock: socket.socket
    back: Callable[[bytes], None]
    """Takes a datagram to the device."""
    refused: Callable[[], None]


@dataclass(slots=True)
class _State:
    carrier: bool = True
    silent: bool = False
    listeners: list[Callable[[], None]] = field(default_factory=list)


class AccessPoint(ABC):
    """The air between a device and its services.

    `nat` maps the public address of a service, where the device sends, to its real one on this machine; it may change
    while packets flow.  `delay` is seconds one way, `loss` the share of datagrams lost in each direction (0 to 1).
    """

    def __init__(
        self, nat: AddressMap, *, delay: float = 0.0, loss: float = 0.0, mtu: int = 1400, seed: int = 1
    ) -> None:
        self._wanted = list(nat.items()) if isinstance(nat, Mapping) else list(nat)
        self.nat: dict[Address, Address] = dict(self._wanted)
        self.delay = delay
        self.loss = loss
        self.mtu = mtu
        self._random = random.Random(seed)
        self._state = _State()
        self._stats = Stats()
        self._flows: OrderedDict[Any, _Flow] = OrderedDict()
        self._in_flight: set[asyncio.TimerHandle] = set()

    # --- controls -----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def start(self) -> None:
        """Begin to carry.  Raises `OSError` or `PermissionError`; nothing is left behind then."""

    @abstractmethod
    async def stop(self) -> None:
        """End; idempotent; whatever was made is taken away."""

    @abstractmethod
    def public(self, real: Address) -> Address:
        """Where the device sends to reach the service that listens at `real`; raises `KeyError`."""

    def carrier(self, up: bool) -> None:
        """Take the carrier away or give it back; the device's side is told at once.  Without carrier nothing passes."""
        if up != self._state.carrier:
            self._state.carrier = up
            self._carrier_changed(up)
            self._announce()

    def silent(self, on: bool) -> None:
        """Silent death: everything vanishes, and nobody is told."""
        self._state.silent = on

    def rebind(self) -> None:
        """Forget all flows, as a NAT does that restarts: services then see the device at new ports."""
        for flow in tuple(self._flows.values()):
            self._close(flow)
        self._flows.clear()

    def stats(self) -> dict[str, int]:
        """The counters since `start`, as in `Stats`."""
        return asdict(self._stats)

    def state(self) -> dict[str, Any]:
        """What the control socket tells."""
        return {
            "carrier": self._state.carrier,
            "silent": self._state.silent,
            "delay": self.delay,
            "loss": self.loss,
            "mtu": self.mtu,
        }

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called when the carrier changes; returns an undo."""
        self._state.listeners.append(callback)
        return lambda: self._state.listeners.remove(callback) if callback in self._state.listeners else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- for kinds ----------------------------------------------------------------------------------------------------

    def _carrier_changed(self, up: bool) -> None:  # noqa: B027  a kind whose carrier is only told has nothing to do
        """The kind's own part of `carrier`."""

    def _up(
        self, key: Any, public: Address, data: bytes, back: Callable[[bytes], None], refused: Callable[[], None]
    ) -> None:
        """A datagram came from the device, for `public`; `key` names its flow; answers go to `back`."""
        self._carry(lambda: self._to_service(key, public, data, back, refused))

    def _free(self) -> None:
        """Close every flow and forget what is in flight."""
        for handle in self._in_flight:
            handle.cancel()
        self._in_flight.clear()
        self.rebind()

    # --- the way of a datagram ----------------------------------------------------------------------------------------

    def _passes(self) -> bool:
        return self._state.carrier and not self._state.silent

    def _carry(self, deliver: Callable[[], None]) -> None:
        """Through the air: dropped at either end where the link is dead then, else delivered after the delay."""
        if not self._passes() or (self.loss and self._random.random() < self.loss):
            self._stats.dropped += 1
        elif not self.delay:
            deliver()
        else:
            self._deliver_later(deliver)

    def _deliver_later(self, deliver: Callable[[], None]) -> None:
        def land() -> None:
            self._in_flight.discard(handle)
            if self._passes():
                deliver()
            else:
                self._stats.dropped += 1

        handle = asyncio.get_running_loop().call_later(self.delay, land)
        self._in_flight.add(handle)

    def _to_service(
        self, key: Any, public: Address, data: bytes, back: Callable[[bytes], None], refused: Callable[[], None]
    ) -> None:
        real = self.nat.get(public)
        if real is None:
            self._stats.refused += 1
            refused()
            return
        try:
            flow = self._flow((key, real), real, back, refused)
            flow.sock.send(data)
        except OSError:  # a refusal that an earlier datagram left behind, or no room: like loss
            self._stats.refused += 1
            return
        self._stats.up_packets += 1
        self._stats.up_bytes += len(data)

    def _flow(self, key: Any, real: Address, back: Callable[[bytes], None], refused: Callable[[], None]) -> _Flow:
        flow = self._flows.get(key)
        if flow is not None:
            self._flows.move_to_end(key)
            return flow
        if len(self._flows) >= FLOWS:
            self._close(self._flows.popitem(last=False)[1])
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(real)
        except OSError:
            sock.close()
            raise
        flow = self._flows[key] = _Flow(sock, back, refused)
        asyncio.get_running_loop().add_reader(sock, self._from_service, flow)
        return flow

    def _from_service(self, flow: _Flow) -> None:
        for _ in range(BATCH):
            try:
                data = flow.sock.recv(65_536)
            except ConnectionRefusedError:
                self._stats.refused += 1
                self._carry(flow.refused)
                continue
            except OSError:
                return
            self._carry(lambda data=data: self._to_device(flow, data))  # type: ignore[misc]

    def _to_device(self, flow: _Flow, data: bytes) -> None:
        self._stats.down_packets += 1
        self._stats.down_bytes += len(data)
        flow.back(data)

    def _close(self, flow: _Flow) -> None:
        asyncio.get_running_loop().remove_reader(flow.sock)
        flow.sock.close()

    def _announce(self) -> None:
        for listener in tuple(self._state.listeners):
            listener()
