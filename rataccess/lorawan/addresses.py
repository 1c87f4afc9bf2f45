"""Device addresses, and GPS time.

Rules of this file: arithmetic only.  Source: LoRaWAN Backend Interfaces 1.0, chapter 6.1.1 (as in LoRaWAN L2 1.0.4, clause
6.1.1); IERS bulletin C for leap seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

_NWK_ID_BITS = (6, 6, 9, 11, 12, 13, 15, 17)
"""By the type of the NetID, which is how many ones the address begins with."""


@dataclass(frozen=True, slots=True)
class DevAddrParts:
    """What a DevAddr is made of."""

    netid_type: int
    nwk_id: int
    nwk_id_bits: int
    nwk_addr: int


def split_dev_addr(dev_addr: int) -> DevAddrParts:
    """The parts of a DevAddr; one of eight leading ones counts as type 7."""
    kind = 0
    while kind < 7 and dev_addr >> 31 - kind & 1:
        kind += 1
    width = _NWK_ID_BITS[kind]
    rest = 32 - kind - 1 - width
    return DevAddrParts(kind, dev_addr >> rest & (1 << width) - 1, width, dev_addr & (1 << rest) - 1)


def dev_addr_prefix(net_id: int) -> tuple[int, int]:
    """The DevAddr of NwkAddr 0 in the network `net_id` (24 bits, type in the upper 3), and how many bits are NwkAddr."""
    kind = net_id >> 21 & 0x07
    width = _NWK_ID_BITS[kind]
    rest = 32 - kind - 1 - width
    ones = (1 << kind) - 1 << 32 - kind
    return ones | (net_id & (1 << width) - 1) << rest, rest


GPS_EPOCH = 315_964_800
"""1980-01-06T00:00:00Z in seconds since 1970."""

_LEAPS = (  # seconds since 1970 (UTC) at which each leap second since the GPS epoch had passed
    362_793_600,
    394_329_600,
    425_865_600,
    489_024_000,
    567_993_600,
    631_152_000,
    662_688_000,
    709_948_800,
    741_484_800,
    773_020_800,
    820_454_400,
    867_715_200,
    915_148_800,
    1_136_073_600,
    1_230_768_000,
    1_341_100_800,
    1_435_708_800,
    1_483_228_800,
)
_LEAPS_GPS = tuple(at - GPS_EPOCH + count for count, at in enumerate(_LEAPS, start=1))


def gps_time(utc: float) -> float:
    """Seconds since the GPS epoch of `utc`, in seconds since 1970."""
    return utc - GPS_EPOCH + bisect_right(_LEAPS, utc)


def utc_of_gps(gps: float) -> float:
    """Seconds since 1970 (UTC) of `gps`, in seconds since the GPS epoch; a leap second repeats the one before."""
    return gps + GPS_EPOCH - bisect_right(_LEAPS_GPS, gps)
