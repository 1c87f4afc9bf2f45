"""Records and packets for devices, in the store.

Rules of this file: what waits, its numbers, its queues.  Whoever gives a number holds the device's row: numbers are given
once however many processes give them.
"""

from __future__ import annotations

from rataccess.objects import Urgency
from rataccess.services.store.database import Database, Row
from rataccess.services.store.facet import Facet
from rataccess.wire import ENVIRONMENT_QUEUE, FIRST_FREE_QUEUE


class OutgoingFacet(Facet):
    """What waits for one device."""

    def outbound(self, device: int, number: int) -> Row | None:
        """`queue_id, name (None where the device knows it), urgency, created_at, body` of a record for the device."""
        return self.database.one(
            "SELECT o.queue_id, CASE WHEN q.known = 1 THEN NULL ELSE q.name END, o.urgency, o.created_at, o.body"
            " FROM outbound AS o LEFT JOIN outbound_queues AS q ON q.device = o.device AND q.id = o.queue_id"
            " WHERE o.device = ? AND o.number = ?",
            (device, number),
        )

    def enqueue(self, device: int, queue: str | int, body: bytes, urgency: Urgency, now: float) -> int:
        """Put a record for the device among those waiting and return its number.  `queue` is a name or a reserved id."""
        with self.database.transaction() as database:
            number = enqueue(database, device, queue, body, urgency, now)
            announce(database)
        return number

    def renumber(self, device: int, floor: int) -> None:
        """Give the waiting records numbers above `floor`: the device remembers more than this store (an old copy)."""
        with self.database.transaction() as database:
            database.lock("devices", [device], "id")
            numbers = [n for (n,) in database.execute("SELECT number FROM outbound WHERE device = ?", (device,))]
            for last, number in enumerate(sorted(numbers, reverse=True)):
                moved = (floor + len(numbers) - last, device, number)
                database.execute("UPDATE outbound SET number = ? WHERE device = ? AND number = ?", moved)
            database.execute("UPDATE outbound_queues SET known = 0 WHERE device = ?", (device,))
            highest = floor + len(numbers)
            statement = "UPDATE devices SET last_number = ?, version = version + 1 WHERE id = ? AND last_number < ?"
            database.execute(statement, (highest, device, highest))

    # --- packets ---------------------------------------------------------------------------------------------------------

    def post_packet(self, device: str | bytes, data: bytes, expires_at: float) -> bool:
        """Have `data` sent to a device (a serial number, or a kid), at most once, until `expires_at` (seconds since 1970).

        Returns whether there is such a device.  It goes out where the device is heard, or was a short while ago.
        """
        with self.database.transaction() as database:
            column = "serial_number" if isinstance(device, str) else "kid"
            statement = (
                f"UPDATE devices SET version = version + 1 WHERE id = (SELECT max(id) FROM devices WHERE {column} = ?)"
                " RETURNING id"
            )
            row = database.one(statement, (device,))
            if row is not None:
                statement = "INSERT INTO packets(device, data, expires_at) VALUES (?, ?, ?)"
                database.execute(statement, (row[0], data, expires_at))
                announce(database)
        return row is not None

    def packets(self, device: int) -> list[tuple[int, bytes, float]]:
        """Id, data and end of the packets that wait for the device, in the order of posting."""
        statement = "SELECT id, data, expires_at FROM packets WHERE device = ? ORDER BY id"
        return [(id_, data, expires_at) for id_, data, expires_at in self.database.execute(statement, (device,))]

    def take_packet(self, packet: int) -> bool:
        """Remove a packet; only who got `True` may send it."""
        return self.database.one("DELETE FROM packets WHERE id = ? RETURNING id", (packet,)) is not None

    def drop_packets(self, now: float) -> int:
        """Remove the packets whose time has passed; how many."""
        return len(self.database.execute("DELETE FROM packets WHERE expires_at <= ? RETURNING id", (now,)))


def announce(database: Database) -> None:
    """At the end of a transaction: something waits for a device; the service's processes look within a second."""
    database.execute("UPDATE stamps SET value = value + 1 WHERE name = 'outgoing'")


def enqueue(database: Database, device: int, queue: str | int, body: bytes, urgency: Urgency, now: float) -> int:
    """Within a transaction: a record for the device; its number."""
    statement = (
        "UPDATE devices SET last_number = last_number + 1, version = version + 1 WHERE id = ? RETURNING last_number"
    )
    row = database.one(statement, (device,))  # first of all: it locks the device
    assert row is not None
    if queue == ENVIRONMENT_QUEUE:  # the whole map each time: older ones are pointless
        database.execute("DELETE FROM outbound WHERE device = ? AND queue_id = ?", (device, queue))
        database.execute("UPDATE devices SET environment = ? WHERE id = ?", (body, device))
    queue_id = queue if isinstance(queue, int) else _queue_id(database, device, queue)
    item = (device, row[0], queue_id, int(urgency), now, body)
    database.execute("INSERT INTO outbound VALUES (?, ?, ?, ?, ?, ?)", item)
    return int(row[0])


def _queue_id(database: Database, device: int, name: str) -> int:
    statement = "SELECT id FROM outbound_queues WHERE device = ? AND name = ?"
    found = database.one(statement, (device, name))
    if found is not None:
        return int(found[0])
    row = database.one("SELECT max(id) FROM outbound_queues WHERE device = ?", (device,))
    queue_id = FIRST_FREE_QUEUE if row is None or row[0] is None else int(row[0]) + 1
    database.execute("INSERT INTO outbound_queues(device, id, name) VALUES (?, ?, ?)", (device, queue_id, name))
    return queue_id
