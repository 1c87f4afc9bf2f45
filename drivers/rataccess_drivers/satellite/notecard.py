"""The driver of Blues Notecards and Starnotes: a packet is a note with a binary payload in a file with a compact template.

Rules of this file: which requests in which order, and what follows.  Bytes and pauses are in `notecard_bus`, CRC and retries
in `notecard_console`, who is told what of a message in `base`.

Nothing twice: a note is added once, and never by asking again.  Before that it is on disk how many notes wait in the file;
where the reply was lost, one more of them says that it was added.  In mode `minimum` the file empties only when the driver
says so, which makes that count exact; in other modes a note whose addition nobody saw counts as one that may be there.

Evidence: PORT the bus is open, RADIO the Notecard answers, REGISTERED its network is gone, BEARER it takes notes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from rataccess.driver import Bearer, DriverContext, Evidence, Fix, RadioMessage, RadioStatus, Recovery
from rataccess.errors import AttachFailed, CommandFailed, DriverError, NotNow, RadioSilent, WrongRadio
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.satellite.base import LOOK_AGAIN, SatelliteRadio, log
from rataccess_drivers.satellite.kept import Attempt, Outcome, digest
from rataccess_drivers.satellite.notecard_bus import I2cBus, I2cDevice, NotecardBus, SerialBus, Worker, open_smbus
from rataccess_drivers.satellite.notecard_console import NotecardConsole, Unsure
from rataccess_drivers.satellite.notecard_options import NotecardOptions
from rataccess_drivers.satellite.notecard_wire import TAGS, Trouble, tags, trouble

__all__ = ["NotecardDriver", "NotecardOptions"]

# Looks at a note on its way: soon at first, for Wi-Fi; seldom after that, for satellites.
WATCH = (1.0, 2.0, 4.0, 8.0, 15.0)
QUICK = 10.0
PENALTY = 300.0
# A Notecard gives a search for its network about this long (unverified).
NETWORK_LIMIT = 60.0
ADDED = "added"
"""Mark of an attempt whose note is in the Notecard."""


class NotecardDriver(SatelliteRadio):
    """One Notecard.  `MovesMessages`, `KnowsTime` and `LocatesItself`."""

    options_type = NotecardOptions

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
            unit=Unit.MESSAGE,
            compact=True,
        )
        super().__init__(context, hints)
        self.options = options
        self.identity: dict[str, str] = {}
        """What `card.version` says; empty until the Notecard was asked."""
        bus: NotecardBus
        if options.i2c is not None:
            bus = I2cBus(context.name, options.i2c, options.address, options.chunk, open_bus, self._break, worker)
        else:
            bus = SerialBus(context.name, options.port or "", options.baudrate, open_line, self._break)
        self._console = NotecardConsole(context.name, bus)
        self._poll: asyncio.Task[None] | None = None
        self._network = True
        self._why = ""
        self._penalty = 0.0

    def __repr__(self) -> str:
        where = self.identity.get("device") or self.options.port or f"i2c {self.options.i2c}"
        return f"<NotecardDriver {self.name} {where}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> NotecardDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`."""
        if self._open:
            return
        self._attempts.load()
        try:
            await self._set_up()
        except BaseException:
            await self.aclose()
            raise
        self._open = True

    async def _set_up(self) -> None:
        await self._console.open()
        try:
            told = await self._console.ask({"req": "card.version"}, limit=QUICK)
        except CommandFailed as error:
            raise WrongRadio(f"{self.name}: what answers is no Notecard: {error}") from error
        if "version" not in told:
            raise WrongRadio(f"{self.name}: what answers is no Notecard: {str(told)[:80]}")
        self.identity = {name: str(told[name]) for name in ("device", "sku", "version", "name") if name in told}
        self._inbox.load()
        self._trouble = None

    async def aclose(self) -> None:
        """See `Driver.aclose`.  A note that the Notecard has goes its way."""
        self._stop()
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.cancel()
        if self._sending is not None:
            self._sending.cancel()
        await self._end(poll)
        await self._console.bus.aclose()

    # --- attaching ----------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`: settings, files and templates; notes wait in the Notecard while it has no network.

        Raises `AttachFailed` with what is missing, or while the Notecard itself waits because it found no network.
        """
        self._check_open()
        if self._trouble is not None:
            await self._set_up()
        if self._attached:
            return Bearer("notecard")
        try:
            await self._configure()
            await self._look_for_network()
        except CommandFailed as error:
            raise AttachFailed(str(error), PENALTY if trouble(str(error)) is Trouble.SETTINGS else None) from error
        if not self._network:
            raise AttachFailed(f"{self.name}: no network: {self._why}", self._penalty or 60.0)
        await self._settle()
        self._attached = True
        if self._poll is None or self._poll.done():
            self._poll = asyncio.get_running_loop().create_task(
                self._keep_polling(), name=f"rataccess {self.name} poll"
            )
        self._tell_slot()
        return Bearer("notecard")

    async def _look_for_network(self) -> None:
        """Where the last synchronisation found no network, have the Notecard try again and see how that goes.

        Its own patience with networks that refuse it (its penalty box) is respected.
        """
        await self._look()
        if not self._network:
            await self._console.ask({"req": "hub.sync"})
        end = asyncio.get_running_loop().time() + NETWORK_LIMIT
        while not self._network and asyncio.get_running_loop().time() < end:
            await self._changes(QUICK)
            await self._look()

    async def _configure(self) -> None:
        options = self.options
        wanted: dict[str, Any] = {"req": "hub.set", "mode": options.mode}
        named = {"product": options.product or None, "outbound": options.outbound, "inbound": options.inbound}
        await self._console.ask({**wanted, **{name: value for name, value in named.items() if value is not None}})
        if options.method is not None:
            method: dict[str, Any] = {"req": "card.transport", "method": options.method}
            await self._console.ask(
                {**method, **({"seconds": options.method_seconds} if options.method_seconds else {})}
            )
        if options.method is not None and "ntn" in options.method:
            await self._console.ask({"req": "ntn.status"}, limit=QUICK)
        template = {"req": "note.template", "format": "compact"}
        await self._console.ask(
            {**template, "file": options.outbox, "port": options.outbox_port, "length": options.mtu}
        )
        try:  # only what comes over a satellite needs one, and not every firmware takes one for this kind of file
            await self._console.ask({**template, "file": options.inbox, "port": options.inbox_port})
        except CommandFailed as error:
            log.info("%s: no template for %s: %s", self.name, options.inbox, error)

    async def _settle(self) -> None:
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
        if self.options.mode == "minimum" and now == attempt.number:
            self._attempts.forget(attempt)
            return None
        return self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`."""
        self._check_open()
        with contextlib.suppress(CommandFailed):
            await self._look()
        status = self._status()
        with contextlib.suppress(CommandFailed):
            told = await self._console.ask({"req": "card.wireless"}, limit=QUICK)
            net = told.get("net")
            if isinstance(net, dict):
                level = net.get("rsrp", net.get("rssi"))
                signal = float(level) if isinstance(level, int | float) else None
                return RadioStatus(
                    status.evidence, status.detail, f"notecard {net.get('rat') or ''}".strip(), None, signal
                )
        return status

    async def _look(self) -> None:
        """Ask how the last synchronisation went: while the Notecard finds no network it says for how long it waits."""
        told = await self._console.ask({"req": "hub.sync.status"}, limit=QUICK)
        text = f"{told.get('status') or ''}{told.get('mode') or ''}"
        lost = [tag for tag in tags(text) if TAGS.get(tag) is Trouble.NO_NETWORK]
        seconds = told.get("seconds")
        self._penalty = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 0.0
        self._network = not (lost and self._penalty)
        self._why = str(told.get("status") or "")
        self._look_at_sky(0.0)

    def _status(self) -> RadioStatus:
        if not self._port_open:
            return RadioStatus(Evidence.NONE, str(self._trouble or "the bus is not open"), rat="notecard")
        if self._trouble is not None:
            return RadioStatus(Evidence.PORT, str(self._trouble), rat="notecard")
        if self._attached and self._network:
            return RadioStatus(Evidence.BEARER, self._why.replace("\n", " "), rat="notecard")
        return RadioStatus(Evidence.RADIO, self._why.replace("\n", " "), rat="notecard")

    @property
    def _port_open(self) -> bool:
        return self._console.bus.is_open

    @property
    def _visible(self) -> bool:
        return self._network

    @property
    def _wait(self) -> float:
        return self._penalty if not self._network else 0.0

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
            except CommandFailed as error:
                log.warning("%s", error)
            except DriverError as error:
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

    # --- time and place -----------------------------------------------------------------------------------------------

    async def network_time(self) -> float | None:
        """See `KnowsTime`; precise to a second."""
        self._check_open()
        told = await self._ask_kindly({"req": "card.time"})
        time = told.get("time")
        return float(time) if isinstance(time, int | float) and time > 0 else None

    async def locate(self) -> Fix | None:
        """See `LocatesItself`: the last fix of the Notecard's receiver, where it has one."""
        self._check_open()
        told = await self._ask_kindly({"req": "card.location"})
        latitude, longitude, time = told.get("lat"), told.get("lon"), told.get("time")
        if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
            return None
        return Fix(float(latitude), float(longitude), float(time) if isinstance(time, int | float) else None)

    async def _ask_kindly(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply, or nothing where the Notecard has none."""
        try:
            return await self._console.ask(request, limit=QUICK)
        except CommandFailed:
            return {}

    # --- repairs ------------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`."""
        return (Recovery("reopen port", self._reopen, 60.0), Recovery("modem reset", self._restart, 120.0))

    async def _reopen(self) -> None:
        await self._console.bus.aclose()
        await self._console.open()

    async def _restart(self) -> None:
        """`card.restart`; notes and settings are in its flash."""
        await self._reopen()
        await self._console.bus.write(b'{"cmd":"card.restart"}' + self._console.bus.line_end)
        await asyncio.sleep(LOOK_AGAIN)
        await self._reopen()
        if not self._console.bus.is_open:
            raise RadioSilent(f"{self.name} did not come back after its restart")


def _reference(attempt: Attempt) -> str:
    """Notes in a queue have no number: the Notecard's, and when the note was added."""
    return f"{attempt.radio} {attempt.begun:.0f}"
