"""The floor: counters that must never restart lower, kept beside the database in a file of their own.

Rules of this file: it knows names and whole numbers, nothing of SQL.  A *ceiling* is written (to a new file, fsync, rename,
fsync of the folder) before the database commits any value above the last one, and lies `STEP` ahead, so that it is written
rarely.  After the database was lost, counting goes on at the ceiling: nothing above it was ever used.

Where the keys lie in a folder of their own, a second copy lies there, the *witness*: it tells when the state folder was
deleted or put back.  It is believed first, and its ceilings are nearer, for each run that was cut short goes on at them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from rataccess.errors import DiskFull

_log = logging.getLogger("rataccess.store")

STEP = 65536
FIRST_STEP = 256
"""How far ahead the first ceiling of a run lies where there is a witness; each later one twice as far, up to `STEP`."""
QUEUE_STEP = 16
"""Queue ids travel in every record: a leap among them must not cost bytes."""
LOST = "lost"
"""The name of a mark: a counter was lost for good, and the keys that it counted for must not be used again."""
MEMORY = "memory"
"""The name of a mark: a run counted on in memory, past the file, up to the ceilings."""
RUN = "run"
"""The name of a mark: the run that opened the database last; the database bears the same."""
CLOSED = "closed"
"""The name of a mark: the store was closed in an orderly way, and the ceilings are what its counters were then."""
MARKS = frozenset({LOST, MEMORY, RUN, CLOSED})
"""Names that are no counters."""
_HEAD = "rataccess floor 1"
_NOT_OURS = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of a folder that is not for us to write to, whatever room it has."""


class Floor:
    """The ceilings of one store.

    `readable` tells whether the file was absent or whole when it was read; a damaged one must not be believed.
    """

    def __init__(self, path: Path | None, *, writable: bool = True, witness: Path | None = None) -> None:
        self._path = path
        self._writable = writable
        self._witness = witness
        self._steps: dict[str, int] = {}
        self.in_memory = False
        """The database is not on disk although it should be: the next run must go on at the ceilings."""
        self.ceilings: dict[str, int] = {}
        self.existed = False
        self.readable = True
        self.witnessed = False
        """Whether a witness told something of an earlier run."""
        if path is not None:
            self._read(path)
        if witness is not None:
            self._hear(witness)

    def _hear(self, witness: Path) -> None:
        """Join what the witness says with what the file beside the database does."""
        own = self.existed, self.readable, self.ceilings
        self.existed, self.readable, self.ceilings = False, True, {}
        self._read(witness)
        if not self.existed or not self.readable:
            if not self.readable:
                _log.error("%s is damaged or cannot be read: it cannot tell whether the state is an old copy", witness)
            if own[0]:
                self.existed, self.readable, self.ceilings = own
            return
        self.witnessed = True
        for name, value in own[2].items():
            if name not in (RUN, CLOSED):
                self.ceilings[name] = max(value, self.ceilings.get(name, 0))

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
        over = [name for name, value in values.items() if value > self.ceilings.get(name, 0)]
        if values and (unmarked or over):
            ahead = {name: max(value + self.step(name), self.ceilings.get(name, 0)) for name, value in values.items()}
            self.write(self.ceilings | ahead)
            for name in over:
                self._steps[name] = min(STEP, 2 * self._steps.get(name, FIRST_STEP))

    def step(self, name: str) -> int:
        """How far ahead the next ceiling of a counter lies."""
        if self._witness is None:
            return step(name)
        return 0 if name.startswith("queue/") else self._steps.get(name, FIRST_STEP)

    def write(self, ceilings: Mapping[str, int]) -> None:
        """Replace the file; raises `DiskFull` where that is impossible."""
        if self._path is not None:
            if self.in_memory:
                ceilings = {**ceilings, MEMORY: 1}
            try:
                if not self._writable:
                    raise OSError(30, "the folder cannot be used")
                self._tell_witness(_format(ceilings))
                _replace(self._path, _format(ceilings))
            except OSError as error:
                where = error.filename or self._path
                raise DiskFull(f"cannot write {where}: {error.strerror or error}") from error
        self.ceilings = dict(ceilings)
        self.existed = self.readable = True

    def _tell_witness(self, data: bytes) -> None:
        if self._witness is None:
            return
        try:
            _replace(self._witness, data)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            _log.warning(
                "%s cannot be written (%s): a state folder that is deleted or put back will not be noticed; let this "
                "program write to the folder of its keys",
                self._witness,
                error.strerror,
            )
            self._witness = None


def step(name: str) -> int:
    """How far ahead the ceiling of a counter lies, where there is no witness."""
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
