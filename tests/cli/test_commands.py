"""Every command, its errors, and its exit code."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rataccess
import rataccess.cli as command_line
from rataccess import AsyncDevice, ReceiptState, Service, errors
from rataccess.channel.packets import MOST_PACKETS
from rataccess.cli import status
from rataccess.cli.fleet_identity import _read_key
from rataccess.config import load
from rataccess.device.build import checked
from rataccess.exchange.inbound import Inflow
from rataccess.keys import FileKeyStore
from rataccess.services import admin, provisioning, settings
from rataccess.services.running import serving
from rataccess.tariff import Unit
from tests.cli.conftest import Cli

COMMANDS = ("demo", "serve", "provision", "status", "explain", "send", "doctor", "at", "trace")


# --- help and exit codes ----------------------------------------------------------------------------------------------


def test_help_names_every_command(cli: Cli) -> None:
    told = cli("--help")
    assert told.code == 0
    assert all(command in told.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    told = cli(command, "--help")
    assert told.code == 0
    assert f"rataccess {command}" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("status", "--nonsense"), ("serve", "third"), ("demo", "--seconds", "3"), ("provision",)],
)
def test_wrong_arguments_end_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    told = cli(*arguments)
    assert told.code == 2
    assert "Usage" in told.err


def _leaves(kind: type[errors.RataccessError]) -> list[type[errors.RataccessError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _leaves(child))]


def test_exit_codes_are_as_documented() -> None:
    documented = {
        int(number) for number in re.findall(r"\b(\d+) [a-z]", str(command_line.__doc__).split("Exit codes:")[1])
    }
    given = {command_line.exit_code(kind.__new__(kind)) for kind in _leaves(errors.RataccessError)}
    assert given == {2, 3, 4, 5, 6}
    assert given <= documented
    assert documented == {0, 1, 2, 3, 4, 5, 6, 130}


def test_the_version(cli: Cli) -> None:
    assert cli("--version").out == f"rataccess {rataccess.__version__}\n"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "rataccess", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "provision" in done.stdout


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_named(package: str) -> None:
    """As where only the library was installed: the package cannot be imported."""
    program = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['rataccess', 'status']\n"
    program += "import rataccess.cli as command_line; command_line.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"rataccess: {package} is not installed; pip install 'rataccess[cli]'\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"2B" * 15 + b"2", "holds 31 characters, and an AppKey has 32 hexadecimal digits"),
        (b"2O" * 16, "holds 32 characters, of which some are not hexadecimal"),
        (b"\xff" * 16, "is not text; an AppKey has 32 hexadecimal digits"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_an_app_key_that_is_none(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "app.key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(errors.ConfigurationError) as caught:
        _read_key(file)
    assert str(caught.value) == f"{file} {told}"


def test_an_app_key_as_labels_print_it(tmp_path: Path) -> None:
    (tmp_path / "app.key").write_text("2B:7e:" * 8 + "\n")
    assert _read_key(tmp_path / "app.key") == bytes.fromhex("2b7e" * 8)


# --- provision --------------------------------------------------------------------------------------------------------


def test_provision_makes_a_folder_and_tells_both_services(cli: Cli, services: Path, tmp_path: Path) -> None:
    told = cli("provision", "D-1", "--fleet", "north", "--fleet", "test")
    assert (told.code, told.err) == (0, "")
    folder = tmp_path / "D-1"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("root.key", "identity.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    keys = FileKeyStore.open(folder)
    for service in Service:
        [entry] = provisioning.entries(services, service)
        assert (entry.serial_number, entry.fleets) == ("D-1", ("north", "test"))
        assert bytes.fromhex(entry.kid) == keys.device_id(service)
        assert bytes.fromhex(entry.secret) == keys.session_secret(service)
        assert Path(settings.load(services, service).keys).stat().st_mode & 0o777 == 0o600
    configuration = load(folder / "rataccess.toml", {})
    assert (configuration.device.serial_number, configuration.device.state) == ("D-1", str(folder))
    assert (configuration.management.port, configuration.solution.port) == (5683, 5684)


def test_every_link_that_provision_suggests_is_one(cli: Cli, services: Path, tmp_path: Path) -> None:
    cli("provision", "D-1")
    path = tmp_path / "D-1/rataccess.toml"
    path.write_text(re.sub(r"^# (?=\[|\w+ = )", "", path.read_text(), flags=re.MULTILINE))
    found = load(path)
    assert list(found.links) == ["ethernet", "cellular", "lora", "satellite"]
    for name, link in found.links.items():
        checked(name, link)


def test_provision_prints_the_identity_as_text_and_as_a_qr_code_and_no_secret(
    cli: Cli, services: Path, tmp_path: Path
) -> None:
    told = cli("provision", "D-1")
    identity = {"serial_number": "D-1", **{str(s): provisioning.entries(services, s)[0].kid for s in Service}}
    assert json.dumps(identity) in told.out
    assert sum(line.count("█") + line.count("▄") + line.count("▀") for line in told.out.splitlines()) > 100
    secrets = [(tmp_path / "D-1" / "root.key").read_text().strip()]
    secrets += [provisioning.entries(services, service)[0].secret for service in Service]
    assert not [secret for secret in secrets if secret in told.out]


@pytest.mark.parametrize("serial_number", ["", "a\nb", "x" * 65, "../up", "a/b", ".hidden"])
def test_provision_makes_nothing_for_a_name_that_cannot_be(cli: Cli, services: Path, serial_number: str) -> None:
    place = services.parent.parent
    before = set(place.rglob("*"))
    told = cli("provision", serial_number)
    assert told.code == 2
    assert "folder" in told.err or "1 to 64 printable characters" in told.err
    assert set(place.rglob("*")) == before


def test_provision_refuses_a_fleet_before_it_makes_keys(cli: Cli, services: Path, tmp_path: Path) -> None:
    assert cli("provision", "D-1", "--fleet", "\t").code == 2
    assert not (tmp_path / "D-1").exists()


def test_a_serial_number_that_is_no_folder_has_one_of_another_name(cli: Cli, services: Path, tmp_path: Path) -> None:
    assert cli("provision", "a/b", "--folder", "device").code == 0
    assert (tmp_path / "device" / "root.key").exists()


def test_provision_never_overwrites_keys(cli: Cli, services: Path, tmp_path: Path) -> None:
    cli("provision", "D-1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = cli("provision", "D-1")
    assert again.code == 3
    assert "root.key exists" in again.err
    assert "Traceback" not in again.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_device_made_anew_elsewhere_must_be_revoked_first(cli: Cli, services: Path, tmp_path: Path) -> None:
    cli("provision", "D-1")
    again = cli("provision", "D-1", "--folder", "elsewhere")
    assert again.code == 3
    assert "revoke" in again.err
    assert not (tmp_path / "elsewhere" / "root.key").exists()
    for service in Service:
        provisioning.revoke_device(services, service, "D-1")
    assert cli("provision", "D-1", "--folder", "elsewhere").code == 0


def test_provision_that_failed_half_way_can_be_run_again(cli: Cli, services: Path, tmp_path: Path) -> None:
    (tmp_path / "solution-devices.json").mkdir()  # cannot be written
    assert cli("provision", "D-1").code == 3
    (tmp_path / "solution-devices.json").rmdir()
    assert cli("provision", "D-1").code == 0
    keys = FileKeyStore.open(tmp_path / "D-1")
    for service in Service:
        assert [bytes.fromhex(e.kid) for e in provisioning.entries(services, service)] == [keys.device_id(service)]


def test_provision_without_services_names_the_file(cli: Cli) -> None:
    told = cli("provision", "D-1")
    assert told.code == 2
    assert "services.toml cannot be read" in told.err
    assert not Path("D-1").exists()


# --- serve ------------------------------------------------------------------------------------------------------------


def test_serve_names_everything_about_a_mistake(cli: Cli, services: Path) -> None:
    services.write_text(services.read_text().replace("port = 5684", "port = 99999"))
    told = cli("serve", "solution")
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert (
        told.err == "rataccess: services.toml:8: solution.port: found 99999; allowed: a whole number from 0 to 65535\n"
    )


def test_serve_without_a_file_or_a_section(cli: Cli, services: Path) -> None:
    assert cli("serve", "solution", "-c", "nowhere.toml").code == 2
    services.write_text(services.read_text().split("[solution]")[0])
    told = cli("serve", "solution")
    assert (told.code, "[solution]" in told.err) == (2, True)


# --- status and explain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "explain"])
def test_nothing_to_ask_ends_with_5(cli: Cli, services: Path, command: str) -> None:
    cli("provision", "D-1")
    told = cli(command, "--config", "D-1/rataccess.toml")
    assert told.code == 5
    assert "no device answers at" in told.err
    assert "'D-1'" in told.err


@pytest.mark.parametrize("command", ["status", "explain"])
def test_a_bad_configuration_ends_with_2(cli: Cli, services: Path, command: str) -> None:
    cli("provision", "D-1")
    path = Path("D-1/rataccess.toml")
    path.write_text(path.read_text().replace("port = 5684", "port = 0"))
    told = cli(command, "--config", str(path))
    assert told.code == 2
    assert re.search(r"rataccess.toml:\d+: solution.port: found 0; allowed: ", told.err)
    assert cli(command).code == 2  # and no configuration at all


@pytest.fixture
def provisioned(cli: Cli, services: Path) -> Path:
    """A device's configuration, over loopback; its services have ports yet to be known."""
    services.write_text(re.sub(r"port = \d+", "port = 0", services.read_text()))
    assert cli("provision", "D-1").code == 0
    path = Path("D-1/rataccess.toml")
    path.write_text(path.read_text().replace("eth0", "lo").replace("ethernet", "wired").replace("port = 0", "port = 9"))
    return path


@pytest.mark.parametrize(
    ("unit", "units", "cost", "left", "told"),
    [
        (Unit.BYTE, 57, 0.0, None, ("", "")),
        (Unit.BYTE, 57, 0.5, 900, ("costs 0.5", "900 bytes")),
        (Unit.CREDIT, 1, 0.12, 199, ("1 credit, costs 0.12", "199 credits")),
        (Unit.AIRTIME, 2650, 0.0, 27_600, ("2.6 s of air time", "27.6 s of air time")),
    ],
)
def test_status_tells_what_was_used_of_what_counts(
    unit: Unit, units: int, cost: float, left: int | None, told: tuple[str, str]
) -> None:
    budget = None if left is None else {"left": left, "spent": 0}
    assert status._counted({"unit": str(unit), "units": units, "cost": cost, "budget": budget}) == told


async def test_status_and_explain_ask_a_running_device(
    cli: Cli, services: Path, provisioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = provisioned
    async with serving(Service.SOLUTION, settings.load(services, Service.SOLUTION)) as server:
        monkeypatch.setenv("RATACCESS_SOLUTION__PORT", str(server.address[1]))
        running = asyncio.create_task(server.run())
        try:
            async with AsyncDevice.open(path) as device:
                receipt = await device.solution.enqueue({"n": 1})
                assert await receipt.wait(30) is ReceiptState.DELIVERED
                plain = await asyncio.to_thread(cli, "status", "-c", str(path))
                for _ in range(MOST_PACKETS + 3):
                    device.solution.packets.arrived(b"untaken")
                monkeypatch.setattr(Inflow, "full", True)
                crowded = await asyncio.to_thread(cli, "status", "-c", str(path))
                as_json = await asyncio.to_thread(cli, "status", "-c", str(path), "--json")
                explained = await asyncio.to_thread(cli, "explain", "-c", str(path))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert (plain.code, as_json.code, explained.code) == (0, 0, 0)
    assert "D-1 uses wired" in plain.out
    assert "REACHABLE" in plain.out
    assert "nobody took" not in plain.out
    assert "inbox full" not in plain.out
    assert "3 packets came and nobody took them" in crowded.out
    assert "inbox full (solution)" in crowded.out
    found = json.loads(as_json.out)
    assert (found["device"], found["in_use"], found["links"]["wired"]["evidence"]) == ("D-1", "wired", "REACHABLE")
    assert explained.out.startswith("in use: wired: ")
    assert "latest decisions:" in explained.out
    assert len(admin.records(Path("solution.sqlite"))) == 1
