"""Iridium's DirectIP: messages to values and back.

Rules of this file: sans-I/O; bytes and values only.  A message is a revision, the length of what follows, and information
elements in any order, of which unknown ones are skipped.  Sources: castelao/DirectIP and gadomski/sbd-rs; what
neither shows beyond doubt is accepted leniently.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rataccess.errors import ObjectError

REVISION = 1
HEAD = 3
"""Bytes before the elements: revision and length."""
MO_MOST = 4096
"""Bytes of elements that we take: header 28, payload at most 1960 (unverified), location, and room to spare."""
MT_MOST = 1890
"""Bytes of payload in one message to a device; the devices of today take 270."""
_MO_HEADER, _MO_PAYLOAD, _MO_LOCATION, _MO_CONFIRMATION = 0x01, 0x02, 0x03, 0x05
_MT_HEADER, _MT_PAYLOAD, _MT_CONFIRMATION = 0x41, 0x42, 0x44
FLUSH, RING_ONLY = 1, 2
"""Disposition of a message to a device: empty its queue first; a ring alert and nothing else."""
_IMEI = re.compile(rb"^[0-9]{15}$")


@dataclass(frozen=True, slots=True)
class MobileOriginated:
    """What a device sent, or that it had a session without sending anything (`payload` is empty)."""

    imei: str
    session_status: int
    """0 to 2: it went well."""
    momsn: int
    mtmsn: int
    time: int
    """Of the session, seconds since 1970."""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What became of a message to a device."""

    client_id: int
    imei: str
    reference: int
    status: int
    """1 to 50: its place in the device's queue; 0: a ring alert alone, or no payload; negative: an error, see `STATUS`."""


STATUS = {
    -1: ("no valid IMEI", "drop"),
    -2: ("an IMEI that the gateway does not know", "drop"),
    -3: ("too large", "drop"),
    -4: ("a payload was expected", "drop"),
    -5: ("the device's queue is full", "later"),
    -6: ("the gateway has no resources now", "soon"),
    -7: ("a violation of the protocol", "drop"),
    -8: ("ring alerts are switched off for this device", "drop"),
    -9: ("the device is not attached", "drop"),
    -10: ("our address is refused", "later"),
    -11: ("a sequence number out of range", "drop"),
    -12: ("our certificate is refused", "later"),
}
"""Errors in words, and what is done about them: given up, tried again soon, or much later."""


def length_of(head: bytes) -> int:
    """Bytes of elements that follow the first three bytes of a message.  Raises `ObjectError`."""
    revision, length = struct.unpack(">BH", head)
    if revision != REVISION or not 0 < length <= MO_MOST:
        raise ObjectError(f"no DirectIP message: revision {revision}, length {length}")
    return int(length)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        if at + 3 > len(content):
            raise ObjectError("an information element that is cut off")
        kind, length = struct.unpack_from(">BH", content, at)
        at += 3
        if at + length > len(content):
            raise ObjectError(f"information element {kind:#x} says {length} bytes and has {len(content) - at}")
        yield kind, content[at : at + length]
        at += length


def _once(content: bytes, *wanted: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for kind, value in _elements(content):
        if kind in found and kind in wanted:
            raise ObjectError(f"information element {kind:#x} comes twice")
        found[kind] = value
    return found


def decode_mo(content: bytes) -> MobileOriginated:
    """Read the elements of a message from the gateway.  Raises `ObjectError`."""
    found = _once(content, _MO_HEADER, _MO_PAYLOAD)
    header = found.get(_MO_HEADER, b"")
    if len(header) != 28:
        raise ObjectError(f"a header has 28 bytes, this one {len(header)}")
    _, imei, status, momsn, mtmsn, time = struct.unpack(">I15sBHHI", header)
    return MobileOriginated(_imei(imei), status, momsn, mtmsn, time, found.get(_MO_PAYLOAD, b""))


def _imei(text: bytes) -> str:
    if not _IMEI.match(text):
        raise ObjectError("an IMEI has 15 digits")
    return text.decode("ascii")


def mo_confirmation(taken: bool) -> bytes:
    """The answer to a message, where confirmations were agreed."""
    return _message((_MO_CONFIRMATION, bytes([1 if taken else 0])))


def encode_mt(client_id: int, imei: str, payload: bytes, disposition: int = 0) -> bytes:
    """A message to a device; without a payload only where `disposition` says ring alert.  Raises `ObjectError`."""
    if len(payload) > MT_MOST or not (payload or disposition & RING_ONLY):
        raise ObjectError(f"a message to a device has 1 to {MT_MOST} bytes, not {len(payload)}")
    header = struct.pack(">I15sH", client_id, _imei(imei.encode("ascii", "replace")).encode(), disposition)
    return _message((_MT_HEADER, header), *([(_MT_PAYLOAD, payload)] if payload else []))


def decode_confirmation(content: bytes) -> Confirmation:
    """Read the elements of the gateway's answer.  Raises `ObjectError`."""
    found = _once(content, _MT_CONFIRMATION).get(_MT_CONFIRMATION, b"")
    if len(found) != 25:
        raise ObjectError(f"a confirmation has 25 bytes, this one {len(found)}")
    client_id, imei, reference, status = struct.unpack(">I15sIh", found)
    return Confirmation(client_id, imei.decode("latin-1"), reference, status)  # a wrong one comes back as it was


def _message(*elements: tuple[int, bytes]) -> bytes:
    content = b"".join(struct.pack(">BH", kind, len(value)) + value for kind, value in elements)
    return struct.pack(">BH", REVISION, len(content)) + content
