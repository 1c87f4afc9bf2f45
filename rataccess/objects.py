"""The words that every floor shares: service, urgency, receipt state, and objects as CBOR.

Rules of this file: values only, no I/O, no state.
"""

from __future__ import annotations

import enum
from typing import Protocol, runtime_checkable

import cbor2

from rataccess.errors import ObjectError

MAX_OBJECT_BYTES = 16 * 1024 * 1024
"""An encoded object larger than this is refused: it could never be held in memory twice on a 512 MB board."""

Object = object
"""What an application enqueues or receives: any CBOR-encodable value (RFC 8949)."""


class Service(enum.StrEnum):
    """The two services; there is no third."""

    MANAGEMENT = "management"
    SOLUTION = "solution"

    __hash__ = str.__hash__  # as a key of a mapping: `Enum` would run Python code for each look


class Urgency(enum.IntEnum):
    """How soon a record must go; higher goes first, and may use dearer links."""

    BULK = 0
    ROUTINE = 1
    PROMPT = 2
    ALARM = 3

    __hash__ = int.__hash__


class ReceiptState(enum.StrEnum):
    """Where a record is.  `DELIVERED`, `EXPIRED`, `DROPPED` and `REPLACED` are final."""

    QUEUED = "queued"
    SENT = "sent"
    HANDED_OVER = "handed over"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    DROPPED = "dropped"
    """The store was full and its policy gave this record up."""
    REPLACED = "replaced"
    """A newer value of the same named object made this one pointless before it was sent."""

    __hash__ = str.__hash__

    @property
    def final(self) -> bool:
        """Whether no other state can follow."""
        return self in _FINAL


_FINAL = frozenset({ReceiptState.DELIVERED, ReceiptState.EXPIRED, ReceiptState.DROPPED, ReceiptState.REPLACED})


class Memory(Protocol):
    """Small values kept across restarts: what floors below the store are given of it."""

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or `None`."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` soon (within the next group commit); returns at once."""
        ...

    def put_now(self, key: str, value: bytes) -> None:
        """Keep `value`; it is on disk when this returns (blocks for one commit)."""
        ...


@runtime_checkable
class SharedMemory(Memory, Protocol):
    """A `Memory` that several processes use at a time."""

    def replace(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Keep `new` where `old` is what is kept (`None`: nothing), in one step; whether it was.

        It is on disk when this returns.
        """
        ...


def encode(value: Object) -> bytes:
    """`value` as CBOR.

    Raises `ObjectError` where `value` (or something within it) is not CBOR-encodable, or is over `MAX_OBJECT_BYTES`.
    """
    try:
        data = cbor2.dumps(value)
    except (cbor2.CBOREncodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ObjectError(
            f"an object of type {type(value).__name__} cannot be encoded as CBOR ({error}); "
            "use numbers, text, bytes, lists, maps, datetimes, None and booleans"
        ) from error
    if len(data) > MAX_OBJECT_BYTES:
        raise ObjectError(f"the object takes {len(data)} bytes, the limit is {MAX_OBJECT_BYTES}; split it")
    return data


def decode(data: bytes) -> Object:
    """The object that `data`, exactly one CBOR item, encodes; raises `ObjectError` for anything else."""
    try:
        value: Object = cbor2.loads(data)
    except Exception as error:  # cbor2 raises many kinds on hostile input; none may get further
        raise ObjectError(f"{len(data)} bytes are not one CBOR object ({error.__class__.__name__})") from error
    return value
