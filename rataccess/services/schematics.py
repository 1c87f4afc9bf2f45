"""Templates as a service knows them, and blocks that wait for theirs.

Rules of this file: which template reads a block, and what becomes of a block that none reads.  Nothing of a block is lost:
it waits whole, or is kept aside where its columns are not of the template that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import Urgency, decode
from rataccess.services.callin import raw_items
from rataccess.services.store import Row
from rataccess.template import Template
from rataccess.wire import FIRST_FREE_QUEUE, Block, WireRecord

HIGHEST_ID = 2**21 - 1
MOST_SCHEMAS = 1024
"""Kept for one device: they are read whenever its session is."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """A definition that a device has told."""

    schema: int
    definition: bytes
    readable: bool
    changed: bool
    """Whether it is another than before."""
    grown: int
    """How many bytes longer than the one before."""


def by_id(templates: Iterable[Template]) -> dict[int, Template]:
    """Templates of the configuration, and what each may have grown from, by id."""
    found: dict[int, Template] = {}
    for template in templates:
        for ancestor in template.ancestors():
            found.setdefault(ancestor.id, ancestor)
    return found


class Templates:
    """What reads the blocks of one device: what it has told, and else the configuration."""

    def __init__(self, told: Mapping[int, bytes], configured: Mapping[int, Template]) -> None:
        self._told = dict(told)
        self._configured = configured

    def find(self, schema: int) -> Template | None:
        """The template of that id, or `None`."""
        definition = self._told.get(schema)
        template = None if definition is None else _template(definition)
        return template or self._configured.get(schema)

    def __contains__(self, schema: int) -> bool:
        """Whether there is a definition of that id, although perhaps one that only a later version can read."""
        return schema in self._told or schema in self._configured

    def learn(self, body: bytes) -> Learnt:
        """Take `[id, definition]`.  Raises `ObjectError`, with nothing changed, where it is none, or one too many.

        A definition that cannot be read (of a device with more kinds of fields) is kept for a later version, where there is
        no other of its id.
        """
        item = decode(body)
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or not isinstance(item[1], list):
            raise ObjectError("a schema is [id, definition]")
        schema, before = item[0], self._told.get(item[0])
        if not 1 <= schema <= HIGHEST_ID or (before is None and len(self._told) >= MOST_SCHEMAS):
            raise ObjectError(f"a schema has an id of 1 to {HIGHEST_ID}, and a device {MOST_SCHEMAS} of them")
        definition = _canonical(schema, item[1])
        readable = definition is not None
        if definition is None:
            definition = before or raw_items(body, 2)[1]
        self._told[schema] = definition
        return Learnt(schema, definition, readable, definition != before, len(definition) - len(before or b""))


def _canonical(schema: int, definition: object) -> bytes | None:
    """A definition as it is kept, or `None` where it cannot be read; raises `ObjectError` where it is of another id."""
    try:
        template = Template.from_definition(definition)
    except ObjectError:
        return None
    if template.id != schema:
        raise ObjectError("a schema's id is not that of its definition")
    return cbor2.dumps(template.definition())


def told_name(body: bytes) -> tuple[int, str] | None:
    """Id and name of a queue, where `body` is `[-1 - id, name]`."""
    try:
        item = decode(body)
    except ObjectError:
        return None
    if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or not isinstance(item[1], str):
        return None
    return (-1 - item[0], item[1]) if item[0] < -FIRST_FREE_QUEUE and 1 <= len(item[1]) <= 64 else None


@lru_cache(maxsize=1024)
def _template(definition: bytes) -> Template | None:
    """A definition's template, the same for every device that has it; `None` where it is none."""
    try:
        return Template.from_definition(decode(definition))
    except ObjectError:
        return None


def block_content(block: Block, fresh: Iterable[int]) -> bytes:
    """What is kept of a parked block; `fresh` are the numbers that no other record took before."""
    dense = [] if block.dense is None else [block.dense]
    return cbor2.dumps([list(block.numbers), list(block.times), block.columns, sorted(fresh), *dense])


def kept_block(row: Row) -> tuple[Block, set[int]]:
    """The block of a row of `parked_blocks`, and its fresh numbers."""
    _, schema, queue_id, queue, urgency, content, _, _ = row
    numbers, times, columns, fresh, *dense = cbor2.loads(content)
    return Block(queue_id, Urgency(urgency), queue, schema, tuple(numbers), tuple(times), columns, *dense), set(fresh)


def unpacked(block: Block, template: Template, fresh: set[int]) -> list[WireRecord] | None:
    """The fresh records of a block; `None` where its columns are not of the template."""
    try:
        return [record for record in block.records(template) if record.number in fresh]
    except ObjectError:
        return None
