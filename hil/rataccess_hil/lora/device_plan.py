"""The channels of a virtual end device: which it has, which it may use now, and how long a sub-band rests.

Rules of this file: no frame and no timer; times are handed in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rataccess_hil.lora.regions import Region


@dataclass(slots=True)
class Channel:
    """A channel of 125 kHz, or of 500 kHz where `wide`."""

    frequency: int
    lowest: int
    highest: int
    enabled: bool = True
    wide: bool = False
    down_frequency: int = 0


@dataclass(slots=True)
class Plan:
    """The channels that a device has now."""

    region: Region
    channels: dict[int, Channel] = field(default_factory=dict)
    free_at: dict[int, float] = field(default_factory=dict)
    """Loop time from which a sub-band (by its lowest frequency) may be used again."""
    duty_cycle: bool = True
    aggregated: float = 1.0
    """What DutyCycleReq allows of all together."""

    @classmethod
    def of(cls, region: Region) -> Plan:
        """The channels to join on."""
        plan = cls(region)
        for index, frequency in enumerate(region.join_channels):
            # US915 and AU915: sub-band 2, as most networks there have it.
            enabled = not region.fixed or 8 <= index < 16
            plan.channels[index] = Channel(frequency, 0, region.highest_rate, enabled)
        for index, frequency in enumerate(region.wide_channels):
            rate = region.highest_rate + 1
            plan.channels[64 + index] = Channel(frequency, rate, rate, index == 1, wide=True)
        return plan

    def usable(self, rate: int) -> list[Channel]:
        """Enabled channels that carry a data rate."""
        return [each for each in self.channels.values() if each.enabled and each.lowest <= rate <= each.highest]

    def pick(self, rate: int, now: float, chance: random.Random) -> Channel | float | None:
        """A channel that is free now; else the seconds until one is; `None` where none carries the rate."""
        usable = self.usable(rate)
        if not usable:
            return None
        free = [each for each in usable if self._free_at(each) <= now + 1e-6]
        if free:
            return chance.choice(free)
        return min(self._free_at(each) for each in usable) - now

    def _free_at(self, channel: Channel) -> float:
        band = self.region.band(channel.frequency)
        if not self.duty_cycle or band is None:
            return self.free_at.get(-1, 0.0)
        return max(self.free_at.get(band.low, 0.0), self.free_at.get(-1, 0.0))

    def used(self, frequency: int, end: float, airtime: float) -> None:
        """Account for a transmission that ended at `end`."""
        band = self.region.band(frequency)
        if band is not None:
            self.free_at[band.low] = end + airtime * (1 / band.duty_cycle - 1)
        if self.aggregated < 1.0:
            self.free_at[-1] = end + airtime * (1 / self.aggregated - 1)

    def take_cf_list(self, data: bytes) -> None:
        """The CFList of a join-accept: more channels, or masks."""
        if len(data) != 16:
            return
        if data[15] == 0:
            for index in range(5):
                frequency = int.from_bytes(data[3 * index : 3 * index + 3], "little") * 100
                if frequency:
                    self.channels[3 + index] = Channel(frequency, 0, self.region.highest_rate)
        elif data[15] == 1 and self.region.fixed:
            mask = int.from_bytes(data[:10], "little")
            for index, channel in self.channels.items():
                channel.enabled = bool(mask >> index & 1)

    def masked(self, mask: int, control: int) -> bool:
        """Apply a ChMask; false (and nothing done) where it names a channel that is not there, or leaves none."""
        wanted = self._wanted(mask, control)
        if wanted is None or not any(wanted.values()) or any(index not in self.channels for index in wanted):
            return False
        for index, channel in self.channels.items():
            channel.enabled = wanted.get(index, channel.enabled if self.region.fixed else False)
        return True

    def _wanted(self, mask: int, control: int) -> dict[int, bool] | None:
        bits = {index: bool(mask >> index & 1) for index in range(16)}
        if not self.region.fixed:
            if control == 6:
                return dict.fromkeys(self.channels, True)
            return {index: on for index, on in bits.items() if on} if control == 0 else None
        if control < 4:
            return {16 * control + index: on for index, on in bits.items()}
        wide = {64 + index: bits[index] for index in range(8)}
        if control in (6, 7):
            return dict.fromkeys(range(64), control == 6) | wide
        return wide if control == 4 else None
