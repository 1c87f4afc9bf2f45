"""What a radio uses besides one unit for each message: told to whoever keeps a budget (`rataccess.driver.Charges`).

Rules of this file: counting only.
"""

from __future__ import annotations

import math
from collections.abc import Callable


class AirtimeCharges:
    """Air time, of which the first transmission of a message is paid for by whoever sent the message."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[int], None]] = []
        self._paid = False

    def on_charge(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """See `Charges.on_charge`; in milliseconds."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def message(self) -> None:
        """The next transmission is a message's first."""
        self._paid = True

    def spent(self, seconds: float) -> None:
        """Something is transmitted for so long."""
        paid, self._paid = self._paid, False
        if not paid:
            self.charge(math.ceil(seconds * 1000))

    def charge(self, milliseconds: int) -> None:
        """So much was used that no message accounts for."""
        for callback in tuple(self._callbacks) if milliseconds > 0 else ():
            callback(milliseconds)
