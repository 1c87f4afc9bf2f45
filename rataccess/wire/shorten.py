"""Objects of plain records with their floats as decimals (docs/wire.md, Short floats): for packets in compact form.

Rules of this file: pure; the bytes of an object come back exactly as they went.  21.6 as a float of 64 bits takes 9 bytes,
as 216 tenths 3.  Items are looked at one after another, whatever stands within what: no recursion, and no object is made.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import cbor2

from rataccess.errors import ObjectError

WHOLE, MOST_PLACES, LITERAL = 0xC6, 4, 0xCB
"""Tags 6 to 10 say that an integer follows which is to be divided by 1, 10 … 10,000; tag 11, which stands before any of
these tags that an object has itself, that what follows means what it says."""
_FLOAT = 0xFB
_SPECIAL, _SHORT = re.compile(rb"[\xc6-\xcb\xfb]"), re.compile(rb"[\xc6-\xcb]")
_ARGUMENTS = {24: 1, 25: 2, 26: 4, 27: 8}
"""Bytes of an argument, by the additional information (RFC 8949 section 3)."""
MOST_SHORTER = 5
"""No object becomes so many times shorter: a float takes 2 bytes at least in place of 9."""
_MOST_WHOLE = 2**32
"""Of a number whose tag and integer take 6 bytes at most."""


def shorten(body: bytes) -> bytes:
    """The CBOR of an object, short."""
    if not _SPECIAL.search(body):
        return body
    pieces = list[bytes]()
    for item in _items(body):
        if item[0] == _FLOAT:
            item = _decimal(item)
        elif WHOLE <= item[0] <= LITERAL:
            item = bytes((LITERAL,)) + item
        pieces.append(item)
    return b"".join(pieces)


def restore(body: bytes) -> bytes:
    """The inverse of `shorten`, for an object that is well-formed CBOR; raises `ObjectError`."""
    if not _SHORT.search(body):
        return body
    pieces, items = list[bytes](), _items(body)
    for item in items:
        if WHOLE <= item[0] < LITERAL:
            item = struct.pack(">Bd", _FLOAT, _integer(next(items, b"")) / 10 ** (item[0] - WHOLE))
        elif item[0] == LITERAL:
            item = next(items, b"")
            if not WHOLE <= (item or b"\0")[0] <= LITERAL:
                raise ObjectError("after tag 11 stands a tag from 6 to 11")
        pieces.append(item)
    return b"".join(pieces)


def _items(body: bytes) -> Iterator[bytes]:
    """Each item's head, with what it holds where that is a string."""
    at = 0
    while at < len(body):
        major, info = body[at] >> 5, body[at] & 31
        end = at + 1 + _ARGUMENTS.get(info, 0)
        if major in (2, 3) and info < 28:
            end += int.from_bytes(body[at + 1 : end], "big") if info > 23 else info
        yield body[at:end]
        at = end


def _decimal(item: bytes) -> bytes:
    """A float as so many whole steps of a power of ten, where that is short and exact; else as it is."""
    value: float = struct.unpack(">d", item[1:])[0]
    if not abs(value) < _MOST_WHOLE:  # NaN too
        return item
    for places in range(MOST_PLACES + 1):
        whole = round(value * 10**places)
        if abs(whole) < _MOST_WHOLE and struct.pack(">d", whole / 10**places) == item[1:]:
            return bytes((WHOLE + places,)) + cbor2.dumps(whole)
    return item


def _integer(item: bytes) -> int:
    if not item or item[0] >> 5 > 1:
        raise ObjectError("after a tag from 6 to 10 stands an integer")
    argument = int.from_bytes(item[1:], "big") if len(item) > 1 else item[0] & 31
    return -1 - argument if item[0] >> 5 else argument
