"""The store of one service.

Rules of this file: puts the subjects together over one database; no SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rataccess.services.store.aside import AsideFacet
from rataccess.services.store.batch import BatchFacet
from rataccess.services.store.calls import CallFacet
from rataccess.services.store.database import Database, Row
from rataccess.services.store.devices import DeviceFacet
from rataccess.services.store.environment import EnvironmentFacet
from rataccess.services.store.outgoing import OutgoingFacet
from rataccess.services.store.reading import ReadingFacet
from rataccess.services.store.sqlite import SqliteDatabase


class ServiceStore(AsideFacet, BatchFacet, CallFacet, DeviceFacet, EnvironmentFacet, OutgoingFacet, ReadingFacet):
    """A handle on the store: used from one thread at a time; `open_store` makes another.

    Each method raises `DiskFull` or `StoreUnreachable` (both transient: nothing was kept), `StoreCorrupt` or `StoreError`.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name
        """Path or URL, without secrets."""

    @classmethod
    def open(cls, path: Path) -> ServiceStore:
        """Open or make an SQLite file; `open_store` takes URLs as well."""
        return cls(SqliteDatabase.open(path), str(path))

    @property
    def path(self) -> Path:
        """The file of an SQLite store."""
        return Path(self.name)

    @property
    def connection(self) -> sqlite3.Connection:
        """Of an SQLite store, for tests that look at it."""
        assert isinstance(self.database, SqliteDatabase)
        return self.database.connection

    @property
    def shared(self) -> bool:
        """Whether several service processes may serve from it at a time."""
        return self.database.shared

    def own(self) -> None:
        """Be the one process that serves from this SQLite file; raises `StoreError` where another does.

        Nothing on PostgreSQL, which several processes share.
        """
        self.database.own()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement with `?` for parameters; the rows that it returns."""
        return self.database.execute(sql, parameters)

    def transaction(self) -> AbstractContextManager[Database]:
        """All or nothing, durable when it ends; within another one it is a part of that."""
        return self.database.transaction()

    def close(self) -> None:
        """Idempotent."""
        self.database.close()

    def __enter__(self) -> ServiceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ServiceStore {self.name}>"
