"""What arrived, and what is only kept: inbound records, received numbers, named objects and the key-value memory.

Rules of this file: every method that writes runs inside a transaction of the committing thread; nothing here commits,
waits or calls back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rataccess.config.model import StoreSettings
from rataccess.errors import ObjectError, StoreCorrupt, StoreFull
from rataccess.numbers import NumberSet
from rataccess.objects import Service, decode, encode
from rataccess.store.records import Inbound
from rataccess.store.schema import INDEX, SERVICES

_NUMBER_BITS = 54
"""An inbound number may be 2^53 itself (rataccess/numbers.py)."""
_PAGE = 64
COUNTER_PREFIX = "security/"
COUNTER_SUFFIX = "/sequence"
COUNTER_BYTES = 8
"""A memory key `security/.../sequence` holds an 8 byte big-endian number that must never restart lower."""


def is_counter(key: str) -> bool:
    """Whether a memory key holds such a counter."""
    return key.startswith(COUNTER_PREFIX) and key.endswith(COUNTER_SUFFIX) and "\n" not in key


class Inbox:
    """Inbound records and the numbers received; limited like the outbox, apart from it."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._received = {service: NumberSet() for service in SERVICES}
        self._pending: dict[Service, NumberSet] = {}
        self._records = self._bytes = 0
        self._before = (0, 0)

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what is kept in memory; raises `sqlite3.Error` and `StoreCorrupt`."""
        for index, blob in connection.execute("SELECT service, numbers FROM received"):
            self._received[SERVICES[index]] = load_numbers(blob)
        self._records, self._bytes = connection.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM inbox"
        ).fetchone()

    def begin(self) -> None:
        """A transaction has begun."""
        self._pending = {}
        self._before = (self._records, self._bytes)

    def rollback(self) -> None:
        """It came to nothing."""
        self._pending = {}
        self._records, self._bytes = self._before

    def committed(self) -> None:
        """It is in the file."""
        self._received.update(self._pending)
        self._pending = {}

    def received(self, service: Service) -> NumberSet:
        """The numbers received, as committed."""
        return self._received[service].copy()

    def receive(
        self, connection: sqlite3.Connection, service: Service, records: Sequence[Inbound], received: NumberSet
    ) -> None:
        """Keep records and numbers; a record whose number was received before is left out; raises `StoreFull`."""
        known = self._pending.get(service, self._received[service])
        fresh = {record.number: record for record in records if record.number not in known}
        size = sum(len(record.body) for record in fresh.values())
        if fresh and (
            self._records + len(fresh) > self._settings.max_records or self._bytes + size > self._settings.max_bytes
        ):
            raise StoreFull(
                f"the inbox holds {self._records} records of {self._bytes} bytes and has no room for {len(fresh)} of {size} "
                "more; dequeue some, or raise store.max_records or store.max_bytes"
            )
        connection.executemany(
            "INSERT OR IGNORE INTO inbox VALUES (?, ?, ?, ?)",
            [(inbox_key(service, one.number), one.queue, one.body, one.captured_at) for one in fresh.values()],
        )
        connection.execute("INSERT OR REPLACE INTO received VALUES (?, ?)", (INDEX[service], dump_numbers(received)))
        self._pending[service] = received.copy()
        self._records += len(fresh)
        self._bytes += size

    def remove(self, connection: sqlite3.Connection, keys: Iterable[int]) -> None:
        """Delete what was taken."""
        for key in keys:
            for (size,) in connection.execute(
                "DELETE FROM inbox WHERE key = ? RETURNING length(body)", (key,)
            ).fetchall():
                self._records -= 1
                self._bytes -= size


def inbox_key(service: Service, number: int) -> int:
    """The inbox key of a record."""
    return INDEX[service] << _NUMBER_BITS | number


def oldest(
    connection: sqlite3.Connection, service: Service, queue: str | None, taken: Sequence[set[int]]
) -> tuple[int, Inbound] | None:
    """The inbound record of lowest number that is in none of `taken`, with its key."""
    after, end = inbox_key(service, 0) - 1, inbox_key(service, 0) + (1 << _NUMBER_BITS)
    where = "key > ? AND key < ?" + ("" if queue is None else " AND queue = ?")
    more = () if queue is None else (queue,)
    while True:
        keys = connection.execute(
            f"SELECT key FROM inbox WHERE {where} ORDER BY key LIMIT {_PAGE}", (after, end, *more)
        )
        page = [key for (key,) in keys]
        if not page:
            return None
        for key in page:
            if not any(key in some for some in taken):
                return key, _inbound(connection, key)
        after = page[-1]


def _inbound(connection: sqlite3.Connection, key: int) -> Inbound:
    queue, body, captured_at = connection.execute(
        "SELECT queue, body, captured_at FROM inbox WHERE key = ?", (key,)
    ).fetchone()
    return Inbound(key & (1 << _NUMBER_BITS) - 1, queue, body, captured_at)


def dump_numbers(numbers: NumberSet) -> bytes:
    """A set of numbers as kept in the file."""
    return encode([numbers.floor, [list(one) for one in numbers.ranges()]])


def load_numbers(data: bytes) -> NumberSet:
    """The inverse of `dump_numbers`; raises `StoreCorrupt`."""
    try:
        values: Any = decode(data)
        floor, ranges = values
        return NumberSet(floor, [(start, end) for start, end in ranges])
    except (ObjectError, TypeError, ValueError) as error:
        raise StoreCorrupt("a set of received numbers cannot be read") from error


def write_memory(connection: sqlite3.Connection, values: Mapping[str, bytes]) -> None:
    """Keep values of the key-value memory."""
    connection.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", list(values.items()))


def write_objects(connection: sqlite3.Connection, values: Mapping[tuple[Service, str], bytes]) -> None:
    """Keep named objects."""
    rows = [(INDEX[service], name, value) for (service, name), value in values.items()]
    connection.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", rows)
