"""The rungs of a module's recovery ladder.

Rules of this file: how long which line is held, and what is waited for; when to climb is supervision's decision.  Each rung
ends when the module answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from rataccess.driver import Recovery
from rataccess.errors import DriverError, RadioSilent
from rataccess_drivers.gpio import LineSettings, OpenLine, OutputLine, hold_line
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_drivers.lora.modules.profile import Profile

_PORT_LIMIT = 20.0
"""Seconds that opening may take: each baud rate twice, and a break."""
_AGAIN = 0.5
_PATIENCE = 15.0
"""Seconds beyond its usual time that a module may take to start."""


class Body(Protocol):
    """The driver, as far as recoveries need it."""

    async def open_port(self) -> None:
        """Make sure that the port is open and the module answers."""
        ...

    async def close_port(self) -> None:
        """Let go of the port."""
        ...

    async def reset_by_command(self) -> None:
        """Tell the firmware to start anew."""
        ...

    def restarting(self, why: str) -> None:
        """The module restarts on purpose from now on."""
        ...


class Repairs:
    """The rungs of one module."""

    def __init__(self, body: Body, name: str, options: ModuleOptions, profile: Profile, opener: OpenLine) -> None:
        self._body = body
        self._name = name
        self._options = options
        self._profile = profile
        self._opener = opener
        self._switch: OutputLine | None = None

    def ladder(self) -> Sequence[Recovery]:
        """The rungs, mildest first."""
        again = self._profile.boot_time + _PATIENCE + 2 * _PORT_LIMIT
        rungs = [Recovery("reopen port", self.reopen_port, 2 * _PORT_LIMIT)]
        if self._profile.reset is not None:
            rungs.append(Recovery("modem reset", self.reset_by_command, 2 * _PORT_LIMIT + again))
        if self._options.reset is not None:
            rungs.append(Recovery("reset line", self.pull_reset, self._profile.reset_pulse + again))
        if self._options.power_switch is not None:
            rungs.append(Recovery("power cut", self.cut_power, self._profile.discharge + again, attempts=2))
        return tuple(rungs)

    async def reopen_port(self) -> None:
        """Close and open it; the module must answer."""
        await self._body.close_port()
        await self._body.open_port()

    async def reset_by_command(self) -> None:
        """The firmware starts anew."""
        await self._body.open_port()
        self._body.restarting("reset by command")
        await self._body.reset_by_command()
        await self.answers_again()

    async def pull_reset(self) -> None:
        """Hold the reset line."""
        settings = self._options.reset
        assert settings is not None
        self._body.restarting("reset line")
        await self._body.close_port()
        await self._hold(settings)
        await self.answers_again()

    async def _hold(self, settings: LineSettings) -> None:
        line = self._opener(settings, False)
        try:
            line.write(True)
            await asyncio.sleep(self._profile.reset_pulse)
        finally:
            line.write(False)
            line.close()

    async def cut_power(self) -> None:
        """Take the supply away for a while."""
        self._body.restarting("power cut")
        await self._body.close_port()
        switch = self._held_switch()
        try:
            switch.write(False)
            await asyncio.sleep(self._profile.discharge)
        finally:
            switch.write(True)
        await self.answers_again()

    def supply(self) -> None:
        """Switch the supply on where it is switchable; raises `RadioNotFound` where the line cannot be driven."""
        if self._options.power_switch is not None and self._switch is None:
            self._held_switch().write(True)

    def _held_switch(self) -> OutputLine:
        settings = self._options.power_switch
        assert settings is not None
        if self._switch is None:
            self._switch = hold_line(settings, True, self._opener)
        return self._switch

    async def answers_again(self) -> None:
        """Until the module answers; raises `RadioSilent` when that takes too long."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._profile.boot_time)
        end = loop.time() + _PATIENCE
        while True:
            try:
                return await self._body.open_port()
            except DriverError as error:
                if loop.time() + _AGAIN >= end:
                    raise RadioSilent(f"{self._name} does not answer after it was restarted: {error}") from error
            await asyncio.sleep(_AGAIN)
