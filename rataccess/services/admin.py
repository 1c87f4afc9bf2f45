"""What people ask of a service and tell it: devices, objects, environment, records for a device.

Rules of this file: blocking functions on a store (its path, its URL, or an open handle), usable from any process while the
service runs or does not.  A running service notices with the next message of a device, or within a second while one was
heard a short while ago.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rataccess.clock import SystemClock
from rataccess.errors import ConfigurationError, ObjectError, UnknownDevice
from rataccess.objects import Object, Urgency, decode, encode
from rataccess.services.store import Conflict, Row, ServiceStore, is_shared, name_queue, open_store, sqlite_path
from rataccess.wire import FIRST_FREE_QUEUE, NAMED_OBJECT_QUEUE

LONGEST_NAME = 64
"""Characters of a serial number, of a fleet, of a queue."""
LONGEST_VARIABLE, LONGEST_VALUE = 128, 8192
"""Characters of an environment variable's name and value: all of them together travel as one record."""

Store = ServiceStore | Path | str
"""An open store, or the path or URL of one."""


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
    blocks: int = 0
    """Parked blocks: packed records whose template is not known."""
    calls: int = 0
    """Calls that have no answer yet."""
    kept_bytes: int = 0
    """Bytes of its records that are in the store."""
    id: int = 0
    """In the order of enrolment."""


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


# --- devices ----------------------------------------------------------------------------------------------------------


def list_devices(
    store: Store,
    *,
    serial_number: str | None = None,
    fleet: str | None = None,
    latest: bool = False,
    after: int = 0,
    limit: int | None = None,
    count_records: bool = True,
) -> list[DeviceInfo]:
    """Enrolments in their order: all, or those of one serial number or fleet, or the `latest` of each serial number.

    At most `limit` of those whose `id` is above `after`.  `records` is -1 without `count_records`: in a large store
    counting takes long.
    """
    tables = ("records", "parked", "partials", "outbound", "blocks", "calls")
    counts = [f"(SELECT count(*) FROM {table} AS t WHERE t.device = d.id)" for table in tables]
    if not count_records:
        counts[0] = "-1"
    conditions: list[str] = ["d.id > ?"]
    parameters: list[object] = [after]
    if serial_number is not None:
        conditions, parameters = [*conditions, "d.serial_number = ?"], [*parameters, serial_number]
    if fleet is not None:
        among = "d.serial_number IN (SELECT serial_number FROM device_fleets WHERE fleet = ?)"
        conditions, parameters = [*conditions, among], [*parameters, fleet]
    if latest:
        conditions.append("d.id = (SELECT max(o.id) FROM devices AS o WHERE o.serial_number = d.serial_number)")
    statement = (
        f"SELECT d.serial_number, d.kid, d.heard_at, d.link, {', '.join(counts)}, d.kept, d.id FROM devices AS d"
        f" WHERE {' AND '.join(conditions)} ORDER BY d.id"
    )
    if limit is not None:
        statement, parameters = f"{statement} LIMIT ?", [*parameters, limit]
    with opened(store) as found:
        return [DeviceInfo(*row) for row in found.execute(statement, parameters)]


def records(store: Store, *, after: int = 0, limit: int = 1000) -> list[ReceivedRecord]:
    """Records whose `id` is above `after`, in the order of arrival.  Packets, which have no number, are left out.

    On PostgreSQL, where several processes file records at a time, one may appear behind an `id` that was read:
    `ServiceStore.records_after` has the order in which that cannot be.
    """
    with opened(store) as found:
        rows = found.execute(
            "SELECT r.id, d.serial_number, r.queue, r.number, r.urgency, r.captured_at, r.received_at, r.link, r.body"
            " FROM records AS r JOIN devices AS d ON d.id = r.device WHERE r.id > ? AND r.number IS NOT NULL"
            " ORDER BY r.id LIMIT ?",
            (after, limit),
        )
        return [_received(row) for row in rows]


def get_object(store: Store, serial_number: str, name: str) -> Object | None:
    """The value that the device last put under `name`, or `None`."""
    with opened(store) as found:
        rows = found.execute("SELECT value FROM objects WHERE serial_number = ? AND name = ?", (serial_number, name))
    return decode(rows[0][0]) if rows else None


def objects(store: Store, serial_number: str) -> dict[str, Object]:
    """Everything that the device has put, by name."""
    with opened(store) as found:
        rows = found.execute("SELECT name, value FROM objects WHERE serial_number = ? ORDER BY name", (serial_number,))
    return {name: decode(value) for name, value in rows}


def get_health(store: Store, serial_number: str) -> Object | None:
    """The device's last health report, or `None`."""
    report = health_report(store, serial_number)
    return None if report is None else decode(report[0])


def health_report(store: Store, serial_number: str) -> tuple[bytes, float] | None:
    """The device's last health report, encoded, and when it was received."""
    with opened(store) as found:
        rows = found.execute("SELECT value, received_at FROM health WHERE serial_number = ?", (serial_number,))
    return (rows[0][0], rows[0][1]) if rows else None


def counters(store: Store) -> dict[str, int]:
    """What the service has counted, by cause; a running one writes them with each batch."""
    with opened(store) as found:
        return found.counters()


# --- records for devices ----------------------------------------------------------------------------------------------


def enqueue_inbound(
    store: Store, serial_number: str, queue: str, value: Object, *, urgency: Urgency = Urgency.PROMPT
) -> int:
    """Have `value` delivered to the device's queue `queue`, once; returns its record number.

    Raises `UnknownDevice` for one that was never enrolled, `ObjectError` for a name or value that cannot be.
    """
    if not is_name(queue) or queue.startswith("$"):
        raise ObjectError(f"a queue's name has 1 to {LONGEST_NAME} characters and does not begin with $: {queue!r}")
    body = encode(value)
    with opened(store) as found:
        return found.enqueue(_device(found, serial_number), queue, body, urgency, SystemClock().wall())


def put_object(store: Store, serial_number: str, name: str, value: Object, *, urgency: Urgency = Urgency.PROMPT) -> int:
    """Have the named object `name` hold `value` at the device; returns the record's number.  Errors as `enqueue_inbound`."""
    body = encode([name, value])
    with opened(store) as found:
        return found.enqueue(_device(found, serial_number), NAMED_OBJECT_QUEUE, body, urgency, SystemClock().wall())


def post_packet(store: Store, serial_number: str, data: bytes, *, seconds: float = 30.0) -> None:
    """Have one packet sent to the device, at most once, within `seconds`; whether it arrives nobody learns.

    It goes out when the device is heard, or at once where it was a short while ago.  Errors as `enqueue_inbound`.
    """
    with opened(store) as found:
        _device(found, serial_number)
        found.post_packet(serial_number, data, SystemClock().wall() + seconds)


def discard_waiting(store: Store, serial_number: str, kid: bytes) -> int:
    """Drop what waits for one enrolment (records, packets) and its calls; returns how many.  What came from it stays."""
    with opened(store) as found, found.transaction() as database:
        rows = database.execute(
            "UPDATE devices SET version = version + 1 WHERE serial_number = ? AND kid = ? RETURNING id",
            (serial_number, kid),
        )
        return sum(
            len(database.execute(f"DELETE FROM {table} WHERE device = ? RETURNING device", row))
            for row in rows
            for table in ("outbound", "packets", "calls")
        )


# --- fleets and their environment -------------------------------------------------------------------------------------


def list_fleets(store: Store) -> dict[str, int]:
    """Every fleet that has a device or a variable, and how many devices are in it."""
    with opened(store) as found:
        counted: dict[str, int] = dict(found.execute("SELECT fleet, count(*) FROM device_fleets GROUP BY fleet"))
        named = [row[0] for row in found.execute("SELECT DISTINCT fleet FROM fleet_environment")]
    return {fleet: counted.get(fleet, 0) for fleet in sorted({*counted, *named})}


def get_fleets(store: Store, serial_number: str) -> list[str]:
    """The fleets that the device is in; of two fleets' values for a variable the later fleet's holds."""
    with opened(store) as found:
        return found.fleets(serial_number)


def set_fleets(store: Store, serial_number: str, fleets: Sequence[str]) -> None:
    """Put the device into `fleets` and no others.

    Raises `UnknownDevice` for one that was never enrolled, `ConfigurationError` for a name that cannot be.
    """
    for fleet in fleets:
        check_name("a fleet", fleet)
    with opened(store) as found:
        _device(found, serial_number)
        found.set_fleets(serial_number, fleets)


def set_env(
    store: Store, values: Mapping[str, str | None], *, fleet: str | None = None, serial_number: str | None = None
) -> None:
    """Set environment variables of a fleet or of one device; `None` removes one.

    Of a fleet's and the device's own value the device's holds.  Raises `ConfigurationError` unless exactly one of `fleet`
    and `serial_number` is given, and for a name or value that cannot be.
    """
    if (fleet is None) == (serial_number is None):
        raise ConfigurationError("an environment belongs to a fleet or to a device: give one of the two")
    check_name("a fleet" if serial_number is None else "a serial number", fleet or serial_number or "")
    for name, value in values.items():
        _check_variable(name, value)
    with opened(store) as found:
        found.set_environment(values, fleet=fleet, serial_number=serial_number)


def get_env(store: Store, *, fleet: str | None = None, serial_number: str | None = None) -> dict[str, str]:
    """The environment variables of a fleet, or the own ones of a device."""
    with opened(store) as found:
        if fleet is not None:
            return found.fleet_environment(fleet)
        return found.device_environment(serial_number or "")


def merged_env(store: Store, serial_number: str) -> dict[str, str]:
    """What the device is given: the union of its fleets' variables, its own over all."""
    with opened(store) as found:
        return found.environment(serial_number)


def conflicts(store: Store, serial_number: str | None = None) -> dict[str, list[Conflict]]:
    """By serial number: variables to which fleets of the device give different values, and it has none of its own."""
    with opened(store) as found:
        chosen = _in_conflict(found) if serial_number is None else [serial_number]
        told = {each: [one for one in found.conflicts(each) if not one.overridden] for each in chosen}
    return {each: found_ones for each, found_ones in told.items() if found_ones}


def _in_conflict(store: ServiceStore) -> list[str]:
    """Serial numbers of the devices to whose variables several values are given."""
    rows = store.execute(
        "SELECT DISTINCT serial_number FROM (SELECT m.serial_number, e.name FROM device_fleets AS m"
        " JOIN fleet_environment AS e ON e.fleet = m.fleet"
        " LEFT JOIN device_environment AS o ON o.serial_number = m.serial_number AND o.name = e.name"
        " WHERE o.name IS NULL GROUP BY m.serial_number, e.name HAVING count(DISTINCT e.value) > 1) AS torn"
        " ORDER BY serial_number"
    )
    return [row[0] for row in rows]


def count_conflicts(store: Store) -> int:
    """How many devices have a conflict."""
    with opened(store) as found:
        return len(_in_conflict(found))


# --- queues -----------------------------------------------------------------------------------------------------------


def set_queue_name(store: Store, serial_number: str, queue_id: int, name: str) -> None:
    """Name a queue that the device has not named since this store is in use; its parked records are filed."""
    if queue_id < FIRST_FREE_QUEUE:
        raise ObjectError(f"queue ids below {FIRST_FREE_QUEUE} are reserved, found {queue_id}")
    check_name("a queue", name)
    with opened(store) as found:
        device = _device(found, serial_number)
        with found.transaction() as database:
            database.execute("UPDATE devices SET version = version + 1 WHERE id = ?", (device,))
            name_queue(database, device, queue_id, name)


# --- small things -----------------------------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether `text` can be the name of something: 1 to 64 characters, none of them a control character or half of one."""
    return 1 <= len(text) <= LONGEST_NAME and text.isprintable()


def check_name(what: str, text: str) -> None:
    """Raise `ConfigurationError` where `text` cannot be the name of `what`."""
    if not isinstance(text, str) or not is_name(text):
        raise ConfigurationError(f"{what} is named by 1 to {LONGEST_NAME} printable characters, not {text!r:.100}")


def _check_variable(name: str, value: str | None) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_VARIABLE or not name.isprintable():
        raise ConfigurationError(
            f"an environment variable is named by 1 to {LONGEST_VARIABLE} printable characters, not {name!r:.100}"
        )
    if not isinstance(value, str | None):
        raise ConfigurationError(f"environment variable {name!r} must be text, found {type(value).__name__}")
    if value is not None and (len(value) > LONGEST_VALUE or "\0" in value or not _is_whole(value)):
        raise ConfigurationError(
            f"environment variable {name!r} is text of at most {LONGEST_VALUE} characters without NUL"
        )


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which is no character
        return False
    return True


def _received(row: Row) -> ReceivedRecord:
    id_, serial_number, queue, number, urgency, captured_at, received_at, link, body = row
    return ReceivedRecord(id_, serial_number, queue, number, Urgency(urgency), captured_at, received_at, link, body)


@contextmanager
def opened(store: Store) -> Iterator[ServiceStore]:
    """The store, opened for the block where it is not open.  A file that is not there is not made: `ConfigurationError`."""
    if isinstance(store, ServiceStore):
        yield store
        return
    if not is_shared(str(store)) and not sqlite_path(str(store)).exists():
        raise ConfigurationError(f"there is no store {store}; is it the path of the service's configuration?")
    with open_store(str(store)) as found:
        yield found


def _device(store: ServiceStore, serial_number: str) -> int:
    """The device's latest enrolment."""
    found = store.latest(serial_number) if is_name(serial_number) else None
    if found is None:
        raise UnknownDevice(f"no device {serial_number!r:.100} was ever enrolled at the service of {store.name}")
    return found
