"""Records to an NDJSON file: each one line, none missing, none doubled, whenever the process is killed.

Rules of this file: reads the store's records in the order of their arrival, appends to one file.  The order is fixed: lines
into the file, file to disk, and then the new position into the store.  What stands behind the stored position at start was
never counted: it is cut off and written again, byte for byte the same.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import cbor2

from rataccess.errors import DiskFull
from rataccess.objects import Service
from rataccess.services.jsonform import body_as_json, iso
from rataccess.services.store import NDJSON, ServiceStore, StoredRecord, translated

logger = logging.getLogger("rataccess.services")

CHUNK = 500
"""Records at a time: about 10 ms of the service's loop."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Bodies at a time, and one more: records may have 16 MiB."""


class Forwarder:
    """Appends what the store holds to the file.  A file that was moved away (log rotation) is begun anew."""

    def __init__(self, store: ServiceStore, path: Path, service: Service = Service.SOLUTION) -> None:
        self.path = path
        self._store = store
        self._service = service
        self._descriptor: int | None = None
        self._record, state = store.cursor(NDJSON)
        self._position: int = 0 if state is None else cbor2.loads(state)

    def __repr__(self) -> str:
        return f"<Forwarder {self.path} record={self._record or 0} position={self._position}>"

    def open(self) -> None:
        """Open the file and cut off what was never counted.  Raises `DiskFull` where the file system refuses."""
        with translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            size = os.fstat(self._descriptor).st_size
            if size > self._position:
                os.ftruncate(self._descriptor, self._position)
            elif size < self._position:
                logger.warning("%s is shorter than it was (%d of %d bytes)", self.path, size, self._position)
                self._position = size

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def forward(self) -> bool:
        """Append the next `CHUNK` records at most; returns whether there may be more.

        Raises `DiskFull` where the file or the store has no room: nothing is lost, call it again later.
        """
        rows, more = self._next_rows()
        if not rows:
            return False
        data = b"".join(self._line(row) for row in rows)
        with translated(self.path):
            self._reopen_moved()
            self._append(data)
        record, position = rows[-1].position, self._position + len(data)
        with self._store.transaction():
            self._store.move_cursor(NDJSON, record, cbor2.dumps(position))
        self._record, self._position = record, position
        return more

    def _next_rows(self) -> tuple[list[StoredRecord], bool]:
        rows = self._store.records_after(self._record, CHUNK, CHUNK_BYTES)
        return rows, bool(rows)

    def _line(self, record: StoredRecord) -> bytes:
        head = {
            "device": record.device.hex(),
            "serial_number": record.serial_number,
            "channel": self._service.value,
            "queue": record.queue,
            "record": record.number,
            "captured_at": iso(record.captured_at),
            "received_at": iso(record.received_at),
            "link": record.link,
        }
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
        return f'{text[:-1]},"body":{body_as_json(record.body)}}}\n'.encode()

    def _append(self, data: bytes) -> None:
        assert self._descriptor is not None
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], self._position + done)
        os.fdatasync(self._descriptor)

    def _reopen_moved(self) -> None:
        """Begin the file anew where it was moved away, or cut short in place."""
        found = None if self._descriptor is None else os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if found is not None and there is not None and (found.st_ino, found.st_dev) == (there.st_ino, there.st_dev):
            self._position = min(self._position, there.st_size)
            return
        self.close()
        self._position = 0 if there is None else there.st_size
        with self._store.transaction():  # first, or a kill after the writing would double lines
            self._store.move_cursor(NDJSON, self._record, cbor2.dumps(self._position))
        self.open()


def append_all(forwarder: Forwarder) -> None:
    """Forward everything that there is, for an orderly end; gives up where the disk is full."""
    try:
        while forwarder.forward():
            pass
    except DiskFull as error:
        logger.warning("records wait to be forwarded: %s", error)
