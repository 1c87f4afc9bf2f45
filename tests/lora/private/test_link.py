"""The link protocol without a radio: whatever is lost, doubled or late, a message is delivered once and ends once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.lorawan.airtime import Modulation
from rataccess_drivers.lora.private import hub as hubs
from rataccess_drivers.lora.private.frame import Frame, Kind, decode, encode
from rataccess_drivers.lora.private.hub import EXPIRES, KEPT, ROUNDS, Hub
from rataccess_drivers.lora.private.link import (
    AWAKE,
    HISTORY,
    MOST_LOOKS,
    Accepted,
    Delivered,
    Endpoint,
    Event,
    Listen,
    NotSent,
    Send,
    Sleep,
    Unanswered,
)

NET, SF7 = 9, Modulation(7)


def node(address: int = 1, *, seed: int = 1, always: bool = True, attempts: int = 4) -> Endpoint:
    return Endpoint(
        NET, SF7, from_hub=False, address=address, always=always, attempts=attempts, chance=random.Random(seed)
    )


def hub(seed: int = 2, attempts: int = 4) -> Hub:
    return Hub(NET, SF7, attempts=attempts, chance=random.Random(seed))


@dataclass
class Air:
    """Carries frames between ends, one at a time, as `fates` say."""

    ends: list[Endpoint]
    fates: list[str] = field(default_factory=list)
    now: float = 0.0
    events: dict[int, list[Event]] = field(default_factory=dict)
    late: list[tuple[int, bytes]] = field(default_factory=list)
    sent: int = 0

    def step(self) -> float | None:
        """Let everybody act once; when there is more to do, `None` for never."""
        due: list[float] = []
        for number, end in enumerate(self.ends):
            action = end.next(self.now)
            if isinstance(action, Send):
                self._carry(number, action.data)
                due.append(self.now)
            elif isinstance(action, Listen) and action.until is not None:
                due.append(action.until)
            if events := end.take_events():
                self.events.setdefault(number, []).extend(events)
                due.append(self.now)
        return min(due, default=None)

    def run(self, seconds: float) -> None:
        """For so long, skipping what is idle."""
        end = self.now + seconds
        self.events.update({number: self.events.get(number, []) for number in range(len(self.ends))})
        while self.now < end:
            self.now = min(end, max(self.now, self.step() or end))

    def _carry(self, sender: int, data: bytes) -> None:
        self.sent += 1
        self.now += SF7.time_on_air(len(data))
        self.ends[sender].sent(self.now)
        fate = self.fates.pop() if self.fates else "pass"
        times = {"pass": 1, "lose": 0, "twice": 2, "late": 0, "again": 1}[fate]
        for _ in range(times):
            self._deliver(sender, data)
        for each in self.late:
            self._deliver(*each)
        self.late = [(sender, data)] if fate in ("late", "again") else []

    def _deliver(self, sender: int, data: bytes) -> None:
        for number, end in enumerate(self.ends):
            if number != sender:
                end.heard(data, self.now)


FATES = st.lists(st.sampled_from(["pass", "pass", "lose", "lose", "twice", "late", "again"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(FATES, st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
def test_each_message_is_delivered_once_and_ends_once(fates: list[str], messages: list[bytes]) -> None:
    sender, receiver = node(), hub()
    air = Air([sender, receiver], list(fates))
    accepted, ends = [], Counter[int]()
    for data in messages:
        ticket, _ = sender.submit(data, air.now)
        air.run(120)
        assert sender.idle
        for event in air.events[0]:
            assert isinstance(event, Accepted | Unanswered)
            ends[event.ticket] += 1
            if isinstance(event, Accepted) and event.ticket == ticket:
                accepted.append(data)
        air.events[0].clear()
    delivered = [event.data for event in air.events[1] if isinstance(event, Delivered)]
    assert set(ends.values()) == {1}
    assert len(ends) == len(messages)
    assert len(delivered) == len(set(delivered))
    assert set(accepted) <= set(delivered) <= set(messages)
    if not fates:
        assert delivered == messages


@settings(max_examples=60, deadline=None)
@given(FATES, st.lists(st.tuples(st.integers(1, 2), st.binary(min_size=1, max_size=6)), max_size=6, unique=True))
def test_a_hub_serves_many_nodes(fates: list[str], messages: list[tuple[int, bytes]]) -> None:
    hubbed, nodes = hub(), [node(1), node(2, seed=3)]
    air = Air([hubbed, *nodes])
    for each in nodes:
        each.submit(None, air.now)
        air.run(5)
    air.fates = list(fates)
    for address, data in messages:
        hubbed.post(address, data, air.now)
    air.run(200)
    for each in nodes:  # a node that did not answer is sent to when it is heard again
        if each.idle:
            each.submit(None, air.now)
        air.run(100)
    for number in (1, 2):
        wanted = [data for address, data in messages if address == number]
        delivered = [event.data for event in air.events[number] if isinstance(event, Delivered)]
        assert len(delivered) == len(set(delivered))
        assert set(delivered) == set(wanted)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=20), st.integers(0, 3))
def test_any_bytes_change_nothing(garbage: list[bytes], heads: int) -> None:
    end = [node(), hub(), node(always=False), node(5)][heads]
    for data in garbage:
        end.heard(data, 0.0)
    assert not end.take_events()
    assert not isinstance(end.next(0.0), Send)
    assert sum(end.counters.values()) == len(garbage)


def test_a_late_acknowledgement_of_another_message_is_not_believed() -> None:
    sender = node()
    sender.submit(b"first", 0.0)
    sender.next(0.0)
    sender.sent(0.1)
    frame = Frame(Kind.ACK, NET, 1, sender._peers[1].sequence, True, False, b"\0\0")
    sender.heard(encode(frame), 0.2)
    assert sender.counters["stale acknowledgements"] == 1
    assert not sender.idle


def test_replays_are_known_for_a_while() -> None:
    receiver = hub()
    frames = [encode(Frame(Kind.DATA, NET, 1, number, False, True, bytes([number]))) for number in range(HISTORY)]
    for data in frames:
        receiver.heard(data, 0.0)
        receiver.next(0.0)
        receiver.sent(0.0)
    receiver.take_events()
    for data in frames[:-1]:
        receiver.heard(data, 1.0)
    assert receiver.counters["replays"] == HISTORY - 1
    assert receiver.take_events() == []
    assert not isinstance(receiver.next(1.0), Send)


def test_polls_are_always_answered() -> None:
    """They change nothing, and a node that starts anew may happen to use a number again."""
    receiver = hub()
    for _ in range(3):
        for number in (1, 2):
            receiver.heard(encode(Frame(Kind.POLL, NET, 1, number, False, True)), 0.0)
            action = receiver.next(0.0)
            assert isinstance(action, Send)
            assert decode(action.data).kind is Kind.ACK
            receiver.sent(0.1)
    assert receiver.take_events() == []


def test_a_channel_in_use_is_waited_for_and_then_told() -> None:
    sender, now = node(), 0.0
    ticket, _ = sender.submit(b"x", now)
    for _ in range(MOST_LOOKS):
        action = sender.next(now)
        while isinstance(action, Listen):
            assert action.until is not None
            now = action.until
            action = sender.next(now)
        assert isinstance(action, Send)
        assert action.look_first
        sender.busy(now)
    (event,) = sender.take_events()
    assert isinstance(event, NotSent)
    assert event.ticket == ticket
    assert event.retry_after > 0


def test_without_air_time_nothing_is_sent() -> None:
    sender = node()
    ticket, _ = sender.submit(b"x", 0.0)
    sender.next(0.0)
    sender.not_allowed(0.0, 77.0)
    assert sender.take_events() == [NotSent(ticket, "the air time of this band is spent", 77.0)]
    sender.submit(b"y", 0.0)
    sender.next(0.0)
    sender.sent(0.1)
    sender.next(10.0)
    assert isinstance(sender.next(20.0), Send)
    sender.not_allowed(20.0, 77.0)
    (event,) = sender.take_events()
    assert isinstance(event, Unanswered)


def test_a_hub_without_air_time_leaves_frames_unanswered_and_keeps_messages() -> None:
    receiver = hub()
    receiver.heard(encode(Frame(Kind.POLL, NET, 1, 1, False, True)), 0.0)
    receiver.next(0.0)
    receiver.not_allowed(0.0, 60.0)
    assert receiver.counters["acknowledgements without air time"] == 1
    receiver.post(1, b"later", 0.0)
    assert isinstance(receiver.next(1.0), Send)
    receiver.not_allowed(1.0, 60.0)
    receiver.take_events()
    assert receiver.next(2.0) == Listen(61.0)
    action = receiver.next(61.0)
    assert isinstance(action, Send)
    assert decode(action.data).payload == b"later"


def test_a_node_that_sleeps_is_sent_to_while_it_is_awake_only() -> None:
    receiver, sleeper = hub(), node(always=False)
    assert isinstance(sleeper.next(0.0), Sleep)
    receiver.post(1, b"for you", 0.0)
    assert receiver.next(0.0) == Listen(None)
    air = Air([sleeper, receiver])
    sleeper.submit(b"up", 0.0)
    air.run(2)
    assert [event.data for event in air.events[0] if isinstance(event, Delivered)] == [b"for you"]
    assert isinstance(sleeper.next(air.now), Listen)
    air.run(3 * AWAKE)
    assert isinstance(sleeper.next(air.now), Sleep)
    receiver.post(1, b"too late", air.now)
    assert receiver.next(air.now) == Listen(None)


def test_what_waits_at_a_hub_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = hub()
    for number in range(KEPT + 3):
        receiver.post(1, bytes([number]), 0.0)
    assert receiver.counters["messages that had to make room"] == 3
    receiver.heard(encode(Frame(Kind.POLL, NET, 1, 1, False, True)), EXPIRES + 1)
    receiver.next(EXPIRES + 1)
    receiver.sent(EXPIRES + 1)
    assert receiver.next(EXPIRES + 1) == Listen(None)
    assert receiver.counters["messages that expired"] == KEPT
    monkeypatch.setattr(hubs, "MOST_PEERS", 2)
    for address in (1, 2, 3):
        receiver.post(address, b"x", 0.0)
    assert not receiver.more(1)
    assert receiver.more(3)


def test_a_message_that_nobody_answers_is_given_up() -> None:
    receiver = hub(attempts=1)
    air = Air([receiver])
    receiver.post(1, b"x", 0.0)
    for number in range(ROUNDS):
        receiver.heard(encode(Frame(Kind.POLL, NET, 1, number, False, True)), air.now)
        air.run(10)
    assert receiver.counters["messages that nobody answered"] == 1
    assert not receiver.more(1)


def test_a_receiver_without_room_acknowledges_nothing() -> None:
    full = Hub(NET, SF7, chance=random.Random(1), room=lambda: False)
    full.heard(encode(Frame(Kind.DATA, NET, 1, 1, False, True, b"x")), 0.0)
    assert full.take_events() == []
    assert full.next(0.0) == Listen(None)
    assert full.counters["messages without room"] == 1


def test_withdrawn_messages_are_forgotten() -> None:
    sender = node()
    ticket, _ = sender.submit(b"x", 0.0)
    sender.next(0.0)
    sender.withdraw(ticket)
    second, _ = sender.submit(b"y", 0.0)
    sender.sent(0.1)  # that of the first
    assert isinstance(sender.next(0.2), Send)
    sender.withdraw(ticket)
    assert not sender.idle
    sender.withdraw(second)
    assert sender.idle


def when_it_sends(end: Endpoint, now: float) -> tuple[Send, float]:
    while not isinstance(action := end.next(now), Send):
        assert isinstance(action, Listen)
        assert action.until is not None
        now = action.until
    return action, now


@given(st.integers(0, 10_000), st.integers(7, 12))
def test_an_acknowledgement_of_the_last_attempt_is_waited_for(seed: int, factor: int) -> None:
    """A hub may pause before it acknowledges a copy; that must not cost a message its last chance."""
    modulation, now, answered = Modulation(factor), 0.0, 0.0
    end = Endpoint(NET, modulation, from_hub=False, address=1, always=False, attempts=2, chance=random.Random(seed))
    center = Hub(NET, modulation, chance=random.Random(seed + 1))
    end.submit(b"x", 0.0)
    acknowledgement = b""
    for _ in range(2):  # the acknowledgement of the first is lost
        sent, now = when_it_sends(end, now)
        now += modulation.time_on_air(len(sent.data))
        end.sent(now)
        center.heard(sent.data, now)
        answer, begins = when_it_sends(center, now)
        acknowledgement, answered = answer.data, begins + modulation.time_on_air(len(answer.data))
        center.sent(answered)
    waiting = end.next(now)
    assert isinstance(waiting, Listen)
    assert waiting.until is not None
    assert waiting.until >= answered
    end.heard(acknowledgement, answered)
    assert [type(event) for event in end.take_events()] == [Accepted]
