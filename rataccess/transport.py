"""The base of every transport, and what travels through it.

Rules of this file: no radio, no socket.  A transport moves packets (opaque bytes for one service) over one bearer and
says what it can do right now (`Hints`).  It keeps no queue beyond what its medium needs and retries nothing.

Errors: `PacketTooLarge` (never fits now), `NotNow` (not sent, try later), `TransportBroken` (close it), `ServiceRefused`
(from `receive` or `send`: the path works, nobody listens), `Closed` (you closed it).
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rataccess.lorawan.airtime import Modulation
from rataccess.objects import Service
from rataccess.tariff import Tariff, Unit

if TYPE_CHECKING:
    from rataccess.clock import Clock
    from rataccess.driver import Bearer, Driver


class Downlink(enum.StrEnum):
    """When the service can reach the device over this link."""

    ANYTIME = "anytime"
    AFTER_UPLINK = "after uplink"
    ON_SESSION = "on session"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Hints:
    """What a link can do right now."""

    rat: str
    """Radio access technology: `wifi`, `ethernet`, `lte`, `lte-m`, `nb-iot`, `lorawan`, `sbd` ..."""
    mtu: int
    """Largest packet in bytes, as handed to `send`."""
    downlink: Downlink = Downlink.ANYTIME
    response_time: float = 1.0
    """Usual seconds from a request to its answer."""
    bitrate: float | None = None
    """Usual bits per second, or `None` where unknown."""
    cost_per_byte: float = 0.0
    """In the unit of currency that the configuration uses."""
    billing_quantum: int = 1
    """What is billed is rounded up to a multiple of this many bytes; with `Unit.CREDIT` they make one credit."""
    overhead: int = 0
    """Bytes that the network adds to each packet and that count for budgets (28 for UDP over IPv4, 48 over IPv6)."""
    bytes_left: int | None = None
    """Bytes left in the budget of this period, or `None` without a budget."""
    next_slot: float | None = None
    """Seconds until the link may send again, or `None` for now."""
    stream: bool = False
    """Whether a byte stream can be opened."""
    acknowledges_handover: bool = False
    """Whether `send` returns a `Handover`: the operator has accepted the packet."""
    unit: Unit = Unit.BYTE
    """What budgets of this link count, and what `cost_per_unit` is the price of."""
    cost_per_unit: float = 0.0
    """Price of one credit, message or millisecond of air time, where `unit` is not `BYTE`."""
    repeats: int = 1
    """How often the radio sends one packet at most, where its network does not accept it: a budget keeps room for that."""
    modulation: Modulation | None = None
    """How LoRa packets are sent now, from which their air time follows."""
    compact: bool = False
    """Whether packets travel in compact form (docs/wire.md): the network says who the device is, and bytes are dear."""

    @property
    def frugal(self) -> bool:
        """Whether nothing is sent to find out how the link does: its network counts packets or air time, or tells itself
        whether it took a packet."""
        return self.unit is not Unit.BYTE or self.acknowledges_handover

    @property
    def tariff(self) -> Tariff:
        """How packets over this link are counted."""
        price = self.cost_per_byte if self.unit is Unit.BYTE else self.cost_per_unit
        return Tariff(self.unit, self.billing_quantum, self.overhead, self.modulation, price)


@dataclass(frozen=True, slots=True)
class Packet:
    """Opaque bytes and the service that they are for (or come from)."""

    data: bytes
    service: Service


@dataclass(frozen=True, slots=True)
class Handover:
    """The network operator has accepted a packet."""

    reference: str
    """The operator's or radio's own number for it, for logs (for example an MOMSN)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens: host name or address, and UDP port 1 to 65535."""

    host: str
    port: int


HintsCallback = Callable[[Hints], None]


class Transport(ABC):
    """Moves packets over one bearer.  The constructor opens nothing.

    A transport is used by one task for sending and one for receiving, at the same time.
    """

    options_type: type[Any] | None = None
    """A frozen `msgspec.Struct` (or dataclass) of this transport's own options, or `None` where it has none."""
    unit: Unit = Unit.BYTE
    """What budgets of links over this transport count; as in its hints."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._hints_callbacks: list[HintsCallback] = []

    @classmethod
    @abstractmethod
    def create(
        cls, *, driver: Driver, bearer: Bearer, endpoints: Mapping[Service, Endpoint], options: Any, clock: Clock
    ) -> Transport:
        """Build one for a bearer that `driver` has just attached; `options` is an `options_type` or `None`.

        Raises `ConfigurationError` where the driver lacks what the transport needs.
        """

    @abstractmethod
    async def open(self) -> None:
        """Get ready to send and receive; raises `TransportBroken` where the bearer does not allow it."""

    @abstractmethod
    async def send(self, packet: Packet) -> Handover | None:
        """Hand one packet to the medium.

        Returns a `Handover` where the operator has accepted it, else `None`: sent, nothing known.  Raises
        `PacketTooLarge`, `NotNow`, `TransportBroken`, `ServiceRefused` or `Closed`.
        """

    @abstractmethod
    async def receive(self) -> Packet:
        """Wait for the next packet.  Raises `TransportBroken`, `ServiceRefused` or `Closed`."""

    def deliver_to(self, on_packet: Callable[[Packet], None] | None) -> None:  # noqa: B027 - may be left as it is
        """Hand packets to `on_packet`, in the event loop, as soon as they come; `None` ends that.

        It spares a change of task for each packet.  A transport that does not has them fetched by `receive`, which tells of
        what came before, of refusals and of the end in any case.  `on_packet` never raises.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close; idempotent; frees everything even when a graceful close fails.  A waiting `receive` raises `Closed`."""

    @property
    def hints(self) -> Hints:
        """What this transport can do right now."""
        return self._hints

    def on_hints(self, callback: HintsCallback) -> Callable[[], None]:
        """Have `callback` called with the new hints at each change; returns a function that ends that."""
        self._hints_callbacks.append(callback)
        return lambda: self._hints_callbacks.remove(callback) if callback in self._hints_callbacks else None

    def set_hints(self, **changes: Any) -> None:
        """For subclasses: change fields of `hints` and announce it where anything did change."""
        new = replace(self._hints, **changes)
        if new != self._hints:
            self._hints = new
            for callback in tuple(self._hints_callbacks):
                callback(new)
