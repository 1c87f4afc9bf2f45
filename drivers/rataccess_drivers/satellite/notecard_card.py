"""A Notecard behind its bus: how it is set up, watched and repaired, and what it knows of time and place.

Rules of this file: no message is moved here; that is the driver's.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from rataccess.driver import Bearer, DriverContext, Evidence, Fix, RadioStatus, Recovery
from rataccess.errors import AttachFailed, CommandFailed, RadioSilent, WrongRadio
from rataccess.transport import Hints
from rataccess_drivers.satellite.base import LOOK_AGAIN, SatelliteRadio, log
from rataccess_drivers.satellite.notecard_bus import NotecardBus
from rataccess_drivers.satellite.notecard_console import NotecardConsole
from rataccess_drivers.satellite.notecard_options import NotecardOptions
from rataccess_drivers.satellite.notecard_wire import TAGS, Trouble, tags, trouble

QUICK = 10.0
PENALTY = 300.0
# A Notecard gives a search for its network about this long (unverified).
NETWORK_LIMIT = 60.0


class NotecardCard(SatelliteRadio, ABC):
    """Bus, settings, network and repairs of one Notecard."""

    def __init__(self, options: NotecardOptions, context: DriverContext, hints: Hints) -> None:
        super().__init__(context, hints)
        self.options = options
        self.identity: dict[str, str] = {}
        """What `card.version` says; empty until the Notecard was asked."""
        self._console = NotecardConsole(context.name, self._make_bus())
        self._poll: asyncio.Task[None] | None = None
        self._network = True
        self._why = ""
        self._penalty = 0.0

    @abstractmethod
    def _make_bus(self) -> NotecardBus:
        """The way to it, not opened."""

    @abstractmethod
    async def _account(self) -> None:
        """Before the first message: look after what an earlier process left."""

    @abstractmethod
    async def _keep_polling(self) -> None:
        """While attached: fetch what has come, and see how the Notecard is."""

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
        await self._account()
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
        await self._check_product()
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

    async def _check_product(self) -> None:
        """Without a ProductUID nothing ever leaves; a note that waits for one would leave when somebody sets it."""
        kept = {} if self.options.product else await self._ask_kindly({"req": "hub.get"})
        if "device" in kept and not kept.get("product"):
            raise CommandFailed(f"{self.name}: no ProductUID is set: set `product` {{product-noexist}}")

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`.  While something else is asked, it is what is known."""
        self._check_open()
        if self._console.busy:
            return self._status()
        with contextlib.suppress(CommandFailed):
            await self._look()
        status = self._status()
        if self._console.busy:
            return status
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
        lost = [tag for tag in tags(text) if TAGS.get(tag) is Trouble.NO_NETWORK or tag.startswith("device-delay")]
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

    # --- time and place -----------------------------------------------------------------------------------------------

    async def network_time(self) -> float | None:
        """See `KnowsTime`; precise to a second, and `None` also while something else is asked."""
        self._check_open()
        told = await self._ask_kindly({"req": "card.time"})
        time = told.get("time")
        return float(time) if isinstance(time, int | float) and time > 0 else None

    async def locate(self) -> Fix | None:
        """See `LocatesItself`: the last fix of the Notecard's receiver, where it has one and nothing else is asked."""
        self._check_open()
        told = await self._ask_kindly({"req": "card.location"})
        latitude, longitude, time = told.get("lat"), told.get("lon"), told.get("time")
        if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
            return None
        return Fix(float(latitude), float(longitude), float(time) if isinstance(time, int | float) else None)

    async def _ask_kindly(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply, or nothing where the Notecard has none, or is asked something else."""
        if self._console.busy:
            return {}
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
