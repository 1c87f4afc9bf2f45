"""Templates by configuration: `[solution.schemas.<name>]`, for devices whose schemas cannot travel.

Rules of this file: settings and how templates are made of them; opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess.config.check import Origin, refusal
from rataccess.errors import ObjectError
from rataccess.template import Bool, Bytes, Enum, Field, Integer, Real, Scaled, Template, Text

Number = int | float | str


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every field has."""

    optional: bool = False


class ScaledField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="scaled"):
    """Decimal numbers on a grid."""

    low: Number
    high: Number
    step: Number
    rounded: bool = False

    def field(self) -> Field:
        """The template's field."""
        return Scaled(self.low, self.high, self.step, optional=self.optional, rounded=self.rounded)


class IntegerField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="integer"):
    """Whole numbers."""

    low: int
    high: int

    def field(self) -> Field:
        """The template's field."""
        return Integer(self.low, self.high, optional=self.optional)


class BoolField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="bool"):
    """True or false."""

    def field(self) -> Field:
        """The template's field."""
        return Bool(optional=self.optional)


class EnumField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="enum"):
    """One of some texts."""

    choices: tuple[str, ...]

    def field(self) -> Field:
        """The template's field."""
        return Enum(*self.choices, optional=self.optional)


class TextField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="text"):
    """Text; `most` counts bytes in UTF-8."""

    most: int

    def field(self) -> Field:
        """The template's field."""
        return Text(self.most, optional=self.optional)


class BytesField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="bytes"):
    """Bytes."""

    most: int

    def field(self) -> Field:
        """The template's field."""
        return Bytes(self.most, optional=self.optional)


class RealField(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="real"):
    """Floats."""

    bits: Literal[32, 64] = 64
    rounded: bool = False

    def field(self) -> Field:
        """The template's field."""
        return Real(self.bits, optional=self.optional, rounded=self.rounded)


AnyField = ScaledField | IntegerField | BoolField | EnumField | TextField | BytesField | RealField


class SchemaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One template: the same fields, in the same order, as the device's."""

    fields: Annotated[dict[str, AnyField], Meta(min_length=1)]
    id: Annotated[int, Meta(ge=1, le=127)] | None = None
    """The id given by hand on the device, if one was."""


def templates(schemas: Mapping[str, SchemaSettings], section: str = "", origin: Origin | None = None) -> list[Template]:
    """The templates of `section`, read from `origin`; raises one `ConfigurationError` for all that cannot be."""
    made: dict[int, Template] = {}
    mistakes: list[str] = []
    for name, schema in schemas.items():
        where = f"{(origin or Origin()).of((section, 'schemas', name))}{section}.schemas.{name}: "
        try:
            fields = {field: kind.field() for field, kind in schema.fields.items()}
            template = Template.of(name, fields, id=schema.id)
        except ObjectError as error:
            mistakes.append(f"{where}{error}")
            continue
        other = made.setdefault(template.id, template)
        if other is not template:
            mistakes.append(f"{where}has the id {template.id} of {other.name}; give one of them an id by hand")
    if mistakes:
        raise refusal(mistakes)
    return list(made.values())
