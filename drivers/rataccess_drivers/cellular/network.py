"""Registration: reports switched on, read, waited for; refusals told apart from patience; operator and signal.

Rules of this file: it asks the modem and keeps `Standing` true; contexts and sockets are not known here.
"""

from __future__ import annotations

import asyncio
import os

from rataccess.bus import PortAddress, UsbPort
from rataccess.errors import AttachFailed, CommandFailed
from rataccess_drivers.at.grammar import plain_text
from rataccess_drivers.at.parsers import (
    Selection,
    parse_extended_signal,
    parse_functionality,
    parse_operator,
    parse_registration,
)
from rataccess_drivers.cellular.causes import denied, reject_cause
from rataccess_drivers.cellular.cells import parse_serving
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.profiles import Profile
from rataccess_drivers.cellular.standing import Standing

# URCs tell of changes at once; asking as well finds what was said while the line was disturbed.
_ASK_AGAIN = 5.0
# A refusal by one network may be followed by another network's consent: a modem goes on searching for that.  Refusals that
# last are told at once, others when they have stood this long, seconds.
_DENIAL_STANDS = 10.0


def urc_port(address: PortAddress) -> str | None:
    """What `AT+QURCCFG` calls the port at `address`: a modem tells news on one of its ports only, at first on `usbat`.

    `None` where the address does not say which port of the modem it is.  On USB, interface 2 is the AT port and 3 the
    modem port in every family here.
    """
    if isinstance(address, UsbPort):
        return {2: "usbat", 3: "usbmodem"}.get(address.interface)
    name = os.path.basename(os.path.realpath(address.path))
    return None if address.scheme != "serial" or name.startswith(("ttyUSB", "ttyACM")) else "uart1"


class Network:
    """What one modem knows of its network.  `changed` is set whenever something was reported."""

    def __init__(self, console: Console, profile: Profile, standing: Standing, changed: asyncio.Event) -> None:
        self._console = console
        self._profile = profile
        self._standing = standing
        self._changed = changed
        self._domains: tuple[str, ...] = profile.registrations

    async def report_changes(self, port: str | None) -> None:
        """Have the modem tell of registration and packet events unasked, on `port` (see `urc_port`) where that is known."""
        limit = self._profile.limits.setting
        if port is not None:
            await self._speak_on(port, limit)
        taken = []
        for name in self._profile.registrations:
            if await self._console.try_order([f"AT{name}={kind}" for kind in self._profile.report_kinds], limit):
                taken.append(name)
        self._domains = tuple(taken) or self._profile.registrations
        await self._console.try_order(["AT+CGEREP=2,1", "AT+CGEREP=1"], limit)

    async def _speak_on(self, port: str, limit: float) -> None:
        """Kept in flash, so written only where URCs go elsewhere; `all` takes in every port."""
        try:
            rows = await self._console.ask('AT+QURCCFG="urcport"', "+QURCCFG:", limit)
        except CommandFailed:
            return
        if rows and plain_text(rows[0][-1]) not in (port, "all"):
            await self._console.try_order([f'AT+QURCCFG="urcport","{port}"'], limit)

    async def radio_on(self) -> None:
        """`AT+CFUN=1` where it is not so already."""
        limits = self._profile.limits
        if parse_functionality(await self._console.line("AT+CFUN?", "+CFUN:", limits.setting)) != 1:
            await self._console.order("AT+CFUN=1", limits.radio)

    async def radio_off(self) -> None:
        """`AT+CFUN=0`: for settings that take effect at the next attach to the network."""
        await self._console.order("AT+CFUN=0", self._profile.limits.radio)
        self._standing.forget_network()

    async def read(self, limit: float) -> None:
        """Read every packet domain's registration into `Standing`."""
        for name in self._domains:
            try:
                report = parse_registration(await self._console.line(f"AT{name}?", f"{name}:", limit))
            except CommandFailed:
                self._standing.registrations.pop(name.removeprefix("+"), None)
            else:
                self._standing.registrations[report.name] = report
        self._name_rat()

    def _name_rat(self) -> None:
        report = self._standing.current
        if report is not None and report.registered and report.act is not None:
            self._standing.rat = self._profile.rats.get(report.act, self._standing.rat)

    async def wait(self, timeout: float) -> None:
        """Wait until registered.

        Raises `RegistrationDenied` (cause, retry_after) or `AttachFailed` after `timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        refused_since: float | None = None
        await self.read(self._profile.limits.setting)
        if not self._standing.registered:
            await self._let_it_search()
        while not self._standing.registered:
            now = loop.time()
            refusal = self._standing.denied
            if refusal is None:
                refused_since = None
            else:
                refused_since = now if refused_since is None else refused_since
                if _at_once(refusal.cause) or now - refused_since >= _DENIAL_STANDS:
                    raise denied(refusal.cause)
            if now >= end:
                raise AttachFailed(f"not registered within {timeout:g} s: {self._standing.registration_words}")
            await self._news(min(_ASK_AGAIN, end - now))
            await self.read(self._profile.limits.setting)

    async def _news(self, limit: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _let_it_search(self) -> None:
        """A modem that somebody told to deregister (`AT+COPS=2`) would wait for ever."""
        limits = self._profile.limits
        try:
            line = await self._console.line("AT+COPS?", "+COPS:", limits.setting)
            if parse_operator(line).mode == Selection.DEREGISTERED:
                await self._console.order("AT+COPS=0", limits.operator)
        except CommandFailed:
            return

    async def describe(self, limit: float) -> None:
        """Read operator, technology and signal, as far as the modem tells them."""
        standing = self._standing
        try:
            operator = parse_operator(await self._console.line("AT+COPS?", "+COPS:", limit))
            standing.operator = operator.name
            if operator.act is not None:
                standing.rat = self._profile.rats.get(operator.act, standing.rat)
        except CommandFailed:
            standing.operator = None
        await self._read_signal(limit)

    async def _read_signal(self, limit: float) -> None:
        standing = self._standing
        try:
            cell = parse_serving(await self._console.line('AT+QENG="servingcell"', "+QENG:", limit))
            if cell is not None and cell.signal_dbm is not None:
                standing.signal_dbm, standing.signal_quality_db = cell.signal_dbm, cell.quality_db
                return
            signal = parse_extended_signal(await self._console.line("AT+CESQ", "+CESQ:", limit))
            standing.signal_dbm, standing.signal_quality_db = signal.power_dbm, signal.quality_db
        except CommandFailed:
            standing.signal_dbm = standing.signal_quality_db = None


def _at_once(cause: int | None) -> bool:
    """Whether a refusal leaves nothing to wait for."""
    return cause is not None and reject_cause(cause).lasting
