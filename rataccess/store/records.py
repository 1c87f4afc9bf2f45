"""What goes into the store and comes out of it, as values.

Rules of this file: values only; no I/O, no SQL, no state.  What is made for each record is a `msgspec.Struct`, made in a
twentieth of the time that a frozen dataclass takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from rataccess.objects import Service, Urgency


class NewRecord(msgspec.Struct, frozen=True):
    """An object to be sent, not yet numbered."""

    service: Service
    queue: str
    body: bytes
    """The object as one CBOR item."""
    urgency: Urgency = Urgency.ROUTINE
    captured_at: float | None = None
    """Wall seconds, as the wall clock stood; `None` where there was no wall clock at all."""
    boot: bytes = b""
    """Which start of the machine `monotonic` belongs to."""
    monotonic: float = 0.0
    """Seconds of that boot's monotonic clock at capture."""
    time_known: bool = True
    """Whether the wall clock could be believed; if not, `Store.restamp` corrects `captured_at` and `expires_at`."""
    expires_at: float | None = None
    """Wall seconds, by the same clock as `captured_at`; `None` for never."""
    max_cost: float | None = None
    links: tuple[str, ...] = ()
    """The only links that may carry it; empty for any."""
    replaces: str | None = None
    """A key: an older record of this service with the same key that was never sent becomes REPLACED."""
    template: int | None = None
    """The schema id of the template that `body` fits: messages may pack it by that; `None` for none."""


class Accepted(msgspec.Struct, frozen=True):
    """A record is on disk under this number."""

    number: int


class Record(msgspec.Struct, frozen=True):
    """A record in the outbox."""

    service: Service
    number: int
    queue: str
    queue_id: int
    queue_known: bool
    """Whether the service has confirmed what `queue_id` is called."""
    body: bytes
    urgency: Urgency
    captured_at: float | None
    boot: bytes
    monotonic: float
    time_known: bool
    expires_at: float | None
    max_cost: float | None
    links: tuple[str, ...]
    replaces: str | None
    attempts: int
    handed_over: bool
    template: int | None = None
    """The schema id of the template that `body` fits; `None` for none."""


class Inbound(msgspec.Struct, frozen=True):
    """An object that a service sent."""

    number: int
    queue: str
    body: bytes
    """The object as one CBOR item."""
    captured_at: float | None
    """Wall seconds, or `None` where the sender did not know."""


@dataclass(frozen=True, slots=True)
class StoreTrouble:
    """What went wrong with the store's file, for the health report."""

    reason: str
    quarantined: Path | None = None
    """Where the damaged file is now; its `-wal` and `-shm` files lie beside it."""
    salvaged: int = 0
    """Records of the outbox that were read from the damaged file and are in the new one."""
    in_memory: bool = False
    """No file can be written: what is accepted now is lost when the process ends."""
    memory_lost: bool = False
    """Budgets, back-off, replay windows and sets of received numbers are gone or may be old."""
    counters_lost: bool = False
    """Security counters may be lower than what was used already: the keys must not be used again."""

    def __str__(self) -> str:
        parts = [self.reason]
        if self.quarantined is not None:
            parts.append(f"the old file is {self.quarantined}, {self.salvaged} records of it were saved")
        if self.in_memory:
            parts.append("records are kept in memory only until this is repaired and the process started again")
        if self.counters_lost:
            parts.append("security counters are lost: provision new keys")
        return "; ".join(parts)
