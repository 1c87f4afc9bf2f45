"""The machinery of the benches: figures, turns, failures, goals, tables.  The benches themselves are not run here."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.bench import __main__, goals, lab, report, series
from tests.bench.bench import Bench, Contender, Metric, Unavailable, Values
from tests.bench.benches import ALL
from tests.bench.desk import Desk, Failed, Program
from tests.bench.figures import Figure, ratio, shown
from tests.bench.goals import GOALS, Goal, Verdict
from tests.bench.runner import run_bench, turned


def a_desk(tmp_path: Path, *, quick: bool = False) -> Desk:
    return Desk(quick=quick, build=tmp_path / "build")


class Small(Bench):
    """Contenders of plain functions."""

    name = "small"
    title = "Small"
    text = "Nothing."
    metrics = (Metric("ms", "ms"), Metric("bytes", "B"))
    runs = 3

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self.contenders = contenders

    @contextlib.contextmanager
    def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
        yield self.contenders


@pytest.mark.parametrize(
    ("values", "text"),
    [([3.0], "3"), ([1, 2, 9], "2 [1..9]"), ([0.0042, 0.0042], "0.0042"), ([1234.5, 1300, 99], "1,234 [99..1,300]")],
)
def test_figures_tell_median_and_range(values: list[float], text: str) -> None:
    assert Figure.of(values).text() == text


def test_no_values_are_no_figure() -> None:
    with pytest.raises(ValueError, match="no run"):
        Figure.of([])


def test_ratios_by_nothing() -> None:
    assert ratio(0, 0) == 1
    assert ratio(1, 0) == math.inf
    assert ratio(1, 4) == 0.25
    assert shown(math.inf) == "inf"


def test_everybody_begins_a_round_as_often_as_the_others() -> None:
    contenders = [Contender(name, dict) for name in "abc"]
    first = Counter(turned(contenders, number)[0].name for number in range(9))
    assert set(first.values()) == {3}
    assert turned([], 4) == []


def test_contenders_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def runner(name: str) -> Contender:
        def run() -> Values:
            order.append(name)
            return {"ms": len(order)}

        return Contender(name, run)

    with a_desk(tmp_path) as desk:
        found = run_bench(Small([runner("a"), runner("b")]), desk)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found["contenders"]["a"]["values"]["ms"] == [1.0, 4.0, 5.0]


def test_one_who_fails_is_told_and_stops_nobody(tmp_path: Path) -> None:
    asked: list[int] = []

    def fail() -> Values:
        asked.append(1)
        raise Failed("the wheel came off\nin the middle\nof the road")

    with a_desk(tmp_path) as desk:
        found = run_bench(Small([Contender("bad", fail), Contender("good", lambda: {"ms": 1})]), desk)
    assert len(found["contenders"]["good"]["values"]["ms"]) == 3
    assert found["contenders"]["bad"]["failures"] == ["the wheel came off ... of the road"] * 2
    assert len(asked) == 2, "it is not asked again for ever"
    lines = "\n".join(report.table(Small, found["contenders"]))
    assert "failed: the wheel came off" in lines


def test_a_bench_that_cannot_be_is_skipped_with_its_reason(tmp_path: Path) -> None:
    class Impossible(Small):
        @contextlib.contextmanager
        def stage(self, desk: Desk) -> Iterator[Sequence[Contender]]:
            raise Unavailable("needs root")
            yield ()

    with a_desk(tmp_path) as desk:
        found = run_bench(Impossible([]), desk)
    assert found["skipped"] == "needs root"
    assert found["contenders"] == {}


def test_those_who_wait_go_on_beside_the_others(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def wait() -> Values:
        together.wait(30)
        return {"ms": 1}

    with a_desk(tmp_path) as desk:
        found = run_bench(Small([Contender("slow", wait, waits=True)]), desk)
    assert found["contenders"]["slow"]["values"]["ms"] == [1.0, 1.0, 1.0]


def test_quick_runs_are_few(tmp_path: Path) -> None:
    with a_desk(tmp_path, quick=True) as desk:
        found = run_bench(Small([Contender("a", lambda: {"ms": 1}), Contender("b", lambda: {"ms": 1}, runs=1)]), desk)
    assert [len(each["values"]["ms"]) for each in found["contenders"].values()] == [2, 1]


def test_programs_speak_json_lines_and_are_ended(tmp_path: Path) -> None:
    with a_desk(tmp_path) as desk:
        told = (
            'import sys; print("noise"); print(\'{"a": 1}\', flush=True); sys.stdin.readline(); sys.exit("gone wrong")'
        )
        with Program([desk.own_python, "-c", told]) as program:
            assert program.hear() == {"a": 1}
            program.tell()
            with pytest.raises(Failed, match="gone wrong"):
                program.hear()
        with Program([desk.own_python, "-c", "import time; time.sleep(600)"]) as program:
            process = program.process
        assert process.returncode is not None


def result(bench: str, contender: str, metric: str, value: float) -> dict[str, object]:
    return {"benches": {bench: {"contenders": {contender: {"values": {metric: [value]}, "note": "", "failures": []}}}}}


def test_goals_are_met_missed_or_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = Goal("quick", "b", "rataccess", "ms", "ms", most=10)
    monkeypatch.setattr(goals, "GOALS", (goal,))
    assert [each.text() for each in goals.judge(result("b", "rataccess", "ms", 9))] == ["met"]
    assert [each.text() for each in goals.judge(result("b", "rataccess", "ms", 12))] == ["**missed by 20 %**"]
    assert [each.text() for each in goals.judge(result("b", "rataccess", "ms", 70))] == ["**missed, 7 times**"]
    assert [each.text() for each in goals.judge({})] == ["not measured"]


def test_a_goal_against_a_peer_is_a_ratio() -> None:
    goal = Goal("ahead", "b", "rataccess", "rate", "x", least=8, against=("b", "peer"))
    assert Verdict(goal, 8.0).met
    assert not Verdict(goal, 7.9).met
    assert Verdict(goal, 4.0).text() == "**missed by 100 %**"


def test_every_goal_names_a_bench_and_a_metric_that_there_are() -> None:
    benches = {kind.name: {metric.name for metric in kind.metrics} for kind in ALL}
    for goal in GOALS:
        assert goal.metric in benches[goal.bench]
        assert goal.against is None or goal.metric in benches[goal.against[0]]
        assert (goal.most is None) != (goal.least is None)
        assert goal.contender.startswith("rataccess")


def test_benches_have_names_of_their_own_and_a_metric_to_compare() -> None:
    assert len({kind.name for kind in ALL}) == len(ALL)
    for kind in ALL:
        assert (kind.ratio_of or kind.metrics[0].name) in {metric.name for metric in kind.metrics}


def test_the_page_is_made_from_results_alone(tmp_path: Path) -> None:
    kind = ALL[0]
    contenders = {
        "rataccess": {"note": "ours", "values": {"bytes": [100.0, 90.0]}, "failures": []},
        "peer": {"note": "a | b", "values": {"bytes": [200.0]}, "failures": []},
    }
    results = {"benches": {kind.name: {"title": kind.title, "contenders": contenders}}}
    page = report.text(results)
    assert page == report.text(json.loads(json.dumps(results)))
    assert "| **rataccess** | 95 [90..100] | 1 | 2 | ours |" in page
    assert "| peer | 200 | 0.475 | 1 | a / b |" in page
    assert "not measured" in page, "goals without figures are not passed over"


def test_an_unknown_bench_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["nosuch"]) == 2
    assert "no such bench" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["single", *series.KINDS])
def test_series_are_the_same_each_time_and_fit_their_template(kind: str) -> None:
    from tests.bench.clients.sender import template_for

    values = series.take(kind, 100)
    assert values == series.take(kind, 100)
    assert len(values) == 100
    for value in values:
        template_for(value).check(value)


def test_packets_are_counted_by_time_link_and_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "emulator", lambda desk: Path("/bin/true"))
    monkeypatch.setattr(lab.Lab, "order", lambda self, *words: None)
    with a_desk(tmp_path) as desk:
        one = lab.Lab(desk)
        (one.folder / "trace").write_text("1.5 wifi 0 100 c\n2.5 wifi 1 50 c\n3.5 cell 0 70 d\n")
        assert one.count() == lab.Count(170, 50, 3)
        assert one.count(2, 3).bytes == 50
        assert one.count(link="cell") == lab.Count(70, 0, 1)
        one.close()
