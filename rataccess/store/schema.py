"""The tables, how keys are packed, and how older files become newer ones.

Rules of this file: SQL text and arithmetic; nothing is executed here.

An outbox key is service (1 bit), handed over (1 bit), urgency (2 bits) and record number (53 bits), so the table itself is
the index that the exchange pages through, and records that were handed over are out of its way.  Every secondary index is
partial: a plain record is written to one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rataccess.objects import Service, Urgency

SERVICES = (Service.MANAGEMENT, Service.SOLUTION)
INDEX = {service: index for index, service in enumerate(SERVICES)}
NUMBER_BITS = 53
LAST_NUMBER = (1 << NUMBER_BITS) - 1
CLASSES = 16
"""Classes of records: a key without its number, service * 8 + handed over * 4 + urgency."""
HANDED = 4
QUEUE_BITS = 32

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE outbox (
        key INTEGER PRIMARY KEY, queue INTEGER NOT NULL, body BLOB NOT NULL, captured_at REAL, boot INTEGER NOT NULL,
        monotonic REAL NOT NULL, time_known INTEGER NOT NULL, expires_at REAL, max_cost REAL, links TEXT, replaces TEXT,
        attempts INTEGER NOT NULL DEFAULT 0, resend_at REAL);
    CREATE INDEX outbox_expires ON outbox (expires_at) WHERE expires_at IS NOT NULL;
    CREATE INDEX outbox_replaces ON outbox (replaces) WHERE replaces IS NOT NULL;
    CREATE INDEX outbox_resend ON outbox (resend_at) WHERE resend_at IS NOT NULL;
    CREATE INDEX outbox_undated ON outbox (boot) WHERE time_known = 0;
    CREATE TABLE boots (id INTEGER PRIMARY KEY, boot BLOB NOT NULL UNIQUE);
    CREATE TABLE queues (key INTEGER PRIMARY KEY, name TEXT NOT NULL, known INTEGER NOT NULL);
    CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
    CREATE TABLE inbox (key INTEGER PRIMARY KEY, queue TEXT NOT NULL, body BLOB NOT NULL, captured_at REAL);
    CREATE INDEX inbox_queue ON inbox (queue, key);
    CREATE TABLE received (service INTEGER PRIMARY KEY, numbers BLOB NOT NULL);
    CREATE TABLE objects (service INTEGER, name TEXT, value BLOB NOT NULL, PRIMARY KEY (service, name)) WITHOUT ROWID;
    CREATE TABLE memory (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE outbox ADD COLUMN template INTEGER",
)
"""Step n makes a file of version n out of one of version n - 1 (`PRAGMA user_version`).  Steps are only ever added."""


def class_of(service: Service, urgency: int, handed: bool = False) -> int:
    """The class of records with these three properties."""
    return INDEX[service] << 3 | (HANDED if handed else 0) | urgency


def key_of(class_: int, number: int) -> int:
    """The outbox key of a record."""
    return class_ << NUMBER_BITS | number


def number_of(key: int) -> int:
    """The record number in a key."""
    return key & LAST_NUMBER


def split(key: int) -> tuple[Service, Urgency, bool, int]:
    """Service, urgency, handed over and number of an outbox key."""
    class_ = key >> NUMBER_BITS
    return SERVICES[class_ >> 3], Urgency(class_ & 3), bool(class_ & HANDED), key & LAST_NUMBER


def runs(numbers: Iterable[int], last: int) -> Iterator[tuple[int, int]]:
    """The numbers from 1 to `last` among `numbers` as closed ranges, ascending."""
    start = end = 0
    for number in sorted(numbers):
        if not 0 < number <= last:
            continue
        if end and number <= end + 1:
            end = number
            continue
        if end:
            yield start, end
        start = end = number
    if end:
        yield start, end
