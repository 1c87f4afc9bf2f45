"""Damaged, lost, locked, newer, unwritable files; and what must never restart lower."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rataccess.errors import DiskFull, StoreError
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import Inbound, NewRecord, Store, StoreBusy, StoreTooNew
from rataccess.store.floor import STEP, Floor
from rataccess.store.outbox import Outbox
from rataccess.store.schema import MIGRATIONS

SOLUTION = Service.SOLUTION
COUNTER = "security/solution/sequence"


def new(value: object = 1, **fields: Any) -> NewRecord:
    return NewRecord(**{"service": SOLUTION, "queue": "q", "body": encode(value), **fields})


def numbers(store: Store) -> list[int]:
    return [one.number for urgency in Urgency for one in store.waiting(SOLUTION, urgency, 0, 10**6, 10**9)]


def counter(value: int) -> bytes:
    return value.to_bytes(8, "big")


def counted(store: Store) -> int:
    return int.from_bytes(store.get(COUNTER) or b"", "big")


def fill(store: Store, count: int = 300) -> None:
    """Enough that the outbox has pages of its own."""
    for index in range(count):
        store.enqueue(new(bytes(100), queue=f"q{index % 3}"))
    store.settle(SOLUTION, [1, 2], ReceiptState.DELIVERED)
    store.receive(SOLUTION, [Inbound(7, "c", encode("hello"), None)], NumberSet(0, [(7, 8)]))
    store.put_object(SOLUTION, "door", encode(True))
    store.put("budget/lte", b"spent")
    store.put_now(COUNTER, counter(512))


def damage_page(path: Path, table: str, which: int) -> None:
    """Overwrite a leaf page of a table: the `which`-th that holds rows of it."""
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    assert data[start] == 0x05, "an inner page (SQLite file format, section 1.6)"
    pointers = start + 12
    cell = int.from_bytes(data[pointers + 2 * which : pointers + 2 * which + 2], "big")
    leaf = int.from_bytes(data[start + cell : start + cell + 4], "big")
    data[(leaf - 1) * 4096 : leaf * 4096] = b"\xa5" * 4096
    path.write_bytes(data)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["header", "truncated", "garbage", "emptied"])
def test_a_damaged_file_is_set_aside_and_counters_go_on_above(make: Any, path: Path, harm: str, threaded: bool) -> None:
    store = make(threaded=threaded)
    fill(store)
    store.close()
    data = path.read_bytes()
    path.write_bytes(
        {
            "header": b"not a database, " * 7 + data[112:],
            "truncated": data[: len(data) // 2],
            "garbage": os.urandom(len(data)),
            "emptied": b"",
        }[harm]
    )
    store = make(threaded=threaded)
    trouble = store.trouble
    assert trouble is not None
    assert not trouble.in_memory
    assert not trouble.counters_lost, "the floor file tells what was used at most"
    assert trouble.memory_lost
    if harm != "emptied":  # SQLite takes an empty file for a new database, and so do we: there is nothing to keep
        assert trouble.quarantined == path.with_name("store.sqlite.corrupt-1")
        assert str(trouble.quarantined) in str(trouble)
    assert counted(store) > 512
    given = store.enqueue(new()).number
    assert given > 300
    assert store.queue_id(SOLUTION, "a new queue")[0] >= 11, "an id must not get a second name"
    assert len(numbers(store)) == trouble.salvaged + 1
    store.close()
    store = make(threaded=threaded)
    assert store.trouble is None, "trouble is over with the next start"
    assert store.enqueue(new()).number == given + 1


@pytest.mark.parametrize("which", [0, 2, 5])
def test_what_can_be_read_is_saved(make: Any, path: Path, which: int) -> None:
    store = make()
    fill(store)
    store.close()
    damage_page(path, "outbox", which)
    store = make()
    assert store.trouble is not None
    saved = numbers(store)
    assert 200 < len(saved) == store.trouble.salvaged < 298
    record = store.waiting(SOLUTION, Urgency.ROUTINE, saved[-1] - 1, 1, 10**6)[0]
    assert (record.queue, record.body) == (f"q{(record.number - 1) % 3}", encode(bytes(100)))
    assert store.base(SOLUTION) == saved[0]
    assert sum(count for count, _ in store.depth().values()) == len(saved)
    assert store.get_object(SOLUTION, "door") == encode(True)
    assert store.received(SOLUTION) == NumberSet(0, [(7, 8)])
    assert store.take(SOLUTION, None) == Inbound(7, "c", encode("hello"), None)
    assert store.get("budget/lte") == b"spent"
    assert store.enqueue(new()).number > 300
    assert store.counters()["delivered"] == 2


def test_saved_rows_that_make_no_sense_are_left(make: Any, path: Path) -> None:
    store = make()
    fill(store)
    store.close()
    with sqlite3.connect(path) as connection:
        low = 9 << 53
        connection.execute("UPDATE outbox SET body = x'ff' WHERE key = ?", (low | 10,))
        connection.execute("UPDATE outbox SET monotonic = 'soon' WHERE key = ?", (low | 11,))
        connection.execute("UPDATE outbox SET queue = 77 WHERE key = ?", (low | 12,))
        connection.execute("UPDATE outbox SET queue = (1 << 32) + 77 WHERE key = ?", (low | 13,))
        connection.execute("INSERT INTO queues VALUES (1, x'00', 1)")
    connection.close()
    damage_page(path, "outbox", 7)
    store = make()
    assert not {10, 11, 12, 13} & set(numbers(store))
    assert {9, 14} <= set(numbers(store))


def test_damage_found_while_running(make: Any, path: Path, threaded: bool) -> None:
    store = make(threaded=threaded)
    fill(store)
    store.close()
    damage_page(path, "outbox", 3)
    with pytest.MonkeyPatch.context() as patch:  # as if the file were too large to be checked at each start
        patch.setattr("rataccess.store.database._QUICK_CHECK_BYTES", 0)
        store = make(threaded=threaded)
    assert store.trouble is None
    store.put("late", b"yes")
    store.put_now(COUNTER, counter(1024))
    saved = numbers(store)
    assert store.trouble is not None
    assert 200 < len(saved) == store.trouble.salvaged
    assert not store.trouble.memory_lost, "this run remembers"
    assert (counted(store), store.get("late"), store.get("budget/lte")) == (1024, b"yes", b"spent")
    assert store.received(SOLUTION) == NumberSet(0, [(7, 8)])
    assert store.enqueue(new()).number == 301, "and counts on without a gap"
    store.close()
    store = make(threaded=threaded)
    assert (store.trouble, counted(store), store.enqueue(new()).number) == (None, 1024, 302)


def test_damage_found_while_writing(make: Any, path: Path, threaded: bool) -> None:
    store = make(threaded=threaded)
    fill(store)
    store.close()
    damage_page(path, "outbox", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rataccess.store.database._QUICK_CHECK_BYTES", 0)
        store = make(threaded=threaded)
    seen: list[Any] = []
    store.on_settled(lambda *event: seen.append(event))
    store.settle(SOLUTION, range(1, 300), ReceiptState.DELIVERED)
    assert store.enqueue(new()).number == 301
    store.close()
    assert store.trouble is not None
    assert store.trouble.quarantined is not None
    assert len(seen) == 1
    assert seen[0][1][-1] == 299


def test_each_damaged_file_is_kept(make: Any, path: Path) -> None:
    for _ in range(2):
        store = make()
        store.enqueue(new())
        store.close()
        path.write_bytes(b"x" * 5000)
    make()
    assert {file.name for file in path.parent.glob("*.corrupt-?")} == {
        "store.sqlite.corrupt-1",
        "store.sqlite.corrupt-2",
    }


# --- counters ---------------------------------------------------------------------------------------------------------


def test_a_lost_file_does_not_lower_counters(make: Any, path: Path) -> None:
    store = make()
    fill(store, 5)
    store.close()
    path.unlink()
    store = make()
    assert store.trouble is not None
    assert "gone" in store.trouble.reason
    assert counted(store) >= 512
    assert store.enqueue(new()).number > 5


def test_an_older_file_does_not_lower_counters(make: Any, path: Path) -> None:
    store = make()
    store.put_now(COUNTER, counter(100))
    store.close()
    backup = path.read_bytes()
    store = make()
    store.put_now(COUNTER, counter(10 * STEP))
    store.close()
    path.write_bytes(backup)
    store = make()
    assert counted(store) >= 10 * STEP
    assert store.trouble is not None
    assert "restored" in store.trouble.reason
    store.close()
    assert counted(make()) >= 10 * STEP


def test_a_copy_of_an_earlier_run_is_noticed_however_close_it_is(make: Any, path: Path) -> None:
    store = make()
    store.put_now(COUNTER, counter(100))
    store.close()
    copy = path.read_bytes()
    store = make()
    store.put_now(COUNTER, counter(101))
    store.close()
    path.write_bytes(copy)
    store = make()
    assert store.trouble is not None
    assert counted(store) > 101


def test_power_lost_between_the_two_marks_of_a_run_is_no_trouble(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    store.put_now(COUNTER, counter(100))
    store.close()

    def no_room(*_: Any) -> None:
        raise DiskFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Floor, "write", no_room)
        make().close()
    store = make()
    assert (store.trouble, counted(store)) == (None, 100)


def test_a_file_that_cannot_be_read_today_is_left_where_it_is(
    make: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    fill(store, 5)
    store.close()
    with monkeypatch.context() as patch:
        load = Outbox.load
        failed: list[object] = []

        def fail_once(*arguments: Any) -> None:
            if not failed:
                failed.append(True)
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            load(*arguments)

        patch.setattr(Outbox, "load", fail_once)
        store = make()
    assert store.trouble is not None
    assert (store.trouble.in_memory, store.trouble.quarantined) == (True, None)
    given = store.enqueue(new()).number
    store.close()
    store = make()
    assert numbers(store) == [3, 4, 5]
    assert store.enqueue(new()).number > given


@pytest.mark.parametrize("floor", [None, b"", b"rataccess floor 1\n9 a\ncrc32 00000000\n", b"\xff" * 99])
def test_without_a_floor_lost_counters_are_told_until_keys_are_new(make: Any, path: Path, floor: bytes | None) -> None:
    store = make()
    fill(store, 5)
    store.close()
    path.write_bytes(b"damaged" * 999)
    if floor is None:
        path.with_suffix(".floor").unlink()
    else:
        path.with_suffix(".floor").write_bytes(floor)
    store = make()
    assert store.trouble is not None
    assert store.trouble.counters_lost
    store.enqueue(new())
    store.close()
    store = make()
    assert store.trouble is not None, "a restart does not make it safe"
    assert store.trouble.counters_lost
    store.put_now(COUNTER, counter(9))
    store.renew_counters()
    assert not store.trouble.counters_lost
    assert store.get(COUNTER) is None
    store.close()
    store = make()
    assert (store.trouble, store.get(COUNTER)) == (None, None)


def test_a_damaged_floor_beside_a_good_file_is_written_anew(make: Any, path: Path) -> None:
    store = make()
    fill(store, 5)
    store.close()
    path.with_suffix(".floor").write_bytes(b"?")
    store = make()
    assert (store.trouble, counted(store)) == (None, 512)
    assert Floor(path.with_suffix(".floor")).ceilings[COUNTER] == 512 + STEP
    store.close()
    path.unlink()
    store = make()
    assert counted(store) == 512 + STEP
    assert store.enqueue(new()).number > 5


def test_the_floor_is_above_every_number_before_it_is_given(make: Any, path: Path) -> None:
    store = make()
    for value in (1, STEP, STEP + 1, STEP + 2, 5 * STEP):
        store.put_now(COUNTER, counter(value))
        assert Floor(path.with_suffix(".floor")).ceilings[COUNTER] >= value
    store.enqueue(new())
    assert Floor(path.with_suffix(".floor")).ceilings["record/solution"] >= 1


def test_the_floor_is_written_rarely(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    store.enqueue(new())
    store.put_now(COUNTER, counter(1))
    monkeypatch.setattr(Floor, "write", lambda *_: pytest.fail("written"))
    for value in range(2, 300):
        store.enqueue(new())
        store.put_now(COUNTER, counter(value))


def test_a_floor_that_cannot_be_written_refuses_the_counter(
    make: Any, monkeypatch: pytest.MonkeyPatch, threaded: bool
) -> None:
    store = make(threaded=threaded)
    store.put_now(COUNTER, counter(256))

    def no_room(*_: Any) -> None:
        raise DiskFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Floor, "write", no_room)
        with pytest.raises(DiskFull):
            store.put_now(COUNTER, counter(10 * STEP))
        assert counted(store) == 256
        assert store.enqueue(new()).number == 1 if "record/solution" in store._engine._files.floor.ceilings else True
    store.put_now(COUNTER, counter(10 * STEP))
    assert counted(store) == 10 * STEP


# --- unusable places --------------------------------------------------------------------------------------------------


def test_a_path_that_is_no_file_leaves_memory(make: Any, path: Path, threaded: bool) -> None:
    path.mkdir(parents=True)
    store = make(threaded=threaded)
    assert store.trouble is not None
    assert store.trouble.in_memory
    assert not store.trouble.counters_lost, "nothing was ever counted here"
    assert store.enqueue(new()).number == 1
    store.put_now(COUNTER, counter(256))
    store.close()
    path.rmdir()
    store = make(threaded=threaded)
    assert store.enqueue(new()).number > 1, "numbers given in memory are not given again"
    assert counted(store) > 256


def test_a_folder_that_cannot_be_made_leaves_memory_without_counters(make: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = make(at=tmp_path / "file" / "store.sqlite")
    assert store.trouble is not None
    assert store.trouble.in_memory
    assert [store.enqueue(new()).number for _ in range(3)] == [1, 2, 3]
    with pytest.raises(DiskFull):
        store.put_now(COUNTER, counter(256))
    assert store.get(COUNTER) is None


def test_memory_goes_on_above_a_file_that_cannot_be_opened(
    make: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk comes back in the next run: what was given meanwhile is not given again."""
    store = make()
    store.enqueue(new())
    store.put_now(COUNTER, counter(256))
    store.close()
    with monkeypatch.context() as patch:

        def refuse(*_: Any, **__: Any) -> None:
            raise sqlite3.OperationalError("unable to open database file")

        patch.setattr("rataccess.store.database.Database.open", refuse)
        store = make()
        in_memory = store.enqueue(new()).number
        used = counted(store) + 256
        store.put_now(COUNTER, counter(used))
        store.close()
    assert in_memory > 1
    store = make()
    assert numbers(store) == [1], "the old records are there again"
    assert store.enqueue(new()).number > in_memory
    assert counted(store) >= used
    store.close()
    again = make()
    assert again.enqueue(new()).number == again.last_number(SOLUTION) < in_memory + 3 * STEP


# --- one at a time, and versions --------------------------------------------------------------------------------------


def test_a_second_process_is_refused_by_name(make: Any, path: Path) -> None:
    store = make(threaded=True)
    store.enqueue(new())
    code = (
        "import sys; from pathlib import Path\n"
        "from rataccess.store import Store; from rataccess.config.model import StoreSettings\n"
        "from rataccess.clock import SystemClock\n"
        "Store.open(Path(sys.argv[1]), StoreSettings(), SystemClock())\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert f"StoreBusy: another process (pid {os.getpid()}) runs this device" in result.stderr
    with pytest.raises(StoreBusy):
        make()
    store.close()
    assert numbers(make()) == [1]


def test_an_older_file_is_brought_up_to_date(make: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    fill(store, 4)
    store.close()
    step = "CREATE TABLE extra (a INTEGER); INSERT INTO extra SELECT count(*) FROM outbox"
    monkeypatch.setattr("rataccess.store.store.MIGRATIONS", (*MIGRATIONS, step))
    store = make()
    assert store._engine.read(lambda source: source.execute("SELECT a FROM extra").fetchall()) == [(2,)]
    assert store._engine.read(lambda source: source.execute("PRAGMA user_version").fetchone()) == (len(MIGRATIONS) + 1,)
    assert (numbers(store), store.enqueue(new()).number) == ([3, 4], 5)


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    make: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    fill(store, 4)
    store.close()
    with monkeypatch.context() as patch:
        bad = "CREATE TABLE extra (a INTEGER); INSERT INTO nowhere VALUES (1)"
        patch.setattr("rataccess.store.store.MIGRATIONS", (*MIGRATIONS, bad))
        with pytest.raises(StoreError):
            make()
    assert numbers(make()) == [3, 4]


def test_a_newer_file_is_refused_and_left_alone(make: Any, path: Path) -> None:
    make().close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match=rf"version 9.*up to {len(MIGRATIONS)}.*newer rataccess"):
        make()
    assert path.read_bytes() == before
