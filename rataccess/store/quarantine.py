"""A damaged file: moved aside, read as far as it can be, and what was read put into a new one.

Rules of this file: whatever is in a damaged file may be anything; a row is taken over only where each value has its type
and range and its body is CBOR.  Nothing is ever deleted from the old file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rataccess.errors import ObjectError, StoreCorrupt
from rataccess.numbers import NumberSet
from rataccess.objects import Service, decode
from rataccess.store.floor import sync_folder
from rataccess.store.inbox import dump_numbers, load_numbers, write_memory
from rataccess.store.schema import CLASSES, INDEX, LAST_NUMBER, NUMBER_BITS, QUEUE_BITS, number_of
from rataccess.store.totals import Totals
from rataccess.wire import FIRST_FREE_QUEUE

_COMPANIONS = ("-wal", "-shm")
_COLUMNS = (
    "key, queue, body, captured_at, boot, monotonic, time_known, expires_at, max_cost, links, replaces, attempts,"
    " resend_at"
)
_SINCE = {"outbox": ("template",)}
"""Columns that a file of an earlier version may lack; they come after the others."""
Row = tuple[Any, ...]


@dataclass(slots=True)
class Known:
    """What is known without the damaged file, and goes before what it says."""

    last: list[int] = field(default_factory=lambda: [0, 0])
    next_queue: list[int] = field(default_factory=lambda: [FIRST_FREE_QUEUE] * 2)
    counters: dict[str, int] = field(default_factory=dict)
    queues: dict[int, tuple[str, bool]] = field(default_factory=dict)
    boots: dict[int, bytes] = field(default_factory=dict)
    memory: dict[str, bytes] = field(default_factory=dict)
    received: dict[Service, NumberSet] = field(default_factory=dict)


def set_aside(path: Path) -> Path:
    """Rename the file and its companions to the first free `<name>.corrupt-<n>`; raises `OSError`."""
    number = 1
    while (new := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in _COMPANIONS:  # first: a new file must never meet the WAL of the old one
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(new.with_name(new.name + suffix))
    path.rename(new)
    sync_folder(path.parent)
    return new


def restore(connection: sqlite3.Connection, damaged: Path | None, known: Known) -> int:
    """Fill a new database, in one transaction; returns how many records of the outbox were saved.

    Raises `sqlite3.Error` where the new database fails.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            "INSERT INTO queues VALUES (?, ?, ?)", [(key, *one) for key, one in known.queues.items()]
        )
        connection.executemany("INSERT INTO boots VALUES (?, ?)", list(known.boots.items()))
        if damaged is not None:
            _salvage(connection, damaged, known)
        write_memory(connection, known.memory)
        connection.executemany(
            "INSERT OR REPLACE INTO received VALUES (?, ?)",
            [(INDEX[service], dump_numbers(numbers)) for service, numbers in known.received.items()],
        )
        saved = _count(connection, known)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return saved


def _salvage(connection: sqlite3.Connection, damaged: Path, known: Known) -> None:
    try:
        source = sqlite3.connect(damaged, isolation_level=None)
    except sqlite3.Error:
        return
    try:
        source.text_factory = lambda text: text.decode("utf-8", "replace")
        if not known.counters:
            known.counters.update(_counters(source))
        for table, columns, rowid, sound in _TABLES:
            columns = ", ".join([columns, *_newer(source, table)])
            marks = ",".join("?" * (columns.count(",") + 1))
            insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"
            for row in _rows(source, table, columns, rowid):
                if _is_sound(sound, row):
                    connection.execute(insert, row)
        connection.execute(  # a record whose queue nobody remembers cannot be sent
            "DELETE FROM outbox WHERE queue & 0xFFFFFFFF >= ? AND queue NOT IN (SELECT key FROM queues)",
            (FIRST_FREE_QUEUE,),
        )
    finally:
        with suppress(sqlite3.Error):
            source.close()


def _newer(source: sqlite3.Connection, table: str) -> list[str]:
    """Which of the columns that came later the damaged file has."""
    with suppress(sqlite3.Error):
        there = {name for (name,) in source.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        return [column for column in _SINCE.get(table, ()) if column in there]
    return []


def _rows(source: sqlite3.Connection, table: str, columns: str, rowid: bool) -> Iterator[Row]:
    """The rows that can be read: from the first up to the damage, and from the last down to it."""
    top = -1
    try:
        for row in source.execute(f"SELECT {columns} FROM {table}" + (" ORDER BY key" if rowid else "")):
            top = row[0] if rowid else top
            yield row
        return
    except sqlite3.Error:
        pass  # the damage begins here
    if not rowid:
        return
    with suppress(sqlite3.Error):
        yield from source.execute(f"SELECT {columns} FROM {table} WHERE key > ? ORDER BY key DESC", (top,))


def _is_sound(sound: Callable[[Row], bool], row: Row) -> bool:
    try:
        return sound(row)
    except (TypeError, ValueError, ObjectError, StoreCorrupt):
        return False


def _is_object(body: object) -> bool:
    if not isinstance(body, bytes):
        return False
    decode(body)
    return True


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, (int, float))


def _record_is_sound(row: Row) -> bool:
    key, queue, body, captured_at, boot, monotonic, time_known, expires_at, max_cost, links, replaces, *rest = row
    attempts, at, *template = rest
    return (
        key >> NUMBER_BITS in range(CLASSES)
        and number_of(key) > 0
        and queue >> QUEUE_BITS == key >> NUMBER_BITS + 3
        and isinstance(boot, int)
        and isinstance(monotonic, float)
        and time_known in (0, 1)
        and isinstance(attempts, int)
        and all(_is_number(value) for value in (captured_at, expires_at, max_cost, at))
        and all(isinstance(value, str | None) for value in (links, replaces))
        and all(isinstance(value, int | None) for value in template)
        and _is_object(body)
    )


def _numbers_are_sound(row: Row) -> bool:
    load_numbers(row[1])
    return row[0] in (0, 1)


_TABLES: tuple[tuple[str, str, bool, Callable[[Row], bool]], ...] = (
    ("queues", "key, name, known", True, lambda row: row[0] >> QUEUE_BITS in (0, 1) and isinstance(row[1], str)),
    ("boots", "id, boot", False, lambda row: isinstance(row[0], int) and isinstance(row[1], bytes)),
    ("outbox", _COLUMNS, True, _record_is_sound),
    ("inbox", "key, queue, body, captured_at", True, lambda row: _is_object(row[2]) and _is_number(row[3])),
    ("received", "service, numbers", False, _numbers_are_sound),
    ("objects", "service, name, value", False, lambda row: row[0] in (0, 1) and _is_object(row[2])),
    ("memory", "key, value", False, lambda row: isinstance(row[0], str) and isinstance(row[1], bytes)),
)
"""Table, columns, whether it is read by key from both ends, and what a row must be to be believed; queues go first."""


def _counters(source: sqlite3.Connection) -> Mapping[str, int]:
    try:
        row = source.execute("SELECT value FROM totals").fetchone()
        return Totals.load(row[0]).counters if row else {}
    except (sqlite3.Error, StoreCorrupt, TypeError):
        return {}


def _count(connection: sqlite3.Connection, known: Known) -> int:
    """Write the totals of what is there; returns the records."""
    totals = Totals(last=known.last[:], next_queue=known.next_queue[:])
    totals.counters.update(known.counters)
    for class_, records, size, top in connection.execute(
        f"SELECT key >> {NUMBER_BITS}, count(*), sum(length(body)), max(key & {LAST_NUMBER}) FROM outbox GROUP BY 1"
    ).fetchall():
        totals.add(class_, records, size)
        totals.last[class_ >> 3] = max(totals.last[class_ >> 3], top)
    connection.execute("INSERT OR REPLACE INTO totals VALUES (1, ?)", (totals.dump(),))
    return sum(totals.records)
