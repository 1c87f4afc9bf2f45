"""Queries that see what is committed.

Rules of this file: SELECT only; whatever is asked for costs in proportion to the answer, not to the box.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from rataccess.objects import Service, Urgency
from rataccess.store.records import Record
from rataccess.store.schema import (
    HANDED,
    INDEX,
    LAST_NUMBER,
    QUEUE_BITS,
    class_of,
    key_of,
    number_of,
    split,
)
from rataccess.wire import RESERVED_QUEUES

Row = tuple[Any, ...]
_COLUMNS = ", ".join(
    (
        "key, queue, body, captured_at, boot, monotonic, time_known, expires_at, max_cost, links, replaces",
        "attempts, template",
    )
)
_RESERVED_NAMES = {number: name for name, number in RESERVED_QUEUES.items()}
_LOWEST = " UNION ALL ".join(
    f"SELECT * FROM (SELECT key & {LAST_NUMBER} AS number FROM outbox WHERE key > ? AND key <= ? ORDER BY key LIMIT 1)"
    for _ in range(8)
)


def waiting(
    source: sqlite3.Connection,
    service: Service,
    urgency: Urgency,
    after: int,
    limit: int,
    max_bytes: int,
    leaving: Callable[[int], bool],
) -> list[Row]:
    """Rows of one class above a number; see `Store.waiting`."""
    class_ = class_of(service, urgency)
    cursor = source.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE key > ? AND key <= ? ORDER BY key",
        (key_of(class_, min(max(after, 0), LAST_NUMBER)), key_of(class_, LAST_NUMBER)),
    )
    found: list[Row] = []
    for row in cursor:
        if leaving(number_of(row[0])):
            continue
        max_bytes -= len(row[2])
        if len(found) >= limit or (found and max_bytes < 0):
            break
        found.append(row)
    cursor.close()  # an open cursor would keep the WAL from starting over
    return found


def due(
    source: sqlite3.Connection, service: Service, now: float, limit: int, leaving: Callable[[int], bool]
) -> list[Row]:
    """Rows handed over that are to be sent again; see `Store.due_for_resend`."""
    low = key_of(class_of(service, 0, handed=True), 0)
    cursor = source.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE resend_at <= ? AND key > ? AND key < ? ORDER BY resend_at",
        (now, low, low + key_of(HANDED, 0)),
    )
    found: list[Row] = []
    for row in cursor:
        if len(found) >= limit:
            break
        if not leaving(number_of(row[0])):
            found.append(row)
    cursor.close()
    return found


def lowest(source: sqlite3.Connection, service: Service) -> int | None:
    """The lowest number in the outbox: one statement, so that a record that moves meanwhile is not missed."""
    first = INDEX[service] << 3
    bounds = [key_of(class_, number) for class_ in range(first, first + 8) for number in (0, LAST_NUMBER)]
    return min((number for (number,) in source.execute(_LOWEST, bounds)), default=None)


def is_there(source: sqlite3.Connection, service: Service, number: int) -> bool:
    """Whether a record is in the outbox, in whatever class."""
    keys = [key_of((INDEX[service] << 3) + class_, number) for class_ in range(8)]
    marks = ",".join("?" * len(keys))
    return source.execute(f"SELECT 1 FROM outbox WHERE key IN ({marks}) LIMIT 1", keys).fetchone() is not None


def expiring(source: sqlite3.Connection, queue: int) -> list[int]:
    """The numbers of a queue's records that have a deadline: the index of deadlines has only such."""
    rows = source.execute("SELECT key FROM outbox WHERE expires_at IS NOT NULL AND queue = ?", (queue,))
    return sorted(number_of(key) for (key,) in rows)


def any_expired(source: sqlite3.Connection, now: float, undated: bool) -> bool:
    """Whether `Outbox.expire` would find anything."""
    return (
        source.execute(
            "SELECT 1 FROM outbox WHERE expires_at <= ? AND time_known >= ? LIMIT 1", (now, 0 if undated else 1)
        ).fetchone()
        is not None
    )


def object_value(source: sqlite3.Connection, service: Service, name: str) -> bytes | None:
    """The committed value of a named object."""
    row = source.execute("SELECT value FROM objects WHERE service = ? AND name = ?", (INDEX[service], name)).fetchone()
    return row[0] if row else None


def object_names(source: sqlite3.Connection, service: Service) -> set[str]:
    """The names of committed objects."""
    return {name for (name,) in source.execute("SELECT name FROM objects WHERE service = ?", (INDEX[service],))}


def record(row: Row, queues: Mapping[int, tuple[str, bool]], boots: Mapping[int, bytes], more_attempts: int) -> Record:
    """A row as a value."""
    key, queue, body, captured_at, boot, monotonic, time_known, expires_at, max_cost, links, replaces, *rest = row
    attempts, template = rest
    service, urgency, handed_over, number = split(key)
    queue_id = queue & (1 << QUEUE_BITS) - 1
    name, known = queues[queue] if queue in queues else (_RESERVED_NAMES[queue_id], True)
    return Record(
        service=service,
        number=number,
        queue=name,
        queue_id=queue_id,
        queue_known=known,
        body=body,
        urgency=urgency,
        captured_at=captured_at,
        boot=boots.get(boot, b""),
        monotonic=monotonic,
        time_known=bool(time_known),
        expires_at=expires_at,
        max_cost=max_cost,
        links=tuple(links.split(",")) if links else (),
        replaces=replaces,
        attempts=attempts + more_attempts,
        handed_over=handed_over,
        template=template,
    )
