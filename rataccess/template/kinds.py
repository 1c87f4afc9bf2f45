"""The kinds of fields besides decimal numbers, and fields from their definitions.

Rules of this file: pure; the rules of fields.py hold.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from rataccess.errors import ObjectError
from rataccess.template.decimals import Scaled
from rataccess.template.fields import Field, Misfit, NumberField, OctetsField, shown

MOST_CHOICES = 256


class Integer(NumberField):
    """Whole numbers from `low` to `high`, within -2^63 and 2^64 - 1; no booleans and no floats."""

    kind, name = 1, "Integer"

    def __init__(self, low: int, high: int, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        if type(low) is not int or type(high) is not int or not -(2**63) <= low <= high < 2**64:
            raise ObjectError(
                f"Integer takes whole low <= high within -2^63 and 2^64 - 1, not {shown(low)}, {shown(high)}"
            )
        self.low, self.high = low, high
        self.most = high - low
        self.width = self.most.bit_length()

    @property
    def allowed(self) -> str:
        return f"{self.low} to {self.high}"

    def arguments(self) -> list[Any]:
        return [self.low, self.high]

    def code(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Misfit("a whole number is wanted")
        if not self.low <= value <= self.high:
            raise Misfit("it is out of range")
        return value - self.low

    def value(self, code: int) -> int:
        return code + self.low


class Bool(NumberField):
    """`True` or `False`; 0 and 1 are refused, for they would come back as something else."""

    kind, name, width, most = 2, "Bool", 1, 1
    allowed = "True or False"

    def arguments(self) -> list[Any]:
        return []

    def code(self, value: Any) -> int:
        if value is True:
            return 1
        if value is False:
            return 0
        raise Misfit("a boolean is wanted")

    def value(self, code: int) -> bool:
        return bool(code)


class Enum(NumberField):
    """One of up to 256 texts (of at most 64 characters), in the order given."""

    kind, name = 3, "Enum"

    def __init__(self, *choices: str, optional: bool = False) -> None:
        super().__init__(optional=optional)
        if not 1 <= len(choices) <= MOST_CHOICES or not all(_is_word(item) for item in choices):
            raise ObjectError(f"Enum takes 1 to {MOST_CHOICES} texts of 1 to 64 characters")
        self.choices = choices
        self._codes = {choice: index for index, choice in enumerate(choices)}
        if len(self._codes) != len(choices):
            raise ObjectError("Enum takes texts that differ from each other")
        self.most = len(choices) - 1
        self.width = self.most.bit_length()

    @property
    def allowed(self) -> str:
        shown = ", ".join(map(repr, self.choices[:12]))
        return "one of " + shown + (f" … ({len(self.choices)} in all)" if len(self.choices) > 12 else "")

    def arguments(self) -> list[Any]:
        return list(self.choices)

    def code(self, value: Any) -> int:
        code = self._codes.get(value) if isinstance(value, str) else None
        if code is None:
            raise Misfit("it is none of the choices" if isinstance(value, str) else "a text is wanted")
        return code

    def value(self, code: int) -> str:
        return self.choices[code]


class Text(OctetsField):
    """Text of at most `most` bytes of UTF-8 (plain English letters take one each, others two to four)."""

    kind, name = 4, "Text"

    @property
    def allowed(self) -> str:
        return f"text of at most {self.most} bytes in UTF-8"

    def code(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise Misfit("text is wanted")
        try:
            code = value.encode()
        except UnicodeEncodeError as error:
            raise Misfit("it holds half of a surrogate pair, which is no character") from error
        if len(code) > self.most:
            raise Misfit(f"it takes {len(code)} bytes in UTF-8")
        return code

    def value(self, code: bytes) -> str:
        try:
            return code.decode()
        except UnicodeDecodeError as error:
            raise ObjectError("a text of the packed data is not UTF-8") from error


class Bytes(OctetsField):
    """Bytes, `most` at most."""

    kind, name = 5, "Bytes"

    @property
    def allowed(self) -> str:
        return f"at most {self.most} bytes"

    def code(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise Misfit("bytes are wanted")
        if len(value) > self.most:
            raise Misfit(f"it has {len(value)} bytes")
        return value

    def value(self, code: bytes) -> bytes:
        return code


class Real(NumberField):
    """Any float of `bits` 32 or 64 (IEEE 754), infinities and -0.0 included; every NaN comes back as the one quiet NaN.

    With 32 bits a value that 32 bits do not hold exactly is refused, with `rounded=True` moved to the nearest that they do.
    An `int` that the float holds exactly is taken and comes back as a float.
    """

    kind, name = 6, "Real"

    def __init__(self, bits: int = 64, *, optional: bool = False, rounded: bool = False) -> None:
        super().__init__(optional=optional)
        if type(bits) is not int or bits not in (32, 64):
            raise ObjectError(f"Real has 32 or 64 bits, not {shown(bits)}")
        self.rounded = rounded
        self.width, self.most = bits, 2**bits - 1
        self._float = struct.Struct(">f" if bits == 32 else ">d")
        self._nan = int.from_bytes(self._float.pack(math.nan), "big")

    @property
    def allowed(self) -> str:
        return f"any float of {self.width} bits"

    def arguments(self) -> list[Any]:
        return [self.width]

    def code(self, value: Any) -> int:
        if not isinstance(value, (float, int)) or isinstance(value, bool):
            raise Misfit("a number is wanted")
        if value != value:
            return self._nan
        try:
            octets = self._float.pack(value)
        except (OverflowError, struct.error) as error:
            raise Misfit(f"{self.width} bits do not reach that far") from error
        if self._float.unpack(octets)[0] != value and not (self.rounded and isinstance(value, float)):
            raise Misfit(f"{self.width} bits do not hold it exactly; round it, or give the field rounded=True")
        return int.from_bytes(octets, "big")

    def code_of_quotient(self, whole: int, ten: int) -> int:
        """The code of `whole / ten`, both at most 2^53: the nearest float of 64 bits, and of 32 the one nearest to that."""
        return int.from_bytes(self._float.pack(whole / ten), "big")

    def value(self, code: int) -> float:
        value: float = self._float.unpack(code.to_bytes(self.width // 8, "big"))[0]
        return value if value == value else math.nan


KINDS: dict[int, type[Field]] = {kind.kind: kind for kind in (Scaled, Integer, Bool, Enum, Text, Bytes, Real)}


def field_from_definition(items: object) -> Field:
    """The inverse of `Field.definition`; raises `ObjectError` for anything else, and for what is not in canonical form."""
    if not isinstance(items, list) or not items or type(items[0]) is not int or {*map(type, items)} - {int, str}:
        raise ObjectError("a field's definition is a list of whole numbers and texts that begins with its kind")
    kind = KINDS.get(items[0] & ~64)
    if kind is None or items[0] < 0:
        raise ObjectError(f"there is no kind {shown(items[0])} of fields; this version knows {sorted(KINDS)}")
    if kind is Scaled and not all(isinstance(item, str) for item in items[1:]):
        raise ObjectError("a Scaled field is defined by decimal texts")
    try:
        field = kind(*items[1:], optional=bool(items[0] & 64))
    except TypeError as error:
        raise ObjectError(f"a {kind.name} field is not defined by {len(items) - 1} arguments") from error
    if field.definition() != items:
        raise ObjectError(f"the definition of a {kind.name} field is not in its canonical form")
    return field


def _is_word(item: object) -> bool:
    if not isinstance(item, str) or not 1 <= len(item) <= 64:
        return False
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True
