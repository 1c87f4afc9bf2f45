"""Relay frames: a packet, and which network calls its device what, in one UDP datagram.

Rules of this file: sans-I/O; bytes and values only.  "RA" and version 1, then a CBOR array of kind, name, packet and, where
the sender has more to say, a map.  A frame proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rataccess.errors import ObjectError
from rataccess.objects import decode as decode_object
from rataccess.objects import encode as encode_object

HEAD = b"RA\x01"
KINDS = ("lora", "deveui", "imei", "notecard")
LARGEST = 65_000
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class RelayFrame:
    """What a relay heard from a device, or is to send to one."""

    kind: str
    """One of `KINDS`."""
    name: str
    """Lower case."""
    data: bytes
    told: dict[str, Any] = field(default_factory=dict)
    """`link` (text), `room` (bytes of the largest packet back), `dear`, `unasked` (booleans), `heard_at` (seconds since
    1970): what an `Airway` says; all may be missing."""


def decode(datagram: bytes) -> RelayFrame:
    """Read a datagram.  Raises `ObjectError`."""
    if not datagram.startswith(HEAD):
        raise ObjectError("no relay frame")
    found = decode_object(datagram[len(HEAD) :])
    if not isinstance(found, list) or not 3 <= len(found) <= 4:
        raise ObjectError("a relay frame is an array of three or four")
    kind, name, data, *more = found
    if kind not in KINDS or not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ObjectError("a relay frame names kind and device")
    if not isinstance(data, bytes) or not data:
        raise ObjectError("a relay frame holds a packet")
    return RelayFrame(kind, name.lower(), data, _told(more[0]) if more else {})


def _told(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ObjectError("what a relay frame tells besides is a map")
    return {name: found[name] for name, fits in _FITS.items() if name in found and fits(found[name])}


_FITS: dict[str, Callable[[Any], bool]] = {
    "link": lambda value: isinstance(value, str) and 1 <= len(value) <= _LONGEST_NAME and value.isprintable(),
    "room": lambda value: type(value) is int and 16 <= value <= LARGEST,
    "dear": lambda value: isinstance(value, bool),
    "unasked": lambda value: isinstance(value, bool),
    "heard_at": lambda value: type(value) in (int, float) and math.isfinite(value),
}


def encode(frame: RelayFrame) -> bytes:
    """The datagram."""
    more = [frame.told] if frame.told else []
    return HEAD + encode_object([frame.kind, frame.name, frame.data, *more])
