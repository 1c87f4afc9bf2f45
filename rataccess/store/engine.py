"""Transactions: a group of items and what is to be written with it, committed, or undone and sorted out.

Rules of this file: the only place that begins and commits.  What a failed commit means is decided here: a full disk fails
those who wait and keeps what nobody waits for; a damaged file is replaced and the group tried again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from rataccess.clock import Clock
from rataccess.config.model import StoreSettings
from rataccess.errors import Closed, DiskFull, ObjectError, StoreError
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service
from rataccess.store.committer import Item, tell
from rataccess.store.database import is_damage, translate
from rataccess.store.inbox import Inbox, is_counter, write_memory, write_objects
from rataccess.store.opening import QUEUE_NAMES, RECORD_NAMES, Files
from rataccess.store.outbox import Outbox, Settled
from rataccess.store.quarantine import Known
from rataccess.store.records import Inbound, NewRecord, StoreTrouble
from rataccess.store.schema import NUMBER_BITS, SERVICES, number_of
from rataccess.store.soft import Soft

log = logging.getLogger("rataccess.store")
T = TypeVar("T")
OnSettled = Callable[[Service, "list[int]", ReceiptState], None]
_NOTHING = Soft()
"""Never changed: stands for changes that there are none of."""
_QUICK = 0.005
"""Seconds: any thread may hold up an event loop for as long, by keeping the interpreter (`sys.getswitchinterval`)."""
_MOST_REPAIRS = 3  # a new file, then memory, and one to spare


class Engine:
    """The open store: its files, what of them is kept in memory, and the transactions on them."""

    def __init__(self, files: Files, settings: StoreSettings, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self.outbox = Outbox(settings)
        self.inbox = Inbox(settings)
        self.memory: dict[str, bytes] = {}
        self._now_puts: dict[str, bytes] = {}
        self.soft, self.committing = Soft(), _NOTHING
        self.soft_lock = threading.Lock()
        self.listeners: list[OnSettled] = []
        self._failing = False
        self._whole = True
        """Whether memory says what the file says: not while a transaction runs, nor after one that a signal broke off."""
        self.dated = False
        """Whether `restamp` has been called in this run: later, no record waits to be dated."""
        files.fill(self.outbox, self.inbox, self.memory)
        self.totals = self.outbox.totals
        """As committed; replaced, never changed (`Outbox.begin` copies)."""

    @property
    def trouble(self) -> StoreTrouble | None:
        """What went wrong with the file."""
        return self._files.trouble

    @property
    def quick(self) -> bool:
        """Whether commits take so little time that an event loop may do them itself."""
        return self._files.database.pace < _QUICK

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `query` on what is committed; raises `Closed` and `DiskFull`."""
        for _ in range(_MOST_REPAIRS):
            database = self._files.database
            try:
                with database.read_lock:
                    return query(database.read)
            except sqlite3.ProgrammingError as error:
                if database is self._files.database:
                    raise Closed("the store is closed") from error
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise translate(error, database.path) from error
                self._repair(database, error)
        raise StoreError("the store cannot be read")

    def _repair(self, database: object, error: sqlite3.Error) -> None:
        current = self._files.database
        with current.write_lock:
            if database is self._files.database:  # nobody else has repaired it meanwhile
                self._replace(error)

    def _replace(self, error: sqlite3.Error) -> None:
        outbox = self.outbox
        known = Known(
            last=outbox.totals.last[:],
            next_queue=outbox.totals.next_queue[:],
            counters=dict(outbox.totals.counters),
            queues=dict(outbox.queues),
            boots=dict(outbox.boots),
            memory=dict(self.memory),
            received={service: self.inbox.received(service) for service in SERVICES},
        )
        self._files.replace(error, known)
        self._files.fill(outbox, self.inbox, self.memory)
        self.totals = self.outbox.totals

    def leaving(self, service: Service) -> Callable[[int], bool]:
        """Tells whether a record, by number, is about to be settled or handed over."""
        with self.soft_lock:
            soft, committing = self.soft, self.committing
        return lambda number: soft.leaving(service, number) or committing.leaving(service, number)

    def settling(self, service: Service, number: int) -> bool:
        """Whether a record is about to be settled."""
        with self.soft_lock:
            return any(number in soft.settling[service] for soft in (self.soft, self.committing))

    def marks(self, key: int) -> int:
        """Attempts that are not written yet."""
        service, number = SERVICES[key >> NUMBER_BITS + 3], number_of(key)
        return self.soft.marks[service].get(number, 0) + self.committing.marks[service].get(number, 0)

    def taken(self) -> list[set[int]]:
        """Inbox keys that were taken but may still be in the file."""
        with self.soft_lock:
            return [self.soft.taken, self.committing.taken]

    def objects_on_their_way(self) -> list[dict[tuple[Service, str], bytes]]:
        """Named objects that may not be in the file yet, newest first."""
        with self.soft_lock:
            return [dict(self.soft.objects), dict(self.committing.objects)]

    def object_on_its_way(self, service: Service, name: str) -> bytes | None:
        """The value of a named object that may not be in the file yet."""
        with self.soft_lock:
            found = self.soft.objects.get((service, name))
            return self.committing.objects.get((service, name)) if found is None else found

    def remembered(self, key: str) -> bytes | None:
        """The value of a memory key that was put last."""
        with self.soft_lock:
            for soft in (self.soft, self.committing):
                if key in soft.puts:
                    return soft.puts[key]
            return self.memory.get(key)

    def is_kept(self, key: str, value: bytes) -> bool:
        """Whether a memory key has this value on disk, with no other on its way."""
        with self.soft_lock:
            on_its_way = key in self.soft.puts or key in self.committing.puts
            return not on_its_way and self.memory.get(key) == value

    # --- committing ---------------------------------------------------------------------------------------------------

    def run(self, group: list[Item]) -> bool:
        """Commit a group and tell everybody; returns whether changes are left over (the disk is full)."""
        while True:
            database = self._files.database
            with database.write_lock:
                if database is not self._files.database:
                    continue  # replaced by a reader while this thread waited
                outcomes, settled = self._commit(group)
            break
        for (_, done), outcome in zip(group, outcomes, strict=True):
            try:
                done(outcome)
            except Exception:
                log.exception("a callback of the store failed: %r", done)
        for one in settled:
            for listener in list(self.listeners):
                tell(listener, *one)
        return not self.soft.idle()

    def _commit(self, group: list[Item]) -> tuple[list[Any], list[Settled]]:
        with self.soft_lock:
            if self.committing is not _NOTHING:  # a signal broke off the transaction before this one
                self.committing.fold(self.soft)
                self.soft = self.committing
            if self.soft.is_empty():
                soft = _NOTHING
            else:
                soft, self.soft = self.soft, Soft()
            self.committing = soft
        result = self._sort_out(group, soft)
        with self.soft_lock:
            self.committing = _NOTHING
        return result

    def _sort_out(self, group: list[Item], soft: Soft) -> tuple[list[Any], list[Settled]]:
        """All at once; else what nobody waits for first (it makes room), then each item on its own."""
        try:
            result = self._mended(group, soft)
            self._failing = False
            return result
        except Exception as error:  # noqa: BLE001 - whatever it is: told to those whom it concerns, below
            self._note_failure(error)
            self._files.relieve(error)
        outcomes, settled = [], self._only_soft(soft)
        for item in group:
            try:
                results, more = self._mended([item], _NOTHING)
                outcomes += results
                settled += more
                self._supersede(soft)
            except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
                outcomes.append(self._blame(error))
        return outcomes, settled

    def _supersede(self, older: Soft) -> None:
        """What was put at once is newer than what of `older` found no room, and now waits for the next time."""
        with self.soft_lock:
            for key in self._now_puts:
                if key in older.puts and self.soft.puts.get(key) is older.puts[key]:
                    del self.soft.puts[key]

    def _note_failure(self, error: Exception) -> None:
        """Once, not for each record that a full disk refuses."""
        (log.debug if self._failing else log.warning)("a group could not be committed at once: %s", error)
        self._failing = True

    def _only_soft(self, soft: Soft) -> list[Settled]:
        """Piece by piece; what fails is kept for the next time."""
        settled: list[Settled] = []
        for piece in soft.pieces():
            try:
                settled += self._mended([], piece)[1]
            except (sqlite3.Error, DiskFull) as error:
                self._files.relieve(error)
                with self.soft_lock:
                    piece.fold(self.soft)
                    self.soft = piece
            except Exception:
                log.exception("changes that cannot be stored are given up")
        return settled

    def _blame(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) is not None:
            translated: Exception = translate(error, self._files.database.path)
        elif isinstance(error, StoreError):
            return error
        else:
            translated = ObjectError(f"the record cannot be stored: {error}")
        translated.__cause__ = error
        return translated

    def _mended(self, group: list[Item], soft: Soft) -> tuple[list[Any], list[Settled]]:
        """Commit; where the file turns out to be damaged replace it and try again."""
        for _ in range(_MOST_REPAIRS):
            try:
                return self._transact(group, soft)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._replace(error)
        raise DiskFull("no file and no memory could be written")

    def _transact(self, group: list[Item], soft: Soft) -> tuple[list[Any], list[Settled]]:
        database, outbox = self._files.database, self.outbox
        if not group and soft.is_empty():
            return [], []
        if not self._whole:
            self._read_again()
        self._whole = False  # first: a signal (Ctrl-C) may raise anywhere from here on, also just after the commit
        database.begin(soft=not group and not soft.durable())
        outbox.begin(database.write)
        self.inbox.begin()
        self._now_puts = {}
        try:
            again = soft is not _NOTHING and self._apply(soft)
            outcomes = [self._do(what) for what, _ in group]
            outbox.finish()
            self._cover(soft)
            database.commit()
        except Exception:
            database.rollback()
            outbox.rollback()
            self.inbox.rollback()
            self._whole = True
            raise
        settled = outbox.committed()
        self.inbox.committed()
        self.memory.update(soft.puts)
        self.memory.update(self._now_puts)
        self.totals = outbox.totals
        self._whole = True
        if again:
            with self.soft_lock:
                self.soft.expire_at = soft.expire_at
        return outcomes, settled

    def _read_again(self) -> None:
        """Take over from the file what became of a transaction that was broken off."""
        self._files.database.rollback()
        self.outbox.rollback()
        self.inbox.rollback()
        self._files.fill(self.outbox, self.inbox, self.memory)
        self.totals = self.outbox.totals

    def _do(self, what: Any) -> Any:
        try:
            if what.__class__ is not NewRecord:
                return what()
            if not self._files.has_room(len(what.body)):
                raise self._no_room()
            return self.outbox.accept(what)
        except (StoreError, ObjectError) as error:
            return error

    def _no_room(self) -> DiskFull:
        return DiskFull(f"the disk of {self._files.path} is full; free some space, or wait until records are delivered")

    def _apply(self, soft: Soft) -> bool:
        """Write what nobody waits for; returns whether more records are to expire."""
        connection, outbox = self._files.database.write, self.outbox
        for service in SERVICES:
            if soft.marks[service]:
                outbox.mark_sent(service, soft.marks[service])
            if soft.handing[service]:
                outbox.hand_over(service, soft.handing[service])
            for state in set(soft.settling[service].values()):
                numbers = [number for number, one in soft.settling[service].items() if one is state]
                outbox.settle(service, numbers, state)
        for key in soft.confirmed:
            outbox.confirm_queue(key)
        self.inbox.remove(connection, soft.taken)
        write_memory(connection, soft.puts)
        write_objects(connection, soft.objects)
        return soft.expire_at is not None and outbox.expire(soft.expire_at, self.undated)

    @property
    def undated(self) -> bool:
        """Whether a deadline may be believed although its record was captured before time was known."""
        return self.dated or not self._clock.wall_known()

    def put_now(self, key: str, value: bytes) -> None:
        """Within a transaction: keep a value of the key-value memory."""
        write_memory(self._files.database.write, {key: value})
        self._now_puts[key] = value

    def receive(self, service: Service, records: Sequence[Inbound], received: NumberSet) -> None:
        """Within a transaction: see `Store.receive`."""
        if not self._files.has_room(sum(len(record.body) for record in records)):
            raise self._no_room()
        self.inbox.receive(self._files.database.write, service, records, received)

    def restamp(self, boot: bytes, offset: float) -> int:
        """Within a transaction: see `Store.restamp`."""
        changed = self.outbox.restamp(boot, offset, self._clock.wall())
        self.dated = True
        return changed

    def _cover(self, soft: Soft) -> None:
        """Raise the floor file above every counter that this transaction commits; raises `DiskFull`."""
        totals, before, changed = self.outbox.totals, self.totals, {}
        for index in range(len(SERVICES)):
            if totals.last[index] != before.last[index]:
                changed[RECORD_NAMES[index]] = totals.last[index]
            if totals.next_queue[index] != before.next_queue[index]:
                changed[QUEUE_NAMES[index]] = totals.next_queue[index] - 1
        if soft.puts or self._now_puts:
            puts = {**soft.puts, **self._now_puts}
            changed |= {key: int.from_bytes(value, "big") for key, value in puts.items() if is_counter(key)}
        if changed:
            self._files.cover(changed)

    def renew_counters(self) -> list[str]:
        """Within a transaction: forget the security counters on disk; returns their keys, to be forgotten after it."""
        keys = [key for key in self.memory if is_counter(key)]
        self._files.renew()
        self._files.database.write.executemany("DELETE FROM memory WHERE key = ?", [(key,) for key in keys])
        return keys

    def close(self) -> None:
        """Close the files; what was not committed by now is lost."""
        with suppress(sqlite3.Error):
            self._last_totals()
            self._files.vouch(self.outbox.totals, self.memory)
        self._files.close()

    def _last_totals(self) -> None:
        """Spare the next open the counting."""
        database = self._files.database
        with database.write_lock:
            database.begin(soft=True)
            try:
                self.outbox.begin(database.write)
                self.outbox.write_totals()
                database.commit()
            except BaseException:
                database.rollback()
                raise
