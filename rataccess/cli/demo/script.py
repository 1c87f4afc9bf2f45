"""What happens when: the script of the demo.

Rules of this file: times, deeds, and what must be seen before the next deed; how a deed is done is the stage's business,
and what is seen is the watch's.  No clock is read here.

Times are laid out for `SHORTEST` seconds and stretched for longer runs, with two exceptions.  What is fixed by others is
not stretched: a hanging modem is found after the 5 s that it has for an answer.  And Wi-Fi, dead and alive again, is asked
for proof at fixed times only (see `rataccess.access`: after 2, then 4 times `failback_after`, each with 2 s for the
answer), so it comes to life shortly before the second of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rataccess.cli.demo.stage import Stage
from rataccess.cli.demo.watch import Watch

SHORTEST = 25.0
"""Seconds below which not every deed shows its effect before the next."""
FAILBACK = 1.5
"""`failback_after` of both links, seconds in a run of `SHORTEST`."""
SILENT_AT = 6.5
PATIENCE = 8.0
"""Seconds that a deed may wait beyond its time for what must be seen first; a slow machine needs some."""

Seen = Callable[[Watch], bool]


@dataclass(frozen=True, slots=True)
class Step:
    """At `at` seconds, stretched, plus `fixed` seconds, do `deed`, if by then `after` was seen, or else soon after."""

    at: float
    text: str
    deed: Callable[[Stage], None]
    after: Seen
    fixed: float = 0.0

    def due(self, seconds: float) -> float:
        """When it is due in a run of `seconds`."""
        return self.at * seconds / SHORTEST + self.fixed


def _uses(name: str) -> Seen:
    return lambda watch: watch.in_use == name


def _both_up(watch: Watch) -> bool:
    return watch.ready == {"wifi", "cellular"}


def _recovered(watch: Watch) -> bool:
    return bool(watch.recoveries) and watch.in_use == "cellular"


def _runs(watch: Watch) -> bool:
    return watch.device is not None


def _always(_: Watch) -> bool:
    return True


SCRIPT = (
    Step(2.0, "Wi-Fi: carrier is cut", lambda stage: stage.wifi(carrier=False), _both_up),
    Step(3.5, "Wi-Fi: carrier is back", lambda stage: stage.wifi(carrier=True), _uses("cellular")),
    Step(SILENT_AT, "Wi-Fi: dies silently (associated, no data)", lambda stage: stage.wifi(silent=True), _uses("wifi")),
    Step(8.0, "modem: hangs, answers nothing", lambda stage: stage.modem_hangs(), _uses("cellular")),
    Step(SILENT_AT + 6 * FAILBACK, "Wi-Fi: lives again", lambda stage: stage.wifi(silent=False), _recovered, 1.5),
    Step(19.0, "application: killed with SIGKILL", lambda stage: stage.kill_application(), _uses("wifi")),
    Step(19.6, "application: started again", lambda stage: stage.start_application(), _always),
    Step(21.2, "solution service: killed with SIGKILL", lambda stage: stage.kill_solution(), _runs),
    Step(22.0, "solution service: started again", lambda stage: stage.start_solution(), _always),
)
