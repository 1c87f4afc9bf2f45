"""The regional parameters against the tables that they come from, and against themselves."""

from __future__ import annotations

import pytest

from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.frame import OVERHEAD
from rataccess.lorawan.regions import AU915, DWELL_LIMIT, EU868, IN865, REGIONS, US915, Region

AS923 = REGIONS["AS923"]


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_a_region_agrees_with_itself(region: Region) -> None:
    for channel in region.channels:
        assert region.allows(channel.frequency)
        assert {channel.min_dr, channel.max_dr} <= set(region.data_rates)
    assert region.downlink_modulation(region.rx2_dr) is not None
    assert set(region.join_data_rates) <= set(region.data_rates)
    assert region.payloads.keys() == region.data_rates.keys()
    for dr in region.data_rates:
        assert region.rx1_dr(dr, 0) is not None
        size = region.max_payload(dr)
        assert OVERHEAD + size <= 255
        if size and region.dwell_limited(dr, region.uplink_dwell):
            assert region.data_rates[dr].time_on_air(OVERHEAD + size) <= DWELL_LIMIT


def test_rx1_of_us915_follows_the_table() -> None:
    """RP002-1.0.3, table of RX1DROffset for US902-928."""
    assert [US915.rx1_dr(0, each) for each in range(4)] == [10, 9, 8, 8]
    assert [US915.rx1_dr(4, each) for each in range(4)] == [13, 13, 12, 11]
    assert US915.rx1_dr(0, 4) is None
    assert not US915.allows_rx1_offset(4)
    assert [US915.rx1_frequency(each, 0) for each in (0, 7, 8, 63, 64, 71)] == [
        923_300_000,
        927_500_000,
        923_300_000,
        927_500_000,
        923_300_000,
        927_500_000,
    ]


def test_rx1_with_negative_offsets_and_dwell() -> None:
    """RP002-1.0.3: EU868, IN865 and AS923."""
    assert [EU868.rx1_dr(5, each) for each in range(7)] == [5, 4, 3, 2, 1, 0, None]
    assert EU868.rx1_dr(0, 5) == 0
    assert EU868.rx1_dr(6, 0) == 6
    assert [IN865.rx1_dr(3, each) for each in (6, 7)] == [4, 5]
    assert IN865.rx1_dr(5, 7) == 5
    assert AS923.rx1_dr(3, 5, dwell=True) == 2
    assert AS923.rx1_dr(3, 5, dwell=False) == 0


def test_channels_of_fixed_plans() -> None:
    assert [US915.channels[each].frequency for each in (0, 63, 64, 71)] == [
        902_300_000,
        914_900_000,
        903_000_000,
        914_200_000,
    ]
    assert [AU915.channels[each].frequency for each in (0, 63, 64, 71)] == [
        915_200_000,
        927_800_000,
        915_900_000,
        927_100_000,
    ]
    assert US915.sub_band_mask(2) == frozenset({*range(8, 16), 65})
    assert US915.channel_index(903_900_000) == 8


def test_masks_of_fixed_plans() -> None:
    everything = frozenset(range(72))
    assert US915.masked(everything, everything, 0x0001, 7) == frozenset({64})
    assert US915.masked(frozenset(), everything, 0x0002, 6) == frozenset({*range(64), 65})
    assert US915.masked(frozenset({64}), everything, 0xFF00, 0) == frozenset({*range(8, 16), 64})
    assert US915.masked(everything, everything, 0, 4) == frozenset(range(64))
    assert US915.masked(everything, everything, 0x0002, 5) == frozenset({*range(8, 16), 65})


def test_masks_of_dynamic_plans() -> None:
    defined = frozenset({0, 1, 2, 3})
    assert EU868.masked(defined, defined, 0b1001, 0) == frozenset({0, 3})
    assert EU868.masked(frozenset({0}), defined, 0, 6) == defined
    assert EU868.masked(defined, defined, 0b10000, 0) is None
    assert EU868.masked(defined, defined, 1, 1) is None


def test_bands_and_frequencies() -> None:
    band = EU868.band(868_100_000)
    assert band is not None
    assert (band.share, band.name) == (0.01, "868-868.6 MHz, 1 %")
    assert EU868.band(869_525_000) is EU868.bands[4]
    assert not EU868.allows(868_650_000)  # between two sub-bands: alarms only
    assert not EU868.allows(902_300_000)
    assert US915.band(902_300_000) is None


def test_data_rates() -> None:
    assert EU868.data_rate(12, 125_000) == 0
    assert US915.data_rate(8, 500_000) == 4
    assert EU868.data_rate(9, 500_000) is None
    assert EU868.downlink_modulation(5) == Modulation(7, crc=False)
    assert US915.downlink_modulation(8) == Modulation(12, 500_000, crc=False)
    assert US915.downlink_modulation(0) is None
    assert AU915.max_payload(0) == 0
    assert AU915.max_payload(0, dwell=False) == 51
    assert AU915.max_payload(2) == 11
