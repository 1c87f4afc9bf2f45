"""The CoAP messages that carry protected ones (RFC 7252 section 3), and the OSCORE option in them (RFC 8613 section 6.1).

Rules of this file: bytes in, values out, no keys.  It reads any CoAP message and any options; it refuses what RFC 7252
calls a message format error, and options that must be understood but are not.  Every refusal is a `ProtectionFailed`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, NoReturn

from rataccess.errors import ObjectError, ProtectionFailed

# Codes: class in the upper three bits, detail in the lower five (RFC 7252 sections 5.8 and 5.9; FETCH: RFC 8132).
POST = 0x02
FETCH = 0x05
CHANGED = 0x44
CONTENT = 0x45
BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
INTERNAL_SERVER_ERROR = 0xA0
SERVICE_UNAVAILABLE = 0xA3

# Types (RFC 7252 section 3).
CONFIRMABLE = 0
NON_CONFIRMABLE = 1
ACKNOWLEDGEMENT = 2
RESET = 3

OSCORE = 9
URI_PATH = 11
_PAYLOAD_MARKER = 0xFF
_MOST_PATH_BYTES = 255  # of one Uri-Path option (RFC 7252 section 5.10)

# Critical options (odd numbers) that may stand outside the protection: Uri-Host and Uri-Port are meant for proxies, and
# the others belong inside, so that RFC 8613 section 8.2 step 2 has the receiver discard what stands outside:
# If-Match, If-None-Match, Uri-Path, Uri-Query, Accept, Block2, Block1.
_DISCARDED = frozenset({1, 3, 5, 7, 11, 15, 17, 23, 27})


class Header(NamedTuple):
    """What anybody can read of a message."""

    kind: Literal["request", "response", "empty", "reset"]
    """`empty` is an empty message: an acknowledgement, or a CoAP ping where it is confirmable."""
    type: int
    """0 confirmable, 1 non-confirmable, 2 acknowledgement, 3 reset."""
    code: int
    token: bytes
    message_id: int
    kid: bytes | None
    """The sender's id, where the message carries it; never authenticated here."""


class Outer(NamedTuple):
    """A message with what is outside the protection; `option` is `None` where it is not protected."""

    type: int
    code: int
    token: bytes
    message_id: int
    option: bytes | None
    payload: bytes


def refuse(why: str) -> NoReturn:
    """Raise `ProtectionFailed`."""
    raise ProtectionFailed(f"{why}; the message was ignored")


def peek(datagram: bytes) -> Header:
    """What anybody can read of a message.

    Raises `ProtectionFailed` for anything but a well-formed CoAP message which is empty or carries an OSCORE option.
    """
    kind, code, token, message_id, option, _ = read_message(datagram)
    if option is None:
        return Header("reset" if kind == RESET else "empty", kind, code, token, message_id, None)
    kid = read_oscore_option(option)[1]
    return Header("request" if code < 32 else "response", kind, code, token, message_id, kid)


def read_message(datagram: bytes) -> Outer:
    """Take a datagram apart: an empty message or one with an OSCORE option; raises `ProtectionFailed` for others."""
    if len(datagram) < 4 or datagram[0] >> 6 != 1:
        refuse("not a CoAP message")
    first, code = datagram[0], datagram[1]
    kind, length = first >> 4 & 3, first & 15
    message_id = datagram[2] << 8 | datagram[3]
    if code == 0:
        if len(datagram) > 4 or length or kind == NON_CONFIRMABLE:
            refuse("a malformed empty CoAP message")
        return Outer(kind, 0, b"", message_id, None, b"")
    if length > 8 or len(datagram) < 4 + length:
        refuse("a malformed CoAP token")
    _check_code(kind, code)
    token = datagram[4 : 4 + length]
    options, payload = read_options(datagram, 4 + length)
    return Outer(kind, code, token, message_id, _oscore(options, payload), payload)


def _check_code(kind: int, code: int) -> None:
    group = code >> 5
    if group not in (0, 2, 4, 5):
        refuse("a reserved CoAP code")
    if kind == RESET or (kind == ACKNOWLEDGEMENT and group == 0):
        refuse("a CoAP code that its type does not allow")


def _oscore(options: list[tuple[int, bytes]], payload: bytes) -> bytes:
    found = None
    for number, value in options:
        if number == OSCORE:
            if found is not None:
                refuse("two OSCORE options")
            found = value
        elif number & 1 and number not in _DISCARDED:
            refuse(f"a critical CoAP option ({number}) that is not understood")
    if found is None:
        refuse("a CoAP message without protection")
    if not payload:
        refuse("a protected message without a payload")
    return found


def read_options(data: bytes, position: int) -> tuple[list[tuple[int, bytes]], bytes]:
    """The options that begin at `position`, in order, as number and value, and the payload behind them."""
    options: list[tuple[int, bytes]] = []
    number, end = 0, len(data)
    while position < end:
        head = data[position]
        position += 1
        if head == _PAYLOAD_MARKER:
            if position == end:
                refuse("a CoAP payload marker without a payload")
            return options, data[position:]
        delta, length = head >> 4, head & 15
        if delta > 12:
            delta, position = _extended(delta, data, position)
        if length > 12:
            length, position = _extended(length, data, position)
        number += delta
        if position + length > end or number > 0xFFFF:
            refuse("a malformed CoAP option")
        options.append((number, data[position : position + length]))
        position += length
    return options, b""


def _extended(nibble: int, data: bytes, position: int) -> tuple[int, int]:
    """An option delta or length that does not fit four bits (RFC 7252 section 3.1), and the position behind it."""
    if nibble == 13 and position < len(data):
        return data[position] + 13, position + 1
    if nibble == 14 and position + 1 < len(data):
        return (data[position] << 8 | data[position + 1]) + 269, position + 2
    refuse("a malformed CoAP option")


def option_bytes(delta: int, value: bytes) -> bytes:
    """One option whose number is `delta` (at most 12) above that of the option before; at most 65 804 bytes of value."""
    length = len(value)
    if length < 13:
        return bytes((delta << 4 | length,)) + value
    if length < 269:
        return bytes((delta << 4 | 13, length - 13)) + value
    return bytes((delta << 4 | 14,)) + (length - 269).to_bytes(2, "big") + value


def read_oscore_option(value: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """Partial IV (empty where absent), kid and kid context (`None` where absent) of an OSCORE option's value."""
    if not value:
        return b"", None, None
    flags = value[0]
    end = 1 + (flags & 7)
    if not flags or flags & 0xE0 or end > 6 or len(value) < end:  # reserved bits, the group flag, reserved lengths
        refuse("a malformed OSCORE option")
    partial_iv, context = value[1:end], None
    if flags & 0x10:
        if len(value) == end or len(value) < end + 1 + value[end]:
            refuse("a malformed OSCORE option")
        context = value[end + 1 : end + 1 + value[end]]
        end += 1 + len(context)
    if flags & 0x08:
        return partial_iv, value[end:], context
    if len(value) > end:
        refuse("a malformed OSCORE option")
    return partial_iv, None, context


def path_options(path: tuple[str, ...]) -> bytes:
    """The Uri-Path options of `path`, first in a message; raises `ObjectError` where a part is too long for one."""
    parts = [part.encode() for part in path]
    if max(map(len, parts)) > _MOST_PATH_BYTES:
        raise ObjectError(f"a part of the path has over {_MOST_PATH_BYTES} bytes")
    return option_bytes(URI_PATH, parts[0]) + b"".join(option_bytes(0, part) for part in parts[1:])


def understand(options: list[tuple[int, bytes]], known: tuple[int, ...]) -> tuple[str, ...]:
    """The Uri-Path among the inner options; refuses critical options (odd numbers) that are not `known`."""
    path = []
    for number, value in options:
        if number in known:
            path.append(_text(value))
        elif number & 1:
            refuse(f"a critical option ({number}) that is not understood")
    return tuple(path)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        refuse("a path that is not UTF-8")
