"""What a radio uses besides one unit for each message: told to whoever keeps a budget (`rataccess.driver.Charges`).

Rules of this file: counting only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Charging:
    """Who is told."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[int], None]] = []

    def on_charge(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """See `Charges.on_charge`."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def charge(self, units: int) -> None:
        """So much was used that no message accounts for; nothing where it is less than that."""
        for callback in tuple(self._callbacks) if units > 0 else ():
            callback(units)


class AirtimeCharges(Charging):
    """Milliseconds of air time, of which a message's first transmission is paid for by whoever sent the message."""

    def __init__(self) -> None:
        super().__init__()
        self._paid = 0

    @contextmanager
    def message(self, milliseconds: int) -> Iterator[None]:
        """What is transmitted first within this is a message for the first time, and so much of it is paid for.

        Nothing at all may be: what is refused leaves nothing behind that would pay for something else.
        """
        self._paid = milliseconds
        try:
            yield
        finally:
            self._paid = 0

    def spent(self, seconds: float) -> None:
        """Something is transmitted for so long."""
        paid, self._paid = self._paid, 0
        self.charge(math.ceil(seconds * 1000) - paid)
