"""`rataccess fleet`: every command, its errors, its exit codes, and that what is printed is no more than text."""

from __future__ import annotations

import io
import json
import logging
import random
from pathlib import Path

import pytest

from rataccess.objects import Service, encode
from rataccess.services import admin, logs, provisioning
from rataccess.services.settings import LogFormat, LogLevel
from rataccess.services.store import Changes, open_store
from tests.cli.conftest import Cli


@pytest.fixture
def fleet(services: Path) -> Path:
    """A `services.toml` with two devices."""
    for service in Service:
        for serial_number, fleets in (("A1", ["north"]), ("B2", [])):
            secret = random.Random(f"{service} {serial_number}").randbytes(16)
            provisioning.add_device(services, service, serial_number, secret, fleets=fleets)
    return services


def report(folder: Path, value: object, serial_number: str = "A1") -> None:
    with open_store(str(folder / "management.sqlite")) as store:
        device = store.latest(serial_number)
        store.commit(Changes(health=[(serial_number, encode(value), device, 1, None, 100.0)]), {})


def test_list(cli: Cli, fleet: Path) -> None:
    told = cli("fleet", "list")
    assert told.code == 0
    assert all(text in told.out for text in ("A1", "B2", "north", "enrolled", "last heard"))
    found = json.loads(cli("fleet", "list", "--json").out)
    assert [(each["serial_number"], each["fleets"], each["health"]) for each in found] == [
        ("A1", ["north"], None),
        ("B2", [], None),
    ]
    [only] = json.loads(cli("fleet", "list", "--json", "--fleet", "north", "--service", "solution").out)
    assert only["serial_number"] == "A1"


def test_show(cli: Cli, fleet: Path, tmp_path: Path) -> None:
    report(tmp_path, {"[bold]": "\x1b[31mred"})
    told = cli("fleet", "show", "A1")
    assert told.code == 0
    assert "\x1b[31m" not in told.out
    assert "[bold]" in told.out
    assert json.loads(cli("fleet", "show", "A1", "--json").out)["health"]["report"] == {"[bold]": "\x1b[31mred"}
    assert cli("fleet", "show", "C3").code == 2


def test_health(cli: Cli, fleet: Path, tmp_path: Path) -> None:
    told = cli("fleet", "health", "A1")
    assert (told.code, told.err) == (5, "rataccess: A1 has sent no health report\n")
    report(tmp_path, {"battery": 3.7})
    assert "battery" in cli("fleet", "health", "A1").out
    assert json.loads(cli("fleet", "health", "A1", "--json").out) == {
        "received_at": "1970-01-01T00:01:40.000Z",
        "report": {"battery": 3.7},
    }
    assert cli("fleet", "health", "C3").code == 2


def test_move(cli: Cli, fleet: Path, tmp_path: Path) -> None:
    told = cli("fleet", "move", "A1", "south", "test")
    assert (told.code, told.out) == (0, "A1 is in south, test\n")
    for service in Service:
        assert admin.get_fleets(tmp_path / f"{service}.sqlite", "A1") == ["south", "test"]
    assert cli("fleet", "move", "A1", "--none", "--service", "solution").code == 0
    assert admin.get_fleets(tmp_path / "solution.sqlite", "A1") == []
    assert admin.get_fleets(tmp_path / "management.sqlite", "A1") == ["south", "test"]
    assert cli("fleet", "move", "A1").code == 2
    assert cli("fleet", "move", "A1", "x", "--none").code == 2
    assert cli("fleet", "move", "A1", "x" * 65).code == 2
    assert cli("fleet", "move", "C3", "x").code == 3


def test_environment(cli: Cli, fleet: Path, tmp_path: Path) -> None:
    store = tmp_path / "management.sqlite"
    assert cli("fleet", "env", "set", "--fleet", "north", "A=1", "B=x=y").code == 0
    assert cli("fleet", "env", "set", "--device", "A1", "A=2").code == 0
    assert admin.get_env(store, fleet="north") == {"A": "1", "B": "x=y"}
    assert json.loads(cli("fleet", "env", "get", "--device", "A1", "--json").out) == {
        "own": {"A": "2"},
        "merged": {"A": "2", "B": "x=y"},
        "conflicts": [],
    }
    told = cli("fleet", "env", "get", "-d", "A1").out
    assert [line.split()[-2] for line in told.splitlines() if "device" in line or " fleet " in line][-2:] == [
        "device",
        "fleet",
    ]
    assert json.loads(cli("fleet", "env", "get", "--fleet", "north", "--json").out) == {
        "values": {"A": "1", "B": "x=y"}
    }
    assert cli("fleet", "env", "unset", "--fleet", "north", "B", "C").code == 0
    assert admin.get_env(store, fleet="north") == {"A": "1"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "A=1"),
        ("set", "A=1", "--device", "A1", "--fleet", "north"),
        ("set", "A", "--fleet", "north"),
        ("set", "=1", "--fleet", "north"),
        ("set", "A=1", "--device", "C3"),
        ("get",),
        ("get", "--device", "C3"),
        ("unset", "A"),
        ("set", "A=" + "x" * 9000, "--fleet", "north"),
    ],
)
def test_environment_with_wrong_arguments_ends_with_2(cli: Cli, fleet: Path, arguments: tuple[str, ...]) -> None:
    told = cli("fleet", "env", *arguments)
    assert told.code == 2
    assert "Traceback" not in told.err


def test_conflicts(cli: Cli, fleet: Path) -> None:
    told = cli("fleet", "conflicts")
    assert (told.code, told.out) == (0, "no conflicts\n")
    cli("fleet", "move", "A1", "north", "test")
    for name in ("north", "test"):
        cli("fleet", "env", "set", "--fleet", name, f"MODE={name}")
    told = cli("fleet", "conflicts")
    assert told.code == 1
    assert "north: north; test: test" in told.out
    assert json.loads(cli("fleet", "conflicts", "--json").out) == [
        {
            "serial_number": "A1",
            "name": "MODE",
            "values": [{"fleet": "north", "value": "north"}, {"fleet": "test", "value": "test"}],
        }
    ]
    assert "north: north; test: test" in cli("fleet", "env", "get", "-d", "A1").out


def test_send(cli: Cli, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cli("fleet", "send", "A1", '{"on": true}')
    assert (told.code, told.out) == (0, "record 1 waits for A1 in queue commands\n")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"$bytes": "AQI="}'))
    assert cli("fleet", "send", "A1", "-", "--queue", "files", "--urgency", "bulk", "--service", "management").code == 0
    for service, urgency, body in (("solution", 2, {"on": True}), ("management", 0, b"\1\2")):
        with open_store(str(tmp_path / f"{service}.sqlite")) as store:
            assert store.execute("SELECT urgency, body FROM outbound") == [(urgency, encode(body))]
    assert cli("fleet", "send", "A1", "{on}").code == 6
    assert cli("fleet", "send", "A1", "1", "--queue", "$x").code == 6
    assert cli("fleet", "send", "C3", "1").code == 2


def test_revoke(cli: Cli, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("fleet", "send", "A1", "1")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli("fleet", "revoke", "A1").code == 1
    told = cli("fleet", "revoke", "A1", "--yes")
    assert (told.code, told.out) == (0, "A1 is revoked: management (0 dropped), solution (1 dropped)\n")
    for service in Service:
        assert [e.serial_number for e in provisioning.entries(fleet, service) if e.revoked] == ["A1"]
    again = cli("fleet", "revoke", "A1", "--yes")
    assert (again.code, "not enrolled" in again.err) == (3, True)
    assert cli("fleet", "send", "A1", "1").code == 3
    assert json.loads(cli("fleet", "list", "--json").out)[0]["state"] == "revoked"


def test_one_service_is_enough(cli: Cli, fleet: Path) -> None:
    fleet.write_text("[solution]" + fleet.read_text().split("[solution]")[1])
    assert "A1" in cli("fleet", "list").out
    told = cli("fleet", "env", "get", "--fleet", "north")
    assert (told.code, "[management]" in told.err) == (2, True)
    fleet.write_text("")
    assert cli("fleet", "list").code == 2
    assert cli("fleet", "list", "-c", "nowhere.toml").code == 2


def test_a_store_that_is_not_there_is_not_made(cli: Cli, services: Path, tmp_path: Path) -> None:
    told = cli("fleet", "list")
    assert (told.code, "there is no store" in told.err) == (2, True)
    assert not (tmp_path / "management.sqlite").exists()


def test_a_store_url_that_cannot_be_read_is_told_without_its_password(cli: Cli, services: Path) -> None:
    pytest.importorskip("psycopg_pool")
    url = "postgresql://u:s3cret@[::1]x/db"
    services.write_text(services.read_text().replace('"solution.sqlite"', f'"{url}"'))
    told = cli("fleet", "aside", "list")
    assert told.code == 2
    assert "s3cret" not in told.out + told.err


def test_the_pool_of_connections_logs_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(LogLevel.DEBUG, LogFormat.JSON, "solution")
    try:
        assert not logging.getLogger("psycopg.pool").isEnabledFor(logging.ERROR)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
