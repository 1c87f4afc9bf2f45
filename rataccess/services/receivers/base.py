"""What a receiver is, and what it is given.

Rules of this file: the abstract base, the idempotency key, a record as JSON.  No network, no store.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rataccess.objects import Service
from rataccess.services.jsonform import body_as_json, iso

if TYPE_CHECKING:
    from rataccess.services.store import StoredRecord


class Receiver(ABC):
    """Takes batches of records, in order.  Used by one task at a time.

    `most` records and `most_bytes` of encoded objects (and one record more) make a batch; `tries` is how often a batch that
    is refused for its content is tried whole.
    """

    most = 500
    most_bytes = 4 * 1024 * 1024
    tries = 3
    state: bytes | None = None
    """What the receiver wants kept with its position; it is given to `open` after a restart."""

    @abstractmethod
    async def open(self, state: bytes | None) -> None:
        """Get ready; `state` is what was kept last.  Called again after any error.  Raises `ReceiverError`, `DiskFull`."""

    async def prepare(self) -> None:  # noqa: B027 (most receivers need none)
        """Called before each batch.  A `state` changed here is kept before the batch is delivered."""

    @abstractmethod
    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over all of `batch`; returns when the receiver has taken all of it for good.

        Raises `ReceiverDown` (try again later), `RecordRefused` (something in it), `DiskFull`: the same records come again,
        taken or not, from the first on, perhaps fewer at a time.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything.  Idempotent; never raises."""


def key_of(record: StoredRecord) -> str:
    """The idempotency key: the same whenever this record is delivered, and no other record's.

    Packets have no number; they have their position in this store.
    """
    number = f"packet-{record.position}" if record.number is None else str(record.number)
    return f"{record.device.hex()}-{number}"


def as_json(record: StoredRecord, *, keyed: bool = True) -> str:
    """The record as one line of JSON (docs/services.md), with its idempotency key first where it is `keyed`."""
    head = {
        **({"key": key_of(record)} if keyed else {}),
        "device": record.device.hex(),
        "serial_number": record.serial_number,
        "channel": Service.SOLUTION.value,
        "queue": record.queue,
        "record": record.number,
        "captured_at": iso(record.captured_at),
        "received_at": iso(record.received_at),
        "link": record.link,
    }
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return f'{text[:-1]},"body":{body_as_json(record.body)}}}'
