"""The files of a store: opening them, and doing without them where that fails.

Rules of this file: it decides between the file, a new file and memory, says why in `trouble`, and sees to it that no
counter restarts lower.  The only transactions here fill a new database or raise its counters.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rataccess.errors import DiskFull, StoreCorrupt
from rataccess.store.ballast import Ballast
from rataccess.store.committer import log
from rataccess.store.database import Database, Lock, is_damage
from rataccess.store.floor import CLOSED, LOST, MARKS, MEMORY, RUN, Floor, step
from rataccess.store.inbox import COUNTER_BYTES, Inbox, is_counter, write_memory
from rataccess.store.outbox import Outbox
from rataccess.store.quarantine import Known, restore, set_aside
from rataccess.store.records import StoreTrouble
from rataccess.store.schema import SERVICES
from rataccess.store.totals import Totals
from rataccess.wire import FIRST_FREE_QUEUE

NAME = "store.sqlite"
RECORD_NAMES = [f"record/{service}" for service in SERVICES]
QUEUE_NAMES = [f"queue/{service}" for service in SERVICES]
"""What record numbers and queue ids are called in the floor file."""
_RUN_KEY = "store/run"
_RUN_BYTES = 8
"""The memory key of the run that has the file open, and the run before: random numbers."""
_MARGIN = 64 * 1024
"""Bytes of free pages that stay in the file on a full disk, for what is not counted: inner pages, indexes, memory."""


class Files:
    """Lock, floor and database of one store."""

    def __init__(self, path: Path | None, migrations: Sequence[str], *, two: bool, witness: Path | None = None) -> None:
        """Open what can be opened; `None` is a store in memory, which is no trouble.  `witness`: see floor.py.

        Raises `StoreBusy` and `StoreTooNew`; everything else ends in `trouble`.
        """
        self.trouble: StoreTrouble | None = None
        self.path = path if path is None or path.suffix else path / NAME
        self._migrations = migrations
        self._two = two
        self._witness = witness
        self._lock: Lock | None = None
        self.floor = Floor(None)
        self._lenient = False
        self._ahead: Mapping[str, int] = {}
        """Record numbers and queue ids that were given although the floor could not be written."""
        self._ballast = Ballast(None)
        if self.path is None:
            self.database = Database.in_memory(migrations)
            return
        try:
            self._open(self.path)
        except BaseException:
            self._unlock()
            raise
        if self.database.path is not None:
            self._ballast = Ballast(self.path.with_suffix(".ballast"))
            self._ballast.hold()

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(path.with_suffix(".lock"))
        except OSError as error:
            self.floor = Floor(path.with_suffix(".floor"), writable=False, witness=self._witness)
            self._start_over(f"cannot use {path.parent} ({error})", None, self._from_floor(), file=False)
            return
        self.floor = Floor(path.with_suffix(".floor"), witness=self._witness)
        try:
            self.database = Database.open(path, self._migrations, two=self._two)
            if self.database.created and self.floor.existed:
                self.database.close()
                self._start_over(f"{path} is gone, but was used before", None, self._from_floor())
            elif LOST in self.floor.ceilings:
                self.trouble = StoreTrouble("security counters were lost earlier", counters_lost=True)
        except (sqlite3.Error, OSError) as error:
            harmed = isinstance(error, sqlite3.Error) and is_damage(error)
            self._start_over(f"cannot use {path} ({error})", path if harmed else None, self._from_floor(), file=harmed)

    # --- doing without the old file -----------------------------------------------------------------------------------

    def replace(self, error: Exception, known: Known) -> None:
        """The file has turned out to be damaged while it was in use: go on with a new one.  Hold the write lock."""
        old = self.database
        with old.read_lock:
            old.close()
            self._start_over(f"{old.path} is damaged ({error})", old.path, known, running=True)

    def _start_over(
        self, reason: str, damaged: Path | None, known: Known, *, file: bool = True, running: bool = False
    ) -> None:
        """Use a new file, or memory where none can be made; salvage from `damaged`."""
        aside, damaged = self._set_aside(damaged)
        makers: list[Callable[[], Database]] = [lambda: Database.in_memory(self._migrations)]
        if file and self.path is not None and (damaged is None or aside is not None):
            makers.insert(0, self._new_file)
        for make in makers:
            try:
                database = make()
            except (sqlite3.Error, OSError) as error:
                reason = f"{reason}; no new file ({error})"
                continue
            try:
                saved = restore(database.write, damaged, known)
            except sqlite3.Error as error:
                reason = f"{reason}; the new file failed ({error})"
                database.close()
                continue
            break
        else:
            raise DiskFull(reason)
        self.database = database
        self._note(reason, aside, saved, running=running)

    def _set_aside(self, damaged: Path | None) -> tuple[Path | None, Path | None]:
        """Where the damaged file is now, if it could be moved, and where it can be read."""
        if damaged is None:
            return None, None
        try:
            aside = set_aside(damaged)
        except OSError as error:
            log.error("cannot move the damaged store aside: %s", error)
            return None, damaged
        return aside, aside

    def _new_file(self) -> Database:
        assert self.path is not None
        return Database.open(self.path, self._migrations, two=self._two)

    def _note(self, reason: str, aside: Path | None, saved: int, *, running: bool) -> None:
        in_memory = self.database.path is None
        proven = running or (self.floor.readable and self.floor.existed) or (aside is None and not self.floor.existed)
        if not proven or LOST in self.floor.ceilings:
            self._mark_lost()
        self.trouble = StoreTrouble(
            reason=reason,
            quarantined=aside,
            salvaged=saved,
            in_memory=in_memory,
            memory_lost=not running,
            counters_lost=not proven or LOST in self.floor.ceilings,
        )
        self.floor.in_memory = in_memory
        self._lenient = in_memory and not running
        log.error("store: %s", self.trouble)

    # --- counters -----------------------------------------------------------------------------------------------------

    def _mark_lost(self) -> None:
        """Remember, beyond this run, that counters are lost."""
        try:
            self.floor.write(self.floor.ceilings | {LOST: 1})
        except DiskFull as error:
            log.error("store: %s", error)

    def _from_floor(self) -> Known:
        """What is known where only the floor file is left: every counter goes on at its ceiling."""
        ceilings = self.floor.ceilings
        return Known(
            last=[ceilings.get(name, 0) for name in RECORD_NAMES],
            next_queue=[ceilings.get(name, FIRST_FREE_QUEUE - 1) + 1 for name in QUEUE_NAMES],
            memory={name: value.to_bytes(COUNTER_BYTES, "big") for name, value in ceilings.items() if is_counter(name)},
        )

    def fill(self, outbox: Outbox, inbox: Inbox, memory: dict[str, bytes]) -> None:
        """Read what is kept in memory, and lift counters that lag behind the floor; raises `sqlite3.Error` from memory."""
        try:
            self._load(outbox, inbox, memory)
        except (sqlite3.Error, StoreCorrupt) as error:
            if self.database.path is None:
                raise
            harmed = isinstance(error, StoreCorrupt) or is_damage(error)
            self.database.close()
            self._start_over(
                f"cannot read {self.path} ({error})", self.path if harmed else None, self._from_floor(), file=harmed
            )
            self._load(outbox, inbox, memory)
        if self.database.path is not None:
            self._begin_run(outbox, memory)

    def _load(self, outbox: Outbox, inbox: Inbox, memory: dict[str, bytes]) -> None:
        connection = self.database.read
        with self.database.write_lock, self.database.read_lock:
            outbox.load(connection)
            inbox.load(connection)
            memory.clear()
            memory.update(connection.execute("SELECT key, value FROM memory"))

    def _begin_run(self, outbox: Outbox, memory: dict[str, bytes]) -> None:
        """Lift the counters of a file that is older than its floor, and mark both with a new run."""
        if self._is_behind(outbox.totals, memory):
            known = self._from_floor()
            totals = outbox.totals = outbox.totals.copy()
            totals.last[:] = map(max, totals.last, known.last)
            totals.next_queue[:] = map(max, totals.next_queue, known.next_queue)
            memory.update({key: value for key, value in known.memory.items() if value > memory.get(key, b"")})
        run = os.urandom(_RUN_BYTES)
        memory[_RUN_KEY] = run + memory.get(_RUN_KEY, b"")[:_RUN_BYTES]
        try:
            self._write_run(outbox, memory)
            kept = {name: value for name, value in self.floor.ceilings.items() if name not in (MEMORY, CLOSED)}
            held = counters(outbox.totals, memory)  # a floor that was lost is made whole
            short = {name: value + self.floor.step(name) for name, value in held.items() if value > kept.get(name, 0)}
            self.floor.write(kept | short | {RUN: int.from_bytes(run, "big")})
        except (sqlite3.Error, DiskFull) as error:  # the next start finds the same, and lifts the same again
            log.warning("store: a run begins without a mark: %s", error)

    def _write_run(self, outbox: Outbox, memory: Mapping[str, bytes]) -> None:
        with self.database.write_lock:
            self.database.begin(soft=False)
            try:
                outbox.begin(self.database.write)
                outbox.write_totals()
                marked = {key: value for key, value in memory.items() if key == _RUN_KEY or is_counter(key)}
                write_memory(self.database.write, marked)
                self.database.commit()
                outbox.committed()
            except BaseException:
                self.database.rollback()
                raise

    def _is_behind(self, totals: Totals, memory: Mapping[str, bytes]) -> bool:
        """Whether the floor has seen higher counters: the file was restored from a copy, or passed over for memory."""
        ceilings, held = self.floor.ceilings, counters(totals, memory)
        if MEMORY in ceilings:
            return True
        run = memory.get(_RUN_KEY, b"")
        marks = {int.from_bytes(run[:_RUN_BYTES], "big"), int.from_bytes(run[_RUN_BYTES:], "big")}
        # The floor may be one run behind: the power went between the two marks.
        restored = RUN in ceilings and ceilings[RUN] not in marks
        behind = {name: ceiling - held.get(name, 0) for name, ceiling in ceilings.items() if name not in MARKS}
        if CLOSED in ceilings:
            restored = restored or any(lack > 0 for lack in behind.values())
        if not restored and all(lack <= 2 * step(name) for name, lack in behind.items()):
            # An unorderly end leaves no proof that this is not a copy of the same run: where that would be noticed after an
            # orderly one, it is provided for here.
            return self.floor.witnessed and CLOSED not in ceilings
        if self.trouble is None:
            self.trouble = StoreTrouble(f"{self.path} is older than its floor file: was it restored?", memory_lost=True)
        return True

    def cover(self, values: Mapping[str, int]) -> None:
        """Have the floor file cover counters before they are committed; raises `DiskFull`.

        In memory since the start, record numbers alone may run ahead of a floor that cannot be written: nothing is sent
        before a security counter is covered, and that covers them too.
        """
        try:
            self.floor.cover({**self._ahead, **values})
            self._ahead = {}
        except DiskFull:
            if not self._lenient or any(map(is_counter, values)):
                raise
            self._ahead = {**self._ahead, **values}

    def renew(self) -> None:
        """Security counters start anew, for new keys; raises `DiskFull`."""
        kept = {name: value for name, value in self.floor.ceilings.items() if name != LOST and not is_counter(name)}
        self.floor.write(kept)
        if self.trouble is not None:
            self.trouble = replace(self.trouble, counters_lost=False)

    def relieve(self, error: Exception) -> None:
        """A commit has failed: where the disk is full, make what room there is to make.  Never raises."""
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            self._ballast.release()
        self.database.relieve()

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more may be written without using up what must stay for deleting and counting."""
        return (
            self._ballast.held
            or self.database.path is None
            or self._ballast.has_room()
            or self.database.spare_bytes() >= 2 * size + _MARGIN
        )

    def vouch(self, totals: Totals, memory: Mapping[str, bytes]) -> None:
        """This is the orderly end of a run: have the witness tell what the counters are.  Never raises."""
        if self._witness is None or self.database.path is None or not self.floor.readable:
            return
        marks = {name: value for name, value in self.floor.ceilings.items() if name in MARKS}
        try:
            self.floor.write(self.floor.ceilings | counters(totals, memory) | marks | {CLOSED: 1})
        except DiskFull as error:  # the next run goes on at the ceilings
            log.warning("store: closed without a mark: %s", error)

    def close(self) -> None:
        """Close everything; idempotent."""
        self.database.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def counters(totals: Totals, memory: Mapping[str, bytes]) -> dict[str, int]:
    """Every counter that must never restart lower, by its name in the floor file."""
    found = dict(zip(RECORD_NAMES, totals.last, strict=True))
    found |= {name: following - 1 for name, following in zip(QUEUE_NAMES, totals.next_queue, strict=True)}
    return found | {key: int.from_bytes(value, "big") for key, value in memory.items() if is_counter(key)}
