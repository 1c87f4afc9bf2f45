"""Channels, receipts and packets for applications without an event loop.

Rules of this file: each method is one call to its asynchronous counterpart, on the device's thread.  Enqueue does not go
through that thread: the caller waits for the store alone, so that many threads share one commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from rataccess.channel import (
    AsyncChannel,
    AsyncManagementChannel,
    AsyncPackets,
    AsyncReceipt,
    AsyncSolutionChannel,
    Changes,
    InboundObject,
)
from rataccess.channel import Environment as Variables
from rataccess.device.runner import Iteration, Runner, call
from rataccess.objects import Object, ReceiptState, Service, Urgency
from rataccess.store import NewRecord
from rataccess.template import Template
from rataccess.transport import Hints


class Receipt:
    """Where one record is; see `AsyncReceipt`."""

    def __init__(self, receipt: AsyncReceipt, runner: Runner) -> None:
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

    def __init__(self, channel: AsyncChannel, runner: Runner) -> None:
        self._channel = channel
        self._runner = runner
        self.packets = Packets(channel.packets, runner)
        """Single unqueued packets, both ways."""

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
        queue: str | None = None,
        urgency: Urgency = Urgency.ROUTINE,
        ttl: float | None = None,
        max_cost: float | None = None,
        links: Sequence[str] = (),
        template: Template | None = None,
    ) -> Receipt:
        """Accept `value` for delivery; it is on disk when this returns.  See `AsyncChannel.enqueue`."""
        new = self._channel.record(
            value, queue=queue, urgency=urgency, ttl=ttl, max_cost=max_cost, links=links, template=template
        )
        return self._accept(new)

    def define(self, template: Template) -> None:
        """Have every object of the queue `template.name` fit `template`, and travel packed.  See `AsyncChannel.define`."""
        self._channel.learn(template)

    def put(self, name: str, value: Object, *, urgency: Urgency = Urgency.ROUTINE) -> Receipt:
        """Give a named object a new value, here and at the service.  See `AsyncChannel.put`."""
        return self._accept(self._channel.named(name, value, urgency))

    def _accept(self, new: NewRecord) -> Receipt:
        return Receipt(self._channel.accept_here(new), self._runner)

    def get(self, name: str, default: Object = None) -> Object:
        """The latest value of the named object; `default` where there is none."""
        return self._channel.get(name, default)

    def dequeue(self, timeout: float | None = None, *, queue: str | None = None) -> InboundObject | None:
        """The oldest inbound object, or `None` after `timeout` seconds (`None`: wait for ever).

        It is yours until you acknowledge it or give it back: `with item as value:` does either.  See `InboundObject`.
        """
        hand = _Hand()
        try:
            return self._runner.run(hand.take(self._channel, timeout, queue))
        except BaseException:
            hand.drop(self._runner)  # Ctrl-C: what came in this very moment is for the next caller
            raise

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of this channel is settled; `DeadlineExceeded` after `timeout` seconds."""
        self._runner.run(self._channel.flush(timeout))

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one."""
        return self._channel.hints

    def explain(self) -> str:
        """Why this link; for people."""
        return self._runner.run(call(self._channel.explain))


class _Hand:
    """Takes one inbound object for a thread, unless that has gone away."""

    def __init__(self) -> None:
        self._item: InboundObject | None = None
        self._dropped = False

    async def take(self, channel: AsyncChannel, timeout: float | None, queue: str | None) -> InboundObject | None:
        self._item = item = await channel.dequeue(timeout, queue=queue)
        if self._dropped and item is not None:
            item.give_back()
        return item

    def drop(self, runner: Runner) -> None:
        def back() -> None:
            self._dropped = True
            if self._item is not None:
                self._item.give_back()

        with contextlib.suppress(RuntimeError):  # the loop is closed: a restart brings it back
            runner.loop.call_soon_threadsafe(back)


class Packets:
    """Packets to and from one service: at most once each, in no order, over the link in use; from any thread."""

    def __init__(self, packets: AsyncPackets, runner: Runner) -> None:
        self._packets = packets
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._packets)

    @property
    def mtu(self) -> int | None:
        """Bytes of the largest packet that `send` takes now; `None` without a link."""
        return self._packets.mtu

    @property
    def dropped(self) -> int:
        """Packets that came and went because nobody received them in time."""
        return self._packets.dropped

    def send(self, data: bytes) -> None:
        """Send `data` now, once; whether it arrives nobody tells.  See `AsyncPackets.send`."""
        self._runner.run(self._packets.send(data))

    def receive(self, timeout: float | None = None) -> bytes | None:
        """The oldest packet that waits, or `None` after `timeout` seconds (`None`: wait for ever)."""
        return self._runner.run(self._packets.receive(timeout))


class Environment(Variables):
    """Fleet environment variables: a live mapping of text to text."""

    def __init__(self, channel: AsyncManagementChannel, runner: Runner) -> None:
        super().__init__(channel.variables)
        self._env = channel.env
        self._runner = runner

    def changes(self) -> Iteration[Changes]:
        """What changes from now on, to be iterated over: name to new text, or to `None` where the variable is gone."""
        return Iteration(self._env.changes(), self._runner)


class ManagementChannel(Channel):
    """The channel to the management service."""

    def __init__(self, channel: AsyncManagementChannel, runner: Runner) -> None:
        super().__init__(channel, runner)
        self.env = Environment(channel, runner)
        """Fleet environment variables: a live mapping of text to text."""


class SolutionChannel(Channel):
    """The channel to the solution service."""

    def __init__(self, channel: AsyncSolutionChannel, runner: Runner) -> None:
        super().__init__(channel, runner)
        self._solution = channel

    def call(
        self,
        name: str,
        body: Object = None,
        *,
        timeout: float = 60.0,
        max_cost: float | None = None,
        repeatable: bool = False,
    ) -> Object:
        """Have the solution service call the remote that it knows by `name`; returns what that answers.

        See `AsyncSolutionChannel.call`, also for the errors.
        """
        return self._runner.run(
            self._solution.call(name, body, timeout=timeout, max_cost=max_cost, repeatable=repeatable)
        )
