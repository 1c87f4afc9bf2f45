"""PostgreSQL as the database of a service's store: any number of service processes.

Rules of this file: what only PostgreSQL has: the pool, its errors, row and advisory locks, COPY.  Isolation is READ
COMMITTED: what is read after a row lock was had is what the holder before committed.  The password is in no text that
leaves here.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo, errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from rataccess.errors import ConfigurationError, DiskFull, StoreCorrupt, StoreError, StoreUnreachable
from rataccess.services.store import schema
from rataccess.services.store.database import Database, Row

_MOST_CONNECTIONS = 64
"""Of one process: a handle for the service, one for each receiver, one for each request of the administration."""
_WAIT = 2.0
"""Seconds to wait for a connection; the service's event loop stands still meanwhile."""
_FEW = 16
"""Rows from which on COPY is faster than a statement for each (measured: 16)."""
_SETTING_UP = 0x7261_7461  # "rata": the advisory lock of those who make the tables
_AWAY = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)
"""What passes by itself: a restart, a fail-over, a crowd, a deadlock that the server has ended."""
_NO_ROOM = (errors.DiskFull, errors.OutOfMemory, errors.ConfigurationLimitExceeded, errors.IoError)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)

_UNHEARD = 10_000
"""Milliseconds after which a server that is cut off counts as lost; its side frees our locks and leases after as long."""

Connection = psycopg.Connection[Row]


class _Pools:
    """One pool for each URL in this process, closed with its last handle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, tuple[ConnectionPool[Connection], int]] = {}

    def take(self, url: str) -> ConnectionPool[Connection]:
        with self._lock:
            pool, users = self._pools.get(url, (None, 0))
            if pool is None:
                pool = _new_pool(url)
            self._pools[url] = pool, users + 1
            return pool

    def give_back(self, url: str) -> None:
        with self._lock:
            pool, users = self._pools.pop(url)
            if users > 1:
                self._pools[url] = pool, users - 1
                return
        pool.close()


def _server_options(url: str) -> str:
    """What the URL asks of the server, and that it looks after connections of hosts that may have died."""
    given = conninfo.conninfo_to_dict(url).get("options")
    alive = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    return f"{alive} {given}" if given else alive


def _new_pool(url: str) -> ConnectionPool[Connection]:
    options = {
        "autocommit": True,
        "connect_timeout": int(_WAIT),
        "application_name": "rataccess",
        "prepare_threshold": 2,
        "tcp_user_timeout": _UNHEARD,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "options": _server_options(url),
    }
    return ConnectionPool(
        url, min_size=0, max_size=_MOST_CONNECTIONS, kwargs=options, open=True, timeout=_WAIT, name="rataccess",
        reconnect_timeout=30.0, num_workers=1,
    )  # fmt: skip


_pools = _Pools()


class PostgresDatabase(Database):
    """A handle: one connection of the process's pool, another one when that is lost."""

    shared = True
    position = "r.transaction_id::text || '-' || r.id"
    order = "r.transaction_id, r.id"
    after = "(r.transaction_id, r.id) > (?::xid8, ?) AND r.transaction_id < pg_snapshot_xmin(pg_current_snapshot())"
    up_to = "(r.transaction_id, r.id) <= (?::xid8, ?)"

    def __init__(self, url: str) -> None:
        """Connect, and make the tables where there are none.

        Raises `StoreUnreachable`, and `ConfigurationError` where the URL is none.
        """
        self.name = shown(_readable(url))
        self._url = url
        self._connection: Connection | None = None
        self._leases: dict[str, Connection] = {}
        self._closed = False
        self.in_transaction = False
        self._pool = _pools.take(url)
        try:
            with self._translated():
                prepare(self._connected(), self.name)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresDatabase {self.name}>"

    # --- statements ----------------------------------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        outside = self._connection is not None and not self.in_transaction
        try:
            return self._execute(sql, parameters)
        except StoreUnreachable:
            if outside and self._connection is None and sql.startswith(("SELECT", "BEGIN")):
                return self._execute(sql, parameters)  # the server was restarted since: nothing is lost by asking again
            raise

    def _execute(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        with self._translated():
            cursor = self._connected().execute(_spelled(sql), parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        rows = list(rows)
        if not rows:
            return
        with self._translated():
            if len(rows) == 1:
                self._connected().execute(_spelled(sql), rows[0])
            else:
                with self._connected().cursor() as cursor:
                    cursor.executemany(_spelled(sql), rows)

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) < _FEW:
            marks = ", ".join("?" * (columns.count(",") + 1))
            self.many(f"INSERT INTO {table}({columns}) VALUES ({marks})", rows)
            return
        statement = f"COPY {table}({columns}) FROM STDIN".encode()
        with self._translated(), self._connected().cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        with self._translated(), self._connected().pipeline():
            yield

    def _begin(self) -> None:
        self.execute("BEGIN")
        self.in_transaction = True

    def _end(self, statement: str) -> None:
        self.in_transaction = False
        if statement == "ROLLBACK" and (self._connection is None or self._connection.closed):
            return
        self.execute(statement)

    def among(self, column: str) -> str:
        return f"{column} = ANY(?::bigint[])"

    def numbers(self, values: Iterable[int]) -> list[int]:
        return list(values)

    def place(self, position: str | None) -> tuple[Any, ...]:
        transaction, _, number = (position or "0-0").partition("-")
        return transaction, int(number)

    def lock(self, table: str, ids: Iterable[int], columns: str) -> list[Row]:
        statement = f"SELECT {columns} FROM {table} WHERE {self.among('id')} ORDER BY id FOR UPDATE"
        return self.execute(statement, (self.numbers(ids),))

    # --- leases --------------------------------------------------------------------------------------------------------

    def own(self) -> None:
        """Nothing: several service processes share one PostgreSQL."""

    def lease(self, name: str) -> bool:
        with self._translated():
            connection = self._connected()
            if self._leases.get(name) is connection:
                connection.execute("SELECT 1")  # a lost connection has lost it
                return True
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_lock_number(name),)).fetchone()
        held = row is not None and bool(row[0])
        if held:
            self._leases[name] = connection
        return held

    def release(self, name: str) -> None:
        connection = self._leases.pop(name, None)
        if connection is not None and connection is self._connection:
            with self._translated():
                connection.execute("SELECT pg_advisory_unlock(%s)", (_lock_number(name),))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                if not connection.closed and (self.in_transaction or self._leases):
                    if not self.in_transaction:  # the server notices a closed connection a moment later
                        connection.execute("SELECT pg_advisory_unlock_all()")
                    connection.close()  # ends the transaction, gives the leases up
            self._pool.putconn(connection)
        self.in_transaction = False
        self._leases.clear()
        _pools.give_back(self._url)

    # --- the connection ------------------------------------------------------------------------------------------------

    def _connected(self) -> Connection:
        if self._connection is not None and self._connection.closed:
            self._drop()
            if self.in_transaction:
                self.in_transaction = False
                raise StoreUnreachable(f"the connection to {self.name} was lost; nothing of this batch was kept")
        if self._connection is None:
            if self._closed:
                raise StoreError(f"the store {self.name} was closed")
            self._connection = self._pool.getconn()
        return self._connection

    def _drop(self) -> None:
        """Give a lost connection back; the pool throws it and others like it away."""
        connection, self._connection = self._connection, None
        self._leases.clear()
        if connection is not None:
            self._pool.putconn(connection)
            with suppress(psycopg.Error, PoolTimeout):
                self._pool.check()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            lost = self._connection is not None and self._connection.closed
            if lost:
                self._drop()
                self.in_transaction = False
            raise _ours(error, self.name, lost) from error


def _ours(error: psycopg.Error, name: str, lost: bool) -> StoreError:
    """Our error for the server's.  Its text never holds the connection's parameters; psycopg's may."""
    text = (error.diag.message_primary or error.__class__.__name__) if error.sqlstate else error.__class__.__name__
    if isinstance(error, _NO_ROOM):
        return DiskFull(f"{name}: {text}; nothing of this batch was kept")
    if isinstance(error, _DAMAGED):
        return StoreCorrupt(f"{name} is damaged ({text}); restore it")
    if isinstance(error, PoolClosed):
        return StoreError(f"the store {name} was closed")
    if lost or isinstance(error, (*_AWAY, PoolTimeout)) or (error.sqlstate is None and _is_trouble(error)):
        return StoreUnreachable(f"{name} cannot be reached ({text}); nothing of this batch was kept")
    return StoreError(f"{name}: {text}")


def _is_trouble(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def prepare(connection: Connection, name: str) -> None:
    """Make the tables of a new database.  Raises `StoreError` for another layout, `ConfigurationError` for the encoding."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETTING_UP,))
        row = connection.execute("SELECT to_regclass('layout'), current_setting('server_encoding')").fetchone()
        assert row is not None
        if row[1] != "UTF8":
            raise ConfigurationError(f"{name} has the encoding {row[1]}; make a database with ENCODING 'UTF8'")
        if row[0] is None:
            connection.execute(schema.POSTGRESQL.encode())
        found = connection.execute("SELECT version FROM layout").fetchone()
    version = found[0] if found else None
    if version != schema.VERSION:
        known = schema.VERSION
        raise StoreError(f"{name} has layout {version}, this program knows {known}; use the program that made it")


def _readable(url: str) -> str:
    """`url`, which is one; the error does not show it, nor where it comes from: it may hold a password."""
    try:
        conninfo.conninfo_to_dict(url)
        _ = urlsplit(url).port
    except (psycopg.Error, ValueError):
        wanted = "postgresql://user@host:port/database is wanted, special characters written as %XX"
        raise ConfigurationError(f"the store's PostgreSQL URL cannot be read: {wanted}") from None
    return url


def shown(url: str) -> str:
    """The URL without user and password, for people to read."""
    parts = urlsplit(url)
    host = parts.hostname or conninfo.conninfo_to_dict(url).get("host") or "localhost"
    return f"postgresql://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


@lru_cache(maxsize=512)
def _spelled(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"rataccess {name}".encode()).digest()[:8], "big", signed=True)
