"""The rungs of a modem's recovery ladder that touch wires or restart the firmware, and waiting until it answers again.

Rules of this file: how long which line is held, and what is waited for.  The ladder itself (which rungs there are, and in
which order) is made here too; when to climb it is supervision's decision.  Each rung ends when the modem answers AT.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from rataccess.driver import Recovery
from rataccess.errors import CommandFailed, DriverError, RadioSilent
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.options import QuectelOptions
from rataccess_drivers.cellular.profiles import Profile
from rataccess_drivers.gpio import LineSettings, OpenLine, OutputLine, hold_line

# Between two looks whether the modem answers again; each look takes up to 5 s itself where something is there.
_LOOK_AGAIN = 0.5
# What resynchronising a silent port takes (see `at.port`), with some room.
_PORT_LIMIT = 8.0


class Body(Protocol):
    """The driver, as far as recoveries need it."""

    async def open_port(self) -> None:
        """Make sure that the port is open and answers; raises `RadioSilent`, `RadioNotFound` ..."""
        ...

    async def close_port(self) -> None:
        """Let go of the port; what was open on it is broken."""
        ...

    def restarting(self, why: str) -> None:
        """The modem restarts on purpose from now on: what it says of that is no news."""
        ...

    async def booted(self, limit: float) -> bool:
        """Wait up to `limit` s until the modem has said that it starts, or its port has vanished; whether it did."""
        ...


class Repairs:
    """The rungs of one modem."""

    def __init__(
        self, body: Body, console: Console, options: QuectelOptions, profile: Callable[[], Profile], opener: OpenLine
    ) -> None:
        self._body = body
        self._console = console
        self._options = options
        self._profile = profile
        self._opener = opener
        self._switch: OutputLine | None = None

    def ladder(self) -> Sequence[Recovery]:
        """The rungs, mildest first."""
        power, limits = self._profile().power, self._profile().limits
        again = power.ready + power.patience
        rungs = [
            Recovery("reopen port", self.reopen_port, 3 * _PORT_LIMIT),
            Recovery("radio off/on", self.radio_off_on, 2 * _PORT_LIMIT + 2 * limits.radio),
            Recovery("modem reset", self.modem_reset, 2 * _PORT_LIMIT + limits.reset + power.ready + again),
        ]
        if self._options.reset is not None:
            rungs.append(Recovery("reset line", self.pull_reset, power.reset + again + _PORT_LIMIT))
        if self._options.power_key is not None:
            rungs.append(Recovery("power key", self.press_power_key, self._cycle(power.key_off + power.off)))
        if self._options.power_switch is not None:
            rungs.append(Recovery("power cut", self.cut_power, self._cycle(power.discharge), attempts=2))
        return tuple(rungs)

    def _cycle(self, off: float) -> float:
        power = self._profile().power
        return off + power.key_on + power.ready + power.patience + _PORT_LIMIT

    # --- by command ---------------------------------------------------------------------------------------------------

    async def reopen_port(self) -> None:
        """Close and open the port; the modem must answer a query too, not only `AT`."""
        await self._body.close_port()
        await self._body.open_port()
        await self._answers_queries()

    async def _answers_queries(self) -> None:
        with contextlib.suppress(CommandFailed):
            await self._console.lines("AT+CFUN?", "+CFUN:", self._profile().limits.check)  # not a restart's URC

    async def radio_off_on(self) -> None:
        """`AT+CFUN=0` and `1`."""
        await self._body.open_port()
        await self._answers_queries()
        limit = self._profile().limits.radio
        await self._console.order("AT+CFUN=0", limit)
        await self._console.order("AT+CFUN=1", limit)

    async def modem_reset(self) -> None:
        """`AT+CFUN=1,1`: the firmware starts anew."""
        await self._body.open_port()
        self._body.restarting("reset by command")
        await self._console.order("AT+CFUN=1,1", self._profile().limits.reset)
        await self._body.booted(self._profile().power.ready)
        await self._answer_again()

    # --- by wire ------------------------------------------------------------------------------------------------------

    async def pull_reset(self) -> None:
        """Hold the reset line as long as the module's hardware design asks."""
        power = self._profile().power
        self._body.restarting("reset line")
        await self._hold(self._options.reset, power.reset)
        await self._body.booted(power.ready)
        await self._answer_again()

    async def press_power_key(self) -> None:
        """Off and on.

        A module that was off is switched on by the first press; the second one is too short to switch it off again.
        """
        power = self._profile().power
        self._body.restarting("power key")
        await self._hold(self._options.power_key, power.key_off)
        await asyncio.sleep(power.off)
        await self._start()

    async def switch_on(self) -> None:
        """A short press of the power key, which starts a module that is off and means nothing to one that runs."""
        self._body.restarting("switched on")
        await self._start()

    async def cut_power(self) -> None:
        """Take the supply away until the module's capacitors are empty, and start it."""
        power = self._profile().power
        self._body.restarting("power cut")
        await self._body.close_port()
        if self._switch is None and self._options.power_switch is not None:
            self._switch = hold_line(self._options.power_switch, True, self._opener)
        assert self._switch is not None
        try:
            self._switch.write(False)
            await asyncio.sleep(power.discharge)
        finally:
            self._switch.write(True)
        await self._start()

    def supply(self) -> None:
        """Switch the supply on where it is switchable; raises `RadioNotFound` where the line cannot be driven."""
        if self._options.power_switch is not None and self._switch is None:
            self._switch = hold_line(self._options.power_switch, True, self._opener)
            self._switch.write(True)

    async def _start(self) -> None:
        power = self._profile().power
        if self._options.power_key is not None:
            await self._hold(self._options.power_key, power.key_on)
        await self._body.booted(power.ready)
        await self._answer_again()

    async def _hold(self, settings: LineSettings | None, seconds: float) -> None:
        assert settings is not None
        line = self._opener(settings, False)
        try:
            line.write(True)
            await asyncio.sleep(seconds)
        finally:
            line.write(False)
            line.close()

    async def _answer_again(self) -> None:
        """Until the modem answers AT; raises `RadioSilent` or what the port says when that takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._profile().power.patience
        while True:
            try:
                return await self._body.open_port()
            except DriverError as error:
                if loop.time() + _LOOK_AGAIN >= end:
                    raise RadioSilent(
                        f"{self._console.name} does not answer after it was restarted: {error}"
                    ) from error
            await asyncio.sleep(_LOOK_AGAIN)
