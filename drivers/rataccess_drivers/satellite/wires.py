"""The wires of a satellite modem: supply, enable and sleep pins.

Rules of this file: which line has which level; when, and for how long, is for the drivers.  `True` is on, whatever the
wiring makes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rataccess_drivers.gpio import LineSettings, OpenLine, OutputLine, hold_line


class Wires:
    """Lines by name, in the order in which they are switched on; those not configured do nothing.

    They are held open until the process ends, or the modem would go off with its driver.
    """

    def __init__(self, settings: Mapping[str, LineSettings | None], opener: OpenLine) -> None:
        self._settings = {name: each for name, each in settings.items() if each is not None}
        self._opener = opener
        self._held: dict[str, OutputLine] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._settings

    def __bool__(self) -> bool:
        return bool(self._settings)

    def on(self) -> None:
        """All of them on.  Raises `RadioNotFound` where a line cannot be driven."""
        for name in self._settings:
            self.set(name, True)

    def set(self, name: str, value: bool) -> None:
        """One of them; raises as `on`."""
        if name not in self._held:
            self._held[name] = hold_line(self._settings[name], value, self._opener)
        self._held[name].write(value)

    async def cut(self, seconds: float, *names: str, apart: float = 0.0) -> None:
        """Those named (or all) off for so long, the last one first, `apart` seconds before the next; and on again
        whatever happens meanwhile."""
        chosen = [name for name in self._settings if not names or name in names]
        try:
            for name in reversed(chosen):
                self.set(name, False)
                await asyncio.sleep(apart if name != chosen[0] else seconds)
        finally:
            for name in chosen:
                self.set(name, True)
