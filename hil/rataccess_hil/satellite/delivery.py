"""How a gateway's MO messages get to one place of a customer's: in order, and again until they are taken.

Rules of this file: the queue and its task; how one try goes is for subclasses.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque

from rataccess_hil.part import Part
from rataccess_hil.satellite.directip import MoMessage
from rataccess_hil.satellite.gateway import IridiumGateway


class Delivery(Part):
    """Takes a gateway's MO messages from `open` to `aclose`; what was not delivered stays in `waiting`."""

    def __init__(self, gateway: IridiumGateway) -> None:
        self.waiting: deque[MoMessage] = deque()
        self.delivered = 0
        self.failed_tries = 0
        self.given_up = 0
        self._gateway = gateway
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _try(self, message: MoMessage) -> bool:
        """Try once; whether it was taken."""

    @abstractmethod
    def _pause(self, tries: int) -> float | None:
        """Seconds before the next try after so many failed ones; `None` gives up."""

    def _copies(self, message: MoMessage) -> int:
        """How often this message goes there; 0 where it goes another way."""
        return 1

    async def open(self) -> None:
        """Take MO messages from now on."""
        self._gateway.outlets.append(self._take)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Stop; idempotent."""
        if self._task is not None:
            self._gateway.outlets.remove(self._take)
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drained(self) -> None:
        """Return once nothing waits."""
        await self._idle.wait()

    def _take(self, message: MoMessage) -> None:
        copies = self._copies(message)
        if copies:
            self.waiting.extend([message] * copies)
            self._idle.clear()
            self._news.set()

    async def _run(self) -> None:
        while True:
            while not self.waiting:
                self._idle.set()
                self._news.clear()
                await self._news.wait()
            await self._deliver(self.waiting[0])
            self.waiting.popleft()

    async def _deliver(self, message: MoMessage) -> None:
        tries = 0
        while not await self._try(message):
            self.failed_tries += 1
            tries += 1
            pause = self._pause(tries)
            if pause is None:
                self.given_up += 1
                return
            await asyncio.sleep(pause)
        self.delivered += 1
