"""Exactly once, against a model: duplicates, reordering, loss, byte ranges, expiry, full disks and kills in any order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from rataccess.errors import DiskFull
from rataccess.objects import Service, decode
from rataccess.security import RequestIdentity
from rataccess.services.store import ServiceStore
from rataccess.wire import BASE, Message, WireRecord, fragment
from tests.services.service_world import FakeDevice, World


@dataclass
class Sent:
    """A request under way."""

    device: int
    data: bytes
    identity: RequestIdentity


class OnceMachine(RuleBasedStateMachine):
    """Two devices, one service, and a network that does as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.world = World(Path(self.folder.name), Service.SOLUTION)
        self.devices: list[FakeDevice] = [self.world.add("A1"), self.world.add("B2")]
        self.made: list[dict[int, WireRecord]] = [{}, {}]
        self.open: list[dict[int, WireRecord]] = [{}, {}]
        self.expired: list[set[int]] = [set(), set()]
        self.acknowledged: list[set[int]] = [set(), set()]
        self.network: list[Sent] = []

    # --- the devices ----------------------------------------------------------------------------------------------------

    @rule(device=st.integers(0, 1), size=st.sampled_from([1, 1, 1, 400]), queue=st.sampled_from(["a", "b"]))
    def make(self, device: int, size: int, queue: str) -> None:
        number = len(self.made[device]) + 1
        record = self.devices[device].record(number, [device, number, b"." * size], queue)
        self.made[device][number] = self.open[device][number] = record

    @rule(device=st.integers(0, 1), data=st.data())
    def send(self, device: int, data: st.DataObject) -> None:
        numbers = sorted(self.open[device])
        chosen = data.draw(st.lists(st.sampled_from(numbers), unique=True, max_size=4)) if numbers else []
        records = []
        for number in sorted(chosen):
            record = self.open[device][number]
            if len(record.body) > 300:
                start = data.draw(st.sampled_from([0, 100, 200, 300]))
                record = fragment(record, start, data.draw(st.sampled_from([100, 150])))
            records.append(record)
        control = {BASE: numbers[0] if numbers else len(self.made[device]) + 1} if data.draw(st.booleans()) else {}
        self.launch(device, Message(records=records, control=control))

    def launch(self, device: int, message: Message) -> None:
        self.network.append(Sent(device, *self.devices[device].protect(message)))

    @rule(device=st.integers(0, 1), data=st.data())
    def expire(self, device: int, data: st.DataObject) -> None:
        if self.open[device]:
            number = data.draw(st.sampled_from(sorted(self.open[device])))
            del self.open[device][number]
            self.expired[device].add(number)

    # --- the network ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.network)
    @rule(data=st.data(), answered=st.booleans(), again=st.booleans())
    def deliver(self, data: st.DataObject, answered: bool, again: bool) -> None:
        indices = data.draw(st.lists(st.integers(0, len(self.network) - 1), min_size=1, max_size=4))
        batch = [self.network[index] for index in indices]
        for answer, sent in self.world.core.process([(sent.data, index) for index, sent in enumerate(batch)]):
            assert isinstance(sent, int)
            if answered:
                self.read(batch[sent], answer)
        if not again:
            self.network = [sent for sent in self.network if sent not in batch]

    def read(self, sent: Sent, datagram: bytes) -> None:
        answer = self.devices[sent.device].read(datagram, sent.identity)
        assert answer.code == 0x44
        settled = answer.message.acknowledged
        if settled is not None:
            assert settled.floor <= len(self.made[sent.device])
            self.acknowledged[sent.device] |= {n for n in self.made[sent.device] if n in settled}
            self.open[sent.device] = {n: r for n, r in self.open[sent.device].items() if n not in settled}

    # --- the service ----------------------------------------------------------------------------------------------------

    @rule()
    def kill(self) -> None:
        self.world.restart()

    @rule()
    def forward(self) -> None:
        self.world.forward()

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def deliver_to_a_full_disk(self, data: st.DataObject) -> None:
        sent = data.draw(st.sampled_from(self.network))
        commit = ServiceStore.commit

        def refuse(*_: object) -> None:
            raise DiskFull("no room")

        ServiceStore.commit = refuse  # type: ignore[method-assign, assignment]
        try:
            assert self.world.core.process([(sent.data, "x")]) == []
        finally:
            ServiceStore.commit = commit  # type: ignore[method-assign]
        self.launch(sent.device, Message())
        probe = self.network.pop()
        [(answer, _)] = self.world.core.process([(probe.data, "x")])
        self.read(probe, answer)

    # --- what must hold -------------------------------------------------------------------------------------------------

    def stored(self) -> list[tuple[int, int, str, bytes]]:
        columns = "d.kid, r.number, r.queue, r.body FROM records AS r JOIN devices AS d ON d.id = r.device"
        rows = self.world.store.connection.execute(f"SELECT {columns}").fetchall()
        return [(kid[0], *rest) for kid, *rest in rows]

    def teardown(self) -> None:
        try:
            self.check()
        finally:
            self.world.kill()
            self.folder.cleanup()

    def check(self) -> None:
        for device, numbers in enumerate(self.acknowledged):
            kept = {number for each, number, _, _ in self.stored() if each == device}
            assert numbers - self.expired[device] <= kept, "acknowledged, and gone"
        for device in (0, 1):  # with a link that works for long enough everything arrives
            for record in list(self.open[device].values()):
                self.launch(device, Message(records=[record]))
                sent = self.network.pop()
                [(answer, _)] = self.world.core.process([(sent.data, "x")])
                self.read(sent, answer)
            assert self.open[device] == {}
        self.check_stored()
        self.check_lines()

    def check_stored(self) -> None:
        stored = self.stored()
        assert len({row[:2] for row in stored}) == len(stored), "doubled"
        for device, number, queue, body in stored:
            assert (body, queue) == (self.made[device][number].body, self.made[device][number].queue)
        for device in (0, 1):
            kept = {number for each, number, _, _ in stored if each == device}
            assert set(self.made[device]) - self.expired[device] <= kept, "lost"

    def check_lines(self) -> None:
        self.world.forward()
        text = (Path(self.folder.name) / "solution.ndjson").read_text()
        lines = [(int(line["device"], 16), line["record"]) for line in map(json.loads, text.splitlines())]
        assert sorted(lines) == sorted(row[:2] for row in self.stored())
        assert all(decode(row[3])[:2] == [row[0], row[1]] for row in self.stored())  # type: ignore[index]


OnceMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOnce = OnceMachine.TestCase
