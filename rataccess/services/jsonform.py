"""Objects as JSON, for the lines that a solution service forwards.

Rules of this file: pure.  Any CBOR ends in JSON that says what it was; bytes that are no CBOR, or would grow many times
(shared references), end in `{"$cbor": base64}`.  docs/services.md has the table.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import decode

_LARGEST = 2**63
"""Whole numbers from here on are text in JSON: most readers have 64 bits."""


class _TooMuch(Exception):
    """The object has more parts than its bytes can hold."""


def body_as_json(body: bytes) -> str:
    """The encoded object `body` as one line of JSON; never fails, never much longer than some times `body`."""
    try:
        converted = _Converter(2 * len(body) + 64).convert(decode(body))
        return json.dumps(converted, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ObjectError, _TooMuch, ValueError, TypeError, RecursionError, OverflowError):
        return json.dumps({"$cbor": _base64(body)}, separators=(",", ":"))


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC with milliseconds; `None` for a time that nobody knows."""
    if seconds is None:
        return None
    return _iso(datetime.fromtimestamp(round(seconds, 3), UTC))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Converter:
    """Each encoded item and each character takes a byte at least: what needs more than `budget` refers to itself."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def convert(self, value: Any) -> Any:
        self._spend(1)
        for kind, method in _METHODS:
            if isinstance(value, kind):
                return method(self, value)
        if value is cbor2.undefined:
            return {"$undefined": True}
        raise TypeError

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise _TooMuch

    def _plain(self, value: Any) -> Any:
        return value

    def _text(self, value: str) -> str:
        self._spend(len(value))
        return value.encode("utf-8", "replace").decode()  # a lone surrogate has no place in a file of UTF-8

    def _integer(self, value: int) -> Any:
        self._spend(value.bit_length() // 8)
        return value if -_LARGEST <= value < _LARGEST else {"$integer": str(value)}

    def _float(self, value: float) -> Any:
        if math.isfinite(value):
            return value
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}

    def _bytes(self, value: bytes) -> Any:
        self._spend(len(value))
        return {"$bytes": _base64(value)}

    def _list(self, value: Any) -> list[Any]:
        return [self.convert(item) for item in value]

    def _set(self, value: Any) -> Any:
        return {"$set": self._list(value)}

    def _map(self, value: Mapping[Any, Any]) -> Any:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {self._text(key): self.convert(item) for key, item in value.items()}
        return {"$map": [[self.convert(key), self.convert(item)] for key, item in value.items()]}

    def _datetime(self, value: datetime) -> str:
        return _iso(value)

    def _date(self, value: date) -> str:
        return value.isoformat()

    def _decimal(self, value: Decimal) -> Any:
        return {"$decimal": str(value)}

    def _fraction(self, value: Fraction) -> Any:
        return {"$fraction": [self._integer(value.numerator), self._integer(value.denominator)]}

    def _tag(self, value: cbor2.CBORTag) -> Any:
        return {"$tag": value.tag, "value": self.convert(value.value)}

    def _simple(self, value: cbor2.CBORSimpleValue) -> Any:
        return {"$simple": value.value}


_METHODS: tuple[tuple[Any, Callable[[_Converter, Any], Any]], ...] = (
    (str, _Converter._text),
    ((bool, type(None)), _Converter._plain),
    (int, _Converter._integer),
    (float, _Converter._float),
    (Mapping, _Converter._map),
    ((list, tuple), _Converter._list),
    ((bytes, bytearray), _Converter._bytes),
    (datetime, _Converter._datetime),
    (date, _Converter._date),
    (Decimal, _Converter._decimal),
    (Fraction, _Converter._fraction),
    ((set, frozenset), _Converter._set),
    (cbor2.CBORTag, _Converter._tag),
    (cbor2.CBORSimpleValue, _Converter._simple),
)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
