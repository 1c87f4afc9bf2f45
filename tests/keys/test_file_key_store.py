"""The file key store: what it gives, what it refuses, and that it shows nothing."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import stat
import traceback
from pathlib import Path

import pytest

from rataccess.errors import KeyStoreError
from rataccess.keys import FileKeyStore, derive_session_secret
from rataccess.objects import Service

ROOT = bytes(range(100, 132))
IDS = {Service.MANAGEMENT: b"\x01", Service.SOLUTION: b"\x02\x03"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(folder: Path) -> FileKeyStore:
    return FileKeyStore.create(folder, "SN-1", device_ids=IDS, root_key=ROOT)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())}


def write_secrets(folder: Path, text: str, mode: int = 0o600) -> None:
    path = folder / "secrets.toml"
    path.write_text(text)
    path.chmod(mode)


def test_what_was_created_is_opened(store: FileKeyStore, folder: Path) -> None:
    opened = FileKeyStore.open(folder)
    assert opened.serial_number == "SN-1"
    for service in Service:
        assert opened.device_id(service) == IDS[service]
        assert opened.session_secret(service) == store.session_secret(service)


def test_it_is_made_for_its_owner_only_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        FileKeyStore.create(folder, "SN-1").assign(Service.SOLUTION, b"\x09")
    finally:
        os.umask(before)
    assert modes(folder) == {"keys": 0o700, "identity.json": 0o600, "root.key": 0o600}


def test_session_secrets_are_derived_as_documented() -> None:
    """HKDF SHA-256 without salt, computed here with nothing but HMAC (RFC 5869)."""
    import hmac

    for service in Service:
        key = hmac.digest(bytes(32), ROOT, "sha256")
        info = f"rataccess session secret 1 {service.value}".encode()
        assert derive_session_secret(ROOT, service) == hmac.digest(key, info + b"\x01", "sha256")[:16]
    assert derive_session_secret(ROOT, Service.SOLUTION) != derive_session_secret(ROOT, Service.MANAGEMENT)


def test_root_keys_are_random(tmp_path: Path) -> None:
    secrets = {FileKeyStore.create(tmp_path / str(n), "SN").session_secret(Service.SOLUTION) for n in range(3)}
    assert len(secrets) == 3


def test_nothing_is_ever_overwritten(store: FileKeyStore, folder: Path) -> None:
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    with pytest.raises(KeyStoreError, match="never overwritten"):
        FileKeyStore.create(folder, "SN-2")
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_folder_that_was_half_made_can_be_made_again(folder: Path, store: FileKeyStore) -> None:
    """The root key comes last: a power cut before it leaves no key store."""
    (folder / "root.key").unlink()
    with pytest.raises(KeyStoreError, match=r"root\.key is missing; provision"):
        FileKeyStore.open(folder)
    FileKeyStore.create(folder, "SN-2")
    assert FileKeyStore.open(folder).serial_number == "SN-2"


@pytest.mark.parametrize("call", ["replace", "link", "fsync"])
def test_a_failing_disk_leaves_no_half_of_a_key(folder: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(KeyStoreError, match=r"cannot be written: No space left on device"):
        FileKeyStore.create(folder, "SN")
    monkeypatch.undo()
    assert not (folder / "root.key").exists()
    assert not [each for each in folder.iterdir() if each.name.startswith(".")]
    FileKeyStore.create(folder, "SN")


def test_a_device_id_is_kept_when_the_service_has_given_it(folder: Path) -> None:
    store = FileKeyStore.create(folder, "SN")
    with pytest.raises(KeyStoreError, match="no device id for the solution service; enrol"):
        store.device_id(Service.SOLUTION)
    store.assign(Service.SOLUTION, b"\x05")
    assert store.device_id(Service.SOLUTION) == b"\x05"
    assert FileKeyStore.open(folder).device_id(Service.SOLUTION) == b"\x05"
    with pytest.raises(KeyStoreError, match="management"):
        store.device_id(Service.MANAGEMENT)


@pytest.mark.parametrize("kid", [b"", bytes(8)])
def test_a_device_id_has_1_to_7_bytes(store: FileKeyStore, folder: Path, kid: bytes) -> None:
    with pytest.raises(KeyStoreError, match="1 to 7 bytes"):
        store.assign(Service.SOLUTION, kid)
    assert FileKeyStore.open(folder).device_id(Service.SOLUTION) == IDS[Service.SOLUTION]


@pytest.mark.parametrize(("serial_number", "root_key"), [("", ROOT), ("x" * 65, ROOT), ("SN", ROOT[:31])])
def test_wrong_arguments_make_nothing(folder: Path, serial_number: str, root_key: bytes) -> None:
    with pytest.raises(KeyStoreError):
        FileKeyStore.create(folder, serial_number, root_key=root_key)
    assert not folder.exists()


# --- other secrets ----------------------------------------------------------------------------------------------------


def test_other_secrets_are_found_by_dotted_name(store: FileKeyStore, folder: Path) -> None:
    assert store.secret("wifi.pin") is None
    write_secrets(folder, '[wifi]\npin = "0000"\n[sim.roaming]\npin = "1111"\n')
    assert store.secret("wifi.pin") == "0000"
    assert store.secret("sim.roaming.pin") == "1111"
    assert [store.secret(name) for name in ("wifi.puk", "wifi.pin.x", "other", "")] == [None] * 4
    write_secrets(folder, '[wifi]\npin = "2222"\n')
    assert store.secret("wifi.pin") == "2222"


def test_a_secret_that_is_not_text_is_refused_and_not_quoted(store: FileKeyStore, folder: Path) -> None:
    write_secrets(folder, "[wifi]\npin = 7531\n")
    with pytest.raises(KeyStoreError, match=r"wifi\.pin is not text; write it in quotes") as caught:
        store.secret("wifi.pin")
    assert "7531" not in str(caught.value)
    with pytest.raises(KeyStoreError):
        store.secret("wifi")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["root.key", "identity.json", "secrets.toml"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o700, 0o644])
def test_a_file_that_is_too_open_is_refused_with_the_command_that_helps(
    store: FileKeyStore, folder: Path, name: str, mode: int
) -> None:
    write_secrets(folder, "")
    path = folder / name
    path.chmod(mode)
    with pytest.raises(KeyStoreError) as caught:
        FileKeyStore.open(folder)
    assert str(caught.value) == f"{path} has mode {mode:04o}, allowed is at most 0600; run: chmod 600 {path}"
    path.chmod(0o400)
    FileKeyStore.open(folder)


def test_a_folder_that_is_too_open_is_refused(store: FileKeyStore, folder: Path) -> None:
    folder.chmod(0o755)
    for attempt in (
        lambda: FileKeyStore.open(folder),
        lambda: store.secret("wifi.pin"),
        lambda: store.assign(Service.SOLUTION, b"\x01"),
    ):
        with pytest.raises(KeyStoreError, match=f"mode 0755, allowed is at most 0700; run: chmod 700 {folder}"):
            attempt()


@pytest.mark.parametrize("name", ["root.key", "identity.json", "secrets.toml"])
def test_a_symbolic_link_is_refused(store: FileKeyStore, folder: Path, tmp_path: Path, name: str) -> None:
    write_secrets(folder, "")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyStoreError, match="is a symbolic link"):
        FileKeyStore.open(folder)


def test_a_folder_may_be_reached_through_a_link(store: FileKeyStore, folder: Path, tmp_path: Path) -> None:
    """As systemd's DynamicUser makes it; owner and mode of the folder itself are checked."""
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert FileKeyStore.open(link).serial_number == "SN-1"


def test_what_somebody_else_owns_is_refused(store: FileKeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(
        KeyStoreError, match=f"belongs to user {owner}, this program runs as user {owner + 1}; run: chown"
    ):
        FileKeyStore.open(folder)


def test_a_pipe_in_place_of_a_file_does_not_hang(store: FileKeyStore, folder: Path) -> None:
    (folder / "root.key").unlink()
    os.mkfifo(folder / "root.key", 0o600)
    with pytest.raises(KeyStoreError, match="not a plain file"):
        FileKeyStore.open(folder)


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(KeyStoreError, match=f"{folder} cannot be opened: No such file"):
        FileKeyStore.open(folder)


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 31, "00" * 33, "00" * 31 + "0", "é" * 32])
def test_a_damaged_root_key_is_refused_and_not_quoted(store: FileKeyStore, folder: Path, text: str) -> None:
    (folder / "root.key").write_text(text)
    with pytest.raises(KeyStoreError, match="64 hexadecimal digits") as caught:
        FileKeyStore.open(folder)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00",
        '{"serial_number": 7}',
        '{"serial_number": ""}',
        '{"serial_number": "x", "device_ids": []}',
        '{"serial_number": "x", "device_ids": {"other": "01"}}',
        '{"serial_number": "x", "device_ids": {"solution": "0"}}',
        '{"serial_number": "x", "device_ids": {"solution": ""}}',
        '{"serial_number": "x", "device_ids": {"solution": 1}}',
        '{"serial_number": "x", "device_ids": {"solution": "0102030405060708"}}',
        "[" * 60_000,
    ],
)
def test_a_damaged_identity_is_refused(store: FileKeyStore, folder: Path, text: str) -> None:
    (folder / "identity.json").write_text(text)
    with pytest.raises(KeyStoreError):
        FileKeyStore.open(folder)


# --- secrecy ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_shown(store: FileKeyStore, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(store), str(store)]
    write_secrets(folder, '[wifi]\npin = "my-hidden-pin" trailing\n')
    (folder / "root.key").write_text(ROOT.hex() + "x")
    for attempt in (lambda: store.secret("wifi.pin"), lambda: FileKeyStore.open(folder)):
        with pytest.raises(KeyStoreError) as caught:
            attempt()
        shown += traceback.format_exception(caught.value)
        shown += [repr(caught.value.__context__), repr(caught.value.__cause__)]
    text = "\n".join(shown) + caplog.text
    assert "line 2" in text
    for hidden in ("my-hidden-pin", ROOT.hex(), ROOT.hex()[:16], repr(ROOT)[2:20]):
        assert hidden not in text


def test_a_key_store_cannot_be_doubled(store: FileKeyStore) -> None:
    for double in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            double(store)
