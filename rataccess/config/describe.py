"""What is allowed, in words: types and values as error messages show them.

Rules of this file: pure functions over `msgspec.inspect` types.
"""

from __future__ import annotations

import enum
import json
import re
from typing import Any

from msgspec import inspect

_SECRET = re.compile(r"pin|puk|password|passphrase|psk|secret|key|token", re.IGNORECASE)
_LONGEST = 60
_HEXADECIMAL = re.compile(r"\^\[0-9A-Fa-f\]\{(\d+)\}\$")
"""A pattern that is better told in words."""


def found(key: str, value: Any) -> str:
    """`value` as it would stand in the file; not shown where the key sounds like a secret's."""
    if is_secret(key) and not isinstance(value, dict | list):
        return f"a value of type {type(value).__name__} (not shown)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    text = text.encode(errors="backslashreplace").decode()  # the environment may hold what cannot be printed
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def is_secret(key: str) -> bool:
    """Whether the last part of `key` sounds like a secret's name."""
    return _SECRET.search(key.rpartition(".")[2]) is not None


def allowed(kind: inspect.Type) -> str:
    """What values `kind` takes."""
    match kind:
        case inspect.Metadata():
            return allowed(kind.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(kind)
        case inspect.FloatType():
            return "a number" + _range(kind)
        case inspect.StrType():
            return "text" + _text(kind)
        case inspect.EnumType():
            return _one_of([member.value for member in kind.cls])
        case inspect.LiteralType():
            return _one_of(list(kind.values))
        case inspect.UnionType():
            return " or ".join(allowed(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case _:
            return _collection(kind)


def _collection(kind: inspect.Type) -> str:
    match kind:
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return f"a list{_size(kind)}, each item {allowed(kind.item_type)}"
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)}: {', '.join(map(allowed, kind.item_types))}"
        case inspect.DictType():
            return f"a table{_size(kind)}"
        case inspect.StructType() | inspect.DataclassType():
            return f"a table with {', '.join(field.encode_name for field in kind.fields)}"
        case _:
            return f"a value of type {type(kind).__name__.removesuffix('Type').lower()}"


def _one_of(values: list[Any]) -> str:
    return "one of " + ", ".join(
        json.dumps(value.value if isinstance(value, enum.Enum) else value, ensure_ascii=False) for value in values
    )


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    least, most = kind.ge, kind.le
    if least is not None and most is not None:
        return f" from {least} to {most}"
    bounds = [
        f"{word} {bound}"
        for word, bound in (("at least", least), ("more than", kind.gt), ("at most", most), ("less than", kind.lt))
        if bound is not None
    ]
    return f", {' and '.join(bounds)}" if bounds else ""


def _text(kind: inspect.StrType) -> str:
    if digits := _HEXADECIMAL.fullmatch(kind.pattern or ""):
        return f" of {digits[1]} hexadecimal digits"
    bounds = []
    if kind.min_length is not None:
        bounds.append(f"at least {kind.min_length}")
    if kind.max_length is not None:
        bounds.append(f"at most {kind.max_length}")
    size = f" of {' and '.join(bounds)} character(s)" if bounds else ""
    return size + (f" that matches {kind.pattern}" if kind.pattern else "")


def _size(kind: Any) -> str:
    least, most = getattr(kind, "min_length", None), getattr(kind, "max_length", None)
    bounds = [f"{word} {bound}" for word, bound in (("at least", least), ("at most", most)) if bound is not None]
    return f" with {' and '.join(bounds)} in it" if bounds else ""
