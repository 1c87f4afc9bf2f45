"""IPv4, UDP and ICMP as far as an access point needs them: sans-I/O.

Rules of this file: bytes in, values out, and back.  Sources: RFC 791 (IPv4), RFC 768 (UDP), RFC 792 (ICMP), RFC 1191
section 4 (ICMP fragmentation needed), RFC 1071 (checksum).  IPv6, fragments and other protocols are not carried.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_ICMP = struct.Struct("!BBHHH")
_DONT_FRAGMENT, _FRAGMENT = 0x4000, 0x3FFF
_QUOTED = 8
"""Bytes after the IP header that an ICMP error quotes (RFC 792): the UDP header."""

PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
ADMINISTRATIVELY_PROHIBITED = 13


class NotCarried(ValueError):
    """A packet that is neither IPv4 nor UDP, or a fragment: nothing is wrong with it."""


class Malformed(ValueError):
    """A packet whose lengths or checksums are wrong."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram with its addresses."""

    source: tuple[str, int]
    destination: tuple[str, int]
    data: bytes


def parse(packet: bytes) -> Datagram:
    """The datagram that an IPv4 packet holds; raises `NotCarried` or `Malformed`."""
    if not packet or packet[0] >> 4 != 4:
        raise NotCarried("not IPv4")
    if len(packet) < _IP.size:
        raise Malformed("shorter than an IPv4 header")
    first, _, total, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(packet)
    header = (first & 15) * 4
    if not _IP.size <= header <= total <= len(packet) or checksum(packet[:header]):
        raise Malformed("IPv4 header")
    if protocol != socket.IPPROTO_UDP or fragment & _FRAGMENT:
        raise NotCarried("not a whole UDP datagram")
    body = packet[header:total]
    if len(body) < _UDP.size:
        raise Malformed("shorter than a UDP header")
    source_port, destination_port, length, given = _UDP.unpack_from(body)
    if not _UDP.size <= length <= len(body) or (
        given and checksum(_pseudo(source, destination, length) + body[:length])
    ):
        raise Malformed("UDP header")
    return Datagram(
        (socket.inet_ntoa(source), source_port),
        (socket.inet_ntoa(destination), destination_port),
        body[_UDP.size : length],
    )


def build(datagram: Datagram) -> bytes:
    """The IPv4 packet that holds a datagram."""
    source, destination = (socket.inet_aton(host) for host, _ in (datagram.source, datagram.destination))
    length = _UDP.size + len(datagram.data)
    unsummed = _UDP.pack(datagram.source[1], datagram.destination[1], length, 0) + datagram.data
    # A sum of 0 means "none" on the wire; `checksum` gives 0xffff in its place where there is any data (RFC 768).
    summed = checksum(_pseudo(source, destination, length) + unsummed) or 0xFFFF
    return _ip(socket.IPPROTO_UDP, source, destination, unsummed[:6] + struct.pack("!H", summed) + datagram.data)


def unreachable(packet: bytes, code: int, *, mtu: int = 0, reporter: str | None = None) -> bytes:
    """The ICMP "destination unreachable" with which `reporter` (or the destination) answers a valid IPv4 `packet`."""
    source, destination = packet[12:16], packet[16:20]
    quoted = packet[: (packet[0] & 15) * 4 + _QUOTED]
    message = _ICMP.pack(3, code, 0, 0, mtu) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return _ip(socket.IPPROTO_ICMP, socket.inet_aton(reporter) if reporter else destination, source, message)


def dont_fragment(packet: bytes) -> bool:
    """Whether a valid IPv4 packet has its DF bit set."""
    return bool(int.from_bytes(packet[6:8], "big") & _DONT_FRAGMENT)


def checksum(data: bytes) -> int:
    """The internet checksum of `data`; 0 for data that contains its own, right one.

    The ones' complement sum of 16-bit words is their value as one number modulo 65535.
    """
    value = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return 0xFFFF - (value % 0xFFFF or (0xFFFF if value else 0))


def _ip(protocol: int, source: bytes, destination: bytes, body: bytes) -> bytes:
    header = _IP.pack(0x45, 0, _IP.size + len(body), 0, _DONT_FRAGMENT, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def _pseudo(source: bytes, destination: bytes, length: int) -> bytes:
    return source + destination + struct.pack("!HH", socket.IPPROTO_UDP, length)
