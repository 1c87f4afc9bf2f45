"""The command line in this process: quick, and seen by coverage."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rataccess.cli import main

SERVICES = """\
[management]
host = "127.0.0.1"
port = 5683
store = "management.sqlite"
keys = "management-devices.json"
[solution]
host = "127.0.0.1"
port = 5684
store = "solution.sqlite"
keys = "solution-devices.json"
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs `rataccess` with arguments, in an empty folder and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATACCESS_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["rataccess", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A `services.toml` in the working folder."""
    path = tmp_path / "services.toml"
    path.write_text(SERVICES)
    return path
