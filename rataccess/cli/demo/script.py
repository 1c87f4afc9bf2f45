"""What happens when: the script of the demo.

Rules of this file: times and deeds; how a deed is done is the stage's business.  Times are for a script of 40 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rataccess.cli.demo.stage import Stage

LENGTH = 40.0


@dataclass(frozen=True, slots=True)
class Step:
    """At `at` seconds (of `LENGTH`) do `deed`."""

    at: float
    text: str
    deed: Callable[[Stage], None]


SCRIPT = (
    Step(3.5, "Wi-Fi: carrier is cut", lambda stage: stage.wifi(carrier=False)),
    Step(6.5, "Wi-Fi: carrier is back", lambda stage: stage.wifi(carrier=True)),
    Step(11.0, "Wi-Fi: dies silently (associated, no data)", lambda stage: stage.wifi(silent=True)),
    Step(13.5, "modem: hangs, answers nothing, while Wi-Fi is dead", lambda stage: stage.modem_hangs()),
    Step(27.5, "Wi-Fi: lives again", lambda stage: stage.wifi(silent=False)),
    Step(31.0, "application: killed with SIGKILL in the middle of traffic", lambda stage: stage.kill_application()),
    Step(32.0, "application: started again", lambda stage: stage.start_application()),
    Step(34.5, "solution service: killed with SIGKILL", lambda stage: stage.kill_solution()),
    Step(36.5, "solution service: started again", lambda stage: stage.start_solution()),
)
