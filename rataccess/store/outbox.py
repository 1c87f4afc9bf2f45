"""The outbox within a transaction: what the one who commits does to it.

Rules of this file: every method runs inside a transaction of the committing thread, or in `load`; nothing here commits,
waits or calls back.  `begin` and `rollback` bracket the state in memory as the transaction brackets the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from rataccess.config.model import StoreSettings
from rataccess.errors import ObjectError
from rataccess.objects import MAX_OBJECT_BYTES, ReceiptState, Service
from rataccess.store.records import Accepted, NewRecord
from rataccess.store.room import Newcomer, victims
from rataccess.store.schema import (
    CLASSES,
    HANDED,
    INDEX,
    LAST_NUMBER,
    NUMBER_BITS,
    QUEUE_BITS,
    SERVICES,
    key_of,
    number_of,
    runs,
)
from rataccess.store.totals import COUNTED, SHARE, Totals
from rataccess.wire import RESERVED_QUEUES

Settled = tuple[Service, list[int], ReceiptState]

_INSERT = (
    "INSERT INTO outbox (key, queue, body, captured_at, boot, monotonic, time_known, expires_at, max_cost, links,"
    " replaces, template) VALUES "
)
_INSERTS = {rows * 12: _INSERT + ",".join(["(?,?,?,?,?,?,?,?,?,?,?,?)"] * rows) for rows in (64, 32, 16, 8, 4, 2, 1)}
"""Many rows in one statement: sqlite3 gives the interpreter away for each, and waiting producers are slow to return it."""
_UNWRITTEN_RECORDS = 4096
"""Additions that may be missing from the totals in the file: the most that is counted again after a crash."""
_UNWRITTEN_BYTES = 8 * 1024 * 1024
EXPIRE_AT_ONCE = 4096
"""Records that expire in one transaction: a long one would keep producers waiting."""


class Outbox:
    """Records to be sent, their numbers, queues and boots."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self.totals = Totals()
        self.queues: dict[int, tuple[str, bool]] = {}
        """Name and whether the service knows it, by service * 2^32 + queue id."""
        self._queue_ids: dict[tuple[int, str], int] = {}
        self.boots: dict[int, bytes] = {}
        self._boot_ids: dict[bytes, int] = {}
        self.settled: list[Settled] = []
        """What this transaction settled, to be announced after it."""
        self._values: list[object] = []
        """Of the accepted rows that are not inserted yet, one after the other."""
        self._rows_bytes = 0
        self._moved = False
        self._written = Totals()
        self._before = (self._written, 0, 0)
        self._connection: sqlite3.Connection
        self._set_limits()

    def _set_limits(self) -> None:
        # Below these nothing is lacking, whoever asks (totals.lacking): one comparison each for nearly every record.
        records, size = self._settings.max_records, self._settings.max_bytes
        self._easy_records = records - 2 * (records // SHARE)
        self._easy_bytes = size - 2 * (size // SHARE)

    # --- transactions -------------------------------------------------------------------------------------------------

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what is kept in memory; raises `sqlite3.Error` and `StoreCorrupt`."""
        row = connection.execute("SELECT value FROM totals").fetchone()
        self.totals = Totals.load(row[0]) if row else Totals()
        self._written = self.totals.copy()
        for class_ in range(CLASSES):
            self._count_new(connection, class_)
        self.queues = {key: (name, bool(known)) for key, name, known in connection.execute("SELECT * FROM queues")}
        self._queue_ids = {(key >> QUEUE_BITS, name): key for key, (name, _) in self.queues.items()}
        for key in self.queues:
            service = key >> QUEUE_BITS
            self.totals.next_queue[service] = max(self.totals.next_queue[service], (key & 0xFFFF_FFFF) + 1)
        self.boots = dict(connection.execute("SELECT id, boot FROM boots"))
        self._boot_ids = {boot: key for key, boot in self.boots.items()}

    def _count_new(self, connection: sqlite3.Connection, class_: int) -> None:
        low = key_of(class_, self._written.last[class_ >> 3])
        count, size, top = connection.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0), max(key) FROM outbox WHERE key > ? AND key <= ?",
            (low, key_of(class_, LAST_NUMBER)),
        ).fetchone()
        if count:
            self.totals.add(class_, count, size)
            self.totals.last[class_ >> 3] = max(self.totals.last[class_ >> 3], number_of(top))
            self.totals.counters["enqueued"] += count

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction has begun on `connection`."""
        self._connection = connection
        self._before = (self.totals, len(self.queues), len(self.boots))
        self.totals = self.totals.copy()
        self._moved = False
        self.settled = []

    def rollback(self) -> None:
        """The transaction came to nothing."""
        self.totals, queues, boots = self._before
        self._values.clear()
        self._rows_bytes = 0
        self.settled = []
        for key in list(self.queues)[queues:]:
            del self._queue_ids[key >> QUEUE_BITS, self.queues.pop(key)[0]]
        for key in list(self.boots)[boots:]:
            del self._boot_ids[self.boots.pop(key)]

    def finish(self) -> None:
        """Write what the transaction still holds back; to be called just before the commit."""
        self.flush()
        self.totals.counters["enqueued"] += sum(self.totals.last) - sum(self._before[0].last)
        new = sum(self.totals.last) - sum(self._written.last)
        if self._moved or new > _UNWRITTEN_RECORDS or self.totals.size - self._written.size > _UNWRITTEN_BYTES:
            self.write_totals()

    def write_totals(self) -> None:
        """Make the totals of the file current."""
        self._connection.execute("INSERT OR REPLACE INTO totals VALUES (1, ?)", (self.totals.dump(),))
        self._moved = True

    def committed(self) -> list[Settled]:
        """The transaction is in the file; returns what it settled."""
        if self._moved:
            self._written = self.totals
        settled, self.settled = self.settled, []
        return settled

    def flush(self) -> None:
        """Insert the accepted rows."""
        values, done = self._values, 0
        if not values:
            return
        for size, insert in _INSERTS.items():
            while len(values) - done >= size:
                self._connection.execute(insert, values[done : done + size])
                done += size
        values.clear()
        self._rows_bytes = 0

    # --- adding -------------------------------------------------------------------------------------------------------

    def accept(self, new: NewRecord) -> Accepted:
        """Number a record and keep it; raises `StoreFull` or `ObjectError`, with nothing changed."""
        totals, size = self.totals, len(new.body)
        service = INDEX[new.service]
        replaced: list[int] = []
        if new.replaces is not None or totals.count >= self._easy_records or totals.size + size > self._easy_bytes:
            replaced = self._make_room(service, new, size)
        class_ = service << 3 | new.urgency
        number = totals.last[service] + 1
        queue, boot = new.queue, new.boot
        self._values += (
            class_ << NUMBER_BITS | number,
            self._queue_ids.get((service, queue)) or self.queue_key(service, queue),
            new.body,
            new.captured_at,
            self._boot_ids.get(boot) or self._boot(boot),
            new.monotonic,
            new.time_known,
            new.expires_at,
            new.max_cost,
            ",".join(new.links) if new.links else None,
            new.replaces,
            new.template,
        )
        totals.last[service] = number
        totals.records[class_] += 1
        totals.sizes[class_] += size
        totals.count += 1
        totals.size += size
        self._rows_bytes += size
        if self._rows_bytes > _UNWRITTEN_BYTES:
            self.flush()
        if replaced:
            self._remove(replaced, ReceiptState.REPLACED)
        return Accepted(number)

    def queue_key(self, service: int, name: str) -> int:
        """The key of a queue, which is given one where it is new."""
        reserved = RESERVED_QUEUES.get(name)
        if reserved is not None:
            return service << QUEUE_BITS | reserved
        key = self._queue_ids.get((service, name))
        if key is None:
            key = service << QUEUE_BITS | self.totals.next_queue[service]
            self._connection.execute("INSERT INTO queues VALUES (?, ?, 0)", (key, name))
            self.totals.next_queue[service] += 1
            self.queues[key] = (name, False)
            self._queue_ids[service, name] = key
        return key

    def known_queue(self, service: int, name: str) -> int | None:
        """The key of a queue that has one."""
        return self._queue_ids.get((service, name))

    def confirm_queue(self, key: int) -> None:
        """The service knows what this queue is called."""
        if key in self.queues:
            self._connection.execute("UPDATE queues SET known = 1 WHERE key = ?", (key,))

    def _boot(self, boot: bytes) -> int:
        key = max(self.boots, default=0) + 1
        self._connection.execute("INSERT INTO boots VALUES (?, ?)", (key, boot))
        self.boots[key] = boot
        self._boot_ids[boot] = key
        return key

    # --- room ---------------------------------------------------------------------------------------------------------

    def _make_room(self, service: int, new: NewRecord, size: int) -> list[int]:
        """Drop what must go for `new`; returns the keys that it replaces."""
        if size > min(MAX_OBJECT_BYTES, self._settings.max_bytes):
            limit = min(MAX_OBJECT_BYTES, self._settings.max_bytes)
            raise ObjectError(f"the object takes {size} bytes, the store holds at most {limit}; split it")
        self.flush()
        room = self.totals.copy()
        replaced = self._replaced_by(service, new.replaces) if new.replaces is not None else {}
        for key, length in replaced.items():
            room.add(key >> NUMBER_BITS, -1, -length)
        newcomer = Newcomer(service, new.urgency, size)
        self._remove(victims(self._connection, self._settings, room, newcomer, replaced), ReceiptState.DROPPED)
        return list(replaced)

    def _replaced_by(self, service: int, replaces: str) -> dict[int, int]:
        low = key_of(service << 3, 0)
        found = self._connection.execute(
            "SELECT key, length(body) FROM outbox WHERE replaces = ? AND key > ? AND key < ? AND attempts = 0",
            (replaces, low, key_of(service << 3 | HANDED, 0)),
        )
        return dict(found.fetchall())

    # --- removing and moving ------------------------------------------------------------------------------------------

    def _remove(self, keys: Iterable[int], state: ReceiptState) -> None:
        """Delete records by key."""
        self.flush()
        for key in keys:
            self._delete(key, key, state)

    def _delete(self, low: int, high: int, state: ReceiptState) -> list[int]:
        """Delete a range of keys of one class, and count and announce what was there."""
        found = self._connection.execute(
            "DELETE FROM outbox WHERE key BETWEEN ? AND ? RETURNING key, length(body)", (low, high)
        ).fetchall()
        return self._count_settled(found, state)

    def _count_settled(self, found: list[tuple[int, int]], state: ReceiptState) -> list[int]:
        numbers: tuple[list[int], list[int]] = ([], [])
        for key, size in found:
            self.totals.add(key >> NUMBER_BITS, -1, -size)
            numbers[key >> NUMBER_BITS + 3].append(number_of(key))
        for service, gone in enumerate(numbers):
            if gone:
                self.settled.append((SERVICES[service], sorted(gone), state))
        if found:
            self._moved = True
            self.totals.counters[COUNTED[state]] += len(found)
        return numbers[0] + numbers[1]

    def _classes(self, service: int) -> list[int]:
        """The classes of a service that hold records."""
        self.flush()
        return [class_ for class_ in range(service << 3, (service << 3) + 8) if self.totals.records[class_]]

    def settle(self, service: Service, numbers: Iterable[int], state: ReceiptState) -> None:
        """Delete records for good; numbers that are not there are ignored."""
        index = INDEX[service]
        before = len(self.settled)
        for start, end in runs(numbers, self.totals.last[index]):
            for class_ in self._classes(index):
                self._delete(key_of(class_, start), key_of(class_, end), state)
        settled = [number for _, gone, _ in self.settled[before:] for number in gone]
        if settled:  # one announcement however many runs there were
            self.settled[before:] = [(service, sorted(settled), state)]

    def expire(self, now: float, undated: bool) -> bool:
        """Settle records whose deadline has passed; returns whether there may be more.  See `due` for `undated`."""
        self.flush()
        found = self._connection.execute(
            "DELETE FROM outbox WHERE key IN (SELECT key FROM outbox WHERE expires_at <= ? AND time_known >= ?"
            " ORDER BY expires_at LIMIT ?) RETURNING key, length(body)",
            (now, 0 if undated else 1, EXPIRE_AT_ONCE),
        ).fetchall()
        self._count_settled(found, ReceiptState.EXPIRED)
        return len(found) == EXPIRE_AT_ONCE

    def hand_over(self, service: Service, when: Mapping[int, float]) -> None:
        """Move records out of the way of sending until the time (wall seconds) given for each."""
        index = INDEX[service]
        for start, end in runs(when, self.totals.last[index]):
            for class_ in self._classes(index):
                self._hand_over(class_, start, end, when)

    def _hand_over(self, class_: int, start: int, end: int, when: Mapping[int, float]) -> None:
        found = self._connection.execute(
            "SELECT key, length(body) FROM outbox WHERE key BETWEEN ? AND ?",
            (key_of(class_, start), key_of(class_, end)),
        ).fetchall()
        target = class_ | HANDED
        self._connection.executemany(
            "UPDATE outbox SET key = ?, resend_at = ? WHERE key = ?",
            [(key_of(target, number_of(key)), when[number_of(key)], key) for key, _ in found],
        )
        if found:
            self._moved = True
            size = sum(size for _, size in found)
            self.totals.add(class_, -len(found), -size)
            self.totals.add(target, len(found), size)

    def mark_sent(self, service: Service, attempts: Mapping[int, int]) -> None:
        """Count attempts."""
        for class_ in self._classes(INDEX[service]):
            self._connection.executemany(
                "UPDATE outbox SET attempts = attempts + ? WHERE key = ?",
                [(more, key_of(class_, number)) for number, more in attempts.items()],
            )

    def restamp(self, boot: bytes, offset: float, now: float) -> int:
        """See `Store.restamp`."""
        self.flush()
        key = self._boot_ids.get(boot, 0)
        changed = self._connection.execute(
            "UPDATE outbox SET time_known = 1, captured_at = monotonic + ?1,"
            " expires_at = expires_at + coalesce(monotonic + ?1 - captured_at, 0) WHERE time_known = 0 AND boot = ?2",
            (offset, key),
        ).rowcount
        # Nobody can date the records of earlier boots any more: their time to live starts again, once.
        self._connection.execute(
            "UPDATE outbox SET captured_at = NULL, expires_at = expires_at + ?1 - captured_at"
            " WHERE time_known = 0 AND boot <> ?2 AND captured_at IS NOT NULL",
            (now, key),
        )
        return changed
