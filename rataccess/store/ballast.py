"""Room kept for the day on which the disk is full.

Rules of this file: one file of zeros beside the database, and questions to the file system; no SQL.  SQLite needs room even
to delete, and a security counter that cannot be reserved silences the device: so a full disk must not mean that nothing
can be written.  When it fills, the ballast is thrown off, which lets the WAL be copied into the database and start over in
the space it has; until there is room again only what needs none is accepted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SIZE = 1_536 * 1024
"""Bytes: what copying the WAL (CHECKPOINT_PAGES, 1 MB) into the database can need, and half as much for a last group."""
_SPARE = 3 * SIZE
"""The ballast is taken on again only where twice as much stays free."""


class Ballast:
    """The file at `path`; `None` needs none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.held = path is None

    def hold(self) -> bool:
        """Take it on where there is room; returns whether it is held.  Never raises."""
        if self._path is None or self.held:
            return True
        try:
            if self._path.exists() and self._path.stat().st_size == SIZE:
                self.held = True
            elif free(self._path.parent) >= _SPARE:
                self._fill(self._path)
                self.held = True
        except OSError:
            self.release()
        return self.held

    @staticmethod
    def _fill(path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Throw it off; never raises."""
        if self._path is not None:
            self.held = False
            with suppress(OSError):  # a disk that cannot even do that has other troubles
                self._path.unlink(missing_ok=True)

    def has_room(self) -> bool:
        """Whether new records may be written: the ballast is held, or as much is free."""
        return self.hold() or self._path is None or free(self._path.parent) >= SIZE


def free(folder: Path) -> int:
    """Bytes that an ordinary user may still write; 0 where nobody knows."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize
