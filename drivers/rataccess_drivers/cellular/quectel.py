"""The driver of Quectel's cellular modems: BG95, BG77, BG96, EC2x, EG2x, EG9x.

Rules of this file: the order of things, and what follows from what the modem says unasked.  What is asked and how answers
are read is in the modules beside this one; what differs between families is data in `profiles`.  Nothing is retried beyond
what the manuals demand.

Evidence: PORT the port is open, RADIO the modem answers, SIM it is unlocked, REGISTERED a packet domain is, BEARER the PDP
context is active.  A modem that starts by itself has lost everything: what waits for an answer is ended at once, sockets
are broken, and the next `attach` sets it up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rataccess.bus import parse_port
from rataccess.driver import Bearer, Cell, DatagramSocket, DriverContext, Fix, RadioStatus, Recovery
from rataccess.errors import AttachFailed, CommandFailed, RadioSilent, TransportBroken, WrongRadio
from rataccess_drivers.cellular import observing
from rataccess_drivers.cellular.modem import BOOT_TAIL, QuectelModem, log
from rataccess_drivers.cellular.network import urc_port
from rataccess_drivers.cellular.options import QuectelOptions
from rataccess_drivers.cellular.profiles import profile_of


class QuectelDriver(QuectelModem):
    """One Quectel modem.  Build with `create`, which gives one that `HasPowerKey` where a power key is configured."""

    options_type = QuectelOptions
    transports = ("at_socket",)

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> QuectelDriver:
        """See `Driver.create`."""
        kind = QuectelDriverWithPowerKey if options.power_key is not None else QuectelDriver
        return kind(options, context)

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

    async def _set_up(self) -> None:
        """Everything that a modem forgets when it starts; and who it is."""
        limit = self.profile.limits.query
        self._stale = False
        self._planned = False
        self._tail_until = self._now() + BOOT_TAIL
        await self._console.order("ATE0", limit)
        await self._console.try_order(["AT+CMEE=1", "AT+CMEE=2"], limit)
        await self._identify()
        await self._network.report_changes(urc_port(parse_port(self.options.port)))

    async def _identify(self) -> None:
        identity = await observing.identify(self._console, self.profile.limits.query)
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

    # --- recoveries ---------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Reopen port, radio off/on, modem reset; reset line, power key and power cut where they are wired."""
        return self._repairs.ladder()

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


class QuectelDriverWithPowerKey(QuectelDriver):
    """The same where the power key is wired to a line: it `HasPowerKey`."""

    async def press_power_key(self) -> None:
        """See `HasPowerKey`; returns when the modem answers.  The next `attach` sets it up again."""
        await self._repairs.press_power_key()
