"""What people ask of a service and tell it: devices, objects, environment, records for a device.

Rules of this file: blocking functions on a store's path, usable from any process while the service runs or does not.  A
running service notices with the next message of a device, or within a second while one was heard a short while ago.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rataccess.clock import SystemClock
from rataccess.errors import ConfigurationError, ObjectError
from rataccess.objects import Object, Urgency, decode, encode
from rataccess.services.store import Row, ServiceStore, name_queue, translated
from rataccess.wire import FIRST_FREE_QUEUE, NAMED_OBJECT_QUEUE

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One enrolment of a device.  Times are seconds since 1970."""

    serial_number: str
    kid: bytes
    heard_at: float | None
    link: str | None
    """The link that carried its last message, where the device said so."""
    records: int
    parked: int
    """Records whose queue the device has not named."""
    unfinished: int
    """Records of which only parts have come."""
    waiting: int
    """Records that wait for the device."""


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """One record as it came.  Times are seconds since 1970."""

    id: int
    """In the order of arrival over all devices."""
    serial_number: str
    queue: str
    number: int
    urgency: Urgency
    captured_at: float | None
    received_at: float
    link: str | None
    body: bytes
    """The encoded object."""


def list_devices(store: Path) -> list[DeviceInfo]:
    """Every device that was ever enrolled, in the order of enrolment."""
    counts = ", ".join(
        f"(SELECT count(*) FROM {table} AS t WHERE t.device = d.id)"
        for table in ("records", "parked", "partials", "outbound")
    )
    with _opened(store) as found:
        rows = found.connection.execute(
            f"SELECT serial_number, kid, heard_at, link, {counts} FROM devices AS d ORDER BY id"
        )
        return [DeviceInfo(*row) for row in rows.fetchall()]


def records(store: Path, *, after: int = 0, limit: int = 1000) -> list[ReceivedRecord]:
    """Records whose `id` is above `after`, in the order of arrival."""
    with _opened(store) as found:
        rows = found.connection.execute(
            "SELECT r.id, d.serial_number, r.queue, r.number, r.urgency, r.captured_at, r.received_at, r.link, r.body"
            " FROM records AS r JOIN devices AS d ON d.id = r.device WHERE r.id > ? ORDER BY r.id LIMIT ?",
            (after, limit),
        )
        return [_received(row) for row in rows.fetchall()]


def get_object(store: Path, serial_number: str, name: str) -> Object | None:
    """The value that the device last put under `name`, or `None`."""
    with _opened(store) as found:
        statement = "SELECT value FROM objects WHERE serial_number = ? AND name = ?"
        row = found.connection.execute(statement, (serial_number, name)).fetchone()
    return None if row is None else decode(row[0])


def objects(store: Path, serial_number: str) -> dict[str, Object]:
    """Everything that the device has put, by name."""
    with _opened(store) as found:
        statement = "SELECT name, value FROM objects WHERE serial_number = ? ORDER BY name"
        rows = found.connection.execute(statement, (serial_number,)).fetchall()
    return {name: decode(value) for name, value in rows}


def get_health(store: Path, serial_number: str) -> Object | None:
    """The device's last health report, or `None`."""
    with _opened(store) as found:
        statement = "SELECT value FROM health WHERE serial_number = ?"
        row = found.connection.execute(statement, (serial_number,)).fetchone()
    return None if row is None else decode(row[0])


def counters(store: Path) -> dict[str, int]:
    """What the service has counted, by cause; a running one writes them with each batch."""
    with _opened(store) as found:
        return found.counters()


def enqueue_inbound(
    store: Path, serial_number: str, queue: str, value: Object, *, urgency: Urgency = Urgency.PROMPT
) -> int:
    """Have `value` delivered to the device's queue `queue`, once; returns its record number.

    Raises `ConfigurationError` for a device that was never enrolled, `ObjectError` for a name or value that cannot be.
    """
    if not 1 <= len(queue) <= _LONGEST_NAME or queue.startswith("$"):
        raise ObjectError(f"a queue's name has 1 to {_LONGEST_NAME} characters and does not begin with $: {queue!r}")
    with _opened(store) as found:
        return found.enqueue(_device(found, serial_number), queue, encode(value), urgency, SystemClock().wall())


def put_object(store: Path, serial_number: str, name: str, value: Object, *, urgency: Urgency = Urgency.PROMPT) -> int:
    """Have the named object `name` hold `value` at the device; returns the record's number.  Errors as `enqueue_inbound`."""
    with _opened(store) as found:
        body = encode([name, value])
        return found.enqueue(_device(found, serial_number), NAMED_OBJECT_QUEUE, body, urgency, SystemClock().wall())


def set_env(
    store: Path, values: Mapping[str, str | None], *, fleet: str | None = None, serial_number: str | None = None
) -> None:
    """Set environment variables of a fleet or of one device; `None` removes one.

    Of a fleet's and the device's own value the device's holds.  Raises `ConfigurationError` unless exactly one of `fleet`
    and `serial_number` is given, and for a value that is not text.
    """
    if (fleet is None) == (serial_number is None):
        raise ConfigurationError("an environment belongs to a fleet or to a device: give one of the two")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str | None):
            raise ConfigurationError(f"environment variable {name!r} must be text, found {type(value).__name__}")
    table, key = ("fleet_environment", "fleet") if fleet is not None else ("device_environment", "serial_number")
    owner = fleet if fleet is not None else serial_number
    with _opened(store) as found, found.transaction() as connection:
        for name, value in values.items():
            connection.execute(f"DELETE FROM {table} WHERE {key} = ? AND name = ?", (owner, name))
            if value is not None:
                connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (owner, name, value))


def get_env(store: Path, *, fleet: str | None = None, serial_number: str | None = None) -> dict[str, str]:
    """The environment variables of a fleet, or the own ones of a device."""
    with _opened(store) as found:
        return found.environment(serial_number or "", [fleet] if fleet is not None else [])


def set_queue_name(store: Path, serial_number: str, queue_id: int, name: str) -> None:
    """Name a queue that the device has not named since this store is in use; its parked records are filed."""
    if queue_id < FIRST_FREE_QUEUE:
        raise ObjectError(f"queue ids below {FIRST_FREE_QUEUE} are reserved, found {queue_id}")
    with _opened(store) as found:
        device = _device(found, serial_number)
        with found.transaction() as connection:
            name_queue(connection, device, queue_id, name)


def _received(row: Row) -> ReceivedRecord:
    id_, serial_number, queue, number, urgency, captured_at, received_at, link, body = row
    return ReceivedRecord(id_, serial_number, queue, number, Urgency(urgency), captured_at, received_at, link, body)


@contextmanager
def _opened(store: Path) -> Iterator[ServiceStore]:
    if not store.exists():
        raise ConfigurationError(f"there is no store {store}; is it the path of the service's configuration?")
    with ServiceStore.open(store) as found, translated(store):
        yield found


def _device(store: ServiceStore, serial_number: str) -> int:
    """The device's latest enrolment."""
    statement = "SELECT max(id) FROM devices WHERE serial_number = ?"
    row = store.connection.execute(statement, (serial_number,)).fetchone()
    if row[0] is None:
        raise ConfigurationError(f"no device {serial_number!r} was ever enrolled at the service of {store.path}")
    return int(row[0])
