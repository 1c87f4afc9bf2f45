"""What has come in and waits to be fetched.

Rules of this file: a queue with an end; bounded, so that a module that talks without end takes no memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

from rataccess.driver import RadioMessage
from rataccess.errors import Closed, TransportBroken

MOST = 256
"""A class A device gets one with each uplink; this many have waited for longer than any use."""


class Downlinks:
    """Messages in order; `get` by one task at a time."""

    def __init__(self) -> None:
        self._waiting: deque[RadioMessage] = deque()
        self._news = asyncio.Event()
        self._why: str | None = "the module has not joined yet"
        self._closed = False
        self.lost = 0
        """Newest ones that found no room."""

    def put(self, message: RadioMessage) -> None:
        """One more."""
        if len(self._waiting) >= MOST:
            self.lost += 1
            return
        self._waiting.append(message)
        self._news.set()

    async def get(self) -> RadioMessage:
        """The next one; cancelling is safe.  Raises `TransportBroken` or `Closed` once there are none and none will come."""
        while not self._waiting:
            if self._closed:
                raise Closed("the driver is closed")
            if self._why is not None:
                raise TransportBroken(self._why)
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def begin(self) -> None:
        """Some may come from now on."""
        self._why = None

    def end(self, why: str) -> None:
        """None will come until `begin`."""
        self._why = why
        self._news.set()

    def close(self) -> None:
        """None will come any more."""
        self._closed = True
        self._waiting.clear()
        self._news.set()

    @property
    def trouble(self) -> str | None:
        """Why none will come."""
        return "the driver is closed" if self._closed else self._why
