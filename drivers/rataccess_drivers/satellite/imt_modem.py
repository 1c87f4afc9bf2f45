"""A RockBLOCK 9704 behind its port: how it is set up, activated, watched and repaired.

Rules of this file: no message is moved here; that is the driver's.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rataccess.bus import PortAddress
from rataccess.driver import Bearer, DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import AttachFailed, CommandFailed, PortLost, RadioNotFound, RadioSilent
from rataccess.transport import Hints
from rataccess_drivers.byteline import OpenByteLine
from rataccess_drivers.gpio import OpenLine
from rataccess_drivers.ports import port_at
from rataccess_drivers.satellite.base import LOOK_AGAIN, SatelliteRadio
from rataccess_drivers.satellite.imt_options import ImtOptions
from rataccess_drivers.satellite.jspr import Message
from rataccess_drivers.satellite.jspr_console import JsprConsole
from rataccess_drivers.satellite.wires import Wires
from rataccess_drivers.usb import on_usb, reset_usb

# The vendor's library waits as long after each change of the operational state.
SETTLE = 0.1
STATE_LIMIT = 30.0
BARRED_FOR = 3_600.0
DISCHARGE = 5.0
# IRIDIUM_ENABLE must be low until BOOTED is, or the modem may be damaged (its hardware guide); shutting down has been seen
# to take less than this.
SHUTDOWN = 30.0
# A USB port is back by then.
ENUMERATION = 15.0

ResetUsb = Callable[[PortAddress], Awaitable[None]]


class ImtModem(SatelliteRadio, ABC):
    """Port, set-up, sky and repairs of one modem."""

    def __init__(
        self,
        options: ImtOptions,
        context: DriverContext,
        hints: Hints,
        open_line: OpenByteLine,
        line_opener: OpenLine,
        usb_resetter: ResetUsb = reset_usb,
    ) -> None:
        super().__init__(context, hints)
        self.options = options
        self.identity: dict[str, str] = {}
        """What `hwInfo` says; empty until the modem was asked."""
        self._console = JsprConsole(context.name, open_line, self._told, self._gone)
        self._reset_usb = usb_resetter
        self._wires = Wires({"power": options.power_enable, "iridium": options.iridium_enable}, line_opener)
        self._bars: int | None = None
        self._level: float | None = None
        self._sees = False
        self._state = ""
        self._barred = ""
        self._setting_up = False

    @abstractmethod
    def _told(self, message: Message) -> None:
        """Take what the modem says unasked."""

    @abstractmethod
    def _gone(self, lost: PortLost) -> None:
        """The port has vanished."""

    @abstractmethod
    def _account(self) -> None:
        """After a set-up: look after what an earlier process left."""

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
        self._setting_up = True
        try:
            await self._open_port()
            await self._choose_version()
            with contextlib.suppress(CommandFailed):
                told = await self._console.get("hwInfo")
                self.identity = {name: str(value) for name, value in told.body.items()}
        finally:
            self._setting_up = False
        self._inbox.load()
        self._trouble = None
        self._account()

    async def _open_port(self) -> None:
        """Switched on, port open, and the modem speaks JSPR."""
        self._wires.on()
        self._console.open(self.options.port, self.options.baudrate)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.options.ready_timeout
        while True:  # what is asked first after opening is often answered with 405, whatever it is
            try:
                await self._console.ask("GET", "apiVersion", limit=2.0)
                return
            except RadioSilent as error:
                if loop.time() >= end:
                    raise RadioSilent(f"{self.name} does not answer JSPR at {self.options.port}: {error}") from error

    async def _choose_version(self) -> None:
        """The newest version of the interface that the modem lists."""
        told = await self._console.get("apiVersion")
        listed = told.body.get("supported_versions")
        versions = [version for version in map(_version, listed if isinstance(listed, list) else []) if version]
        if not versions:
            raise CommandFailed(f"{self.name} lists no version of its interface: {dict(told.body)}")
        newest = max(versions)
        if _version(told.body.get("active_version")) != newest:
            major, minor, patch = newest
            version = {"major": major, "minor": minor, "patch": patch}
            await self._console.put("apiVersion", {"active_version": version}, fine=(402,))

    async def aclose(self) -> None:
        """See `Driver.aclose`.  A message under way is accounted for later."""
        self._stop()
        self._console.close()
        await self._end()

    # --- attaching ----------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`.

        Raises `AttachFailed` where the SIM, the activation or the provisioning is missing, saying what to do, or where no
        satellite is in view for `sky_timeout` seconds.
        """
        self._check_open()
        if self._trouble is not None:
            await self._set_up()
        if self._attached:
            return Bearer("imt")
        if self._barred:
            cause, self._barred = self._barred, ""
            raise AttachFailed(cause, BARRED_FOR)
        try:
            await self._activate()
            await self._check_provisioning()
        except CommandFailed as error:
            raise AttachFailed(str(error)) from error
        await self._await_sky()
        self._attached = True
        self._tell_slot()
        return Bearer("imt")

    async def _activate(self) -> None:
        await self._console.put("simConfig", {"interface": self.options.sim}, fine=(402, 406))
        told = await self._console.get("operationalState")
        self._state = told.text("state")
        if self._state == "active":
            return
        if self._state != "inactive":
            await self._change_state("inactive")
        await self._change_state("active")

    async def _change_state(self, state: str) -> None:
        """Through `inactive` only, or the modem refuses; 406 says that it is there already."""
        told = await self._console.put("operationalState", {"state": state}, fine=(402, 406))
        end = asyncio.get_running_loop().time() + STATE_LIMIT
        while told.code == 200 and self._state != state:
            await self._changes(1.0)
            self._check_console()
            if self._state != state:
                self._state = (await self._console.get("operationalState")).text("state")
            if asyncio.get_running_loop().time() > end:
                raise AttachFailed(f"{self.name} does not become {state} in {STATE_LIMIT:g} s: it is {self._state!r}")
        self._state = state
        await asyncio.sleep(SETTLE)

    def _check_console(self) -> None:
        self._check_open()
        if self._trouble is not None:
            raise AttachFailed(str(self._trouble))

    async def _check_provisioning(self) -> None:
        told = await self._console.insist("GET", "messageProvisioning")
        rows = told.body.get("provisioning")
        topics = [row.get("topic_id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        if told.code == 200 and self.options.topic in topics:
            return
        if told.code not in (200, 418):
            raise CommandFailed(f"{self.name}: {told}")
        found = f"it has {topics}" if topics else "it has none yet"
        raise AttachFailed(
            f"{self.name} is not provisioned for topic {self.options.topic} ({found}): a new modem needs 10 to 30 minutes "
            "of open sky for that; after that ask the provider, or choose another `topic`",
            60.0,
        )

    async def _await_sky(self) -> None:
        try:
            async with asyncio.timeout(self.options.sky_timeout):
                while not self._sees:
                    self._see(await self._console.get("constellationState"))
                    if not self._sees:
                        await self._changes(LOOK_AGAIN)
                        self._check_console()
        except CommandFailed as error:
            raise AttachFailed(str(error)) from error
        except TimeoutError as error:
            raise AttachFailed(
                f"no satellite in view for {self.options.sky_timeout:g} s: the antenna needs the open sky", 60.0
            ) from error

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`."""
        self._check_open()
        with contextlib.suppress(CommandFailed):
            self._see(await self._console.get("constellationState"))
        return self._status()

    def _status(self) -> RadioStatus:
        if not self._console.is_open:
            return RadioStatus(Evidence.NONE, str(self._trouble or "the port is not open"), rat="imt")
        if self._trouble is not None:
            return RadioStatus(Evidence.PORT, str(self._trouble), rat="imt")
        signal = f"signal {self._bars} of 5" if self._bars is not None else "signal unknown"
        if self._attached or self._sees:
            evidence = Evidence.BEARER if self._attached else Evidence.REGISTERED
            return RadioStatus(evidence, signal, "imt", "Iridium", self._level)
        evidence = Evidence.SIM if self._state == "active" else Evidence.RADIO
        return RadioStatus(evidence, "no satellite in view", rat="imt")

    @property
    def _port_open(self) -> bool:
        return self._console.is_open

    @property
    def _visible(self) -> bool:
        return self._sees

    def _see(self, message: Message) -> None:
        """What the modem sees of the satellites."""
        body = message.body
        self._sees = body.get("constellation_visible") is True
        self._bars = min(max(message.number("signal_bars", 0), 0), 5)
        level = body.get("signal_level")
        self._level = float(level) if isinstance(level, int | float) and self._sees else None
        self._look_at_sky(self.options.sky_patience)

    # --- repairs ------------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`."""
        again = 2 * self.options.ready_timeout + 30.0
        rungs = [
            Recovery("reopen port", self._reopen, again),
            Recovery("radio off/on", self._radio_off_on, again + 2 * STATE_LIMIT),
        ]
        if on_usb(port_at(self.options.port)):
            rungs.append(Recovery("usb reset", self._replug, again + ENUMERATION))
        if self._wires:
            rungs.append(Recovery("power cut", self._cut_power, again + DISCHARGE + SHUTDOWN, attempts=2))
        return tuple(rungs)

    async def _reopen(self) -> None:
        self._console.close()
        await self._open_port()

    async def _radio_off_on(self) -> None:
        await self._open_port()
        await self._choose_version()
        await self._console.put("operationalState", {"state": "inactive"}, fine=(402, 406))
        await asyncio.sleep(SETTLE)
        await self._console.put("operationalState", {"state": "active"}, fine=(402, 406))

    async def _replug(self) -> None:
        """After many sessions that failed a 9704 may fall silent, until its USB device is bound anew (seen in the field)."""
        self._console.close()
        await self._reset_usb(port_at(self.options.port))
        loop = asyncio.get_running_loop()
        end = loop.time() + ENUMERATION
        while True:
            await asyncio.sleep(1.0)
            try:
                return await self._open_port()
            except RadioNotFound:
                if loop.time() >= end:
                    raise

    async def _cut_power(self) -> None:
        self._console.close()
        supply = "power" in self._wires
        await self._wires.cut(DISCHARGE if supply else SHUTDOWN, apart=SHUTDOWN)
        await self._open_port()


def _version(value: Any) -> tuple[int, int, int] | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) for name in ("major", "minor", "patch")]
    return (parts[0], parts[1], parts[2]) if all(isinstance(each, int) for each in parts) else None  # type: ignore[return-value]
