"""What a store asks of a database: statements with `?` for parameters, transactions, leases, errors in our words.

Rules of this file: the abstract base; no SQL of the service's, nothing that only one database has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

Row = tuple[Any, ...]


class Database(ABC):
    """One connection's worth of a database, used from one thread at a time.

    Every method raises `DiskFull` (no room now), `StoreUnreachable` (the server is away; transient), `StoreCorrupt` or
    `StoreError`.  A statement outside of a transaction is durable when it returns.
    """

    in_transaction: bool
    shared: ClassVar[bool]
    """Whether several service processes may serve from it at a time."""
    position: ClassVar[str]
    """SQL: where record `r` stands, as text."""
    order: ClassVar[str]
    """SQL: what records are ordered by."""
    after: ClassVar[str]
    """SQL: record `r` stands behind a position (`place`), and nothing can appear before it any more."""
    up_to: ClassVar[str]
    """SQL: record `r` stands at a position or before it."""

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; the rows that it returns."""

    @abstractmethod
    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of `rows`."""

    @abstractmethod
    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert `rows` into `table`, by the fastest way there is; `columns` are separated by commas."""

    def pipeline(self) -> AbstractContextManager[Any]:
        """Statements of the block, of which no rows are asked, may be sent without waiting for each other."""
        return nullcontext()

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _end(self, statement: str) -> None: ...

    @abstractmethod
    def among(self, column: str) -> str:
        """The condition that `column`, whole numbers, is among one `?` parameter, made by `numbers`."""

    @abstractmethod
    def numbers(self, values: Iterable[int]) -> Any:
        """Whole numbers as the parameter that `among` takes."""

    @abstractmethod
    def place(self, position: str | None) -> tuple[Any, ...]:
        """The parameters of `after` and `up_to` for a position; `None` is before all."""

    @abstractmethod
    def lock(self, table: str, ids: Iterable[int], columns: str) -> list[Row]:
        """Within a transaction: `columns` of the rows with these ids, ascending; nobody else changes them before its end."""

    @abstractmethod
    def own(self) -> None:
        """Be the one service process on it, where only one may be; raises `StoreError` where another is."""

    @abstractmethod
    def lease(self, name: str) -> bool:
        """Hold `name` against every other process and handle; whether it is held.  Ask again before each use: a lost
        connection gives it up."""

    @abstractmethod
    def release(self, name: str) -> None:
        """Give `name` up; nothing where it is not held."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent; gives all leases up."""

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row, or `None`."""
        rows = self.execute(sql, parameters)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All or nothing, durable when it ends.  Within another one it is a part of that."""
        if self.in_transaction:
            yield self
            return
        self._begin()
        try:
            yield self
        except BaseException:
            if self.in_transaction:
                self._end("ROLLBACK")
            raise
        self._end("COMMIT")
