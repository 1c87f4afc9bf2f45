"""One run of the demo, from an empty folder to the exit status.

Rules of this file: order of events only; each part has a file of its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rataccess.cli.demo.script import LENGTH, SCRIPT
from rataccess.cli.demo.stage import Stage
from rataccess.cli.demo.verdict import Journal, Verdict, judge
from rataccess.cli.demo.view import View, print_result
from rataccess.cli.demo.watch import Watch

LOOK_EVERY = 0.25
"""Seconds between looks."""
SETTLE = 15.0
"""Seconds that the last records have to be seen in the service's store, once the application has ended."""


def run(*, seconds: float, json_file: Path | None, quiet: bool, folder: Path | None) -> int:
    """Run the demo; returns the exit status: 0 where every sample arrived once and unaltered, else 1."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with nullcontext(str(folder)) if folder else tempfile.TemporaryDirectory(prefix="rataccess-demo-") as place:
        with Stage(Path(place), seconds) as stage, View(quiet=quiet) as view:
            watch = _play(stage, view, seconds)
        verdict = _verdict(stage, watch)
        result = as_json(verdict, watch, stage.wifi_path)
    print_result(result)
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if verdict.good else 1


def _play(stage: Stage, view: View, seconds: float) -> Watch:
    watch = Watch(stage.state, stage.folder / "solution.sqlite")
    watch.on_decision = view.decision
    view.say(f"Wi-Fi is {stage.wifi_path}; cellular is a virtual BG95 on a pty; everything else is real")
    start, waiting = time.monotonic(), list(SCRIPT)
    while (now := time.monotonic() - start) < seconds:
        while waiting and waiting[0].at * seconds / LENGTH <= now:
            step = waiting.pop(0)
            view.step(now, step.text)
            step.deed(stage)
        watch.look()
        view.show(watch, now)
        time.sleep(LOOK_EVERY)
    view.say("the application is told to end; it delivers what it still has")
    _end(stage, watch, view, start)
    return watch


def _end(stage: Stage, watch: Watch, view: View, start: float) -> None:
    stage.ask_to_end()
    while not stage.ended():
        watch.look()
        view.show(watch, time.monotonic() - start)
        time.sleep(LOOK_EVERY)
    until = time.monotonic() + SETTLE
    journal = Journal.read(stage.journal.read_text(encoding="utf-8"))
    while len({record.number for record in watch.stored}) < len(journal.accepted) and time.monotonic() < until:
        watch.look()
        time.sleep(LOOK_EVERY)


def _verdict(stage: Stage, watch: Watch) -> Verdict:
    watch.look()
    journal = Journal.read(stage.journal.read_text(encoding="utf-8"))
    return judge(journal, watch.stored, watch.expired, watch.decisions)


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
            name: {"rat": watch.rats.get(name), "records": records.get(name, 0), **traffic}
            for name, traffic in watch.traffic.items()
        },
        "switches": [
            {"from": each.origin, "to": each.target, "cause": each.cause, "gap_ms": round(each.gap_ms, 1)}
            for each in verdict.switches
        ],
        "recoveries": watch.recoveries,
        "wifi_path": wifi_path,
    }
