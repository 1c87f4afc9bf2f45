"""Columns of a template: the values of one field in several records (docs/wire.md, Columns).

Rules of this file: pure.  Codes go in, bits come out; the mode that takes the fewest is chosen, by size alone.  Reading
checks every code against its field, and raises `ObjectError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rataccess.errors import ObjectError
from rataccess.template.bits import BitReader, number, octets
from rataccess.template.fields import Field, NumberField, OctetsField
from rataccess.template.integers import read_fixed, read_integers, write_fixed, write_integers
from rataccess.template.kinds import Real

SAME, EACH, CHANGES, DICTIONARY = range(4)
"""Modes of text and bytes: one value for all; each; where it changes, and to what; the values there are, and which."""
PATTERNS, XOR, DECIMAL = range(3)
"""Modes of floats: their bits as whole numbers; what changes of the bits; whole numbers over a power of ten."""
MOST_PLACES = 15
_COUNT_WIDTH = 12
_EXACT = 2**53  # the whole numbers up to here are floats


def write_column(field: Field, codes: Sequence[Any], *, dense: bool = False) -> str:
    """The bits of the values that are there.  `dense`: columns of whole numbers are (docs/wire.md, Dense columns)."""
    if isinstance(field, Real) and len(codes) > 1:
        return _write_reals(field, codes)
    if isinstance(field, NumberField):
        return write_integers(codes, field.width, dense=dense)
    assert isinstance(field, OctetsField)
    return _write_octets(codes, field.width)


def read_column(field: Field, reader: BitReader, count: int, *, dense: bool = False) -> list[Any]:
    """The values, `count` of them."""
    if isinstance(field, Real) and count > 1:
        return _read_reals(field, reader, count)
    codes: list[Any]
    if isinstance(field, NumberField):
        codes = read_integers(reader, count, field.width, dense=dense)
        if codes and max(codes) > field.most:
            raise ObjectError(f"a packed value of a {field.name} field is beyond {field.allowed}")
    else:
        assert isinstance(field, OctetsField)
        codes = _read_octets(reader, count, field)
    table = {code: field.value(code) for code in set(codes)}
    return [table[code] for code in codes]


# --- text and bytes ---------------------------------------------------------------------------------------------------


def _write_octets(items: Sequence[bytes], width: int) -> str:
    if len(items) < 2:
        return _write_each(items, width)
    values = list(dict.fromkeys(items))
    if len(values) == 1:
        return number(SAME, 2) + _write_each(values, width)
    news = [int(a != b) for a, b in pairwise(items)]
    fresh = [items[0], *[item for item, new in zip(items[1:], news, strict=True) if new]]
    choices = [number(EACH, 2) + _write_each(items, width)]
    if len(fresh) < len(items):
        choices.append(number(CHANGES, 2) + write_integers(news, 1) + _write_each(fresh, width))
    if len(values) < len(items):
        places = {value: index for index, value in enumerate(values)}
        head = number(DICTIONARY, 2) + number(len(values) - 1, _COUNT_WIDTH) + _write_each(values, width)
        choices.append(head + write_integers([places[item] for item in items], (len(values) - 1).bit_length()))
    return min(choices, key=len)


def _read_octets(reader: BitReader, count: int, field: OctetsField) -> list[bytes]:
    if count < 2:
        return _read_each(reader, count, field)
    mode = reader.take(2)
    if mode == SAME:
        return _read_each(reader, 1, field) * count
    if mode == EACH:
        return _read_each(reader, count, field)
    if mode == CHANGES:
        news = read_integers(reader, count - 1, 1)
        fresh = iter(_read_each(reader, 1 + sum(news), field))
        items = [next(fresh)]
        for new in news:
            items.append(next(fresh) if new else items[-1])
        return items
    size = reader.take(_COUNT_WIDTH) + 1
    if size > count:
        raise ObjectError("a dictionary holds more values than its column")
    values = _read_each(reader, size, field)
    places = read_integers(reader, count, (size - 1).bit_length())
    if max(places) >= size:
        raise ObjectError("a dictionary does not hold the value that its column names")
    return [values[place] for place in places]


def _write_each(items: Sequence[bytes], width: int) -> str:
    return write_integers([len(item) for item in items], width) + octets(b"".join(items))


def _read_each(reader: BitReader, count: int, field: OctetsField) -> list[bytes]:
    lengths = read_integers(reader, count, field.width)
    if lengths and max(lengths) > field.most:
        raise ObjectError(f"a packed value is longer than {field.most} bytes")
    data, at, items = reader.octets(sum(lengths)), 0, []
    for length in lengths:
        items.append(data[at : at + length])
        at += length
    return items


# --- floats -----------------------------------------------------------------------------------------------------------


def _write_reals(field: Real, patterns: Sequence[int]) -> str:
    choices = [number(PATTERNS, 2) + write_integers(patterns, field.width), _write_changes(patterns, field.width)]
    decimal = _write_decimals(field, patterns)
    if decimal is not None:
        choices.append(decimal)
    return min(choices, key=len)


def _read_reals(field: Real, reader: BitReader, count: int) -> list[float]:
    mode = reader.take(2)
    if mode == DECIMAL:
        return _read_decimals(field, reader, count)
    if mode == PATTERNS:
        patterns = read_integers(reader, count, field.width)
    elif mode == XOR:
        patterns = _read_changes(reader, count, field.width)
    else:
        raise ObjectError(f"columns of floats have no mode {mode}")
    return [field.value(pattern) for pattern in patterns]


def _write_changes(patterns: Sequence[int], width: int) -> str:
    """The first, then which differ from the one before, then the window of bits in which any of them does."""
    changes = [a ^ b for a, b in pairwise(patterns)]
    union = 0
    for change in changes:
        union |= change
    drop = (union & -union).bit_length() - 1 if union else 0
    size = (union >> drop).bit_length()
    flags = write_integers([int(change != 0) for change in changes], 1)
    head = number(XOR, 2) + number(patterns[0], width) + number(drop, 6) + number(size, 7)
    return head + flags + write_fixed([change >> drop for change in changes if change], size)


def _read_changes(reader: BitReader, count: int, width: int) -> list[int]:
    last, drop, size = reader.take(width), reader.take(6), reader.take(7)
    if drop + size > width:
        raise ObjectError(f"a window of {size} bits above {drop} is not within {width}")
    flags = read_integers(reader, count - 1, 1)
    changes = iter(read_fixed(reader, sum(flags), size))
    patterns = [last]
    for flag in flags:
        last ^= next(changes) << drop if flag else 0
        patterns.append(last)
    return patterns


def _write_decimals(field: Real, patterns: Sequence[int]) -> str | None:
    """As whole numbers over a power of ten, where all of them are: most floats in telemetry began as decimals."""
    values = [field.value(pattern) for pattern in patterns]
    places = _places(field, values, patterns)
    if places is None:
        return None
    ten = 10**places
    wholes = [round(value * ten) for value in values]
    low = min(wholes)
    width = (max(wholes) - low).bit_length()
    head = number(DECIMAL, 2) + number(places, 4) + number(low + _EXACT, 55) + number(width, 6)
    return head + write_integers([whole - low for whole in wholes], width)


def _places(field: Real, values: list[float], patterns: Sequence[int]) -> int | None:
    """How many decimal places bring all of them back bit for bit."""
    places, largest = 0, max(map(abs, values))
    if not largest < _EXACT:  # NaN and infinities too
        return None
    for value, pattern in zip(values, patterns, strict=True):
        while not _is_decimal(field, value, pattern, 10**places):
            places += 1
            if places > MOST_PLACES or largest * 10**places >= _EXACT:
                return None
    ten = 10**places
    return places if all(_is_decimal(field, *pair, ten) for pair in zip(values, patterns, strict=True)) else None


def _is_decimal(field: Real, value: float, pattern: int, ten: int) -> bool:
    return value == value and field.code_of_quotient(round(value * ten), ten) == pattern


def _read_decimals(field: Real, reader: BitReader, count: int) -> list[float]:
    ten, low, width = 10 ** reader.take(4), reader.take(55) - _EXACT, reader.take(6)
    wholes = read_integers(reader, count, width)
    if not -_EXACT <= low <= low + max(wholes) <= _EXACT:
        raise ObjectError("a column of decimals goes beyond 2^53")
    return [field.value(field.code_of_quotient(low + whole, ten)) for whole in wholes]
