"""The store of one service: an SQLite file, and the one transaction in which a batch of messages takes effect.

Rules of this file: SQL lives here (and in `schema.py`, `admin.py`); no network, no keys, no meaning of messages.  What a
batch does is gathered in `Changes` and committed whole; nothing of it is in the file before.  Foreign errors leave as
`DiskFull` (nothing was kept, try again), `StoreCorrupt` or `StoreError`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

from rataccess.errors import DiskFull, StoreCorrupt, StoreError
from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.services.schema import SCHEMA, VERSION
from rataccess.wire import ENVIRONMENT_QUEUE, FIRST_FREE_QUEUE

Key = tuple[int, int]
"""Device and record number, or device and queue id."""
Row = tuple[Any, ...]
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(slots=True)
class Device:
    """One enrolment, as kept."""

    id: int
    serial_number: str
    kid: bytes
    received: NumberSet
    replay: bytes | None
    last_number: int
    """The highest record number given to a record for this device."""
    environment: bytes | None
    """The environment, encoded, that was last put among the records for this device."""
    paths: bytes | None
    """What the device has told of the paths it is heard over, encoded."""


@dataclass(slots=True)
class Changes:
    """What one batch does to the store.  Rows are in the order of the tables' columns."""

    devices: dict[int, Row] = field(default_factory=dict)
    """`received, replay, heard_at, link, paths` by device."""
    records: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    queues: dict[Key, str] = field(default_factory=dict)
    partials: dict[Key, Row] = field(default_factory=dict)
    fragments: dict[Key, list[tuple[int, bytes]]] = field(default_factory=dict)
    finished: set[Key] = field(default_factory=set)
    """Unfinished records that are whole now, or void."""
    objects: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)
    acknowledged: list[Key] = field(default_factory=list)
    known_queues: set[Key] = field(default_factory=set)

    def finish(self, key: Key) -> None:
        """Forget the parts of an unfinished record."""
        self.partials.pop(key, None)
        self.fragments.pop(key, None)
        self.finished.add(key)


class ServiceStore:
    """The file.  Used from one thread; any number of processes may have it open, one of them as the service (`own`)."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._version = self._data_version()
        self._lock: int | None = None

    @classmethod
    def open(cls, path: Path) -> ServiceStore:
        """Open or make the file.  Raises `DiskFull`, `StoreCorrupt` or `StoreError` (made by a newer program)."""
        with translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            try:
                _prepare(connection, path)
                return cls(path, connection)
            except BaseException:
                connection.close()
                raise

    def own(self) -> None:
        """Be the one process that runs the service on this file; raises `StoreError` where another does."""
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"another process serves from {self.path}; stop it, or configure another store") from error

    def close(self) -> None:
        """Idempotent."""
        with suppress(sqlite3.Error):
            self.connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> ServiceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ServiceStore {self.path}>"

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable when it ends (write-ahead log, synchronous FULL)."""
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def changed_elsewhere(self) -> bool:
        """Whether another process has committed since the last call."""
        before, self._version = self._version, self._data_version()
        return before != self._version

    def _data_version(self) -> int:
        with translated(self.path):
            return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    # --- devices ------------------------------------------------------------------------------------------------------

    def device(self, serial_number: str, kid: bytes) -> Device:
        """The enrolment, made where it is new."""
        with translated(self.path):
            found = self._find_device(serial_number, kid)
            if found is None:
                statement = "INSERT OR IGNORE INTO devices(serial_number, kid) VALUES (?, ?)"
                self.connection.execute(statement, (serial_number, kid))
                found = self._find_device(serial_number, kid)
        assert found is not None
        return found

    def _find_device(self, serial_number: str, kid: bytes) -> Device | None:
        row = self.connection.execute(
            "SELECT id, serial_number, kid, received, replay, last_number, environment, paths FROM devices"
            " WHERE serial_number = ? AND kid = ?",
            (serial_number, kid),
        ).fetchone()
        if row is None:
            return None
        id_, serial_number, kid, received, replay, last_number, environment, paths = row
        return Device(id_, serial_number, kid, _number_set(received), replay, last_number, environment, paths)

    def queues(self, device: int) -> dict[int, str]:
        """Names of the device's queues by id."""
        with translated(self.path):
            return dict(self.connection.execute("SELECT id, name FROM queues WHERE device = ?", (device,)).fetchall())

    # --- unfinished records -------------------------------------------------------------------------------------------

    def partials(self, device: int) -> list[Row]:
        """`number, queue_id, urgency, captured_at, total, [(start, end) ...]` of each unfinished record."""
        columns = "number, queue_id, urgency, captured_at, total"
        with translated(self.path):
            rows = self.connection.execute(f"SELECT {columns} FROM partials WHERE device = ?", (device,)).fetchall()
            statement = "SELECT start, start + length(body) FROM fragments WHERE device = ? AND number = ?"
            return [(*row, self.connection.execute(statement, (device, row[0])).fetchall()) for row in rows]

    def fragments(self, device: int, number: int, start: int, end: int) -> list[tuple[int, bytes]]:
        """What is kept of a record and touches `start` to `end - 1`, ascending."""
        with translated(self.path):
            return self.connection.execute(
                "SELECT start, body FROM fragments WHERE device = ? AND number = ?"
                " AND start < ? AND start + length(body) > ? ORDER BY start",
                (device, number, end, start),
            ).fetchall()

    # --- records for the device ---------------------------------------------------------------------------------------

    def pending(self, device: int) -> list[int]:
        """Numbers of the records that the device has not acknowledged, ascending."""
        statement = "SELECT number FROM outbound WHERE device = ? ORDER BY number"
        with translated(self.path):
            return [row[0] for row in self.connection.execute(statement, (device,))]

    def last_number(self, device: int) -> int:
        """The highest number given to a record for the device."""
        with translated(self.path):
            row = self.connection.execute("SELECT last_number FROM devices WHERE id = ?", (device,)).fetchone()
        return int(row[0])

    def outbound(self, device: int, number: int) -> Row | None:
        """`queue_id, name (None where the device knows it), urgency, created_at, body` of a record for the device."""
        with translated(self.path):
            found: Row | None = self.connection.execute(
                "SELECT o.queue_id, iif(q.known, NULL, q.name), o.urgency, o.created_at, o.body FROM outbound AS o"
                " LEFT JOIN outbound_queues AS q ON q.device = o.device AND q.id = o.queue_id"
                " WHERE o.device = ? AND o.number = ?",
                (device, number),
            ).fetchone()
        return found

    def enqueue(self, device: int, queue: str | int, body: bytes, urgency: Urgency, now: float) -> int:
        """Put a record for the device among those waiting and return its number.  `queue` is a name or a reserved id."""
        with self.transaction() as connection:
            if queue == ENVIRONMENT_QUEUE:  # the whole map each time: older ones are pointless
                connection.execute("DELETE FROM outbound WHERE device = ? AND queue_id = ?", (device, queue))
                connection.execute("UPDATE devices SET environment = ? WHERE id = ?", (body, device))
            queue_id = queue if isinstance(queue, int) else _queue_id(connection, device, queue)
            statement = "UPDATE devices SET last_number = last_number + 1 WHERE id = ? RETURNING last_number"
            number = int(connection.execute(statement, (device,)).fetchone()[0])
            row = (device, number, queue_id, int(urgency), now, body)
            connection.execute("INSERT INTO outbound VALUES (?, ?, ?, ?, ?, ?)", row)
        return number

    def renumber(self, device: int, floor: int) -> None:
        """Give the waiting records numbers above `floor`: the device remembers more than this store (an old copy)."""
        with self.transaction() as connection:
            numbers = [n for (n,) in connection.execute("SELECT number FROM outbound WHERE device = ?", (device,))]
            for last, number in enumerate(sorted(numbers, reverse=True)):
                moved = (floor + len(numbers) - last, device, number)
                connection.execute("UPDATE outbound SET number = ? WHERE device = ? AND number = ?", moved)
            connection.execute("UPDATE outbound_queues SET known = 0 WHERE device = ?", (device,))
            highest = (floor + len(numbers), device)
            connection.execute("UPDATE devices SET last_number = max(last_number, ?) WHERE id = ?", highest)

    def environment(self, serial_number: str, fleets: Sequence[str]) -> dict[str, str]:
        """The union of the fleets' environments (the later fleet's value holds), the device's own over all."""
        merged: dict[str, str] = {}
        with translated(self.path):
            for fleet in fleets:
                statement = "SELECT name, value FROM fleet_environment WHERE fleet = ?"
                merged.update(self.connection.execute(statement, (fleet,)).fetchall())
            statement = "SELECT name, value FROM device_environment WHERE serial_number = ?"
            merged.update(self.connection.execute(statement, (serial_number,)).fetchall())
        return merged

    # --- the batch ----------------------------------------------------------------------------------------------------

    def commit(self, changes: Changes, counters: dict[str, int]) -> None:
        """Do everything in `changes`, durably, or nothing.  `counters` are kept with it."""
        with self.transaction() as connection:
            many = connection.executemany
            many(_INSERT_RECORD, changes.records)
            many("INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)", changes.parked)
            for (device, queue_id), name in changes.queues.items():
                name_queue(connection, device, queue_id, name)
            many("INSERT INTO partials VALUES (?, ?, ?, ?, ?, ?)", changes.partials.values())
            for key, pieces in changes.fragments.items():
                many("INSERT INTO fragments VALUES (?, ?, ?, ?)", ((*key, *piece) for piece in pieces))
            many("DELETE FROM partials WHERE device = ? AND number = ?", changes.finished)
            many("DELETE FROM fragments WHERE device = ? AND number = ?", changes.finished)
            many(_UPSERT_OBJECT, changes.objects)
            many(_UPSERT_HEALTH, changes.health)
            many("DELETE FROM outbound WHERE device = ? AND number = ?", changes.acknowledged)
            many("UPDATE outbound_queues SET known = 1 WHERE device = ? AND id = ?", changes.known_queues)
            states = ((*row, device) for device, row in changes.devices.items())
            many("UPDATE devices SET received = ?, replay = ?, heard_at = ?, link = ?, paths = ? WHERE id = ?", states)
            many("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters.items())

    def counters(self) -> dict[str, int]:
        """What was counted so far, by cause."""
        with translated(self.path):
            return dict(self.connection.execute("SELECT name, value FROM counters").fetchall())

    # --- `Memory` for the security contexts -----------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or `None`."""
        with translated(self.path):
            row = self.connection.execute("SELECT value FROM memory WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put_now(self, key: str, value: bytes) -> None:
        """Keep `value`; on disk when this returns."""
        with translated(self.path):
            self.connection.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (key, value))

    put = put_now  # rare here (a context's sequence reservation): not worth a delay


_INSERT_RECORD = (
    "INSERT INTO records(device, number, queue, urgency, captured_at, received_at, link, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_LATER = (
    "WHERE (excluded.device, excluded.number) > (device, number)"  # the last record number wins, not the last arrival
)
_UPSERT_OBJECT = (
    "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (serial_number, name) DO UPDATE SET"
    " value = excluded.value, device = excluded.device, number = excluded.number, captured_at = excluded.captured_at,"
    f" received_at = excluded.received_at {_LATER}"
)
_UPSERT_HEALTH = (
    "INSERT INTO health VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (serial_number) DO UPDATE SET value = excluded.value,"
    " device = excluded.device, number = excluded.number, captured_at = excluded.captured_at,"
    f" received_at = excluded.received_at {_LATER}"
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NO_ROOM:
            raise DiskFull(f"{path}: {error}; nothing of this batch was kept") from error
        if code in _DAMAGED:
            raise StoreCorrupt(f"{path} is damaged ({error}); restore it, or move it aside to start anew") from error
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        raise DiskFull(f"{path}: {error.strerror}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        script = f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
        try:
            connection.executescript(script)
        except sqlite3.OperationalError:  # another process was faster
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise StoreError(f"{path} has layout {version}, this program knows {VERSION}; use the program that made it")
    path.chmod(0o600)


def _number_set(data: bytes | None) -> NumberSet:
    if data is None:
        return NumberSet()
    floor, *ranges = cbor2.loads(data)
    return NumberSet(floor, zip(ranges[::2], ranges[1::2], strict=True))


def number_set_bytes(numbers: NumberSet) -> bytes:
    """`numbers` for the column `received`: the floor, and start and end of each range."""
    flat = [numbers.floor]
    for start, end in numbers.ranges():
        flat += (start, end)
    return cbor2.dumps(flat)


def _queue_id(connection: sqlite3.Connection, device: int, name: str) -> int:
    statement = "SELECT id FROM outbound_queues WHERE device = ? AND name = ?"
    found = connection.execute(statement, (device, name)).fetchone()
    if found is not None:
        return int(found[0])
    statement = "SELECT coalesce(max(id) + 1, ?) FROM outbound_queues WHERE device = ?"
    queue_id = int(connection.execute(statement, (FIRST_FREE_QUEUE, device)).fetchone()[0])
    connection.execute("INSERT INTO outbound_queues(device, id, name) VALUES (?, ?, ?)", (device, queue_id, name))
    return queue_id


def name_queue(connection: sqlite3.Connection, device: int, queue_id: int, name: str) -> None:
    """Within a transaction: keep the name, and file what was parked under the id."""
    connection.execute("INSERT OR REPLACE INTO queues VALUES (?, ?, ?)", (device, queue_id, name))
    connection.execute(
        "INSERT INTO records(device, number, queue, urgency, captured_at, received_at, link, body)"
        " SELECT device, number, ?, urgency, captured_at, received_at, link, body FROM parked"
        " WHERE device = ? AND queue_id = ? ORDER BY number",
        (name, device, queue_id),
    )
    connection.execute("DELETE FROM parked WHERE device = ? AND queue_id = ?", (device, queue_id))
