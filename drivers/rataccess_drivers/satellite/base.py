"""What all radios that move messages through a satellite network have in common, as drivers.

Rules of this file: no radio is known here.  A message on its way is one task of its own: whoever asked for it may be
cancelled, the message goes on to its end, for nobody can take back what is in the air.  Nothing is tried again: `NotNow`
says when it is worth it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from rataccess.driver import Driver, DriverContext, RadioMessage, RadioStatus
from rataccess.errors import (
    Closed,
    DriverError,
    NotNow,
    ObjectError,
    PacketTooLarge,
    PortLost,
    RataccessError,
    StoreError,
    TransportBroken,
)
from rataccess.transport import Handover, Hints
from rataccess_drivers.satellite.announcing import Announcer
from rataccess_drivers.satellite.kept import Attempts, Inbox, Outcome

log = logging.getLogger("rataccess.satellite")

LOOK_AGAIN = 15.0
"""Seconds after which a radio that is busy, or sees no satellite, is looked at again."""


class SatelliteRadio(Driver, ABC):
    """Messages, hints and trouble of one radio."""

    def __init__(self, context: DriverContext, hints: Hints) -> None:
        super().__init__()
        self.name, self._context = context.name, context
        key = f"driver/{context.name}"
        self._attempts = Attempts(context.memory, f"{key}/attempts")
        self._inbox = Inbox(context.memory, f"{key}/inbox")
        self._announcer = Announcer(hints, self._tell_slot)
        self._open = self._attached = False
        self._trouble: RataccessError | None = None
        self._changed = asyncio.Event()
        self._sending: asyncio.Task[Handover | None] | None = None
        self._sending_data = b""
        self._loss: asyncio.TimerHandle | None = None

    # --- for subclasses -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _port_open(self) -> bool:
        """Whether the bus is there."""

    @abstractmethod
    def _status(self) -> RadioStatus:
        """What is known now."""

    @abstractmethod
    async def _send(self, data: bytes) -> Handover | None:
        """Move one message; raises what `send_message` may, or a `DriverError` where the radio failed."""

    @property
    @abstractmethod
    def _visible(self) -> bool:
        """Whether the radio sees its network."""

    @property
    def _wait(self) -> float:
        """Seconds until a message may be sent again, as far as it does not depend on the sky."""
        return 0.0

    # --- messages -----------------------------------------------------------------------------------------------------

    @property
    def message_hints(self) -> Hints:
        """See `MovesMessages`."""
        return self._announcer.hints

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages`."""
        return self._announcer.on_hints(callback)

    async def send_message(self, message: RadioMessage) -> Handover | None:
        """See `MovesMessages`; takes up to minutes.

        The radio has no ports: that of `message` is not sent.  A message that the network took while nobody was told is not
        sent again: it gets its handover now.  One that the network may have, with no way to know, is refused with
        `TransportBroken`.  A message is the same where its bytes are.
        """
        data = message.data
        if not data:
            raise ObjectError(f"{self.name} has no empty messages: send at least one byte")
        if len(data) > self.message_hints.mtu:
            raise PacketTooLarge(len(data), self.message_hints.mtu)
        self._check_usable()
        earlier = self._attempts.find(data)
        if earlier is not None and earlier.outcome is Outcome.DOUBTFUL:
            raise TransportBroken(f"{self.name}: the network may have this very message; it is not sent again")
        try:
            handover = await self._once(data)
        except (DriverError, TransportBroken) as error:
            self._break(error)
            raise TransportBroken(str(error)) from error
        except StoreError as error:
            raise NotNow(f"{self.name} sends nothing that it cannot keep a note of: {error}", LOOK_AGAIN) from error
        finally:
            self._tell_slot()
        if (attempt := self._attempts.find(data)) is not None and attempt.outcome is Outcome.ACCEPTED:
            self._attempts.forget(attempt)  # told
        return handover

    async def _once(self, data: bytes) -> Handover | None:
        """The task for `data`: the one that runs already, or a new one."""
        running = self._sending
        if running is not None and not running.done():
            if self._sending_data != data:
                raise NotNow(f"{self.name} is sending another message", LOOK_AGAIN)
            return await self._until_done(running)
        attempt = self._attempts.find(data)
        if attempt is not None and attempt.outcome is Outcome.ACCEPTED:
            return Handover(attempt.reference)
        task = asyncio.get_running_loop().create_task(self._send(data), name=f"rataccess {self.name} message")
        task.add_done_callback(lambda each: each.cancelled() or each.exception())
        self._sending, self._sending_data = task, data
        return await self._until_done(task)

    async def _until_done(self, task: asyncio.Task[Handover | None]) -> Handover | None:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._open:
                raise Closed(f"the driver of {self.name} was closed") from None
            if self._attempts.unfinished is None:  # nothing of it is in the air yet
                task.cancel()
            raise

    async def receive_message(self) -> RadioMessage:
        """See `MovesMessages`; `port` is 0.  Each message is returned once, also across restarts."""
        return await self._inbox.receive()

    # --- trouble and the sky ------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is not open")
        if not self._port_open:
            raise PortLost(str(self._trouble or f"the port of {self.name} is gone"))

    def _check_usable(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is not open")
        if self._trouble is not None or not self._port_open:
            raise TransportBroken(str(self._trouble or f"the port of {self.name} is gone"))

    def _break(self, error: RataccessError) -> None:
        """The radio cannot be used until it was set up again; told once."""
        if self._trouble is not None and not isinstance(error, PortLost):
            return
        self._trouble = error
        self._attached = False
        self._changed.set()
        self._inbox.close(TransportBroken(str(error)))
        if self._open:
            self.announce(self._status())

    def _look_at_sky(self, patience: float) -> None:
        """The link is told of a sky that stays away for `patience` seconds, not of each satellite that sets."""
        self._changed.set()
        self._tell_slot()
        if self._visible and self._loss is not None:
            self._loss.cancel()
            self._loss = None
        elif not self._visible and self._attached and self._loss is None:
            self._loss = asyncio.get_running_loop().call_later(patience, self._sky_lost)

    def _sky_lost(self) -> None:
        self._loss = None
        if self._open and self._attached and not self._visible:
            self._attached = False
            self.announce(self._status())

    def _tell_slot(self) -> None:
        """Hints say when the next message makes sense."""
        wait = max(self._wait, 0.0 if self._visible else LOOK_AGAIN)
        self._announcer.slot(wait if self._open else 0.0)

    async def _changes(self, limit: float) -> None:
        """Until something was heard, at most `limit` seconds."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), limit)
        self._check_open()

    # --- closing ------------------------------------------------------------------------------------------------------

    def _stop(self) -> bool:
        """The first half of closing: nothing new begins; whether the driver was open."""
        was_open, self._open = self._open, False
        self._attached = False
        self._changed.set()
        self._announcer.close()
        if self._loss is not None:
            self._loss.cancel()
            self._loss = None
        self._inbox.close(Closed(f"the driver of {self.name} was closed"))
        return was_open

    async def _end(self, *tasks: asyncio.Task[None] | None) -> None:
        """The second half: no task is left."""
        for task in (*tasks, self._sending):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
