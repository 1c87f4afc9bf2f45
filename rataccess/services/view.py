"""What the command line and the HTTP interface show of devices, as values that JSON has.

Rules of this file: reads a store and a key file, and changes nothing.  No secret, no key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rataccess.errors import UnknownDevice
from rataccess.services import admin
from rataccess.services.admin import DeviceInfo
from rataccess.services.jsonform import body_as_json, iso
from rataccess.services.keyfile import DeviceEntry, read_entries
from rataccess.services.settings import ServerSettings
from rataccess.services.store import Conflict, ServiceStore

View = dict[str, Any]


def devices(
    store: ServiceStore, settings: ServerSettings, *, fleet: str | None = None, after: int = 0, limit: int | None = None
) -> list[View]:
    """The devices, each with its latest enrolment, in the order of enrolment; `id` is for `after`."""
    keys = _states(settings)
    found = admin.list_devices(store, fleet=fleet, latest=True, after=after, limit=limit, count_records=False)
    return [_device(store, each, keys) for each in found]


def device(store: ServiceStore, settings: ServerSettings, serial_number: str) -> View:
    """Everything about one device.  Raises `UnknownDevice`."""
    must_be_known(store, serial_number)
    enrolments = admin.list_devices(store, serial_number=serial_number)
    keys = _states(settings)
    *earlier, latest = enrolments
    entry = keys.get(latest.kid)
    return {
        **_device(store, latest, keys),
        "identities": {} if entry is None else dict(entry.identities),
        "records": latest.records,
        "objects": {
            name: json.loads(body_as_json(value))
            for name, value in store.execute(
                "SELECT name, value FROM objects WHERE serial_number = ? ORDER BY name", (serial_number,)
            )
        },
        "earlier": [
            {
                "kid": each.kid.hex(),
                "state": _state(each, keys),
                "records": each.records,
                "heard_at": iso(each.heard_at),
            }
            for each in earlier
        ],
    }


def must_be_known(store: ServiceStore, serial_number: str) -> None:
    """Raise `UnknownDevice` where no device of that serial number was ever enrolled."""
    if not admin.is_name(serial_number) or store.latest(serial_number) is None:
        raise UnknownDevice(f"no device {serial_number!r:.100} was ever enrolled at the service of {store.name}")


def state(store: ServiceStore, settings: ServerSettings, serial_number: str) -> str:
    """`enrolled`, `revoked`, or `unknown` where the key file has no such key.  Raises `UnknownDevice`."""
    must_be_known(store, serial_number)
    latest = admin.list_devices(store, serial_number=serial_number, latest=True, count_records=False)[0]
    return _state(latest, _states(settings))


def environment(store: ServiceStore, serial_number: str) -> View:
    """What a device is given, what of it is its own, and what its fleets disagree about."""
    return {
        "own": store.device_environment(serial_number),
        "merged": store.environment(serial_number),
        "conflicts": [conflict(each) for each in store.conflicts(serial_number) if not each.overridden],
    }


def health(store: ServiceStore, serial_number: str) -> View | None:
    """The last health report of a device and when it came, or `None`."""
    report = admin.health_report(store, serial_number)
    return None if report is None else {"received_at": iso(report[1]), "report": json.loads(body_as_json(report[0]))}


def conflicts(store: ServiceStore) -> list[View]:
    """Every device to one of whose variables its fleets give different values."""
    return [
        {"serial_number": serial_number, **conflict(each)}
        for serial_number, found in admin.conflicts(store).items()
        for each in found
    ]


def conflict(found: Conflict) -> View:
    """One variable; the last fleet's value holds."""
    return {"name": found.name, "values": [{"fleet": fleet, "value": value} for fleet, value in found.values]}


def _device(store: ServiceStore, found: DeviceInfo, keys: Mapping[bytes, DeviceEntry]) -> View:
    entry = keys.get(found.kid)
    fleets: Sequence[str] = store.fleets(found.serial_number)
    return {
        "id": found.id,
        "serial_number": found.serial_number,
        "kid": found.kid.hex(),
        "state": _state(found, keys),
        "fleets": list(dict.fromkeys([*(entry.fleets if entry else ()), *fleets])),
        "heard_at": iso(found.heard_at),
        "link": found.link,
        "waiting": found.waiting,
        "unfinished": found.unfinished,
        "parked_records": found.parked,
        "parked_blocks": found.blocks,
        "open_calls": found.calls,
        "kept_bytes": found.kept_bytes,
        "health": health(store, found.serial_number),
    }


def _state(found: DeviceInfo, keys: Mapping[bytes, DeviceEntry]) -> str:
    entry = keys.get(found.kid)
    if entry is None or entry.serial_number != found.serial_number:
        return "unknown"  # no key: the key file is another one
    return "revoked" if entry.revoked else "enrolled"


def _states(settings: ServerSettings) -> dict[bytes, DeviceEntry]:
    return {bytes.fromhex(each.kid): each for each in read_entries(Path(settings.keys))}
