"""One driver and, while attached, one transport: opened, used and closed within limits.

Rules of this file: no decision and no retry (`Link` does that).  Here is the edge at which whatever a driver or transport
raises becomes one of our errors: a foreign exception is logged with its traceback and becomes `DriverDefect`, a limit
that passes becomes `RadioSilent` or `TransportBroken`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rataccess.driver import Allowance, Bearer, Charges, Driver, RadioStatus, Rationed, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    DriverError,
    RadioSilent,
    RataccessError,
    ServiceRefused,
    TransientError,
    TransportBroken,
    TransportError,
)
from rataccess.link.timing import LinkTiming
from rataccess.transport import Hints, Packet, Transport

log = logging.getLogger("rataccess.link")

T = TypeVar("T")


class DriverDefect(DriverError, TransientError):
    """A driver or transport raised something that is no `RataccessError`."""


class Session:
    """What a link holds open."""

    def __init__(
        self,
        name: str,
        timing: LinkTiming,
        make_driver: Callable[[], Driver],
        make_transport: Callable[[Driver, Bearer], Transport],
    ) -> None:
        self._name = name
        self._timing = timing
        self._make_driver = make_driver
        self._make_transport = make_transport
        self._driver: Driver | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._undo_status: Callable[[], None] = _nothing
        self._undo_hints: Callable[[], None] = _nothing
        self.driver_open = False
        self.transport: Transport | None = None

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """The rungs of the driver made last."""
        try:
            return tuple(self._driver.recoveries) if self._driver is not None else ()
        except Exception:
            log.exception("link %s: the driver does not tell its recoveries", self._name)
            return ()

    def allowances(self) -> Sequence[Allowance]:
        """Of the driver made last, where it is `Rationed`."""
        try:
            return tuple(self._driver.allowances()) if isinstance(self._driver, Rationed) else ()
        except Exception:
            log.exception("link %s: the driver does not tell its allowances", self._name)
            return ()

    async def open(self, on_status: Callable[[RadioStatus], None], on_charge: Callable[[int], None]) -> None:
        """Make a driver and open it; as `Driver.open`, and closed again where it fails."""
        await self.aclose()
        try:
            driver = await self._limited(
                "opening the driver", self._timing.open_limit, lambda: self._opened_driver(on_charge)
            )
        except RataccessError as error:
            await self.aclose()
            if isinstance(error, TransportError):
                raise DriverDefect(f"opening the driver: {error}") from error
            raise
        self.driver_open = True
        self._undo_status = driver.on_status(on_status)

    async def _opened_driver(self, on_charge: Callable[[int], None]) -> Driver:
        self._driver = self._make_driver()
        if isinstance(self._driver, Charges):
            self._driver.on_charge(on_charge)  # for as long as it lives: what is on the air while it closes counts too
        await self._driver.open()
        return self._driver

    async def attach(self) -> Bearer:
        """As `Driver.attach`."""
        try:
            return await self._limited("attaching", self._timing.attach_limit, self._held().attach)
        except TransportError as error:  # the wrong tree for a driver; what it means is clear
            raise AttachFailed(str(error), getattr(error, "retry_after", None)) from error

    async def status(self, limit: float) -> RadioStatus:
        """As `Driver.status`, within `limit` seconds."""
        return await self._limited("asking for status", limit, self._held().status)

    async def start(self, bearer: Bearer, on_hints: Callable[[Hints], None]) -> Transport:
        """Make a transport for `bearer` and open it; `TransportBroken` where it does not within its limit."""
        try:
            return await self._limited(
                "opening the transport", self._timing.start_limit, lambda: self._opened_transport(bearer, on_hints)
            )
        except (RadioSilent, Closed) as error:
            raise TransportBroken(str(error)) from error

    async def _opened_transport(self, bearer: Bearer, on_hints: Callable[[Hints], None]) -> Transport:
        transport = self.transport = self._make_transport(self._held(), bearer)
        self._undo_hints = transport.on_hints(on_hints)
        await transport.open()
        return transport

    def receive(
        self,
        transport: Transport,
        on_packet: Callable[[Packet], None],
        on_refused: Callable[[ServiceRefused], None],
        on_end: Callable[[RataccessError], None],
    ) -> None:
        """Receive in a task of its own until the transport ends, which is told to `on_end`."""

        async def run() -> None:
            while True:
                try:
                    packet = await transport.receive()
                except ServiceRefused as refused:
                    on_refused(refused)
                    await asyncio.sleep(0)  # a transport that only ever refuses must not keep the loop for itself
                except RataccessError as error:
                    return on_end(error if isinstance(error, DriverError) else _broken(error))
                except asyncio.CancelledError as error:
                    if _cancelled_from_outside():
                        raise
                    return on_end(_broken(error))
                except Exception as error:
                    log.exception("link %s: receiving failed in an unforeseen way", self._name)
                    return on_end(_broken(error))
                else:
                    on_packet(packet)

        transport.deliver_to(on_packet)
        self._receiving = asyncio.get_running_loop().create_task(run(), name=f"rataccess link {self._name} receive")

    async def run(self, rung: Recovery) -> None:
        """Run one rung and close everything; whatever fails is raised as `RataccessError`.

        The transport is closed before; the driver is as it was left: open, or closed where opening it failed.
        """
        await self.close_transport()
        try:
            await self._limited(rung.name, rung.deadline, rung.run)
        finally:
            await self.aclose()

    async def close_transport(self) -> None:
        """End receiving and close the transport; logs what fails.  Cancelled on its way, it can be called again."""
        undo, self._undo_hints = self._undo_hints, _nothing
        undo()
        receiving, transport = self._receiving, self.transport
        try:
            if transport is not None:
                transport.deliver_to(None)
            if receiving is not None:
                receiving.cancel()
                await asyncio.wait({receiving}, timeout=self._timing.close_limit)
                self._receiving = None
        finally:
            if transport is not None:
                await self._closed("transport", transport.aclose)
                self.transport = None

    async def aclose(self) -> None:
        """Close transport and driver within their limits; idempotent.  The driver is kept for its recoveries."""
        undo, self._undo_status = self._undo_status, _nothing
        undo()
        self.driver_open = False
        try:
            await self.close_transport()
        finally:
            if self._driver is not None:
                await self._closed("driver", self._driver.aclose)

    def _held(self) -> Driver:
        if self._driver is None:
            raise Closed(f"link {self._name} has no driver open")
        return self._driver

    async def _closed(self, what: str, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._limited(f"closing the {what}", self._timing.close_limit, close)
        except RataccessError as error:
            log.warning("link %s: %s", self._name, error)

    async def _limited(self, what: str, limit: float, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` returns; raises `RataccessError` only, and `RadioSilent` after `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                return await call()
        except RataccessError:
            raise
        except TimeoutError as error:
            raise RadioSilent(f"{what} took longer than {limit:g} s") from error
        except asyncio.CancelledError as error:
            if _cancelled_from_outside():
                raise
            raise DriverDefect(f"{what} was cancelled by itself") from error
        except Exception as error:
            log.exception("link %s: %s failed in an unforeseen way", self._name, what)
            raise DriverDefect(f"{what} raised {type(error).__name__}: {error}") from error


def _nothing() -> None:
    pass


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _broken(error: BaseException) -> TransportBroken:
    if isinstance(error, TransportBroken):
        return error
    broken = TransportBroken(f"the transport ended: {error}")
    broken.__cause__ = error
    return broken
