"""`Device`: the same device for applications without an event loop.

Rules of this file: it forwards to `AsyncDevice`, which runs on a thread of its own; no logic of radios or records.  Enqueue
does not go through that thread: the caller waits for the store alone, so that many threads share one commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rataccess.channel import AsyncChannel, AsyncManagementChannel, AsyncReceipt, Environment
from rataccess.config import Configuration
from rataccess.device.asynchronous import FLUSH_ON_CLOSE, AsyncDevice
from rataccess.errors import Closed, DeadlineExceeded
from rataccess.objects import Object, ReceiptState, Service, Urgency
from rataccess.store import NewRecord
from rataccess.transport import Hints

T = TypeVar("T")


class _Runner:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self.loop.run_forever, name="rataccess device", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._gate:  # what is accepted here is cancelled by `close`, so that nobody waits for ever
            if self._closed:
                work.close()
                raise Closed("the device is closed")
            waiting = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return waiting.result()
        except CancelledError as error:
            raise Closed("the device was closed meanwhile") from error
        except BaseException:
            waiting.cancel()  # Ctrl-C: nobody takes what would come
            raise

    def close(self) -> None:
        with self._gate:
            self._closed = True
        asyncio.run_coroutine_threadsafe(_end_all(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Receipt:
    """Where one record is; see `AsyncReceipt`."""

    def __init__(self, receipt: AsyncReceipt, runner: _Runner) -> None:
        self._receipt = receipt
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._receipt)

    @property
    def number(self) -> int:
        """The record's sequence number at its service, from 1."""
        return self._receipt.number

    @property
    def state(self) -> ReceiptState:
        """Where the record is now."""
        return self._receipt.state

    def wait(self, timeout: float | None = None) -> ReceiptState:
        """Wait for a final state; `DeadlineExceeded` (a `TimeoutError`) after `timeout` seconds."""
        return self._runner.run(self._receipt.wait(timeout))


class Channel:
    """Objects to and from one service; every method may be called from any thread."""

    def __init__(self, channel: AsyncChannel, runner: _Runner) -> None:
        self._channel = channel
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._channel)

    @property
    def service(self) -> Service:
        """The service at the other end."""
        return self._channel.service

    def enqueue(
        self,
        value: Object,
        *,
        queue: str = "default",
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
    ) -> Receipt:
        """Accept `value` for delivery; it is on disk when this returns.  See `AsyncChannel.enqueue`."""
        return self._accept(
            self._channel.record(value, queue=queue, urgency=urgency, ttl=ttl, max_cost=max_cost, links=links)
        )

    def put(self, name: str, value: Object, *, urgency: Urgency = Urgency.ROUTINE) -> Receipt:
        """Give a named object a new value, here and at the service.  See `AsyncChannel.put`."""
        return self._accept(self._channel.named(name, value, urgency))

    def _accept(self, new: NewRecord) -> Receipt:
        outcome: list[AsyncReceipt | Exception] = []
        waiting = threading.Lock()
        waiting.acquire()

        def done(result: AsyncReceipt | Exception) -> None:
            outcome.append(result)
            waiting.release()

        self._channel.submit(new, done)
        waiting.acquire()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return Receipt(outcome[0], self._runner)

    def get(self, name: str, default: Object = None) -> Object:
        """The latest value of the named object; `default` where there is none."""
        return self._channel.get(name, default)

    def dequeue(self, timeout: float | None = None, *, queue: str | None = None) -> Object | None:
        """The oldest inbound object, or `None` after `timeout` seconds (`None`: wait for ever)."""
        return self._runner.run(self._channel.dequeue(timeout, queue=queue))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of this channel is settled; `DeadlineExceeded` after `timeout` seconds."""
        self._runner.run(self._channel.flush(timeout))

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one."""
        return self._channel.hints

    def explain(self) -> str:
        """Why this link; for people."""
        return self._runner.run(_call(self._channel.explain))


class ManagementChannel(Channel):
    """The channel to the management service."""

    def __init__(self, channel: AsyncManagementChannel, runner: _Runner) -> None:
        super().__init__(channel, runner)
        self.env: Environment = channel.env
        """Fleet environment variables: a live mapping of text to text."""


class Device:
    """A client of exactly two services, for code without an event loop.

    `with Device.open() as device:` gives `device.management` and `device.solution`.  Leaving the block waits a few seconds
    for what is queued, then closes; records that were not delivered stay on disk.
    """

    management: ManagementChannel
    solution: Channel

    def __init__(self, device: AsyncDevice) -> None:
        """Takes a device that is not open yet and opens nothing."""
        self._device = device
        self._runner: _Runner | None = None

    @classmethod
    def open(cls, configuration: Configuration | Path | str | None = None) -> Device:
        """A device for `with`, or call `start` and `close`.  Raises `ConfigurationError`; see `AsyncDevice.open`."""
        return cls(AsyncDevice.open(configuration))

    def __repr__(self) -> str:
        return repr(self._device).replace("AsyncDevice", "Device")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            try:
                self._runner.run(self._device.flush(FLUSH_ON_CLOSE))
            except (DeadlineExceeded, Closed):
                pass  # what is left is on disk
            finally:
                self.close()

    def start(self) -> None:
        """Open store, keys, links.  Raises `KeyStoreError`, `StoreError`, `Closed`."""
        runner = _Runner()
        try:
            runner.run(self._device.start())
        except BaseException:
            runner.close()
            raise
        self._runner = runner
        self.management = ManagementChannel(self._device.management, runner)
        self.solution = Channel(self._device.solution, runner)

    def close(self) -> None:
        """Close everything without waiting for records; idempotent."""
        runner, self._runner = self._runner, None
        if runner:
            try:
                runner.run(self._device.aclose())
            finally:
                runner.close()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of both channels is settled; `DeadlineExceeded` after `timeout` seconds."""
        self._run(self._device.flush(timeout))

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one."""
        return self._device.hints

    def explain(self) -> str:
        """Why this link; for people."""
        return self._run(_call(self._device.explain))

    def snapshot(self) -> dict[str, object]:
        """The device's state as plain values."""
        return self._run(_call(self._device.snapshot))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            work.close()
            raise Closed("the device is not open")
        return self._runner.run(work)


async def _call(function: Callable[[], T]) -> T:
    """`function()` on the device's own thread."""
    return function()


async def _end_all() -> None:
    """Cancel whatever still runs on this loop, and wait for it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
