"""Packets as Iridium SBD messages.

Rules of this file: the unit and nothing else; the packet's first byte names the service (see `messages`).
"""

from __future__ import annotations

from rataccess.tariff import Unit
from rataccess_transports.messages import MessageTransport


class SbdTransport(MessageTransport):
    """One session for each packet; what it costs is credits of 50 bytes started."""

    medium = "sbd"
    unit = Unit.CREDIT
