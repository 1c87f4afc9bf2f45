"""JSON as objects: what people and programs send to devices.

Rules of this file: pure; the inverse of `jsonform.py` for what has an inverse.  docs/services.md has the table.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

from rataccess.errors import ObjectError
from rataccess.objects import Object, decode, encode

DEEPEST = 64
"""Lists and maps within each other."""
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def object_from_json(value: Any) -> Object:
    """The object that `value` (of `json.loads`) says; raises `ObjectError` where it says none."""
    return _object(value, DEEPEST)


def _object(value: Any, depth: int) -> Any:
    if not depth:
        raise ObjectError(f"an object has at most {DEEPEST} lists and maps within each other")
    if isinstance(value, list):
        return [_object(item, depth - 1) for item in value]
    if isinstance(value, dict):
        if any(key.startswith("$") for key in value):
            return _special(value, depth)
        return {_text(key): _object(item, depth - 1) for key, item in value.items()}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ObjectError('JSON has no NaN and no infinity; write {"$float": "nan"}, "inf" or "-inf"')
    return value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ObjectError("a text holds half of a surrogate pair, which is no character") from error
    return value


def _special(value: dict[str, Any], depth: int) -> Any:
    """What JSON has no form for: `{"$bytes": base64}` and its like."""
    [(kind, item), *more] = value.items()
    try:
        if more:
            raise ObjectError(
                f"a map with {kind!r:.40} in it has no other key; a map with such keys is {{'$map': pairs}}"
            )
        match kind, item:
            case "$bytes", str():
                return base64.b64decode(item, validate=True)
            case "$cbor", str():
                return decode(base64.b64decode(item, validate=True))
            case "$float", str():
                return _FLOATS[item]
            case "$integer", str():
                return _integer(item)
            case "$map", list():
                return {_key(_object(key, depth - 1)): _object(one, depth - 1) for key, one in item}
    except (binascii.Error, KeyError, ValueError, TypeError) as error:
        if isinstance(error, ObjectError):
            raise
        raise ObjectError(f"{kind} does not hold what it should; see the table in docs/services.md") from error
    raise ObjectError(f"{kind!r:.40} is not known here; known: $bytes, $cbor, $float, $integer, $map")


def _integer(text: str) -> int:
    if len(text) > 400:
        raise ObjectError("$integer has at most 400 digits")
    return int(text)


def _key(value: Any) -> Any:
    encode(value)
    return value
