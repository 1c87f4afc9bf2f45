"""What was sent in each sub-band, and what may still be: the duty cycle, kept across restarts.

Rules of this file: counting only; it sends nothing and waits for nobody.  It looks at the monotonic clock alone: a wall
clock that jumps moves nothing.

EN 300 220-1 V3.1.1, 5.4.1: the duty cycle is the share of any one hour that a device sends within a sub-band.  Every hour
is looked at, not only those that begin at full hours, so what was sent counts until an hour after its end.  After a restart
nobody knows how long the pause was; it counts as none: what was sent keeps the age that it had when it was last written.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cbor2

from rataccess.clock import Clock
from rataccess.driver import Allowance
from rataccess.objects import Memory
from rataccess.tariff import Unit

PERIOD = 3600.0
"""Seconds: the observation period of EN 300 220-1."""
_SLOTS = 120
"""What is sent within one such part of a period is kept as one entry: memory stays bounded, 30 s of precision are lost."""
_WRITE_AGES = 300.0
"""Seconds after which ages are written again though nothing was sent, so that a restart costs no more than that."""


class DutyBand(Protocol):
    """A sub-band with a duty cycle of its own; regions have them as data."""

    @property
    def name(self) -> str:
        """Such as `868.0-868.6 MHz, 1 %`; what was sent is kept under it."""
        ...

    @property
    def lowest(self) -> int:
        """Hz."""
        ...

    @property
    def highest(self) -> int:
        """Hz; not part of the band."""
        ...

    @property
    def share(self) -> float:
        """Of the time: 0.01 is 1 %."""
        ...


@dataclass(frozen=True, slots=True)
class Band:
    """A `DutyBand`."""

    name: str
    lowest: int
    highest: int
    share: float


@dataclass(slots=True)
class _Entry:
    begin: float
    end: float
    seconds: float


class AirtimeLedger:
    """Air time spent, by sub-band.  Without bands everything is allowed.

    A frequency beyond all bands counts in one of its own with the smallest share among them.
    """

    def __init__(
        self,
        bands: Sequence[DutyBand],
        memory: Memory,
        key: str,
        clock: Clock,
        *,
        period: float = PERIOD,
        reserve: float = 0.0,
    ) -> None:
        """`key` is the `memory`'s, such as `driver/field/airtime`.  Reads nothing before it is first asked.

        `reserve` is the share of what is allowed that is written ahead as spent, so that not every short packet waits for
        the disk; what of it was not used is lost with a restart.
        """
        self._bands = tuple(bands)
        self._memory = memory
        self._key = key
        self._clock = clock
        self._period = period
        self._reserve = reserve
        self._ahead: dict[str, float] = {}
        """Seconds on disk that are not spent yet, by band."""
        self._spent: dict[str, deque[_Entry]] | None = None
        self._written = -math.inf
        self.on_spent: Callable[[float], None] = lambda seconds: None
        """Is told of everything that is sent, in bands or not; seconds."""
        if self._bands:
            self._elsewhere = Band("elsewhere", 0, 0, min(band.share for band in self._bands))

    def spend(self, frequency: int, seconds: float) -> None:
        """Note that `seconds` are about to be sent at `frequency` (Hz); on disk (or written ahead) when it returns.

        Call it before sending: what a power cut interrupts counts as sent.  It refuses nothing; `wait` tells.  Where the
        memory fails, that is raised, and nothing counts: nothing may be sent then.
        """
        if (band := self._band(frequency)) is not None:
            self._note(band, seconds)
        self.on_spent(seconds)

    def _note(self, band: DutyBand, seconds: float) -> None:
        now, entries = self._clock.monotonic(), self._entries(band)
        recent = entries.pop() if entries and now - entries[-1].begin < self._period / _SLOTS else None
        begin, before = (now, 0.0) if recent is None else (recent.begin, recent.seconds)
        entries.append(_Entry(begin, now + seconds, before + seconds))
        ahead = self._ahead.get(band.name, 0.0)
        self._ahead[band.name] = ahead - seconds
        if ahead >= seconds:
            return
        self._ahead[band.name] = self._reserve * band.share * self._period
        try:
            self._write(now, now_on_disk=True)
        except BaseException:
            entries.pop()
            entries.extend([recent] if recent is not None else [])
            self._ahead[band.name] = ahead
            raise

    def wait(self, frequency: int, seconds: float) -> float:
        """Seconds until a packet of `seconds` may be sent at `frequency`: 0 for now, infinite for never."""
        band = self._band(frequency)
        return 0.0 if band is None else self._wait(band, seconds)

    def allowances(self) -> Sequence[Allowance]:
        """What is left of each band now, in milliseconds; frequencies beyond all bands only where some were used."""
        used = [*self._bands, *([self._elsewhere] if self._bands and self._entries(self._elsewhere) else [])]
        return [self._allowance(band) for band in used]

    def _allowance(self, band: DutyBand) -> Allowance:
        limit = int(band.share * self._period * 1000)
        left = max(0, limit - math.ceil(self._used(band) * 1000))
        wait = self._wait(band, 0.001)
        return Allowance(band.name, Unit.AIRTIME, left, limit, self._period, wait or None)

    # --- counting -----------------------------------------------------------------------------------------------------

    def _band(self, frequency: int) -> DutyBand | None:
        if not self._bands:
            return None
        return next((band for band in self._bands if band.lowest <= frequency < band.highest), self._elsewhere)

    def _wait(self, band: DutyBand, seconds: float) -> float:
        allowed = band.share * self._period
        if seconds > allowed:
            return math.inf
        excess = self._used(band) + seconds - allowed
        now = self._clock.monotonic()
        for entry in self._entries(band):
            if excess <= 1e-9:
                return 0.0
            excess -= entry.seconds
            if excess <= 1e-9:
                return max(0.001, entry.end + self._period - now)
        return 0.0

    def _used(self, band: DutyBand) -> float:
        now, entries = self._clock.monotonic(), self._entries(band)
        while entries and entries[0].end + self._period <= now:
            entries.popleft()
        if entries and now - self._written >= _WRITE_AGES:
            self._write(now, now_on_disk=False)
        return sum(entry.seconds for entry in entries)

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _entries(self, band: DutyBand) -> deque[_Entry]:
        if self._spent is None:
            self._spent = self._read()
        return self._spent.setdefault(band.name, deque())

    def _write(self, now: float, *, now_on_disk: bool) -> None:
        """Ages rather than times: nothing else survives a restart.  An end still to come has a negative age."""
        kept = {
            name: [
                *([now - entry.begin, now - entry.end, entry.seconds] for entry in entries),
                *([[0, -ahead, ahead]] if (ahead := self._ahead.get(name, 0.0)) > 0 else []),
            ]
            for name, entries in (self._spent or {}).items()
            if entries
        }
        (self._memory.put_now if now_on_disk else self._memory.put)(self._key, cbor2.dumps(kept))
        self._written = now

    def _read(self) -> dict[str, deque[_Entry]]:
        data = self._memory.get(self._key)
        if data is None:
            return {}
        now = self._clock.monotonic()
        try:
            return {str(name): deque(_entry(now, *each) for each in kept) for name, kept in cbor2.loads(data).items()}
        except Exception:  # whatever the disk made of it: then everything counts as just sent  # noqa: BLE001
            bands = (*self._bands, self._elsewhere)
            return {band.name: deque([_Entry(now, now, band.share * self._period)]) for band in bands}


def _entry(now: float, begin: float, end: float, seconds: float) -> _Entry:
    if not (begin >= 0 and end <= begin and 0 <= seconds < math.inf):
        raise ValueError("no age")
    return _Entry(now - begin, now - end, seconds)
