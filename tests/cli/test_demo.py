"""The demo itself, with four radios and with two, over each kind of Wi-Fi path, and broken off: real processes, for more
than a minute, most of which is waiting."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rataccess.cli.demo.configuration import AIRTIME, CREDITS
from rataccess_hil.access_point import why_not

PATIENCE = 240.0
"""Seconds after which a demo counts as hung: it needs about 80, more on a busy machine."""
UNPRIVILEGED = ["setpriv", "--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin"]
KINDS = {
    "tun": ["--rats", "wifi,cellular,lora,satellite"],
    "relay": ["--rats", "wifi,cellular", "--seconds", "25"],
}
"""Arguments for each kind of Wi-Fi path."""


@dataclass
class Run:
    """One demo."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def left_behind(self) -> list[str]:
        """Processes that name the run's folder; every process of a demo does."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.folder / "tmp") in line:
                        found.append(line)
        return found


def start(folder: Path, *arguments: str, prefix: tuple[str, ...] = (), terminal: int | None = None) -> Run:
    """Start a demo whose files are all in `folder`."""
    (folder / "tmp").mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "COLUMNS": "80", "LINES": "30"}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "rataccess", "demo", *arguments],
            env={**environment, "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=output if terminal is None else terminal,
            stderr=output if terminal is None else terminal,
            preexec_fn=_as_in_a_shell,
        )
    return Run(folder, process)


def _as_in_a_shell() -> None:
    """Where the tests run in the background of a script, SIGINT is ignored and children inherit that (POSIX sh, 2.11)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def namespaces() -> set[str]:
    folder = Path("/run/netns")
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in found if name.startswith("rat")}  # of access points; other programs make some too


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets in it, as that of the machine's own temporary files is."""
    with tempfile.TemporaryDirectory(prefix="rat-", dir="/tmp") as place:
        yield Path(place)


@pytest.fixture(scope="module")
def demos(short: Path) -> Iterator[dict[str, Run]]:
    """Both kinds at once, ended."""
    runs = {}
    arguments = ("--quiet", "--json", "result.json")
    try:
        for kind in KINDS:
            if kind == "tun" and why_not() is not None:
                continue
            if kind == "relay" and why_not() is None and shutil.which("setpriv") is None:
                continue
            prefix = tuple(UNPRIVILEGED) if kind == "relay" and why_not() is None else ()
            folder = short / kind
            runs[kind] = start(folder, *KINDS[kind], *arguments[:2], str(folder / arguments[2]), prefix=prefix)
        for run in runs.values():
            run.process.wait(PATIENCE)
        yield runs
    finally:
        for run in runs.values():
            run.process.terminate()
            run.process.wait()


@pytest.fixture(params=sorted(KINDS))
def demo(demos: dict[str, Run], request: pytest.FixtureRequest) -> Run:
    if request.param not in demos:
        pytest.skip(f"no {request.param} here: {why_not() or 'setpriv(1) is missing'}")
    assert ("TUN" in demos[request.param].output) is (request.param == "tun")
    return demos[request.param]


def test_every_sample_arrives_once_and_unaltered(demo: Run) -> None:
    assert demo.process.returncode == 0, demo.output
    result = json.loads((demo.folder / "result.json").read_text())
    assert result["enqueued"] == result["delivered"] > 100
    assert {name: result[name] for name in ("duplicated", "lost", "expired", "corrupted")} == dict.fromkeys(
        ("duplicated", "lost", "expired", "corrupted"), 0
    )


def test_the_result_is_as_documented(demo: Run) -> None:
    result = json.loads((demo.folder / "result.json").read_text())
    assert set(result) == {
        *("enqueued", "delivered", "duplicated", "lost", "expired", "corrupted"),
        *("links", "switches", "recoveries", "transfers", "wifi_path"),
    }
    rats = {"wifi": "wifi", "cellular": "lte-m", "lora": "lorawan", "satellite": "sbd"}
    assert {name: link["rat"] for name, link in result["links"].items()} == {
        name: rats[name] for name in result["links"]
    }
    assert set(result["links"]) >= {"wifi", "cellular"}
    columns = {"rat", "records", "packets", "bytes", "unit", "units", "cost"}
    assert all(set(link) == columns for link in result["links"].values())
    assert sum(link["records"] for link in result["links"].values()) == result["delivered"]
    assert all(link["bytes"] > link["packets"] > 0 for link in result["links"].values())
    assert all(set(switch) == {"from", "to", "cause", "gap_ms"} for switch in result["switches"])
    assert all(set(recovery) == {"link", "step", "seconds"} for recovery in result["recoveries"])


def test_every_deed_shows(demo: Run) -> None:
    result = json.loads((demo.folder / "result.json").read_text())
    causes = [(switch["from"], switch["to"], switch["cause"]) for switch in result["switches"]]
    assert any(to == "cellular" and "no carrier" in cause for _, to, cause in causes)
    assert any(to == "cellular" and "silent" in cause for _, to, cause in causes)
    assert sum(to == "wifi" and "is back" in cause for _, to, cause in causes) >= 1
    assert all(switch["gap_ms"] >= 0 for switch in result["switches"])
    assert [recovery["link"] for recovery in result["recoveries"]] == ["cellular"]


def test_four_radios_carry_what_they_may(demos: dict[str, Run]) -> None:
    """LoRaWAN within its air time, alarms alone by satellite within its credits, an object over both sides of a change."""
    if "tun" not in demos:
        pytest.skip(f"no network namespaces here: {why_not()}")
    result = json.loads((demos["tun"].folder / "result.json").read_text())
    lora, satellite = result["links"]["lora"], result["links"]["satellite"]
    assert lora["unit"] == "ms of air time"
    assert 0 < lora["units"] <= 1000 * AIRTIME
    assert lora["records"] > 5
    assert satellite["unit"] == "credit"
    assert 0 < satellite["units"] <= CREDITS
    assert satellite["cost"] == pytest.approx(0.12 * satellite["units"])
    assert 0 < satellite["records"] <= satellite["packets"] * 10
    (moved,) = [each for each in result["transfers"] if each["held"] == each["size"]]
    assert moved["size"] > 2000
    assert {"lora", "cellular"} <= set(moved["bytes"]), "it began over the one and ended over the other"
    assert moved["again"] == 0


def test_the_tables_fit_and_say_the_same(demo: Run) -> None:
    result = json.loads((demo.folder / "result.json").read_text())
    assert "Traceback" not in demo.output
    assert "every sample arrived once and unaltered" in demo.output
    assert str(result["enqueued"]) in demo.output
    assert all(f"{switch['gap_ms']:.0f} ms" in demo.output for switch in result["switches"])


def test_nothing_is_left_behind(demo: Run) -> None:
    assert demo.left_behind() == []
    assert list((demo.folder / "tmp").iterdir()) == []
    assert not [name for name in namespaces() if name in demo.output]


# --- broken off -------------------------------------------------------------------------------------------------------


def test_live_on_a_terminal_and_broken_off(short: Path) -> None:
    """Ctrl-C in the middle: no traceback, status 130, no process and no namespace left."""
    before = namespaces()
    ours, theirs = pty.openpty()
    try:
        run = start(short / "live", terminal=theirs)
        os.close(theirs)
        seen = _read_until(ours, "carrier is back")
        run.process.send_signal(signal.SIGINT)
        seen += _read_until(ours, None)
        assert run.process.wait(PATIENCE) == 130
    finally:
        run.process.kill()
        run.process.wait()
        os.close(ours)
    assert "Traceback" not in seen
    assert "broken off" in seen
    assert all(word in seen for word in ("time line", "REACHABLE", "outbox", "delivered", "in use", "carrier is cut"))
    assert run.left_behind() == []
    assert list((run.folder / "tmp").iterdir()) == []
    assert namespaces() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_broken_off_while_it_is_set_up(short: Path, number: signal.Signals) -> None:
    before = namespaces()
    run = start(short / number.name)
    try:
        until(lambda: len(run.left_behind()) >= 3, "three processes run")
        run.process.send_signal(number)
        assert run.process.wait(PATIENCE) == 130
    finally:
        run.process.kill()
        run.process.wait()
    assert "Traceback" not in run.output
    assert run.left_behind() == []
    assert list((run.folder / "tmp").iterdir()) == []
    assert namespaces() <= before


def _read_until(terminal: int, text: str | None) -> str:
    """What the terminal shows until `text`, or until its end."""
    seen, end = "", time.monotonic() + PATIENCE
    while text is None or text not in seen:
        assert time.monotonic() < end, f"never shown: {text}\n{seen[-2000:]}"
        if select.select([terminal], [], [], 1.0)[0]:
            try:
                data = os.read(terminal, 65_536)
            except OSError:  # EIO: the other end is closed
                break
            if not data:
                break
            seen += data.decode(errors="replace")
    return seen


def test_killed_leaves_no_process(short: Path) -> None:
    """SIGKILL, which nobody can handle: the kernel tells the demo's processes (prctl(2), PR_SET_PDEATHSIG)."""
    run = start(short / "killed")
    before = namespaces()
    try:
        until(lambda: "application" in run.output or "cellular" in run.output, "the demo runs")
    finally:
        run.process.kill()
        run.process.wait()
    until(lambda: not run.left_behind(), "every process has ended")
    assert namespaces() <= before
