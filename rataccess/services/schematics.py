"""Templates as a service knows them, and blocks that wait for theirs.

Rules of this file: which template reads a block, and what becomes of a block that none reads.  Nothing of a block is lost:
it waits whole, or is kept aside where its columns are not of the template that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import cbor2

from rataccess.errors import ObjectError
from rataccess.objects import Urgency, decode
from rataccess.services.store import Row
from rataccess.template import Template
from rataccess.wire import Block, WireRecord


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

    def learn(self, body: bytes) -> tuple[int, bytes, bool]:
        """Take `[id, definition]`; the id, the definition, and whether it is another than before.  Raises `ObjectError`."""
        item = decode(body)
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int:
            raise ObjectError("a schema is [id, definition]")
        template = Template.from_definition(item[1])
        if template.id != item[0]:
            raise ObjectError("a schema's id is not that of its definition")
        definition = cbor2.dumps(template.definition())
        changed = self._told.get(template.id) != definition
        self._told[template.id] = definition
        return template.id, definition, changed


@lru_cache(maxsize=1024)
def _template(definition: bytes) -> Template | None:
    """A definition's template, the same for every device that has it; `None` where it is none."""
    try:
        return Template.from_definition(decode(definition))
    except ObjectError:
        return None


def block_content(block: Block, fresh: Iterable[int]) -> bytes:
    """What is kept of a parked block; `fresh` are the numbers that no other record took before."""
    return cbor2.dumps([list(block.numbers), list(block.times), block.columns, sorted(fresh)])


def kept_block(row: Row) -> tuple[Block, set[int]]:
    """The block of a row of `parked_blocks`, and its fresh numbers."""
    _, schema, queue_id, queue, urgency, content, _, _ = row
    numbers, times, columns, fresh = cbor2.loads(content)
    return Block(queue_id, Urgency(urgency), queue, schema, tuple(numbers), tuple(times), columns), set(fresh)


def unpacked(block: Block, template: Template, fresh: set[int]) -> list[WireRecord] | None:
    """The fresh records of a block; `None` where its columns are not of the template."""
    try:
        return [record for record in block.records(template) if record.number in fresh]
    except ObjectError:
        return None
