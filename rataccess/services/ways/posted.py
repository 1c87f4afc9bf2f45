"""What satellite providers post: RockBLOCK's forms and JSON, Cloudloop's "Lingo".

Rules of this file: sans-I/O; bytes in, values out.  Sources: Ground Control's documentation of RockBLOCK (web services) and
of Cloudloop (Lingo MO); that it has the same shape for IMT is unverified, so the packet is looked for leniently.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rataccess.errors import ConfigurationError, ObjectError

_IMEI = re.compile(r"^[0-9]{15}\Z")
_MOST_FIELDS = 64
_TIMES = ("%y-%m-%d %H:%M:%S", "%y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S")
SHORTEST_KEY = 2048
"""Bits of an RSA key that is believed."""


def fields_of(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a form, or of a JSON object.  Raises `ObjectError`."""
    try:
        if content_type == "application/json" or body.lstrip()[:1] == b"{":
            return msgspec.json.decode(body, type=dict[str, Any])
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ObjectError(f"neither a form nor JSON: {type(error).__name__}") from error


def imei_of(fields: Mapping[str, Any]) -> str:
    """The IMEI, as text or number.  Raises `ObjectError`."""
    found = str(fields.get("imei", ""))
    if not _IMEI.match(found):
        raise ObjectError("an IMEI has 15 digits")
    return found


def hex_of(value: object) -> bytes:
    """Bytes in hexadecimal, with or without blanks.  Raises `ObjectError`."""
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError as error:
        raise ObjectError("data that is not hexadecimal") from error


def time_of(value: object) -> float | None:
    """Seconds since 1970 of `yy-mm-dd hh:mm:ss`, the same with four digits or as ISO 8601 has it; else `None`."""
    if not isinstance(value, str):
        return None
    for form in _TIMES:
        try:
            return datetime.strptime(value.strip(), form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    try:
        found = datetime.fromisoformat(value.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# --- Cloudloop --------------------------------------------------------------------------------------------------------


def lingo_time(value: object) -> float | None:
    """Seconds since 1970 of a table of year, month ..., of which those that are zero may be missing."""
    if not isinstance(value, dict):
        return None
    try:
        parts = [int(value.get(name, low)) for name, low in _PARTS]
        return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]
    except (ValueError, TypeError, OverflowError):
        return None


_PARTS = (("year", 0), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0), ("second", 0))


def table(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The table within tables that `names` lead to; an empty one where there is none."""
    value: Any = found
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def base64_of(value: object) -> bytes:
    """Bytes in base64.  Raises `ObjectError`."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError) as error:
        raise ObjectError("a message that is no base64") from error


# --- JSON Web Tokens --------------------------------------------------------------------------------------------------


def read_public_key(data: bytes, key: str) -> RSAPublicKey:
    """The key of a PEM file.  Raises `ConfigurationError`, which names `key`."""
    try:
        found = load_pem_public_key(data)
    except ValueError as error:
        raise ConfigurationError(f"{key}: no public key in PEM") from error
    if not isinstance(found, RSAPublicKey) or found.key_size < SHORTEST_KEY:
        raise ConfigurationError(f"{key}: allowed: an RSA key of at least {SHORTEST_KEY} bits")
    return found


def claims_of(token: object, public_key: RSAPublicKey) -> dict[str, Any]:
    """What a JWT says that was signed with RS256 (RFC 7515 section 5.2, RFC 7518 section 3.3).  Raises `ObjectError`."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:
        raise ObjectError("no JSON Web Token")
    head, signature = _json(parts[0]), _base64url(parts[2])
    if head.get("alg") != "RS256":
        raise ObjectError("a JSON Web Token that is not signed with RS256")
    try:
        public_key.verify(signature, f"{parts[0]}.{parts[1]}".encode(), PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise ObjectError("a JSON Web Token with a wrong signature") from error
    return _json(parts[1])


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise ObjectError("a JSON Web Token that is no base64") from error


def _json(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_base64url(text), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ObjectError("a JSON Web Token without JSON") from error
