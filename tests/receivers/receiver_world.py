"""A store with records in it, on this thread, and a receiver that does what it is told: what the tests of this folder share.

Rules of this file: no clock and no network.  A kill is an exception of its own, which nothing in the product catches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from rataccess.clock import Clock
from rataccess.errors import DiskFull
from rataccess.objects import Urgency, encode
from rataccess.services.receivers import Forwarding, NdjsonSettings, Receiver
from rataccess.services.receivers.choice import Choice
from rataccess.services.receivers.settings import ReceiverSettings
from rataccess.services.store import Changes, ServiceStore, StoredRecord, open_store

NOW = 1_790_000_000.0
T = TypeVar("T")


class Killed(BaseException):
    """The process ends here."""


class Records:
    """A store, and devices that have sent records to it."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self.store: ServiceStore = open_store(self.url)
        self._numbers: dict[str, int] = {}

    def add(
        self, *values: object, serial_number: str = "A1", queue: str = "readings", link: str | None = "lte"
    ) -> None:
        """Each of `values` is a record of its own."""
        self.store.commit(Changes(records=[self._row(serial_number, queue, each, link) for each in values]), {})

    def _row(self, serial_number: str, queue: str, value: object, link: str | None) -> tuple[Any, ...]:
        number = self._numbers[serial_number] = self._numbers.get(serial_number, 0) + 1
        device = self.store.device(serial_number, serial_number.encode())
        return (device.id, number, queue, int(Urgency.ROUTINE), NOW + 0.25, NOW + number, link, encode(value))

    def packet(self, data: bytes, serial_number: str = "A1") -> None:
        device = self.store.device(serial_number, serial_number.encode())
        row = (device.id, None, "$packets", int(Urgency.ROUTINE), None, NOW, None, encode(data))
        self.store.commit(Changes(records=[row]), {})

    def all(self) -> list[StoredRecord]:
        return self.store.records_after(None, 10_000, 1 << 30)

    def close(self) -> None:
        self.store.close()


class Inline:
    """A store's handle used on the loop itself, which virtual time needs; fails or dies where it is told."""

    def __init__(self, url: str, trouble: Callable[[str], None] = lambda moment: None) -> None:
        self._store = open_store(url)
        self._trouble = trouble

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        self._trouble("before the store")
        result = work(self._store)
        self._trouble("after the store")
        return result

    async def aclose(self) -> None:
        self._store.close()


class Told(Receiver):
    """Keeps what it takes; `behave` may raise before or after taking a batch."""

    most = 10
    tries = 2

    def __init__(self, behave: Callable[[str, Sequence[StoredRecord]], None] = lambda moment, batch: None) -> None:
        self.behave = behave
        self.taken: list[StoredRecord] = []
        self.sizes: list[int] = []
        self.open_now = 0

    async def open(self, state: bytes | None) -> None:
        self.behave("open", [])
        self.open_now += 1

    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        assert self.open_now == 1
        self.sizes.append(len(batch))
        self.behave("before", batch)
        self.taken += batch
        await asyncio.sleep(0)
        self.behave("after", batch)

    async def aclose(self) -> None:
        self.open_now = 0


def forwarding(
    receiver: Receiver,
    url: str,
    clock: Clock,
    *,
    name: str = "told",
    settings: ReceiverSettings | None = None,
    trouble: Callable[[str], None] = lambda moment: None,
) -> Forwarding:
    choice = Choice(settings or NdjsonSettings(name=name, file="unused"))
    return Forwarding(receiver, choice, Inline(url, trouble), clock, name=name, kind="told", random=Random(1))


async def drained(forwarding: Forwarding) -> None:
    """Everything that is there, and the end."""
    forwarding.finish()
    await forwarding.run()


def positions(records: Iterable[StoredRecord]) -> list[tuple[str, int | None]]:
    return [(each.serial_number, each.number) for each in records]


def no_room() -> DiskFull:
    return DiskFull("no room")
