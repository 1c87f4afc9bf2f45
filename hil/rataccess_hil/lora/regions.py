"""Channel plans of the virtual network: EU868, US915, AS923, AU915, IN865.

Rules of this file: data, and the mapping of an uplink to its first receive window.  Source: LoRaWAN Regional Parameters
RP002-1.0.3; limits and duty cycles of EU868 as LoRaMac-node has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rataccess_hil.lora.airtime import Waveform

_Rate = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Band:
    """A sub-band and how much of the time one may transmit there."""

    low: int
    high: int
    duty_cycle: float


@dataclass(frozen=True, slots=True)
class Region:
    """A channel plan.  Frequencies in Hz; a data rate is a spreading factor and a bandwidth."""

    name: str
    join_channels: tuple[int, ...]
    """Of bandwidth 125 kHz; devices join on these."""
    rates: dict[int, _Rate]
    down_rates: dict[int, _Rate]
    limits: dict[int, int]
    """N: most application payload for each data rate."""
    rx2_frequency: int
    rx2_rate: int
    max_eirp: int
    highest_rate: int
    """Highest data rate of the 125 kHz channels."""
    bands: tuple[Band, ...] = ()
    fixed: bool = False
    """Whether channels are numbered once and for all (US915, AU915)."""
    wide_channels: tuple[int, ...] = ()
    """Of bandwidth 500 kHz."""
    down_channels: tuple[int, ...] = ()
    """Of the first window, where it is not the uplink's."""
    rx1_base: int = 0
    """Data rate of the first window for data rate 0 and offset 0 (US915 10, AU915 8)."""
    join_rates: tuple[int, ...] = field(default=(0, 1, 2, 3, 4, 5))
    offsets: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """What each RX1DROffset takes from the uplink's data rate."""
    rx1_lowest: int = 0
    """In the first window: 2 in AS923, where downlinks may last 400 ms."""

    def wave(self, rate: int, frequency: int, *, down: bool = False) -> Waveform:
        """How a frame of this data rate goes on the air; downlinks have no CRC and inverted IQ.  Raises `KeyError`."""
        factor, bandwidth = (self.down_rates if down else self.rates)[rate]
        return Waveform(frequency, factor, bandwidth, inverted_iq=down, crc=not down)

    def rate_of(self, factor: int, bandwidth: int) -> int | None:
        """The uplink data rate of a modulation."""
        return next((rate for rate, each in self.rates.items() if each == (factor, bandwidth)), None)

    def rx1(self, rate: int, frequency: int, offset: int = 0) -> tuple[int, int]:
        """Data rate and frequency of the first receive window."""
        if not self.fixed:
            return min(max(5, rate), max(self.rx1_lowest, rate - self.offsets[offset])), frequency
        if frequency in self.wide_channels:
            channel = self.wide_channels.index(frequency)
        else:
            channel = self.join_channels.index(frequency) % 8
        highest = max(self.down_rates)
        return max(8, min(highest, self.rx1_base + rate - offset)), self.down_channels[channel]

    def band(self, frequency: int) -> Band | None:
        """The sub-band of a frequency, where there is a limit."""
        return next((each for each in self.bands if each.low <= frequency < each.high), None)

    def down_limit(self, rate: int) -> int:
        """N of a downlink's data rate."""
        return {8: 53, 9: 129}.get(rate, 242) if self.fixed else self.limits[rate]

    def limit(self, rate: int) -> int:
        """N of a data rate."""
        return self.limits[rate]


_LADDER = {rate: (12 - rate, 125_000) for rate in range(6)} | {6: (7, 250_000)}
_EU_LIMITS = {0: 51, 1: 51, 2: 51, 3: 115, 4: 242, 5: 242, 6: 242}
_WIDE_DOWN = {8 + index: (12 - index, 500_000) for index in range(6)}
_US_DOWN = tuple(923_300_000 + 600_000 * index for index in range(8))
_EU_BANDS = (
    Band(863_000_000, 865_000_000, 0.001),
    Band(865_000_000, 868_000_000, 0.01),
    Band(868_000_000, 868_600_000, 0.01),
    Band(868_700_000, 869_200_000, 0.001),
    Band(869_400_000, 869_650_000, 0.1),
    Band(869_700_000, 870_000_000, 0.01),
)

EU868 = Region(
    "EU868",
    (868_100_000, 868_300_000, 868_500_000),
    _LADDER,
    _LADDER,
    _EU_LIMITS,
    869_525_000,
    0,
    16,
    5,
    _EU_BANDS,
)
_UP_TOO = (0, 1, 2, 3, 4, 5, -1, -2)
IN865 = Region(
    "IN865",
    (865_062_500, 865_402_500, 865_985_000),
    _LADDER,
    _LADDER,
    _EU_LIMITS,
    866_550_000,
    2,
    30,
    5,
    offsets=_UP_TOO,
)
AS923 = Region(
    "AS923",
    (923_200_000, 923_400_000),
    _LADDER,
    _LADDER,
    {0: 51, 1: 51, 2: 51, 3: 115, 4: 242, 5: 242, 6: 242},
    923_200_000,
    2,
    16,
    5,
    join_rates=(2, 3, 4, 5),
    offsets=_UP_TOO,
    rx1_lowest=2,
)
US915 = Region(
    "US915",
    tuple(902_300_000 + 200_000 * index for index in range(64)),
    {0: (10, 125_000), 1: (9, 125_000), 2: (8, 125_000), 3: (7, 125_000), 4: (8, 500_000)},
    _WIDE_DOWN,
    {0: 11, 1: 53, 2: 125, 3: 242, 4: 242},
    923_300_000,
    8,
    30,
    3,
    fixed=True,
    wide_channels=tuple(903_000_000 + 1_600_000 * index for index in range(8)),
    down_channels=_US_DOWN,
    rx1_base=10,
    join_rates=(0, 4),
)
AU915 = Region(
    "AU915",
    tuple(915_200_000 + 200_000 * index for index in range(64)),
    {**{rate: (12 - rate, 125_000) for rate in range(6)}, 6: (8, 500_000)},
    _WIDE_DOWN,
    {0: 51, 1: 51, 2: 51, 3: 115, 4: 242, 5: 242, 6: 242},
    923_300_000,
    8,
    30,
    5,
    fixed=True,
    wide_channels=tuple(915_900_000 + 1_600_000 * index for index in range(8)),
    down_channels=_US_DOWN,
    rx1_base=8,
    join_rates=(2, 6),
)

REGIONS = {region.name: region for region in (EU868, US915, AS923, AU915, IN865)}
"""Every plan by name."""
