"""The templates that a channel's objects must fit, and whether the service has been told of them.

Rules of this file: it says which record is to be enqueued; it enqueues nothing.  A definition is kept in the template book
(in the store) and told once, by a record in the queue `$schemas`, however often the device is started; it is told again
only where that record was given up (a full store), where nobody knows what became of it, or where the service asks for it
(it has lost its store).  Which queue has which template is a matter of this run: applications define their templates when
they start.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rataccess.objects import Object, ReceiptState, Service, encode
from rataccess.store import Store
from rataccess.template import Template, TemplateBook
from rataccess.wire import MOST_WANTED

QUEUE = "$schemas"
_ARRIVED = b"\x00"
AGAIN = 3600.0
"""Seconds before the same is told again that a service asks for: one that cannot keep it would ask for ever."""


class Definitions:
    """One channel's; `untold` are those that the service is still to be told of.  May be used from any thread."""

    def __init__(self, service: Service, store: Store, book: TemplateBook) -> None:
        self._service, self._store, self._book = service, store, book
        self._gate = threading.Lock()
        self._queues: dict[str, Template] = {}
        self._seen: set[int] = set()
        self._untold: dict[int, Template] = {}
        self._told: dict[int, Template] = {}
        """By the number of the record that tells it, until that has arrived."""
        self._retold: dict[int, float] = {}
        """When the service was last told what it asked for."""

    @property
    def untold(self) -> bool:
        """Whether the service is to be told of something."""
        return bool(self._untold)

    def define(self, template: Template) -> None:
        """Objects of the queue `template.name` must fit it from now on; `TemplateError` where its id is taken."""
        with self._gate:
            self._learn(template)
            self._queues[template.name] = template

    def fitted(self, value: Object, queue: str, template: Template | None) -> tuple[Object, int | None]:
        """`value` as it will be read back, and the id of the template that it fits; raises `TemplateError`.

        Without a `template` it is the one that the queue is defined with, if any.
        """
        found = template if template is not None else self._queues.get(queue)
        if found is None:
            return value, None
        canonical = found.canonical(value)
        if found.id not in self._seen:
            with self._gate:
                self._learn(found)
        return canonical, found.id

    def wanted(self, asked: Sequence[int], now: float) -> list[bytes]:
        """The service asks for these (docs/wire.md, control 19): schema ids, and -1 - id for the name of a queue.

        Returns the objects that tell names; definitions are `untold` now.  What this device does not know, what is still on
        its way, and what was told for the same reason within the last hour (`now`: monotonic) is left out.
        """
        names = []
        for each in asked[:MOST_WANTED]:
            if now - self._retold.get(each, -AGAIN) < AGAIN:
                continue
            if each < 0:
                name = self._store.queue_name(self._service, -1 - each)
                found = name is not None
                names += [encode([each, name])] if found else []
            else:
                found = self._tell_again(each)
            if found:
                self._retold[each] = now
        return names

    def _tell_again(self, schema: int) -> bool:
        """Have a definition told once more; whether it is known here, and not on its way."""
        with self._gate:
            template = self._book.find(schema)
            if template is None or schema in self._untold or self._on_its_way(template):
                return False
            self._untold[schema] = template
            return True

    def take_untold(self) -> list[tuple[Template, bytes]]:
        """The definitions to be told, each with the object that tells it; `told` or `failed` follows for each."""
        with self._gate:
            taken, self._untold = list(self._untold.values()), {}
        return [(template, encode([template.id, template.definition()])) for template in taken]

    def told(self, template: Template, number: int) -> None:
        """The record of that number will tell the service."""
        with self._gate:
            self._told[number] = template
        self._store.put(self._key(template), number.to_bytes(8, "big"))

    def failed(self, template: Template) -> None:
        """It could not be enqueued: another time."""
        with self._gate:
            self._untold[template.id] = template

    def settled(self, numbers: Sequence[int], state: ReceiptState) -> None:
        """These records are done with."""
        if not self._told:
            return
        for number in numbers:
            with self._gate:
                template = self._told.pop(number, None)
                if template is not None and state is not ReceiptState.DELIVERED:
                    self._untold[template.id] = template  # the store was full and gave it up
                    continue
            if template is not None:
                self._store.put(self._key(template), _ARRIVED)

    def _learn(self, template: Template) -> None:
        """Once in a run; hold the gate."""
        self._book.define(template)
        if template.id in self._seen:
            return
        self._seen.add(template.id)
        if self._store.get(self._key(template)) == _ARRIVED:
            return
        if (number := self._on_its_way(template)) is not None:
            self._told[number] = template
        else:
            self._untold[template.id] = template

    def _on_its_way(self, template: Template) -> int | None:
        """The record that tells it, where that is still queued."""
        kept = self._store.get(self._key(template))
        number = int.from_bytes(kept or b"", "big")
        return number if number and self._store.holds(self._service, number) else None

    def _key(self, template: Template) -> str:
        return f"schema-told/{self._service}/{template.id}"
