"""What failed on one link, what is done about it, and until when it is left alone; kept across restarts.

Rules of this file: bookkeeping over `remedy` and `backoff`; it opens and closes nothing and waits for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random

from rataccess.clock import Clock
from rataccess.driver import Evidence, Recovery
from rataccess.errors import RataccessError
from rataccess.link.backoff import Kept, load, save
from rataccess.link.remedy import Failure, Remedies, Remedy, kind_of
from rataccess.link.states import LinkEvent
from rataccess.link.timing import LinkTiming
from rataccess.objects import Memory

log = logging.getLogger("rataccess.link")


class Trouble:
    """The trouble of the link `name`.  `told` is called with (rung, seconds, ok) when the recovery ladder has ended."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        memory: Memory,
        random: Random,
        timing: LinkTiming,
        told: Callable[[str, float, bool], None],
    ) -> None:
        self._name = name
        self._clock = clock
        self._memory = memory
        self._random = random
        self._timing = timing
        self._told = told
        self._key = f"link/{name}/backoff"
        self.remedies = Remedies(timing, random, Kept())
        self.remedy = Remedy(LinkEvent.POSTPONE)
        """What is done about the last failure."""
        self.due = 0.0
        """Monotonic; the next attempt is not before it."""
        self.got_to = Evidence.NONE
        """How far the last attempt got."""
        self.why = ""
        """What failed last; of the last run of the program, until something has failed in this one."""
        self.rung: Recovery | None = None
        """The rung of the recovery ladder whose turn it is."""
        self._since: float | None = None
        self._last_rung: str | None = None

    def restore(self) -> bool:
        """Go on from where the last run of the program stopped; returns whether the link was faulty then."""
        kept = load(self._memory, self._key, self._clock, self._timing)
        self.why = kept.why
        self.remedies = Remedies(self._timing, self._random, kept)
        left = kept.remaining(self._clock, self._timing.backoff_longest)
        self.due = self._clock.monotonic() + left
        self.remedy = Remedy(LinkEvent.POSTPONE, left, kept.mandated)
        return kept.rounds > 0

    def left(self) -> float:
        """Seconds until the next attempt; 0 or less where it is time."""
        return self.due - self._clock.monotonic()

    # --- its beginning and its end ------------------------------------------------------------------------------------

    def begins(self) -> None:
        """A sign of trouble; only the first one counts, until `ends` or `mended`."""
        if self._since is None:
            self._since = self._clock.monotonic()

    def ends(self) -> None:
        """The signs were wrong, or nobody wants the link any more; nothing is told."""
        self._since = self._last_rung = None

    def mended(self) -> None:
        """Attached again."""
        self.finished(ok=True)
        self._since = None

    def finished(self, *, ok: bool) -> None:
        """The recovery ladder has ended, if it was used at all."""
        step, self._last_rung = self._last_rung, None
        if step is not None and self._since is not None:
            seconds = self._clock.monotonic() - self._since
            log.warning("link %s: recovery %s after %r, %.1f s", self._name, _outcome(ok), step, seconds)
            self._told(step, seconds, ok)

    # --- in between ---------------------------------------------------------------------------------------------------

    def judge(self, error: RataccessError, rungs: Sequence[Recovery], got_to: Evidence) -> Remedy:
        """What is to be done about `error`; `fix` then starts the wait."""
        self.begins()
        self.got_to = got_to
        self.remedy = self.remedies.after(error, rungs, self._clock.monotonic())
        self.rung = rungs[self.remedy.rung] if self.remedy.event is LinkEvent.REPAIR else None
        return self.remedy

    def fix(self, error: RataccessError) -> None:
        """The wait of the remedy begins; keep it.

        A permanent error is kept without its wait: a restart is how somebody says that it was mended.
        """
        remedy, kind = self.remedy, kind_of(error)
        self.due, self.why = self._clock.monotonic() + remedy.wait, str(error)
        self._keep(0.0 if kind is Failure.PERMANENT else remedy.wait, remedy.mandated)
        log.info("link %s: %s: %s; %s, %.1f s", self._name, kind.value, error, remedy.event, remedy.wait)

    def rung_done(self, rung: Recovery, outcome: str, took: float) -> None:
        """The rung `rung` has run for `took` seconds."""
        self._last_rung = rung.name
        tries = f"{self.remedies.tries} of {rung.attempts}"
        log.warning("link %s: recovery %r, try %s: %s (%.1f s)", self._name, rung.name, tries, outcome, took)

    def forget(self) -> None:
        """Proved or stable: back-off and ladder start anew."""
        if self.remedies.recovered():
            self.why = ""
            self._keep(0.0, False)

    def _keep(self, wait: float, mandated: bool) -> None:
        counts = self.remedies
        not_before = self._clock.wall() + wait
        kept = Kept(counts.attempts, counts.rung, counts.tries, counts.rounds, wait, not_before, mandated, self.why)
        save(self._memory, self._key, kept)


def _outcome(ok: bool) -> str:
    return "succeeded" if ok else "failed"
