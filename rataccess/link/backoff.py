"""How long to wait, and keeping that across restarts.

Rules of this file: arithmetic and bytes, no I/O beyond the `Memory` it is given, no sleeping.  The widths come from
`tenacity`'s wait strategies, the jitter from the injected `random`, so that a test can repeat a run.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from random import Random

from rataccess.clock import Clock
from rataccess.errors import RataccessError
from rataccess.link.timing import LinkTiming
from rataccess.objects import Memory, decode, encode

log = logging.getLogger("rataccess.link")

_MOST_ATTEMPTS = 1_000_000
"""A count read from disk beyond this is damage, not history."""
_LONGEST_REASON = 300
"""Characters of it that are kept: it is written with each failure."""


def exponential(attempt: int, first: float, longest: float, random: Random) -> float:
    """Seconds before attempt number `attempt` + 1 (from 1): `first`, doubled each time, at most `longest`.

    Jitter takes up to half of it away ("equal jitter"): many devices that lost the same cell do not come back at the
    same moment, and none comes back at once.
    """
    from tenacity import (
        RetryCallState,
        Retrying,
        wait_exponential,
    )  # 38 ms here, tenfold on a Pi Zero: only when needed

    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = max(1, attempt)
    width = wait_exponential(multiplier=first, max=longest)(state)
    return width * (1 - random.random() / 2)


def usable(retry_after: float | None, longest: float) -> float | None:
    """A driver's `retry_after` as finite seconds, 0 to `longest`; `None` where it is none."""
    if retry_after is None or math.isnan(retry_after) or retry_after <= 0:
        return None
    return min(retry_after, longest)


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives a restart."""

    attempts: int = 0
    rung: int | None = None
    """Where on the recovery ladder, or `None` for not on it."""
    tries: int = 0
    """How often this rung has run."""
    rounds: int = 0
    """How often the last rung was passed."""
    wait: float = 0.0
    """The wait that was chosen last."""
    not_before: float = 0.0
    """Wall time of its end."""
    mandated: bool = False
    """Whether the network asked for the wait."""
    why: str = ""
    """What had failed, for people."""

    def remaining(self, clock: Clock, longest: float) -> float:
        """Seconds of `wait` that are left.

        Never more than `wait` itself, however the wall clock was set meanwhile; the whole of it where the wall clock cannot
        be believed.  Of a wait that the network did not ask for at most `longest`: a restart may be how somebody says that
        a radio was repaired.
        """
        left = self.not_before - clock.wall() if clock.wall_known() else self.wait
        return min(max(left, 0.0), self.wait if self.mandated else min(self.wait, longest))


def save(memory: Memory, key: str, kept: Kept) -> None:
    """Keep `kept` at the next group commit.  A store that fails costs the back-off of the next start, no more: logged."""
    counts = [kept.attempts, kept.rung, kept.tries, kept.rounds]
    values = [*counts, kept.wait, kept.not_before, kept.mandated, kept.why[:_LONGEST_REASON]]
    try:
        memory.put(key, encode(values))
    except RataccessError as error:
        log.warning("%s cannot be kept: %s", key, error)


def load(memory: Memory, key: str, clock: Clock, timing: LinkTiming) -> Kept:
    """What was kept under `key`; a fresh start where there is nothing, nothing sensible, or only old news."""
    try:
        data = memory.get(key)
        kept = Kept() if data is None else _checked(decode(data), timing.retry_after_longest)
    except (RataccessError, ValueError, TypeError) as error:
        log.warning("%s is unusable, starting without back-off: %s", key, error)
        return Kept()
    old = clock.wall_known() and clock.wall() - kept.not_before > timing.faulty_longest
    return Kept() if old else kept


def _checked(values: object, longest: float) -> Kept:
    if not isinstance(values, list) or len(values) not in (7, 8):  # seven: of before reasons were kept
        raise ValueError("not a list of seven or eight")
    attempts, rung, tries, rounds, wait, not_before, mandated, *rest = values
    why = rest[0] if rest and isinstance(rest[0], str) else ""
    if not all(type(count) is int and 0 <= count <= _MOST_ATTEMPTS for count in (attempts, tries, rounds, rung or 0)):
        raise ValueError("a count is out of range")
    if not all(type(time) in (int, float) and math.isfinite(time) for time in (wait, not_before)):
        raise ValueError("a time is not finite")
    return Kept(attempts, rung, tries, rounds, min(max(wait, 0.0), longest), not_before, mandated is True, why)
