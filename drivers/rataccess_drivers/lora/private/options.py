"""How a private LoRa network is configured, the same at the hub and at each node.

Rules of this file: values and what follows from them; nothing is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess.clock import Clock
from rataccess.errors import ConfigurationError
from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.regions import DWELL_LIMIT, REGIONS, Region
from rataccess.objects import Memory
from rataccess_drivers.lora.airtime_ledger import PERIOD, AirtimeLedger
from rataccess_drivers.lora.private.frame import LARGEST, overhead
from rataccess_drivers.lora.private.runner import Channel
from rataccess_drivers.lora.transceiver import TransceiverOptions

LARGEST_MESSAGE = 240
"""Bytes."""
SMALLEST_MTU = 32
"""Bytes: below it a packet in compact form carries next to nothing."""
FREQUENCIES = {"EU868": 869_525_000}
"""Hz, where nothing is said: in Europe the sub-band with 10 %; elsewhere the region's first channel."""

WRITTEN_AHEAD = 0.02
"""Of the air time allowed: an acknowledgement must not wait for a card that tidies up."""

Network = Annotated[int, Meta(ge=1, le=255)]
Address = Annotated[int, Meta(ge=1, le=65535)]


class RadioSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What everybody in a network must have alike, and the transceiver."""

    transceiver: TransceiverOptions
    network: Network
    region: str = "EU868"
    """Whose law holds: its duty cycles and dwell times (`rataccess.lorawan.regions`)."""
    frequency: Annotated[int, Meta(ge=100_000_000, le=1_100_000_000)] | None = None
    """Hz."""
    spreading_factor: Annotated[int, Meta(ge=5, le=12)] = 9
    bandwidth: Literal[62_500, 125_000, 250_000, 500_000] = 125_000
    """Hz."""
    coding_rate: Annotated[int, Meta(ge=5, le=8)] = 5
    """5 to 8, for 4/5 to 4/8."""
    power_dbm: Annotated[int, Meta(ge=-9, le=22)] = 14
    """At the transmitter's pin; take the antenna's gain off what the law allows."""
    sync_word: Annotated[int, Meta(ge=0, le=255)] = 0x12
    attempts: Annotated[int, Meta(ge=1, le=8)] = 4
    """Times that a message is sent, at most, before nobody knows whether it arrived."""
    longest: Annotated[float, Meta(gt=0.05, le=10.0)] = 2.8
    """Seconds on the air of the largest frame: LoRaWAN's largest at its slowest."""


class NodeOptions(RadioSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node."""

    address: Address
    listen: Literal["always", "after sending"] = "always"
    """When the hub can reach it: a gateway on mains power listens always."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from the settings."""

    region: Region
    channel: Channel
    mtu: int
    """Bytes of the largest message to or from a node with a long address."""

    def ledger(self, memory: Memory, key: str, clock: Clock) -> AirtimeLedger:
        """Air time by the region's sub-bands."""
        return AirtimeLedger(self.region.bands, memory, key, clock, reserve=WRITTEN_AHEAD)


def plan(settings: RadioSettings) -> Plan:
    """Raises `ConfigurationError` for what the region forbids, or no packet fits in."""
    region = REGIONS.get(settings.region)
    if region is None:
        raise ConfigurationError(f"there is no region {settings.region!r}; known: {', '.join(REGIONS)}")
    frequency = settings.frequency or FREQUENCIES.get(region.name, region.channels[0].frequency)
    if not region.allows(frequency):
        raise ConfigurationError(f"{frequency} Hz is not allowed in {region.name}; see its sub-bands")
    if settings.power_dbm > region.max_eirp:
        raise ConfigurationError(f"{settings.power_dbm} dBm is more than {region.name} allows: {region.max_eirp} dBm")
    _check_edges(region, frequency, settings.bandwidth)
    modulation = Modulation(settings.spreading_factor, settings.bandwidth, settings.coding_rate)
    channel = Channel(frequency, modulation, settings.power_dbm, settings.sync_word)
    return Plan(region, channel, _mtu(modulation, _longest(settings, region, frequency)))


def _check_edges(region: Region, frequency: int, bandwidth: int) -> None:
    """All of what is sent has to lie in the sub-band whose law holds for it (EN 300 220-1, 5.6: operating channel)."""
    band = region.band(frequency)
    lowest, highest = (region.low, region.high) if band is None else (band.lowest, band.highest)
    if frequency - bandwidth / 2 < lowest or frequency + bandwidth / 2 > highest:
        raise ConfigurationError(
            f"{bandwidth} Hz around {frequency} Hz reach beyond {lowest} to {highest} Hz, which {region.name} allows "
            "there; use a smaller bandwidth or another frequency"
        )


def _longest(settings: RadioSettings, region: Region, frequency: int) -> float:
    """Also no more than the sub-band has in an hour: a longer frame could never be sent."""
    limited = region.uplink_dwell and region.dwell_bandwidth in (None, settings.bandwidth)
    band = region.band(frequency)
    hour = settings.longest if band is None else band.share * PERIOD
    return min(settings.longest, hour, DWELL_LIMIT if limited else hour)


def _mtu(modulation: Modulation, longest: float) -> int:
    around = overhead(0xFFFF)
    sizes = range(SMALLEST_MTU, min(LARGEST_MESSAGE, LARGEST - around) + 1)
    fitting = [size for size in sizes if modulation.time_on_air(size + around) <= longest]
    if not fitting:
        took = modulation.time_on_air(SMALLEST_MTU + around)
        raise ConfigurationError(
            f"spreading factor {modulation.spreading_factor} at {modulation.bandwidth} Hz is too slow: {SMALLEST_MTU} bytes "
            f"take {took:.2f} s where {longest:.2f} s are allowed; use a smaller spreading factor"
        )
    return fitting[-1]
