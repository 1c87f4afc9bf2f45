"""What a Notecard's bytes mean, before any request is looked at: JSON lines, their checksum, COBS.

Rules of this file: pure functions.  Sources: the Notecard clients note-c and note-python (MIT).  The optional member
`"crc":"SSSS:CCCCCCCC"` stands last: a sequence number and the CRC-32 (IEEE) of the line without that member, both hex.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

_CRC = re.compile(rb'(,?)"crc":"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{8})"\}$')


class LineError(Exception):
    """The line is none; the text is what the Notecard says of it."""


def read(line: bytes) -> tuple[dict[str, Any], int | None]:
    """A line's object without its checksum, and the sequence number (`None` without one); raises `LineError`."""
    found = _CRC.search(line)
    sequence = None
    if found is not None:
        bare = line[: found.start()] + b"}"
        if zlib.crc32(bare) != int(found.group(3), 16):
            raise LineError("request CRC does not match {io}")
        line, sequence = bare, int(found.group(2), 16)
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("cannot interpret JSON: bad request {io}") from error
    if not isinstance(content, dict):
        raise LineError("cannot interpret JSON: a request is an object {io}")
    content.pop("crc", None)
    return content, sequence


def write(content: dict[str, Any], sequence: int | None = None) -> bytes:
    """An object as a line, its end included; with the checksum where there is a sequence number.

    >>> write({"total": 1})
    b'{"total":1}\\r\\n'
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    if sequence is not None:
        comma = b"," if content else b""
        text = text[:-1] + comma + b'"crc":"%04X:%08X"}' % (sequence & 0xFFFF, zlib.crc32(text))
    return text + b"\r\n"


def stuff(data: bytes, end: int = 10) -> bytes:
    """Consistent overhead byte stuffing, each byte XORed with `end`, which so never occurs; without the end itself."""
    out = bytearray()
    for block in _blocks(data):
        out.append((len(block) + 1) ^ end)
        out += bytes(byte ^ end for byte in block)
    return bytes(out)


def _blocks(data: bytes) -> list[bytes]:
    """Runs without a zero, of 254 bytes at most; a full run is not followed by an implied zero."""
    blocks = []
    for part in data.split(b"\0"):
        start = 0
        while len(part) - start >= 254:
            blocks.append(part[start : start + 254])
            start += 254
        blocks.append(part[start:])
    return blocks


def unstuff(data: bytes, end: int = 10) -> bytes:
    """The reverse; raises `LineError` where a block is cut short or begins with zero."""
    out = bytearray()
    at = 0
    zero = False
    while at < len(data):
        code = data[at] ^ end
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1:
            raise LineError("COBS block is cut short {bad-bin}")
        if zero:
            out.append(0)
        out += bytes(byte ^ end for byte in block)
        zero = code != 255
        at += code
    return bytes(out)
