"""What happens when: the script of the demo.

Rules of this file: times, deeds, and what must be seen before the next deed; how a deed is done is the stage's business,
and what is seen is the watch's.  No clock is read here.

Times are laid out for the shortest run and stretched for longer ones, with two exceptions.  What is fixed by others is
not stretched: a hanging modem is found after the 5 s that it has for an answer.  And Wi-Fi, dead and alive again, is asked
for proof at fixed times only (see `rataccess.access`: after 2, then 4 times `failback_after`, each with 2 s for the
answer), so it comes to life shortly before the second of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rataccess.cli.demo.stage import Stage
from rataccess.cli.demo.watch import Watch

FAILBACK = 1.5
"""`failback_after` of each link, seconds in the shortest run."""
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

    def due(self, stretch: float) -> float:
        """When it is due in a run that is so many times as long as the shortest."""
        return self.at * stretch + self.fixed


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to a device with the links `rats`."""

    rats: tuple[str, ...]
    shortest: float
    """Seconds below which not every deed shows its effect before the next."""
    usual: float
    """Seconds of a run of which nothing else was said."""
    steps: tuple[Step, ...]


def _uses(name: str) -> Seen:
    return lambda watch: watch.in_use == name


def _all_up(*names: str) -> Seen:
    return lambda watch: watch.ready >= set(names)


def _recovered(watch: Watch) -> bool:
    return bool(watch.recoveries)


def _runs(watch: Watch) -> bool:
    return watch.device is not None


def _always(_: Watch) -> bool:
    return True


def _begun(link: str) -> Seen:
    """An object that goes in parts is under way over `link`, and the service has told of some."""
    return lambda watch: any(each["bytes"].get(link) and each["held"] for each in watch.transfers)


def _alarms(link: str, count: int) -> Seen:
    return lambda watch: sum(each.link == link for each in watch.stored) >= count


_DEATHS = (
    Step(2.0, "Wi-Fi: carrier is cut", lambda stage: stage.wifi(carrier=False), _all_up("wifi", "cellular")),
    Step(3.5, "Wi-Fi: carrier is back", lambda stage: stage.wifi(carrier=True), _uses("cellular")),
    Step(SILENT_AT, "Wi-Fi: dies silently (associated, no data)", lambda stage: stage.wifi(silent=True), _uses("wifi")),
    Step(8.0, "modem: hangs, answers nothing", lambda stage: stage.modem_hangs(), _uses("cellular")),
    Step(SILENT_AT + 6 * FAILBACK, "Wi-Fi: lives again", lambda stage: stage.wifi(silent=False), _recovered, 1.5),
)


def _kills(application: float, service: float, after: Seen) -> tuple[Step, ...]:
    return (
        Step(application, "application: killed with SIGKILL", lambda stage: stage.kill_application(), after),
        Step(application + 0.6, "application: started again", lambda stage: stage.start_application(), _always),
        Step(service, "solution service: killed with SIGKILL", lambda stage: stage.kill_solution(), _runs),
        Step(service + 0.8, "solution service: started again", lambda stage: stage.start_solution(), _always),
    )


TWO = Script(("wifi", "cellular"), 25.0, 40.0, (*_DEATHS, *_kills(19.0, 21.2, _uses("wifi"))))
FOUR = Script(
    ("wifi", "cellular", "lora", "satellite"),
    75.0,
    75.0,
    (
        *_DEATHS,
        Step(21.0, "Wi-Fi: carrier is cut", lambda stage: stage.wifi(carrier=False), _uses("wifi")),
        Step(23.0, "cellular: no coverage", lambda stage: stage.cellular(coverage=False), _uses("cellular")),
        Step(25.0, "application: enqueues an object of 2 kB", lambda stage: stage.picture(), _uses("lora")),
        Step(32.0, "cellular: coverage is back", lambda stage: stage.cellular(coverage=True), _begun("lora")),
        Step(37.0, "cellular: no coverage", lambda stage: stage.cellular(coverage=False), _uses("cellular")),
        Step(42.0, "LoRa: out of coverage", lambda stage: stage.lora(coverage=False), _uses("lora")),
        *_kills(62.0, 64.0, _alarms("satellite", 2)),
        Step(68.0, "Wi-Fi: carrier is back", lambda stage: stage.wifi(carrier=True), _runs),
    ),
)
SCRIPTS = (TWO, FOUR)
