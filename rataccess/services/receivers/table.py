"""Records to a PostgreSQL table: one transaction a batch, a row that is there already stays as it is.

Rules of this file: one connection, one statement.  The key is the table's primary key; whoever adds columns of their own
gives them defaults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rataccess.errors import MissingExtra, ReceiverDown, RecordRefused
from rataccess.objects import Service
from rataccess.services.jsonform import body_as_json
from rataccess.services.receivers.base import Receiver, key_of
from rataccess.services.receivers.settings import PostgresqlSettings

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    from rataccess.services.store import StoredRecord

COLUMNS = (
    ("key", "text PRIMARY KEY"),
    ("device", "text NOT NULL"),
    ("serial_number", "text NOT NULL"),
    ("channel", "text NOT NULL"),
    ("queue", "text NOT NULL"),
    ("record", "bigint"),
    ("captured_at", "timestamptz"),
    ("received_at", "timestamptz NOT NULL"),
    ("link", "text"),
    ("body", "jsonb NOT NULL"),
)
"""As in the file of lines; `record` is null for a packet."""


class PostgresqlReceiver(Receiver):
    """Rows in a table."""

    def __init__(self, settings: PostgresqlSettings, url: str) -> None:
        self.most, self.most_bytes, self.tries = settings.batch, settings.batch_bytes, settings.tries
        self._settings, self._url = settings, url
        self._connection: psycopg.AsyncConnection[Any] | None = None

    def __repr__(self) -> str:
        return f"<PostgresqlReceiver {self._settings.name}>"

    async def open(self, state: bytes | None) -> None:
        """See `Receiver`; connects, and makes the table where that is wanted."""
        psycopg = _psycopg()
        timeout = max(1, int(self._settings.timeout))
        try:
            async with asyncio.timeout(self._settings.timeout):
                self._connection = await psycopg.AsyncConnection.connect(
                    self._url, connect_timeout=timeout, application_name="rataccess", autocommit=True
                )
                if self._settings.create:
                    await self._connection.execute(self._statement(_CREATE))
        except (psycopg.Error, OSError) as error:
            raise ReceiverDown(f"cannot connect: {_told(error)}") from error

    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        """See `Receiver`."""
        psycopg = _psycopg()
        assert self._connection is not None
        rows = await asyncio.to_thread(lambda: [row_of(record) for record in batch])
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                self._connection.transaction(),
                self._connection.cursor() as cursor,
            ):
                await cursor.executemany(self._statement(_INSERT), rows)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise RecordRefused(_told(error)) from error
        except TimeoutError as error:
            raise ReceiverDown(f"not done within {self._settings.timeout:g} s") from error
        except (psycopg.Error, OSError) as error:
            raise ReceiverDown(_told(error)) from error

    def _statement(self, text: str) -> sql.Composed:
        from psycopg import sql

        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in COLUMNS)
        table = sql.Identifier(*self._settings.table.split("."))
        marks = sql.SQL(", ").join(sql.Placeholder() for _ in COLUMNS)
        kinds = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(kind)) for n, kind in COLUMNS)
        return sql.SQL(text).format(table=table, names=names, marks=marks, kinds=kinds)

    async def aclose(self) -> None:
        """See `Receiver`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # what is broken already cannot be closed in order
                await connection.close()


_CREATE = "CREATE TABLE IF NOT EXISTS {table} ({kinds})"
_INSERT = "INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (key) DO NOTHING"


def row_of(record: StoredRecord) -> tuple[Any, ...]:
    """The record in the order of `COLUMNS`."""
    return (
        key_of(record),
        record.device.hex(),
        _text(record.serial_number),
        Service.SOLUTION.value,
        _text(record.queue),
        record.number,
        _time(record.captured_at),
        _time(record.received_at),
        None if record.link is None else _text(record.link),
        _body(record.body),
    )


def _text(text: str) -> str:
    """PostgreSQL's text has no NUL."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _body(body: bytes) -> str:
    """The object as JSON; `{"$cbor": base64}` where it holds a NUL, which `jsonb` cannot."""
    text = body_as_json(body)
    if "\\u0000" in text and _has_nul(json.loads(text)):
        return json.dumps({"$cbor": _base64(body)})
    return text


def _base64(body: bytes) -> str:
    import base64

    return base64.b64encode(body).decode()


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(each) for item in value.items() for each in item)
    return isinstance(value, list) and any(_has_nul(each) for each in value)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _told(error: BaseException) -> str:
    """What went wrong, without the connection string or the row: psycopg's first line has neither."""
    diagnostics = getattr(error, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    if primary:
        return f"{primary} ({getattr(error, 'sqlstate', None)})"
    return type(error).__name__ if isinstance(error, TimeoutError) else str(error).splitlines()[0][:200]


def url_mistake(url: str) -> str | None:
    """What is wrong with the connection string; nothing of it is shown, as libpq's own errors would."""
    psycopg = _psycopg()
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return (
            "cannot be read; allowed: postgresql://user@host/database, other characters of a password as %40 and so on"
        )
    return None


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtra("receivers of kind postgresql need the extra: pip install 'rataccess[services]'") from error
    return psycopg
