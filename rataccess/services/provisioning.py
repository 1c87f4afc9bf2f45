"""Making devices known to a service: enrol, revoke, put into fleets.

Rules of this file: blocking, run by a person's command and never by the service itself.  One service at a time: the two
share no keys.  Several provisioning processes take turns by a lock on a file beside the key file; a running service
notices each change by itself.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.objects import Service
from rataccess.services import settings
from rataccess.services.keyfile import SECRET_BYTES, DeviceEntry, read_entries, write_entries
from rataccess.services.store import ServiceStore


def add_device(
    services_config: Path,
    service: Service,
    serial_number: str,
    secret: bytes,
    *,
    fleets: Sequence[str] = (),
    replace: bool = False,
) -> bytes:
    """Enrol a device at `service` and return its kid, the shortest that no device of this service ever had.

    `secret` is the 16-byte session secret for this service.  A device that is enrolled with this very secret keeps its
    kid.  With another secret it is a new device (its record numbers start again): that needs `replace`, which revokes
    the earlier enrolment; else `KeyStoreError`.  Raises `ConfigurationError` for a wrong argument or configuration.
    """
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(f"a session secret has {SECRET_BYTES} bytes, this one {len(secret)}")
    if not 1 <= len(serial_number) <= 64:
        raise ConfigurationError(f"a serial number has 1 to 64 characters, this one {len(serial_number)}")
    found = settings.load(services_config, service)
    with _locked(Path(found.keys)):
        entries = list(read_entries(Path(found.keys)))
        current = next((e for e in entries if e.serial_number == serial_number and not e.revoked), None)
        if current is not None and current.secret == secret.hex():
            return bytes.fromhex(current.kid)
        if current is not None and not replace:
            raise KeyStoreError(f"{serial_number} is enrolled at the {service} service with another secret; revoke it")
        entries = [_revoked(e) if e is current else e for e in entries]
        kid = shortest_unused({bytes.fromhex(entry.kid) for entry in entries})
        entry = DeviceEntry(serial_number=serial_number, kid=kid.hex(), secret=secret.hex(), fleets=tuple(fleets))
        with ServiceStore.open(Path(found.store)) as store:
            store.device(serial_number, kid)
        write_entries(Path(found.keys), [*entries, entry])
    return kid


def revoke_device(services_config: Path, service: Service, serial_number: str) -> None:
    """Refuse the device from now on; its records stay.  Raises `KeyStoreError` where it is not enrolled."""
    _change(services_config, service, serial_number, _revoked)


def set_fleets(services_config: Path, service: Service, serial_number: str, fleets: Sequence[str]) -> None:
    """Put the device into `fleets` and no others; of two fleets' values for a name the later fleet's holds."""
    _change(services_config, service, serial_number, lambda entry: msgspec.structs.replace(entry, fleets=tuple(fleets)))


def entries(services_config: Path, service: Service) -> tuple[DeviceEntry, ...]:
    """All enrolments, revoked ones included."""
    return read_entries(Path(settings.load(services_config, service).keys))


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


def _revoked(entry: DeviceEntry) -> DeviceEntry:
    return msgspec.structs.replace(entry, revoked=True)


def _change(
    services_config: Path, service: Service, serial_number: str, change: Callable[[DeviceEntry], DeviceEntry]
) -> None:
    path = Path(settings.load(services_config, service).keys)
    with _locked(path):
        found = read_entries(path)
        if not any(e.serial_number == serial_number and not e.revoked for e in found):
            raise KeyStoreError(f"{serial_number} is not enrolled at the {service} service (keys in {path})")
        write_entries(path, [change(e) if e.serial_number == serial_number and not e.revoked else e for e in found])


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
