"""One run of the demo, from an empty folder to the exit status.

Rules of this file: order of events only; each part has a file of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rataccess.cli.demo.script import FAILBACK, PATIENCE, Script, Step
from rataccess.cli.demo.signals import Signals
from rataccess.cli.demo.stage import Stage
from rataccess.cli.demo.verdict import Journal, Verdict, judge
from rataccess.cli.demo.view import View, print_result
from rataccess.cli.demo.watch import Watch
from rataccess.clock import SystemClock

RADIOS = {
    "cellular": "a virtual BG95 on a pty",
    "lora": "a virtual RAK3172 on a pty; a virtual gateway that speaks Semtech UDP to the service's own network server",
    "satellite": "a virtual Iridium 9603 on a pty; a virtual gateway that speaks DirectIP to the services",
}
LOOK_EVERY = 0.25
"""Seconds between looks."""
SETTLE = 15.0
"""Seconds that the last records have to be seen in the service's store, once the application has ended."""


def run(*, script: Script, seconds: float, json_file: Path | None, quiet: bool, folder: Path | None) -> int:
    """Run the demo in `seconds`, at least the script's shortest.

    Returns the exit status: 0 where every sample arrived once and unaltered, 1 else, 130 on Ctrl-C."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with Signals() as signals, nullcontext(str(folder)) if folder else _passing_folder() as place:
            stage = Stage(Path(place).resolve(), round(FAILBACK * seconds / script.shortest, 3), signals, script.rats)
            watch = Watch(stage.state, stage.folder / "solution.sqlite")
            with stage, View(quiet=quiet) as view:
                Play(script, stage, watch, view, signals, seconds).perform()
            return conclude(stage, watch, json_file)
    except KeyboardInterrupt:
        sys.stderr.write("rataccess: broken off; every process of the demo was ended\n")
        return 130


def conclude(stage: Stage, watch: Watch, json_file: Path | None) -> int:
    """Judge, print, write; returns the exit status."""
    watch.look()
    journal = Journal.read(stage.journal.read_text(encoding="utf-8"))
    verdict = judge(journal, watch.stored, watch.expired, watch.decisions)
    result = as_json(verdict, watch, stage.wifi_path)
    print_result(result)
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if verdict.good else 1


class Play:
    """The script, performed on a stage that is set."""

    def __init__(
        self, script: Script, stage: Stage, watch: Watch, view: View, signals: Signals, seconds: float
    ) -> None:
        self._script, self._signals = script, signals
        self._stage, self._watch, self._view, self._seconds = stage, watch, view, seconds
        self._clock = SystemClock()
        self._start = self._clock.wall()
        """Wall time, as the device's own notes have it."""
        self._began = self._clock.monotonic()
        self._late = 0.0
        """Seconds that deeds have waited for what had to be seen first: all that follows is as much later."""

    def perform(self) -> None:
        """Do every deed, then have the application end."""
        self._watch.on_decision = lambda decision: self._view.decision(decision["at"] - self._start, decision)
        self._view.say(f"Wi-Fi: {self._stage.wifi_path}")
        for name in self._script.rats:
            if name in RADIOS:
                self._view.say(f"{name}: {RADIOS[name]}")
        self._view.say("everything else is real")
        for step in self._script.steps:
            self._await(step)
            self._view.step(self._clock.wall() - self._start, step.text)
            step.deed(self._stage)
        while self._now < self._seconds + self._late:
            self._look()
        self._view.step(self._clock.wall() - self._start, "application: told to end, once it has delivered what it has")
        self._end()

    @property
    def _now(self) -> float:
        return self._clock.monotonic() - self._began

    def _await(self, step: Step) -> None:
        due = step.due(self._seconds / self._script.shortest) + self._late
        while (now := self._now) < due or (now < due + PATIENCE and not step.after(self._watch)):
            self._look()
        self._late += max(0.0, self._now - due - LOOK_EVERY)

    def _look(self) -> None:
        self._watch.look()
        self._view.show(self._watch, self._clock.wall() - self._start)
        self._signals.wait(LOOK_EVERY)

    def _end(self) -> None:
        self._stage.ask_to_end()
        while not self._stage.ended():
            self._look()
        until = self._now + SETTLE
        accepted = Journal.read(self._stage.journal.read_text(encoding="utf-8")).accepted
        while len({record.number for record in self._watch.stored}) < len(accepted) and self._now < until:
            self._look()


@contextmanager
def _passing_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rataccess-demo-") as place:
        yield place


def as_json(verdict: Verdict, watch: Watch, wifi_path: str) -> dict[str, Any]:
    """The result as plain values."""
    records: dict[str, int] = {}
    for record in watch.stored:
        records[record.link or "unknown"] = records.get(record.link or "unknown", 0) + 1
    return {
        "enqueued": verdict.enqueued,
        "delivered": verdict.delivered,
        "duplicated": verdict.duplicated,
        "lost": verdict.lost,
        "expired": verdict.expired,
        "corrupted": verdict.corrupted,
        "links": {
            name: {
                "rat": watch.rats.get(name),
                "records": records.get(name, 0),
                "unit": watch.units[name],
                **traffic,
                "cost": round(traffic["cost"], 4),
            }
            for name, traffic in watch.traffic.items()
        },
        "switches": [
            {"from": each.origin, "to": each.target, "cause": each.cause, "gap_ms": round(each.gap_ms, 1)}
            for each in verdict.switches
        ],
        "recoveries": watch.recoveries,
        "transfers": watch.transfers,
        "wifi_path": wifi_path,
    }
