"""The kinds of fields: which values each takes, and the code that each value becomes.

Rules of this file: pure.  A field turns a value into its code (a whole number of a fixed width, or bytes) and back; how
codes are packed is the business of the columns.  What does not fit raises `Misfit`, in which the template puts its own name
and the field's; nothing is ever cut or rounded unasked.  `None` is no value of any field: where there is nothing, leave the
key of an `optional` field out.
"""

from __future__ import annotations

import math
import re
import struct
from abc import ABC, abstractmethod
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from rataccess.errors import ObjectError

MOST_STEPS = 2**40
MOST_CHOICES = 256
MOST_OCTETS = 65_535
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{0,19}[1-9])?")


class Misfit(Exception):  # never leaves this package: the template makes a `TemplateError` of it
    """The value does not fit; the text says what would."""


def shown(value: object) -> str:
    """`value` for an error message, 60 characters at most."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a foreign object's own repr, or a number of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


class Field(ABC):
    """One field of a template.  `optional`: the key may be left out, which is remembered as such."""

    kind: ClassVar[int]
    """What the canonical definition calls it."""
    name: ClassVar[str]

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = bool(optional)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Field):
            return NotImplemented
        return self.definition() == other.definition()

    def __hash__(self) -> int:
        return hash(repr(self.definition()))

    def __repr__(self) -> str:
        return f"{self.name}({self.allowed}{', optional' if self.optional else ''})"

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The values that fit, in words."""

    @abstractmethod
    def arguments(self) -> list[Any]:
        """What of it the canonical definition holds, besides its kind: whole numbers and texts."""

    @abstractmethod
    def code(self, value: Any) -> Any:
        """The code of `value`; raises `Misfit`."""

    @abstractmethod
    def value(self, code: Any) -> Any:
        """The value of a code."""

    def definition(self) -> list[Any]:
        """The kind (plus 64 where optional), and its arguments."""
        return [self.kind + (64 if self.optional else 0), *self.arguments()]


class NumberField(Field):
    """A field whose codes are whole numbers 0 to `most`, of `width` bits at most."""

    width: int
    most: int


class OctetsField(Field):
    """A field whose codes are bytes, `most` at most."""

    def __init__(self, most: int, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        if type(most) is not int or not 1 <= most <= MOST_OCTETS:
            raise ObjectError(f"{self.name} takes a most number of bytes from 1 to {MOST_OCTETS}, not {shown(most)}")
        self.most = most
        self.width = most.bit_length()
        """Bits of a length."""

    def arguments(self) -> list[Any]:
        return [self.most]


class Scaled(NumberField):
    """Decimal numbers `low`, `low + step`, `low + 2 step` … up to `high`, and NaN, which is a code of its own.

    The arithmetic is decimal: 21.5 comes back as exactly 21.5, the float nearest to the decimal grid point.  An `int` on
    the grid is taken and comes back as a float; -0.0 comes back as 0.0.  A float further off the grid than a millionth of
    a step (the noise of sums such as 0.1 + 0.2) is refused, with `rounded=True` moved to the nearest grid point; beyond
    `low` and `high` it is refused all the same, and so are infinities.

    `low`, `high`, `step`: numbers of at most 20 digits on either side of the point, 2^40 steps at most.
    """

    kind, name = 0, "Scaled"

    def __init__(
        self,
        low: float | str | Decimal,
        high: float | str | Decimal,
        step: float | str | Decimal,
        *,
        optional: bool = False,
        rounded: bool = False,
    ) -> None:
        super().__init__(optional=optional)
        self.rounded = rounded
        self._texts = [_decimal_text(item) for item in (low, high, step)]
        places = max(len(text.partition(".")[2]) for text in self._texts)
        self._ten = 10**places
        self._low, top, self._step = (_shifted(text, places) for text in self._texts)
        if self._step <= 0 or top < self._low:
            raise ObjectError(f"Scaled takes low <= high and a step above 0, not {self._texts}")
        self.last = (top - self._low) // self._step
        if self.last > MOST_STEPS:
            raise ObjectError(f"Scaled{tuple(self._texts)} has {self.last} steps, the limit is 2^40; use Real")
        self.most = self.last + 1
        self.width = self.most.bit_length()
        self._from, self._per = self._low / self._ten, self._ten / self._step
        self._noise = 1e-6 * self._step / self._ten
        if self._step / self._ten < 64 * math.ulp(max(abs(self._low), abs(top)) / self._ten):
            raise ObjectError(f"floats are too coarse for Scaled{tuple(self._texts)}; use Real or Integer")

    @property
    def allowed(self) -> str:
        return f"{self.value(0)!r} to {self.value(self.last)!r} in steps of {self._texts[2]}, or NaN"

    def arguments(self) -> list[Any]:
        return list(self._texts)

    def code(self, value: Any) -> int:
        if not isinstance(value, (float, int)) or isinstance(value, bool):
            raise Misfit("a number is wanted")
        try:
            code: int = round((value - self._from) * self._per)
        except (ValueError, OverflowError) as error:  # NaN, infinities, integers beyond any float
            if value != value:
                return self.most
            raise Misfit("it is out of range") from error
        if not 0 <= code <= self.last:
            raise Misfit("it is out of range")
        point: float = (self._low + code * self._step) / self._ten
        if point != value:
            self._judge(value, point, code)
        return code

    def _judge(self, value: float, point: float, code: int) -> None:
        """The value is not the grid point itself: whether it may be moved there."""
        noise = max(self._noise, 4 * math.ulp(point))
        if abs(value - point) <= noise:
            return
        if (value < point and not code) or (value > point and code == self.last):
            raise Misfit("it is out of range")
        if not self.rounded:
            raise Misfit(f"it is off the grid, next to {point!r}; round it, or give the field rounded=True")

    def value(self, code: int) -> float:
        point: float = (self._low + code * self._step) / self._ten
        return point if code <= self.last else math.nan


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
        if bits not in (32, 64):
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
    if not isinstance(items, list) or not items or type(items[0]) is not int:
        raise ObjectError("a field's definition is a list that begins with its kind")
    kind = KINDS.get(items[0] & ~64)
    if kind is None or items[0] < 0:
        raise ObjectError(f"there is no kind {shown(items[0])} of fields; this version knows {sorted(KINDS)}")
    if kind is Scaled and not all(isinstance(item, str) for item in items[1:]):
        raise ObjectError("a Scaled field is defined by decimal texts")
    try:
        field = kind(*items[1:], optional=bool(items[0] & 64))
    except TypeError as error:
        raise ObjectError(f"a {kind.name} field is not defined by {len(items) - 1} arguments") from error
    if field.definition() != items or any(type(item) is bool for item in items):
        raise ObjectError(f"the definition of a {kind.name} field is not in its canonical form")
    return field


def _decimal_text(item: object) -> str:
    """The shortest plain text of a decimal number: `-40`, `0.1`."""
    if isinstance(item, bool) or not isinstance(item, (int, float, str, Decimal)):
        raise ObjectError(f"a decimal number is wanted, not {shown(item)}")
    try:
        exact = Decimal(item if isinstance(item, int) else str(item)[:100])
    except InvalidOperation as error:
        raise ObjectError(f"{shown(item)} is not a decimal number") from error
    if exact == 0:
        return "0"
    text = format(exact, "f") if exact.is_finite() and -20 <= exact.adjusted() <= 20 else ""
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if not _DECIMAL.fullmatch(text):
        raise ObjectError(f"{shown(item)} has more than 20 digits before or after its point, or is not finite")
    return text


def _shifted(text: str, places: int) -> int:
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(places, "0"))


def _is_word(item: object) -> bool:
    if not isinstance(item, str) or not 1 <= len(item) <= 64:
        return False
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True
