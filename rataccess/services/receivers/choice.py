"""Which records a receiver may have.

Rules of this file: pure but for asking the store for fleets, afresh for each batch: a device that was moved out of a fleet
is not forwarded to that fleet's receivers any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rataccess.services.receivers.settings import ReceiverSettings

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore, StoredRecord


class Choice:
    """`queues`, and `devices` or `fleets`, of a receiver's settings."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self._queues = None if settings.queues is None else frozenset(settings.queues)
        self._devices = frozenset(settings.devices or ())
        self._fleets = frozenset(settings.fleets or ())
        self._any_device = settings.devices is None and settings.fleets is None

    def among(self, records: Sequence[StoredRecord], store: ServiceStore) -> list[StoredRecord]:
        """Those of `records` that the receiver may have, in their order."""
        found = [each for each in records if self._queues is None or each.queue in self._queues]
        if self._any_device:
            return found
        serial_numbers = {each.serial_number for each in found}
        chosen = {each for each in serial_numbers if each in self._devices or self._in_fleet(each, store)}
        return [each for each in found if each.serial_number in chosen]

    def _in_fleet(self, serial_number: str, store: ServiceStore) -> bool:
        return bool(self._fleets) and not self._fleets.isdisjoint(store.fleets(serial_number))
