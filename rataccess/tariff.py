"""What a packet is billed as: bytes, credits, messages or air time.

Rules of this file: arithmetic only.  Budgets, policy and reports count in the unit of a link; nothing here knows a link.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from rataccess.lorawan.airtime import Modulation


class Unit(enum.StrEnum):
    """What is counted where a link's use is billed or rationed."""

    BYTE = "byte"
    CREDIT = "credit"
    """So many bytes started, such as 50 with Iridium SBD."""
    MESSAGE = "message"
    AIRTIME = "ms of air time"

    def several(self, count: int) -> str:
        """So many of them, in words; air time in seconds."""
        if self is Unit.AIRTIME:
            return f"{count / 1000:.1f} s of air time"
        return f"{count} {self}" if count == 1 else f"{count} {self}s"


@dataclass(frozen=True, slots=True)
class Tariff:
    """How a network counts packets."""

    unit: Unit = Unit.BYTE
    quantum: int = 1
    """Bytes: with `BYTE` what is billed is a multiple of it, with `CREDIT` one credit is so many bytes."""
    overhead: int = 0
    """Bytes that the network adds to each packet and that count."""
    modulation: Modulation | None = None
    """With `AIRTIME`: how packets are sent now."""
    price: float = 0.0
    """Of one unit, in the unit of currency that the configuration uses."""

    def units(self, size: int) -> int:
        """What a packet of `size` bytes counts as, rounded up."""
        whole, quantum = size + self.overhead, max(1, self.quantum)
        if self.unit is Unit.BYTE:
            return -(-whole // quantum) * quantum
        if self.unit is Unit.CREDIT:
            return max(1, -(-whole // quantum))
        if self.unit is Unit.AIRTIME and self.modulation is not None:
            return math.ceil(self.modulation.time_on_air(whole) * 1000)
        return 1

    def cost(self, size: int) -> float:
        """What a packet of `size` bytes costs."""
        return self.units(size) * self.price

    def room(self, units: int, mtu: int) -> int:
        """Bytes of the largest packet, at most `mtu`, that counts as no more than `units`; below 1 where none does."""
        if self.unit is Unit.BYTE:
            quantum = max(1, self.quantum)
            return min(mtu, units // quantum * quantum - self.overhead)
        if self.units(0) > units:
            return 0
        low, high = 0, max(0, mtu)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.units(middle) <= units else (low, middle - 1)
        return low
