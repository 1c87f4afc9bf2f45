"""The driver that stands for `InterfaceDriver` where the access point is a relay on loopback.

Rules of this file: it learns of carrier over the access point's control socket and tells of it just as the kernel's events
make `InterfaceDriver` tell; nothing of it is ever needed by a real device.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.driver import Bearer, Driver, DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import AttachFailed, Closed, PortLost, RadioNotFound, RadioSilent

ANSWER_LIMIT = 5.0
"""Seconds for the access point's answer: it is on this machine."""


class VirtualInterfaceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which access point."""

    control: Annotated[str, Meta(min_length=1)]
    """Path of its control socket."""
    rat: str = "wifi"
    interface: str | None = "lo"
    """What the bearer says; sockets are bound to it."""
    address: str = "127.0.0.1"
    attach_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds to wait for carrier."""


class VirtualInterfaceDriver(Driver):
    """An interface whose carrier is a word over a UNIX socket."""

    options_type = VirtualInterfaceOptions
    transports = ("udp",)

    def __init__(self, options: VirtualInterfaceOptions) -> None:
        super().__init__()
        self.options = options
        self._state: dict[str, Any] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: list[asyncio.Future[None]] = []
        self._moved = asyncio.Event()
        self._told = RadioStatus(Evidence.NONE)
        self._closed = True

    def __repr__(self) -> str:
        return f"<VirtualInterfaceDriver {self.options.control} {self._status().evidence.name}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> VirtualInterfaceDriver:
        """See `Driver.create`."""
        return cls(options)

    async def open(self) -> None:
        """See `Driver.open`; raises `RadioNotFound` where no access point listens."""
        if self._task is not None:
            return
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                reader, self._writer = await asyncio.open_unix_connection(self.options.control)
        except OSError as error:  # TimeoutError too
            raise RadioNotFound(f"no virtual access point listens at {self.options.control}") from error
        self._closed = False
        self._task = asyncio.create_task(self._listen(reader))
        try:
            await self._ask(watch=True)
        except BaseException:
            await self.aclose()
            raise
        self._told = self._status()

    async def attach(self) -> Bearer:
        """Wait for carrier.  Raises `AttachFailed` or `PortLost`."""
        try:
            async with asyncio.timeout(self.options.attach_timeout):
                while not self._carrier():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise AttachFailed("the virtual access point gives no carrier") from error
        assert self._state is not None
        return Bearer(self.options.rat, self.options.interface, (self.options.address,), self._state["mtu"])

    async def status(self) -> RadioStatus:
        """See `Driver.status`; asks the access point now."""
        self._carrier()
        await self._ask()
        return self._status()

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._closed = True
        self._moved.set()
        task, self._task = self._task, None
        writer, self._writer = self._writer, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._state = None

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Only a look whether the access point is there, as `InterfaceDriver` has."""
        return (Recovery("re-read interface", self._reread, deadline=2 * ANSWER_LIMIT),)

    async def _reread(self) -> None:
        try:
            _, writer = await asyncio.open_unix_connection(self.options.control)
        except OSError as error:
            raise RadioNotFound(f"no virtual access point listens at {self.options.control}") from error
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    # --- the conversation ---------------------------------------------------------------------------------------------

    async def _ask(self, **request: Any) -> None:
        if self._writer is None:
            raise Closed("the virtual interface is not open")
        answered = asyncio.get_running_loop().create_future()
        self._answers.append(answered)
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                self._writer.write(json.dumps(request).encode() + b"\n")
                await answered
        except TimeoutError as error:
            raise RadioSilent("the virtual access point does not answer") from error

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        self._state = None
        self._changed()
        for answered in self._answers:
            if not answered.done():
                answered.set_exception(PortLost("the virtual access point is gone"))
        self._answers.clear()

    def _take(self, answer: dict[str, Any]) -> None:
        self._state = answer
        self._changed()
        if not answer.get("event") and self._answers:
            answered = self._answers.pop(0)
            if not answered.done():
                answered.set_result(None)

    # --- what is known ------------------------------------------------------------------------------------------------

    def _carrier(self) -> bool:
        if self._closed:
            raise Closed("the virtual interface is not open")
        if self._state is None:
            raise PortLost("the virtual access point is gone")
        return bool(self._state["carrier"])

    def _status(self) -> RadioStatus:
        if self._state is None:
            return RadioStatus(Evidence.NONE, "the virtual access point is gone", rat=self.options.rat)
        if not self._state["carrier"]:
            return RadioStatus(Evidence.RADIO, "no carrier", rat=self.options.rat)
        return RadioStatus(Evidence.BEARER, f"carrier, {self.options.address}", rat=self.options.rat)

    def _changed(self) -> None:
        status = self._status()
        if status != self._told and not self._closed and self._told.evidence is not Evidence.NONE:
            self.announce(status)
        self._told = status
        self._moved.set()
