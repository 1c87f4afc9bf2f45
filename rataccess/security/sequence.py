"""Sender sequence numbers that no crash makes come twice (RFC 8613 sections 7.2.1 and 7.5).

Rules of this file: a number is given out only after a limit above it is on disk.  After a restart numbers begin at that
limit: some are skipped, none is used again.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from rataccess.errors import KeyStoreError, SequenceExhausted
from rataccess.objects import Memory, SharedMemory

BLOCK = 256
"""Numbers reserved at a time: one commit each, and at most this many skipped by a restart.  A device that restarts daily
thus needs a third byte of Partial IV only after eight months."""
MOST = 2**40 - 1
"""The largest number (RFC 8613 section 7.2.1: less than 2^40)."""
_LIMIT_BYTES = 8


def sequence_key(name: str) -> str:
    """Where the memory keeps the sequence numbers of the context `name`; stores know counters by this form."""
    return f"security/{name}/sequence"


@cache
def _is_shared(kind: type) -> bool:
    """Asked once for each kind of memory: a service makes thousands of contexts."""
    return issubclass(kind, SharedMemory)


class SequenceNumbers:
    """Numbers of one sender, in ascending order, reserved in a `Memory` under `key`.

    Half-way through a block the next one is written without waiting (`put`).  At its end that is made sure of
    (`put_now`): a memory that has already committed the value may then return at once.

    In a `SharedMemory` several processes take numbers of one sender: each reserves blocks of its own, in one step, and
    nothing is read before the first.
    """

    __slots__ = ("_ahead", "_key", "_known", "_limit", "_memory", "_next", "_shared")

    def __init__(self, memory: Memory, key: str, used: int = 0, least: int = 0) -> None:
        """`used`: what other evidence says was reserved.  Raises `KeyStoreError` where the memory knows less than that:
        it was lost or rolled back, and numbers would come twice.  `least`: no lower number is given here."""
        self._memory = memory
        self._key = key
        self._shared: SharedMemory | None = cast(SharedMemory, memory) if _is_shared(type(memory)) else None
        self._known = 0
        self._ahead: int | None = None
        self._limit = self._next = 0
        if self._shared is None:
            self._limit = self._next = self._stored()
        self._next = max(self._next, min(least, MOST))
        self.check(used)

    def check(self, used: int) -> None:
        """Hold the memory against other evidence, by the rule of the constructor."""
        if used <= max(self._known, self._limit):
            return
        self._known = self._stored()
        if self._known < used:
            raise KeyStoreError(
                f"the store has lost the sender sequence numbers under {self._key!r}: {self._known} reserved, but {used} "
                "were; numbers would be used twice; provision a new session secret for this device"
            )

    @property
    def shared(self) -> bool:
        """Whether other processes take numbers of the same sender."""
        return self._shared is not None

    @property
    def upcoming(self) -> int:
        """The number that `take` gives next, or less than it."""
        return self._next

    @property
    def reserved(self) -> int:
        """Every number given out is below this one, and this is on disk."""
        return max(self._limit, self._known)

    def take(self) -> int:
        """The next number.

        Raises `SequenceExhausted` past 2^40 - 1, `KeyStoreError` where the memory holds nonsense, and what `put_now`
        raises (`StoreError`): no number was given then.
        """
        number = self._next
        if number >= self._limit:
            number = self._reserve() if self._shared is None else self._reserve_among_others(self._shared)
        self._next = number + 1
        if self._shared is None and self._ahead is None and self._limit - number <= BLOCK // 2:
            self._ahead = min(self._limit + BLOCK, MOST + 1)
            self._memory.put(self._key, self._ahead.to_bytes(_LIMIT_BYTES, "big"))
        return number

    def _reserve(self) -> int:
        """Have the next block on disk; returns its first number."""
        stored = self._stored()
        first, limit = self._limit, self._ahead
        if limit is None or stored != limit:  # first use, or another context of the same name has been at it
            first = max(self._limit, self._next, stored)
            limit = min(first + BLOCK, MOST + 1)
        self._refuse_beyond(first)
        self._memory.put_now(self._key, limit.to_bytes(_LIMIT_BYTES, "big"))
        self._limit, self._ahead = limit, None
        return first

    def _reserve_among_others(self, memory: SharedMemory) -> int:
        """As `_reserve`, for a block that no other process reserves at the same time."""
        while True:
            value = memory.get(self._key)
            first = max(self._limit, self._next, self._read(value))
            self._refuse_beyond(first)
            limit = min(first + BLOCK, MOST + 1)
            if memory.replace(self._key, value, limit.to_bytes(_LIMIT_BYTES, "big")):
                self._limit = limit
                return first

    def _refuse_beyond(self, first: int) -> None:
        if first > MOST:
            raise SequenceExhausted(
                f"the sequence numbers under {self._key!r} are used up; provision a new session secret"
            )

    def _stored(self) -> int:
        return self._read(self._memory.get(self._key))

    def _read(self, value: bytes | None) -> int:
        if value is None:
            return 0
        limit = int.from_bytes(value, "big")
        if len(value) != _LIMIT_BYTES or limit > MOST + 1:
            raise KeyStoreError(
                f"the store holds {len(value)} bytes under {self._key!r}, which are no sequence number; it is damaged"
            )
        return limit
