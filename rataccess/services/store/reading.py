"""Records on their way out of the store: in order, for receivers with cursors of their own; and their end.

Rules of this file: what receivers and retention need.  The order is one in which nothing appears behind a position that
was read; a position is text that means something to this file only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rataccess.objects import Urgency
from rataccess.services.store.database import Row
from rataccess.services.store.facet import Facet
from rataccess.services.store.values import StoredRecord

_PRUNED = 5000
"""Records deleted at a time: some milliseconds."""


class ReadingFacet(Facet):
    """For receivers."""

    def records_after(self, position: str | None, limit: int = 1000, max_bytes: int = 4 << 20) -> list[StoredRecord]:
        """The records behind `position` (`None`: from the first on), in their order: at most `limit`, and of as many as
        have `max_bytes` in their bodies together, but one at least."""
        database = self.database
        place = database.place(position)
        condition = f"WHERE {database.after} ORDER BY {database.order} LIMIT ?"
        total = count = 0
        for (size,) in database.execute(f"SELECT length(r.body) FROM records AS r {condition}", (*place, limit)):
            total += size
            if count and total > max_bytes:
                break
            count += 1
        if not count:
            return []
        statement = (
            f"SELECT {database.position}, d.kid, d.serial_number, r.queue, r.number, r.urgency, r.captured_at,"
            f" r.received_at, r.link, r.body FROM records AS r JOIN devices AS d ON d.id = r.device {condition}"
        )
        return [_record(row) for row in database.execute(statement, (*place, count))]

    def cursor(self, receiver: str) -> tuple[str | None, bytes | None]:
        """The position up to which the receiver has everything, and its own state; `(None, None)` for a new one."""
        row = self.database.one("SELECT position, state FROM cursors WHERE receiver = ?", (receiver,))
        return (None, None) if row is None else (row[0] or None, row[1])

    def move_cursor(self, receiver: str, position: str | None, state: bytes | None = None) -> None:
        """The receiver has everything up to `position`; `state` is its own.  Durable when this returns."""
        statement = (
            "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT (receiver) DO UPDATE SET position = excluded.position,"
            " state = excluded.state"
        )
        self.database.execute(statement, (receiver, position or "", state))

    def cursors(self) -> dict[str, str | None]:
        """Every receiver's position."""
        return {
            name: position or None for name, position in self.database.execute("SELECT receiver, position FROM cursors")
        }

    def forget_cursor(self, receiver: str) -> None:
        """A receiver is no more."""
        self.database.execute("DELETE FROM cursors WHERE receiver = ?", (receiver,))

    def backlog(self, receiver: str, most: int = 100_000) -> int:
        """How many records the receiver has before it, counted up to `most`."""
        database = self.database
        position, _ = self.cursor(receiver)
        inner = f"SELECT 1 FROM records AS r WHERE {database.after} LIMIT ?"
        row = database.one(f"SELECT count(*) FROM ({inner}) AS waiting", (*database.place(position), most))
        return 0 if row is None else int(row[0])

    def prune(self, before: float, receivers: Sequence[str]) -> int:
        """Delete records that every one of `receivers` has and that were received before `before` (seconds since 1970).

        Deletes some thousand at most and returns how many; call it again until it returns 0.  What a receiver without a
        cursor has not seen stays, and so does what is parked.
        """
        database = self.database
        conditions, parameters = ["r.received_at < ?"], [before]
        for receiver in receivers:
            position, _ = self.cursor(receiver)
            if position is None:
                return 0
            conditions.append(database.up_to)
            parameters += database.place(position)
        where = " AND ".join(conditions)
        chosen = f"SELECT r.id FROM records AS r WHERE {where} ORDER BY {database.order} LIMIT {_PRUNED}"
        with database.transaction():
            statement = f"DELETE FROM records WHERE id IN ({chosen}) RETURNING device, length(body)"
            deleted = database.execute(statement, parameters)
            sizes: Counter[int] = Counter()
            for device, size in deleted:
                sizes[device] += size
            database.lock("devices", sizes, "id")
            statement = "UPDATE devices SET kept = kept - ?, version = version + 1 WHERE id = ?"
            database.many(statement, [(size, device) for device, size in sizes.items()])
        return len(deleted)

    # --- one holder ------------------------------------------------------------------------------------------------------

    def lease(self, name: str) -> bool:
        """Hold `name` against every other handle and process while this one lives; returns whether it is held.

        Ask again before each use: PostgreSQL gives it up with a lost connection.
        """
        return self.database.lease(name)

    def release(self, name: str) -> None:
        """Give `name` up; nothing where it is not held."""
        self.database.release(name)


def _record(row: Row) -> StoredRecord:
    position, kid, serial_number, queue, number, urgency, captured_at, received_at, link, body = row
    return StoredRecord(
        position, kid, serial_number, queue, number, Urgency(urgency), captured_at, received_at, link, body
    )
