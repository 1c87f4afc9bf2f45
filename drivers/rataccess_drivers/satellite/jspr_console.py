"""JSPR on the event loop: requests with their time limits, and news as they come.

Rules of this file: writing, waiting and time limits; what bodies mean is for the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rataccess.errors import Closed, CommandFailed, PortLost, RadioSilent, RataccessError
from rataccess_drivers.byteline import ByteLine, OpenByteLine
from rataccess_drivers.satellite.jspr import Event, JsprEngine, Message, Replied, Request, Told, Write

# A modem answers at once; the vendor's library waits a second.
REPLY_LIMIT = 5.0
TRIES = 3
"""Of what may be asked again, where no answer came, or one that the request did not arrive as it was said."""
_SPOILT = (401, 405, 407)


class JsprConsole:
    """An open line to a modem.  `on_told` gets what it says unasked, `on_lost` the reason why the port is gone."""

    def __init__(
        self,
        name: str,
        open_line: OpenByteLine,
        on_told: Callable[[Message], None],
        on_lost: Callable[[PortLost], None],
    ) -> None:
        self.name = name
        self._open_line, self._on_told, self._on_lost = open_line, on_told, on_lost
        self._line: ByteLine | None = None
        self._engine = JsprEngine()
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    @property
    def is_open(self) -> bool:
        """Whether the port is there."""
        return self._line is not None

    def open(self, address: str, baudrate: int) -> None:
        """Open the port; raises as `open_byte_line`."""
        if self._line is None:
            self._engine = JsprEngine()
            self._line = self._open_line(address, baudrate, self._data, self._gone)

    def close(self) -> None:
        """Let go of the port; whoever waits for a reply gets `Closed`."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self.interrupt(Closed(f"the driver of {self.name} was closed"))

    def interrupt(self, why: RataccessError) -> None:
        """Whoever waits for a reply gets `why`."""
        for future in tuple(self._waiting.values()):
            if not future.done():
                future.set_exception(why)

    async def ask(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, limit: float = REPLY_LIMIT
    ) -> Message:
        """The reply, whatever its code.  Raises `RadioSilent`, `PortLost` or `Closed`."""
        if self._line is None:
            raise Closed(f"the port of {self.name} is not open")
        request = Request(method, target, body or {})
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[id(request)] = future
        try:
            self._handle(self._engine.ask(request))
            async with asyncio.timeout(limit):
                return await future
        except TimeoutError as error:
            raise RadioSilent(f"{self.name}: no answer to {method} {target} within {limit:g} s") from error
        finally:
            del self._waiting[id(request)]
            if not future.done() or future.cancelled() or future.exception() is not None:
                self._handle(self._engine.expire(request))

    async def get(self, target: str) -> Message:
        """`GET`, asked again where a line was spoilt; raises `CommandFailed` for any code but 200, and as `ask`."""
        return await self._sure("GET", target, {}, ())

    async def put(self, target: str, body: Mapping[str, Any], *, fine: Sequence[int] = ()) -> Message:
        """`PUT` of a setting, which may be said again; codes in `fine` are as good as 200."""
        return await self._sure("PUT", target, body, fine)

    async def _sure(self, method: str, target: str, body: Mapping[str, Any], fine: Sequence[int]) -> Message:
        told = await self.insist(method, target, body)
        if told.code != 200 and told.code not in fine:
            raise CommandFailed(f"{self.name}: {method} {target} was answered with {told}", told.code)
        return told

    async def insist(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Message:
        """The reply, asked for again where a line was spoilt on its way; raises as `ask`."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(RadioSilent):
                told = await self.ask(method, target, body)
                if told.code not in _SPOILT:
                    return told
        return await self.ask(method, target, body)

    def put_at_once(self, target: str, body: Mapping[str, Any]) -> None:
        """`PUT` before anything else that waits; nobody waits for its reply but the line."""
        request = Request("PUT", target, body)
        self._handle(self._engine.ask(request, urgent=True))
        asyncio.get_running_loop().call_later(REPLY_LIMIT, self._expire, request)

    def _expire(self, request: Request) -> None:
        self._handle(self._engine.expire(request))

    # --- what the port says -------------------------------------------------------------------------------------------

    def _data(self, data: bytes) -> None:
        self._handle(self._engine.receive(data))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Write):
                if self._line is not None:
                    self._line.write(event.data)
            elif isinstance(event, Told):
                self._on_told(event.message)
            elif isinstance(event, Replied):
                future = self._waiting.get(id(event.request))
                if future is not None and not future.done():
                    future.set_result(event.message)

    def _gone(self, why: OSError | str) -> None:
        self._line = None
        lost = PortLost(f"the port of {self.name} is gone: {why}")
        self.interrupt(lost)
        self._on_lost(lost)
