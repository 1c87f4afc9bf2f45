"""What every kind of field is: which values it takes, and the code that each value becomes.

Rules of this file: pure; the kinds themselves are in kinds.py and decimals.py.  A field turns a value into its code (a
whole number of a fixed width, or bytes) and back; how codes are packed is the business of the columns.  What does not fit
raises `Misfit`, to which the template adds its own name and the field's; nothing is ever cut or rounded unasked.  `None` is
no value of any field: where there is nothing, leave the key of an `optional` field out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from rataccess.errors import ObjectError

MOST_OCTETS = 65_535


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
