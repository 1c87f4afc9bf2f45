"""What a satellite driver keeps across restarts: messages sent whose end nobody was told, and messages received.

Rules of this file: memory and values only; no radio, no clock.  Everything is on disk before what depends on it happens:
an attempt before its session begins, a received message before the radio's copy is given up.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rataccess.driver import RadioMessage
from rataccess.errors import Closed, ObjectError, RataccessError, StoreError
from rataccess.objects import Memory, decode, encode

log = logging.getLogger("rataccess.satellite")

MOST_ATTEMPTS = 8
"""Attempts remembered whose end nobody was told; older ones are forgotten."""
MOST_WAITING = 64
"""Received messages kept for `receive`; with so many, no more are fetched."""


def digest(data: bytes) -> bytes:
    """What is kept of a message instead of it."""
    return hashlib.sha256(data).digest()[:16]


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    OPEN = "open"
    """Begun, and its end not seen."""
    ACCEPTED = "accepted"
    DOUBTFUL = "doubtful"
    """The network may have it, and nobody will ever know."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One message handed to the radio."""

    digest: bytes
    number: int
    """MOMSN before the session, message id, or notes in the queue: what tells later how it ended."""
    radio: str
    """Serial number of the radio that has it."""
    begun: float
    """Wall clock."""
    outcome: Outcome = Outcome.OPEN
    reference: str = ""


class Attempts:
    """The attempts that nobody was told the end of."""

    def __init__(self, memory: Memory, key: str) -> None:
        self._memory, self._key = memory, key
        self._attempts: list[Attempt] = []

    def load(self) -> None:
        """Read what an earlier process left; damage is logged and forgotten."""
        self._attempts = []
        data = self._memory.get(self._key)
        if not data:
            return
        try:
            rows: Any = decode(data)
            self._attempts = [Attempt(row[0], row[1], row[2], row[3], Outcome(row[4]), row[5]) for row in rows]
        except (ObjectError, TypeError, ValueError, LookupError):
            log.warning("%s in the store cannot be read and is forgotten", self._key)

    def begin(self, attempt: Attempt) -> None:
        """Keep it; it is on disk when this returns.  Raises `StoreError`, and then nothing may be sent."""
        before, self._attempts = self._attempts, [*self._attempts, attempt][-MOST_ATTEMPTS:]
        try:
            self._save()
        except StoreError:
            self._attempts = before
            raise

    def find(self, data: bytes) -> Attempt | None:
        """The attempt with exactly this message."""
        wanted = digest(data)
        return next((each for each in self._attempts if each.digest == wanted), None)

    @property
    def unfinished(self) -> Attempt | None:
        """The attempt whose end was not seen."""
        return next((each for each in self._attempts if each.outcome is Outcome.OPEN), None)

    def change(self, attempt: Attempt, **changes: Any) -> Attempt:
        """Replace fields of it.  A disk that fails is logged: what it has is older, and errs on the safe side."""
        new = replace(attempt, **changes)
        self._attempts = [new if each is attempt else each for each in self._attempts]
        self._save_if_possible()
        return new

    def change_surely(self, attempt: Attempt, **changes: Any) -> Attempt:
        """The same, where what comes next depends on it: raises `StoreError`, and then nothing has changed."""
        before = self._attempts
        new = replace(attempt, **changes)
        self._attempts = [new if each is attempt else each for each in before]
        try:
            self._save()
        except StoreError:
            self._attempts = before
            raise
        return new

    def forget(self, attempt: Attempt) -> None:
        """Its end was told, or it never reached the network."""
        self._attempts = [each for each in self._attempts if each.digest != attempt.digest]
        self._save_if_possible()

    def _save_if_possible(self) -> None:
        try:
            self._save()
        except StoreError as error:
            log.error("%s could not be written: %s", self._key, error)

    def _save(self) -> None:
        rows = [[a.digest, a.number, a.radio, a.begun, a.outcome.value, a.reference] for a in self._attempts]
        self._memory.put_now(self._key, encode(rows))


class SessionNote:
    """What a modem's next driver has to know of its sessions: one that runs, and a ring alert without its answer."""

    def __init__(self, memory: Memory, key: str) -> None:
        self._memory, self._key = memory, key
        self.ring = False
        """Whether a ring alert waits for its answer."""
        self.begun: float | None = None
        """Wall clock of the beginning of a session whose end was not seen."""

    def load(self) -> None:
        """Read what an earlier process left."""
        data = self._memory.get(self._key)
        try:
            kept: Any = decode(data) if data else (False, None)
            self.ring, self.begun = bool(kept[0]), None if kept[1] is None else float(kept[1])
        except (ObjectError, TypeError, ValueError, LookupError):
            self.ring, self.begun = True, None  # damaged: a look too many does no harm

    def change(self, *, ring: bool | None = None, begun: float | None = None) -> None:
        """Keep both; on disk when this returns, unless the disk fails, which is logged."""
        new = self.ring if ring is None else ring
        if (new, begun) != (self.ring, self.begun):
            self.ring, self.begun = new, begun
            try:
                self._memory.put_now(self._key, encode([new, begun]))
            except StoreError as error:
                log.error("%s could not be written: %s", self._key, error)


class Inbox:
    """Received messages until they are fetched, and a mark of the last one taken from the radio."""

    def __init__(self, memory: Memory, key: str) -> None:
        self._memory, self._key = memory, key
        self._waiting: list[RadioMessage] = []
        self._mark: list[object] = []
        self._news = asyncio.Event()
        self._trouble: RataccessError | None = Closed("the driver is not open")

    def load(self) -> None:
        """Read what an earlier process left, and be open; damage is logged and forgotten."""
        self._waiting, self._mark, self._trouble = [], [], None
        data = self._memory.get(self._key)
        if data:
            try:
                kept: Any = decode(data)
                self._waiting = [RadioMessage(bytes(each), int(port)) for each, port in kept[1]]
                self._mark = list(kept[0])
            except (ObjectError, TypeError, ValueError, LookupError):
                log.warning("%s in the store cannot be read and is forgotten", self._key)
        self._news.set()

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be fetched from the radio."""
        return len(self._waiting) >= MOST_WAITING

    def seen(self, mark: Sequence[object]) -> bool:
        """Whether the message with this mark was the last one taken."""
        return bool(self._mark) and list(mark) == self._mark

    def arrived(self, mark: Sequence[object], message: RadioMessage) -> None:
        """Take a message, unless its mark is that of the last one; on disk when this returns.

        Raises `StoreError` where it is not, and then the radio must keep its copy.  One without a mark has no other copy:
        it is taken all the same.
        """
        if self.seen(mark):
            return
        before, self._mark = self._mark, list(mark)
        self._waiting.append(message)
        try:
            self._save()
        except StoreError as error:
            if mark:
                self._mark = before
                self._waiting.pop()
                raise
            log.error("%s could not be written: %s", self._key, error)
        self._news.set()

    def taken(self) -> None:
        """The radio has given its copy of the last message up: the next one is new, even where it looks the same."""
        if self._mark:
            self._mark = []
            self._save()

    def close(self, why: RataccessError) -> None:
        """From now on `receive` raises `why`; what waits is kept for the next opening."""
        self._trouble = why
        self._news.set()

    async def receive(self) -> RadioMessage:
        """The next message, once; cancelling loses nothing.  Raises what `close` was given, and `StoreError`."""
        while True:
            if self._trouble is not None:
                raise _again(self._trouble)
            if self._waiting:
                message = self._waiting[0]
                self._save(1)
                del self._waiting[0]
                return message
            self._news.clear()
            await self._news.wait()

    def _save(self, taken: int = 0) -> None:
        rows = [[each.data, each.port] for each in self._waiting[taken:]]
        self._memory.put_now(self._key, encode([self._mark, rows]))


def _again(error: RataccessError) -> RataccessError:
    """A fresh exception of the same kind: one object raised by two tasks would share its traceback."""
    again = type(error)(str(error))
    again.__cause__ = error
    return again
