"""Secrets stay where they belong: not on the process list, not in logs, not in files that others may read."""

from __future__ import annotations

import base64
import signal
import stat
from pathlib import Path

from rataccess.keys import FileKeyStore, derive_session_secret
from rataccess.objects import Service
from rataccess.security.derivation import derive
from tests.processes.fleet import Fleet, until


def spellings(fleet: Fleet) -> dict[str, list[bytes]]:
    """Every way in which each secret could be written."""
    root = bytes.fromhex((fleet.state / "root.key").read_text().strip())
    secrets = {"root key": root}
    keys = FileKeyStore.open(fleet.state)
    for service in Service:
        secret = secrets[f"{service} secret"] = derive_session_secret(root, service)
        for role in (keys.device_id(service), b""):
            secrets[f"{service} key {role.hex()}"] = derive(secret, b"", role, None, "Key", 16)
    return {name: _forms(value) for name, value in secrets.items()}


def _forms(value: bytes) -> list[bytes]:
    plain = [value, repr(value)[2:-1].encode()]
    hexadecimal = [value.hex().encode(), value.hex().upper().encode(), value.hex(" ").encode()]
    return [*plain, *hexadecimal, *(code(value).rstrip(b"=") for code in (base64.b64encode, base64.urlsafe_b64encode))]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_secrets_stay_in_their_files(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        secrets = spellings(fleet)
        for service in Service:
            fleet.serve(service)
        fleet.write(0.01)
        until(lambda: all(len(fleet.stored(service)) > 10 for service in Service), "records arrive")
        listed = b"".join(
            Path(f"/proc/{process.pid}/{name}").read_bytes()
            for process in fleet.processes.values()
            for name in ("cmdline", "environ")
        )
        assert fleet.end("writer", signal.SIGTERM) == 0
        places = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        logs = b"".join(data for path, data in places.items() if path.suffix == ".log") + fleet.provisioned.encode()
    assert b"DEBUG" in logs
    holders: dict[str, set[str]] = {}
    for name, forms in secrets.items():
        for form in forms:
            assert form not in listed, f"the {name} is on the process list"
            assert form not in logs, f"the {name} is in a log"
            for path, data in places.items():
                if form in data:
                    holders.setdefault(name, set()).add(path.name)
                    assert mode(path) == 0o600, f"the {name} is in {path} with mode {mode(path):o}"
    assert holders == {  # the device keeps its root key only, each service its own secrets only
        "root key": {"root.key"},
        "management secret": {"management-devices.json"},
        "solution secret": {"solution-devices.json"},
    }


def test_the_folder_of_a_device(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        for service in Service:
            fleet.serve(service)
        fleet.write(0.01)
        until(lambda: fleet.stored(Service.SOLUTION), "a record arrives")
        found = {path.name: mode(path) for path in fleet.state.iterdir()}
        control = found.pop("control.sock")
        assert fleet.end("writer", signal.SIGTERM) == 0
    assert mode(fleet.state) == 0o700
    assert control == 0o600
    assert found.pop("rataccess.toml") in (0o600, 0o644)  # no secret is in it
    assert {"root.key", "identity.json", "store.sqlite"} <= found.keys()
    assert all(name.startswith(("store.", "root.key", "identity.json")) for name in found)
    assert set(found.values()) == {0o600}
