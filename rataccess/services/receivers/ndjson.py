"""Records to an NDJSON file: each one line, none missing, none doubled, whenever the process is killed.

Rules of this file: appends to one file.  The order is fixed: lines into the file, file to disk, and then the new position,
with the cursor, into the store.  What stands behind the stored position at start was never counted: it is cut off and
written again, byte for byte the same.  Nothing is cut off a file that is not the one the position was kept for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rataccess.errors import DiskFull
from rataccess.objects import decode, encode
from rataccess.services.receivers.base import Receiver, as_json

if TYPE_CHECKING:
    from rataccess.services.store import StoredRecord

logger = logging.getLogger("rataccess.services")


_TAIL = 512
"""Bytes by which a file is known again."""


class LineFile:
    """The file.  Every method raises `DiskFull` where the file system refuses: nothing is lost, call it again later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        """Bytes that are counted."""
        self._descriptor: int | None = None
        self._busy = threading.Lock()

    def __repr__(self) -> str:
        return f"<LineFile {self.path} position={self.position}>"

    @property
    def state(self) -> bytes:
        """Position, and which file it is in."""
        with translated(self.path):
            return encode([self.position, *self._identity(self.position)])

    def _identity(self, position: int) -> list[Any]:
        """This host, the inode, and a digest of what stands just before `position`: inodes are used again."""
        start = max(0, position - _TAIL)
        tail = os.pread(self._descriptor_now, position - start, start)
        return [socket.gethostname(), os.fstat(self._descriptor_now).st_ino, hashlib.sha256(tail).digest()[:8]]

    def open(self, state: bytes | None) -> None:
        """Open the file and cut off what was never counted; `state` is what `state` gave."""
        with translated(self.path):
            self._open()
            size, _ = self._size_and_inode()
        if state is None:
            self.position = size  # lines of another store: they stay
            return
        position, *file = _read(state)
        if size < position:
            logger.warning("%s is shorter than it was (%d of %d bytes)", self.path, size, position)
            self.position = size
        elif file and file != self._identity(position):
            self.position = size  # begun anew while nobody looked, or put there by somebody
        else:
            self.position = position
            with translated(self.path):
                os.ftruncate(self._descriptor_now, position)

    def begin_anew_where_moved(self) -> None:
        """Begin the file anew where it was moved away (log rotation), or go on at its end where it was cut short."""
        with translated(self.path):
            size, inode = self._size_and_inode()
            try:
                there = self.path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (inode, os.fstat(self._descriptor_now).st_dev):
                self.position = min(self.position, size)
                return
            self.close()
            self._open()
            self.position = self._size_and_inode()[0]

    def append(self, lines: bytes) -> None:
        """Write `lines` at the position; they are on disk, and counted, when this returns."""
        with self._busy, translated(self.path):
            done = 0
            while done < len(lines):
                done += os.pwrite(self._descriptor_now, lines[done:], self.position + done)
            os.fdatasync(self._descriptor_now)
        self.position += len(lines)

    def close(self) -> None:
        """Idempotent; waits for lines that are being written on another thread."""
        with self._busy:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if os.fstat(self._descriptor).st_size == 0:
            _sync_folder(self.path.parent)

    @property
    def _descriptor_now(self) -> int:
        assert self._descriptor is not None
        return self._descriptor

    def _size_and_inode(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor_now)
        return found.st_size, found.st_ino


def _read(state: bytes) -> list[Any]:
    """Position, and what tells the file where that was kept (older stores have the position only)."""
    found = decode(state)
    return found if isinstance(found, list) else [found]


def _sync_folder(folder: Path) -> None:
    """A new file's name is to survive a power cut as its lines do."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        raise DiskFull(f"{path}: {error.strerror}") from error


class NdjsonReceiver(Receiver):
    """Lines in a file; its work is done on a thread."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def __repr__(self) -> str:
        return f"<NdjsonReceiver {self._file.path}>"

    async def open(self, state: bytes | None) -> None:
        """See `Receiver`."""
        await asyncio.to_thread(self._file.open, state)
        self.state = self._file.state

    async def prepare(self) -> None:
        """The new position of a file that was begun anew is kept first, or a kill after the writing would double lines."""
        await asyncio.to_thread(self._file.begin_anew_where_moved)
        self.state = self._file.state

    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        """See `Receiver`."""
        await asyncio.to_thread(self._append, batch)
        self.state = self._file.state

    def _append(self, batch: Sequence[StoredRecord]) -> None:
        self._file.append(b"".join(as_json(record, keyed=False).encode() + b"\n" for record in batch))

    async def aclose(self) -> None:
        """See `Receiver`."""
        await asyncio.to_thread(self._file.close)
