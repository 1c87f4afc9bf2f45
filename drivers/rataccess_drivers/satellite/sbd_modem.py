"""An Iridium SBD modem behind its port: what is known of it, its sky, its wires, and how it is set up and repaired.

Rules of this file: nothing is sent over the air here; that is `sbd_sessions`' and the driver's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rataccess.driver import DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import (
    CommandFailed,
    DriverError,
    PortLost,
    RadioSilent,
    WrongRadio,
)
from rataccess.transport import Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.satellite import sbd_codec as codec
from rataccess_drivers.satellite.base import SatelliteRadio
from rataccess_drivers.satellite.kept import SessionNote
from rataccess_drivers.satellite.sbd_console import SbdConsole
from rataccess_drivers.satellite.sbd_engine import Command
from rataccess_drivers.satellite.sbd_options import SbdOptions
from rataccess_drivers.satellite.wires import Wires

log = logging.getLogger("rataccess.sbd")

# A session that an earlier process left open is over by then, or the modem hangs (the usual one takes 6 to 22 s).
LEFTOVER = 60.0
KNOCK_EVERY = 2.0
# RockBLOCKs hold a charge for some seconds without supply (their super capacitor); less does not start the modem anew.
DISCHARGE = 10.0
ASLEEP = 3.0
# Firmware before this takes part in sessions only when it was asked for the network's time shortly before (SparkFun); one
# of those after it was seen to hang in sessions otherwise (meshsat, on a 9603N).
NEEDS_TIME_BEFORE = 13_001
NEEDS_TIME = frozenset({16_005})


@dataclass(slots=True)
class Sky:
    """What the modem sees of the satellites."""

    service: bool | None = None
    """Whether it says that there is service (`+CIEV:1`); `None` while it has said nothing."""
    bars: int | None = None

    @property
    def visible(self) -> bool:
        """Whether a session can be thought of."""
        return self.service is not False and bool(self.bars if self.bars is not None else self.service)

    def heard(self, line: str) -> bool:
        """Take what an unsolicited line says; whether it was about the sky."""
        values = codec.numbers(line, "+CIEV:")
        if len(values) < 2:
            return False
        if values[0] == 0:
            self.bars = min(max(values[1], 0), 5)
        elif values[0] == 1:
            self.service = values[1] != 0
            if not self.service:
                self.bars = 0
        return True

    def measured(self, bars: int) -> None:
        """Take an answer to `AT+CSQ`; a signal there is says that the service is too."""
        self.bars = bars
        if bars:
            self.service = True


@dataclass(frozen=True, slots=True)
class SbdIdentity:
    """What the modem calls itself."""

    imei: str = ""
    model: str = ""
    firmware: str = ""

    @property
    def needs_time_first(self) -> bool:
        """Whether `AT-MSSTM` has to come before a session with its firmware."""
        found = re.search(r"TA(\d{5})", self.firmware)
        return found is not None and (int(found[1]) < NEEDS_TIME_BEFORE or int(found[1]) in NEEDS_TIME)


class SbdModem(SatelliteRadio, ABC):
    """Port, set-up, sky and repairs of one modem."""

    def __init__(
        self,
        options: SbdOptions,
        context: DriverContext,
        hints: Hints,
        *,
        open_line: OpenByteLine = open_byte_line,
        line_opener: OpenLine = open_line,
    ) -> None:
        super().__init__(context, hints)
        self.options = options
        self.identity = SbdIdentity()
        """Empty until the modem was asked."""
        self._console = SbdConsole(context.name, open_line, self._heard, self._lost)
        self._wires = Wires({"switch": options.power_switch, "sleep": options.sleep}, line_opener)
        self._note = SessionNote(context.memory, f"driver/{context.name}/session")
        self._sky = Sky()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.identity.imei or self.options.port} bars={self._sky.bars}>"

    # --- set-up -------------------------------------------------------------------------------------------------------

    async def _open_port(self) -> None:
        """Supply on, port open, and the modem answers and echoes."""
        self._wires.on()
        self._console.open(self.options.port, self.options.baudrate)
        await self._leave_session_alone()
        await self._knock()
        await self._console.run(Command("ATE1", echoed=False))
        for text in ("AT", "AT&D0", "AT&K0"):  # its echo is the proof of life from now on; three wires: no handshake
            await self._console.run(Command(text))

    async def _leave_session_alone(self) -> None:
        """Where an earlier process may have left a session open, let it end: nothing may be written meanwhile."""
        begun, clock = self._note.begun, self._context.clock
        if begun is not None and not (clock.wall_known() and clock.wall() - begun > LEFTOVER):
            await self._console.overhear("+SBDIX", LEFTOVER)
        self._note.change()

    async def _knock(self) -> None:
        """`AT` until it is answered, for as long as a modem may take to start.

        One that waits for a handshake line that nobody wired takes commands and says nothing; one that somebody left quiet
        or terse answers nothing, or a number.  The other knocks end that.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.options.ready_timeout
        for text in itertools.cycle(("AT", "ATQ0V1", "AT&K0")):
            try:
                await self._console.run(Command(text, timeout=KNOCK_EVERY, echoed=False))
                return
            except CommandFailed:
                return  # it speaks
            except RadioSilent as error:
                if loop.time() >= end:
                    raise RadioSilent(f"{self.name} does not answer AT at {self.options.port}: {error}") from error

    async def _introduce(self) -> None:
        """Settings that a modem forgets when it starts, and who it is."""
        await self._console.run(Command(f"AT+SBDMTA={int(self.options.ring_alerts)}"))
        with contextlib.suppress(CommandFailed):  # firmware without it is asked for the signal instead
            await self._console.run(Command("AT+CIER=1,1,1,0"))
        with contextlib.suppress(CommandFailed):
            await self._console.run(Command(f"AT+SBDAREG={int(self.options.auto_register)}"))
        serial = await self._said("AT+GSN") or await self._said("AT+CGSN")
        model, firmware = await self._said("AT+CGMM"), await self._said("AT+CGMR")
        digits = re.search(r"\d{15}", serial)
        if digits is None:
            said = model or serial or "nothing"
            raise WrongRadio(f"{self.name}: no IMEI; the modem calls itself {said!r}: this driver knows Iridium 960x")
        self.identity = SbdIdentity(digits.group(), model, firmware)

    async def _said(self, command: str) -> str:
        """What it answers in words; empty where it refuses."""
        with contextlib.suppress(CommandFailed):
            return " ".join((await self._console.run(Command(command))).lines)
        return ""

    # --- what the modem tells -----------------------------------------------------------------------------------------

    @abstractmethod
    def _heard(self, line: str) -> None:
        """A line that no command asked for."""

    def _lost(self, lost: PortLost) -> None:
        self._break(lost)

    @property
    def _port_open(self) -> bool:
        return self._console.is_open

    @property
    def _visible(self) -> bool:
        return self._sky.visible

    def _status(self) -> RadioStatus:
        """What is known now."""
        sky, console = self._sky, self._console
        if not console.is_open:
            return RadioStatus(Evidence.NONE, str(self._trouble or "the port is not open"), rat="sbd")
        if self._trouble is not None:
            return RadioStatus(Evidence.PORT, str(self._trouble), rat="sbd")
        bars = "unknown" if sky.bars is None else f"{sky.bars} of 5"
        if self._attached:
            return RadioStatus(Evidence.BEARER, f"signal {bars}", "sbd", "Iridium")
        if sky.visible:
            return RadioStatus(Evidence.REGISTERED, f"signal {bars}", "sbd", "Iridium")
        return RadioStatus(Evidence.RADIO, f"no satellite in view, signal {bars}", rat="sbd")

    # --- repairs ------------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`."""
        again = self.options.ready_timeout + LEFTOVER + 4 * 30
        rungs = [
            Recovery("reopen port", self._reopen, again),
            Recovery("radio off/on", self._radio_off_on, again + 60),
        ]
        if "sleep" in self._wires:
            rungs.append(Recovery("sleep pin", self._sleep_and_wake, again + 60))
        if "switch" in self._wires:
            rungs.append(Recovery("power cut", self._cut_power, again + DISCHARGE + 60, attempts=2))
        return tuple(rungs)

    async def _reopen(self) -> None:
        self._console.close()
        await self._open_port()

    async def _radio_off_on(self) -> None:
        await self._open_port()
        await self._console.run(Command("AT*R0"))
        await self._console.run(Command("AT*R1"))

    async def _sleep_and_wake(self) -> None:
        await self._flush()
        self._console.close()
        await self._wires.cut(ASLEEP, "sleep")
        await self._open_port()

    async def _cut_power(self) -> None:
        await self._flush()
        self._console.close()
        await self._wires.cut(DISCHARGE, "switch")
        await self._open_port()

    async def _flush(self) -> None:
        """`AT*F`: radio off and everything written to flash, where the modem still listens; then power may go."""
        if self._console.is_open and not self._console.session_open:
            with contextlib.suppress(DriverError):
                await self._console.run(Command("AT*F", timeout=4.0))
