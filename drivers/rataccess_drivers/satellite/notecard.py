"""The driver of Blues Notecards and Starnotes: a packet is a note with a binary payload in a file with a compact template.

Rules of this file: notes out and in.  The Notecard itself is in `notecard_card`, bytes and pauses in `notecard_bus`, CRC and
retries in `notecard_console`, who is told what of a message in `base`.

Nothing twice: a note is added once, and never by asking again.  Before that it is on disk how many notes wait in the file;
where the reply was lost, one more of them says that it was added.  In mode `minimum` the file empties only when the driver
says so: where none of its synchronisations ran meanwhile, no more of them says that it was not.  Otherwise a note whose
addition nobody saw counts as one that may be there, or have left.

Evidence: PORT the bus is open, RADIO the Notecard answers, REGISTERED its network is gone, BEARER it takes notes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from typing import Any

from rataccess.driver import DriverContext, RadioMessage
from rataccess.errors import Closed, CommandFailed, DriverError, NotNow, StoreError
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.satellite.base import LOOK_AGAIN, log
from rataccess_drivers.satellite.kept import Attempt, Outcome, digest
from rataccess_drivers.satellite.notecard_bus import I2cBus, I2cDevice, NotecardBus, SerialBus, Worker, open_smbus
from rataccess_drivers.satellite.notecard_card import QUICK, NotecardCard
from rataccess_drivers.satellite.notecard_console import Unsure
from rataccess_drivers.satellite.notecard_options import NotecardOptions
from rataccess_drivers.satellite.notecard_wire import Trouble, tags, trouble

__all__ = ["NotecardDriver", "NotecardOptions"]

# Looks at a note on its way: soon at first, for Wi-Fi; seldom after that, for satellites.
WATCH = (1.0, 2.0, 4.0, 8.0, 15.0)
SLACK = 2.0
"""Seconds by which a Notecard's seconds and ours may differ."""
ADDED = "added"
"""Mark of an attempt whose note is in the Notecard."""


class NotecardDriver(NotecardCard):
    """One Notecard.  `MovesMessages`, `KnowsTime` and `LocatesItself`."""

    options_type = NotecardOptions
    transports = ("notecard",)

    def __init__(
        self,
        options: NotecardOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        open_bus: Callable[[int | str], I2cDevice] = open_smbus,
        worker: Worker | None = None,
    ) -> None:
        ntn = options.method is None or "ntn" in options.method
        hints = Hints(
            rat="notecard",
            mtu=options.mtu,
            downlink=Downlink.ON_SESSION,
            response_time=120.0 if ntn else 20.0,
            acknowledges_handover=True,
            unit=options.unit,
            overhead=options.overhead if options.unit is Unit.BYTE else 0,
            compact=True,
        )
        self._ways = (open_line, open_bus, worker)
        super().__init__(options, context, hints)

    def __repr__(self) -> str:
        where = self.identity.get("device") or self.options.port or f"i2c {self.options.i2c}"
        return f"<NotecardDriver {self.name} {where}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> NotecardDriver:
        """See `Driver.create`."""
        return cls(options, context)

    def _make_bus(self) -> NotecardBus:
        options, (open_line, open_bus, worker) = self.options, self._ways
        if options.i2c is None:
            return SerialBus(self.name, options.port or "", options.baudrate, open_line, self._break)
        return I2cBus(self.name, options.i2c, options.address, options.chunk, open_bus, self._break, worker)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes) -> Handover | None:
        if not self._network:
            raise NotNow(f"{self.name}: {self._why}", self._penalty or LOOK_AGAIN)
        attempt = self._attempts.find(data)
        if attempt is None or attempt.reference != ADDED:
            attempt = await self._add(data)
        with contextlib.suppress(CommandFailed):  # a Notecard in its penalty box says so; the note waits there
            await self._console.ask({"req": "hub.sync"})
        if not await self._gone():
            self._attempts.forget(attempt)
            return None
        self._attempts.change(attempt, outcome=Outcome.ACCEPTED, reference=_reference(attempt))
        return Handover(_reference(attempt))

    async def _add(self, data: bytes) -> Attempt:
        before = await self._queued()
        if before >= self.options.most_queued:
            with contextlib.suppress(CommandFailed):  # in mode `minimum` nobody else has them sent
                await self._console.ask({"req": "hub.sync"})
            raise NotNow(f"{self.name}: {before} notes wait in the Notecard", 60.0)
        if (earlier := self._attempts.unfinished) is not None:  # its end will not be seen, but the Notecard has it
            self._attempts.change(earlier, outcome=Outcome.ACCEPTED, reference=_reference(earlier))
        attempt = Attempt(digest(data), before, self.identity.get("device", ""), self._context.clock.wall())
        self._attempts.begin(attempt)
        note = {"req": "note.add", "file": self.options.outbox, "payload": base64.b64encode(data).decode("ascii")}
        try:
            await self._console.ask(note, once=True)
        except Unsure as error:
            found = await self._resolve(attempt)
            if found is None or found.outcome is Outcome.DOUBTFUL:
                raise NotNow(f"{self.name}: {error}", 5.0) from error
            return found
        except CommandFailed as error:
            self._attempts.forget(attempt)
            if trouble(str(error)) is Trouble.SETTINGS:
                raise
            raise NotNow(str(error), 60.0) from error
        return self._attempts.change(attempt, reference=ADDED)

    async def _queued(self) -> int:
        """Notes that wait in the file."""
        told = await self._console.ask({"req": "file.changes.pending"}, limit=QUICK)
        info = told.get("info")
        mine = info.get(self.options.outbox) if isinstance(info, dict) else None
        total = mine.get("total", mine.get("changes")) if isinstance(mine, dict) else 0
        return total if isinstance(total, int) and total > 0 else 0

    async def _gone(self) -> bool:
        """Watch the file until nothing waits in it any more; notes go in the order in which they were added."""
        loop = asyncio.get_running_loop()
        end, look = loop.time() + self.options.sync_timeout, 0
        while True:
            await asyncio.sleep(WATCH[min(look, len(WATCH) - 1)])
            look += 1
            if not await self._queued():
                return True
            if loop.time() >= end:
                return False

    async def _account(self) -> None:
        """Find out whether the note that an earlier process was adding is there."""
        attempt = self._attempts.unfinished
        if attempt is None or attempt.reference == ADDED:
            return
        if attempt.radio != self.identity.get("device", ""):
            self._attempts.forget(attempt)
        else:
            await self._resolve(attempt)

    async def _resolve(self, attempt: Attempt) -> Attempt | None:
        """After an addition that nobody saw: the attempt as it stands now, or `None` where there is no note."""
        now = await self._queued()
        if now > attempt.number:
            return self._attempts.change(attempt, reference=ADDED)
        if self.options.mode == "minimum" and now == attempt.number and await self._undisturbed(attempt):
            self._attempts.forget(attempt)
            return None
        return self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)

    async def _undisturbed(self, attempt: Attempt) -> bool:
        """Whether no note can have left the file since: no synchronisation runs, and none has ended."""
        told = await self._console.ask({"req": "hub.sync.status"}, limit=QUICK)
        status, ended = str(told.get("status") or ""), told.get("completed")
        runs = bool(status) and not status.startswith(("completed", "waiting")) and "sync-end" not in tags(status)
        since = self._context.clock.wall() - attempt.begun
        return not runs and since >= 0 and not (isinstance(ended, int | float) and ended <= since + SLACK)

    # --- receiving ----------------------------------------------------------------------------------------------------

    async def _keep_polling(self) -> None:
        """Fetch what has come, and see how the Notecard is; have it look for more where that is wanted."""
        loop = asyncio.get_running_loop()
        every = self.options.check_every
        check_at = loop.time() + (every or 0.0)
        while True:
            try:
                if self._trouble is None:
                    await self._fetch()
                    await self._look()
                    if every is not None and loop.time() >= check_at:
                        check_at = loop.time() + every
                        await self._console.ask({"req": "hub.sync", "in": True})
            except (CommandFailed, StoreError) as error:
                log.warning("%s", error)
            except (DriverError, Closed) as error:  # a recovery closes the bus under a request
                self._break(error)
            await asyncio.sleep(self.options.poll_every)

    async def _fetch(self) -> None:
        """Every note in the file: looked at, kept, and only then taken out."""
        request = {"req": "note.get", "file": self.options.inbox}
        while not self._inbox.full:
            try:
                seen = await self._console.ask(request)
                self._keep(seen)
                taken = await self._console.ask({**request, "delete": True}, once=True)
            except Unsure:
                return  # the next look tells whether it was taken out
            except CommandFailed as error:
                if trouble(str(error)) is Trouble.NOTHING:
                    return
                raise
            self._keep(taken)  # the same, unless somebody else reads this file too
            self._inbox.taken()

    def _keep(self, note: dict[str, Any]) -> None:
        try:
            data = base64.b64decode(str(note.get("payload") or ""), validate=True)
        except ValueError:
            data = b""
        if data:
            time = note.get("time")
            mark = [self.identity.get("device", ""), time if isinstance(time, int) else 0, digest(data)]
            self._inbox.arrived(mark, RadioMessage(data))
        else:
            log.warning("%s: a note without a payload in %s is dropped", self.name, self.options.inbox)


def _reference(attempt: Attempt) -> str:
    """Notes in a queue have no number: the Notecard's, and when the note was added."""
    return f"{attempt.radio} {attempt.begun:.0f}"
