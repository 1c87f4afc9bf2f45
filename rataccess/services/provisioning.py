"""Making devices known to a service: enrol, revoke, put into fleets.

Rules of this file: blocking, run by a person's command and never by the service itself but at its start (`move_fleets`).
One service at a time: the two share no keys.  Keys are in the key file, fleets in the store.  Several provisioning processes
take turns by a lock on a file beside the key file; a running service notices each change by itself.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.objects import Service
from rataccess.services import admin, settings
from rataccess.services.identities import check_identity, oddity
from rataccess.services.keyfile import SECRET_BYTES, DeviceEntry, read_entries, write_entries
from rataccess.services.settings import ServerSettings
from rataccess.services.store import ServiceStore, is_shared, open_store, sqlite_path

Config = Path | ServerSettings
"""The path of `services.toml`, or a service's settings out of it."""


def add_device(
    services_config: Config,
    service: Service,
    serial_number: str,
    secret: bytes,
    *,
    fleets: Sequence[str] = (),
    replace: bool = False,
) -> bytes:
    """Enrol a device at `service` and return its kid, the shortest that no device of this service ever had.

    `secret` is the 16-byte session secret for this service.  A device that is enrolled with this very secret keeps its
    kid and its fleets.  With another secret it is a new device (its record numbers start again): that needs `replace`,
    which revokes the earlier enrolment; else `KeyStoreError`.  Raises `ConfigurationError` for a wrong argument or
    configuration.
    """
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(f"a session secret has {SECRET_BYTES} bytes, this one {len(secret)}")
    admin.check_name("a device", serial_number)
    for fleet in fleets:
        admin.check_name("a fleet", fleet)
    found = _settings(services_config, service)
    with _locked(Path(found.keys)):
        entries = list(read_entries(Path(found.keys)))
        current = _current(entries, serial_number)
        if current is not None and current.secret == secret.hex():
            return bytes.fromhex(current.kid)
        if current is not None and not replace:
            raise KeyStoreError(f"{serial_number} is enrolled at the {service} service with another secret; revoke it")
        with open_store(found.store) as store:
            kid = shortest_unused({bytes.fromhex(entry.kid) for entry in entries} | _kids(store))
            store.device(serial_number, kid)
            if fleets:
                store.set_fleets(serial_number, fleets)
            entry = DeviceEntry(serial_number=serial_number, kid=kid.hex(), secret=secret.hex())
            write_entries(Path(found.keys), [*(_revoked(e) if e is current else e for e in entries), entry])
            if current is not None:
                admin.discard_waiting(store, serial_number, bytes.fromhex(current.kid))
    return kid


def revoke_device(services_config: Config, service: Service, serial_number: str) -> int:
    """Refuse the device from now on; its records stay, what waits for it is dropped.  Returns how many dropped.

    Its kid is never given again.  Raises `KeyStoreError` where it is not enrolled.
    """
    found = _settings(services_config, service)
    path = Path(found.keys)
    with _locked(path):
        entries, current = _enrolled(path, service, serial_number)
        write_entries(path, [_revoked(each) if each is current else each for each in entries])
        with open_store(found.store) as store:
            return admin.discard_waiting(store, serial_number, bytes.fromhex(current.kid))


def set_fleets(services_config: Config, service: Service, serial_number: str, fleets: Sequence[str]) -> None:
    """Put the device into `fleets` and no others; of two fleets' values for a name the later fleet's holds.

    Raises `KeyStoreError` where it is not enrolled, `ConfigurationError` for a name that cannot be.
    """
    found = _settings(services_config, service)
    path = Path(found.keys)
    with _locked(path), open_store(found.store) as store:
        entries, current = _enrolled(path, service, serial_number)
        store.device(serial_number, bytes.fromhex(current.kid))
        admin.set_fleets(store, serial_number, fleets)
        if current.fleets:
            write_entries(path, [_without_fleets(each) if each is current else each for each in entries])


def set_identities(
    services_config: Config, service: Service, serial_number: str, identities: Mapping[str, str | None]
) -> list[str]:
    """Say what networks call the device: by kind the name, or `None` for none any more; kinds not named stay.

    Returns what is odd about them, though allowed.  Raises `KeyStoreError` where the device is not enrolled or another one
    has a name already, `ConfigurationError` for a name that cannot be.
    """
    checked = {kind: None if name is None else check_identity(kind, name) for kind, name in identities.items()}
    found = _settings(services_config, service)
    path = Path(found.keys)
    with _locked(path):
        entries, current = _enrolled(path, service, serial_number)
        for kind, name in checked.items():
            _refuse_taken(entries, current, kind, name)
        merged = {**current.identities, **checked}
        left = {kind: name for kind, name in sorted(merged.items()) if name is not None}
        changed = msgspec.structs.replace(current, identities=left)
        write_entries(path, [changed if each is current else each for each in entries])
    return [odd for kind, name in checked.items() if name is not None and (odd := oddity(kind, name)) is not None]


def set_app_key(services_config: Config, service: Service, serial_number: str, app_key: bytes | None) -> None:
    """Keep the device's LoRaWAN AppKey at the service that is its network server too; `None` removes it.

    Raises `KeyStoreError` where the device is not enrolled, `ConfigurationError` where the key has not 16 bytes.
    """
    if app_key is not None and len(app_key) != SECRET_BYTES:
        raise ConfigurationError(f"an AppKey has {SECRET_BYTES} bytes, this one {len(app_key)}")
    found = _settings(services_config, service)
    path = Path(found.keys)
    with _locked(path):
        entries, current = _enrolled(path, service, serial_number)
        changed = msgspec.structs.replace(current, lorawan_app_key=None if app_key is None else app_key.hex())
        write_entries(path, [changed if each is current else each for each in entries])


def _refuse_taken(entries: Sequence[DeviceEntry], current: DeviceEntry, kind: str, name: str | None) -> None:
    for each in entries:
        if each is not current and not each.revoked and name is not None and each.identities.get(kind) == name:
            raise KeyStoreError(f"{kind} {name} is {each.serial_number}'s; a network's name is one device's")


def move_fleets(services_config: Config, service: Service) -> int:
    """Move membership in fleets out of a key file of before into the store; returns for how many devices.

    What the store knows of a device comes after: it is newer.  Raises `KeyStoreError` where the file cannot be changed.
    """
    found = _settings(services_config, service)
    path = Path(found.keys)
    if not any(each.fleets for each in read_entries(path)):
        return 0
    with _locked(path), open_store(found.store) as store:
        entries = read_entries(path)
        there = [each for each in entries if each.fleets and not each.revoked]
        for each in there:
            store.set_fleets(each.serial_number, [*each.fleets, *store.fleets(each.serial_number)])
        write_entries(path, map(_without_fleets, entries))
    return len(there)


def entries(services_config: Config, service: Service) -> tuple[DeviceEntry, ...]:
    """All enrolments, revoked ones included, with the fleets that the devices are in."""
    found = _settings(services_config, service)
    listed = read_entries(Path(found.keys))
    if not listed or not (is_shared(found.store) or sqlite_path(found.store).exists()):
        return listed
    with open_store(found.store) as store:
        return tuple(
            msgspec.structs.replace(
                each, fleets=tuple(dict.fromkeys([*each.fleets, *store.fleets(each.serial_number)]))
            )
            for each in listed
        )


def shortest_unused(used: set[bytes]) -> bytes:
    """The first kid, by length and then by value, that is not in `used`; 1 to 7 bytes (RFC 8613 section 3.3)."""
    for length in range(1, 8):
        for value in itertools.count():
            if value >= 256**length:
                break
            kid = value.to_bytes(length, "big")
            if kid not in used:
                return kid
    raise KeyStoreError("every kid is taken")


def _settings(config: Config, service: Service) -> ServerSettings:
    return config if isinstance(config, ServerSettings) else settings.load(config, service)


def _kids(store: ServiceStore) -> set[bytes]:
    """Every kid that the store knows, also where the key file was lost."""
    return {row[0] for row in store.execute("SELECT kid FROM devices")}


def _current(entries: Sequence[DeviceEntry], serial_number: str) -> DeviceEntry | None:
    return next((each for each in entries if each.serial_number == serial_number and not each.revoked), None)


def _enrolled(path: Path, service: Service, serial_number: str) -> tuple[tuple[DeviceEntry, ...], DeviceEntry]:
    found = read_entries(path)
    current = _current(found, serial_number)
    if current is None:
        raise KeyStoreError(f"{serial_number!r:.100} is not enrolled at the {service} service (keys in {path})")
    return found, current


def _revoked(entry: DeviceEntry) -> DeviceEntry:
    return msgspec.structs.replace(entry, revoked=True)


def _without_fleets(entry: DeviceEntry) -> DeviceEntry:
    return msgspec.structs.replace(entry, fleets=())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyStoreError(f"the folder of {path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
