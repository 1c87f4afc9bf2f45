"""What a module has sent, and when it may ask to join again.

Rules of this file: bookkeeping; it sends nothing.  The module itself enforces the law; here is what can be known of it.
"""

from __future__ import annotations

import json
import logging
import random
from collections import deque

from rataccess.clock import Clock
from rataccess.driver import Allowance
from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.regions import Region
from rataccess.objects import Memory
from rataccess.tariff import Unit

log = logging.getLogger("rataccess.lora")

HOUR = 3_600.0
"""Over which duty cycles are counted (ETSI EN 300 220-1 clause 5.4)."""
FRAME_OVERHEAD = 13
"""MHDR 1, FHDR 7, FPort 1, MIC 4 (LoRaWAN L2 1.0.4 clause 4)."""
JOIN_REQUEST = 23
"""Bytes on the air: MHDR 1, JoinEUI 8, DevEUI 8, DevNonce 2, MIC 4 (clause 6.2.5)."""
_MOST = 4_096


class AirtimeAccount:
    """Air time of the last hour, kept across restarts as far as the clock can be believed."""

    def __init__(self, region: Region, memory: Memory, key: str, clock: Clock) -> None:
        self._region = region
        self._memory = memory
        self._key = key
        self._clock = clock
        self._spent: deque[tuple[float, int]] = deque(maxlen=_MOST)
        self._shut_until = 0.0
        self.share = self._default_share()
        """Of the time; of the sub-band in which a device joins."""

    def _default_share(self) -> float | None:
        band = self._region.band(self._region.channels[0].frequency)
        return None if band is None else band.share

    def restore(self) -> None:
        """What the last run of the program has spent."""
        kept = self._memory.get(self._key)
        if kept is None or self._spent or not self._clock.wall_known():
            return
        shift = self._clock.monotonic() - self._clock.wall()
        try:
            entries = [(float(at) + shift, int(spent)) for at, spent in json.loads(kept)]
        except (ValueError, TypeError):
            log.warning("what %s says of air time cannot be read and is left aside", self._key)
            return
        now = self._clock.monotonic()
        self._spent.extend(sorted(entry for entry in entries if now - HOUR < entry[0] <= now))

    def spend(self, milliseconds: int) -> None:
        """Something was sent."""
        if milliseconds <= 0:
            return
        self._spent.append((self._clock.monotonic(), milliseconds))
        self._forget()
        if self._clock.wall_known():
            shift = self._clock.wall() - self._clock.monotonic()
            entries = [(round(at + shift), spent) for at, spent in self._spent]
            self._memory.put(self._key, json.dumps(entries, separators=(",", ":")).encode())

    def shut(self, seconds: float) -> None:
        """The module takes nothing for so long."""
        self._shut_until = self._clock.monotonic() + seconds

    def pause_after(self, milliseconds: float) -> float:
        """Seconds that the law asks for after such an uplink: ToA · (1/share - 1); 0 where there is no duty cycle."""
        return 0.0 if self.share is None else milliseconds / 1000 * (1 / self.share - 1)

    def allowances(self) -> list[Allowance]:
        """As `Rationed.allowances`."""
        if self.share is None:
            return []
        self._forget()
        now = self._clock.monotonic()
        limit = round(HOUR * self.share * 1000)
        spent = sum(each for _, each in self._spent)
        wait = self._shut_until - now
        name = f"{self._region.name}, {self.share * 100:.3g} % (kept by the module)"
        slot = wait if wait > 0 else None
        return [Allowance(name, Unit.AIRTIME, max(0, limit - spent), limit, HOUR, slot)]

    def _forget(self) -> None:
        oldest = self._clock.monotonic() - HOUR
        while self._spent and self._spent[0][0] <= oldest:
            self._spent.popleft()


class JoinBackoff:
    """When to ask to join again, after attempts that failed: LoRaWAN L2 1.0.4 clause 7 (duty cycle of retransmissions).

    36 s of air time in the first hour, 36 s in the ten hours that follow, then 8.7 s a day.
    """

    def __init__(self, memory: Memory, key: str, clock: Clock, chance: random.Random | None = None) -> None:
        self._memory = memory
        self._key = key
        self._clock = clock
        self._chance = chance or random.Random()
        self._since: float | None = None

    def failed(self, modulation: Modulation) -> float:
        """One more attempt has failed; seconds until the next may be made."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = self._restored(now)
        elapsed = now - self._since
        share = 0.01 if elapsed < HOUR else 0.001 if elapsed < 11 * HOUR else 0.0001
        # A little more by chance: devices that lost the same gateway do not come back together.
        return modulation.time_on_air(JOIN_REQUEST) / share * self._chance.uniform(1.0, 1.25)

    def _restored(self, now: float) -> float:
        if not self._clock.wall_known():
            return now
        wall = self._clock.wall()
        kept = self._memory.get(self._key)
        try:
            began = float(kept) if kept else wall
        except ValueError:
            began = wall
        if not 0 <= wall - began < 7 * 24 * HOUR:  # of another story
            began = wall
        self._memory.put(self._key, f"{began:.0f}".encode())
        return now - (wall - began)

    def joined(self) -> None:
        """It has joined."""
        self._since = None
        if self._memory.get(self._key):
            self._memory.put(self._key, b"")
