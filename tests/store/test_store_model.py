"""The store against a model: dictionaries, whatever is done in whatever order, with restarts and full disks between."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rataccess.clock import SystemClock
from rataccess.config.model import StoreSettings, WhenFull
from rataccess.errors import DiskFull, StoreFull
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency, encode
from rataccess.store import Inbound, NewRecord, Store
from rataccess.store.database import Database
from rataccess.store.totals import COUNTED

services, urgencies = st.sampled_from(Service), st.sampled_from(Urgency)
some_numbers = st.lists(st.integers(0, 25), max_size=6)
MAX_RECORDS = 12
MEMORY_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""No power fails here: a disk that need not sync makes ten times as many tries."""


class Entry:
    """A record as the model knows it."""

    def __init__(self, new: NewRecord) -> None:
        self.new = new
        self.attempts = 0
        self.resend_at: float | None = None


class StoreModel(RuleBasedStateMachine):
    """Every operation is done to both; every invariant compares what can be seen."""

    threaded = False

    @initialize(when_full=st.sampled_from(WhenFull))
    def start(self, when_full: WhenFull) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY_DISK)
        self.settings = StoreSettings(max_records=MAX_RECORDS, when_full=when_full)
        self.box: dict[tuple[Service, int], Entry] = {}
        self.last = dict.fromkeys(Service, 0)
        self.counted = dict.fromkeys(("enqueued", *COUNTED.values()), 0)
        self.inbox: dict[Service, dict[int, str]] = {service: {} for service in Service}
        self.lent: dict[tuple[Service, int], str] = {}
        self.received = {service: NumberSet() for service in Service}
        self.memory: dict[str, bytes] = {}
        self.objects: dict[tuple[Service, str], bytes] = {}
        self.queues: dict[tuple[Service, str], int] = {}
        self.expected: list[tuple[Service, int, ReceiptState]] = []
        self.seen: list[tuple[Service, int, ReceiptState]] = []
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name) / "store.sqlite"
        self.store = Store.open(path, self.settings, SystemClock(), threaded=self.threaded)
        self.store.on_settled(lambda service, gone, state: self.seen.extend((service, one, state) for one in gone))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            assert self.store.trouble is None
            self.folder.cleanup()

    def settled(self) -> None:
        """Wait for the committing thread."""
        for _ in range(2):
            self.store.receive(Service.SOLUTION, [], self.received[Service.SOLUTION])

    def remove(self, service: Service, number: int, state: ReceiptState) -> None:
        if self.box.pop((service, number), None) is not None:
            self.counted[COUNTED[state]] += 1
            self.expected.append((service, number, state))

    # --- what the model says of room (12 records: no shares) -------------------------------------------------------------

    def victim(self, new: NewRecord, gone: set[tuple[Service, int]]) -> tuple[Service, int] | None:
        """Whom `new` drops: of the service that has more, the least urgent, the oldest."""
        if self.settings.when_full is WhenFull.REFUSE:
            return None
        left = {key: entry for key, entry in self.box.items() if key not in gone}
        used = {service: sum(key[0] is service for key in left) for service in Service}
        other = next(service for service in Service if service is not new.service)
        order = [other, new.service] if used[other] > used[new.service] else [new.service, other]
        for service in order:
            found = [
                (entry.new.urgency, key[1])
                for key, entry in left.items()
                if key[0] is service and entry.resend_at is None and entry.new.urgency <= new.urgency
            ]
            if found:
                return service, min(found)[1]
        return None

    # --- operations ------------------------------------------------------------------------------------------------------

    @rule(
        service=services,
        urgency=urgencies,
        size=st.integers(0, 50),
        queue=st.sampled_from(["a", "b", "$objects"]),
        replaces=st.sampled_from([None, None, "x"]),
        expires_at=st.sampled_from([None, 5.0, 10.0]),
    )
    def enqueue(
        self, service: Service, urgency: Urgency, size: int, queue: str, replaces: str | None, expires_at: float | None
    ) -> None:
        new = NewRecord(service, queue, encode(bytes(size)), urgency, replaces=replaces, expires_at=expires_at)
        replaced = {
            key
            for key, entry in self.box.items()
            if replaces and key[0] is service and entry.new.replaces == replaces
            if entry.attempts == 0 and entry.resend_at is None
        }
        victim = None
        if len(self.box) - len(replaced) >= MAX_RECORDS:
            victim = self.victim(new, replaced)
            if victim is None:
                with pytest.raises(StoreFull):
                    self.store.enqueue(new)
                return
        number = self.store.enqueue(new).number
        assert number == self.last[service] + 1
        self.last[service] = number
        self.counted["enqueued"] += 1
        if victim is not None:
            self.remove(*victim, ReceiptState.DROPPED)
        for key in replaced:
            self.remove(*key, ReceiptState.REPLACED)
        self.box[service, number] = Entry(new)
        if queue != "$objects":
            self.queues.setdefault((service, queue), 8 + sum(key[0] is service for key in self.queues))

    @rule(service=services, chosen=some_numbers, state=st.sampled_from([one for one in ReceiptState if one.final]))
    def settle(self, service: Service, chosen: list[int], state: ReceiptState) -> None:
        self.store.settle(service, chosen, state)
        for number in sorted(set(chosen)):
            self.remove(service, number, state)

    @rule(service=services, chosen=some_numbers, resend_at=st.sampled_from([1.0, 2.0]))
    def hand_over(self, service: Service, chosen: list[int], resend_at: float) -> None:
        self.store.hand_over(service, chosen, resend_at)
        for number in chosen:
            if (service, number) in self.box:
                self.box[service, number].resend_at = resend_at

    @rule(service=services, chosen=some_numbers)
    def mark_sent(self, service: Service, chosen: list[int]) -> None:
        self.store.mark_sent(service, chosen)
        for number in chosen:
            if (service, number) in self.box:
                self.box[service, number].attempts += 1

    @rule(now=st.sampled_from([4.0, 5.0, 10.0]))
    def expire(self, now: float) -> None:
        self.settled()
        self.store.expire(now)
        for (service, number), entry in list(self.box.items()):
            if entry.new.expires_at is not None and entry.new.expires_at <= now:
                self.remove(service, number, ReceiptState.EXPIRED)
        self.settled()

    @rule(service=services, chosen=st.lists(st.integers(1, 30), max_size=4), queue=st.sampled_from("ab"))
    def receive(self, service: Service, chosen: list[int], queue: str) -> None:
        records = [Inbound(number, queue, encode(number), None) for number in chosen]
        fresh = {number for number in chosen if number not in self.received[service]}
        now = self.received[service].copy()
        for number in chosen:
            now.add(number)
        if fresh and sum(map(len, self.inbox.values())) + len(self.lent) + len(fresh) > MAX_RECORDS:
            with pytest.raises(StoreFull):
                self.store.receive(service, records, now)
            return
        self.store.receive(service, records, now)
        self.received[service] = now
        self.inbox[service].update(dict.fromkeys(fresh, queue))

    @rule(service=services, queue=st.sampled_from([None, "a", "b"]))
    def take(self, service: Service, queue: str | None) -> None:
        expected = min((number for number, one in self.inbox[service].items() if queue in (None, one)), default=None)
        record = self.store.take(service, queue)
        assert (record and record.number) == expected
        if expected is not None:
            del self.inbox[service][expected]

    @rule(service=services, queue=st.sampled_from([None, "a", "b"]))
    def lend(self, service: Service, queue: str | None) -> None:
        expected = min((number for number, one in self.inbox[service].items() if queue in (None, one)), default=None)
        record = self.store.lend(service, queue)
        assert (record and record.number) == expected
        if record is not None:
            self.lent[service, record.number] = self.inbox[service].pop(record.number)

    @precondition(lambda self: bool(getattr(self, "lent", None)))
    @rule(data=st.data(), acknowledge=st.booleans())
    def end_lending(self, data: st.DataObject, acknowledge: bool) -> None:
        service, number = data.draw(st.sampled_from(sorted(self.lent)))
        queue = self.lent.pop((service, number))
        if acknowledge:
            self.store.acknowledge(service, number)
        else:
            assert self.store.give_back(service, number)
            self.inbox[service][number] = queue

    @rule(key=st.sampled_from(["k", "security/m/sequence"]), value=st.integers(0, 2**40), now=st.booleans())
    def put(self, key: str, value: int, now: bool) -> None:
        value = max(value, int.from_bytes(self.memory.get(key, b""), "big")) if "/" in key else value
        (self.store.put_now if now else self.store.put)(key, value.to_bytes(8, "big"))
        self.memory[key] = value.to_bytes(8, "big")

    @rule(service=services, name=st.sampled_from("xy"), value=st.binary(max_size=3))
    def put_object(self, service: Service, name: str, value: bytes) -> None:
        self.store.put_object(service, name, encode(value))
        self.objects[service, name] = encode(value)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        assert sorted(self.seen) == sorted(self.expected)
        for (service, number), queue in self.lent.items():
            self.inbox[service][number] = queue
        self.lent.clear()
        self.open()

    @rule(service=services)
    def full_disk(self, service: Service) -> None:
        """Nothing is accepted, nothing is used up."""

        def no_room(_: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "commit", no_room)
            with pytest.raises((DiskFull, StoreFull)):
                self.store.enqueue(NewRecord(service, "never", encode(None), Urgency.ALARM))

    # --- what must always hold -------------------------------------------------------------------------------------------

    @invariant()
    def the_same_can_be_seen(self) -> None:
        if not hasattr(self, "store"):
            return
        for service in Service:
            for urgency in Urgency:
                page = self.store.waiting(service, urgency, 0, 100, 10**6)
                assert {one.number: (one.body, one.queue) for one in page} == {
                    number: (entry.new.body, entry.new.queue)
                    for (whose, number), entry in self.box.items()
                    if whose is service and entry.new.urgency is urgency and entry.resend_at is None
                }
            assert self.store.received(service) == self.received[service]
            assert self.store.last_number(service) == self.last[service]
            for name in "xy":
                assert self.store.get_object(service, name) == self.objects.get((service, name))
        for key in ("k", "security/m/sequence"):
            assert self.store.get(key) == self.memory.get(key)

    @invariant()
    def the_same_is_counted(self) -> None:
        if not hasattr(self, "store") or (self.threaded and len(self.expected) % 3):
            return  # in a thread, let some changes pile up
        self.settled()
        assert self.store.counters() == self.counted
        assert sorted(self.seen) == sorted(self.expected)
        for service in Service:
            waiting = [number for whose, number in self.box if whose is service]
            assert self.store.base(service) == min(waiting, default=self.last[service] + 1)
            due = [one.number for one in self.store.due_for_resend(service, 1.0, 100)]
            assert sorted(due) == sorted(
                number for (whose, number), entry in self.box.items() if whose is service and entry.resend_at == 1.0
            )
            for urgency in Urgency:
                page = self.store.waiting(service, urgency, 0, 100, 10**6)
                assert [one.attempts for one in page] == [self.box[service, one.number].attempts for one in page]
                sizes = [
                    len(entry.new.body)
                    for (whose, _), entry in self.box.items()
                    if whose is service and entry.new.urgency is urgency
                ]
                assert self.store.depth()[service, urgency] == (len(sizes), sum(sizes))
        for (service, name), queue_id in self.queues.items():
            assert self.store.queue_id(service, name)[0] == queue_id


class ThreadedStoreModel(StoreModel):
    """The same with a committing thread."""

    threaded = True


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestThreadedStoreModel = ThreadedStoreModel.TestCase
TestThreadedStoreModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
