"""`rataccess fleet aside`: every command, its errors and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rataccess.objects import Urgency, encode
from rataccess.services.receivers import aside
from rataccess.services.store import StoredRecord, open_store
from tests.cli.conftest import Cli


@pytest.fixture
def refused(services: Path, tmp_path: Path) -> Path:
    """The store of a solution service of whose records the receiver `lines` has refused two, one that is no more one."""
    with services.open("a") as file:
        file.write('[[solution.receivers]]\nkind = "ndjson"\nname = "lines"\nfile = "lines"\n')
    store = tmp_path / "solution.sqlite"
    with open_store(str(store)) as found:
        for receiver, number in (("lines", 1), ("lines", 2), ("gone", 1)):
            body = encode({"t": f"[red]{number}"})
            record = StoredRecord("1", b"\0", "A1", "readings", number, Urgency.ROUTINE, None, 100.0, None, body)
            found.set_aside(receiver, f"00-{number}", record, "answered [bold]422\x1b[31m", 200.0)
    return store


def listed(store: Path, receiver: str = "lines") -> list[tuple[str, bool]]:
    with open_store(str(store)) as found:
        return [(each.key, each.again) for each in aside.listed(found, receiver)]


def test_list_and_show(cli: Cli, refused: Path) -> None:
    assert json.loads(cli("fleet", "aside", "list", "--json").out) == {"gone": 1, "lines": 2}
    assert "gone" in cli("fleet", "aside", "list").out
    told = cli("fleet", "aside", "list", "lines").out
    assert all(text in told for text in ("00-1", "00-2", "answered [bold]422"))
    assert "\x1b[31m" not in told
    [only] = json.loads(cli("fleet", "aside", "list", "lines", "--after", "00-1", "--json").out)
    assert (only["key"], only["again"], only["refused_at"]) == ("00-2", False, "1970-01-01T00:03:20.000Z")
    assert json.loads(cli("fleet", "aside", "show", "lines", "00-1").out)["record"]["body"] == {"t": "[red]1"}
    missing = cli("fleet", "aside", "show", "lines", "00-7")
    assert (missing.code, missing.err) == (2, "rataccess: no record '00-7' of receiver 'lines' stands aside\n")


def test_again(cli: Cli, refused: Path) -> None:
    assert cli("fleet", "aside", "again", "lines", "00-2").code == 0
    assert listed(refused) == [("00-1", False), ("00-2", True)]
    assert cli("fleet", "aside", "again", "lines", "--all").out == "1 record(s) will be sent to lines again\n"
    assert listed(refused) == [("00-1", True), ("00-2", True)]
    told = cli("fleet", "aside", "again", "gone", "--all")
    assert (told.code, told.err) == (2, "rataccess: no receiver 'gone' is configured; configured: lines\n")


def test_drop(cli: Cli, refused: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("fleet", "aside", "drop", "lines", "00-1", "-y").out == "1 record(s) dropped\n"
    assert listed(refused) == [("00-2", False)]
    assert cli("fleet", "aside", "drop", "lines", "00-1", "-y").code == 2
    monkeypatch.setattr("typer.confirm", lambda *_, **__: None)
    assert cli("fleet", "aside", "drop", "gone", "--all").out == "1 record(s) dropped\n"
    assert listed(refused, "gone") == []
    assert cli("fleet", "aside", "list", "gone", "--json").out == "[]\n"


@pytest.mark.parametrize("command", ["again", "drop"])
@pytest.mark.parametrize("arguments", [[], ["00-1", "--all"]])
def test_keys_or_all(cli: Cli, refused: Path, command: str, arguments: list[str]) -> None:
    assert cli("fleet", "aside", command, "lines", *arguments).code == 2
    assert listed(refused) == [("00-1", False), ("00-2", False)]


def test_nothing_stands_aside(cli: Cli, services: Path, tmp_path: Path) -> None:
    open_store(str(tmp_path / "solution.sqlite")).close()
    assert cli("fleet", "aside", "list").out == "no record stands aside\n"
