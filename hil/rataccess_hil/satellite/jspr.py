"""JSPR, the language of the RockBLOCK 9704: lines in, requests out; answers in, lines out.

Rules of this file: no state of a modem.  Sources: rock7's RockBLOCK-9704 library and its unit tests, and a field report of
a real one.  The host says `GET|PUT <target> {json}` CR, the modem `<code> <target> {json}` CR.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SEGMENT = 1446
"""Most raw bytes of a segment."""
LONGEST_LINE = 4096


class Code(enum.IntEnum):
    """Of an answer."""

    OK = 200
    UNSOLICITED = 299
    NO_VERSION = 400
    BAD_TYPE = 401
    ALREADY_SET = 402
    TOO_LONG = 403
    NO_TARGET = 404
    MALFORMED = 405
    NOT_ALLOWED = 406
    BAD_JSON = 407
    FAILED = 408
    UNAUTHORISED = 409
    NO_SIM = 410
    NOT_PROVISIONED = 418


class Refused(Exception):
    """A request ends with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class JsprRequest:
    """One line of the host."""

    method: str
    target: str
    content: dict[str, Any]


_LINE = re.compile(r"(\S+) (\w+) (\{.*\})\s*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def parse(line: bytes, *, wants_blanks: bool) -> JsprRequest:
    """A line without its CR.  Raises `Refused`: 405 where it is none, 401 for another method, 407 for its JSON.

    `wants_blanks` refuses a PUT the JSON of which lacks a blank after a colon or comma, as a real one was seen to.
    """
    try:
        match = _LINE.fullmatch(line.decode("ascii").strip("\n "))
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise Refused(Code.MALFORMED)
    method, target, text = match.groups()
    if method not in ("GET", "PUT"):
        raise Refused(Code.BAD_TYPE)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(Code.BAD_JSON) from error
    if method == "PUT" and wants_blanks and re.search(r"[:,](?! )", _STRING.sub("", text)):
        raise Refused(Code.BAD_JSON)
    return JsprRequest(method, target, content)


def answer(code: int, target: str, content: dict[str, Any]) -> bytes:
    """A line of the modem, its CR included.

    >>> answer(200, "simConfig", {"interface": "internal"})
    b'200 simConfig {"interface":"internal"}\\r'
    """
    return f"{code} {target} {json.dumps(content, separators=(',', ':'))}\r".encode()


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x1021, beginning with 0, not reflected (XMODEM)."""
    return binascii.crc_hqx(data, 0)


def with_crc(payload: bytes) -> bytes:
    """A message as it is transferred: its CRC follows, big-endian."""
    return payload + crc16(payload).to_bytes(2, "big")


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and length of each segment of a message, its CRC included."""
    for start in range(0, len(data), SEGMENT):
        yield start, min(SEGMENT, len(data) - start)


def unpack(text: Any) -> bytes:
    """Base64 of a segment; raises `Refused` (407) where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise Refused(Code.BAD_JSON) from error
