"""What a link tells, and to whom.

Rules of this file: types only.  A listener is called from within the event loop, at the moment of the change; it must
not block.  What it raises is logged and goes no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rataccess.driver import Evidence
from rataccess.objects import Service
from rataccess.transport import Packet

if TYPE_CHECKING:
    from rataccess.link.link import Link


@dataclass(frozen=True, slots=True)
class LinkChange:
    """One change of a link.

    `old` and `new` are equal where the evidence stayed and only readiness (`Link.ready`) or faultiness changed.
    """

    old: Evidence
    new: Evidence
    cause: str
    """One line for people."""
    at: float
    """Monotonic seconds."""


class LinkListener(Protocol):
    """Who supervises the links: the access floor, or a test."""

    def link_changed(self, link: Link, change: LinkChange) -> None:
        """Evidence, readiness or faultiness changed.  `link` already shows the new values."""
        ...

    def packet_received(self, link: Link, packet: Packet) -> None:
        """A packet came in."""
        ...

    def service_refused(self, link: Link, service: Service) -> None:
        """The path works and nobody listens at the service's address."""
        ...

    def hints_changed(self, link: Link) -> None:
        """`link.hints` has a new value."""
        ...

    def charged(self, link: Link, units: int) -> None:
        """The radio used so many of its network's units besides those of packets."""
        ...

    def recovery_finished(self, link: Link, step: str, seconds: float, ok: bool) -> None:
        """The recovery ladder ended after the rung `step`: attached again (`ok`), or faulty.

        `seconds` count from the first sign of trouble: the first doubt that no answer has removed since, else the moment
        when the link failed.
        """
        ...
