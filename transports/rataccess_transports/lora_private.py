"""Packets as messages of private LoRa: the packet's first byte names the service.

Rules of this file: what differs from other radios that move messages; any driver that does.
"""

from __future__ import annotations

from rataccess.tariff import Unit
from rataccess_transports.messages import MessageTransport


class LoraPrivateTransport(MessageTransport):
    """One message for each packet; the hub passes it on to the service."""

    medium = "lora_private"
    unit = Unit.AIRTIME
