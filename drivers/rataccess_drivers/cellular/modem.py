"""A Quectel modem behind its port: what is known of it, and what follows from what it says unasked.

Rules of this file: nothing is asked here.  A modem that starts by itself has lost everything: what waits for an answer is
ended at once, sockets are broken, and it has to be set up again.  Each change of evidence is announced once.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC
from collections.abc import Callable, Sequence

from rataccess.driver import Driver, DriverContext, RadioStatus
from rataccess.errors import AttachFailed, Closed, PortLost
from rataccess_drivers.at.commands import Urc
from rataccess_drivers.at.port import AtPort
from rataccess_drivers.cellular import events
from rataccess_drivers.cellular.console import Console, Port
from rataccess_drivers.cellular.context import PdpContext
from rataccess_drivers.cellular.flash import FlashSettings
from rataccess_drivers.cellular.network import Network
from rataccess_drivers.cellular.observing import ModemIdentity
from rataccess_drivers.cellular.options import QuectelOptions
from rataccess_drivers.cellular.profiles import PROFILES, URCS, Profile, profile_of
from rataccess_drivers.cellular.recovery import Repairs
from rataccess_drivers.cellular.sim import SimCard
from rataccess_drivers.cellular.sockets import SocketTable
from rataccess_drivers.cellular.standing import Standing
from rataccess_drivers.gpio import OpenLine, open_line

log = logging.getLogger("rataccess.quectel")

# After RDY a modem says APP RDY, +CFUN: 1 and more within 6 s; these are then no restart of their own.
BOOT_TAIL = 15.0


class QuectelModem(Driver, ABC):
    """Port, knowledge and unasked news of one modem; `QuectelDriver` asks."""

    def __init__(
        self,
        options: QuectelOptions,
        context: DriverContext,
        *,
        profiles: Sequence[Profile] = PROFILES,
        make_port: Callable[[QuectelOptions, str], Port] | None = None,
        line_opener: OpenLine = open_line,
    ) -> None:
        super().__init__()
        self.options = options
        self.name = context.name
        self._context = context
        self._profiles = profiles
        self._make_port = make_port or _at_port
        self._port: Port | None = None
        self._open = False
        self._stale = True  # the modem has not been set up since it started
        self._configured = False  # its flash says what the options say
        self._planned = False  # it restarts because we want it to
        self._boot_heard = asyncio.Event()
        self._tail_until = 0.0
        self._changed = asyncio.Event()
        self._attaching = asyncio.Lock()
        self._told: RadioStatus | None = None
        self.identity = ModemIdentity()
        """What the modem calls itself; empty until it was asked."""
        self._console = Console(self.name)
        self._standing = Standing()
        self._use_profile(self._guess())
        self._repairs = Repairs(self, self._console, options, lambda: self.profile, line_opener)

    def __repr__(self) -> str:
        who = self.identity.model or self.options.port
        return f"<{type(self).__name__} {self.name} {who} {self._standing.evidence.name}>"

    def _guess(self) -> Profile:
        """Until the modem has said what it is: the configured model's family, or the first one."""
        wanted = profile_of(self.options.model, self._profiles) if self.options.model else None
        return wanted or self._profiles[0]

    def _use_profile(self, profile: Profile) -> None:
        options, console = self.options, self._console
        self.profile = profile
        self._sim = SimCard(
            console,
            profile.limits,
            self.name,
            self._context.secret,
            changed=self._changed,
            timeout=options.sim_timeout,
            tries_left=options.pin_tries_left,
        )
        self._flash = FlashSettings(console, profile, options)
        self._network = Network(console, profile, self._standing, self._changed)
        self._pdp = PdpContext(console, profile.limits, options, self._context.secret)
        self._sockets = SocketTable(console, profile.limits, options.context, self._context_lost)

    # --- port ---------------------------------------------------------------------------------------------------------

    async def open_port(self) -> None:
        """Make sure that the port is open and the modem answers AT."""
        if self._port is not None:
            try:
                await self._port.resynchronise()
            except (PortLost, Closed):
                await self.close_port()
            else:
                self._standing.answers = True
                return
        port = self._make_port(self.options, self.name)
        undo = (port.on_urc(self._heard), port.on_lost(self._lost))
        self._port = port
        try:
            await port.open()
        except BaseException:
            for each in undo:
                each()
            self._port = None
            raise
        self._console.use(port)
        self._standing.port = True
        self._standing.answers = True

    async def close_port(self) -> None:
        """Let go of the port; sockets break, commands end with `Closed`."""
        port, self._port = self._port, None
        self._sockets.break_all(f"the port of {self.name} was closed", gone=False)
        self._console.use(None)
        self._standing.port = self._standing.answers = False
        self._standing.context_active = False
        if port is not None:
            await port.aclose()

    # --- what the modem tells -----------------------------------------------------------------------------------------

    def _heard(self, urc: Urc) -> None:
        match events.read_event(urc.line, urc.payload):
            case events.Registered(report):
                self._standing.registrations[report.name] = report
                self._network_changed()
            case events.SocketReadable(number):
                if (socket := self._sockets.find(number)) is not None:
                    socket.look()
            case events.SocketPushed(number, data):
                if (socket := self._sockets.find(number)) is not None:
                    socket.push(data)
            case events.SocketOpened(number, error):
                self._sockets.opened(number, error)
            case events.SocketClosed(number):
                if (socket := self._sockets.find(number)) is not None:
                    socket.break_off(f"the modem has closed socket {number}")
            case events.ContextLost(number, why):
                if number is None or number == self._pdp.number:
                    self._pdp.lost = True
                    self._context_lost(why)
            case events.Booted(line, first):
                self._has_booted(line, first)
            case events.PoweredDown():
                self._powered_down(urc.line)
            case events.SimChanged(word):
                self._standing.sim = word
                self._changed.set()
                if word != "READY":
                    self._announce()

    def _network_changed(self) -> None:
        """A registration report: told where it lowers or raises how far the link is."""
        self._changed.set()
        standing = self._standing
        current = standing.current
        if current is not None and current.registered and current.act is not None:
            standing.rat = self.profile.rats.get(current.act, standing.rat)
        self._announce()

    def _context_lost(self, why: str) -> None:
        standing = self._standing
        was_active, standing.context_active = standing.context_active, False
        standing.why_no_context = why
        self._sockets.break_all(f"the PDP context is gone: {why}")
        self._changed.set()
        if was_active:
            self._announce()

    def _has_booted(self, line: str, first: bool) -> None:
        self._boot_heard.set()
        now = self._now()
        if self._planned or (not first and now < self._tail_until):
            return
        self._tail_until = now + BOOT_TAIL
        self._restarted(f"the modem has restarted by itself ({line})", answers=True)

    def _powered_down(self, line: str) -> None:
        if not self._planned:
            self._restarted(f"the modem has switched itself off ({line})", answers=False)

    def _restarted(self, why: str, *, answers: bool) -> None:
        """Sockets, contexts and settings are gone, and so is the answer to whatever it was asked."""
        log.warning("%s: %s", self.name, why)
        self._forget(why)
        self._standing.answers = answers
        self._standing.trouble = why
        self._console.interrupt(lambda: AttachFailed(why))
        self._announce()

    def _forget(self, why: str) -> None:
        self._stale = True
        self._standing.forget_network()
        self._standing.sim = ""
        self._pdp.lost = False
        self._sockets.break_all(why, gone=True)
        self._changed.set()

    def _lost(self, error: Exception) -> None:
        """The port has vanished."""
        self._boot_heard.set()
        self._forget(str(error))
        self._standing.port = self._standing.answers = False
        self._standing.trouble = str(error)
        if not self._planned:
            self._announce()

    def _announce(self) -> None:
        """Tell of a change of evidence, once; before `open` is through nobody is told."""
        status = self._standing.status()
        if not self._open or (self._told is not None and self._told.evidence == status.evidence):
            return
        self._told = status
        self.announce(status)

    # --- restarts that are meant --------------------------------------------------------------------------------------

    def restarting(self, why: str) -> None:
        """For `Repairs`: a restart that is meant."""
        self._planned = True
        self._boot_heard.clear()
        self._forget(f"{self.name} is restarted: {why}")
        self._standing.trouble = f"{self.name} is restarted: {why}"
        self._announce()
        self._console.interrupt(lambda: AttachFailed(f"{self.name} is restarted: {why}"))

    async def booted(self, limit: float) -> bool:
        """For `Repairs`: whether the modem said within `limit` s that it starts, or its port vanished."""
        try:
            async with asyncio.timeout(limit):
                await self._boot_heard.wait()
        except TimeoutError:
            return False
        return True

    # --- small things -------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is not open")

    def _now(self) -> float:
        return self._context.clock.monotonic()


def _at_port(options: QuectelOptions, name: str) -> Port:
    return AtPort(options.port, urcs=URCS, baudrate=options.baudrate, name=name)
