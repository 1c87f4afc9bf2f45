"""The channel to the solution service, through which alone remotes are called.

Rules of this file: a call is a record and its reply is one; what is here is the waiting in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

from rataccess.channel.calls import MOST_NAME, QUEUE, Calls, Reply, result
from rataccess.channel.channel import AsyncChannel, Parts, readable
from rataccess.channel.receipts import AsyncReceipt
from rataccess.errors import CallTimeout, Closed, ObjectError
from rataccess.objects import Object, ReceiptState, Service, Urgency, encode
from rataccess.store import Inbound, NewRecord


class AsyncSolutionChannel(AsyncChannel):
    """The channel to the solution service."""

    def __init__(self, parts: Parts) -> None:
        self.calls = Calls()
        super().__init__(Service.SOLUTION, parts)

    async def call(
        self,
        name: str,
        body: Object = None,
        *,
        timeout: float = 60.0,
        max_cost: float | None = None,
        repeatable: bool = False,
    ) -> Object:
        """Have the solution service call the remote that it knows by `name` with `body`, and return what that answers.

        `timeout`: seconds for all of it, from now; what has not left the device by then never will.  `max_cost`: as for
        `enqueue`.  `repeatable`: whether carrying it out twice does no harm; only then does the service try again by itself.
        Whatever the links do, the service gets the call once.

        Raises `UnknownRoute`, `RemoteFailed` and `RemoteRefused` (both a `RemoteError`, with `status` and `body`),
        `RemoteUnreachable`, `RemoteTimeout`, `CallTimeout` (a `TimeoutError`; `sent` tells whether it has left),
        `CallOutcomeUnknown`, `ReplyTooLarge`, `CallRefused`, all of them a `CallError`; and `ObjectError` (not encodable,
        bad name or timeout), `StoreFull`, `DiskFull`, `Closed`.
        """
        new = self._call_record(name, body, timeout, max_cost, repeatable)
        attempt = _Attempt(self, name)
        try:
            async with asyncio.timeout(timeout):
                outcome = await attempt.outcome(new, asyncio.get_running_loop().time() + timeout)
        except TimeoutError as error:
            raise attempt.late(timeout) from error
        finally:
            attempt.end()
        if isinstance(outcome, CallTimeout):
            raise attempt.late(timeout)
        if isinstance(outcome, Exception):
            raise outcome
        return result(name, *outcome)

    def _call_record(
        self, name: str, body: Object, timeout: float, max_cost: float | None, repeatable: bool
    ) -> NewRecord:
        if not 1 <= len(name) <= MOST_NAME:
            raise ObjectError(f"call {name!r}: a name has 1 to {MOST_NAME} characters")
        if not 0 < timeout < math.inf:
            raise ObjectError(f"timeout {timeout!r}: seconds, more than 0")
        data = readable(encode([name, body, math.ceil(timeout), bool(repeatable)]))
        return self.new_record(data, QUEUE, Urgency.PROMPT, timeout, max_cost)

    def void(self, number: int) -> None:
        """Nobody wants this record to be delivered any more."""
        with contextlib.suppress(Closed):  # the next run does it (`begin`)
            self._parts.store.settle(self.service, [number], ReceiptState.EXPIRED)

    def awaited(self, deadline: float, max_cost: float | None) -> Callable[[], None]:
        """A reply is expected until `deadline` (event loop's clock), as far as asking for it costs no more than `max_cost`;
        returns what undoes that."""
        return self._parts.exchange.expect(deadline, max_cost)

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` run on the event loop."""
        self._parts.bridge.post(call)

    # --- for the device ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        store = self._parts.store
        stale = store.expiring(self.service, QUEUE)
        if stale:  # who made these calls is gone with the run that it was in: nobody wants them carried out any more
            store.settle(self.service, stale, ReceiptState.EXPIRED)
        super().begin()

    def close(self) -> None:
        super().close()
        self.calls.close()

    def moved(self, numbers: Sequence[int], state: ReceiptState) -> None:
        super().moved(numbers, state)
        self.calls.moved(numbers, state)

    def _take_reserved(self, record: Inbound) -> None:
        if record.queue == QUEUE:
            self.calls.replied(record.body)
        else:
            super()._take_reserved(record)


class _Attempt:
    """One call, from its record to its reply."""

    def __init__(self, channel: AsyncSolutionChannel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._receipt: AsyncReceipt | None = None
        self._undo: Callable[[], None] | None = None
        self._max_cost: float | None = None
        self._ended = self._replied = False

    async def outcome(self, new: NewRecord, deadline: float) -> Reply | Exception:
        """The reply, or why there is none."""
        waiter: asyncio.Future[Reply | Exception] = asyncio.get_running_loop().create_future()
        self._max_cost = new.max_cost

        def accepted(outcome: AsyncReceipt | Exception) -> None:
            """Perhaps in the store's thread, and before the record can leave."""
            if isinstance(outcome, AsyncReceipt):
                self._channel.calls.wait_for(outcome.number, waiter)
            self._channel.post(lambda: self._begin(outcome, waiter, deadline))

        self._channel.submit(new, accepted)
        reply = await waiter
        self._replied = not isinstance(reply, Exception)
        return reply

    def _begin(
        self, outcome: AsyncReceipt | Exception, waiter: asyncio.Future[Reply | Exception], deadline: float
    ) -> None:
        if isinstance(outcome, Exception):
            if not waiter.done():
                waiter.set_result(outcome)
            return
        self._receipt = outcome
        if self._ended:
            self._forget(outcome)
        elif outcome.sent:
            self._await_reply(deadline)
        else:  # asking for the reply costs something on some links: not before there can be one
            self._channel.calls.when_left(outcome.number, lambda: self._await_reply(deadline))

    def _await_reply(self, deadline: float) -> None:
        if not self._ended:
            self._undo = self._channel.awaited(deadline, self._max_cost)

    def late(self, timeout: float) -> CallTimeout:
        """The error for a call that has had no reply in time."""
        sent = self._receipt is not None and self._receipt.sent
        what = "it may have been carried out" if sent else "it has not left this device, and will not"
        return CallTimeout(
            f"no reply to the call of {self._name!r} within {timeout:g} s; {what}", self._name, sent=sent
        )

    def end(self) -> None:
        """The caller has its result, or has gone away."""
        self._ended = True
        if self._undo is not None:
            self._undo()
        if self._receipt is not None:
            self._forget(self._receipt)

    def _forget(self, receipt: AsyncReceipt) -> None:
        self._channel.calls.forget(receipt.number)
        if not (self._replied or receipt.state.final):
            self._channel.void(receipt.number)
