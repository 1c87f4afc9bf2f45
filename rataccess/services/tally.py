"""What a service counts, by cause, and how much of it is kept.

Rules of this file: what is kept are additions: several processes count in one store.
"""

from __future__ import annotations

import logging
from collections import Counter

from rataccess.errors import StoreCorrupt, StoreError
from rataccess.services.store import Changes, ServiceStore

logger = logging.getLogger("rataccess.services")


class Tally:
    """`counters` begin at what the store has."""

    def __init__(self, store: ServiceStore) -> None:
        self._store = store
        self.counters: Counter[str] = Counter(store.counters())
        self._kept = Counter(self.counters)

    @property
    def changed(self) -> bool:
        """Whether there is something to keep."""
        return self.counters != self._kept

    def count(self, cause: str) -> None:
        """Count one event."""
        self.counters[cause] += 1

    def take(self) -> dict[str, int]:
        """What was counted since the last call: the caller keeps it."""
        added = {cause: value - self._kept[cause] for cause, value in self.counters.items()}
        added = {cause: value for cause, value in added.items() if value}
        self._kept.update(added)
        return added

    def give_back(self, added: dict[str, int]) -> None:
        """It could not be kept."""
        self._kept.subtract(added)

    def save(self) -> None:
        """Keep everything now; what the store refuses is kept later."""
        added = self.take()
        if added:
            try:
                self._store.commit(Changes(), added)
            except StoreCorrupt:
                raise
            except StoreError as error:
                self.give_back(added)
                logger.warning("counters were not kept: %s", error)
