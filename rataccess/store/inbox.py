"""What arrived, and what is only kept: inbound records, received numbers, named objects and the key-value memory.

Rules of this file: every method that writes runs inside a transaction of the committing thread; nothing here commits,
waits or calls back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any

from rataccess.config.model import StoreSettings
from rataccess.errors import ObjectError, StoreCorrupt, StoreFull
from rataccess.numbers import NumberSet
from rataccess.objects import Service, decode, encode
from rataccess.store.records import Inbound
from rataccess.store.schema import INDEX, SERVICES
from rataccess.store.totals import SHARE
from rataccess.wire import RESERVED_QUEUES

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
        self._counts = Counts()
        self._before = self._counts

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what is kept in memory; raises `sqlite3.Error` and `StoreCorrupt`."""
        for index, blob in connection.execute("SELECT service, numbers FROM received"):
            self._received[SERVICES[index]] = load_numbers(blob)
        self._counts = Counts()
        for index, queue, records, size in connection.execute(
            f"SELECT key >> {_NUMBER_BITS}, queue, count(*), sum(length(body)) FROM inbox GROUP BY 1, 2"
        ):
            self._counts.add(index, queue, records, size)

    def begin(self) -> None:
        """A transaction has begun."""
        self._pending = {}
        self._before = self._counts  # replaced, never changed

    def rollback(self) -> None:
        """It came to nothing."""
        self._pending = {}
        self._counts = self._before

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
        counts, index = self._counts.copy(), INDEX[service]
        for record in fresh.values():
            counts.add(index, record.queue, 1, len(record.body))
        ordinary = any(record.queue not in RESERVED_QUEUES for record in fresh.values())
        if fresh and counts.break_limit(self._settings, index, ordinary=ordinary):
            raise StoreFull(
                f"the inbox holds {sum(self._counts.records)} records of {sum(self._counts.sizes)} bytes and has no room "
                f"for {len(fresh)} more; dequeue and acknowledge some, or raise store.max_records or store.max_bytes"
            )
        connection.executemany(
            "INSERT OR IGNORE INTO inbox VALUES (?, ?, ?, ?)",
            [(inbox_key(service, one.number), one.queue, one.body, one.captured_at) for one in fresh.values()],
        )
        connection.execute("INSERT OR REPLACE INTO received VALUES (?, ?)", (INDEX[service], dump_numbers(received)))
        self._pending[service] = received.copy()
        self._counts = counts

    def has_room(self, service: Service, share: int, size: int) -> bool:
        """Whether an application's records of one part in `share` of each limit would find room, and one of `size` bytes;
        in any case where it holds none of them."""
        counts, settings, index = self._counts.copy(), self._settings, INDEX[service]
        if not counts.records[2 * index]:
            return True
        counts.add(index, "", settings.max_records // share + 1, max(size, settings.max_bytes // share))
        return not counts.break_limit(settings, index, ordinary=True)

    def remove(self, connection: sqlite3.Connection, keys: Collection[int]) -> None:
        """Delete what was taken."""
        counts = self._counts.copy() if keys else self._counts
        for key in keys:
            for queue, size in connection.execute(
                "DELETE FROM inbox WHERE key = ? RETURNING queue, length(body)", (key,)
            ).fetchall():
                counts.add(key >> _NUMBER_BITS, queue, -1, -size)
        self._counts = counts


class Counts:
    """Records and bytes in the inbox: by service, and of those apart what is in reserved queues."""

    def __init__(self) -> None:
        self.records = [0, 0, 0, 0]
        self.sizes = [0, 0, 0, 0]
        """Ordinary and reserved ones of the first service, then of the second."""

    def copy(self) -> Counts:
        """An independent copy."""
        copy = Counts()
        copy.records, copy.sizes = self.records[:], self.sizes[:]
        return copy

    def add(self, service: int, queue: str, records: int, size: int) -> None:
        """Count more (or fewer)."""
        kind = 2 * service + (queue in RESERVED_QUEUES)
        self.records[kind] += records
        self.sizes[kind] += size

    def break_limit(self, settings: StoreSettings, service: int, *, ordinary: bool) -> bool:
        """Whether this is more than the settings allow, after something of `service` came in.

        A sixteenth of each limit is kept for the other service, and as much for the reserved queues: what an application
        leaves lying never locks out the environment, named objects and replies to calls.
        """
        for counts, limit in ((self.records, settings.max_records), (self.sizes, settings.max_bytes)):
            share = limit // SHARE
            mine = counts[2 * service : 2 * service + 2]
            if sum(counts) > limit or sum(mine) > limit - share:
                return True
            if ordinary and (counts[0] + counts[2] > limit - share or mine[0] > limit - 2 * share):
                return True
        return False


def inbox_key(service: Service, number: int) -> int:
    """The inbox key of a record."""
    return INDEX[service] << _NUMBER_BITS | number


def oldest(
    connection: sqlite3.Connection, service: Service, queue: str | None, after: int, gone: Sequence[Container[int]]
) -> tuple[int, Inbound] | None:
    """The inbound record of lowest key above `after` that is in none of `gone`, with its key.

    `queue` is `None` for any but the reserved ones, which are never an application's.
    """
    low, end = inbox_key(service, 0) - 1, inbox_key(service, 0) + (1 << _NUMBER_BITS)
    names = tuple(RESERVED_QUEUES) if queue is None else (queue,)
    where = f"queue {'NOT IN' if queue is None else 'IN'} ({','.join('?' * len(names))})"
    after = max(after, low)
    while True:
        keys = connection.execute(
            f"SELECT key FROM inbox WHERE key > ? AND key < ? AND {where} ORDER BY key LIMIT {_PAGE}",
            (after, end, *names),
        )
        page = [key for (key,) in keys]
        if not page:
            return None
        for key in page:
            if not any(key in some for some in gone):
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
    if values:
        connection.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", list(values.items()))


def write_objects(connection: sqlite3.Connection, values: Mapping[tuple[Service, str], bytes]) -> None:
    """Keep named objects."""
    if rows := [(INDEX[service], name, value) for (service, name), value in values.items()]:
        connection.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", rows)
