"""Regional parameters as data: channels, data rates, payload limits, receive windows, power, duty cycle, dwell time.

Rules of this file: data, and the arithmetic that reads it; no state of a device.  Frequencies are Hz, power dBm EIRP.  Only
LoRa modulation: the FSK and LR-FHSS data rates (EU868 DR7 to DR11, US915 DR5 and DR6 ...) are left out, as the standard
allows a device to refuse them.  Source: LoRaWAN Regional Parameters RP002-1.0.3; duty cycles of EU868: ETSI EN 300 220-2
annex B and ERC/REC 70-03 annex 1, for the bands in which there are channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rataccess.lorawan.airtime import Modulation

DWELL_LIMIT = 0.4
"""Seconds that one uplink may take where dwell time is limited."""
KEEP = 15
"""Data rate or power index of a LinkADRReq that says: leave it (LoRaWAN L2 1.0.4 clause 5.2)."""


@dataclass(frozen=True, slots=True)
class Channel:
    """An uplink channel."""

    frequency: int
    min_dr: int
    max_dr: int


@dataclass(frozen=True, slots=True)
class Band:
    """A sub-band whose air time is limited."""

    lowest: int
    highest: int
    """Not part of it."""
    share: float
    """Of the time that one transmitter may be on the air: 0.01 is 1 %."""

    @property
    def name(self) -> str:
        """For people: `868.0-868.6 MHz, 1 %`."""
        return f"{self.lowest / 1e6:.6g}-{self.highest / 1e6:.6g} MHz, {self.share * 100:.3g} %"


@dataclass(frozen=True, slots=True)
class Region:
    """One channel plan."""

    name: str
    low: int
    """Lowest frequency that a network may ask for."""
    high: int
    channels: tuple[Channel, ...]
    """Those that always are: a device joins on them."""
    fixed: bool
    """Whether all channels are given (US915, AU915) and a network only switches them on and off."""
    data_rates: Mapping[int, Modulation]
    """Of uplinks."""
    payloads: Mapping[int, int]
    """Largest FRMPayload with empty FOpts (N), by data rate of the uplink, without a repeater."""
    rx1_offsets: tuple[int, ...]
    """What each RX1DROffset takes from the uplink's data rate."""
    rx2_frequency: int
    rx2_dr: int
    max_eirp: int
    last_power: int
    """Highest TXPower index; each step is 2 dB below `max_eirp`."""
    join_data_rates: tuple[int, ...]
    """With which a device asks to join, fastest first; in a fixed plan one for the narrow and one for the wide channels."""
    highest_rx1_dr: int
    downlink_rates: Mapping[int, Modulation] = field(default_factory=dict)
    """Where they differ from those of uplinks."""
    downlink_payload_sizes: Mapping[int, int] = field(default_factory=dict)
    rx1_table: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Data rate of RX1 by that of the uplink and RX1DROffset, in a fixed plan."""
    downlink_frequencies: tuple[int, ...] = ()
    """Of RX1 in a fixed plan, by uplink channel modulo their number."""
    bands: tuple[Band, ...] = ()
    """Where empty, the law limits no duty cycle."""
    dwell_payloads: Mapping[int, int] = field(default_factory=dict)
    """N while the dwell time of uplinks is limited; a data rate that is missing must not be used then."""
    uplink_dwell: bool = False
    """Whether uplinks are limited to `DWELL_LIMIT` before the network says otherwise."""
    downlink_dwell: bool = False
    sets_dwell: bool = False
    """Whether the network may change that (TXParamSetupReq)."""
    dwell_bandwidth: int | None = None
    """Dwell time is limited on channels of this width only; `None`: on each."""

    def __repr__(self) -> str:
        return f"<Region {self.name}>"

    # --- channels and bands -------------------------------------------------------------------------------------------

    def allows(self, frequency: int) -> bool:
        """Whether a network may ask a device to use `frequency`."""
        inside = self.low <= frequency <= self.high
        return inside and (not self.bands or self.band(frequency) is not None)

    def band(self, frequency: int) -> Band | None:
        """The sub-band in which `frequency` is; `None` where nothing is limited, or nothing allowed."""
        return next((each for each in self.bands if each.lowest <= frequency < each.highest), None)

    def sub_band_mask(self, sub_band: int) -> frozenset[int]:
        """Channels of the sub-band 1 to 8 of a fixed plan: eight narrow ones and a wide one."""
        first = 8 * (sub_band - 1)
        return frozenset({*range(first, first + 8), 64 + sub_band - 1})

    def channel_index(self, frequency: int) -> int | None:
        """The channel that always is on `frequency`."""
        return next((index for index, each in enumerate(self.channels) if each.frequency == frequency), None)

    # --- data rates ---------------------------------------------------------------------------------------------------

    def data_rate(self, spreading_factor: int, bandwidth: int) -> int | None:
        """The uplink data rate with that modulation."""
        wanted = (spreading_factor, bandwidth)
        found = (dr for dr, each in self.data_rates.items() if (each.spreading_factor, each.bandwidth) == wanted)
        return next(found, None)

    def downlink_modulation(self, dr: int) -> Modulation | None:
        """How a downlink with that data rate is modulated (without CRC); `None` where there is none such."""
        found = (self.downlink_rates or self.data_rates).get(dr)
        return None if found is None else replace(found, crc=False)

    def dwell_limited(self, dr: int, dwell: bool) -> bool:
        """Whether an uplink with that data rate must end within `DWELL_LIMIT`; `dwell`: as the network has it."""
        narrow = self.dwell_bandwidth is None or self.data_rates[dr].bandwidth == self.dwell_bandwidth
        return dwell and narrow

    def max_payload(self, dr: int, *, dwell: bool | None = None) -> int:
        """N: the largest FRMPayload with that data rate and empty FOpts; 0 where it must not be used."""
        limited = self.uplink_dwell if dwell is None else dwell
        return (self.dwell_payloads if limited and self.dwell_payloads else self.payloads).get(dr, 0)

    def max_downlink_payload(self, dr: int) -> int:
        """N of a downlink with that data rate."""
        return (self.downlink_payload_sizes or self.payloads).get(dr, 0)

    # --- receive windows ----------------------------------------------------------------------------------------------

    def rx1_dr(self, dr: int, offset: int, *, dwell: bool | None = None) -> int | None:
        """Data rate of RX1 after an uplink with `dr`; `None` where the offset is none.  `dwell`: that of downlinks."""
        if self.rx1_table:
            row = self.rx1_table.get(dr, ())
            return row[offset] if offset < len(row) else None
        if offset >= len(self.rx1_offsets):
            return None
        lowest = 2 if (self.downlink_dwell if dwell is None else dwell) else 0
        return min(max(self.highest_rx1_dr, dr), max(lowest, dr - self.rx1_offsets[offset]))

    def rx1_frequency(self, index: int, frequency: int) -> int:
        """Of RX1 after an uplink on channel `index`, which is on `frequency`."""
        if not self.downlink_frequencies:
            return frequency
        return self.downlink_frequencies[index % len(self.downlink_frequencies)]

    def allows_rx1_offset(self, offset: int) -> bool:
        """Whether that RX1DROffset is defined."""
        if self.rx1_table:
            return all(offset < len(row) for row in self.rx1_table.values())
        return offset < len(self.rx1_offsets)

    # --- masks --------------------------------------------------------------------------------------------------------

    def masked(
        self, enabled: frozenset[int], defined: frozenset[int], ch_mask: int, ch_mask_cntl: int
    ) -> frozenset[int] | None:
        """What is on after one ChMask of a LinkADRReq; `None` where it asks for what is reserved or not defined."""
        wanted = frozenset(each for each in range(16) if ch_mask >> each & 1)
        if self.fixed:
            return _fixed_mask(enabled, wanted, ch_mask_cntl)
        if ch_mask_cntl == 6:
            return defined
        return wanted if ch_mask_cntl == 0 and wanted <= defined else None


_NARROW = frozenset(range(64))


def _fixed_mask(enabled: frozenset[int], wanted: frozenset[int], control: int) -> frozenset[int] | None:
    """RP002 tables of ChMaskCntl for US915 and AU915; bits for channels that are not there are ignored."""
    wide = frozenset(64 + each for each in wanted if each < 8)
    if control < 4:
        bank = frozenset(range(16 * control, 16 * control + 16))
        return enabled - bank | frozenset(16 * control + each for each in wanted)
    if control == 4:
        return (enabled & _NARROW) | wide
    if control == 5:
        blocks = frozenset(8 * each + at for each in wanted if each < 8 for at in range(8))
        return blocks | wide
    if control in (6, 7):
        return (_NARROW if control == 6 else frozenset()) | wide
    return None


def _lora(*rates: tuple[int, int]) -> dict[int, Modulation]:
    return {dr: Modulation(factor, bandwidth) for dr, (factor, bandwidth) in enumerate(rates)}


def _sizes(*sizes: int, first: int = 0) -> dict[int, int]:
    return dict(enumerate(sizes, start=first))


_NARROW_RATES = tuple((factor, 125_000) for factor in (12, 11, 10, 9, 8, 7))
_WIDE_DOWN = {8 + at: Modulation(factor, 500_000) for at, factor in enumerate((12, 11, 10, 9, 8, 7))}
_WIDE_DOWN_SIZES = _sizes(53, 129, 242, 242, 242, 242, first=8)


def _channels(*frequencies: int, dr: tuple[int, int] = (0, 5)) -> tuple[Channel, ...]:
    return tuple(Channel(each, *dr) for each in frequencies)


def _grid(first: int, step: int, count: int) -> Sequence[int]:
    return [first + step * each for each in range(count)]


EU868 = Region(
    name="EU868",
    low=863_000_000,
    high=870_000_000,
    channels=_channels(868_100_000, 868_300_000, 868_500_000),
    fixed=False,
    data_rates=_lora(*_NARROW_RATES, (7, 250_000)),
    payloads=_sizes(51, 51, 51, 115, 242, 242, 242),
    rx1_offsets=(0, 1, 2, 3, 4, 5),
    rx2_frequency=869_525_000,
    rx2_dr=0,
    max_eirp=16,
    last_power=7,
    join_data_rates=(5, 4, 3, 2, 1, 0),
    highest_rx1_dr=6,
    bands=(
        Band(863_000_000, 865_000_000, 0.001),
        Band(865_000_000, 868_000_000, 0.01),
        Band(868_000_000, 868_600_000, 0.01),
        Band(868_700_000, 869_200_000, 0.001),
        Band(869_400_000, 869_650_000, 0.1),
        Band(869_700_000, 870_000_000, 0.01),
    ),
)

IN865 = Region(
    name="IN865",
    low=865_000_000,
    high=867_000_000,
    channels=_channels(865_062_500, 865_402_500, 865_985_000),
    fixed=False,
    data_rates=_lora(*_NARROW_RATES),
    payloads=_sizes(51, 51, 51, 115, 242, 242),
    rx1_offsets=(0, 1, 2, 3, 4, 5, -1, -2),
    rx2_frequency=866_550_000,
    rx2_dr=2,
    max_eirp=30,
    last_power=10,
    join_data_rates=(5, 4, 3, 2, 1, 0),
    highest_rx1_dr=5,
)


def _as923(name: str, shift: int) -> Region:
    """One of the groups of AS923, which differ in where they lie."""
    return Region(
        name=name,
        low=915_000_000,
        high=928_000_000,
        channels=_channels(923_200_000 + shift, 923_400_000 + shift),
        fixed=False,
        data_rates=_lora(*_NARROW_RATES, (7, 250_000)),
        payloads=_sizes(51, 51, 51, 115, 242, 242, 242),
        rx1_offsets=(0, 1, 2, 3, 4, 5, -1, -2),
        rx2_frequency=923_200_000 + shift,
        rx2_dr=2,
        max_eirp=16,
        last_power=7,
        join_data_rates=(5, 4, 3, 2),
        highest_rx1_dr=5,
        bands=(Band(915_000_000, 928_000_001, 0.01),),
        dwell_payloads=_sizes(11, 53, 125, 242, 242, first=2),
        uplink_dwell=True,
        downlink_dwell=True,
        sets_dwell=True,
    )


US915 = Region(
    name="US915",
    low=902_000_000,
    high=928_000_000,
    channels=(
        *_channels(*_grid(902_300_000, 200_000, 64), dr=(0, 3)),
        *_channels(*_grid(903_000_000, 1_600_000, 8), dr=(4, 4)),
    ),
    fixed=True,
    data_rates=_lora(*_NARROW_RATES[2:], (8, 500_000)),
    payloads=_sizes(11, 53, 125, 242, 242),
    rx1_offsets=(),
    rx2_frequency=923_300_000,
    rx2_dr=8,
    max_eirp=30,
    last_power=14,
    join_data_rates=(0, 4),
    highest_rx1_dr=13,
    downlink_rates=_WIDE_DOWN,
    downlink_payload_sizes=_WIDE_DOWN_SIZES,
    rx1_table={
        0: (10, 9, 8, 8),
        1: (11, 10, 9, 8),
        2: (12, 11, 10, 9),
        3: (13, 12, 11, 10),
        4: (13, 13, 12, 11),
    },
    downlink_frequencies=tuple(_grid(923_300_000, 600_000, 8)),
    uplink_dwell=True,  # FCC 15.247 (a)(1)(i), for channels that are hopped over
    dwell_bandwidth=125_000,
)

AU915 = Region(
    name="AU915",
    low=915_000_000,
    high=928_000_000,
    channels=(
        *_channels(*_grid(915_200_000, 200_000, 64)),
        *_channels(*_grid(915_900_000, 1_600_000, 8), dr=(6, 6)),
    ),
    fixed=True,
    data_rates=_lora(*_NARROW_RATES, (8, 500_000)),
    payloads=_sizes(51, 51, 51, 115, 242, 242, 242),
    rx1_offsets=(),
    rx2_frequency=923_300_000,
    rx2_dr=8,
    max_eirp=30,
    last_power=14,
    join_data_rates=(2, 6),
    highest_rx1_dr=13,
    downlink_rates=_WIDE_DOWN,
    downlink_payload_sizes=_WIDE_DOWN_SIZES,
    rx1_table={
        0: (8, 8, 8, 8, 8, 8),
        1: (9, 8, 8, 8, 8, 8),
        2: (10, 9, 8, 8, 8, 8),
        3: (11, 10, 9, 8, 8, 8),
        4: (12, 11, 10, 9, 8, 8),
        5: (13, 12, 11, 10, 9, 8),
        6: (13, 13, 12, 11, 10, 9),
    },
    downlink_frequencies=tuple(_grid(923_300_000, 600_000, 8)),
    dwell_payloads=_sizes(11, 53, 125, 242, 242, first=2),
    uplink_dwell=True,
    sets_dwell=True,
)

REGIONS: dict[str, Region] = {
    each.name: each
    for each in (
        EU868,
        US915,
        _as923("AS923", 0),
        _as923("AS923-2", -1_800_000),
        _as923("AS923-3", -6_600_000),
        _as923("AS923-4", -5_900_000),
        AU915,
        IN865,
    )
}
"""By name."""
