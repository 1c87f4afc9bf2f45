"""Calls that wait for their replies.

Rules of this file: it matches replies to calls by record number and makes errors of statuses; it stores and sends nothing.
Statuses (docs/wire.md): 100 to 599 are the remote's (RFC 9110 section 15), those below 100 the solution service's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from rataccess.errors import (
    CallError,
    CallOutcomeUnknown,
    CallRefused,
    CallTimeout,
    Closed,
    ObjectError,
    RemoteFailed,
    RemoteRefused,
    RemoteTimeout,
    RemoteUnreachable,
    ReplyTooLarge,
    StoreFull,
    UnknownRoute,
)
from rataccess.objects import Object, ReceiptState, decode

_log = logging.getLogger("rataccess")

QUEUE = "$calls"
MOST_NAME = 64
_SUCCESS = range(200, 300)
_FIRST_REMOTE = 100
_MAY_PASS = frozenset({408, 425, 429})
"""Statuses that ask to try again later: Request Timeout, Too Early, Too Many Requests (RFC 9110, 8470, 6585)."""
_OURS: dict[int, tuple[Callable[[str, str], CallError], str]] = {
    1: (UnknownRoute, "the solution service has no route {!r}; ask its operator for one"),
    2: (RemoteUnreachable, "the solution service could not reach {!r}"),
    3: (RemoteTimeout, "{!r} did not answer the solution service in time"),
    4: (CallOutcomeUnknown, "the solution service was interrupted while it called {!r}; it may have been carried out"),
    5: (ReplyTooLarge, "{!r} answered with more than its route allows"),
    6: (CallRefused, "the solution service refused to call {!r}: quota used up, or the service is overloaded"),
}
Reply = tuple[int, Object]


class Calls:
    """Which calls wait, by the number of the record that carries each."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Reply | Exception]] = {}
        self._leaving: dict[int, Callable[[], None]] = {}
        self.dropped = 0
        """Replies that nobody waited for any more, or that were malformed."""

    def wait_for(self, number: int, waiter: asyncio.Future[Reply | Exception]) -> None:
        """`waiter` gets the reply to the call that the record `number` carries; from any thread."""
        self._waiting[number] = waiter

    def when_left(self, number: int, call: Callable[[], None]) -> None:
        """`call` is called once the record `number` has left the device."""
        self._leaving[number] = call

    def forget(self, number: int) -> None:
        """Nobody waits for that any more."""
        self._waiting.pop(number, None)
        self._leaving.pop(number, None)

    def replied(self, body: bytes) -> None:
        """A reply has come: `[number, status, body]`."""
        try:
            value = decode(body)
        except ObjectError:
            value = None
        if not (isinstance(value, list) and len(value) == 3 and type(value[0]) is int and type(value[1]) is int):
            self.dropped += 1
            _log.warning("a reply to a call is malformed; dropped")
            return
        waiter = self._waiting.pop(value[0], None)
        if waiter is None or waiter.done():
            self.dropped += 1
            _log.info("a reply to call %d came when nobody waited for it any more; dropped", value[0])
            return
        waiter.set_result((value[1], value[2]))

    def moved(self, numbers: Sequence[int], state: ReceiptState) -> None:
        """These records got as far as `state`."""
        if state is ReceiptState.DELIVERED or not state.final:
            self._left(numbers)
        else:
            self._given_up(numbers, state)

    def _left(self, numbers: Sequence[int]) -> None:
        for number in numbers if self._leaving else ():
            call = self._leaving.pop(number, None)
            if call is not None:
                call()

    def _given_up(self, numbers: Sequence[int], state: ReceiptState) -> None:
        """There will be no reply to these."""
        if not self._waiting:
            return
        for number in numbers:
            waiter = self._waiting.pop(number, None)
            if waiter is not None and not waiter.done():
                full = state is ReceiptState.DROPPED
                waiter.set_result(
                    StoreFull("the store was full and gave the call up") if full else CallTimeout("expired")
                )

    def close(self) -> None:
        """No reply will come in this run."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(Closed("the device was closed before the reply came; the call may be carried out"))
        self._waiting.clear()
        self._leaving.clear()


def result(name: str, status: int, body: Object) -> Object:
    """What the call of `name` gives: `body`, where `status` says success; raises the `CallError` for any other."""
    if status in _SUCCESS:
        return body
    if status in _OURS:
        kind, text = _OURS[status]
        raise kind(text.format(name), name)
    if status < _FIRST_REMOTE:
        raise CallRefused(f"the solution service answered the call of {name!r} with status {status}", name)
    kinds = RemoteFailed if status in _MAY_PASS or status >= 500 else RemoteRefused
    raise kinds(status, body, name)
