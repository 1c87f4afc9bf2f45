"""Relay frames: a packet and its node's name, in one UDP datagram between a bridge and a service (docs/services.md).

Rules of this file: sans-I/O; bytes and values.  "RA" and version 1, then a CBOR array of kind (`lora`), name, packet and a
map of what else there is to say.  A frame proves nothing: the packet in it does.
"""

from __future__ import annotations

from rataccess.errors import ObjectError
from rataccess.objects import Service, decode, encode

HEAD = b"RA\x01"
KIND = "lora"
_SERVICE_BIT, _RESERVED = 0x20, 0xC0


def node_name(network: int, address: int) -> str:
    """What a service's key file calls the node (`identities`): six hex digits."""
    return f"{network:02x}{address:04x}"


def to_service(
    network: int, address: int, data: bytes, *, room: int, unasked: bool, heard_at: float | None = None
) -> bytes:
    """A packet of a node; `room` is the largest packet back, `unasked` whether the node always listens, `heard_at` when the
    packet came (seconds since 1970), where that is known.
    """
    told: dict[str, object] = {"room": room, "unasked": unasked}
    if heard_at is not None:
        told["heard_at"] = heard_at
    return HEAD + encode([KIND, node_name(network, address), data, told])


def from_service(datagram: bytes, network: int) -> tuple[int, bytes]:
    """The node's address, and the packet for it.  Raises `ObjectError` for anything else."""
    if not datagram.startswith(HEAD):
        raise ObjectError("no relay frame")
    found = decode(datagram[len(HEAD) :])
    if not isinstance(found, list) or len(found) < 3 or found[0] != KIND:
        raise ObjectError("no relay frame for private LoRa")
    name, data = found[1], found[2]
    if not isinstance(name, str) or not isinstance(data, bytes) or not data:
        raise ObjectError("a relay frame names a node and holds a packet")
    try:
        address = int(name, 16) & 0xFFFF
    except ValueError as error:
        raise ObjectError("a relay frame's name is six hex digits") from error
    if not address or name != node_name(network, address):
        raise ObjectError("a relay frame for another network")
    return address, data


def named_service(packet: bytes) -> Service | None:
    """The service that a packet in compact form names in its first byte; `None` for anything else."""
    if not packet or packet[0] & _RESERVED == _RESERVED:
        return None
    return Service.SOLUTION if packet[0] & _SERVICE_BIT else Service.MANAGEMENT
