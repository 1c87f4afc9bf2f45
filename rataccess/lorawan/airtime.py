"""How long a LoRa packet is on the air.

Rules of this file: arithmetic only.  Source: Semtech, SX1276/77/78/79 datasheet rev. 7, section 4.1.1.7, and AN1200.13;
for spreading factors 5 and 6 the SX1261/2 datasheet rev. 2.1, section 6.1.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Modulation:
    """How a LoRa packet is modulated."""

    spreading_factor: int
    """5 to 12 chips per symbol, as the power of two."""
    bandwidth: int = 125_000
    """Hz: 125,000, 250,000 or 500,000, or one of the narrower ones of the chips."""
    coding_rate: int = 5
    """5 to 8, for 4/5 to 4/8."""
    preamble: int = 8
    """Symbols programmed; 4.25 (6.25 for spreading factors 5 and 6) are always added."""
    explicit_header: bool = True
    crc: bool = True
    low_data_rate: bool | None = None
    """Low data rate optimisation; `None`: where a symbol takes 16 ms or longer, as the regional parameters have it."""

    @property
    def symbol_time(self) -> float:
        """Seconds."""
        return float(2**self.spreading_factor) / self.bandwidth

    @property
    def optimised(self) -> bool:
        """Whether low data rate optimisation is on."""
        return self.symbol_time >= 0.016 if self.low_data_rate is None else self.low_data_rate

    def time_on_air(self, size: int) -> float:
        """Seconds that a packet with `size` bytes (0 to 255) of PHY payload is on the air."""
        slow = self.spreading_factor <= 6
        head = 0 if slow else 8
        bits = 8 * size - 4 * self.spreading_factor + head + 16 * self.crc + (20 if self.explicit_header else 0)
        each = 4 * (self.spreading_factor - (2 if self.optimised and not slow else 0))
        symbols = 8 + max(0, math.ceil(bits / each)) * self.coding_rate
        preamble = self.preamble + (6.25 if slow else 4.25)
        return (preamble + symbols) * self.symbol_time
