"""Receipts: what became of a record.

Rules of this file: states only move forward; the store's announcements and the exchange's are the only sources.  A receipt
that nobody holds is forgotten; the record is not.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence

from rataccess.errors import Closed, DeadlineExceeded
from rataccess.objects import ReceiptState, Service

_ORDER = {ReceiptState.QUEUED: 0, ReceiptState.SENT: 1, ReceiptState.HANDED_OVER: 2}


class AsyncReceipt:
    """Where one record is.  Use from the device's event loop; `state` may be read from any thread."""

    __slots__ = ("__weakref__", "_waiters", "number", "sent", "service", "state")

    def __init__(self, service: Service, number: int) -> None:
        self.service = service
        self.number = number
        """The record's sequence number at its service, from 1."""
        self.state = ReceiptState.QUEUED
        self.sent = False
        """Whether the record has left the device at least once, whatever became of it then."""
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<Receipt {self.service} {self.number} {self.state.upper()}>"

    async def wait(self, timeout: float | None = None) -> ReceiptState:
        """Wait for a final state and return it.

        Raises `DeadlineExceeded` (a `TimeoutError`) after `timeout` seconds, and `Closed` where the device is closed
        meanwhile; the record stays queued all the same.
        """
        if not self.state.final:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters.append(waiter)
            timer = None if timeout is None else loop.call_later(timeout, self._late, waiter, timeout)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.state

    def _late(self, waiter: asyncio.Future[None], timeout: float) -> None:
        text = f"record {self.number} of {self.service} is still {self.state.value} after {timeout} s; it is kept"
        if not waiter.done():
            waiter.set_exception(DeadlineExceeded(text))

    def close(self) -> None:
        """For the device: no state will follow in this run; who waits gets `Closed`."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Closed(f"the device was closed; record {self.number} of {self.service} is kept"))

    def move(self, state: ReceiptState) -> None:
        """For the device: the record is in `state` now; what would lead back is ignored."""
        if self.state.final or (not state.final and _ORDER[state] <= _ORDER[self.state]):
            return
        self.state = state
        self.sent = self.sent or not state.final or state is ReceiptState.DELIVERED
        if state.final:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()


class Receipts:
    """The receipts that somebody holds, by record."""

    def __init__(self) -> None:
        self._live: weakref.WeakValueDictionary[tuple[Service, int], AsyncReceipt] = weakref.WeakValueDictionary()

    def new(self, service: Service, number: int) -> AsyncReceipt:
        """The receipt for a record just accepted; may be called from the store's writer thread."""
        receipt = self._live[service, number] = AsyncReceipt(service, number)
        return receipt

    def move(self, service: Service, numbers: Sequence[int], state: ReceiptState) -> None:
        """These records are in `state` now."""
        if not self._live:
            return
        for number in numbers:
            receipt = self._live.get((service, number))
            if receipt is not None:
                receipt.move(state)

    def close(self) -> None:
        """Nothing will move any more."""
        for receipt in list(self._live.values()):
            receipt.close()
