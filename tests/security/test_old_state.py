"""A device whose state folder is put back from an old copy, or deleted, while its keys live on: no number comes twice.

Rules of this file: a real store and a real context; what is cut short is what the files hold at that moment.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rataccess.config.model import StoreSettings
from rataccess.errors import DiskFull, ProtectionFailed
from rataccess.objects import Service, Urgency, encode
from rataccess.security import CHANGED, SecureContext
from rataccess.store import NewRecord, Store, floor
from tests.compact.compact_contexts import Book
from tests.security.oscore_reference import SECRET
from tests.store.conftest import StillClock

S = Service.SOLUTION


class Machine:
    """A device's folders, and every number that it has used."""

    def __init__(self, folder: Path) -> None:
        self.state, self.keys = folder / "state", folder / "keys"
        self.folder = folder
        self.keys.mkdir()
        self.sequence: list[int] = []
        self.records: list[int] = []
        self.copies: list[Path] = []
        self.open()

    def open(self) -> None:
        witness = self.keys / "used.floor"
        self.store = Store.open(
            self.state / "store.sqlite", StoreSettings(), StillClock(), threaded=False, witness=witness
        )
        assert self.store.trouble is None or not self.store.trouble.counters_lost
        self.context = SecureContext(
            sender_id=b"\x01",
            recipient_id=b"",
            secret=SECRET,
            memory=self.store,
            name="solution",
            replay_state=self.store.get("replay/solution"),
        )

    def ask(self, count: int) -> None:
        for _ in range(count):
            _, identity = self.context.protect_compact(b"", S)
            self.sequence.append(identity.sequence_number)

    def enqueue(self, count: int) -> None:
        for _ in range(count):
            new = NewRecord(S, "readings", encode(1), Urgency.ROUTINE)
            self.records.append(self.store.enqueue(new).number)

    def keep_window(self) -> None:
        self.store.put_now("replay/solution", self.context.replay_state())

    def close(self) -> None:
        self.store.close()

    def copied(self, folder: Path) -> Path:
        """Files as a kill leaves them, or as a backup takes them."""
        made = self.folder / f"copy{len(self.copies)}-{folder.name}-{len(self.sequence)}-{len(self.records)}"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(folder, made)
        return made

    def put(self, copy: Path, folder: Path) -> None:
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)

    def kill(self) -> None:
        left = [(self.copied(folder), folder) for folder in (self.state, self.keys)]
        self.close()
        for copy, folder in left:
            self.put(copy, folder)

    def back_up(self) -> Path:
        self.copies.append(self.copied(self.state))
        return self.copies[-1]


class OldStates(RuleBasedStateMachine):
    """Orderly ends, kills, backups that are put back, folders that are deleted, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.machine = Machine(Path(self.folder.name))

    @rule(count=st.sampled_from([1, 130, 300]))
    def ask(self, count: int) -> None:
        self.machine.ask(count)

    @rule(count=st.sampled_from([1, 1, 20]))
    def enqueue(self, count: int) -> None:
        self.machine.enqueue(count)

    @rule()
    def keep_window(self) -> None:
        self.machine.keep_window()

    @rule()
    def back_up(self) -> None:
        self.machine.back_up()

    @rule(
        orderly=st.booleans(),
        then=st.sampled_from(["nothing", "nothing", "put back", "put back", "delete"]),
        data=st.data(),
    )
    def start_again(self, orderly: bool, then: str, data: st.DataObject) -> None:
        machine = self.machine
        (machine.close if orderly else machine.kill)()
        if then == "put back" and machine.copies:
            machine.put(data.draw(st.sampled_from(machine.copies)), machine.state)
        elif then == "delete":
            shutil.rmtree(machine.state)
        machine.open()

    @invariant()
    def no_number_comes_twice(self) -> None:
        assert len(set(self.machine.sequence)) == len(self.machine.sequence)
        assert len(set(self.machine.records)) == len(self.machine.records)

    def teardown(self) -> None:
        self.machine.close()
        self.folder.cleanup()


OldStates.TestCase.settings = settings(
    max_examples=10, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOldStates = OldStates.TestCase


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_copy_of_the_same_run_is_noticed(machine: Machine) -> None:
    """As after months without a start: the backup of last night is of this very run."""
    machine.ask(10)
    copy = machine.back_up()
    machine.ask(1000)
    machine.close()
    machine.put(copy, machine.state)
    machine.open()
    assert machine.store.trouble is not None
    assert "was it restored?" in str(machine.store.trouble)
    machine.ask(1)
    assert machine.sequence[-1] > max(machine.sequence[:-1])
    machine.close()


def test_a_state_that_was_deleted_is_noticed_where_the_keys_live_on(machine: Machine) -> None:
    machine.ask(1000)
    machine.enqueue(3)
    machine.close()
    shutil.rmtree(machine.state)
    machine.open()
    assert "is gone, but was used before" in str(machine.store.trouble)
    machine.ask(1)
    machine.enqueue(1)
    assert machine.sequence[-1] > max(machine.sequence[:-1])
    assert machine.records[-1] > 3
    machine.close()


def test_an_orderly_end_skips_no_record_number_and_a_kill_few(machine: Machine) -> None:
    machine.enqueue(3)
    machine.close()
    machine.open()
    machine.enqueue(1)
    assert machine.records == [1, 2, 3, 4]
    for _ in range(5):
        machine.kill()
        machine.open()
    machine.enqueue(1)
    assert machine.records[-1] <= 4 + floor.FIRST_STEP + 1, "what is not used is not skipped again"
    assert machine.store.trouble is None
    machine.close()


def test_a_key_folder_that_nobody_may_write_is_told_of_and_the_device_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine.close()
    replace = floor._replace

    def refuse(path: Path, data: bytes) -> None:
        if path.parent == machine.keys:
            raise OSError(errno.EROFS, "Read-only file system")
        replace(path, data)

    monkeypatch.setattr(floor, "_replace", refuse)
    with caplog.at_level(logging.WARNING, "rataccess.store"):
        machine.open()
    assert "will not be noticed" in caplog.text
    machine.ask(300)
    machine.close()


def test_no_number_is_given_while_the_witness_has_no_room(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = floor._replace

    def refuse(path: Path, data: bytes) -> None:
        if path.parent == machine.keys:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        replace(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(floor, "_replace", refuse)
        with pytest.raises(DiskFull, match=r"used\.floor"):
            machine.ask(2000)
    machine.ask(2000)
    assert len(set(machine.sequence)) == len(machine.sequence)
    machine.close()


def test_a_device_that_lost_its_memory_takes_nothing_that_it_may_have_seen() -> None:
    """It does not know which requests it has answered: those nonces are used."""
    service = SecureContext(sender_id=b"", recipient_id=b"\x01", secret=SECRET, memory=Book(), name="service")
    device = SecureContext(sender_id=b"\x01", recipient_id=b"", secret=SECRET, memory=Book(), name="device")
    old, _ = service.protect_request(b"open the door", token=b"", message_id=0)
    device.unprotect_request(old)
    device.lose_window()
    state = device.replay_state()
    again = SecureContext(
        sender_id=b"\x01", recipient_id=b"", secret=SECRET, memory=Book(), name="device", replay_state=state
    )
    assert again.deaf, "over another start too"
    with pytest.raises(ProtectionFailed, match="seen before"):
        again.unprotect_request(old)
    for compact in (False, True):
        ask, identity = (
            again.protect_compact(b"", S) if compact else again.protect_request(b"", token=b"", message_id=0)
        )
        request = service.unprotect_compact(ask) if compact else service.unprotect_request(ask)
        answer = service.protect_response(request, CHANGED, b"", message_id=0)
        (again.unprotect_compact_response if compact else again.unprotect_response)(answer, identity)
        assert not again.deaf
        with pytest.raises(ProtectionFailed, match="seen before"):
            again.unprotect_request(old)
        new, _ = service.protect_request(b"open the window", token=b"", message_id=0)
        assert again.unprotect_request(new).body == b"open the window"
        again.lose_window()
