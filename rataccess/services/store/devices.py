"""Enrolments in the store, and what has come of them so far.

Rules of this file: rows of devices, their queues, schemas, unfinished records and parked blocks; writing is in `batch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rataccess.services.store.database import Row
from rataccess.services.store.facet import Facet
from rataccess.services.store.values import Device, DeviceState, number_set
from rataccess.wire import FIRST_FREE_QUEUE

_COLUMNS = "id, serial_number, kid, received, replay, last_number, environment, paths, version, kept, holder"


class DeviceFacet(Facet):
    """Reading, by device."""

    def device(self, serial_number: str, kid: bytes) -> Device:
        """The enrolment, made where it is new."""
        found = self._find_device(serial_number, kid)
        if found is None:
            statement = "INSERT INTO devices(serial_number, kid) VALUES (?, ?) ON CONFLICT DO NOTHING"
            self.database.execute(statement, (serial_number, kid))
            found = self._find_device(serial_number, kid)
        assert found is not None
        return found

    def _find_device(self, serial_number: str, kid: bytes) -> Device | None:
        statement = f"SELECT {_COLUMNS} FROM devices WHERE serial_number = ? AND kid = ?"
        row = self.database.one(statement, (serial_number, kid))
        return None if row is None else _device(row)

    def known_devices(self) -> dict[tuple[str, bytes], int]:
        """Ids by serial number and kid."""
        rows = self.database.execute("SELECT serial_number, kid, id FROM devices")
        return {(serial_number, kid): id_ for serial_number, kid, id_ in rows}

    def load_devices(self, devices: Sequence[int]) -> dict[int, DeviceState]:
        """These enrolments as they are now; what is asked is the same however many there are."""
        if not devices:
            return {}
        rows = self._of("devices", _COLUMNS, devices, "id")
        found = {row[0]: DeviceState(_device(row)) for row in rows}
        for device, id_, name in self._of("queues", "device, id, name", devices):
            found[device].queues[id_] = name
        for device, number, queue_id in self._of("outbound", "device, number, queue_id", devices, order="number"):
            found[device].pending.append(number)
            if queue_id < FIRST_FREE_QUEUE:
                found[device].reserved.add(number)
        for device, id_, definition in self._of("schemas", "device, id, definition", devices):
            found[device].schemas[id_] = definition
        for device, schema, unreadable in self._of("blocks", "DISTINCT device, schema, unreadable", devices):
            if not unreadable:
                found[device].awaited_schemas.add(schema)
        for device, id_, data, expires_at in self._of("packets", "device, id, data, expires_at", devices, order="id"):
            found[device].packets.append((id_, data, expires_at))
        self._load_partials(devices, found)
        return found

    def _load_partials(self, devices: Sequence[int], found: dict[int, DeviceState]) -> None:
        partials = self._of("partials", "device, number, queue_id, urgency, captured_at, total", devices)
        ranges: dict[tuple[int, int], list[tuple[int, int]]] = {row[:2]: [] for row in partials}
        if partials:
            columns = "device, number, start, start + length(body)"
            for device, number, start, end in self._of("fragments", columns, devices, order="start"):
                ranges[device, number].append((start, end))
        for device, number, *rest in partials:
            found[device].partials.append((number, *rest, ranges[device, number]))

    def _of(
        self, table: str, columns: str, devices: Sequence[int], key: str = "device", order: str | None = None
    ) -> list[Row]:
        database = self.database
        statement = f"SELECT {columns} FROM {table} WHERE {database.among(key)}{f' ORDER BY {order}' if order else ''}"
        return database.execute(statement, (database.numbers(devices),))

    def latest(self, device: str | bytes) -> int | None:
        """The id of the latest enrolment of a serial number, or of the one with that kid; `None` where there is none."""
        column = "serial_number" if isinstance(device, str) else "kid"
        row = self.database.one(f"SELECT max(id) FROM devices WHERE {column} = ?", (device,))
        return None if row is None else row[0]

    def lock_devices(self, devices: Iterable[int]) -> dict[int, int]:
        """Within a transaction: the versions of these devices, which nobody else changes before it ends."""
        return dict(self.database.lock("devices", devices, "id, version"))

    def versions(self, devices: Iterable[int]) -> dict[int, tuple[int, str | None]]:
        """Version and holder of these devices, as they are now."""
        database = self.database
        statement = f"SELECT id, version, holder FROM devices WHERE {database.among('id')}"
        return {
            id_: (version, holder) for id_, version, holder in database.execute(statement, (database.numbers(devices),))
        }

    def queues(self, device: int) -> dict[int, str]:
        """Names of the device's queues by id."""
        return dict(self.database.execute("SELECT id, name FROM queues WHERE device = ?", (device,)))

    # --- templates -----------------------------------------------------------------------------------------------------

    def schemas(self, device: int) -> dict[int, bytes]:
        """Definitions (CBOR) of the templates that the device has told, by id."""
        return dict(self.database.execute("SELECT id, definition FROM schemas WHERE device = ?", (device,)))

    def learn_schema(self, device: int, schema: int, definition: bytes) -> None:
        """Keep a definition (CBOR); what is parked under its id is filed when the device is next heard, or at start."""
        with self.database.transaction() as database:
            statement = "UPDATE devices SET version = version + 1 WHERE id = ?"
            database.execute(statement, (device,))
            database.execute(_LEARN, (device, schema, definition))

    def parked_blocks(self, device: int, schema: int | None = None) -> list[Row]:
        """`id, schema, queue_id, queue, urgency, content, received_at, link` of blocks that wait for their template."""
        columns = "id, schema, queue_id, queue, urgency, content, received_at, link"
        statement = f"SELECT {columns} FROM blocks WHERE device = ? AND unreadable = 0"
        if schema is None:
            return self.database.execute(f"{statement} ORDER BY id", (device,))
        return self.database.execute(f"{statement} AND schema = ? ORDER BY id", (device, schema))

    def devices_with_blocks(self) -> list[int]:
        """Devices of which blocks wait for their template."""
        return [row[0] for row in self.database.execute("SELECT DISTINCT device FROM blocks WHERE unreadable = 0")]

    # --- unfinished records --------------------------------------------------------------------------------------------

    def fragments(self, device: int, number: int, start: int, end: int) -> list[tuple[int, bytes]]:
        """What is kept of a record and touches `start` to `end - 1`, ascending."""
        rows = self.database.execute(
            "SELECT start, body FROM fragments WHERE device = ? AND number = ?"
            " AND start < ? AND start + length(body) > ? ORDER BY start",
            (device, number, end, start),
        )
        return [(start, body) for start, body in rows]


_LEARN = "INSERT INTO schemas VALUES (?, ?, ?) ON CONFLICT (device, id) DO UPDATE SET definition = excluded.definition"


def _device(row: Row) -> Device:
    id_, serial_number, kid, received, *rest = row
    return Device(id_, serial_number, kid, number_set(received), *rest)
