"""The wires of an Iridium SBD modem: its sleep pin and its supply.

Rules of this file: which line is held for how long; when is for the driver and its recoveries.
"""

from __future__ import annotations

import asyncio

from rataccess_drivers.gpio import LineSettings, OpenLine, OutputLine, hold_line

# RockBLOCKs hold a charge for some seconds without supply (their super capacitor); less does not start the modem anew.
DISCHARGE = 10.0
ASLEEP = 3.0


class Wires:
    """Both lines, where they are configured; held open until the process ends, or the modem would go off with it."""

    def __init__(self, sleep: LineSettings | None, switch: LineSettings | None, opener: OpenLine) -> None:
        self._settings = {"sleep": sleep, "switch": switch}
        self._opener = opener
        self._held: dict[str, OutputLine] = {}

    @property
    def has_sleep(self) -> bool:
        """Whether the sleep pin is wired."""
        return self._settings["sleep"] is not None

    @property
    def has_switch(self) -> bool:
        """Whether the supply can be switched."""
        return self._settings["switch"] is not None

    def on(self) -> bool:
        """Supply on and awake; whether there is any wire.  Raises `RadioNotFound` where a line cannot be driven."""
        return any([self._set("switch", True), self._set("sleep", True)])

    def asleep(self) -> None:
        """Let the modem sleep; the supply stays."""
        self._set("sleep", False)

    async def sleep_and_wake(self) -> None:
        """Off and on by the sleep pin."""
        await self._pulse("sleep", ASLEEP)

    async def cut(self) -> None:
        """Take the supply away until the modem's capacitors are empty."""
        await self._pulse("switch", DISCHARGE)

    async def _pulse(self, which: str, seconds: float) -> None:
        try:
            self._set(which, False)
            await asyncio.sleep(seconds)
        finally:
            self._set(which, True)

    def _set(self, which: str, value: bool) -> bool:
        settings = self._settings[which]
        if settings is None:
            return False
        if which not in self._held:
            self._held[which] = hold_line(settings, value, self._opener)
        self._held[which].write(value)
        return True
