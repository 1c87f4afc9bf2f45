"""The Notecard's language, sans-I/O: JSON objects in lines, with a CRC as their last member, and error tags in braces.

Rules of this file: bytes in, values out; no port, no clock.  Any bytes at all are survived in bounded memory.

Sources: blues/note-c and note-python (line ends, CRC member, retries), notecard-schema (requests), the Notecard's published
list of error codes.
"""

from __future__ import annotations

import enum
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

LINE_LIMIT = 65_536
"""Bytes of a reply; the longest hold a payload of some kB in base64."""
_CRC = re.compile(rb'[,{]\s*"crc"\s*:\s*"([0-9A-Fa-f]{1,8}):([0-9A-Fa-f]{1,8})"\s*\}\s*$')
_TAG = re.compile(r"\{([a-z0-9][a-z0-9-]*)\}")


class SpoiltReply(ValueError):
    """A reply that is no JSON object, or whose CRC or sequence number is wrong."""


def encode(request: Mapping[str, Any], sequence: int | None = None) -> bytes:
    """A request without its line end; with a CRC where `sequence` (0 to 65535) is given."""
    text = json.dumps(request, separators=(",", ":")).encode()
    if sequence is None:
        return text
    comma = b"," if len(text) > 2 else b""
    return text[:-1] + comma + b'"crc":"%04X:%08X"}' % (sequence & 0xFFFF, zlib.crc32(text))


def decode(line: bytes, sequence: int | None = None, *, must_have_crc: bool = False) -> tuple[dict[str, Any], bool]:
    """The reply, and whether it had a CRC.

    Raises `SpoiltReply`; also where the sequence number is not that of the request: then it is another one's reply.
    """
    line = line.strip()
    found = _CRC.search(line)
    if found is not None:
        start = found.start() + (line[found.start() : found.start() + 1] == b"{")
        bare = line[:start] + b"}"
        if zlib.crc32(bare) != int(found[2], 16):
            raise SpoiltReply("the CRC of the reply is wrong")
        if sequence is not None and int(found[1], 16) != sequence & 0xFFFF:
            raise SpoiltReply("the reply belongs to another request")
        line = bare
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SpoiltReply(f"{line[:40]!r} is no JSON") from error
    if not isinstance(reply, dict):
        raise SpoiltReply(f"{line[:40]!r} is no JSON object")
    if found is None and must_have_crc and "err" not in reply:  # what it did not understand it answers without one
        raise SpoiltReply("the reply has lost its CRC")
    return reply, found is not None


class LineReader:
    """Lines from bytes; what is too long is dropped to its end."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._overflow = False

    def receive(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends; an empty one is a line too."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if self._overflow and lines:
            del lines[0]
            self._overflow = False
        if len(rest) > LINE_LIMIT:
            self._overflow, rest = True, bytearray()
        self._rest = bytearray(rest)
        return [bytes(line).rstrip(b"\r") for line in lines if len(line) <= LINE_LIMIT]

    def drop(self) -> None:
        """What has come so far belongs to nothing."""
        self._rest.clear()
        self._overflow = False


# --- errors -----------------------------------------------------------------------------------------------------------


class Trouble(enum.StrEnum):
    """What follows from an error."""

    SPOILT = "the request did not arrive whole: ask again"
    NOTHING = "there is no such note or file"
    UNSUPPORTED = "this Notecard cannot do that"
    SETTINGS = "somebody has to change something"
    NO_NETWORK = "there is no network now"
    FULL = "the Notecard's storage is full"
    OTHER = "an error without a name here"


TAGS: dict[str, Trouble] = {
    "io": Trouble.SPOILT,
    "heartbeat": Trouble.SPOILT,
    "note-noexist": Trouble.NOTHING,
    "file-noexist": Trouble.NOTHING,
    "template-noexist": Trouble.NOTHING,
    "not-supported": Trouble.UNSUPPORTED,
    "product-noexist": Trouble.SETTINGS,
    "no-ntn-module": Trouble.SETTINGS,
    "device-disabled": Trouble.SETTINGS,
    "auth": Trouble.SETTINGS,
    "template-incompatible": Trouble.SETTINGS,
    "network": Trouble.NO_NETWORK,
    "network-down": Trouble.NO_NETWORK,
    "registration-failure": Trouble.NO_NETWORK,
    "extended-network-failure": Trouble.NO_NETWORK,
    "extended-service-failure": Trouble.NO_NETWORK,
    "no-cell": Trouble.NO_NETWORK,
    "storage-full": Trouble.FULL,
    "file-full": Trouble.FULL,
}
"""Tags that mean something to the driver; `ntn-idle` and other states are no errors."""


def tags(text: object) -> list[str]:
    """The tags in a status or error text."""
    return _TAG.findall(text) if isinstance(text, str) else []


def trouble(text: object) -> Trouble:
    """What an error text means.  What is not supported is not asked again, even where `{io}` stands beside it."""
    found = [TAGS[tag] for tag in tags(text) if tag in TAGS]
    if Trouble.UNSUPPORTED in found:
        return Trouble.UNSUPPORTED
    return found[0] if found else Trouble.OTHER
