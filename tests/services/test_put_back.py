"""A service whose store is put back from an old copy at any moment, while the device goes on: no record is filed wrongly.

Rules of this file: the service is real, its store a file that is copied and put back.  The device is what decides how record
numbers are told (`Footing`, the wire's builder, a real context), and remembers what it gave which number to, and what it was
told it may forget.  The network loses, doubles, delays and reorders, in both directions, over UDP, LoRaWAN and a satellite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from rataccess.errors import DiskFull, ProtectionFailed
from rataccess.exchange.footing import WINDOW, Footing
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, encode
from rataccess.security import RequestIdentity, SecureContext, peek, read_compact
from rataccess.services import admin
from rataccess.services import session as session_module
from rataccess.services.airway import Airway
from rataccess.services.store import ServiceStore
from rataccess.wire import BASE, ERA, TIME, MessageBuilder, Reach, WireRecord, decode_message
from tests.compact.test_service_airways import name
from tests.services.service_world import World

LORA = Airway("lora", "deveui", "0102030405060708", link="lorawan", room=51)
SAT = Airway("sat", "imei", "300234010753370", link="sbd", room=270, unasked=True, dear=True)
WAYS: tuple[Hashable, ...] = ("udp", LORA, SAT)
LEAP = 70_000
"""Records that expire before they were sent, so that numbers come round quickly."""


@dataclass
class Sent:
    """A packet under way to the service."""

    way: Hashable
    data: bytes
    identity: RequestIdentity
    named: bool


class Sealing:
    """A service's cipher that takes no nonce twice, whatever is put back."""

    used: ClassVar[set[bytes]] = set()

    def __init__(self, cipher: Any) -> None:
        self.cipher = cipher

    def encrypt(self, nonce: bytes, plaintext: bytes, data: bytes) -> bytes:
        assert nonce not in self.used, f"nonce {nonce.hex()} is used twice"
        self.used.add(nonce)
        sealed: bytes = self.cipher.encrypt(nonce, plaintext, data)
        return sealed


class Watched(SecureContext):
    """A service's context."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sender = Sealing(self._sender)  # type: ignore[assignment]


class PutBack(RuleBasedStateMachine):
    """One device, one service, and an administrator with copies of its store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        Sealing.used.clear()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(session_module, "SecureContext", Watched)
        self.world = World(Path(self.folder.name), Service.SOLUTION, answer_dear_after=600.0)
        self.device = self.world.add("A1")
        name(self.world, self.device, deveui=LORA.name, imei=SAT.name)
        self.memory: Any = self.device.context._numbers._memory
        self.made: dict[int, WireRecord] = {}
        self.open: dict[int, WireRecord] = {}
        self.told = NumberSet()
        self.last = self.highest = 0
        self.footing = Footing()
        self.base = False
        self.network: list[Sent] = []
        self.awaited: dict[int, Sent] = {}
        self.mailbox: list[bytes] = []
        self.copies: list[Path] = []
        self.commands = 0
        self.expire(LEAP)  # or numbers below 1 would tell an old floor
        self.copy()

    # --- the device ----------------------------------------------------------------------------------------------------

    def make(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
            record = self.device.record(self.last, self.last, named=False, at=self.device.clock.wall())
            self.made[self.last] = self.open[self.last] = record

    @rule(count=st.sampled_from([1, 1, 3, 40, 400]))
    def capture(self, count: int) -> None:
        self.make(count)

    @rule(many=st.sampled_from([120, 2500, LEAP]))
    def expire(self, many: int) -> None:
        """That many records are given numbers, and end unsent."""
        self.last += many
        self.base = True

    def lowest(self, way: Hashable, *, named: bool) -> int | None:
        """As the composer has it."""
        context = self.device.context
        floor = self.footing.lowest(context.upcoming, named=named)
        if floor is None or self.highest - floor >= 0x7FFF or (way != "udp" and not context.within_reach):
            return None
        return floor

    @rule(
        way=st.sampled_from(WAYS), most=st.sampled_from([0, 1, 1, 1, 30, 500]), oldest=st.booleans(), asks=st.booleans()
    )
    def send(self, way: Hashable, most: int, oldest: bool, asks: bool) -> None:
        control: dict[int, object] = {}
        named = self.footing.naming and self.footing.era is not None
        if named:
            control[ERA] = self.footing.era
        if self.base:
            control[BASE], self.base = min(self.open, default=self.last + 1), False
        if asks and not most:
            control[TIME] = None
        numbers = sorted(self.open)
        floor, now = self.lowest(way, named=named), self.device.clock.wall()
        reach = None if way == "udp" else Reach(floor, self.highest, now)
        builder = MessageBuilder(60_000, floor=floor, now=now, control=control, dense=reach)
        for number in numbers[:most] if oldest else numbers[-most:] if most else []:
            if not builder.add(self.open[number]):
                break
            self.highest = max(self.highest, number)
        if way == "udp":
            token = (len(self.network) % 65536).to_bytes(2, "big")
            data, identity = self.device.context.protect_request(builder.finish(), token=token, message_id=1)
        else:
            data, identity = self.device.context.protect_compact(builder.finish(), Service.SOLUTION)
        self.footing.sent(identity.sequence_number)
        sent = Sent(way, data, identity, named)
        self.network.append(sent)
        self.awaited[identity.sequence_number] = sent

    @rule()
    def device_starts_again(self) -> None:
        self.device.context = SecureContext(
            sender_id=self.device.kid,
            recipient_id=b"",
            secret=self.device.secret,
            memory=self.memory,
            name="A1",
            replay_state=self.device.context.replay_state(),
            least=self.device.context._numbers.reserved + WINDOW,
        )
        self.footing, self.base, self.highest, self.awaited = Footing(), True, self.last, {}

    # --- the network ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.network)
    @rule(data=st.data(), answered=st.booleans(), again=st.booleans(), seconds=st.sampled_from([5.0, 60.0, 900.0]))
    def deliver(self, data: st.DataObject, answered: bool, again: bool, seconds: float) -> None:
        """Nearly always the latest; what is left here may come days later."""
        index = data.draw(st.integers(-min(3, len(self.network)), -1) | st.integers(0, len(self.network) - 1))
        self.world.clock.passed += seconds
        sent = self.network[index]
        answers = [answer for answer, _ in self.world.core.process([(sent.data, sent.way)])]
        if answered and sent.way is not SAT:
            for answer in answers:
                self.read(answer)
        else:
            self.mailbox += answers
        if not again:
            self.network.remove(sent)

    @rule(
        count=st.sampled_from([1, 3, 40]),
        leap=st.sampled_from([0, 20, 2500, LEAP]),
        way=st.sampled_from(WAYS),
        answered=st.sampled_from([True, True, False]),
    )
    def a_day(self, count: int, leap: int, way: Hashable, answered: bool) -> None:
        """What a device does all day; in the morning some records expire."""
        for turn in range(count):
            if leap and turn == count // 8:
                self.expire(leap)
            self.make(1)
            self.send(way, 1, oldest=False, asks=False)
            self.world.clock.passed += 60.0
            for answer, _ in self.world.core.process([(self.network[-1].data, way)]):
                if answered:
                    self.read(answer)
                else:
                    self.mailbox.append(answer)
        del self.mailbox[:-40]
        del self.network[:-40]

    @precondition(lambda self: self.mailbox)
    @rule(data=st.data(), again=st.booleans())
    def hear(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.mailbox) - 1))
        self.read(self.mailbox[index])
        if not again:
            del self.mailbox[index]

    @rule()
    def push(self) -> None:
        admin.enqueue_inbound(self.world.store_path, "A1", "commands", self.commands)
        self.commands += 1
        self.world.clock.passed += 5.0
        self.mailbox += [data for data, _ in self.world.core.tick()]

    def read(self, datagram: bytes) -> None:
        for find in (self.read_usual, self.read_compact):
            try:
                found = find(datagram)
            except ProtectionFailed:
                continue
            if found is not None:
                self.apply(*found)
                return

    def read_usual(self, datagram: bytes) -> tuple[int | None, bytes] | None:
        header = peek(datagram)
        if header.kind == "request":
            return None, self.device.context.unprotect_request(datagram).body
        for number, sent in list(self.awaited.items()):
            if sent.identity.token == header.token and sent.way == "udp":
                try:
                    body = self.device.context.unprotect_response(datagram, sent.identity).body
                except ProtectionFailed:
                    continue
                del self.awaited[number]
                return number, body
        return None

    def read_compact(self, datagram: bytes) -> tuple[int | None, bytes] | None:
        header = read_compact(datagram)
        if not header.response:
            return None, self.device.context.unprotect_compact(datagram).body
        for number, sent in list(self.awaited.items()):
            if sent.way != "udp" and number & 0xFFF == header.low:
                try:
                    body = self.device.context.unprotect_compact_response(datagram, sent.identity).body
                except ProtectionFailed:
                    continue
                del self.awaited[number]
                return number, body
        return None

    def apply(self, answers: int | None, body: bytes) -> None:
        message = decode_message(body, floor=0, now=self.device.clock.wall())
        if message.acknowledged is None:
            return
        era = message.control.get(ERA)
        if self.footing.told(message.acknowledged.floor, answers, era, self.device.context.upcoming):
            self.base = True
        self.told.update(message.acknowledged)
        self.open = {number: record for number, record in self.open.items() if number not in message.acknowledged}

    # --- the administrator ---------------------------------------------------------------------------------------------

    @rule()
    def copy(self) -> None:
        self.copies.append(Path(self.folder.name) / f"copy{len(self.copies)}")
        with sqlite3.connect(self.world.store_path) as source, sqlite3.connect(self.copies[-1]) as target:
            source.backup(target)
        source.close()
        target.close()

    @rule(data=st.data())
    def put_back_any(self, data: st.DataObject) -> None:
        self.put_back(data.draw(st.sampled_from(self.copies[-3:]) | st.sampled_from(self.copies)))

    def put_back(self, chosen: Path) -> None:
        self.world.kill()
        for suffix in ("-wal", "-shm"):
            self.world.store_path.with_name(self.world.store_path.name + suffix).unlink(missing_ok=True)
        self.world.store_path.write_bytes(chosen.read_bytes())
        self.world.clock.passed += 30.0
        self.world.start()

    @rule()
    def start_again(self) -> None:
        self.world.clock.passed += 10.0
        self.world.restart()

    @precondition(lambda self: self.network)
    @rule()
    def deliver_to_a_full_disk(self) -> None:
        def refuse(*_: object) -> None:
            raise DiskFull("no room")

        commit, ServiceStore.commit = ServiceStore.commit, refuse  # type: ignore[method-assign, assignment]
        try:
            assert self.world.core.process([(self.network[-1].data, self.network[-1].way)]) == []
        finally:
            ServiceStore.commit = commit  # type: ignore[method-assign]

    # --- what must hold ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Each record that is filed is one of the device's, unaltered, under its number, once."""
        rows = self.world.store.execute("SELECT number, urgency, captured_at, body FROM records")
        rows += self.world.store.execute("SELECT number, urgency, captured_at, body FROM parked")
        assert len({row[0] for row in rows}) == len(rows), "doubled"
        for number, urgency, captured_at, body in rows:
            assert number in self.made, f"{number} was never sent"
            assert body == encode(number) == self.made[number].body
            assert urgency == Urgency.ROUTINE
            assert captured_at is not None
            assert abs(captured_at - (self.made[number].captured_at or 0.0)) < 0.02

    def teardown(self) -> None:
        try:
            self.check()
            for _ in range(60):  # with a link that works for long enough everything arrives
                if not self.open:
                    break
                self.send("udp", 500, oldest=True, asks=False)
                self.world.clock.passed += 1.0
                for answer, _ in self.world.core.process([(self.network[-1].data, "udp")]):
                    self.read(answer)
            assert not self.open, "never acknowledged"
            self.check()
            rows = self.world.store.execute("SELECT number FROM records UNION SELECT number FROM parked")
            lost = self.made.keys() - {row[0] for row in rows}
            assert all(number in self.told for number in lost)
        finally:
            self.patch.undo()
            self.world.kill()
            self.folder.cleanup()


PutBack.TestCase.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPutBack = PutBack.TestCase


# --- what a wrong cure falls for, one by one ---------------------------------------------------------------------------


@pytest.fixture
def scene() -> Iterator[PutBack]:
    made = PutBack()
    made.a_day(3, 0, LORA, True)
    made.a_day(40, 0, LORA, True)
    yield made
    made.teardown()


def numbers(scene: PutBack) -> int:
    """The highest that is filed, of those that were sent."""
    scene.check()
    [[highest]] = scene.world.store.execute("SELECT max(number) FROM parked")
    return int(highest)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_short_number_is_not_read_against_the_floor_of_an_old_copy(scene: PutBack, way: Hashable) -> None:
    scene.copy()
    scene.a_day(40, LEAP if way == "udp" else 2500, way, True)
    before = numbers(scene)
    scene.put_back(scene.copies[-1])
    scene.a_day(1, 0, way, True)
    assert numbers(scene) < before
    assert scene.world.core.counters["messages whose record numbers could not be read"] == 1
    scene.a_day(1, 0, way, True)
    assert numbers(scene) == scene.last


def test_nor_against_that_of_a_copy_of_a_moment_ago(scene: PutBack) -> None:
    """The sequence number tells nothing: it is the one after the last that the copy has seen, and yet much was told."""
    scene.copy()
    scene.make(3000)
    while scene.open:
        scene.send("udp", 3000, oldest=True, asks=False)
        for answer, _ in scene.world.core.process([(scene.network[-1].data, "udp")]):
            scene.read(answer)
    scene.put_back(scene.copies[-1])
    scene.a_day(14, 0, LORA, False)
    assert numbers(scene) == scene.last, "read, for the device counts from what it was told before"
    scene.a_day(5, 0, LORA, False)


def test_what_is_known_of_a_device_outlives_a_start_and_doubt_does_too(scene: PutBack) -> None:
    scene.start_again()
    scene.a_day(1, 0, LORA, True)
    assert numbers(scene) == scene.last, "nothing is dropped because a service was started again"
    scene.copy()
    scene.a_day(40, 2500, LORA, True)
    scene.put_back(scene.copies[-1])
    scene.a_day(1, 0, LORA, False)
    scene.start_again()
    scene.a_day(1, 0, LORA, False)
    assert scene.world.core.counters["messages whose record numbers could not be read"] == 2


def test_an_answer_of_before_that_comes_after_changes_nothing_to_count_from(scene: PutBack) -> None:
    scene.copy()
    scene.a_day(40, 2500, LORA, True)
    scene.a_day(1, 0, LORA, False)
    late = scene.mailbox.pop()
    scene.put_back(scene.copies[-1])
    scene.a_day(1, 0, LORA, True)
    floor = scene.footing.floor
    scene.read(late)
    assert scene.footing.floor == floor
    scene.a_day(20, 0, LORA, True)


def test_a_request_of_the_service_that_waited_in_a_mailbox_changes_nothing_either(scene: PutBack) -> None:
    scene.a_day(1, 0, SAT, True)
    scene.copy()
    scene.a_day(20, 2500, SAT, True)
    scene.mailbox.clear()
    scene.world.clock.passed += 700.0
    scene.push()
    assert scene.mailbox, "an acknowledgement that goes alone"
    late = scene.mailbox.pop()
    scene.put_back(scene.copies[-1])
    scene.a_day(1, 0, LORA, True)
    floor = scene.footing.floor
    scene.read(late)
    assert scene.footing.floor == floor
    scene.a_day(20, 0, LORA, True)


def test_what_is_said_again_after_an_old_copy_came_back_takes_no_nonce_twice(scene: PutBack) -> None:
    """The cipher of the service refuses one that it has seen."""
    scene.copy()
    scene.start_again()
    scene.a_day(3, 0, LORA, True)
    scene.a_day(3, 0, "udp", True)
    scene.push()
    heard = scene.network[-6:]
    scene.put_back(scene.copies[-1])
    for sent in heard:
        assert scene.world.core.process([(sent.data, sent.way)]), "new to this store, and answered"
    scene.push()


@pytest.mark.parametrize("way", ["udp", LORA], ids=str)
def test_a_device_that_lost_its_memory_is_told_the_era_under_a_number_of_the_services_own(
    scene: PutBack, way: Hashable
) -> None:
    scene.device.context.lose_window()
    scene.device_starts_again()
    scene.push()
    scene.footing.ask()
    scene.a_day(1, 0, way, True)
    assert not scene.device.context.deaf
    assert scene.footing.era
    scene.a_day(1, 0, way, True)
    assert not scene.footing.naming


def test_a_datagram_that_was_delayed_by_many_thousand_records_is_not_read_as_a_later_one(scene: PutBack) -> None:
    """No copy was put back: a modem has kept it while another link went on."""
    scene.make(1)
    scene.send("udp", 1, oldest=False, asks=False)
    late = scene.network.pop()
    scene.open.popitem()
    scene.expire(40_000)
    scene.a_day(3, 0, "udp", True)
    assert scene.world.core.process([(late.data, "udp")])
    scene.check()
