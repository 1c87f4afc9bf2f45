"""Configuration and keys of the services."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rataccess.errors import ConfigurationError, KeyStoreError, StoreError
from rataccess.objects import Service
from rataccess.services import admin, provisioning, settings
from rataccess.services.keyfile import read_entries
from rataccess.services.store import ServiceStore
from tests.services.service_world import World

BOTH = """
[management]
port = 1
store = "m.sqlite3"
keys = "keys/m.json"
[solution]
port = 2
store = "/s.sqlite3"
keys = "s.json"
ndjson = "out/s.ndjson"
answer_bytes = 600
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "services.toml"
    path.write_text(BOTH)
    return path


def test_each_service_reads_its_own_section(config: Path) -> None:
    management = settings.load(config, Service.MANAGEMENT)
    assert (management.port, management.store) == (1, str(config.parent / "m.sqlite3"))
    assert (management.answer_bytes, management.push_for) == (1152, 30)
    solution = settings.load(config, Service.SOLUTION)
    assert isinstance(solution, settings.SolutionSettings)
    assert (solution.store, solution.ndjson) == ("/s.sqlite3", str(config.parent / "out/s.ndjson"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("port = 1\n", "port = 70000\n", ["management.port", "70000", "0 to 65535", ":3: "]),
        ("port = 1\n", 'port = "x"\n', ["management.port", '"x"', "a whole number"]),
        ("port = 1\n", "", ["management", "port"]),
        ("port = 1\n", "port = 1\nprot = 2\n", ["management", "prot"]),
        ("answer_bytes = 600", "answer_bytes = 5", ["solution.answer_bytes", "5", "128 to 65000"]),
        ("[solution]", "[solutions]", ["solutions"]),
        ("port = 1\n", "port = 1 2\n", ["TOML"]),
    ],
)
def test_a_mistake_is_named(config: Path, old: str, new: str, told: list[str]) -> None:
    config.write_text(BOTH.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as caught:
        settings.load(config, Service.MANAGEMENT)
    assert all(part in str(caught.value) for part in [*told, str(config)])


def test_a_missing_section_or_file_is_named(config: Path) -> None:
    config.write_text(BOTH[BOTH.index("[solution]") :])
    with pytest.raises(ConfigurationError, match=r"\[management\]"):
        settings.load(config, Service.MANAGEMENT)
    with pytest.raises(ConfigurationError, match="nothing"):
        settings.load(config.with_name("nothing"), Service.MANAGEMENT)


def test_the_shortest_unused_kid_is_given(config: Path) -> None:
    add = provisioning.add_device
    kids = [add(config, Service.MANAGEMENT, f"D{index}", bytes([index]) * 16) for index in range(3)]
    assert kids == [b"\0", b"\1", b"\2"]
    provisioning.revoke_device(config, Service.MANAGEMENT, "D1")
    assert add(config, Service.MANAGEMENT, "D9", b"9" * 16) == b"\3"  # a kid is never used again
    assert provisioning.shortest_unused({bytes([n]) for n in range(256)}) == b"\0\0"
    assert provisioning.shortest_unused({bytes([n]) for n in range(256)} | {b"\0\0"}) == b"\0\1"


def test_adding_twice_is_adding_once(config: Path) -> None:
    add = provisioning.add_device
    first = add(config, Service.MANAGEMENT, "D", b"a" * 16, fleets=["north"])
    assert add(config, Service.MANAGEMENT, "D", b"a" * 16) == first
    with pytest.raises(KeyStoreError, match="another secret") as caught:
        add(config, Service.MANAGEMENT, "D", b"b" * 16)
    assert (b"b" * 16).hex() not in str(caught.value)
    second = add(config, Service.MANAGEMENT, "D", b"b" * 16, replace=True)
    assert [(e.kid, e.revoked) for e in provisioning.entries(config, Service.MANAGEMENT)] == [
        ("00", True),
        ("01", False),
    ]
    assert second == b"\1"
    assert [d.kid for d in admin.list_devices(config.with_name("m.sqlite3"))] == [b"\0", b"\1"]


@pytest.mark.parametrize(("serial", "secret"), [("", b"a" * 16), ("x" * 65, b"a" * 16), ("D", b"a" * 15)])
def test_wrong_arguments_are_refused(config: Path, serial: str, secret: bytes) -> None:
    with pytest.raises(ConfigurationError):
        provisioning.add_device(config, Service.MANAGEMENT, serial, secret)


def test_unknown_devices_cannot_be_changed(config: Path) -> None:
    with pytest.raises(KeyStoreError, match="D7"):
        provisioning.revoke_device(config, Service.MANAGEMENT, "D7")
    with pytest.raises(KeyStoreError, match="D7"):
        provisioning.set_fleets(config, Service.MANAGEMENT, "D7", [])


def test_the_key_file_is_for_its_owner_only(config: Path) -> None:
    provisioning.add_device(config, Service.MANAGEMENT, "D", b"a" * 16)
    path = config.parent / "keys/m.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.with_name("m.sqlite3").stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match=f"0640.*chmod 600 {path}"):
        read_entries(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"devices": [{"secret": "5ec2e7"}]}', '{"devices": [5]}'])
def test_a_malformed_key_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(KeyStoreError) as caught:
        read_entries(path)
    assert "5ec2e7" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_kid_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.touch(0o600)
    entry = '{"serial_number": "%s", "kid": "00", "secret": "' + "0" * 32 + '"}'
    path.write_text(f'{{"devices": [{entry % "A"}, {entry % "B"}]}}')
    with pytest.raises(KeyStoreError, match="more than once"):
        read_entries(path)


def test_many_may_provision_at_once(config: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        kids = list(
            pool.map(lambda n: provisioning.add_device(config, Service.MANAGEMENT, f"D{n}", bytes(16)), range(12))
        )
    assert sorted(kids) == [bytes([n]) for n in range(12)]
    assert len(provisioning.entries(config, Service.MANAGEMENT)) == 12


def test_a_store_has_one_service(management: World) -> None:
    with ServiceStore.open(management.store_path) as second, pytest.raises(StoreError, match="another process"):
        second.own()


def test_a_store_of_a_newer_program_is_refused(management: World) -> None:
    management.store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="layout 99"):
        ServiceStore.open(management.store_path)


def test_a_device_whose_sequence_numbers_were_lost_is_refused_and_others_are_served(management: World) -> None:
    device, other = management.add("A1"), management.add("B2")
    management.ask(device)
    admin.enqueue_inbound(management.store_path, "A1", "q", 1)
    assert management.push(device)
    management.ask(device)
    management.store.connection.execute("DELETE FROM memory")
    management.restart()
    assert management.core.process([(device.protect(b"")[0], "here")]) == []
    assert management.core.counters["devices whose keys cannot be used"] == 1
    assert management.ask(other).code == 0x44
