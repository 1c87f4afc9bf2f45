"""What the answer to an uplink may be: bytes that its receive window takes, and times that can be believed.

Rules of this file: arithmetic only.
"""

from __future__ import annotations

from rataccess.clock import EARLIEST_PLAUSIBLE, Clock
from rataccess.lorawan.regions import REGIONS, Region

LORAWAN = "lorawan"
"""The link that records are filed under which came over LoRaWAN."""
_AHEAD = 120.0
"""Seconds that a network's clock may be ahead of ours."""
_BEHIND = 7 * 86_400.0
"""Seconds for which a network may have kept a packet (a web-hook is tried for half a day)."""


def downlink_room(region: Region, data_rate: int, *, offset: int = 0) -> int:
    """Bytes of the largest packet in RX1 after an uplink with that data rate, no MAC commands beside it.

    A data rate that the region does not have gives the smallest room there is.
    """
    found = region.rx1_dr(data_rate, offset) if data_rate in region.data_rates else None
    room = 0 if found is None else largest_downlink(region, found)
    return room or largest_downlink(region, region.rx2_dr)


def largest_downlink(region: Region, data_rate: int) -> int:
    """Bytes of the largest FRMPayload of a downlink with that data rate: less where its dwell time is limited (AS923)."""
    if region.downlink_dwell and region.dwell_payloads:
        return region.dwell_payloads.get(data_rate, 0)
    return region.max_downlink_payload(data_rate)


def room_of(region: str, default: str, data_rate: int | None, spreading: int | None, bandwidth: int | None) -> int:
    """`downlink_room` from what an event says of its uplink."""
    plan = REGIONS.get(region.replace("_", "-")) or REGIONS[default]  # ChirpStack spells AS923_2
    if spreading is not None and bandwidth is not None:
        found = plan.data_rate(spreading, bandwidth)
        data_rate = data_rate if found is None else found
    return downlink_room(plan, -1 if data_rate is None else data_rate)


def believed(heard_at: float | None, clock: Clock) -> float | None:
    """`heard_at` where it can be: a network's clock that is far off is worse than none."""
    if heard_at is None or not clock.wall_known() or heard_at < EARLIEST_PLAUSIBLE:
        return None
    now = clock.wall()
    return heard_at if now - _BEHIND < heard_at < now + _AHEAD else None
