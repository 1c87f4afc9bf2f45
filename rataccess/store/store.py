"""The store: everything that must survive a restart, in one SQLite file.

Rules of this file: the face that the floors above use; it keeps no state but what readers need, and runs no transaction
itself (engine.py does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rataccess.clock import Clock
from rataccess.config.model import StoreSettings
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency
from rataccess.store import reading
from rataccess.store.committer import Committer
from rataccess.store.engine import Engine, OnSettled
from rataccess.store.landing import Landing
from rataccess.store.lending import Lending
from rataccess.store.opening import Files
from rataccess.store.records import Accepted, Inbound, NewRecord, Record, StoreTrouble
from rataccess.store.schema import HANDED, INDEX, MIGRATIONS, QUEUE_BITS, SERVICES
from rataccess.wire import RESERVED_QUEUES


class Store:
    """Outbox, inbox, named objects and key-value memory of one device; also a `Memory`.

    Every method may be called from any thread.  Methods that say *blocking* wait for one commit (a fraction of a
    millisecond on a disk in a server, tens of milliseconds on an SD card); the others return at once, and what they
    change is seen by every later read and is committed soon, together with whatever else is waiting.

    Reads raise `DiskFull` where the disk fails; everything raises `Closed` after `close`.
    """

    def __init__(self, engine: Engine, committer: Committer) -> None:
        """Use `open`."""
        self._engine = engine
        self._committer = committer
        self._lending = Lending(engine)
        self._landing: Landing | None = None

    @classmethod
    def open(
        cls,
        path: Path | None,
        settings: StoreSettings,
        clock: Clock,
        *,
        threaded: bool = True,
        witness: Path | None = None,
    ) -> Store:
        """Open or create the store at `path`: the file, or a folder for `store.sqlite`; `None` keeps it in memory.

        A damaged or unusable file does not stop the device: see `trouble`.  Raises `StoreBusy` where another process
        has the store open, and `StoreTooNew` where a newer version of the library wrote it.  With `threaded=False`
        everything is committed by the calling thread before the call returns, and callbacks run in it.  `witness` is a file
        in another folder that tells how far the counters got, so that an old copy of this one, or a new one, is noticed.
        """
        files = Files(path, MIGRATIONS, two=threaded, witness=witness)
        try:
            engine = Engine(files, settings, clock)
        except BaseException:
            files.close()
            raise
        return cls(engine, Committer(engine.run, threaded=threaded, name="rataccess-store", quick=lambda: engine.quick))

    def close(self) -> None:
        """Commit what is waiting, end the thread, close the file; idempotent."""
        self._committer.close()
        self._engine.close()

    def __repr__(self) -> str:
        return f"<Store {sum(self._engine.totals.records)} records{' TROUBLE' if self.trouble else ''}>"

    @property
    def trouble(self) -> StoreTrouble | None:
        """What went wrong with the file, for the health report; `None` where nothing did."""
        return self._engine.trouble

    def renew_counters(self) -> None:
        """New keys were provisioned: security counters start at 0, `counters_lost` is over; blocking.  Raises `DiskFull`.

        Never call this while the old keys may still be used: a nonce would come twice (RFC 8613 section 7.2.1).
        """
        for key in self._committer.call(self._engine.renew_counters):
            self._engine.memory.pop(key, None)

    # --- the outbox: in -----------------------------------------------------------------------------------------------

    def enqueue(self, new: NewRecord, then: Callable[[Accepted | Exception], None] | None = None) -> Accepted:
        """Keep a record, numbered; blocking: it is on disk when this returns.  `then` as `done` of `submit`.

        Raises `StoreFull` at a limit of the settings, `DiskFull` where it cannot be written, `ObjectError` where it can
        never be kept.  A record that was refused used up no number.
        """
        accepted: Accepted = self._committer.call(new, then)
        return accepted

    def submit(self, new: NewRecord, done: Callable[[Accepted | Exception], None]) -> None:
        """As `enqueue` without waiting: `done` is given the result or the error, in the committing thread, before
        anything is announced about the record."""
        self._committer.submit((new, done))

    def enqueue_async(self, new: NewRecord) -> asyncio.Future[Accepted]:
        """As `enqueue`, for a coroutine to await; where that is cancelled the record may have been kept all the same."""
        return self._at_loop().bring(new)

    def submit_async(self, new: NewRecord, done: Callable[[Accepted | Exception], None]) -> None:
        """As `submit`, in an event loop: what one turn of the loop submits is committed together, in the loop itself
        while the disk is quick.  `done` is called in the loop or in the committing thread."""
        self._at_loop().submit((new, done))

    def _at_loop(self) -> Landing:
        loop, landing = asyncio.get_running_loop(), self._landing
        if landing is None or landing.loop is not loop:
            landing = self._landing = Landing(loop, self._committer)
        return landing

    # --- the outbox: out ----------------------------------------------------------------------------------------------

    def waiting(self, service: Service, urgency: Urgency, after: int, limit: int, max_bytes: int) -> list[Record]:
        """Unsettled records that were not handed over, with numbers above `after`, ascending.

        At most `limit`, and of at most `max_bytes` together, but always one where there is one.
        """
        engine = self._engine
        leaving = engine.leaving(service)
        rows = engine.read(lambda source: reading.waiting(source, service, urgency, after, limit, max_bytes, leaving))
        return [self._record(row) for row in rows]

    def due_for_resend(self, service: Service, now: float, limit: int) -> list[Record]:
        """Records handed over whose `resend_at` is at or before `now` (wall seconds), the longest due first."""
        leaving = self._engine.leaving(service)
        rows = self._engine.read(lambda source: reading.due(source, service, now, limit, leaving))
        return [self._record(row) for row in rows]

    def base(self, service: Service) -> int:
        """The lowest unsettled number, or the last given plus 1: every number below it is settled or void."""
        last = self._engine.totals.last[INDEX[service]]  # before the file is read: what comes later has a higher number
        lowest = self._engine.read(lambda source: reading.lowest(source, service))
        return last + 1 if lowest is None else min(lowest, last + 1)

    def last_number(self, service: Service) -> int:
        """The last number given; 0 for none."""
        return self._engine.totals.last[INDEX[service]]

    def holds(self, service: Service, number: int) -> bool:
        """Whether that record is in the outbox, unsettled."""
        leaving = self._engine.settling(service, number)
        return not leaving and self._engine.read(lambda source: reading.is_there(source, service, number))

    def expiring(self, service: Service, queue: str) -> list[int]:
        """The unsettled records of a queue that have a deadline, by number, ascending."""
        key = self._engine.outbox.known_queue(INDEX[service], queue)
        if key is None and queue in RESERVED_QUEUES:
            key = INDEX[service] << QUEUE_BITS | RESERVED_QUEUES[queue]
        leaving = self._engine.leaving(service)
        numbers = self._engine.read(lambda source: reading.expiring(source, key)) if key is not None else []
        return [number for number in numbers if not leaving(number)]

    def settle(self, service: Service, numbers: Iterable[int], state: ReceiptState, *, patient: bool = False) -> None:
        """These records are done with, finally: delete, count and announce them.  Unknown numbers are ignored.

        `patient`: this alone is worth no commit; it goes with the next one, or with `commit_soon`.  Readers see it at once.
        """
        if not state.final:
            raise ValueError(f"{state!r} is not final")
        last = self.last_number(service)
        with self._engine.soft_lock:
            settling = self._engine.soft.settling[service]
            for number in numbers:
                if 0 < number <= last:
                    settling.setdefault(number, state)
            if not settling:
                return
        if not patient:
            self._committer.wake()

    def commit_soon(self) -> None:
        """Write what nobody waits for, such as what was settled patiently; returns at once."""
        self._committer.wake()

    def mark_sent(self, service: Service, numbers: Iterable[int]) -> None:
        """Count an attempt for each; written with the next commit, forgotten by a crash before it.

        While that commit is under way `Record.attempts` may be one too many or too few.
        """
        with self._engine.soft_lock:
            marks = self._engine.soft.marks[service]
            for number in numbers:
                marks[number] = marks.get(number, 0) + 1

    def hand_over(self, service: Service, numbers: Iterable[int], resend_at: float) -> None:
        """The network operator has accepted these: no longer `waiting`, `due_for_resend` from `resend_at` (wall seconds)."""
        with self._engine.soft_lock:
            self._engine.soft.handing[service].update(dict.fromkeys(numbers, resend_at))
        self._committer.wake()

    def expire(self, now: float) -> None:
        """Settle as EXPIRED what has a deadline at or before `now` (wall seconds).

        They are gone for readers with the next commit.  A deadline that was set by a clock that could not be believed
        waits for `restamp`, once the clock is believed.
        """
        engine = self._engine
        if engine.read(lambda source: reading.any_expired(source, now, engine.undated)):
            with engine.soft_lock:
                engine.soft.expire_at = now
            self._committer.wake()

    def restamp(self, boot: bytes, offset: float) -> int:
        """Time is known now: date the records captured in this `boot` before that; blocking; returns how many.

        `offset` is wall minus monotonic time.  Deadlines move with the capture time.  Records of earlier boots can never
        be dated: they lose their capture time, and their time to live starts again now.
        """
        changed: int = self._committer.call(lambda: self._engine.restamp(boot, offset))
        return changed

    def depth(self) -> Mapping[tuple[Service, Urgency], tuple[int, int]]:
        """Unsettled records (handed over ones too) and their bytes, by service and urgency."""
        totals = self._engine.totals
        return {
            (service, urgency): tuple(  # type: ignore[misc]
                counts[index * 8 + urgency] + counts[index * 8 + HANDED + urgency]
                for counts in (totals.records, totals.sizes)
            )
            for index, service in enumerate(SERVICES)
            for urgency in Urgency
        }

    def counters(self) -> Mapping[str, int]:
        """How many records were ever `enqueued`, `delivered`, `expired`, `dropped`, `replaced`."""
        return dict(self._engine.totals.counters)

    def on_settled(self, callback: OnSettled) -> Callable[[], None]:
        """Have `callback(service, numbers, state)` called after each commit that settled records, in the committing
        thread; returns what undoes this."""
        self._engine.listeners.append(callback)

        def undo() -> None:
            if callback in self._engine.listeners:
                self._engine.listeners.remove(callback)

        return undo

    # --- queues -------------------------------------------------------------------------------------------------------

    def queue_id(self, service: Service, name: str) -> tuple[int, bool]:
        """The id of a queue (from 8; reserved ones below) and whether the service knows it; blocking for a new name."""
        index = INDEX[service]
        if name in RESERVED_QUEUES:
            return RESERVED_QUEUES[name], True
        key = self._engine.outbox.known_queue(index, name)
        if key is None or key not in self._engine.outbox.queues:
            key = self._committer.call(lambda: self._engine.outbox.queue_key(index, name))
        return key & (1 << QUEUE_BITS) - 1, self._engine.outbox.queues[key][1]

    def queue_name(self, service: Service, queue_id: int) -> str | None:
        """What that queue is called; `None` for a reserved one, and where there is none."""
        if queue_id >> QUEUE_BITS:
            return None
        return self._engine.outbox.queues.get(INDEX[service] << QUEUE_BITS | queue_id, (None, True))[0]

    def confirm_queue(self, service: Service, queue_id: int) -> None:
        """The service knows what this queue is called."""
        key = INDEX[service] << QUEUE_BITS | queue_id
        name, known = self._engine.outbox.queues.get(key, ("", True))
        if not known:
            self._engine.outbox.queues[key] = (name, True)
            with self._engine.soft_lock:
                self._engine.soft.confirmed.add(key)
            self._committer.wake()

    def _record(self, row: tuple[Any, ...]) -> Record:
        outbox = self._engine.outbox
        marks = self._engine.marks(row[0])
        return reading.record(row, outbox.queues, outbox.boots, marks)

    # --- the inbox and named objects ----------------------------------------------------------------------------------

    def receive(self, service: Service, records: Sequence[Inbound], received: NumberSet) -> None:
        """Keep what arrived together with all numbers received so far, in one transaction; blocking.

        Records whose numbers were received before are left out.  Raises `StoreFull` where the inbox is full (the same
        limits as the outbox's, counted apart; part of it is kept for the other service and for reserved queues),
        `DiskFull`; nothing was kept then.
        """
        numbers = received.copy()
        self._committer.call(lambda: self._engine.receive(service, records, numbers))
        self._lending.arrived(service, [record.number for record in records])

    def inbox_has_room(self, service: Service, share: int, size: int) -> bool:
        """Whether the inbox has room for an application's records of one part in `share` of each of its limits, and for one
        of `size` bytes; an empty one has."""
        return self._engine.inbox.has_room(service, share, size)

    def received(self, service: Service) -> NumberSet:
        """The numbers received, as committed; a copy."""
        return self._engine.inbox.received(service)

    def lend(self, service: Service, queue: str | None) -> Inbound | None:
        """The oldest inbound record (of lowest number) of `queue`, or of any but the reserved ones; `None` for none.

        It stays in the file, and is not returned again in this run unless it is given back; `acknowledge` removes it.  What
        was not acknowledged is there again after a restart: at least once.
        """
        return self._lending.lend(service, queue)

    def acknowledge(self, service: Service, number: int) -> None:
        """A record that was lent is done with: removed with the next commit, as nobody waits for it.

        A crash before that commit brings it back.  Numbers that are not lent are ignored.
        """
        if self._lending.acknowledge(service, number):
            self._committer.wake()

    def give_back(self, service: Service, number: int) -> bool:
        """A record that was lent is to be lent again, in its old place; returns whether it was lent."""
        return self._lending.give_back(service, number)

    def take(self, service: Service, queue: str | None) -> Inbound | None:
        """`lend` and `acknowledge` in one: for what is dealt with at once."""
        found = self._lending.lend(service, queue)
        if found is not None:
            self.acknowledge(service, found.number)
        return found

    def put_object(self, service: Service, name: str, value: bytes) -> None:
        """Keep the encoded value of a named object, soon."""
        with self._engine.soft_lock:
            self._engine.soft.objects[service, name] = bytes(value)
        self._committer.wake()

    def get_object(self, service: Service, name: str) -> bytes | None:
        """The value last put, or `None`."""
        on_its_way = self._engine.object_on_its_way(service, name)
        if on_its_way is not None:
            return on_its_way
        return self._engine.read(lambda source: reading.object_value(source, service, name))

    def objects(self, service: Service) -> list[str]:
        """The names of the objects that have a value, sorted."""
        waiting = {name for values in self._engine.objects_on_their_way() for one, name in values if one is service}
        return sorted(waiting | self._engine.read(lambda source: reading.object_names(source, service)))

    # --- memory -------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or `None`; never touches the disk."""
        return self._engine.remembered(key)

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` soon; returns at once.

        Keys `security/.../sequence` hold counters (8 bytes, big-endian) which never restart lower, even where the file is
        lost: see docs/decisions/0002-store.md.
        """
        with self._engine.soft_lock:
            self._engine.soft.puts[key] = bytes(value)
        self._committer.wake()

    def put_now(self, key: str, value: bytes) -> None:
        """Keep `value`; blocking: it is on disk when this returns.  Raises `DiskFull`; the old value stays then."""
        if self._engine.is_kept(key, value):
            return
        kept = bytes(value)
        self._committer.call(lambda: self._engine.put_now(key, kept))
