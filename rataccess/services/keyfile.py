"""The devices that a service knows: `devices.json`, their keys included.

Rules of this file: reads and writes that one file (mode 0600); knows no network and no database.  Each entry holds the
session secret of this one service; a device's root key never leaves the device.  Secrets are in no `repr` and no error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.errors import KeyStoreError

SECRET_BYTES = 16
Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*$")]


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One enrolment of a device: a kid and the secret that goes with it."""

    serial_number: Annotated[str, Meta(min_length=1, max_length=64)]
    kid: Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){1,7}$")]
    secret: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    fleets: tuple[str, ...] = ()
    """Only in files of before: membership is in the store, where `provisioning.move_fleets` puts what it finds here."""
    revoked: bool = False
    identities: dict[str, Annotated[str, Meta(min_length=1, max_length=64)]] = {}
    """What networks call the device: `deveui` (16 hex digits), `imei` (15 digits), `lora` (private address), `notecard`
    (product and device).  Lower case."""
    lorawan_app_key: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")] | None = None
    """The device's LoRaWAN AppKey, where this service is its network server too (`[[ways]]` of kind `semtech`)."""

    def __repr__(self) -> str:
        return f"<DeviceEntry {self.serial_number} kid={self.kid}{' revoked' if self.revoked else ''}>"


class DevicesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    devices: tuple[DeviceEntry, ...] = ()


def read_entries(path: Path) -> tuple[DeviceEntry, ...]:
    """All entries; none where there is no file yet.

    Raises `KeyStoreError` where the file can be read by others than its owner, is malformed, or holds a kid twice.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyStoreError(f"{path} has mode {mode:04o}: others can read its keys; run: chmod 600 {path}")
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        entries = msgspec.json.decode(data, type=DevicesFile).devices
    except msgspec.DecodeError as error:
        raise KeyStoreError(f"{path} is malformed: {_without_values(error)}") from None  # it may quote a secret
    if len({entry.kid for entry in entries}) != len(entries):
        raise KeyStoreError(f"{path} holds a kid more than once; remove the entry that is wrong")
    return entries


def _without_values(error: msgspec.DecodeError) -> str:
    text = str(error)
    return f"wrong entry{text[text.rindex(' - at ') :]}" if " - at " in text else "not a JSON file of devices"


def write_entries(path: Path, entries: Iterable[DeviceEntry]) -> None:
    """Replace the file in one step, durably.  Raises `KeyStoreError` where the file system refuses."""
    data = msgspec.json.format(msgspec.json.encode(DevicesFile(devices=tuple(entries))), indent=1) + b"\n"
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            new.unlink()
        _write_synchronously(new, data)
        new.replace(path)
        _synchronise_folder(path.parent)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error


def _write_synchronously(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _synchronise_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class KeyFile:
    """The entries, found by kid, and read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_kid: dict[bytes, DeviceEntry] = {}
        self._revoked: frozenset[bytes] = frozenset()
        self._by_identity: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"<KeyFile {self.path} {len(self._by_kid)} devices>"

    def refresh(self) -> bool:
        """Read the file again where it is another than before; returns whether it was.

        Raises `KeyStoreError`, once for each change: the entries of before stay in force.
        """
        seen = self._stamp()
        if seen == self._seen:
            return False
        self._seen = seen
        entries = read_entries(self.path)
        self._by_kid = {bytes.fromhex(entry.kid): entry for entry in entries if not entry.revoked}
        self._revoked = frozenset(bytes.fromhex(entry.kid) for entry in entries if entry.revoked)
        self._by_identity = {
            (kind, name.lower()): kid for kid, entry in self._by_kid.items() for kind, name in entry.identities.items()
        }
        return True

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def by_kid(self, kid: bytes) -> DeviceEntry | None:
        """The entry of a device that is not revoked, or `None`."""
        return self._by_kid.get(kid)

    def kid_of(self, kind: str, name: str) -> bytes | None:
        """The kid of the device that networks call `name` (any case), or `None`."""
        return self._by_identity.get((kind, name.lower()))

    def is_revoked(self, kid: bytes) -> bool:
        """Whether a device had this kid that may not use it any more."""
        return kid in self._revoked
