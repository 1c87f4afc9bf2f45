"""The one transaction in which a batch of messages takes effect.

Rules of this file: writes `Changes`, whole or not at all.  The caller holds the rows of the devices concerned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rataccess.objects import Urgency, encode
from rataccess.services.store.database import Database, Row
from rataccess.services.store.devices import _LEARN
from rataccess.services.store.facet import Facet
from rataccess.services.store.outgoing import enqueue
from rataccess.services.store.values import Changes

CALLS_QUEUE = 4
"""Where answers to calls go (docs/wire.md, Records)."""
_RECORD = "device, number, queue, urgency, captured_at, received_at, link, body"
_PARKED = "device, number, queue_id, urgency, captured_at, received_at, link, body"
_BLOCK = "device, schema, queue_id, queue, urgency, content, received_at, link, unreadable"
_LATER = (
    "WHERE (excluded.device, excluded.number) > ({0}.device, {0}.number)"  # the last number wins, not the last arrival
)
_UPSERT_OBJECT = (
    "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (serial_number, name) DO UPDATE SET"
    " value = excluded.value, device = excluded.device, number = excluded.number, captured_at = excluded.captured_at,"
    f" received_at = excluded.received_at {_LATER.format('objects')}"
)
_UPSERT_HEALTH = (
    "INSERT INTO health VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (serial_number) DO UPDATE SET value = excluded.value,"
    " device = excluded.device, number = excluded.number, captured_at = excluded.captured_at,"
    f" received_at = excluded.received_at {_LATER.format('health')}"
)
_UPDATE_DEVICE = (
    "UPDATE devices SET received = ?, replay = ?, heard_at = ?, link = ?, paths = ?, kept = ?, holder = ?, version = ?"
    " WHERE id = ?"
)
_UPDATE_KEPT = "UPDATE devices SET kept = ? WHERE id = ?"
_INSERT_CALL = (
    "INSERT INTO calls(device, number, name, body, expires_at, repeatable) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
_COUNT = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value"


class BatchFacet(Facet):
    """Writing."""

    def commit(self, changes: Changes, counted: Mapping[str, int]) -> None:
        """Do everything in `changes`, durably, or nothing.  `counted` is added to the counters with it."""
        with self.database.transaction() as database:
            for table, columns, rows in _new_rows(changes):
                if rows:
                    database.insert(table, columns, rows)
            with database.pipeline():
                for statement, items in (*_statements(changes), (_COUNT, sorted(counted.items()))):
                    if items:  # the counters' are rows of all processes: last, and in one order
                        database.many(statement, items)
            for device, number, status, now in changes.refused_calls:  # moves the version on once more
                answer = encode([number, status, None])
                enqueue(database, device, CALLS_QUEUE, answer, Urgency.PROMPT, now)

    def counters(self) -> dict[str, int]:
        """What was counted so far, by cause."""
        return dict(self.database.execute("SELECT name, value FROM counters"))

    # --- `Memory` for the security contexts -------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or `None`."""
        row = self.database.one("SELECT value FROM memory WHERE key = ?", (key,))
        return None if row is None else row[0]

    def put_now(self, key: str, value: bytes) -> None:
        """Keep `value`; on disk when this returns."""
        statement = "INSERT INTO memory VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self.database.execute(statement, (key, value))

    put = put_now  # rare here (a context's sequence reservation): not worth a delay

    def replace(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Keep `new` where `old` is what is kept (`None`: nothing); whether it was.  On disk when this returns."""
        if old is None:
            statement = "INSERT INTO memory VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING key"
            return self.database.one(statement, (key, new)) is not None
        statement = "UPDATE memory SET value = ? WHERE key = ? AND value = ? RETURNING key"
        return self.database.one(statement, (new, key, old)) is not None


def _new_rows(changes: Changes) -> Iterator[tuple[str, str, Sequence[Row]]]:
    """Tables, their columns, and rows that are new."""
    yield "records", _RECORD, changes.records
    yield "parked", _PARKED, changes.parked
    yield "blocks", _BLOCK, changes.blocks
    yield "partials", "device, number, queue_id, urgency, captured_at, total", list(changes.partials.values())
    rows = [(*key, *piece) for key, pieces in changes.fragments.items() for piece in pieces]
    yield "fragments", "device, number, start, body", rows


def _statements(changes: Changes) -> Iterator[tuple[str, Sequence[Sequence[Any]]]]:
    """What else is done, and with which rows.  What several processes may touch at a time is sorted: no deadlock."""
    named = [(name, *key) for key, name in changes.queues.items()]
    yield from ((statement, named) for statement in _NAME_QUEUE)
    yield "DELETE FROM blocks WHERE id = ?", [(block,) for block in changes.filed_blocks]
    yield "UPDATE blocks SET unreadable = 1 WHERE id = ?", [(block,) for block in changes.unreadable_blocks]
    yield _LEARN, [(*key, definition) for key, definition in changes.schemas.items()]
    yield "DELETE FROM partials WHERE device = ? AND number = ?", list(changes.finished)
    yield "DELETE FROM fragments WHERE device = ? AND number = ?", list(changes.finished)
    yield _UPSERT_OBJECT, sorted(changes.objects, key=lambda row: (str(row[0]), str(row[1])))
    yield _UPSERT_HEALTH, sorted(changes.health, key=lambda row: str(row[0]))
    yield _INSERT_CALL, changes.calls
    yield "DELETE FROM outbound WHERE device = ? AND number = ?", changes.acknowledged
    yield "UPDATE outbound_queues SET known = 1 WHERE device = ? AND id = ?", list(changes.known_queues)
    yield _UPDATE_KEPT, [(kept, device) for device, kept in changes.kept.items()]
    yield _UPDATE_DEVICE, [(*row, device) for device, row in changes.devices.items()]


def name_queue(database: Database, device: int, queue_id: int, name: str) -> None:
    """Within a transaction: keep the name, and file what was parked under the id."""
    for statement in _NAME_QUEUE:
        database.execute(statement, (name, device, queue_id))


_NAME_QUEUE = (
    "INSERT INTO queues(name, device, id) VALUES (?, ?, ?) ON CONFLICT (device, id) DO UPDATE SET name = excluded.name",
    "INSERT INTO records(device, number, queue, urgency, captured_at, received_at, link, body)"
    " SELECT device, number, CAST(? AS TEXT), urgency, captured_at, received_at, link, body FROM parked"
    " WHERE device = ? AND queue_id = ? ORDER BY number",
    "DELETE FROM parked WHERE CAST(? AS TEXT) IS NOT NULL AND device = ? AND queue_id = ?",
)
"""Each with name, device and id."""
