"""Iridium DirectIP messages as the gateway's side reads and writes them: bytes in, values out, and back.

Rules of this file: no socket, no clock, no queue.  Layouts and numbers follow gadomski/sbd-rs and castelao/DirectIP (all
integers big-endian).  A message is the revision 1, the length of all information elements, and the elements, each of them
an id, a length and a content; their order is free, and unknown ones are passed over.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

REVISION = 1
LONGEST_MT = 1890
"""Bytes of an MT payload element; the radio itself takes 270."""

_MO_HEADER = struct.Struct(">I15sBHHI")
_MT_HEADER = struct.Struct(">I15sH")
_CONFIRMATION = struct.Struct(">I15sIh")
_LOCATION = struct.Struct(">BBHBHI")


class DirectIpError(Exception):
    """The bytes are no DirectIP message of this kind; the message says what is wrong with them."""


class Element(enum.IntEnum):
    """Ids of information elements."""

    MO_HEADER = 0x01
    MO_PAYLOAD = 0x02
    MO_LOCATION = 0x03
    MO_CONFIRMATION = 0x05
    MT_HEADER = 0x41
    MT_PAYLOAD = 0x42
    MT_CONFIRMATION = 0x44
    MT_PRIORITY = 0x46


class Disposition(enum.IntFlag):
    """What the gateway is to do with an MT message besides queueing it (castelao/DirectIP)."""

    FLUSH = 1
    RING_WITHOUT_PAYLOAD = 2
    UPDATE_LOCATION = 8
    HIGH_PRIORITY = 16
    ASSIGN_MTMSN = 32


class MtStatus(enum.IntEnum):
    """Refusals in an MT confirmation; 0 is delivered at once, 1 to 50 the place in the queue."""

    DIRECT = 0
    BAD_IMEI = -1
    UNKNOWN_IMEI = -2
    TOO_LARGE = -3
    NO_PAYLOAD = -4
    QUEUE_FULL = -5
    NO_RESOURCES = -6
    PROTOCOL_ERROR = -7
    RINGS_DISABLED = -8
    NOT_ATTACHED = -9
    ADDRESS_REFUSED = -10
    MTMSN_OUT_OF_RANGE = -11
    CERTIFICATE_REFUSED = -12


@dataclass(frozen=True, slots=True)
class Location:
    """Where the network believes the radio to be: degrees, north and east positive, and the error radius in km."""

    latitude: float
    longitude: float
    cep_km: int

    def encode(self) -> bytes:
        """The content of a location element (11 bytes)."""
        flags = (2 if self.latitude < 0 else 0) | (1 if self.longitude < 0 else 0)
        parts = (*_degrees(self.latitude), *_degrees(self.longitude))
        return _LOCATION.pack(flags, *parts, self.cep_km)

    @classmethod
    def decode(cls, content: bytes) -> Location:
        """Raises `DirectIpError` where it is no 11 bytes."""
        if len(content) != _LOCATION.size:
            raise DirectIpError(f"a location has {_LOCATION.size} bytes, not {len(content)}")
        flags, north, north_minutes, east, east_minutes, cep = _LOCATION.unpack(content)
        latitude, longitude = (north * 60_000 + north_minutes) / 60_000, (east * 60_000 + east_minutes) / 60_000
        return cls(-latitude if flags & 2 else latitude, -longitude if flags & 1 else longitude, cep)


def _degrees(value: float) -> tuple[int, int]:
    thousandths = round(abs(value) * 60_000)
    return divmod(thousandths, 60_000)


@dataclass(frozen=True, slots=True)
class MoMessage:
    """What the gateway delivers of one session."""

    imei: str
    momsn: int
    payload: bytes | None = None
    """`None` where the session carried none (a mailbox check)."""
    mtmsn: int = 0
    time: int = 0
    """Of the session, seconds since 1970."""
    auto_id: int = 0
    status: int = 0
    """0 ok, 1 MT too large, 2 location poor, 10 timeout, 12 MO too large, 13 RF loss, 14 protocol anomaly, 15 barred."""
    location: Location | None = None
    topic: int | None = field(default=None, compare=False)
    """Of an IMT message, which is delivered otherwise: DirectIP has no word for it."""

    def encode(self) -> bytes:
        """The whole message."""
        imei = self.imei.encode("ascii")
        head = _MO_HEADER.pack(self.auto_id, imei, self.status, self.momsn, self.mtmsn, self.time)
        elements = [(Element.MO_HEADER, head)]
        if self.location is not None:
            elements.append((Element.MO_LOCATION, self.location.encode()))
        if self.payload is not None:
            elements.append((Element.MO_PAYLOAD, self.payload))
        return wrap(elements)

    @classmethod
    def decode(cls, data: bytes) -> MoMessage:
        """Raises `DirectIpError`."""
        found = dict(unwrap(data))
        head = found.get(Element.MO_HEADER)
        if head is None or len(head) != _MO_HEADER.size:
            raise DirectIpError("an MO message needs a header of 28 bytes")
        auto_id, imei, status, momsn, mtmsn, time = _MO_HEADER.unpack(head)
        place = found.get(Element.MO_LOCATION)
        location = Location.decode(place) if place is not None else None
        payload = found.get(Element.MO_PAYLOAD)
        return cls(imei.decode("latin-1"), momsn, payload, mtmsn, time, auto_id, status, location)


@dataclass(frozen=True, slots=True)
class MtMessage:
    """What an application asks the gateway to send."""

    imei: str
    payload: bytes | None = None
    client_id: int = 0
    disposition: int = 0
    priority: int | None = None
    """1 to 5; `None` is 5."""

    def encode(self) -> bytes:
        """The whole message."""
        imei = self.imei.encode("latin-1").ljust(15, b" ")[:15]
        elements = [(Element.MT_HEADER, _MT_HEADER.pack(self.client_id, imei, self.disposition))]
        if self.payload is not None:
            elements.append((Element.MT_PAYLOAD, self.payload))
        if self.priority is not None:
            elements.append((Element.MT_PRIORITY, self.priority.to_bytes(2, "big")))
        return wrap(elements)

    @classmethod
    def decode(cls, data: bytes) -> MtMessage:
        """Raises `DirectIpError`."""
        found = dict(unwrap(data))
        head = found.get(Element.MT_HEADER)
        if head is None or len(head) != _MT_HEADER.size:
            raise DirectIpError("an MT message needs a header of 21 bytes")
        client_id, imei, disposition = _MT_HEADER.unpack(head)
        level = found.get(Element.MT_PRIORITY)
        priority = int.from_bytes(level, "big") if level is not None else None
        return cls(imei.decode("latin-1"), found.get(Element.MT_PAYLOAD), client_id, disposition, priority)


@dataclass(frozen=True, slots=True)
class MtConfirmation:
    """The gateway's answer to an MT message."""

    client_id: int
    imei: str
    auto_id: int
    status: int
    """0 delivered at once, 1 to 50 the place in the queue, else an `MtStatus`."""

    def encode(self) -> bytes:
        """The whole message."""
        imei = self.imei.encode("latin-1").ljust(15, b" ")[:15]
        content = _CONFIRMATION.pack(self.client_id, imei, self.auto_id, self.status)
        return wrap([(Element.MT_CONFIRMATION, content)])

    @classmethod
    def decode(cls, data: bytes) -> MtConfirmation:
        """Raises `DirectIpError`."""
        content = dict(unwrap(data)).get(Element.MT_CONFIRMATION)
        if content is None or len(content) != _CONFIRMATION.size:
            raise DirectIpError("an MT confirmation has 25 bytes")
        client_id, imei, auto_id, status = _CONFIRMATION.unpack(content)
        return cls(client_id, imei.decode("latin-1"), auto_id, status)


def wrap(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """Elements as a message; raises `DirectIpError` where they are too long for its lengths of 16 bits."""
    body = bytearray()
    for kind, content in elements:
        if len(content) > 0xFFFF:
            raise DirectIpError(f"an element holds 65535 bytes, not {len(content)}")
        body += bytes([kind]) + len(content).to_bytes(2, "big") + content
    if len(body) > 0xFFFF:
        raise DirectIpError(f"a message holds 65535 bytes, not {len(body)}")
    return bytes([REVISION]) + len(body).to_bytes(2, "big") + bytes(body)


def unwrap(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of exactly one message, in order; raises `DirectIpError`."""
    if len(data) < 3 or data[0] != REVISION:
        raise DirectIpError(
            f"a message begins with revision {REVISION} and a length, not with {data[:3].hex() or 'nothing'}"
        )
    size = int.from_bytes(data[1:3], "big")
    if size == 0 or len(data) != 3 + size:
        raise DirectIpError(f"the length says {size} bytes of elements, and there are {len(data) - 3}")
    offset = 3
    while offset < len(data):
        length = int.from_bytes(data[offset + 1 : offset + 3], "big")
        end = offset + 3 + length
        if offset + 3 > len(data) or end > len(data):
            raise DirectIpError(f"the element at byte {offset} ends beyond the message")
        yield data[offset], data[offset + 3 : end]
        offset = end


def missing(data: bytes) -> int:
    """How many bytes at least are missing to a whole message that begins with `data`; 0 when it is there."""
    if len(data) < 3:
        return 3 - len(data)
    return max(0, 3 + int.from_bytes(data[1:3], "big") - len(data))
