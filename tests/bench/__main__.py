"""`python -m tests.bench [names] [--quick] [--out FOLDER]`: run benches and write docs/bench/.

Rules of this file: arguments and order of work only.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import machine, report
from tests.bench.benches import ALL
from tests.bench.desk import ROOT, Desk
from tests.bench.runner import run_bench

RESULTS = "results.json"


def main(arguments: list[str]) -> int:
    """Run; 0 unless nothing at all could be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `with`: namespaces and processes go too
    asked = _parser().parse_args(arguments)
    chosen = [each for each in ALL if not asked.names or any(each.name.startswith(name) for name in asked.names)]
    if not chosen:
        print(f"no such bench; there are: {', '.join(each.name for each in ALL)}", file=sys.stderr)  # noqa: T201
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    results = _former(asked.out / RESULTS) if asked.names else {}
    with Desk(quick=asked.quick) as desk:
        results["machine"] = machine.describe(desk)
        results.setdefault("benches", {})
        began = time.monotonic()
        for number, kind in enumerate(chosen, 1):
            desk.say(f"[{number}/{len(chosen)}] {kind.name}: {kind.title}")
            when = {"at": results["machine"]["at"], "quick": asked.quick}
            results["benches"][kind.name] = {**run_bench(kind(), desk), **when}
            (asked.out / RESULTS).write_text(json.dumps(results, indent=1) + "\n")  # what is measured is not lost again
        desk.say(f"done in {time.monotonic() - began:.0f} s; writing {asked.out}")
    report.write(results, asked.out)
    return 0 if any(each["contenders"] for each in results["benches"].values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ours and its peers side by side.")
    parser.add_argument("names", nargs="*", help="benches, by the beginning of their names; default: all")
    parser.add_argument("--quick", action="store_true", help="few runs: a look, not a measurement")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench", help="where results and tables go")
    return parser


def _former(path: Path) -> dict[str, Any]:
    """What an earlier run measured, so that a run of some benches keeps the others."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
