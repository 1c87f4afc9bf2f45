"""What a maker of transports hands to the contract: the far side, and means of sabotage.

Rules of this file: types only.  What only some media can do is a type of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from rataccess.objects import Service
from rataccess.transport import Packet, Transport


class TransportRig(ABC):
    """A medium with its far side, for one test."""

    services: tuple[Service, ...] = tuple(Service)
    """The services that the transports of `build` reach."""

    @abstractmethod
    def build(self) -> Transport:
        """A new transport over the medium, not opened."""

    @abstractmethod
    async def received(self) -> Packet:
        """The next packet that arrives at the far side, with the service that got it."""

    @abstractmethod
    async def answer(self, packet: Packet) -> None:
        """Have that service send these bytes to the device; the service has heard from the device before."""


@runtime_checkable
class BreaksMedium(Protocol):
    """The medium can break."""

    async def break_medium(self) -> None:
        """Make the medium unusable, for good and noticeably (port gone, interface gone)."""
        ...


@runtime_checkable
class HangsMedium(Protocol):
    """The medium can stop to answer without any sign."""

    async def hang_medium(self) -> None:
        """From now on everything vanishes and nothing is answered."""
        ...


@runtime_checkable
class RefusesService(Protocol):
    """The network can tell that nobody listens."""

    async def refuse(self, service: Service) -> None:
        """From now on packets for that service are refused."""
        ...


@runtime_checkable
class ShrinksMtu(Protocol):
    """The largest packet can become smaller while the transport is open."""

    async def shrink_mtu(self, transport: Transport) -> None:
        """Make it smaller; packets of the old size may be needed for the transport to learn of it."""
        ...
