"""A full disk, a failing one, and a process killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rataccess.clock import SystemClock
from rataccess.config.model import StoreSettings
from rataccess.errors import DiskFull
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import Accepted, Inbound, NewRecord, Store
from rataccess.store.database import Database

SOLUTION = Service.SOLUTION
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


def new(value: object = 1, **fields: Any) -> NewRecord:
    return NewRecord(**{"service": SOLUTION, "queue": "q", "body": encode(value), **fields})


def numbers(store: Store) -> list[int]:
    return [one.number for one in store.waiting(SOLUTION, Urgency.ROUTINE, 0, 10**6, 10**9)]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


class Fault:
    """Commits fail while `code` is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.code: int | None = None
        commit: Callable[[Database], None] = Database.commit

        def faulty(database: Database) -> None:
            if self.code is not None:
                raise sqlite_error(self.code)
            commit(database)

        patch.setattr(Database, "commit", faulty)


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    return Fault(monkeypatch)


FAILING = [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY]


@pytest.mark.parametrize("code", FAILING)
def test_a_failed_commit_accepts_nothing_and_uses_no_number(make: Any, fault: Fault, threaded: bool, code: int) -> None:
    store = make(threaded=threaded)
    store.enqueue(new())
    store.put_now("a", b"1")
    fault.code = code
    with pytest.raises(DiskFull):
        store.enqueue(new(2, queue="a new queue", boot=b"new"))
    with pytest.raises(DiskFull):
        store.put_now("a", b"2")
    with pytest.raises(DiskFull):
        store.receive(SOLUTION, [Inbound(1, "c", encode(1), None)], NumberSet(1))
    assert (numbers(store), store.get("a"), store.received(SOLUTION), store.last_number(SOLUTION)) == (
        [1],
        b"1",
        NumberSet(),
        1,
    )
    fault.code = None
    assert store.enqueue(new(3, queue="a new queue", boot=b"new")).number == 2
    store.put_now("a", b"2")
    store.receive(SOLUTION, [Inbound(1, "c", encode(1), None)], NumberSet(1))
    store.close()
    store = make()
    assert (numbers(store), store.get("a"), store.received(SOLUTION)) == ([1, 2], b"2", NumberSet(1))
    assert store.queue_id(SOLUTION, "a new queue") == (9, False)
    assert store.counters()["enqueued"] == 2


def test_a_value_put_at_once_outlives_an_older_one_that_found_no_room(
    make: Any, monkeypatch: pytest.MonkeyPatch, threaded: bool
) -> None:
    store = make(threaded=threaded)
    commit, refused = Database.commit, iter([True, True])  # both together, and the older one alone

    def small(database: Database) -> None:
        if next(refused, False):
            raise sqlite_error(sqlite3.SQLITE_FULL)
        commit(database)

    monkeypatch.setattr(Database, "commit", small)
    engine = store._engine
    with engine.soft_lock:  # as `put` does, without waking who commits: it is for the next group
        engine.soft.puts |= {"a": b"older", "b": b"kept"}
    store.put_now("a", b"newer")
    assert store.get("a") == b"newer"
    store.put("c", b"later")
    store.close()
    store = make()
    assert [store.get(key) for key in "abc"] == [b"newer", b"kept", b"later"]


@pytest.mark.parametrize("code", FAILING)
def test_what_nobody_waits_for_is_kept_until_there_is_room(make: Any, fault: Fault, threaded: bool, code: int) -> None:
    store = make(threaded=threaded)
    seen: list[Any] = []
    store.on_settled(lambda *event: seen.append(event))
    for _ in range(6):
        store.enqueue(new(expires_at=5.0 if _ == 5 else None))
    store.receive(SOLUTION, [Inbound(1, "c", encode(1), None)], NumberSet(1))
    fault.code = code
    store.settle(SOLUTION, [1, 2], ReceiptState.DELIVERED)
    store.settle(SOLUTION, [2], ReceiptState.EXPIRED)
    store.hand_over(SOLUTION, [3], 7.0)
    store.mark_sent(SOLUTION, [4])
    store.put("a", b"1")
    store.put_object(SOLUTION, "door", b"\x01")
    store.expire(5.0)
    assert store.take(SOLUTION, None) is not None
    with pytest.raises(DiskFull):
        store.enqueue(new())
    store.put("a", b"2")
    store.mark_sent(SOLUTION, [4])
    assert (store.get("a"), store.get_object(SOLUTION, "door"), store.objects(SOLUTION)) == (b"2", b"\x01", ["door"])
    assert store.take(SOLUTION, None) is None
    assert (numbers(store), seen) == ([4, 5, 6], [])
    fault.code = None
    assert store.enqueue(new()).number == 7
    store.close()
    assert sorted(seen) == [(SOLUTION, [1, 2], ReceiptState.DELIVERED), (SOLUTION, [6], ReceiptState.EXPIRED)]
    store = make()
    assert (numbers(store), store.get("a"), store.get_object(SOLUTION, "door")) == ([4, 5, 7], b"2", b"\x01")
    assert [one.number for one in store.due_for_resend(SOLUTION, 7.0, 9)] == [3]
    assert store.waiting(SOLUTION, Urgency.ROUTINE, 0, 1, 1)[0].attempts == 2
    assert store.take(SOLUTION, None) is None


def test_left_over_changes_are_tried_again_by_themselves(
    make: Any, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rataccess.store.committer._RETRY", 0.001)
    store = make(threaded=True)
    done = threading.Event()
    store.on_settled(lambda *_: done.set())
    store.enqueue(new())
    fault.code = sqlite3.SQLITE_FULL
    store.settle(SOLUTION, [1], ReceiptState.DELIVERED)
    with pytest.raises(DiskFull):
        store.enqueue(new())
    fault.code = None
    assert done.wait(10)


def test_one_record_too_large_for_the_disk_does_not_take_others_with_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    results: list[Any] = []
    commit = Database.commit

    def picky(database: Database) -> None:
        if database.write.execute("SELECT max(length(body)) FROM outbox").fetchone()[0] > 1000:
            raise sqlite_error(sqlite3.SQLITE_FULL)
        commit(database)

    monkeypatch.setattr(Database, "commit", picky)
    store._engine.run([(new(bytes(size)), results.append) for size in (1, 2000, 2, 3000, 3)])
    assert [getattr(one, "number", type(one)) for one in results] == [1, DiskFull, 2, DiskFull, 3]
    assert results[1] is not results[3], "one exception must not be raised in two threads"


def test_reading_from_a_failing_disk(make: Any) -> None:
    store = make()

    def fail(_: object) -> None:
        raise sqlite_error(sqlite3.SQLITE_IOERR)

    with pytest.raises(DiskFull):
        store._engine.read(fail)


# --- a disk that is really full ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], capture_output=True, check=False
    )
    if result.returncode:
        pytest.skip(f"cannot mount: {result.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Leave no byte free; returns the file to delete."""
    ballast = folder / "filler"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def until_full(store: Store, size: int) -> list[int]:
    """Enqueue until the disk is full; returns the numbers accepted."""
    accepted = []
    for _ in range(20_000):
        try:
            accepted.append(store.enqueue(new(bytes(size))).number)
        except DiskFull:
            return accepted
    pytest.fail("it never became full")


@needs_root
def test_a_full_disk_still_counts_and_deletes(small_disk: Path, threaded: bool) -> None:
    store = Store.open(small_disk / "store.sqlite", StoreSettings(), SystemClock(), threaded=threaded)
    try:
        accepted = until_full(store, 2000)
        assert accepted == list(range(1, len(accepted) + 1))
        assert len(accepted) > 100
        for value in range(1, 500):  # or the device falls silent: no number, no message, no room ever again
            store.put_now("security/s/sequence", value.to_bytes(8, "big"))
        assert numbers(store)[: len(accepted)] == accepted
        seen: list[int] = []
        store.on_settled(lambda _service, gone, _state: seen.extend(gone))
        half = accepted[: len(accepted) // 2]
        store.settle(SOLUTION, half, ReceiptState.DELIVERED)  # needs no more room: nobody has to free any
        for _ in range(len(half) // 2):
            accepted.append(store.enqueue(new(bytes(2000))).number)
        assert seen == half
        assert store.last_number(SOLUTION) == accepted[-1]
    finally:
        store.close()
    store = Store.open(small_disk / "store.sqlite", StoreSettings(), SystemClock(), threaded=threaded)
    assert store.trouble is None
    assert numbers(store) == accepted[len(half) :]
    store.close()


@needs_root
def test_somebody_else_fills_the_disk(small_disk: Path, threaded: bool) -> None:
    store = Store.open(small_disk / "store.sqlite", StoreSettings(), SystemClock(), threaded=threaded)
    first = store.enqueue(new()).number
    ballast = fill_up(small_disk)
    until_full(store, 3000)
    last = store.last_number(SOLUTION)
    ballast.unlink()
    assert store.enqueue(new(bytes(3000))) == Accepted(last + 1)
    store.close()
    assert first == 1


@needs_root
def test_a_disk_that_is_full_at_the_start(small_disk: Path, threaded: bool) -> None:
    ballast = fill_up(small_disk)
    store = Store.open(small_disk / "store.sqlite", StoreSettings(), SystemClock(), threaded=threaded)
    assert store.trouble is not None
    assert store.trouble.in_memory
    given = store.enqueue(new()).number
    with pytest.raises(DiskFull):
        store.put_now("security/s/sequence", bytes(7) + b"\xff")
    ballast.unlink()
    store.put_now("security/s/sequence", bytes(7) + b"\xff")
    store.close()
    store = Store.open(small_disk / "store.sqlite", StoreSettings(), SystemClock(), threaded=threaded)
    assert store.enqueue(new()).number > given
    assert (store.get("security/s/sequence") or b"") > bytes(7) + b"\xff"
    store.close()


# --- kill -9 ----------------------------------------------------------------------------------------------------------

CHILD = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    from rataccess.clock import SystemClock
    from rataccess.config.model import StoreSettings
    from rataccess.numbers import NumberSet
    from rataccess.objects import ReceiptState, Service, Urgency, encode
    from rataccess.store import Inbound, NewRecord, Store

    store = Store.open(Path(sys.argv[1]), StoreSettings(), SystemClock())
    assert store.trouble is None, store.trouble
    lock = threading.Lock()

    def say(*words):
        with lock:
            print(*words, flush=True)

    store.on_settled(lambda service, numbers, state: say("settled", *numbers))

    def produce(urgency):
        while True:
            number = store.enqueue(NewRecord(Service.SOLUTION, "q", encode(bytes(200)), urgency)).number
            say("accepted", number)
            if number % 7 == 0:
                store.settle(Service.SOLUTION, [number], ReceiptState.DELIVERED)
            if number % 5 == 0:
                store.hand_over(Service.SOLUTION, [number], 1.0)

    def receive():
        received = store.received(Service.SOLUTION)
        while True:
            number = received.floor + 1
            received.add(number)
            store.receive(Service.SOLUTION, [Inbound(number, "c", encode(number), None)], received)
            say("received", number)
            store.put_now("security/s/sequence", number.to_bytes(8, "big"))
            say("counted", number)
            taken = store.take(Service.SOLUTION, None)
            say("taken", taken.number)

    for work in (*(lambda urgency=urgency: produce(urgency) for urgency in Urgency), receive):
        threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()
    """
)


def killed_child(path: Path, lines: int) -> list[list[str]]:
    """What a child said before it was killed, after `lines` lines; half a line at the end was never said."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    return [line.decode().split() for line in said if line.endswith(b"\n")]


def said_numbers(said: list[list[str]], word: str) -> set[int]:
    return {int(number) for line in said if line[0] == word for number in line[1:]}


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(path: Path, seed: int) -> None:
    path.parent.mkdir()
    chance = random.Random(seed)
    accepted: set[int] = set()
    settled: set[int] = set()
    received: set[int] = set()
    taken: set[int] = set()
    for _ in range(2):
        said = killed_child(path, chance.randrange(1, 600))
        now = said_numbers(said, "accepted")
        assert not now & accepted, "no number is given twice"
        assert len(now) == sum(line[0] == "accepted" for line in said)
        accepted |= now
        settled |= said_numbers(said, "settled")
        received |= said_numbers(said, "received")
        taken |= said_numbers(said, "taken")
        store = Store.open(path, StoreSettings(), SystemClock(), threaded=False)
        assert store.trouble is None
        found = [one.number for one in store.due_for_resend(SOLUTION, 2.0, 10**6)]
        found += [one.number for urgency in Urgency for one in store.waiting(SOLUTION, urgency, 0, 10**6, 10**9)]
        assert len(found) == len(set(found)) == sum(count for count, _ in store.depth().values())
        assert not set(found) & settled, "what was announced as settled stays settled"
        gone = accepted - settled - set(found)
        assert all(number % 7 == 0 for number in gone), "only what was being settled may be gone"
        assert store.last_number(SOLUTION) >= max(accepted, default=0)
        assert received <= set(range(1, store.received(SOLUTION).floor + 1))
        assert int.from_bytes(store.get("security/s/sequence") or b"", "big") >= max(
            said_numbers(said, "counted"), default=0
        )
        again = set()
        while (record := store.take(SOLUTION, None)) is not None:
            again.add(record.number)
        assert received - taken <= again | {max(received, default=0)}
        accepted.add(store.enqueue(new()).number)
        taken |= again
        store.close()
