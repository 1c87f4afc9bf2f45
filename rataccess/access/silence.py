"""How long a link rests that takes nothing, where each try is paid for or rationed.

Rules of this file: arithmetic on seconds and units that others measured; it sends nothing and knows no link.

A gateway that restarts is back in a minute, a lorry drives off within the hour, a device that was moved out of reach stays
there.  So the pauses between tries grow with how long the silence has lasted; and where a budget would not pay for all of
them, the tries that it does pay for are spread over the time until it is full again, each pause longer than the one before
in the same proportion.  Then some of the budget is left whenever the network comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LONGEST = 900.0
"""Seconds between two tries at most, where the budget pays for that."""
LONGEST_URGENT = 300.0
"""The same for alarms and prompt records."""
SHARE = 0.5
"""The share of what is left of a budget that tries may use.  Those for urgent records may use all of it: for what else
should it be kept?"""
SHORTEST_SILENCE = 10.0
"""Seconds that a silence is taken to have lasted at least; the first pauses grow by their number, not by this."""


@dataclass(frozen=True, slots=True)
class Ration:
    """What a budget still pays for."""

    tries: float
    """So many of the packets that were sent last, with all their repetitions."""
    seconds: float
    """Until the budget is full again."""

    def pause(self, lasted: float, share: float) -> float:
        """Seconds to rest after a silence of `lasted` seconds, so that `share` of the tries last until then."""
        tries, lasted = self.tries * share, max(lasted, SHORTEST_SILENCE)
        if tries < 1:
            return self.seconds
        return lasted * float(((self.seconds + lasted) / lasted) ** (1 / tries)) - lasted


@dataclass(slots=True)
class Silence:
    """Of one link towards one service.  Times are the event loop's."""

    since: float = 0.0
    """When the first of the tries was made."""
    tries: int = 0
    """How many in a row came to nothing; a burst counts as one."""
    _tried_at: float = float("-inf")
    _until: dict[bool, float] = field(default_factory=dict)
    """When the next one may be made: of urgent records, and of others."""

    def tried(self, sent_at: float, now: float, first: float, ration: Ration | None, jitter: float) -> None:
        """What was sent at `sent_at` came to nothing, as is known at `now`: rest `first` seconds, twice as long each time,
        times `jitter` (around 1), and longer where `ration` asks for it."""
        if sent_at < self._tried_at:
            return
        if not self.tries:
            self.since = sent_at
        self.tries, self._tried_at = self.tries + 1, now
        for urgent, longest, share in ((False, LONGEST, SHARE), (True, LONGEST_URGENT, 1.0)):
            pause = min(longest, first * 2.0 ** min(self.tries - 1, 12)) * jitter
            spread = ration.pause(now - self.since, share) if ration else 0.0
            self._until[urgent] = now + max(pause, spread)

    def left(self, now: float, *, urgent: bool) -> float:
        """Seconds until the next try; 0 for now."""
        return max(0.0, self._until.get(urgent, now) - now)

    def line(self, now: float) -> str:
        """How long it has lasted and when the next try is due, for people."""
        times = "try" if self.tries == 1 else "tries"
        alarm, other = self.left(now, urgent=True), self.left(now, urgent=False)
        following = f"in {other:.0f} s" if other else "with the next record"
        sooner = f" (alarms: {f'in {alarm:.0f} s' if alarm else 'at once'})" if alarm < other else ""
        return f"nothing got through in {self.tries} {times} over {now - self.since:.0f} s, tried again {following}{sooner}"

    def wake(self) -> None:
        """The link comes up anew: try at once, and be as wary as before after that."""
        self._until.clear()

    def end(self) -> None:
        """It takes something."""
        self.tries = 0
        self._until.clear()
