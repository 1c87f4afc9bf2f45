"""The driver of Quectel's cellular modems: BG95, BG77, BG96, EC2x, EG2x, EG9x.

Rules of this file: the order of things, and what follows from what the modem says unasked.  What is asked and how answers
are read is in the modules beside this one; what differs between families is data in `profiles`.  Nothing is retried beyond
what the manuals demand.

Evidence: PORT the port is open, RADIO the modem answers, SIM it is unlocked, REGISTERED a packet domain is, BEARER the PDP
context is active.  A modem that starts by itself has lost everything: what waits for an answer is ended at once, sockets
are broken, and the next `attach` sets it up again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from rataccess.driver import Bearer, Cell, DatagramSocket, Driver, DriverContext, Fix, RadioStatus, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    PortLost,
    RadioSilent,
    TransportBroken,
    WrongRadio,
)
from rataccess_drivers.at.commands import Urc
from rataccess_drivers.at.port import AtPort
from rataccess_drivers.cellular import events, observing
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
_BOOT_TAIL = 15.0


class QuectelDriver(Driver):
    """One Quectel modem.  Build with `create`, which gives one that `HasPowerKey` where a power key is configured."""

    options_type = QuectelOptions

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
        return f"<{type(self).__name__} {self.name} {self.identity.model or self.options.port} {self._standing.evidence.name}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> QuectelDriver:
        """See `Driver.create`."""
        kind = QuectelDriverWithPowerKey if options.power_key is not None else QuectelDriver
        return kind(options, context)

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
            timeout=options.sim_timeout,
            tries_left=options.pin_tries_left,
        )
        self._flash = FlashSettings(console, profile, options)
        self._network = Network(console, profile, self._standing, self._changed)
        self._pdp = PdpContext(console, profile.limits, options, self._context.secret)
        self._sockets = SocketTable(console, profile.limits, options.context, self._context_lost)

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`.

        A silent modem whose power key is wired is given one press, short enough to mean nothing to one that runs.
        `WrongRadio` names the model that was found; `ConfigurationError` what that model does not have.
        """
        if self._open:
            return
        self._planned = True  # it may be starting just now
        self._repairs.supply()
        try:
            try:
                await self.open_port()
            except RadioSilent:
                if self.options.power_key is None:
                    raise
                await self._repairs.switch_on()
            await self._set_up()
        except BaseException:
            await self.aclose()
            raise
        self._open = True

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        self._open = False
        self._told = None
        await self._sockets.aclose(f"the driver of {self.name} was closed")
        await self.close_port()
        self._changed.set()

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

    async def _set_up(self) -> None:
        """Everything that a modem forgets when it starts; and who it is."""
        setting = self.profile.limits.setting
        self._stale = False
        self._planned = False
        self._tail_until = self._now() + _BOOT_TAIL
        await self._console.order("ATE0", setting)
        await self._console.try_order(["AT+CMEE=1", "AT+CMEE=2"], setting)
        await self._identify()
        await self._network.report_changes()

    async def _identify(self) -> None:
        identity = await observing.identify(self._console, self.profile.limits.setting)
        model, wanted = identity.model, self.options.model
        found = profile_of(model, self._profiles)
        if found is None:
            known = ", ".join(name for profile in self._profiles for name in profile.models)
            raise WrongRadio(f"{self.name}: the modem calls itself {model!r}; this driver knows {known}")
        if wanted is not None and not model.upper().startswith(wanted.upper()):
            raise WrongRadio(f"{self.name}: the modem calls itself {model!r}; the configuration expects {wanted!r}")
        if identity != self.identity:
            log.info("%s is a %s, firmware %s", self.name, model, identity.revision)
            self._use_profile(found)
        self.identity = identity

    # --- attaching ----------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`.  Settings in the modem's flash are written only where they differ from the options."""
        self._check_open()
        async with self._attaching:
            try:
                return await self._attach()
            except CommandFailed as error:
                raise AttachFailed(str(error)) from error

    async def _attach(self) -> Bearer:
        self._standing.trouble = ""
        if self._stale:
            await self._set_up()
        self._standing.sim = await self._sim.unlock()
        await self._configure()
        await self._network.radio_on()
        await self._network.wait(self.options.registration_timeout)
        self._check_open()
        addresses = await self._pdp.addresses(self.profile.limits.setting)
        if addresses is None:
            self._sockets.break_all("the PDP context was not active any more")
            addresses = await self._pdp.activate()
        mtu = await self._pdp.mtu()
        if self._standing.rat is None or self._standing.operator is None:
            await self._network.describe(self.profile.limits.setting)
        self._check_open()
        if self._stale or self._pdp.lost:
            raise AttachFailed(f"{self.name} lost its bearer while it was brought up: {self._standing.detail}")
        self._standing.context_active = True
        self._standing.why_no_context = ""
        self._told = self._standing.status()
        return Bearer(self._standing.rat or self.profile.default_rat, None, addresses, mtu)

    async def _configure(self) -> None:
        """Bring the flash in line with the options; what changes how the modem attaches needs the radio off."""
        if self._configured:
            return
        needed = await self._flash.differences()
        if needed:
            log.info("%s: settings differ and are written: %s", self.name, "; ".join(needed))
            await self._network.radio_off()
            for command in needed:
                await self._console.order(command, self.profile.limits.setting)
        self._configured = True

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`; asks the modem only, some six short commands.

        A PDP context that is gone without a word is found here, and so is data whose URC was lost.
        """
        self._check_open()
        limit = self.profile.limits.query
        standing = self._standing
        try:
            standing.sim = await self._sim.state(limit)
            if standing.sim in ("SIM PIN2", "SIM PUK2"):
                standing.sim = "READY"
            await self._network.read(limit)
            await self._look_at_context(limit)
            standing.answers = True
            await self._network.describe(limit)
        except RadioSilent:
            standing.answers = False
            raise
        except (CommandFailed, AttachFailed) as error:  # refused, or ended because the modem restarted
            log.info("%s: %s", self.name, error)
        self._sockets.look()
        return standing.status()

    async def _look_at_context(self, limit: float) -> None:
        active = await self._pdp.addresses(limit) is not None
        if self._standing.context_active and not active:
            self._context_lost("the modem does not list it any more")
        elif active and not self._attaching.locked() and self._standing.registered and not self._pdp.lost:
            self._standing.context_active = True

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
        self._tail_until = now + _BOOT_TAIL
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

    # --- recoveries ---------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Reopen port, radio off/on, modem reset; reset line, power key and power cut where they are wired."""
        return self._repairs.ladder()

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

    # --- capabilities -------------------------------------------------------------------------------------------------

    async def open_datagram_socket(self, host: str, port: int) -> DatagramSocket:
        """See `OpensDatagramSockets`; needs an attached bearer.  At most 12 at a time."""
        self._check_open()
        if self._stale or not self._standing.context_active:
            raise TransportBroken(f"{self.name} has no bearer: {self._standing.detail}")
        return await self._sockets.open(host, port)

    async def locate(self) -> Fix | None:
        """See `LocatesItself`.

        The first call switches GNSS on, so a fix takes some calls.  Where GNSS shares the receiver with the modem (BG9x) it
        is ended after a fix.  `None` also where the module has no GNSS.
        """
        self._check_open()
        return await observing.locate(self._console, self.profile)

    async def network_time(self) -> float | None:
        """See `KnowsTime`; to the second."""
        self._check_open()
        return await observing.network_time(self._console, self.profile)

    async def cells(self) -> Sequence[Cell]:
        """See `SeesCells`."""
        self._check_open()
        return await observing.cells(self._console, self.profile)

    # --- small things -------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"the driver of {self.name} is not open")

    def _now(self) -> float:
        return self._context.clock.monotonic()


class QuectelDriverWithPowerKey(QuectelDriver):
    """The same where the power key is wired to a line: it `HasPowerKey`."""

    async def press_power_key(self) -> None:
        """See `HasPowerKey`; returns when the modem answers.  The next `attach` sets it up again."""
        await self._repairs.press_power_key()


def _at_port(options: QuectelOptions, name: str) -> Port:
    return AtPort(options.port, urcs=URCS, baudrate=options.baudrate, name=name)
