"""A template: the fields of the records of one queue, so that only their values travel, in as few bits as they take.

    Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), note=Text(12, optional=True))

Rules of this file: pure.  Packing is lossless: what was left out, 0, False, "" and NaN stay different, and what does not
fit is refused with an error that names it, never cut.  Two remarks on what "the same value" means are in `canonical`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import cbor2

from rataccess.errors import ObjectError, TemplateError
from rataccess.objects import Object
from rataccess.template.bits import BitReader, to_bytes
from rataccess.template.columns import read_column, write_column
from rataccess.template.fields import Field, Misfit, shown
from rataccess.template.integers import read_integers, write_integers
from rataccess.template.kinds import field_from_definition

MOST_FIELDS = 64
MOST_RECORDS = 4096
"""In one block."""
FIRST_DERIVED_ID, LAST_ID = 128, 2**21 - 1
_GUESSES, _MOST_TRIES = 3, 20  # by proportion, then near by: sizes are nearly proportional, but not quite ascending
_NEARLY = 50  # a packet but for a fiftieth full is full: another try costs more than it brings


class Template:
    """Which fields the records of a queue have, in an order that is part of it.

    `name`: 1 to 64 characters, not beginning with `$`; also the queue that it is for, unless said otherwise.  `id`: 1 to
    127, chosen by you and unique at a service, for the dearest links (it takes two bytes less); without it the id follows
    from the definition.  A field called `id` or `name` is given through `Template.of`.

    To change a template, add optional fields at its end: records that were packed with the old one stay readable
    (`ancestors`).  Anything else is a new template, with another id.
    """

    __slots__ = ("_definition", "_given", "fields", "id", "name")

    name: str
    id: int
    fields: Mapping[str, Field]

    def __init__(self, name: str, /, *, id: int | None = None, **fields: Field) -> None:
        self._set(name, fields, id)

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Field], *, id: int | None = None) -> Template:
        """A template whose fields may have any names."""
        template = cls.__new__(cls)
        template._set(name, dict(fields), id)
        return template

    def _set(self, name: str, fields: dict[str, Field], given: int | None) -> None:
        _check_name(name, fields)
        if given is not None and (type(given) is not int or not 1 <= given < FIRST_DERIVED_ID):
            raise TemplateError(
                f"template {name!r}: an id is 1 to 127, not {shown(given)}; leave it out", template=name
            )
        self.name, self.fields, self._given = name, MappingProxyType(fields), given
        pairs = [[key, *field.definition()] for key, field in fields.items()]
        self._definition: list[Any] = [name, pairs] if given is None else [name, pairs, given]
        digest = int.from_bytes(hashlib.sha256(cbor2.dumps(self._definition)).digest()[:8], "big")
        self.id = given or FIRST_DERIVED_ID + digest % (LAST_ID + 1 - FIRST_DERIVED_ID)

    def __eq__(self, other: object) -> bool:
        return self._definition == other._definition if isinstance(other, Template) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.id))

    def __repr__(self) -> str:
        return f"<Template {self.name} {self.id} ({', '.join(self.fields)})>"

    # --- one record ----------------------------------------------------------------------------------------------------

    def check(self, value: Object) -> None:
        """Raise `TemplateError` where `value` does not fit; it names template, field, what was found and what is allowed."""
        self._codes(value)

    def canonical(self, value: Object) -> dict[str, Any]:
        """`value` as it will be read back; raises `TemplateError` where it does not fit.

        Equal to `value`, but for: the order of the keys (the template's), an `int` given for a `Scaled` or `Real` (a float),
        -0.0 in a `Scaled` (0.0), the noise of float arithmetic in a `Scaled`, and what `rounded=True` moved.  An object
        enqueued in this form arrives the same, packed or not.
        """
        codes = self._codes(value)
        return {
            name: field.value(code)
            for (name, field), code in zip(self.fields.items(), codes, strict=True)
            if code is not None
        }

    def pack(self, value: Object) -> bytes:
        """One record, to bits; raises `TemplateError` where it does not fit."""
        return self.pack_columns([value])

    def unpack(self, data: bytes) -> dict[str, Any]:
        """The inverse of `pack`; raises `ObjectError` for bytes that are no such record."""
        return self.unpack_columns(data, 1)[0]

    def _codes(self, value: Any) -> list[Any]:
        """The code of each field, `None` where it is left out."""
        if not isinstance(value, Mapping):
            self._refuse(None, value, "it is not a map", f"a map with the fields {', '.join(self.fields)}")
        codes, found = list[Any](), 0
        for name, field in self.fields.items():
            if name not in value:
                if not field.optional:
                    self._refuse(name, value, "the field is missing, and it is not optional", field.allowed)
                codes.append(None)
                continue
            found += 1
            try:
                codes.append(field.code(value[name]))
            except Misfit as error:
                self._refuse(name, value[name], str(error), field.allowed, error)
        if found != len(value):
            unknown = next(key for key in value if key not in self.fields)
            self._refuse(
                None, unknown, "the template has no such field", f"the fields {', '.join(self.fields)}; add it to them"
            )
        return codes

    def _refuse(self, field: str | None, value: object, why: str, allowed: str, cause: Exception | None = None) -> None:
        where = f"template {self.name!r}" + (f", field {field!r}" if field is not None else "")
        found = shown(value)
        hint = "; leave the key of an optional field out where there is no value" if value is None and cause else ""
        raise TemplateError(
            f"{where}: {found} does not fit: {why}; allowed: {allowed}{hint}",
            template=self.name,
            field=field,
            value=found,
            allowed=allowed,
        ) from cause

    # --- several -------------------------------------------------------------------------------------------------------

    def pack_columns(self, values: Sequence[Object]) -> bytes:
        """Records, 1 to 4096, column by column, each in its smallest mode; `TemplateError` where one does not fit."""
        return Packing(self, values).pack(len(values))

    def unpack_columns(self, data: bytes, count: int, *, dense: int | None = None) -> list[dict[str, Any]]:
        """The inverse of `pack_columns`; raises `ObjectError` for bytes that are not `count` such records, 1 to 4096.

        `dense`: the columns are dense ones, which begin after so many bits of `data` (`Packing.bits`).
        """
        _check_count(count)
        reader, records = BitReader(data), [dict[str, Any]() for _ in range(count)]
        reader.take(dense or 0)
        for name, field in self.fields.items():
            there = records
            if field.optional:
                flags = read_integers(reader, count, 1, dense=dense is not None)
                there = [record for record, flag in zip(records, flags, strict=True) if flag]
            column = read_column(field, reader, len(there), dense=dense is not None)
            for record, value in zip(there, column, strict=True):
                record[name] = value
        reader.finish()
        return records

    def fit(self, values: Sequence[Object], limit: int) -> int:
        """How many of `values`, from the first, pack into `limit` bytes; raises `TemplateError` where one does not fit."""
        return Packing(self, values[:MOST_RECORDS]).fit(limit)

    # --- the definition ------------------------------------------------------------------------------------------------

    def definition(self) -> list[Any]:
        """The canonical form, of lists, texts and whole numbers: what the id follows from, and what a service learns.

        `rounded` is not part of it: it matters to who packs only.
        """
        copy: list[Any] = cbor2.loads(cbor2.dumps(self._definition))
        return copy

    @classmethod
    def from_definition(cls, definition: object) -> Template:
        """The template of a definition, a peer's too; `ObjectError` for anything that is not one in canonical form."""
        if not isinstance(definition, list) or len(definition) not in (2, 3) or not isinstance(definition[1], list):
            raise ObjectError("a template's definition is a list of a name, its fields, and an id where one was given")
        fields: dict[str, Field] = {}
        for item in definition[1]:
            if not isinstance(item, list) or not item or not isinstance(item[0], str) or item[0] in fields:
                raise ObjectError("a template's fields are lists, each beginning with a name of its own")
            fields[item[0]] = field_from_definition(item[1:])
        if len(definition) == 3 and type(definition[2]) is not int:
            raise ObjectError("a template's id is a whole number")
        return cls.of(definition[0], fields, id=definition[2] if len(definition) == 3 else None)

    def ancestors(self) -> Iterator[Template]:
        """This template, then each that it may have grown from: its last field dropped while that is optional.

        They have the ids that follow from their definitions: what was given an id by hand is to be remembered by hand.
        """
        yield self
        fields = list(self.fields.items())
        while len(fields) > 1 and fields.pop()[1].optional:
            yield Template.of(self.name, dict(fields))


class Packing:
    """Records of one template, of which any number from the first can be packed at little cost: each is looked at once.

    With `strict=False` what does not fit ends them: `count` is how many stand before it, once it was looked at.
    """

    def __init__(self, template: Template, values: Sequence[Object], *, strict: bool = True) -> None:
        self.count = len(values)
        self._template, self._values, self._strict = template, values, strict
        self._rows: list[list[Any]] = []

    def pack(self, count: int) -> bytes:
        """The first `count` as `Template.pack_columns` packs them; raises `TemplateError` where one does not fit."""
        return to_bytes(self.bits(count))

    def bits(self, count: int, *, dense: bool = False) -> str:
        """The same as text of `0` and `1`, not filled up to a byte; `dense`: in dense columns."""
        _check_count(count)
        self._look(count)
        rows, pieces = self._rows[:count], []
        for field, column in zip(self._template.fields.values(), zip(*rows, strict=True), strict=True):
            codes: Sequence[Any] = column
            if field.optional:
                pieces.append(write_integers([int(code is not None) for code in column], 1, dense=dense))
                codes = [code for code in column if code is not None]
            pieces.append(write_column(field, codes, dense=dense))
        return "".join(pieces)

    def fit(self, limit: int, size: Callable[[int], int] | None = None) -> int:
        """How many, from the first, pack into `limit` bytes: 0 to all, within a few of the most that do.

        `size` is what packing so many takes, where that is more than `pack` alone.  Raises `TemplateError` as `pack` does.
        """
        low, guess = 0, min(self.count, limit // 4 + 8)
        high = self.count + 1
        for attempt in range(_MOST_TRIES):
            guess = min(max(guess, low + 1), high - 1)
            if guess <= low:
                break
            if not self._strict and not self._looked(guess):
                guess, high = self.count, self.count + 1
                if guess <= low:
                    break
            took = size(guess) if size else len(self.pack(guess))
            if took <= limit:
                low = guess
            else:
                high = guess
            if low == guess and (limit - took) * _NEARLY <= limit:
                break
            if attempt < _GUESSES:
                guess = guess * limit // max(1, took)
            else:
                guess = min((low + high) // 2, low + (1 << attempt - _GUESSES))
        return low

    def _looked(self, count: int) -> bool:
        """Whether the first `count` fit; where not, `count` becomes how many do."""
        try:
            self._look(count)
        except TemplateError:
            self.count = len(self._rows)
            return False
        return True

    def _look(self, count: int) -> None:
        for value in self._values[len(self._rows) : count]:
            self._rows.append(self._template._codes(value))


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_RECORDS:
        raise ObjectError(f"1 to {MOST_RECORDS} records are packed together, not {count}")


def _check_name(name: object, fields: Mapping[str, Field]) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= 64 or name.startswith("$"):
        raise TemplateError(f"a template's name is text of 1 to 64 characters, not beginning with $; not {shown(name)}")
    if not 1 <= len(fields) <= MOST_FIELDS:
        raise TemplateError(
            f"template {name!r} has {len(fields)} fields; 1 to {MOST_FIELDS} are allowed", template=name
        )
    for key, field in fields.items():
        if not isinstance(field, Field):
            raise TemplateError(f"template {name!r}, field {key!r}: {shown(field)} is no kind of field", template=name)
        if not isinstance(key, str) or not 1 <= len(key) <= 64:
            raise TemplateError(
                f"template {name!r}: a field's name has 1 to 64 characters, not {shown(key)}", template=name
            )
    try:
        "".join([name, *fields]).encode()
    except UnicodeEncodeError as error:
        raise TemplateError("a template's names hold half of a surrogate pair, which is no character") from error
