"""A radio that moves messages, in memory, and its network: for the contract of transports over such radios."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from rataccess.driver import RadioMessage
from rataccess.errors import PacketTooLarge, RataccessError, TransportBroken
from rataccess.transport import Downlink, Handover, Hints


class MessageRadio:
    """A `MovesMessages`.  What it sends is in `up`; `hear` is what the network sends."""

    def __init__(self, hints: Hints | None = None) -> None:
        self.message_hints = hints or Hints("lorawan", mtu=222, downlink=Downlink.AFTER_UPLINK, response_time=2.0)
        self.up: asyncio.Queue[RadioMessage] = asyncio.Queue()
        self.refuse: RataccessError | None = None
        self.broken = False
        self.hanging = False
        self.limit: int | None = None
        """What the radio takes now, where its hints are not up to date."""
        self.cancelled = 0
        self._down: deque[RadioMessage] = deque()
        self._news = asyncio.Event()
        self._callbacks: list[Callable[[Hints], None]] = []

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    @property
    def listeners(self) -> int:
        """How many are told of changed hints."""
        return len(self._callbacks)

    def change(self, **changes: object) -> None:
        """The radio's hints change."""
        self.message_hints = replace(self.message_hints, **changes)  # type: ignore[arg-type]
        for callback in tuple(self._callbacks):
            callback(self.message_hints)

    def hear(self, message: RadioMessage) -> None:
        """The network sends this."""
        self._down.append(message)
        self._news.set()

    def break_down(self) -> None:
        """The radio is of no more use."""
        self.broken = True
        self._news.set()

    async def send_message(self, message: RadioMessage) -> Handover | None:
        if self.hanging:
            await self._hang()
        if self.broken:
            raise TransportBroken("the radio is gone")
        if self.refuse is not None:
            raise self.refuse
        limit = self.message_hints.mtu if self.limit is None else self.limit
        if len(message.data) > limit:
            raise PacketTooLarge(len(message.data), limit)
        self.up.put_nowait(message)
        return Handover("7") if self.message_hints.acknowledges_handover else None

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def receive_message(self) -> RadioMessage:
        while not self._down:
            if self.broken:
                raise TransportBroken("the radio is gone")
            self._news.clear()
            await self._news.wait()
        return self._down.popleft()
