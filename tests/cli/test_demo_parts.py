"""The demo's parts without its processes: what it shows, and how it ends where something is wrong."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rataccess.cli.demo.script import FOUR, PATIENCE, SCRIPTS, TWO, Script, Step
from rataccess.cli.demo.stage import Stage
from rataccess.cli.demo.verdict import Stored
from rataccess.cli.demo.view import View, print_result
from rataccess.cli.demo.watch import Watch
from rataccess.clock import SystemClock
from rataccess.objects import Service, Urgency, encode
from rataccess.services.store import ServiceStore
from tests.cli.conftest import Cli

RESULT: dict[str, Any] = {
    "enqueued": 3,
    "delivered": 2,
    "duplicated": 0,
    "lost": 1,
    "expired": 0,
    "corrupted": 0,
    "links": {
        "wifi": {"rat": "wifi", "records": 2, "packets": 12, "bytes": 3456, "unit": "byte", "units": 3456, "cost": 0},
        "lora": {
            "rat": "lorawan",
            "records": 1,
            "packets": 1,
            "bytes": 64,
            "unit": "ms of air time",
            "units": 2794,
            "cost": 0,
        },
        "satellite": {
            "rat": "sbd",
            "records": 1,
            "packets": 1,
            "bytes": 70,
            "unit": "credit",
            "units": 2,
            "cost": 0.24,
        },
    },
    "switches": [{"from": "wifi", "to": "cellular", "cause": "wifi: silent: 5 request(s) " * 4, "gap_ms": 87.4}],
    "recoveries": [{"link": "cellular", "step": "reopen port", "seconds": 0.1}],
    "transfers": [{"number": 7, "size": 2037, "bytes": {"lora": 1080, "cellular": 957}, "held": 2037, "again": 0}],
    "wifi_path": "a relay",
}


def link(evidence: str, **more: Any) -> dict[str, Any]:
    plain = {"ready": True, "detail": "up", "rat": "wifi", "response_time": 0.034, "suspicion": "NONE"}
    counted = {"records": 0, "packets": 0, "bytes": 0, "unit": "byte", "units": 0, "cost": 0.0}
    return {**plain, "probation": False, **counted, "evidence": evidence, **more}


def watch(folder: Path, *, runs: bool = True) -> Watch:
    """A watch that has seen a device with two links, or whose device has just died."""
    found = Watch(folder, folder / "solution.sqlite")
    found.stored = [Stored(1, 1.0, "wifi", None)]
    found.traffic = {"wifi": {"packets": 1, "bytes": 1}, "cellular": {"packets": 0, "bytes": 0}}
    if runs:
        found.device = {
            "in_use": "wifi",
            "links": {
                "wifi": link("REACHABLE", detail="[wlan0] " + "long " * 40),
                "cellular": link("PORT", ready=False, response_time=None, suspicion="CONFIRMED"),
            },
            "outbox": {"solution/routine": {"records": 7, "bytes": 70}},
            "explanation": "in use: wifi: best of [the links] that may carry it " + "and more " * 20 + "\nmore",
        }
    return found


def play(view: View, seen: Watch) -> None:
    with view:
        view.say("hello")
        view.step(2.5, "Wi-Fi: [carrier] is cut")
        view.show(seen, 2.75)
        text = "wifi: no carrier; now cellular: best"
        view.decision(2.51, {"kind": "switch", "text": text, "from": "wifi", "to": "cellular"})
        view.show(seen, 3.0)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("size", [(80, 24), (30, 5), (200, 60)])
def test_the_live_view_fits_the_terminal(tmp_path: Path, size: tuple[int, int], runs: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=size[0], height=size[1], color_system=None)
    play(View(quiet=False, console=console), watch(tmp_path, runs=runs))
    shown = file.getvalue()
    assert "[carrier]"[: size[0] // 4] in shown
    if size[0] >= 80:
        assert "wifi -> cellular: wifi: no carrier" in shown
        assert "REACHABLE" in shown
        assert ("outbox 7" in shown) is runs
        assert ("the application does not run" in shown) is not runs
        lines = [line for line in shown.replace("\r", "\n").split("\n") if "\x1b" not in line]
        assert max(map(len, lines)) <= size[0]


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    file = io.StringIO()
    play(View(quiet=False, console=Console(file=file)), watch(tmp_path))
    assert file.getvalue().splitlines() == [
        "        hello",
        "  2.50 s >>> Wi-Fi: [carrier] is cut",
        "  2.75 s     wifi=REACHABLE cellular=PORT; in use: wifi; outbox 7, delivered 1",
        "  2.51 s     switch: wifi -> cellular: wifi: no carrier",
    ]


def test_quiet_says_nothing(tmp_path: Path) -> None:
    for terminal in (False, True):
        file = io.StringIO()
        play(View(quiet=True, console=Console(file=file, force_terminal=terminal)), watch(tmp_path))
        assert file.getvalue() == ""


def test_the_tables_are_readable_in_80_columns() -> None:
    file = io.StringIO()
    print_result(RESULT, Console(file=file, force_terminal=True, width=80, color_system=None))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in file.getvalue()
    assert "NOT every sample arrived once and unaltered" in lines
    assert "87 ms" in file.getvalue()
    assert all(each in file.getvalue() for each in ("2.8 s of air time", "2 credits", "0.24"))
    assert "in parts: 1080 B over lora, 957 B over cellular; sent though acknowledged: 0 B" in file.getvalue()


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stretch", [1.0, 1.6, 3.2, 24.0])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_keeps_its_order_at_every_length(script: Script, stretch: float) -> None:
    due = [step.due(stretch) for step in script.steps]
    assert due == sorted(due)
    assert due[-1] < script.shortest * stretch
    assert script.usual >= script.shortest
    texts = {step.text: step.due(stretch) for step in script.steps}
    hang, alive = texts["modem: hangs, answers nothing"], texts["Wi-Fi: lives again"]
    assert alive - hang > PATIENCE  # the modem's recovery takes 8 s, and is shown while Wi-Fi is dead


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_run_is_shorter_than_the_script(cli: Cli, script: Script) -> None:
    told = cli("demo", "--rats", ",".join(reversed(script.rats)), "--seconds", str(script.shortest - 1))
    assert told.code == 2
    assert str(int(script.shortest)) in told.err


@pytest.mark.parametrize("rats", ["", "wifi", "wifi,cellular,pigeon", "lora,satellite"])
def test_other_sets_of_radios_are_refused(cli: Cli, rats: str) -> None:
    told = cli("demo", "--rats", rats)
    assert told.code == 2
    assert "wifi,cellular,lora,satellite" in " ".join(told.err.replace("│", " ").split())


def test_a_folder_with_too_long_a_path_is_named(cli: Cli, tmp_path: Path) -> None:
    told = cli("demo", "--folder", str(tmp_path / ("x" * 80)))
    assert told.code == 2
    assert "too long a path" in told.err
    assert "--folder" in told.err


# --- a wrong end ------------------------------------------------------------------------------------------------------

MODULE = "rataccess.cli.demo.run"


class DoctoredStage(Stage):
    """Nothing runs: journal and store are made up."""

    stored: tuple[str, ...] = ("a", "b")

    def _set_up(self) -> None:
        self.state.mkdir()
        bodies = {name: {"sample": name} for name in ("a", "b")}
        lines = [{"meant": name, "body": body} for name, body in bodies.items()]
        accepted = [{"accepted": name, "record": number} for number, name in enumerate(bodies, 1)]
        self.journal.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *accepted]))
        with ServiceStore.open(self.folder / "solution.sqlite") as store, store.transaction() as connection:
            device = store.device("DEMO-0001", b"\x00").id
            for number, name in enumerate(self.stored, 1):
                row = (device, number, "readings", int(Urgency.ROUTINE), None, float(number), "wifi")
                body = bodies.get(name, {"sample": "a", "altered": True})
                connection.execute(
                    "INSERT INTO records(device, number, queue, urgency, captured_at, received_at, link, body)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, encode(body)),
                )

    def ask_to_end(self) -> None:
        """Nothing runs."""

    def ended(self) -> bool:
        return True


class QuickClock(SystemClock):
    """Goes ten seconds at each look."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        self.passed += 10.0
        return self.passed


@pytest.mark.parametrize(
    ("stored", "code", "wrong"),
    [
        (("a", "b"), 0, {}),
        (("a",), 1, {"lost": 1}),
        (("a", "b", "a"), 1, {"duplicated": 1}),
        (("a", "b", "altered"), 1, {"corrupted": 1}),
        ((), 1, {"lost": 2}),
    ],
)
def test_the_exit_status_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, stored: tuple[str, ...], code: int, wrong: dict[str, int]
) -> None:
    module = sys.modules[MODULE]
    monkeypatch.setattr(module, "Stage", DoctoredStage)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    nothing = Script(TWO.rats, 25.0, 25.0, (Step(0, "nothing", lambda stage: None, lambda watch: True),))
    monkeypatch.setattr("rataccess.cli.demo.SCRIPTS", (nothing, FOUR))
    monkeypatch.setattr(module, "SystemClock", QuickClock)
    for name in ("SETTLE", "LOOK_EVERY"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(DoctoredStage, "stored", stored)
    told = cli("demo", "--rats", "wifi,cellular", "--quiet", "--json", "result.json")
    result = json.loads((tmp_path / "result.json").read_text())
    assert {name: result[name] for name in ("lost", "duplicated", "corrupted") if result[name]} == wrong
    assert told.code == code
    assert ("NOT every sample" in told.out) is bool(code)


def test_a_signal_whose_exception_was_dropped_still_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, tmp_path: Path
) -> None:
    """Python ignores what a finaliser raises; a handler may run in one."""

    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def set_up(stage: DoctoredStage) -> None:
        DoctoredStage._set_up(stage)
        with monkeypatch.context() as quiet:
            quiet.setattr(sys, "unraisablehook", lambda _: None)
            Finalised()

    module = sys.modules[MODULE]
    monkeypatch.setattr(module, "Stage", type("Stage", (DoctoredStage,), {"_set_up": set_up}))
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    told = cli("demo", "--rats", "wifi,cellular", "--quiet")
    assert told.code == 130
    assert "broken off" in told.err


def test_a_signal_while_a_process_is_started_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, tmp_path: Path
) -> None:
    """`Popen` waits for its child to run; a handler may run in that wait."""
    started = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGTERM)

    def set_up(stage: DoctoredStage) -> None:
        stage._serve(Service.SOLUTION)
        stage._serve(Service.MANAGEMENT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr(sys.modules[MODULE], "Stage", type("Stage", (DoctoredStage,), {"_set_up": set_up}))
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    told = cli("demo", "--rats", "wifi,cellular", "--quiet")
    assert told.code == 130
    (process,) = started
    assert process.returncode is not None
