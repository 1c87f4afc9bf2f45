"""The store of one service: SQLite (default) or PostgreSQL, by URL.

Rules of this package: SQL lives here; no network but the database's, no keys, no meaning of messages.  What a batch does
is gathered in `Changes` and committed whole.  Foreign errors leave as `DiskFull`, `StoreUnreachable` (nothing was kept, try
again), `StoreCorrupt` or `StoreError`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from rataccess.errors import ConfigurationError, MissingExtra
from rataccess.services.store.batch import CALLS_QUEUE, name_queue
from rataccess.services.store.database import Database, Row
from rataccess.services.store.environment import Conflict
from rataccess.services.store.sqlite import NDJSON, translated
from rataccess.services.store.store import ServiceStore
from rataccess.services.store.values import (
    PACKETS,
    Changes,
    Device,
    DeviceState,
    PendingCall,
    StoredRecord,
    number_set_bytes,
)


def open_store(url: str) -> ServiceStore:
    """Open or make a store: `sqlite:///absolute/path`, a plain path, or `postgresql://user@host/database`.

    The password of a PostgreSQL URL may stand in it, in PGPASSWORD or in a password file (PGPASSFILE); it is never shown.
    Raises `ConfigurationError` for another URL, `MissingExtra` without psycopg, and the errors of `ServiceStore`.
    """
    scheme = url.split("://", 1)[0] if "://" in url else ""
    if scheme in ("postgresql", "postgres"):
        try:
            from rataccess.services.store.postgres import PostgresDatabase  # heavy, and an extra: imported on use
        except ImportError as error:
            raise MissingExtra("a store on PostgreSQL needs psycopg; install rataccess[services]") from error
        database = PostgresDatabase(url)
        return ServiceStore(database, database.name)
    if scheme not in ("", "sqlite"):
        raise ConfigurationError(f"a store is sqlite:///path, a path, or postgresql://host/database; found {scheme}://")
    return ServiceStore.open(sqlite_path(url))


def sqlite_path(url: str) -> Path:
    """The file of `sqlite:///path`, or of a plain path."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("sqlite://") else Path(url)


def is_shared(url: str) -> bool:
    """Whether several service processes may serve from the store of that URL at a time."""
    return url.startswith(("postgresql://", "postgres://"))


__all__ = [
    "CALLS_QUEUE",
    "NDJSON",
    "PACKETS",
    "Changes",
    "Conflict",
    "Database",
    "Device",
    "DeviceState",
    "PendingCall",
    "Row",
    "ServiceStore",
    "StoredRecord",
    "is_shared",
    "name_queue",
    "number_set_bytes",
    "open_store",
    "sqlite_path",
    "translated",
]
