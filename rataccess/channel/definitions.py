"""The templates that a channel's objects must fit, and whether the service has been told of them.

Rules of this file: it says which record is to be enqueued; it enqueues nothing.  A definition is kept in the template book
(in the store) and told once, by a record in the queue `$schemas`, however often the device is started; it is told again
only where that record was given up (a full store) or where nobody knows what became of it.  Which queue has which template
is a matter of this run: applications define their templates when they start.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rataccess.objects import Object, ReceiptState, Service, encode
from rataccess.store import Store
from rataccess.template import Template, TemplateBook

QUEUE = "$schemas"
_ARRIVED = b"\x00"


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
        kept = self._store.get(self._key(template))
        if kept == _ARRIVED:
            return
        number = int.from_bytes(kept or b"", "big")
        if number and self._store.holds(self._service, number):
            self._told[number] = template
        else:
            self._untold[template.id] = template

    def _key(self, template: Template) -> str:
        return f"schema-told/{self._service}/{template.id}"
