"""Frames of private LoRa: bytes to values and back.

Rules of this file: sans-I/O, no state.  Every frame goes between the hub of a network and one of its nodes, so it names the
network and the node only; a bit says which way it goes.

    byte 0    bits 7-6 version (1), 5-4 kind, 3 from the hub, 2 address of two bytes, 1 flag, 0 zero
    byte 1    network, 1 to 255
    1 or 2    address of the node, 1 to 65535; big-endian, in one byte where it fits
    1         sequence number of the sender
    0 to 247  payload: DATA any, ACK the check of the frame that is acknowledged, POLL nothing
    2         check: low half of CRC-32 (IEEE 802.3) over all before, big-endian

The check is of another kind than the radio's own CRC-16 on purpose: what that lets pass, this one sees.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass

from rataccess.errors import ObjectError

CHECK_BYTES = 2
LARGEST = 255
"""Bytes of a LoRa packet."""
_VERSION = 0x40
_FROM_HUB, _LONG, _FLAG, _ZERO = 0x08, 0x04, 0x02, 0x01


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 0
    ACK = 1
    POLL = 2
    """A node asks whether the hub is there and has something; it is acknowledged like data."""


class FrameError(ObjectError):
    """Not a frame of ours.  `reason` is one of a few words, for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no frame of private LoRa: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    network: int
    address: int
    """Of the node, whichever way the frame goes."""
    sequence: int
    """0 to 255."""
    from_hub: bool
    flag: bool = False
    """From a node: it always listens.  From the hub: there is more for it."""
    payload: bytes = b""

    @property
    def check(self) -> bytes:
        """What an acknowledgement of this frame holds."""
        return encode(self)[-CHECK_BYTES:]

    @property
    def acknowledged(self) -> bool:
        """Whether it is answered."""
        return self.kind is not Kind.ACK


def overhead(address: int) -> int:
    """Bytes around a payload for the node with that address: header and check."""
    return (5 if address > 0xFF else 4) + CHECK_BYTES


ACK_SIZE = overhead(0xFFFF) + CHECK_BYTES
"""Bytes of the largest acknowledgement."""


def encode(frame: Frame) -> bytes:
    """The frame's bytes."""
    long = frame.address > 0xFF
    control = _VERSION | frame.kind << 4 | frame.from_hub * _FROM_HUB | long * _LONG | frame.flag * _FLAG
    head = bytes((control, frame.network)) + frame.address.to_bytes(1 + long, "big") + bytes((frame.sequence,))
    body = head + frame.payload
    return body + _check(body)


def decode(data: bytes) -> Frame:
    """Read a frame.  Raises `FrameError` (`too short`, `too long`, `wrong check`, `other version`, `malformed`)."""
    if len(data) < overhead(0):
        raise FrameError("too short")
    if len(data) > LARGEST:
        raise FrameError("too long")
    body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    if _check(body) != check:
        raise FrameError("wrong check")
    control = body[0]
    if control & 0xC0 != _VERSION:
        raise FrameError("other version")
    width = 2 if control & _LONG else 1
    if control & _ZERO or control >> 4 & 3 == 3 or len(body) < 3 + width:
        raise FrameError("malformed")
    frame = Frame(
        kind=Kind(control >> 4 & 3),
        network=body[1],
        address=int.from_bytes(body[2 : 2 + width], "big"),
        sequence=body[2 + width],
        from_hub=bool(control & _FROM_HUB),
        flag=bool(control & _FLAG),
        payload=body[3 + width :],
    )
    if not _sound(frame, width):
        raise FrameError("malformed")
    return frame


def _sound(frame: Frame, width: int) -> bool:
    """Each value has one form only."""
    sizes = {Kind.DATA: frame.payload != b"", Kind.ACK: len(frame.payload) == CHECK_BYTES, Kind.POLL: not frame.payload}
    address = frame.address > 0xFF if width == 2 else frame.address > 0
    return sizes[frame.kind] and address and frame.network > 0 and not (frame.kind is Kind.POLL and frame.from_hub)


def _check(body: bytes) -> bytes:
    return (zlib.crc32(body) & 0xFFFF).to_bytes(CHECK_BYTES, "big")
