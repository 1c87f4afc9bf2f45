"""What the kernel's messages about interfaces and addresses say: sans-I/O.

Rules of this file: bytes in, values out; no socket.  Of each message only what `view` folds is read, so that nothing of
pyroute2 is needed, any import of which costs 13 MB (docs/decisions/0006-netlink.md); the tests hold the two against each
other.  Any bytes are survived: what is cut short or contradicts itself ends the datagram, what is unknown is passed over.

Sources: netlink(7), rtnetlink(7), linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.  All numbers are
in the byte order of the host.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rataccess_drivers.ip.view import OPERSTATE_UNKNOWN, AddressGone, AddressSeen, Event, LinkGone, LinkSeen

ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
NEWLINK, DELLINK, GETLINK, NEWADDR, DELADDR, GETADDR = 16, 17, 18, 20, 21, 22  # RTM_...
REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST, NLM_F_DUMP
DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: the answer mixes two states

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_REQUEST = struct.Struct("=IHHIIB3x")  # nlmsghdr and rtgenmsg
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_NUMBER = struct.Struct("=I")
_ERROR_NUMBER = struct.Struct("=i")
_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_IFNAME, _MTU, _OPERSTATE, _CARRIER = 3, 4, 16, 33  # IFLA_...
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_FAMILIES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
"""Those with addresses for us, and the bytes that an address of theirs has."""
_OPERSTATES = (OPERSTATE_UNKNOWN, "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")  # RFC 2863


class Damaged(ValueError):
    """A datagram that is not what the kernel sends."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a datagram."""

    kind: int
    flags: int
    sequence: int
    body: bytes

    @property
    def error(self) -> int:
        """Of an `ERROR`: the error number, positive; 0 where it says that all is well."""
        return abs(_ERROR_NUMBER.unpack_from(self.body)[0]) if len(self.body) >= _ERROR_NUMBER.size else 0


def dump_request(kind: int) -> bytes:
    """Have everything of `kind` (`GETLINK`, `GETADDR`) told; the answers' sequence number is `kind`."""
    return _REQUEST.pack(_REQUEST.size, kind, REQUEST_DUMP, kind, 0, socket.AF_UNSPEC)


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram; raises `Damaged` after those that can be read."""
    position = 0
    while position < len(data):
        if len(data) - position < _HEADER.size:
            raise Damaged(f"{len(data) - position} bytes are left, too few for a message")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            raise Damaged(f"a message of {length} bytes where {len(data) - position} are left")
        yield Message(kind, flags, sequence, data[position + _HEADER.size : position + length])
        position += _aligned(length)


def event(message: Message) -> Event | None:
    """What `message` says, where it says something for us; raises `Damaged`."""
    if message.kind in (NEWLINK, DELLINK):
        return _link(message)
    return _address(message) if message.kind in (NEWADDR, DELADDR) else None


def _link(message: Message) -> LinkSeen | LinkGone | None:
    family, _, index, flags, _ = _fixed(_LINK, message)
    if family != socket.AF_UNSPEC:  # a bridge tells of its ports with AF_BRIDGE
        return None
    if message.kind == DELLINK:
        return LinkGone(index)
    found = _attributes(message.body, _LINK.size)
    name = found.get(_IFNAME, b"").partition(b"\0")[0].decode(errors="replace")
    operstate = found.get(_OPERSTATE, b"\0")[:1] or b"\0"
    word = _OPERSTATES[operstate[0]] if operstate[0] < len(_OPERSTATES) else OPERSTATE_UNKNOWN
    mtu = found.get(_MTU)
    return LinkSeen(index, name, flags, any(found.get(_CARRIER, b"")), word, None if mtu is None else _number(mtu))


def _address(message: Message) -> AddressSeen | AddressGone | None:
    family, _, short_flags, scope, index = _fixed(_ADDRESS, message)
    found = _attributes(message.body, _ADDRESS.size)
    raw = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)  # the latter is the peer's, on point-to-point links
    if raw is None or _FAMILIES.get(family) != len(raw):
        return None
    address = socket.inet_ntop(family, raw)
    if message.kind == DELADDR:
        return AddressGone(index, address)
    flags = found.get(_IFA_FLAGS)
    return AddressSeen(index, address, scope, short_flags if flags is None else _number(flags))


def _fixed(layout: struct.Struct, message: Message) -> tuple[int, ...]:
    if len(message.body) < layout.size:
        raise Damaged(f"a message of type {message.kind} with a body of {len(message.body)} bytes")
    return layout.unpack_from(message.body)


def _attributes(body: bytes, position: int) -> dict[int, bytes]:
    """The attributes from `position` on; of equal ones the first counts."""
    found: dict[int, bytes] = {}
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if not _ATTRIBUTE.size <= length <= len(body) - position:
            raise Damaged(f"an attribute of {length} bytes where {len(body) - position} are left")
        found.setdefault(kind & _TYPE, body[position + _ATTRIBUTE.size : position + length])
        position += _aligned(length)
    return found


def _number(raw: bytes) -> int:
    if len(raw) != _NUMBER.size:
        raise Damaged(f"a number of {len(raw)} bytes")
    number: int = _NUMBER.unpack(raw)[0]
    return number


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN, NLA_ALIGN
