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

from rataccess.errors import DiskFull
from rataccess.objects import Service
from rataccess.services.jsonform import body_as_json, iso
from rataccess.services.store import Row, ServiceStore, translated

logger = logging.getLogger("rataccess.services")

CHUNK = 500
"""Records at a time: about 10 ms of the service's loop."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Bodies at a time, and one more: records may have 16 MiB."""
_SELECT = (
    "SELECT r.id, d.kid, d.serial_number, r.queue, r.number, r.captured_at, r.received_at, r.link, r.body"
    " FROM records AS r JOIN devices AS d ON d.id = r.device WHERE r.id > ? ORDER BY r.id LIMIT ?"
)


class Forwarder:
    """Appends what the store holds to the file.  A file that was moved away (log rotation) is begun anew."""

    def __init__(self, store: ServiceStore, path: Path, service: Service = Service.SOLUTION) -> None:
        self.path = path
        self._store = store
        self._service = service
        self._descriptor: int | None = None
        with translated(store.path):
            row = store.connection.execute("SELECT record, position FROM forwarding").fetchone()
        self._record, self._position = int(row[0]), int(row[1])

    def __repr__(self) -> str:
        return f"<Forwarder {self.path} record={self._record} position={self._position}>"

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
        with self._store.transaction() as connection:
            row = (rows[-1][0], self._position + len(data))
            connection.execute("UPDATE forwarding SET record = ?, position = ?", row)
        self._record, self._position = row
        return more

    def _next_rows(self) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        size = 0
        with translated(self._store.path):
            for row in self._store.connection.execute(_SELECT, (self._record, CHUNK)):
                rows.append(row)
                size += len(row[-1])
                if size >= CHUNK_BYTES:
                    return rows, True
        return rows, len(rows) == CHUNK

    def _line(self, row: Row) -> bytes:
        _, kid, serial_number, queue, number, captured_at, received_at, link, body = row
        head = {
            "device": kid.hex(),
            "serial_number": serial_number,
            "channel": self._service.value,
            "queue": queue,
            "record": number,
            "captured_at": iso(captured_at),
            "received_at": iso(received_at),
            "link": link,
        }
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
        return f'{text[:-1]},"body":{body_as_json(body)}}}\n'.encode()

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
        with self._store.transaction() as connection:  # first, or a kill after the writing would double lines
            connection.execute("UPDATE forwarding SET position = ?", (self._position,))
        self.open()


def append_all(forwarder: Forwarder) -> None:
    """Forward everything that there is, for an orderly end; gives up where the disk is full."""
    try:
        while forwarder.forward():
            pass
    except DiskFull as error:
        logger.warning("records wait to be forwarded: %s", error)
