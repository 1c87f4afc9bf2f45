"""Packets as binary notes of a Blues Notecard.

Rules of this file: the unit and nothing else; the packet's first byte names the service (see `messages`).
"""

from __future__ import annotations

from rataccess.tariff import Unit
from rataccess_transports.messages import MessageTransport


class NotecardTransport(MessageTransport):
    """One note for each packet; what is billed is notes, or bytes where the driver's options say so."""

    medium = "notecard"
    unit = Unit.MESSAGE
