"""On which channel, how strong and when an uplink goes: sub-bands, dwell time, the network's own duty cycle.

Rules of this file: choosing only.  The law's duty cycle is counted by whatever `Airtime` is given (airtime_ledger.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from rataccess.errors import NotNow, PacketTooLarge
from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.regions import DWELL_LIMIT, Region
from rataccess_drivers.lora.mac.session import LiveChannel, Session
from rataccess_drivers.lora.mac.settings import MacSettings


class Airtime(Protocol):
    """Who counts the air time of each sub-band."""

    def wait(self, frequency: int, seconds: float) -> float:
        """Seconds until `seconds` may be sent at `frequency`; 0 for now, infinite for never."""
        ...

    def spend(self, frequency: int, seconds: float) -> None:
        """They are about to be sent; kept when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to send now."""

    index: int
    frequency: int
    dr: int
    modulation: Modulation
    downlink: int
    """Hz of RX1."""


class Hopper:
    """Picks channels: at random, and in a fixed plan each once before any comes again (FCC 15.247 (a)(1))."""

    def __init__(self, region: Region, airtime: Airtime, random: Random) -> None:
        self._region = region
        self._airtime = airtime
        self._random = random
        self._fresh: set[int] = set()

    def wait(self, channels: Mapping[int, LiveChannel], seconds: float) -> float:
        """Seconds until one of `channels` may carry `seconds`."""
        return min((self._airtime.wait(each.frequency, seconds) for each in channels.values()), default=math.inf)

    def choose_for(self, session: Session, dr: int, size: int) -> Choice:
        """A channel of the session's for `size` octets now; raises `PacketTooLarge` (dwell time) or as `choose`."""
        seconds = self._region.data_rates[dr].time_on_air(size)
        if self._region.dwell_limited(dr, session.uplink_dwell) and seconds > DWELL_LIMIT:
            raise PacketTooLarge(size, math.floor(size * DWELL_LIMIT / seconds))
        return self.choose(session.channels_for(self._region, dr), dr, size)

    def choose(self, channels: Mapping[int, LiveChannel], dr: int, size: int) -> Choice:
        """A channel for `size` octets now; raises `NotNow` where the duty cycle leaves none."""
        modulation = self._region.data_rates[dr]
        seconds = modulation.time_on_air(size)
        free = [at for at, each in channels.items() if self._airtime.wait(each.frequency, seconds) <= 0]
        if not free:
            raise NotNow("the duty cycle of every channel is used up", self.wait(channels, seconds))
        fresh = [at for at in free if at in self._fresh]
        if not fresh:
            self._fresh |= set(free)
            fresh = free
        index = self._random.choice(fresh)
        self._fresh.discard(index)
        channel = channels[index]
        downlink = channel.downlink or self._region.rx1_frequency(index, channel.frequency)
        return Choice(index, channel.frequency, dr, modulation, downlink)


def data_rate_now(session: Session, settings: MacSettings) -> int:
    """With which data go now: the session's, but not below the slowest wanted, on channels that are on."""
    rates = session.data_rates(settings.region)
    wanted = max(session.dr, settings.slowest(dwell=session.uplink_dwell))
    return min((each for each in rates if each >= wanted), default=rates[-1])


def silence(session: Session, choice: Choice, size: int) -> float:
    """Seconds after an uplink of `size` octets in which DutyCycleReq has the device say nothing (clause 5.3)."""
    return choice.modulation.time_on_air(size) * ((1 << session.max_dcycle) - 1)


def power(region: Region, settings: MacSettings, max_eirp: int, index: int) -> int:
    """dBm at the transmitter's pin for a TXPower index."""
    conducted = math.floor(max_eirp - 2 * index - settings.antenna_gain)
    return conducted if settings.max_power is None else min(conducted, settings.max_power)


def join_channels(region: Region, settings: MacSettings, attempt: int) -> tuple[dict[int, LiveChannel], int]:
    """Channels and data rate of the join-request number `attempt` (from 0).

    A dynamic plan: its own channels, a slower data rate with each attempt.  A fixed plan: narrow and wide channels in turn,
    of the configured sub-band or of one after another (RP002-1.0.3, joining in US902-928 and AU915-928).
    """
    if not region.fixed:
        dr = region.join_data_rates[attempt % len(region.join_data_rates)]
        allowed = dict(enumerate(region.channels))
    else:
        dr = region.join_data_rates[attempt % 2]
        mask = region.sub_band_mask(settings.sub_band or attempt // 2 % 8 + 1)
        allowed = {
            at: region.channels[at] for at in mask if region.channels[at].min_dr <= dr <= region.channels[at].max_dr
        }
    return {at: LiveChannel(each.frequency, each.min_dr, each.max_dr) for at, each in allowed.items()}, dr
