"""The store killed between any two SQL statements: what was promised holds, what was under way is done whole or not at all.

A kill leaves what the file system has: so the folder is copied just before a statement, everything after it is forgotten,
and a new store opens the copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rataccess.clock import SystemClock
from rataccess.config.model import StoreSettings
from rataccess.objects import ReceiptState, Service, encode
from rataccess.store import Inbound, NewRecord, Store
from tests.store.test_store_model import MEMORY_DISK

SOLUTION = Service.SOLUTION
WHEN = st.one_of(st.none(), st.none(), st.integers(0, 12))
"""Before which statement of an operation the process is killed, if at all."""
NUMBERS = st.lists(st.integers(1, 20), min_size=1, max_size=4)


class Killed(BaseException):
    """The process is no more."""


class Killer:
    """Counts statements, and at the chosen one keeps the folder as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copy = folder.with_name("as it was")
        self.left: int | None = None
        self.killed = False

    def before_statement(self) -> None:
        if self.left == 0:
            self.left, self.killed = None, True
            shutil.copytree(self.folder, self.copy, ignore=shutil.ignore_patterns("*.ballast"))
            raise Killed
        if self.left:
            self.left -= 1


def connections(killer: Killer) -> type[sqlite3.Connection]:
    """Connections that ask the killer first."""

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            killer.before_statement()
            return super().execute(*arguments)

        def executemany(self, *arguments: Any) -> sqlite3.Cursor:
            killer.before_statement()
            return super().executemany(*arguments)

    return Connection


@dataclass(frozen=True)
class Kept:
    """What the file must hold."""

    outbox: frozenset[tuple[int, bytes]] = frozenset()
    handed: frozenset[int] = frozenset()
    inbox: frozenset[int] = frozenset()
    received: frozenset[int] = frozenset()
    memory: tuple[tuple[str, bytes], ...] = ()
    objects: tuple[tuple[str, bytes], ...] = ()

    def numbers(self) -> set[int]:
        return {number for number, _ in self.outbox}


@dataclass
class Lent:
    """What of the inbox is with the application, in this run."""

    numbers: set[int] = field(default_factory=set)


class Crashes(RuleBasedStateMachine):
    """Every operation may be the last one of its process."""

    @initialize()
    def start(self) -> None:
        self.top = tempfile.TemporaryDirectory(dir=MEMORY_DISK)
        self.folder = Path(self.top.name) / "state"
        self.killer = Killer(self.folder)
        self.patch = pytest.MonkeyPatch()
        kind = connections(self.killer)

        def connect(path: Path | str) -> sqlite3.Connection:
            return sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False, factory=kind)

        self.patch.setattr("rataccess.store.database._connect", connect)
        self.kept = Kept()
        self.given: set[int] = set()
        self.lent = Lent()
        self.count = 0
        self.store = self.open()

    def open(self) -> Store:
        return Store.open(self.folder / "store.sqlite", StoreSettings(), SystemClock(), threaded=False)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.patch.undo()
            self.top.cleanup()

    def observed(self) -> Kept:
        """What the file holds."""

        def rows(text: str) -> list[tuple[Any, ...]]:
            return self.store._engine.read(lambda source: sqlite3.Connection.execute(source, text).fetchall())

        mask = (1 << 53) - 1
        return Kept(
            frozenset((key & mask, body) for key, body in rows("SELECT key, body FROM outbox")),
            frozenset(key & mask for (key,) in rows("SELECT key FROM outbox WHERE resend_at IS NOT NULL")),
            frozenset(key & (1 << 54) - 1 for (key,) in rows("SELECT key FROM inbox")),
            frozenset(number for number in range(1, 40) if number in self.store.received(SOLUTION)),
            tuple(row for row in sorted(rows("SELECT key, value FROM memory")) if row[0] != "store/run"),
            tuple(sorted(rows("SELECT name, value FROM objects"))),
        )

    def attempt(self, when: int | None, act: Callable[[], Any], after: Kept) -> Any:
        """Do it, perhaps to be killed in the middle; `after` is what is kept where it was done."""
        self.killer.left = when
        try:
            result = act()
            self.killer.left = None
            self.kept = after
            return result
        except Killed:
            self.restart_from_copy()
            found = self.observed()
            assert found in (self.kept, after), "all of it, or nothing"
            self.kept = found
            return None

    def restart_from_copy(self) -> None:
        self.store.close()
        self.take_copy()
        self.store = self.open()
        assert self.store.trouble is None

    def take_copy(self) -> None:
        shutil.rmtree(self.folder)
        self.killer.copy.rename(self.folder)
        self.killer.killed = False
        self.lent.numbers.clear()

    # --- operations ------------------------------------------------------------------------------------------------------

    @rule(when=WHEN, size=st.sampled_from([1, 50, 5000]), queue=st.sampled_from("abc"))
    def enqueue(self, when: int | None, size: int, queue: str) -> None:
        self.count += 1
        body = encode([self.count, bytes(size)])
        self.killer.left = when
        try:
            number = self.store.enqueue(NewRecord(SOLUTION, queue, body)).number
            self.killer.left = None
        except Killed:
            self.restart_from_copy()
            extra = self.observed().outbox - self.kept.outbox
            assert {one for _, one in extra} <= {body}, "only what was under way may be there beside what was accepted"
            if not extra:
                return
            ((number, _),) = extra
        assert number not in self.given, "no number is given twice"
        self.given.add(number)
        self.kept = replace(self.kept, outbox=self.kept.outbox | {(number, body)})

    @rule(when=WHEN, chosen=NUMBERS, state=st.sampled_from([ReceiptState.DELIVERED, ReceiptState.EXPIRED]))
    def settle(self, when: int | None, chosen: list[int], state: ReceiptState) -> None:
        left = frozenset(one for one in self.kept.outbox if one[0] not in chosen)
        after = replace(self.kept, outbox=left, handed=self.kept.handed - set(chosen))
        self.attempt(when, lambda: self.store.settle(SOLUTION, chosen, state), after)

    @rule(when=WHEN, chosen=NUMBERS)
    def hand_over(self, when: int | None, chosen: list[int]) -> None:
        after = replace(self.kept, handed=self.kept.handed | (set(chosen) & self.kept.numbers()))
        self.attempt(when, lambda: self.store.hand_over(SOLUTION, chosen, 2e9), after)

    @rule(when=WHEN, chosen=NUMBERS)
    def receive(self, when: int | None, chosen: list[int]) -> None:
        fresh = set(chosen) - self.kept.received
        received = self.store.received(SOLUTION)
        for number in chosen:
            received.add(number)
        records = [Inbound(number, "commands", encode(number), None) for number in chosen]
        after = replace(self.kept, inbox=self.kept.inbox | fresh, received=self.kept.received | fresh)
        self.attempt(when, lambda: self.store.receive(SOLUTION, records, received), after)

    @rule(when=WHEN)
    def lend(self, when: int | None) -> None:
        record = self.attempt(when, lambda: self.store.lend(SOLUTION, None), self.kept)
        waiting = self.kept.inbox - self.lent.numbers
        if record is not None:
            assert record.number == min(waiting), "nothing that was acknowledged, nothing twice"
            self.lent.numbers.add(record.number)

    @rule(when=WHEN, data=st.data())
    def acknowledge(self, when: int | None, data: st.DataObject) -> None:
        if self.lent.numbers:
            number = data.draw(st.sampled_from(sorted(self.lent.numbers)))
            self.lent.numbers.discard(number)
            after = replace(self.kept, inbox=self.kept.inbox - {number})
            self.attempt(when, lambda: self.store.acknowledge(SOLUTION, number), after)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.lent.numbers:
            number = data.draw(st.sampled_from(sorted(self.lent.numbers)))
            self.lent.numbers.discard(number)
            assert self.store.give_back(SOLUTION, number)

    @rule(when=WHEN, key=st.sampled_from(["a", "security/x/sequence"]), now=st.booleans())
    def put(self, when: int | None, key: str, now: bool) -> None:
        self.count += 1
        value = self.count.to_bytes(8, "big")
        memory = tuple(sorted({**dict(self.kept.memory), key: value}.items()))
        put = self.store.put_now if now else self.store.put
        self.attempt(when, lambda: put(key, value), replace(self.kept, memory=memory))

    @rule(when=WHEN, name=st.sampled_from("xy"), value=st.binary(max_size=3))
    def put_object(self, when: int | None, name: str, value: bytes) -> None:
        objects = tuple(sorted({**dict(self.kept.objects), name: encode(value)}.items()))
        after = replace(self.kept, objects=objects)
        self.attempt(when, lambda: self.store.put_object(SOLUTION, name, encode(value)), after)

    @rule(when=st.one_of(st.none(), st.integers(0, 40)))
    def reopen(self, when: int | None) -> None:
        """Killed while it closes, or while it opens."""
        self.killer.left = when
        try:
            self.store.close()
            self.store = self.open()
            self.lent.numbers.clear()
        except Killed:
            self.killer.left = None
            self.store.close()
            self.take_copy()
            self.store = self.open()
        self.killer.left = None
        assert self.store.trouble is None

    # --- what must always hold -------------------------------------------------------------------------------------------

    @invariant()
    def everything_promised_is_there(self) -> None:
        if hasattr(self, "store"):
            assert self.observed() == self.kept
            counted = sum(count for count, _ in self.store.depth().values())
            assert counted == len(self.kept.outbox)
            assert self.store.last_number(SOLUTION) >= max(self.given, default=0)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
