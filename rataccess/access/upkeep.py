"""Which links are kept up, and which are held down until they are needed, or may cost something again.

Rules of this file: it holds and releases links; what a link is worth, policy says.

A cold link (`hot = false`) comes up when no link before it carries.  A link that is paid for by air time is not brought up
anew once its budget is used up: attaching costs as well (each join of LoRaWAN), and nothing could be sent over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rataccess.access.standing import Standing
from rataccess.policy import LinkView, Suspicion
from rataccess.tariff import Unit

WANTED = 120.0
"""Seconds that a cold link is kept up after a record asked for it: attaching alone may take a minute."""
REFILL_MARGIN = 1.0
"""Seconds after a budget's period has ended: the clock that tells so is another than the one that waits."""


class Upkeep:
    """Of all links; `views` are as policy ranks them, `say` gets what people are to know."""

    def __init__(
        self,
        standings: Mapping[str, Standing],
        views: Callable[[], Sequence[LinkView]],
        say: Callable[[Standing, str], None],
    ) -> None:
        self._standings = standings
        self._views = views
        self._say = say

    def start(self) -> None:
        """Links that are cold wait until those before them have had time to come up; the others begin."""
        for standing in self._standings.values():
            self.spare(standing)
            standing.link.start()
            if not standing.settings.hot and self._before(standing):
                standing.later("grace", standing.settings.failback_after, self.look)
        self.look()

    def look(self) -> None:
        """Cold links come up when no link before them carries, and go when one does again for good."""
        for standing in self._standings.values():
            if standing.settings.hot or standing.planned("grace"):
                continue
            if not self._carried(standing):
                standing.cancel("cool")
                self._release(standing)
            elif not standing.planned("cool") and not standing.link.held:
                standing.later("cool", standing.settings.failback_after, partial(self._cool, standing))

    def wanted(self, names: Sequence[str]) -> None:
        """A record waits that only these links may carry: cold ones among them come up, and stay while this is said."""
        for standing in (self._standings[name] for name in names if name in self._standings):
            if not standing.settings.hot:
                self._release(standing)
                seconds = max(WANTED, standing.settings.failback_after)
                standing.later("cool", seconds, partial(self._cool, standing))

    def spare(self, standing: Standing) -> None:
        """Hold the link where it is down and its air time is used up, until its budget is full again."""
        budget, spared = standing.budget, standing.planned("refill")
        if budget is None or standing.link.unit is not Unit.AIRTIME or spared or standing.link.ready or budget.left:
            return
        standing.link.hold()
        standing.later("refill", budget.next_period_in + REFILL_MARGIN, partial(self._refilled, standing))
        self._say(standing, f"{standing.name}: not brought up, for that costs air time too; {budget.line()}")

    def _refilled(self, standing: Standing) -> None:
        """Perhaps: the clock may have been set meanwhile."""
        if standing.settings.hot:
            self._release(standing)
        else:
            self.look()
        self.spare(standing)

    def _release(self, standing: Standing) -> None:
        if not standing.planned("refill"):
            standing.link.release()

    def _before(self, standing: Standing) -> list[LinkView]:
        """The links that policy prefers to `standing`, all being sound."""
        ranked = sorted(self._views(), key=lambda view: (view.order, view.price))
        return ranked[: [view.name for view in ranked].index(standing.name)]

    def _carried(self, standing: Standing) -> bool:
        """Whether a link before `standing` carries.  An overdue answer alone is no reason to take another for cold ones: a
        bearer costs time and energy."""
        return any(
            view.ready and view.suspicion is not Suspicion.CONFIRMED and not view.probation
            for view in self._before(standing)
        )

    def _cool(self, standing: Standing) -> None:
        if self._carried(standing):
            standing.link.hold()
