"""Adaptive data rate: what a device is told to use, from how well it is heard.

Rules of this file: arithmetic.  The usual way: of the last uplinks the best SNR, less what the data rate needs, less a
margin for bad days, in steps of 3 dB: first a faster data rate, then less power.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rataccess.lorawan.commands import LinkAdrReq
from rataccess.lorawan.regions import Region

NEEDED = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""dB of SNR that each spreading factor needs (SX1276 datasheet table 13)."""
MARGIN = 10.0
"""dB."""
STEP = 3.0
ENOUGH = 20
"""Uplinks to look back on before a device is told anything."""


def margin(snr: float, spreading_factor: int) -> int:
    """dB above what demodulation needs, 0 to 254 (LinkCheckAns)."""
    return max(0, min(254, round(snr - NEEDED[spreading_factor])))


def advise(region: Region, data_rate: int, power: int, snrs: Iterable[float]) -> tuple[int, int]:
    """Data rate and TXPower index for a device that is heard like this."""
    factor = region.data_rates[data_rate].spreading_factor
    steps = int((max(snrs) - NEEDED[factor] - MARGIN) // STEP)
    fastest = fastest_data_rate(region)
    while steps > 0 and data_rate < fastest:
        data_rate, steps = data_rate + 1, steps - 1
    while steps > 0 and power < region.last_power:
        power, steps = power + 1, steps - 1
    while steps < 0 and power > 0:
        power, steps = power - 1, steps + 1
    return data_rate, power


def fastest_data_rate(region: Region) -> int:
    """The fastest on channels of 125 kHz."""
    return max(dr for dr, each in region.data_rates.items() if each.bandwidth == 125_000)


def link_adr(
    region: Region, data_rate: int, power: int, channels: frozenset[int], *, sub_band: int | None
) -> Sequence[LinkAdrReq]:
    """The commands that say so, and which channels are on: one block (LoRaWAN L2 1.0.4 clause 5.2)."""
    if not region.fixed:
        mask = sum(1 << each for each in channels)
        return [LinkAdrReq(tx_power=power, data_rate=data_rate, ch_mask=mask, ch_mask_cntl=0)]
    if sub_band is None:
        return [LinkAdrReq(tx_power=power, data_rate=data_rate, ch_mask=0xFF, ch_mask_cntl=6)]
    first = 8 * (sub_band - 1)
    wide = LinkAdrReq(tx_power=power, data_rate=data_rate, ch_mask=1 << sub_band - 1, ch_mask_cntl=7)
    bank = LinkAdrReq(tx_power=power, data_rate=data_rate, ch_mask=0xFF << first % 16, ch_mask_cntl=first // 16)
    return [wide, bank]
