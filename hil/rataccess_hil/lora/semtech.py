"""The Semtech UDP protocol between packet forwarder and network server, version 2: datagrams to fields and back.

Rules of this file: no socket, no time.  Source: Lora-net/packet_forwarder, PROTOCOL.TXT.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
_WITH_GATEWAY = (PUSH_DATA, PULL_DATA, TX_ACK)
VERSION = 2


class BadDatagram(ValueError):
    """No datagram of this protocol."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram."""

    kind: int
    token: int
    gateway: int | None = None
    """EUI-64."""
    body: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def encode(self) -> bytes:
        """The bytes."""
        head = bytes([self.version]) + self.token.to_bytes(2) + bytes([self.kind])
        head += self.gateway.to_bytes(8) if self.gateway is not None and self.kind in _WITH_GATEWAY else b""
        return head + (json.dumps(self.body, separators=(",", ":")).encode() if self.body else b"")


def decode(data: bytes) -> Datagram:
    """Read a datagram; raises `BadDatagram`."""
    if len(data) < 4:
        raise BadDatagram("too short")
    version, kind = data[0], data[3]
    if version not in (1, 2):
        raise BadDatagram(f"version {version}")
    if kind > TX_ACK:
        raise BadDatagram(f"unknown identifier {kind}")
    at = 12 if kind in _WITH_GATEWAY else 4
    if len(data) < at:
        raise BadDatagram("no gateway identifier")
    body: Any = {}
    if len(data) > at:
        try:
            body = json.loads(data[at:])
        except (ValueError, RecursionError) as error:
            raise BadDatagram(f"no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadDatagram("no JSON object")
    gateway = int.from_bytes(data[4:12]) if at == 12 else None
    return Datagram(kind, int.from_bytes(data[1:3]), gateway, body, version)


def encode_bytes(data: bytes) -> str:
    """Payload as forwarders send it: padded standard base64."""
    return base64.b64encode(data).decode()


def decode_bytes(text: str) -> bytes:
    """Payload in any form that has been seen: padded or not, standard or URL-safe.  Raises `BadDatagram`."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise BadDatagram(f"no base64: {error}") from error


def split_datr(text: Any) -> tuple[int, int]:
    """`SF7BW125` to 7 and 125,000; raises `BadDatagram`."""
    found = re.fullmatch(r"SF(5|6|7|8|9|10|11|12)BW(125|250|500)", text) if isinstance(text, str) else None
    if found is None:
        raise BadDatagram(f"no LoRa data rate: {text!r}")
    return int(found[1]), int(found[2]) * 1000
