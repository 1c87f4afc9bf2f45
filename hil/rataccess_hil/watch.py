"""Who opens and closes a device file: inotify(7), and /proc for the exact answer.

Rules of this file: Linux only; one descriptor for each `FileWatch`, freed by `close`.  The standard library has no
inotify, and the kernel has no other way to tell that somebody opened the far end of a pseudo terminal that the radio
itself keeps open.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

# <sys/inotify.h>
_IN_CLOSE_WRITE = 0x08
_IN_CLOSE_NOWRITE = 0x10
_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")


class FileWatch:
    """Tells of opens and closes of one file since it was made."""

    def __init__(self, path: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = _IN_OPEN | _IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE
        if libc.inotify_add_watch(self.descriptor, os.fsencode(path), mask) < 0:
            error = ctypes.get_errno()
            os.close(self.descriptor)
            raise OSError(error, os.strerror(error), path)

    def changes(self) -> list[str]:
        """`open` and `close`, in order, since the last call; the kernel merges equal neighbours."""
        found: list[str] = []
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except BlockingIOError:
                return found
            offset = 0
            while offset < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, offset)
                found.append("open" if mask & _IN_OPEN else "close")
                offset += _EVENT.size + length

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self.descriptor)


def holders(path: str, except_descriptor: int) -> list[int]:
    """The process ids that have `path` open, one for each descriptor; this process's `except_descriptor` does not count.

    Processes of other users are invisible to an unprivileged caller.
    """
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        process = int(folder.parent.name)
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if process == os.getpid() and int(name) == except_descriptor:
                continue
            try:
                if os.readlink(folder / name) == path:
                    found.append(process)
            except OSError:
                continue
    return found
