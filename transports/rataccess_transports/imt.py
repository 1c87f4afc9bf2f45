"""Packets as Iridium messages (IMT).

Rules of this file: the unit and nothing else; the packet's first byte names the service (see `messages`).
"""

from __future__ import annotations

from rataccess.tariff import Unit
from rataccess_transports.messages import MessageTransport


class ImtTransport(MessageTransport):
    """One message for each packet."""

    medium = "imt"
    unit = Unit.CREDIT
