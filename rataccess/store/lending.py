"""Inbound records that are with the application: lent, until they are acknowledged or given back.

Rules of this file: what is in memory about the inbox; no SQL of its own.  A record that is lent stays in the file, so that
every end of the process but an acknowledged one brings it back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rataccess.objects import Service
from rataccess.store.engine import Engine
from rataccess.store.inbox import inbox_key, oldest
from rataccess.store.records import Inbound


class Lending:
    """Which records of the inbox are lent in this run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = threading.Lock()
        self._lent: set[int] = set()
        self._passed: dict[tuple[Service, str | None], int] = {}
        """Keys up to here are lent or gone: a look need not begin before, however many records were never acknowledged."""

    def lend(self, service: Service, queue: str | None) -> Inbound | None:
        """The oldest record that is not lent, from now on lent; `None` where there is none."""
        engine, place = self._engine, (service, queue)
        with self._gate:
            gone = [*engine.taken(), self._lent]
            after = self._passed.get(place, -1)
            found: tuple[int, Inbound] | None = engine.read(lambda source: oldest(source, service, queue, after, gone))
            if found is None:
                return None
            key, record = found
            self._lent.add(key)
            self._passed[place] = key
            return record

    def acknowledge(self, service: Service, number: int) -> bool:
        """Have a record that is lent removed with the next commit; returns whether it was lent."""
        key = inbox_key(service, number)
        with self._gate:
            if key not in self._lent:
                return False
            with self._engine.soft_lock:
                self._engine.soft.taken.add(key)
            self._lent.discard(key)
            return True

    def give_back(self, service: Service, number: int) -> bool:
        """Let a record that is lent be lent again; returns whether it was."""
        key = inbox_key(service, number)
        with self._gate:
            if key not in self._lent:
                return False
            self._lent.discard(key)
            self._look_again(key)
            return True

    def arrived(self, service: Service, numbers: Sequence[int]) -> None:
        """These were committed to the inbox: they may be older than what was lent."""
        if numbers:
            with self._gate:
                self._look_again(inbox_key(service, min(numbers)))

    def _look_again(self, key: int) -> None:
        """From `key` on; hold the gate."""
        for place, passed in self._passed.items():
            if passed >= key:
                self._passed[place] = key - 1
