"""The floor: counters that must never restart lower, kept beside the database in a file of their own.

Rules of this file: it knows names and whole numbers, nothing of SQL.  A *ceiling* is written (to a new file, fsync, rename,
fsync of the folder) before the database commits any value above the last one, and lies `STEP` ahead, so that it is written
rarely.  After the database was lost, counting goes on at the ceiling: nothing above it was ever used.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from rataccess.errors import DiskFull

STEP = 65536
QUEUE_STEP = 16
"""Queue ids travel in every record: a leap among them must not cost bytes."""
LOST = "lost"
"""The name of a mark: a counter was lost for good, and the keys that it counted for must not be used again."""
MEMORY = "memory"
"""The name of a mark: a run counted on in memory, past the file, up to the ceilings."""
RUN = "run"
"""The name of a mark: the run that opened the database last; the database bears the same."""
MARKS = frozenset({LOST, MEMORY, RUN})
"""Names that are no counters."""
_HEAD = "rataccess floor 1"


class Floor:
    """The ceilings of one store.

    `readable` tells whether the file was absent or whole when it was read; a damaged one must not be believed.
    """

    def __init__(self, path: Path | None, *, writable: bool = True) -> None:
        self._path = path
        self._writable = writable
        self.in_memory = False
        """The database is not on disk although it should be: the next run must go on at the ceilings."""
        self.ceilings: dict[str, int] = {}
        self.existed = False
        self.readable = True
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError:
            self.readable = False
            return
        self.existed = True
        try:
            self.ceilings = _parse(text)
        except ValueError:
            self.readable = False

    def cover(self, values: Mapping[str, int]) -> None:
        """Make sure that every value is at or below its ceiling, on disk, when this returns.

        Raises `DiskFull` where the file cannot be written; then nothing changed.
        """
        unmarked = self.in_memory and MEMORY not in self.ceilings
        if values and (unmarked or any(value > self.ceilings.get(name, 0) for name, value in values.items())):
            self.write(self.ceilings | {name: value + step(name) for name, value in values.items()})

    def write(self, ceilings: Mapping[str, int]) -> None:
        """Replace the file; raises `DiskFull` where that is impossible."""
        if self._path is not None:
            if self.in_memory:
                ceilings = {**ceilings, MEMORY: 1}
            try:
                if not self._writable:
                    raise OSError(30, "the folder cannot be used")
                _replace(self._path, _format(ceilings))
            except OSError as error:
                raise DiskFull(f"cannot write {self._path}: {error.strerror or error}") from error
        self.ceilings = dict(ceilings)
        self.existed = self.readable = True


def step(name: str) -> int:
    """How far ahead the ceiling of a counter lies."""
    return QUEUE_STEP if name.startswith("queue/") else STEP


def _format(ceilings: Mapping[str, int]) -> bytes:
    lines = [_HEAD, *(f"{value} {name}" for name, value in sorted(ceilings.items()))]
    body = ("\n".join(lines) + "\n").encode()
    return body + f"crc32 {zlib.crc32(body):08x}\n".encode()


def _parse(data: bytes) -> dict[str, int]:
    body, separator, check = data.rpartition(b"crc32 ")
    if not separator or int(check, 16) != zlib.crc32(body):
        raise ValueError("checksum")
    lines = body.decode().split("\n")
    if lines[0] != _HEAD:
        raise ValueError("version")
    pairs = (line.split(" ", 1) for line in lines[1:-1])
    return {name: int(value) for value, name in pairs}


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(descriptor, data)
            if written != len(data):  # a short write is a full disk that has not said so yet
                raise OSError(28, os.strerror(28))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and new files in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
