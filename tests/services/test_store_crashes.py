"""Both stores, cut off between any two statements: each record counts once, and what was acknowledged is there.

A crash is the end of the process (both stores), or of the server's end of the connection (PostgreSQL), before or after any
statement, BEGIN and COMMIT among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.errors import StoreError
from rataccess.objects import Service, decode
from rataccess.services.store import ServiceStore
from rataccess.template import Integer, Template
from rataccess.wire import CALL_QUEUE, Message, MessageBuilder, WireRecord, encode_block, fragment
from tests.servers.postgres import Postgres
from tests.services.service_world import NOW, FakeDevice, World

PACKED = Template("packed", n=Integer(0, 1000))
SCHEMA, CALL, LARGE = 1, 2, 3
"""Record numbers with a meaning of their own; the others up to `LAST` are plain or packed."""
LAST = 14


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Saboteur:
    """Cuts a store off at its `at`-th statement."""

    strike: Callable[[ServiceStore], None]
    at: int
    after: bool
    seen: int = 0

    @contextmanager
    def at_work(self, store: ServiceStore) -> Iterator[None]:
        """Statements of `store` are counted while the block lasts."""
        database: Any = store.database
        names = ("execute", "many", "insert")
        for name in names:
            setattr(database, name, self._counted(store, getattr(database, name)))
        try:
            yield
        finally:
            for name in names:
                delattr(database, name)

    def _counted(self, store: ServiceStore, statement: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.seen += 1
            mine = self.seen == self.at
            if mine and not self.after:
                self.strike(store)
            result = statement(*arguments)
            if mine and self.after:
                self.strike(store)
            return result

        return counted


def end_process(_: ServiceStore) -> None:
    raise Crash


def ending_connections(postgres: Postgres) -> Callable[[ServiceStore], None]:
    """The server ends its side; the service finds out with its next statement."""

    def end_connection(store: ServiceStore) -> None:
        connection = store.database._connection  # type: ignore[attr-defined]
        if connection is None:
            return  # it has ended already, in the step before
        pid = connection.info.backend_pid
        postgres.sql(f"SELECT pg_terminate_backend({pid}, 10000)")

    return end_connection


@dataclass
class Scene:
    """A device with records to deliver, and a service that is cut off now and then."""

    world: World
    device: FakeDevice = field(init=False)
    open: set[int] = field(default_factory=lambda: set(range(1, LAST + 1)))
    acknowledged: set[int] = field(default_factory=set)
    delivered: list[int | None] = field(default_factory=list)
    """What a receiver has, in its order, with what comes again after a crash."""

    def __post_init__(self) -> None:
        self.device = self.world.add("A1")

    def attempt(self, saboteur: Saboteur | None, work: Callable[[], None]) -> bool:
        """Do `work`, perhaps cut off; whether it was."""
        if saboteur is None:
            work()
            return False
        try:
            with saboteur.at_work(self.world.store):
                work()
        except Crash:
            self.world.restart()
        except StoreError:
            pass
        self.world.clock.passed += 1.5
        return saboteur.seen >= saboteur.at

    # --- the device ----------------------------------------------------------------------------------------------------

    def message(self, numbers: Sequence[int], packed: Sequence[int], part: int | None) -> bytes:
        builder = MessageBuilder(60_000, floor=None, now=self.world.clock.wall())
        if packed:
            records = [self.device.record(number, {"n": number}, "packed") for number in packed]
            values = [{"n": number} for number in packed]
            block = encode_block(records, values, PACKED, floor=None, now=self.world.clock.wall())
            assert block is not None
            assert builder.add_block(block)
        for number in numbers:
            record = self.record(number)
            if number == LARGE and part is not None:
                record = fragment(record, part, 300)
            assert builder.add(record)
        return builder.finish()

    def record(self, number: int) -> WireRecord:
        if number == SCHEMA:
            return self.device.record(number, [PACKED.id, PACKED.definition()], "$schemas")
        if number == CALL:
            return self.device.record(number, ["prices", None, 10**6, True], "$calls")
        if number == LARGE:
            return self.device.record(number, bytes(range(256)) * 3, "large")
        return self.device.record(number, {"n": number}, "packed", named=number % 3 != 0)

    def send(self, bodies: Sequence[bytes]) -> None:
        requests = [self.device.protect(body) for body in bodies]
        for answer, index in self.world.core.process([(data, index) for index, (data, _) in enumerate(requests)]):
            assert isinstance(index, int)
            settled = self.device.read(answer, requests[index][1]).message.acknowledged
            if settled is not None:
                self.acknowledged |= {number for number in self.open if number in settled}
                self.open -= self.acknowledged

    # --- the receiver and the desk -------------------------------------------------------------------------------------

    def forward(self) -> None:
        store = self.world.store
        position, _ = store.cursor("r")
        for record in store.records_after(position, limit=3):
            self.delivered.append(record.number)
            store.move_cursor("r", record.position)

    def answer(self) -> None:
        for call in self.world.store.open_calls():
            if self.world.store.claim_call(call):
                self.world.store.answer_call(call, 200, cbor2.dumps("cheap"))

    def prune(self) -> None:
        self.world.store.prune(NOW * 2, ["r"])

    # --- the end -------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """With a store that is let be, everything arrives; and then the account."""
        for number in sorted(self.open):
            bodies = [self.message([number], [], part) for part in ((0, 300, 600) if number == LARGE else (None,))]
            self.send(bodies)
        assert self.open == set()
        assert self.acknowledged == set(range(1, LAST + 1))
        self.answer()
        while self.world.store.records_after(self.world.store.cursor("r")[0], limit=1):
            self.forward()
        self.account()

    def account(self) -> None:
        store = self.world.store
        rows = store.execute("SELECT number, body FROM records ORDER BY number")
        assert len({number for number, _ in rows}) == len(rows), "doubled"
        for number, body in rows:
            assert body == self.record(number).body
        assert set(self.delivered) == set(range(1, LAST + 1)) - {CALL, SCHEMA}, "each was forwarded"
        assert {number for number, _ in rows} <= set(self.delivered)
        assert store.execute("SELECT count(*) FROM parked") == [(0,)]
        assert store.execute("SELECT count(*) FROM blocks") == [(0,)]
        assert store.execute("SELECT count(*) FROM fragments") == [(0,)]
        kept = sum(len(body) for _, body in rows) + len(cbor2.dumps(PACKED.definition()))
        assert store.execute("SELECT kept FROM devices") == [(kept,)]
        answers = [
            decode(body) for (body,) in store.execute("SELECT body FROM outbound WHERE queue_id = ?", (CALL_QUEUE,))
        ]
        assert answers == [[CALL, 200, "cheap"]], "once"
        assert store.open_calls() == []


def play(scene: Scene, data: st.DataObject, strikes: Sequence[Callable[[ServiceStore], None]]) -> None:
    for _ in range(data.draw(st.integers(1, 12), label="steps")):
        saboteur = None
        if data.draw(st.booleans(), label="crash"):
            strike = data.draw(st.sampled_from(strikes))
            saboteur = Saboteur(
                strike, data.draw(st.integers(1, 30), label="at"), data.draw(st.booleans(), label="after")
            )
        kind = data.draw(st.sampled_from(["send", "send", "send", "forward", "answer", "prune"]))
        if kind != "send":
            scene.attempt(saboteur, getattr(scene, kind))
            continue
        numbers = st.sets(st.integers(1, LAST), max_size=4).map(sorted)
        packed = st.sets(st.integers(LARGE + 1, LAST), max_size=4).map(sorted)
        parts = st.sampled_from([None, 0, 300, 600])
        drawn = [(data.draw(numbers), data.draw(packed), data.draw(parts)) for _ in range(data.draw(st.integers(1, 3)))]
        bodies = [scene.message(*each) for each in drawn]
        scene.attempt(saboteur, lambda bodies=bodies: scene.send(bodies))  # type: ignore[misc]
    scene.finish()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_sqlite_cut_off_anywhere(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder), Service.SOLUTION)
        try:
            play(Scene(world), data, [end_process])
        finally:
            world.kill()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_postgresql_cut_off_anywhere(postgres: Postgres, data: st.DataObject) -> None:
    url = postgres.new_database()
    with TemporaryDirectory() as folder:
        world = World(Path(folder), Service.SOLUTION, store=url)
        try:
            play(Scene(world), data, [end_process, ending_connections(postgres)])
        finally:
            world.kill()
            postgres.drop(url)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_batch_cut_off_at_each_of_its_statements(solution_on_each: World, postgres: Postgres, after: bool) -> None:
    """One batch with everything in it, cut off at its first statement, at its second, and so on to the last."""
    scene = Scene(solution_on_each)
    strikes: list[Callable[[ServiceStore], None]] = [end_process]
    if solution_on_each.store.shared:
        strikes.append(ending_connections(postgres))
    scene.send([scene.message([], [5, 6], None), scene.message([LARGE], [], 0)])
    for strike in strikes:
        at = 0
        while True:
            at += 1
            bodies = [scene.message([SCHEMA, CALL, 4], [7, 8], None), scene.message([LARGE, 9], [], 300)]
            before = set(scene.open)
            scene.open, scene.acknowledged = set(range(1, LAST + 1)), set()
            with suppress(StoreError):
                cut = scene.attempt(Saboteur(strike, at, after), lambda bodies=bodies: scene.send(bodies))  # type: ignore[misc]
            scene.open = before - scene.acknowledged
            held = {number for (number,) in scene.world.store.execute("SELECT number FROM records")}
            held |= {call.number for call in scene.world.store.open_calls()}
            held |= {SCHEMA for _ in scene.world.store.execute("SELECT id FROM schemas")}
            parked = {5, 6, 7, 8}
            assert scene.acknowledged <= held | parked
            if not cut:
                break
        assert at > 10
    scene.open, scene.acknowledged = set(range(1, LAST + 1)), set()
    scene.finish()


def test_a_message_without_anything_costs_few_statements(solution_on_each: World) -> None:
    """What a device costs that only asks: counted, so that it does not grow unseen."""
    world = solution_on_each
    device = world.add("A1")
    world.ask(device)
    counter = Saboteur(end_process, 10**9, False)
    with counter.at_work(world.store):
        world.ask(device, Message())
    assert counter.seen < 25
