"""Runs benches: rounds in which every contender has its turn, so that what the machine does meanwhile hits all alike.

Rules of this file: one failing contender or bench ends nothing but itself, and its reason is kept.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.bench.bench import Bench, Contender, Unavailable, Values
from tests.bench.desk import Desk

_GIVE_UP = 2
"""Failures after which a contender is not asked again: each may take minutes."""


@dataclass
class Result:
    """What one contender did."""

    note: str
    values: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, values: Values) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(float(value))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"note": self.note, "values": self.values, "failures": self.failures}


def run_bench(bench: Bench, desk: Desk) -> dict[str, Any]:
    """Run one bench; its results as plain values, with `skipped` where it could not be run at all."""
    began = time.monotonic()
    out: dict[str, Any] = {"title": bench.title, "contenders": {}}
    results: dict[str, Result] = {}
    try:
        with bench.stage(desk) as contenders:
            results = {each.name: Result(each.note) for each in contenders}
            _rounds(bench, desk, contenders, results)
    except Unavailable as error:
        out["skipped"] = str(error)
        desk.say(f"  skipped: {error}")
    except Exception as error:  # noqa: BLE001 - a bench may fail in any way; the others go on
        out["skipped"] = f"failed: {_reason(error)}"
        desk.say(f"  {out['skipped']}")
    out["contenders"] = {name: result.plain() for name, result in results.items()}
    out["seconds"] = round(time.monotonic() - began, 1)
    return out


def _rounds(bench: Bench, desk: Desk, contenders: Sequence[Contender], results: dict[str, Result]) -> None:
    runs = bench.quick_runs if desk.quick else bench.runs
    waiting = [each for each in contenders if each.waits]
    with ThreadPoolExecutor(max_workers=bench.beside) as pool:
        beside = [(each, pool.submit(each.run)) for each in waiting for _ in range(_runs(each, runs, desk))]
        for number in range(runs):
            for each in turned([each for each in contenders if not each.waits], number):
                if number < _runs(each, runs, desk) and len(results[each.name].failures) < _GIVE_UP:
                    _turn(each, results[each.name], desk)
            desk.say(f"  round {number + 1} of {runs}")
        if beside:
            desk.say(f"  waiting for {len(beside)} slow runs")
        for each, future in beside:
            _collect(each, future, results[each.name], desk)


def _runs(contender: Contender, runs: int, desk: Desk) -> int:
    return runs if contender.runs is None else min(runs, contender.runs) if desk.quick else contender.runs


def turned(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """The order of round `number`: every contender comes first as often as any other."""
    if not contenders:
        return []
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def _turn(contender: Contender, result: Result, desk: Desk) -> None:
    try:
        result.add(contender.run())
    except Exception as error:  # noqa: BLE001 - a contender may fail in any way; the others go on
        _note(contender, error, result, desk)


def _collect(contender: Contender, future: Future[Values], result: Result, desk: Desk) -> None:
    try:
        result.add(future.result())
    except Exception as error:  # noqa: BLE001 - as above
        _note(contender, error, result, desk)


def _note(contender: Contender, error: Exception, result: Result, desk: Desk) -> None:
    result.failures.append(_reason(error))
    desk.say(f"  {contender.name} failed: {result.failures[-1]}")
    if not isinstance(error, Unavailable):
        with (desk.build / "bench-failures.log").open("a") as log:
            log.write(f"{contender.name}: {''.join(traceback.format_exception(error))}\n")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (f"{lines[0]} ... {lines[-1]}" if len(lines) > 1 else lines[0] if lines else type(error).__name__)[:500]
