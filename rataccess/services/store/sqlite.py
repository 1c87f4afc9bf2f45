"""SQLite as the database of a service's store: one file, one service process.

Rules of this file: what only SQLite has: the file, its pragmas, its errors, the way from older layouts, locks on files
beside it.  Write-ahead log, synchronous FULL: what is committed survives a power cut.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cbor2

from rataccess.errors import DiskFull, StoreCorrupt, StoreError
from rataccess.services.store import schema
from rataccess.services.store.database import Database, Row

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
NDJSON = "ndjson"
"""The receiver whose cursor the position of layout 1 becomes; its state is the position in the file, as CBOR."""
_WAIT = 10.0
"""Seconds to wait for another process's transaction."""


class SqliteDatabase(Database):
    """The file.  Any number of processes may have it open, one of them as the service."""

    shared = False
    position = "CAST(r.id AS TEXT)"
    order = "r.id"
    after = "r.id > ?"
    up_to = "r.id <= ?"

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._locks: dict[str, int] = {}

    @classmethod
    def open(cls, path: Path) -> SqliteDatabase:
        """Open or make the file.  Raises `DiskFull`, `StoreCorrupt` or `StoreError` (made by a newer program)."""
        with translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path)
            connection = sqlite3.connect(path, isolation_level=None, timeout=_WAIT, cached_statements=256)
            try:
                prepare(connection, path)
                return cls(path, connection)
            except BaseException:
                connection.close()
                raise

    @property
    def in_transaction(self) -> bool:  # type: ignore[override]
        """Whether a transaction is open."""
        return self.connection.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with translated(self.path):
            return self.connection.execute(sql, parameters).fetchall()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with translated(self.path):
            self.connection.executemany(sql, rows)

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join("?" * (columns.count(",") + 1))
        self.many(f"INSERT INTO {table}({columns}) VALUES ({marks})", rows)

    def _begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")

    def _end(self, statement: str) -> None:
        try:
            self.execute(statement)
        except BaseException:
            with suppress(sqlite3.Error):
                if self.connection.in_transaction:  # a commit that found no room leaves it open
                    self.connection.execute("ROLLBACK")
            raise

    def among(self, column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    def numbers(self, values: Iterable[int]) -> str:
        return json.dumps(list(values))

    def place(self, position: str | None) -> tuple[Any, ...]:
        return (int(position or 0),)

    def lock(self, table: str, ids: Iterable[int], columns: str) -> list[Row]:
        statement = f"SELECT {columns} FROM {table} WHERE {self.among('id')} ORDER BY id"
        return self.execute(statement, (self.numbers(ids),))  # the transaction is immediate: nobody else writes

    # --- one process at a time -----------------------------------------------------------------------------------------

    def own(self) -> None:
        """Be the one process that runs the service on this file; raises `StoreError` where another does."""
        if not self._locked("", f"{self.path}.lock"):
            raise StoreError(f"another process serves from {self.path}; stop it, or configure another store")

    def lease(self, name: str) -> bool:
        return self._locked(name, f"{self.path}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")

    def release(self, name: str) -> None:
        descriptor = self._locks.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def _locked(self, name: str, file: str) -> bool:
        if name in self._locks:
            return True
        with translated(self.path):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._locks[name] = descriptor
        return True

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.close()
        for name in list(self._locks):
            self.release(name)

    def __repr__(self) -> str:
        return f"<SqliteDatabase {self.path}>"


def _create(path: Path) -> None:
    """An empty file for its owner only, where there is none; its log gets the same mode.

    It is linked into its place when it is closed already: closing any descriptor of a database gives up the locks that
    SQLite holds on it anywhere in this process (POSIX; SQLite's "How to corrupt", section 2.2), and a connection that
    closes afterwards takes the log away from those that still write to it.
    """
    if path.exists():
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as new:
        made = Path(new.name)  # mode 0600
    try:
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NO_ROOM or code in _BUSY:
            raise DiskFull(f"{path}: {error}; nothing of this batch was kept") from error
        if code in _DAMAGED:
            raise StoreCorrupt(f"{path} is damaged ({error}); restore it, or move it aside to start anew") from error
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        raise DiskFull(f"{path}: {error.strerror}") from error


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or bring those of an older layout up to `schema.VERSION`."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = _version(connection)
    if version < schema.VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # another process may have been faster
            if version == 0:
                _run(connection, schema.SQLITE)
            elif version == 1:
                _migrate_from_1(connection)
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        version = _version(connection)
    if version != schema.VERSION:
        known = schema.VERSION
        raise StoreError(f"{path} has layout {version}, this program knows {known}; use the program that made it")
    path.chmod(0o600)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate_from_1(connection: sqlite3.Connection) -> None:
    record, position = connection.execute("SELECT record, position FROM forwarding").fetchone()
    _run(connection, schema.SQLITE_FROM_1)
    if record:
        row = (NDJSON, str(record), cbor2.dumps(position))
        connection.execute("INSERT INTO cursors VALUES (?, ?, ?)", row)
    connection.execute("DROP TABLE forwarding")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Statement by statement: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
