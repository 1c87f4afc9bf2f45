"""What networks call a device: from the command line and over HTTP, one device's each, and an AppKey that nobody sees."""

from __future__ import annotations

import io
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.objects import Service
from rataccess.services import provisioning
from rataccess.services.identities import check_identity, luhn
from rataccess.services.keyfile import KeyFile, read_entries
from tests.api.api_world import ApiWorld, of
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.cli.conftest import services as services

EUI, IMEI, KEY = "70b3d57ed0001234", "300234063904190", "000102030405060708090a0b0c0d0e0f"


@pytest.fixture
def fleet(services: Path) -> Path:
    for service in Service:
        for serial_number in ("A1", "B2"):
            secret = random.Random(f"{service} {serial_number}").randbytes(16)
            provisioning.add_device(services, service, serial_number, secret)
    return services


def test_names_are_said_shown_and_taken_back_at_both_services(cli: Cli, fleet: Path) -> None:
    told = cli("fleet", "identity", "A1", "--deveui", "70-B3-D5-7E-D0-00-12-34", "--imei", IMEI)
    assert told.code == 0
    assert told.out.count(f"deveui {EUI}, imei {IMEI}") == 2
    assert cli("fleet", "identity", "A1", "--imei", "none").out.count(f": deveui {EUI}\n") == 2
    assert cli("fleet", "identity", "B2").out.count("no network knows it") == 2
    assert EUI in cli("fleet", "show", "A1", "--json").out


def test_a_name_is_one_devices(cli: Cli, fleet: Path) -> None:
    assert cli("fleet", "identity", "A1", "--deveui", EUI).code == 0
    told = cli("fleet", "identity", "B2", "--deveui", EUI.upper())
    assert told.code != 0
    assert "A1" in told.err
    provisioning.revoke_device(fleet, Service.MANAGEMENT, "A1")
    provisioning.revoke_device(fleet, Service.SOLUTION, "A1")
    assert cli("fleet", "identity", "B2", "--deveui", EUI).code == 0


def test_names_that_cannot_be_are_refused_with_nothing_changed(fleet: Path) -> None:
    long = ("imei", "1" * 14), ("imei", "x" * 15), ("deveui", "g" * 16)
    for kind, name in (("deveui", "12"), *long, ("lora", "2a05"), ("notecard", "a b"), ("wifi", "a")):
        with pytest.raises(ConfigurationError, match=kind):
            provisioning.set_identities(fleet, Service.SOLUTION, "A1", {"notecard": "dev:1", kind: name})
    assert all(each.identities == {} for each in provisioning.entries(fleet, Service.SOLUTION))


def test_an_imei_with_a_wrong_check_digit_is_taken_with_a_word(cli: Cli, fleet: Path) -> None:
    told = cli("fleet", "identity", "A1", "--imei", IMEI[:-1] + "3")
    assert told.code == 0
    assert "Luhn" in told.err
    assert luhn("490154203237518")  # the example of 3GPP TS 23.003 annex B's check digit in common use


@settings(max_examples=50)
@given(st.text(max_size=40), st.sampled_from(["deveui", "imei", "lora", "notecard"]))
def test_what_is_kept_of_a_name_stays_what_it_is(name: str, kind: str) -> None:
    try:
        kept = check_identity(kind, name)
    except ConfigurationError:
        return
    assert check_identity(kind, kept) == kept == kept.lower()


def test_an_app_key_is_kept_and_never_shown(
    cli: Cli, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.key").write_text(KEY + "\n")
    assert KEY not in cli("fleet", "app-key", "A1", "--file", str(tmp_path / "app.key")).out
    path = Path(provisioning._settings(fleet, Service.SOLUTION).keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [entry] = [each for each in read_entries(path) if each.serial_number == "A1"]
    assert entry.lorawan_app_key == KEY
    assert KEY not in repr(entry)
    shown = cli("fleet", "identity", "A1")
    assert "an AppKey" in shown.out
    assert KEY not in shown.out + cli("fleet", "show", "A1", "--json").out
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY))
    assert cli("fleet", "app-key", "B2", "--file", "-").code == 0
    assert cli("fleet", "app-key", "A1", "--remove").code == 0
    assert "an AppKey" not in cli("fleet", "identity", "A1").out
    (tmp_path / "app.key").write_text("secretsecret")
    told = cli("fleet", "app-key", "A1", "--file", str(tmp_path / "app.key"))
    assert told.code != 0
    assert "secretsecret" not in told.err + told.out
    assert cli("fleet", "app-key", "A1").code != 0


def test_provisioning_says_them_from_the_start(cli: Cli, services: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "C3")
    told = cli("provision", "C3", "-s", str(services), "-f", folder, "--deveui", EUI, "--imei", IMEI[:-1] + "3")
    assert told.code == 0
    assert "Luhn" in told.out
    for service in Service:
        [entry] = provisioning.entries(services, service)
        assert entry.identities == {"deveui": EUI, "imei": IMEI[:-1] + "3"}
    assert cli("provision", "D4", "-s", str(services), "-f", str(tmp_path / "D4"), "--deveui", "x").code != 0
    assert not (tmp_path / "D4").exists()


def test_a_running_service_notices(fleet: Path) -> None:
    keys = KeyFile(Path(provisioning._settings(fleet, Service.SOLUTION).keys))
    keys.refresh()
    assert keys.kid_of("deveui", EUI) is None
    provisioning.set_identities(fleet, Service.SOLUTION, "A1", {"deveui": EUI})
    assert keys.refresh()
    assert keys.kid_of("deveui", EUI.upper()) is not None
    with pytest.raises(KeyStoreError):
        provisioning.set_identities(fleet, Service.SOLUTION, "nobody", {"deveui": EUI})


async def test_over_http(tmp_path: Path) -> None:
    world = ApiWorld(tmp_path, Service.SOLUTION)
    world.add("A1")
    async with world.client() as client:
        path = "/v1/devices/A1/identities"
        assert of(await client.put(path, json={"deveui": EUI, "imei": "1" * 15}))["oddities"] != []
        assert of(await client.put(path, json={"imei": None}))["oddities"] == []
        assert of(await client.get("/v1/devices/A1"))["identities"] == {"deveui": EUI}
        assert (await client.put(path, json={"deveui": "x"})).status_code == 422
        assert (await client.put(path, json={"wifi": "x"})).status_code == 422
        assert (await client.put("/v1/devices/Z9/identities", json={})).status_code == 404
