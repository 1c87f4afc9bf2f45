"""Key stores: where the root key lives, and all that others may ask of it.

Rules of this file: the root key is read here and never leaves; others get session secrets derived from it.  A secure
element is a further `KeyStore` that never has the root key at all.  Nothing secret is in a `repr`, an error or a log, nor
in an error's context: whatever was read is not quoted.

Derivation (RFC 5869, SHA-256, no salt): the session secret of a service is the 16 bytes with
info = "rataccess session secret 1 management" or "rataccess session secret 1 solution" (ASCII).  The one tells nothing of
the other, and neither of the root key.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rataccess.errors import KeyStoreError
from rataccess.objects import Service

ROOT_KEY_BYTES = 32
SESSION_SECRET_BYTES = 16
_IDENTITY, _ROOT_KEY, _SECRETS = "identity.json", "root.key", "secrets.toml"
_USED = "used.floor"
"""Not read here: the store's second floor file (rataccess/store/floor.py)."""
_MOST_BYTES = 65_536  # of one file: nothing here is larger, and a device file might never end


class KeyStore(ABC):
    """What the library asks of wherever keys live."""

    @abstractmethod
    def session_secret(self, service: Service) -> bytes:
        """16 bytes, known to this device and that service only; raises `KeyStoreError`."""

    @abstractmethod
    def device_id(self, service: Service) -> bytes:
        """The kid, 1 to 7 bytes, that the service gave; raises `KeyStoreError` while it has given none."""

    @abstractmethod
    def secret(self, name: str) -> str | None:
        """Another secret by its dotted name, such as `wifi.pin`; `None` where there is none; raises `KeyStoreError`."""

    def witness(self) -> Path | None:
        """A file beside the keys in which the store may tell how far they were used; `None` where there can be none."""
        return None


def derive_session_secret(root_key: bytes, service: Service) -> bytes:
    """The session secret of `service`, by the derivation above."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"rataccess session secret 1 {service.value}".encode()
    return HKDF(SHA256(), SESSION_SECRET_BYTES, None, info).derive(root_key)


class FileKeyStore(KeyStore):
    """A folder (mode 0700) with three files (mode 0600), all owned by the user who runs the program.

    `identity.json`: `{"serial_number": text, "device_ids": {"management": kid in hex, "solution": kid in hex}}`.
    `root.key`: 32 random bytes in hex.  `secrets.toml`, optional: tables of text, such as `[wifi]` with `pin = "1234"`.
    The store adds `used.floor` where its own folder is another.
    """

    def __init__(self, folder: Path, serial_number: str, device_ids: Mapping[Service, bytes], root_key: bytes) -> None:
        """For `open` and `create`."""
        self.folder = folder
        self._serial_number = serial_number
        self._device_ids = dict(device_ids)
        self._root_key = root_key

    def __repr__(self) -> str:
        return f"<FileKeyStore {self.folder} {self._serial_number}>"

    def __reduce__(self) -> Any:
        raise TypeError("a key store cannot be copied or pickled")

    @classmethod
    def open(cls, folder: Path) -> FileKeyStore:
        """Read the folder.

        Raises `KeyStoreError` where it or a file in it is missing, malformed, a symbolic link, owned by somebody else or
        open to others; the message names the file, what was found, and the command that helps.
        """
        with _folder(folder) as descriptor:
            root_key = _parse_root_key(folder / _ROOT_KEY, _read(folder, descriptor, _ROOT_KEY))
            serial_number, device_ids = _parse_identity(folder / _IDENTITY, _read(folder, descriptor, _IDENTITY))
            with suppress(FileNotFoundError):
                _read(folder, descriptor, _SECRETS, optional=True)  # its mode is checked at start, not at first use
        return cls(folder, serial_number, device_ids, root_key)

    @classmethod
    def create(
        cls,
        folder: Path,
        serial_number: str,
        *,
        device_ids: Mapping[Service, bytes] | None = None,
        root_key: bytes | None = None,
    ) -> FileKeyStore:
        """Make the folder and files, with a random root key unless one of 32 bytes is given.

        All of it or nothing: a folder counts as a key store once it has a root key, which is written last.  Raises
        `KeyStoreError` where there is a root key already (nothing is ever overwritten), or for a wrong argument.
        """
        given = dict(device_ids or {})
        _check_identity(serial_number, given)
        key = secrets.token_bytes(ROOT_KEY_BYTES) if root_key is None else root_key
        if len(key) != ROOT_KEY_BYTES:
            raise KeyStoreError(f"a root key has {ROOT_KEY_BYTES} bytes, this one {len(key)}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KeyStoreError(f"{folder} cannot be made: {error.strerror}") from error
        with _folder(folder, lock=True) as descriptor:
            _refuse_existing(folder, descriptor)
            _write(folder, descriptor, _IDENTITY, _identity_text(serial_number, given), replace=True)
            _write(folder, descriptor, _ROOT_KEY, f"{key.hex()}\n", replace=False)
        return cls(folder, serial_number, given, key)

    def assign(self, service: Service, device_id: bytes) -> None:
        """Keep the kid that `service` gave to this device, durably.  Raises `KeyStoreError`."""
        changed = {**self._device_ids, service: device_id}
        _check_identity(self._serial_number, changed)
        with _folder(self.folder, lock=True) as descriptor:
            text = _identity_text(self._serial_number, changed)
            _write(self.folder, descriptor, _IDENTITY, text, replace=True)
        self._device_ids = changed

    def witness(self) -> Path | None:
        return self.folder / _USED

    @property
    def serial_number(self) -> str:
        """The one number from which a device's other identities follow."""
        return self._serial_number

    def session_secret(self, service: Service) -> bytes:
        return derive_session_secret(self._root_key, service)

    def device_id(self, service: Service) -> bytes:
        found = self._device_ids.get(service)
        if found is None:
            raise KeyStoreError(
                f"{self.folder / _IDENTITY} has no device id for the {service} service; enrol the device there first"
            )
        return found

    def secret(self, name: str) -> str | None:
        """Read anew at each call, so that a changed PIN is found and none stays in memory."""
        with _folder(self.folder) as descriptor:
            try:
                data = _read(self.folder, descriptor, _SECRETS, optional=True)
            except FileNotFoundError:
                return None
        path = self.folder / _SECRETS
        value: Any = _parse_secrets(path, data)
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, str):
            raise KeyStoreError(f"{path}: {name} is not text; write it in quotes")
        return value


# --- what the files hold ----------------------------------------------------------------------------------------------


def _parse_root_key(path: Path, data: bytes) -> bytes:
    text = data.strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        raise KeyStoreError(f"{path} holds {len(text)} characters that are no root key; allowed: 64 hexadecimal digits")
    return bytes.fromhex(text.decode())


def _parse_identity(path: Path, data: bytes) -> tuple[str, dict[Service, bytes]]:
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
    ids = found.get("device_ids", {}) if isinstance(found, dict) else None
    if not isinstance(ids, dict) or not isinstance(found.get("serial_number"), str):
        raise KeyStoreError(
            f'{path} is no identity; allowed: {{"serial_number": text, "device_ids": {{service: hex}}}}'
        )
    device_ids: dict[Service, bytes] = {}
    for name, kid in ids.items():
        if name not in list(Service) or not isinstance(kid, str) or not re.fullmatch(r"([0-9a-f]{2}){1,7}", kid):
            raise KeyStoreError(
                f"{path}: device_ids.{name}: allowed: {_SERVICES}, each with 1 to 7 bytes in hexadecimal"
            )
        device_ids[Service(name)] = bytes.fromhex(kid)
    _check_identity(found["serial_number"], device_ids)
    return found["serial_number"], device_ids


def _parse_secrets(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        line = re.search(r"line \d+", str(error))
        where = f" at {line[0]}" if line else ""
    raise KeyStoreError(f"{path} is not TOML{where}")  # outside of the block above: that error may quote a secret


_SERVICES = " and ".join(Service)


def _check_identity(serial_number: str, device_ids: Mapping[Service, bytes]) -> None:
    if not 1 <= len(serial_number) <= 64:
        raise KeyStoreError(f"a serial number has 1 to 64 characters, this one {len(serial_number)}")
    for service, kid in device_ids.items():
        if not 1 <= len(kid) <= 7:
            raise KeyStoreError(f"a device id has 1 to 7 bytes, that for {service} {len(kid)}")


def _identity_text(serial_number: str, device_ids: Mapping[Service, bytes]) -> str:
    ids = {str(service): kid.hex() for service, kid in device_ids.items()}
    return json.dumps({"serial_number": serial_number, "device_ids": ids}, indent=1) + "\n"


# --- the file system --------------------------------------------------------------------------------------------------


@contextmanager
def _folder(folder: Path, *, lock: bool = False) -> Iterator[int]:
    """A descriptor of the folder, once its owner and mode are found right.

    The folder itself may be reached through a symbolic link (systemd's `DynamicUser=` makes one); files may not.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyStoreError(f"the key store {folder} cannot be opened: {error.strerror}") from error
    try:
        _check_owner_and_mode(folder, os.fstat(descriptor), 0o700)
        if lock:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_owner_and_mode(path: Path, found: os.stat_result, widest: int) -> None:
    if found.st_uid != os.geteuid():
        raise KeyStoreError(
            f"{path} belongs to user {found.st_uid}, this program runs as user {os.geteuid()}; "
            f"run: chown {os.geteuid()} {path}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~widest:
        raise KeyStoreError(
            f"{path} has mode {mode:04o}, allowed is at most {widest:04o}; run: chmod {widest:o} {path}"
        )


def _read(folder: Path, descriptor: int, name: str, *, optional: bool = False) -> bytes:
    """The file's bytes; `FileNotFoundError` where it is optional and missing, `KeyStoreError` for all else."""
    path = folder / name
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except FileNotFoundError as error:
        if optional:
            raise
        raise KeyStoreError(f"{path} is missing; provision the device") from error
    except OSError as error:
        if path.is_symlink():
            raise KeyStoreError(f"{path} is a symbolic link; put the file itself there") from error
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise KeyStoreError(f"{path} is not a plain file")
        _check_owner_and_mode(path, found, 0o600)
        return os.read(file, _MOST_BYTES)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(file)


def _refuse_existing(folder: Path, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        os.stat(_ROOT_KEY, dir_fd=descriptor, follow_symlinks=False)
        raise KeyStoreError(f"{folder / _ROOT_KEY} exists; a root key is never overwritten")


def _write(folder: Path, descriptor: int, name: str, text: str, *, replace: bool) -> None:
    """Put a whole file in place in one step, durably; an existing one stays unless `replace`."""
    new = f".{name}.{secrets.token_hex(4)}"
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=descriptor)
        try:
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                os.replace(new, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            else:
                os.link(new, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=descriptor)
        os.fsync(descriptor)
    except OSError as error:
        raise KeyStoreError(f"{folder / name} cannot be written: {error.strerror}") from error
