"""The SQLite file: opened, locked, tuned, migrated, and its errors translated.

Rules of this file: connections and pragmas; it knows no table.  Writing uses one connection, reading another, so that a
reader never waits for an fsync; in memory, and where everything runs in the caller's thread, both are the same one.

WAL with `synchronous=FULL` is power-safe with one sync for each commit (https://sqlite.org/pragma.html#pragma_synchronous).
A *soft* commit skips the sync: it survives the process, not the power, and is made durable by the next full one.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rataccess.clock import stopwatch
from rataccess.errors import DiskFull, PermanentError, StoreCorrupt, StoreError, TransientError
from rataccess.store.floor import sync_folder

CHECKPOINT_PAGES = 256
"""Pages of 4 kB in the WAL before it is copied into the file: hot pages are then written once for about 1 MB of WAL, and
no more than that is needed on a full disk (ballast.py)."""
_QUICK_CHECK_BYTES = 16 * 1024 * 1024
"""A file of at most this size is checked at every open; a larger one only after an unclean end."""
_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the file ends where a page should be
_OLDER = 7 / 8
"""How much the commits before count for the pace, against the last one: about eight are remembered."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreBusy(StoreError, TransientError):
    """Another process has this store open."""


class StoreTooNew(StoreError, PermanentError):
    """The file was written by a newer version of this library."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, in contrast to the disk being full or failing."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code == _SHORT_READ or code & 0xFF in _DAMAGE


def translate(error: sqlite3.Error, path: Path | None) -> StoreError:
    """The library's error for one of SQLite's."""
    if is_damage(error):
        return StoreCorrupt(f"{path} is damaged ({error})")
    return DiskFull(f"cannot write {path} ({error}); free some space or check the disk")


class Database:
    """One open database.  Use `write` only while holding `write_lock`, `read` only while holding `read_lock`."""

    def __init__(self, path: Path | None, write: sqlite3.Connection, read: sqlite3.Connection | None) -> None:
        self.path = path
        self.write = write
        self.read = read or write
        self.write_lock = threading.RLock()
        self.read_lock = threading.RLock() if read is not None else self.write_lock
        self._soft = False
        self.pace = 0.0
        """Seconds that a commit with its sync has taken lately, on average."""
        self.created = False
        """Whether `open` made a new file."""

    @classmethod
    def in_memory(cls, migrations: Sequence[str]) -> Database:
        """A database that dies with the process."""
        connection = _connect(":memory:")
        _migrate(connection, migrations, None)
        return cls(None, connection, None)

    @classmethod
    def open(cls, path: Path, migrations: Sequence[str], *, two: bool) -> Database:
        """Open or create the file; `two` asks for a reading connection of its own.

        Raises `sqlite3.Error` and `OSError` untranslated (the caller decides between quarantine and memory), and
        `StoreTooNew`.
        """
        unclean = _create(path)
        write = _connect(path)
        read: sqlite3.Connection | None = None
        try:
            _tune(write)
            _check(write, path, unclean)
            created = _migrate(write, migrations, path)
            if two:
                read = _connect(path)
                read.execute("PRAGMA query_only=1")
                read.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            for connection in (read, write):
                if connection is not None:
                    connection.close()
            raise
        database = cls(path, write, read)
        database.created = created
        return database

    def begin(self, *, soft: bool) -> None:
        """Start a transaction that commits without a sync where `soft`."""
        if soft is not self._soft and self.path is not None:
            self.write.execute(f"PRAGMA synchronous={'NORMAL' if soft else 'FULL'}")
            self._soft = soft
        self.write.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction; unless it is a soft one it is on disk when this returns."""
        if self._soft or self.path is None:
            self.write.execute("COMMIT")
            return
        started = stopwatch()
        self.write.execute("COMMIT")
        self.pace = self.pace * _OLDER + (stopwatch() - started) * (1 - _OLDER)

    def rollback(self) -> None:
        """Give the transaction up; never raises."""
        try:
            if self.write.in_transaction:
                self.write.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back on its own, or the connection is beyond use and about to be replaced

    def relieve(self) -> None:
        """After a full disk: start the WAL over in the space that it has, so that deletions need no more; never raises."""
        try:
            with self.read_lock:
                self.write.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.Error:
            pass  # no room for that either: the next attempt tries again

    def spare_bytes(self) -> int:
        """Bytes of free pages in the file; hold the write lock."""
        (pages,) = self.write.execute("PRAGMA freelist_count").fetchone()
        return int(pages) * 4096

    def close(self) -> None:
        """Close both connections; the last one out copies the WAL into the file and removes it.  Never raises."""
        with self.write_lock, self.read_lock:
            for connection in {self.read, self.write}:
                with suppress(sqlite3.Error):  # a full or broken disk: the WAL stays and is read at the next open
                    connection.close()


class Lock:
    """The right to use a store: an advisory lock (flock) on a file beside it, held until `release`."""

    def __init__(self, path: Path) -> None:
        """Raises `StoreBusy` where another process (or another store of this one) holds it, `OSError` otherwise."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreBusy(
                f"another process (pid {holder}) runs this device: {path} is locked; stop it, or use another state folder"
            ) from error
        except OSError:
            os.close(self._descriptor)
            raise
        self._note_holder()

    def _note_holder(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # a full disk: the lock holds without the note

    def release(self) -> None:
        """Let others in; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _create(path: Path) -> bool:
    """Create an absent file with mode 0600 (its WAL inherits that); returns whether the last user ended uncleanly."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        wal = path.with_name(path.name + "-wal")
        return wal.exists() and wal.stat().st_size > 0
    sync_folder(path.parent)
    return False


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=0")
    return connection


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT_PAGES * 4096}")
    connection.execute("PRAGMA cell_size_check=1")
    connection.execute("PRAGMA temp_store=MEMORY")


def _check(connection: sqlite3.Connection, path: Path, unclean: bool) -> None:
    if unclean or path.stat().st_size <= _QUICK_CHECK_BYTES:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise damage(str(answer).partition("\n")[0])
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def damage(what: str) -> sqlite3.DatabaseError:
    """SQLite's error for a broken file, for damage that SQLite reports in other ways."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str], path: Path | None) -> bool:
    """Bring the file to the newest version; returns whether it was empty.  Raises `StoreTooNew`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StoreTooNew(
            f"{path} has version {version}, this library knows up to {len(migrations)}; install a newer rataccess"
        )
    for step in range(version, len(migrations)):
        _step(connection, migrations[step], step + 1)
    return bool(version == 0)


def _step(connection: sqlite3.Connection, script: str, version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in script.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
