"""The head of a packet in compact form (docs/wire.md, Compact form): two bytes instead of CoAP's header, token and options.

Rules of this file: bytes in, values out, no keys.  What the network says (who the device is) and what never changes
(version, type, code, path) is not there.  Every refusal is a `ProtectionFailed`.
"""

from __future__ import annotations

from typing import NamedTuple

from rataccess.objects import Service
from rataccess.security.coap import refuse
from rataccess.security.derivation import TAG_BYTES

LOW_BITS = 12
"""Bits of a sequence number that a short head tells."""
REACH = 256
"""A short head is used this far beyond the highest number that the peer has proved to have seen: well within the 2048 that
can be told apart, and a peer that has lost its window is deaf for no longer than this.  A whole one costs a byte more."""
SHORT_BYTES, WHOLE_BYTES, LONG_BYTES = 2, 3, 6
"""Of the head of a request with a short Partial IV, with a whole one, and with a whole one from 2^20 on."""
MARK = b"\xc0"
"""Stands in the additional data where RFC 8613 has the class I options: what was protected in one form proves nothing in the
other."""
ERROR = 0x80
"""First byte of the body of an answer that is an error, before the code: an empty array, which no acknowledgement is."""

_SHORT, _WHOLE, _RESPONSE = 0x00, 0x40, 0x80
_KINDS = 0xC0
_SOLUTION = 0x20
_FLAG = 0x10
_LOW = (1 << LOW_BITS) - 1
_LONG_FROM = 2**20
_MOST_SEQUENCE_NUMBER = 2**40 - 1


class CompactHeader(NamedTuple):
    """What anybody can read of a packet in compact form."""

    response: bool
    service: Service
    """Which service it is for, or from."""
    low: int | None
    """The lowest 12 bits of the request's sequence number; `None` where `number` is that number."""
    number: int | None
    """Whole: of a request its sequence number, of a response one of its own, where it has one."""
    start: int
    """Where what is protected begins."""

    def whole(self, highest: int) -> int:
        """The sequence number of a request, by the highest that was seen: the nearest with those lowest bits."""
        if self.low is None:
            assert self.number is not None
            return self.number
        half = 1 << LOW_BITS >> 1
        number = highest + (self.low - highest + half) % (1 << LOW_BITS) - half
        return number if number >= 0 else number + (1 << LOW_BITS)


def read_compact(packet: bytes) -> CompactHeader:
    """The head of `packet`; raises `ProtectionFailed` where there is none, or nothing protected behind it."""
    if len(packet) < SHORT_BYTES + TAG_BYTES:
        refuse("a packet too short for the compact form")
    first = packet[0]
    kind, flag = first & _KINDS, bool(first & _FLAG)
    service = Service.SOLUTION if first & _SOLUTION else Service.MANAGEMENT
    low: int | None = (first & 0x0F) << 8 | packet[1]
    number, start = None, SHORT_BYTES
    if kind == _RESPONSE:
        if flag:
            start = SHORT_BYTES + 5
            number = int.from_bytes(packet[SHORT_BYTES:start], "big")
    elif kind == _WHOLE:
        start = LONG_BYTES if flag else WHOLE_BYTES
        number, low = (first & 0x0F) << 8 * (start - 1) | int.from_bytes(packet[1:start], "big"), None
    elif kind != _SHORT or flag:
        refuse("a packet that is not of the compact form")
    if len(packet) < start + TAG_BYTES or (number or 0) > _MOST_SEQUENCE_NUMBER:
        refuse("a malformed packet in compact form")
    return CompactHeader(kind == _RESPONSE, service, low, number, start)


def head_bytes(number: int, *, short: bool) -> int:
    """Bytes of `request_head`."""
    return SHORT_BYTES if short else WHOLE_BYTES if number < _LONG_FROM else LONG_BYTES


def request_head(service: Service, number: int, *, short: bool) -> bytes:
    """The head of a request with that sequence number."""
    bit = _bit(service)
    if short:
        return bytes((_SHORT | bit | number >> 8 & 0x0F, number & 0xFF))
    if number < _LONG_FROM:
        return bytes((_WHOLE | bit | number >> 16,)) + (number & 0xFFFF).to_bytes(2, "big")
    return bytes((_WHOLE | bit | _FLAG,)) + number.to_bytes(5, "big")


def response_head(service: Service, request: int, own: int | None) -> bytes:
    """The head of a response to the request with that sequence number, with a sequence number of its own or without."""
    head = bytes((_RESPONSE | _bit(service) | (0 if own is None else _FLAG) | request >> 8 & 0x0F, request & 0xFF))
    return head if own is None else head + own.to_bytes(5, "big")


def low_bits(number: int) -> int:
    """What a response tells of its request's sequence number."""
    return number & _LOW


def _bit(service: Service) -> int:
    return _SOLUTION if service is Service.SOLUTION else 0
