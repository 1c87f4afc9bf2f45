"""Calls as they come in: from a record's body to a row.

Rules of this file: pure.
"""

from __future__ import annotations

import io
from itertools import pairwise

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import decode
from rataccess.wire import MAX_DEPTH, WireRecord

REFUSED = 6
"""Status of an answer: the call is malformed, or one too many."""
MOST_SECONDS = 86_400
"""A call that may take longer is none: what asks for more is given this."""
LONGEST_NAME = 64


def call_row(device: int, record: WireRecord, now: float) -> tuple[int, int, str, bytes, float, int] | None:
    """`device, number, name, body, expires_at, repeatable` of a record of the queue `$calls`, received at `now` (seconds
    since 1970); `None` where it is malformed."""
    try:
        raw = raw_items(record.body, 4)
        name, seconds, repeatable = decode(raw[0]), decode(raw[2]), decode(raw[3])
    except ObjectError:
        return None
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or "\0" in name:
        return None
    if type(seconds) is not int or seconds < 0 or type(repeatable) is not bool:
        return None
    body, made_at = raw[1], now
    if record.captured_at is not None and now - MOST_SECONDS <= record.captured_at < now:
        made_at = record.captured_at  # it has waited; what is older than any call may be was dated by a wrong clock
    return device, record.number, name, body, made_at + min(seconds, MOST_SECONDS), int(repeatable)


def raw_items(body: bytes, count: int) -> list[bytes]:
    """The items of an encoded list of `count` (23 at most), each as the bytes that were sent; raises `ObjectError`.

    Nothing is encoded anew: what refers to itself would grow.
    """
    if body[:1] != bytes((0x80 | count,)):
        raise ObjectError(f"not a list of {count}")
    file = io.BytesIO(body)
    file.seek(1)
    decoder = cbor2.CBORDecoder(file, max_depth=MAX_DEPTH)
    edges = [1]
    try:
        for _ in range(count):
            decoder.decode()
            edges.append(file.tell())
    except Exception as error:  # cbor2 raises many kinds on hostile input
        raise ObjectError("not CBOR") from error
    if edges[-1] != len(body):
        raise ObjectError("more than a list")
    return [body[start:end] for start, end in pairwise(edges)]
