"""docs/bench/README.md, made from results.json and the fixed text of `words.py`.

Rules of this file: no measuring and no opinion; the same results give the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench import words
from tests.bench.bench import OURS, Bench
from tests.bench.benches import ALL
from tests.bench.figures import Figure, ratio, shown
from tests.bench.goals import Measured, Verdict, judge


def write(results: Measured, folder: Path) -> None:
    """Write README.md and the plots of `results` into `folder`."""
    try:
        from tests.bench import plots  # needs matplotlib, an extra

        drawn = plots.draw(results, folder)
    except ImportError:
        drawn = {}
    (folder / "README.md").write_text(text(results, drawn), encoding="utf-8")


def text(results: Measured, drawn: Mapping[str, str] | None = None) -> str:
    """The page; `drawn`: bench -> file name of its plot."""
    parts = [words.HEAD.strip(), "", *_machine(results), "", *goal_table(results), ""]
    for kind in ALL:
        if kind.name in results.get("benches", {}):
            parts += [*_section(kind, results["benches"][kind.name], (drawn or {}).get(kind.name)), ""]
    return "\n".join([*parts, words.TAIL.strip(), ""])


def _machine(results: Measured) -> Iterator[str]:
    found = results.get("machine", {})
    if not found:
        return
    yield (
        f"The latest of them {found['at']} UTC; {found['cores']} cores ({found['processor']}), {found['memory']}, Linux "
        f"{found['kernel']}, Python "
        f"{found['python']}, load {found['load']} at the start."
    )
    for name in ("ours", "peers", "tools"):
        versions = ", ".join(f"{key} {value}" for key, value in found[name].items() if value)
        yield f"{words.VERSIONS[name]}: {versions}."


def goal_table(results: Measured) -> Iterator[str]:
    """Goals and verdicts, then what is to say of those that were missed."""
    verdicts = list(judge(results))
    met = sum(each.met for each in verdicts)
    yield "## Goals"
    yield ""
    yield f"{met} of {len(verdicts)} met."
    yield ""
    yield "| goal | how compared | limit | measured | |"
    yield "|---|---|---|---|---|"
    for each in verdicts:
        yield _goal_row(each)
    missed = [each.goal.name for each in verdicts if not each.met and each.measured is not None]
    for name in missed:
        if name in words.WHY:
            yield ""
            yield f"**{name}**: {words.WHY[name]}"


def _goal_row(verdict: Verdict) -> str:
    goal = verdict.goal
    how = f"median of {goal.contender}, {goal.bench}"
    if goal.against:
        peer = goal.against[1] + (f", {goal.against[0]}" if goal.against[0] != goal.bench else "")
        how = f"median of {peer}, by that of {goal.contender}" if goal.inverse else f"{how}, by that of {peer}"
    limit = f"<= {shown(goal.most)}" if goal.most is not None else f">= {shown(goal.least or 0)}"
    measured = "-" if verdict.measured is None else f"{shown(verdict.measured)} {goal.unit}"
    return f"| {goal.name} | {how} | {limit} {goal.unit} | {measured} | {verdict.text()} |"


def _section(kind: type[Bench], found: Mapping[str, Any], plot: str | None) -> Iterator[str]:
    yield f"## {kind.title}"
    yield ""
    yield kind.text
    yield ""
    if "at" in found:
        quick = ", **a quick run: too few runs for a measurement**" if found.get("quick") else ""
        yield f"Measured {found['at']} UTC{quick}."
        yield ""
    if "skipped" in found:
        yield f"Not measured: {found['skipped']}"
        yield ""
    if found["contenders"]:
        yield from table(kind, found["contenders"])
    if plot:
        yield ""
        yield f"![{kind.title}]({plot})"


def table(kind: type[Bench], contenders: Mapping[str, Any]) -> Iterator[str]:
    """Contenders by metrics, and the ratio of ours to each by one of them."""
    metrics = [each for each in kind.metrics if any(each.name in found["values"] for found in contenders.values())]
    lead = next((each for each in metrics if each.name == (kind.ratio_of or kind.metrics[0].name)), None)
    heads = [f"{each.name}, {each.unit}" for each in metrics]
    yield f"| contender | {' | '.join(heads)} | {f'ours / it, {lead.name}' if lead else ''} | n | |"
    yield "|---" * (len(metrics) + 4) + "|"
    for name, found in contenders.items():
        values = found["values"]
        cells = [Figure.of(values[each.name]).text() if values.get(each.name) else "-" for each in metrics]
        compared = "-"
        base = _base(contenders, name, lead.name) if lead else None
        if lead and base is not None and values.get(lead.name):
            compared = shown(ratio(base, Figure.of(values[lead.name]).median))
        runs = max((len(each) for each in values.values()), default=0)
        notes = [found["note"]] if found["note"] else []
        if found["failures"]:
            notes.append(f"failed: {found['failures'][0]}" + (f" ({len(found['failures'])} x)"))
        shown_name = f"**{name}**" if name.startswith(OURS) else name
        yield f"| {shown_name} | {' | '.join(cells)} | {compared} | {runs} | {_plain('; '.join(notes))} |"


def _base(contenders: Mapping[str, Any], name: str, metric: str) -> float | None:
    """The median of ours under the same condition (what stands last in the names), or of the first of ours."""
    ours = {each: found for each, found in contenders.items() if each.startswith(OURS) and found["values"].get(metric)}
    condition = name.rpartition(", ")[2]
    alike = [found for each, found in ours.items() if each.rpartition(", ")[2] == condition] or list(ours.values())
    return Figure.of(alike[0]["values"][metric]).median if alike else None


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
