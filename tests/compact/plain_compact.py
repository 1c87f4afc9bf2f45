"""A second reader of the compact form, written from docs/wire.md alone, with the bits and blocks of the other plain reader.

It believes what it is given; what the real one refuses is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from tests.wire.plain_block import Bits, Definition, integers, values

FORMS = {0: (6, 24, 12), 1: (6, 20, 1), 2: (7, 24, 12), 3: (8, 24, 12)}
"""Bytes before the object, bits of the time, hours ahead."""


def head(packet: bytes) -> dict[str, Any]:
    bits = Bits(packet)
    kind, service, flag = bits.take(2), bits.take(1), bits.take(1)
    if kind == 1:
        return {"kind": kind, "service": service, "number": bits.take(44 if flag else 20), "at": bits.at // 8}
    low = bits.take(12)
    own = bits.take(40) if kind == 2 and flag else None
    return {"kind": kind, "service": service, "low": low, "own": own, "at": bits.at // 8}


def nearest(low: int, width: int, to: int) -> int:
    """The number with those lowest bits that is nearest to `to`; of two as near the lower; never below the first."""
    candidates: list[int] = [to // 2**width * 2**width + low + step * 2**width for step in (-1, 0, 1)]
    return min((each for each in candidates if each > 0), key=lambda each: (abs(each - to), each))


def body(packet: bytes, key: bytes, common_iv: bytes, kid: bytes, number: int) -> bytes:
    """What a request protects (RFC 8613 sections 5.2 to 5.4, and `c0`)."""
    partial_iv = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    padded = bytes([len(kid)]) + kid.rjust(7, b"\0") + partial_iv.rjust(5, b"\0")
    nonce = bytes(left ^ right for left, right in zip(common_iv, padded, strict=True))
    external = cbor2.dumps([1, [10], kid, partial_iv, b"\xc0"])
    data = cbor2.dumps(["Encrypt0", b"", external])
    return AESCCM(key, tag_length=8).decrypt(nonce, packet[head(packet)["at"] :], data)


def dense(data: bytes, floor: int, now_ticks: int, definition: Definition | None = None) -> dict[str, Any]:
    """One record or byte range."""
    bits = Bits(data)
    prefix = bits.take(3)
    if prefix == 0b011:
        long = bits.take(1)
        item, offset = bits.take(28 if long else 12), bits.take(24 if long else 16)
        number = item if long else nearest(item, 12, floor)
        return {"number": number, "offset": offset, "body": data[bits.at // 8 :]}
    size, width, hours = FORMS[form := bits.take(2)]
    said: dict[str, Any] = {"urgency": bits.take(2)}
    if prefix == 0b110:
        said["queue_id"] = bits.take(6)
    else:
        said["queue_id"], said["schema"] = bits.take(3) + 8, bits.take(6)
    room = size * 8 - bits.at - width
    item = bits.take(room)
    said["number"] = item if form == 3 else nearest(item, room, floor)
    latest = now_ticks + hours * 360_000
    ticks = bits.take(width)
    said["ticks"] = range(ticks, latest + 1, 2**width)[-1]
    if prefix == 0b110:
        said["value"] = whole_floats(cbor2.loads(data[size:]))
    elif definition is not None:
        [said["value"]] = values(bits, 1, definition)
    return said


PERIODS = [0, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600]


def dense_block(data: bytes, definition: Definition, floor: int, now_ticks: int) -> dict[str, Any]:
    """Two records or more, without a byte string's head."""
    bits = Bits(data)
    assert bits.take(6) == 0b001111

    def one_of(*ranges: tuple[int, int]) -> int:
        passed = 0
        while passed < len(ranges) - 1 and bits.take(1):
            passed += 1
        width, more = ranges[passed]
        return bits.take(width) + more

    said: dict[str, Any] = {"urgency": bits.take(2), "queue": None}
    said["schema"] = one_of((4, 1), (7, 17), (21, 0))
    count = one_of((5, 2), (8, 34), (12, 2))
    before = bits.at
    said["queue_id"] = one_of((2, 8), (5, 12), (16, 0), (16, 0))
    if bits.bits[before : before + 3] == [1, 1, 1]:
        said["queue"] = bytes(bits.take(8) for _ in range(bits.take(8) + 1)).decode()
    width = (8, 12, 16, 28)[bits.take(2)]
    number = bits.take(width)
    if width != 28:
        number = nearest(number, width, floor)
    width, hours = (32, 24) if bits.take(1) else (24, 12)
    first = range(bits.take(width), now_ticks + hours * 360_000 + 1, 2**width)[-1]
    said["numbers"] = [number]
    gaps = integers(bits, count - 1, bits.take(6)) if bits.take(1) else [0] * (count - 1)
    for gap in gaps:
        said["numbers"].append(said["numbers"][-1] + 1 + gap)
    code = bits.take(4)
    period = bits.take(bits.take(5)) if code == 15 else PERIODS[code] * 100
    rests = [0] * (count - 1)
    if bits.take(1):
        width = bits.take(6)
        rests = [rest - 2 ** (width - 1) for rest in integers(bits, count - 1, width, True)]
    said["times"] = [first] + [first + index * period + rest for index, rest in enumerate(rests, start=1)]
    said["values"] = values(bits, count, definition, True)
    bits.align()
    assert bits.at == len(bits.bits)
    return said


def whole_floats(value: Any) -> Any:
    """An object in which short floats are floats again."""
    if isinstance(value, cbor2.CBORTag):
        if 6 <= value.tag <= 10:
            return value.value / 10 ** (value.tag - 6)
        if value.tag == 11:
            return cbor2.CBORTag(value.value.tag, whole_floats(value.value.value))
        return cbor2.CBORTag(value.tag, whole_floats(value.value))
    if isinstance(value, list | tuple):
        return [whole_floats(item) for item in value]
    return {key: whole_floats(item) for key, item in value.items()} if isinstance(value, Mapping) else value
