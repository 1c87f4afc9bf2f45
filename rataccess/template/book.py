"""The templates that a device has defined, kept across restarts.

Rules of this file: no I/O of its own; it keeps what it knows in a `Memory` that is given.
"""

from __future__ import annotations

import cbor2

from rataccess.errors import ObjectError, TemplateError
from rataccess.objects import Memory, decode
from rataccess.template.template import Template


class TemplateBook:
    """Templates by id; each is kept in `memory` under `prefix/id`."""

    def __init__(self, memory: Memory, prefix: str) -> None:
        self._memory = memory
        self._prefix = prefix
        self._known: dict[int, Template] = {}

    def __repr__(self) -> str:
        return f"<TemplateBook {self._prefix} {sorted(self._known)}>"

    def define(self, template: Template) -> bool:
        """Remember `template`; returns whether it is new.  `TemplateError` where its id has another definition."""
        known = self.find(template.id)
        if known is not None and known != template:
            raise TemplateError(
                f"template {template.name!r}: the id {template.id} is taken by {known!r}; give it another id, 1 to 127",
                template=template.name,
            )
        self._known[template.id] = template
        if known is None:
            self._memory.put(self._key(template.id), cbor2.dumps(template.definition()))
        return known is None

    def find(self, id: int) -> Template | None:
        """The template of that id, or `None`: never defined here, or what was kept of it cannot be read."""
        known = self._known.get(id)
        if known is None and (data := self._memory.get(self._key(id))) is not None:
            try:
                known = Template.from_definition(decode(data))
            except ObjectError:  # damaged on disk: records then travel unpacked, and defining it again mends it
                return None
            if known.id != id:
                return None
            self._known[id] = known
        return known

    def _key(self, id: int) -> str:
        return f"{self._prefix}/{id}"
