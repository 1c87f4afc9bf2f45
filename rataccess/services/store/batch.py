"""The one transaction in which a batch of messages takes effect.

Rules of this file: writes `Changes`, whole or not at all.  The caller holds the rows of the devices concerned.
"""

from __future__ import annotations

from collections.abc import Mapping

from rataccess.objects import Urgency, encode
from rataccess.services.store.database import Database
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
            _write_records(database, changes)
            _write_parts(database, changes)
            database.many(_UPSERT_OBJECT, sorted(changes.objects, key=lambda row: (str(row[0]), str(row[1]))))
            database.many(_UPSERT_HEALTH, sorted(changes.health, key=lambda row: str(row[0])))
            database.many(_INSERT_CALL, changes.calls)
            database.many("DELETE FROM outbound WHERE device = ? AND number = ?", changes.acknowledged)
            database.many("UPDATE outbound_queues SET known = 1 WHERE device = ? AND id = ?", changes.known_queues)
            database.many(_UPDATE_KEPT, [(kept, device) for device, kept in changes.kept.items()])
            database.many(_UPDATE_DEVICE, [(*row, device) for device, row in changes.devices.items()])
            for device, number, status, now in changes.refused_calls:  # last: it moves the version on once more
                answer = encode([number, status, None])
                enqueue(database, device, CALLS_QUEUE, answer, Urgency.PROMPT, now)
            database.many(_COUNT, sorted(counted.items()))  # rows of all processes: last, and in one order

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


def _write_records(database: Database, changes: Changes) -> None:
    database.insert("records", _RECORD, changes.records)
    database.insert("parked", _PARKED, changes.parked)
    database.insert("blocks", _BLOCK, changes.blocks)
    database.many("DELETE FROM blocks WHERE id = ?", ((block,) for block in changes.filed_blocks))
    database.many("UPDATE blocks SET unreadable = 1 WHERE id = ?", ((block,) for block in changes.unreadable_blocks))
    database.many(_LEARN, ((*key, definition) for key, definition in changes.schemas.items()))
    for (device, queue_id), name in changes.queues.items():
        name_queue(database, device, queue_id, name)


def _write_parts(database: Database, changes: Changes) -> None:
    columns = "device, number, queue_id, urgency, captured_at, total"
    database.insert("partials", columns, list(changes.partials.values()))
    rows = [(*key, *piece) for key, pieces in changes.fragments.items() for piece in pieces]
    database.insert("fragments", "device, number, start, body", rows)
    database.many("DELETE FROM partials WHERE device = ? AND number = ?", changes.finished)
    database.many("DELETE FROM fragments WHERE device = ? AND number = ?", changes.finished)


def name_queue(database: Database, device: int, queue_id: int, name: str) -> None:
    """Within a transaction: keep the name, and file what was parked under the id."""
    database.execute(
        "INSERT INTO queues VALUES (?, ?, ?) ON CONFLICT (device, id) DO UPDATE SET name = excluded.name",
        (device, queue_id, name),
    )
    database.execute(
        "INSERT INTO records(device, number, queue, urgency, captured_at, received_at, link, body)"
        " SELECT device, number, ?, urgency, captured_at, received_at, link, body FROM parked"
        " WHERE device = ? AND queue_id = ? ORDER BY number",
        (name, device, queue_id),
    )
    database.execute("DELETE FROM parked WHERE device = ? AND queue_id = ?", (device, queue_id))
