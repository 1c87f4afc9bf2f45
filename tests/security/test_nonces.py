"""No nonce is ever used twice, wherever the process dies."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from rataccess.errors import KeyStoreError, ProtectionFailed, SequenceExhausted
from rataccess.security import CHANGED, Request, SecureContext
from rataccess.security.context import sequence_key
from rataccess.security.sequence import BLOCK, MOST, SequenceNumbers
from tests.security.oscore_reference import SECRET, Disk


class PowerCut(Exception):
    """The process dies here."""


class FailingDisk(Disk):
    """A disk whose next `put_now` can end in a power cut, before or after it has written."""

    cut: str | None = None

    def put_now(self, key: str, value: bytes) -> None:
        cut, self.cut = self.cut, None
        if cut == "before":
            raise PowerCut
        super().put_now(key, value)
        if cut == "after":
            raise PowerCut


class Witness:
    """Stands before the cipher of a sender, and refuses a nonce that it has seen for the same key."""

    def __init__(self, cipher: object, used: set[bytes]) -> None:
        self._cipher = cipher
        self._used = used

    def encrypt(self, nonce: bytes, plaintext: bytes, data: bytes) -> bytes:
        assert nonce not in self._used, f"nonce {nonce.hex()} is used twice"
        self._used.add(nonce)
        sealed: bytes = self._cipher.encrypt(nonce, plaintext, data)  # type: ignore[attr-defined]
        return sealed


class Side:
    """One end, its disk, and the nonces that its key has seen over all restarts."""

    def __init__(self, name: str, sender_id: bytes, recipient_id: bytes) -> None:
        self.name, self.ids = name, (sender_id, recipient_id)
        self.disk = FailingDisk()
        self.used: set[bytes] = set()
        self.restart()

    def restart(self) -> None:
        """A power cut: what was not synced is lost; the context is made anew from the disk."""
        self.disk.crash()
        sender_id, recipient_id = self.ids
        self.context = SecureContext(
            sender_id=sender_id,
            recipient_id=recipient_id,
            secret=SECRET,
            memory=self.disk,
            name=self.name,
            replay_state=self.disk.get(f"window of {self.name}"),
        )
        self.context._sender = Witness(self.context._sender, self.used)  # type: ignore[assignment]
        self.waiting: list[Request] = []

    def keep_window(self) -> None:
        """What a receiver does in the transaction of what the requests did."""
        self.disk.put_now(f"window of {self.name}", self.context.replay_state())


class Crashes(RuleBasedStateMachine):
    """Two ends that ask each other, keep or do not keep their windows, and lose power at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Side("device", b"\x07", b""), Side("service", b"", b"\x07")]
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])

    who = st.integers(0, 1)

    @rule(who=who, count=st.integers(1, 2 * BLOCK))
    def ask(self, who: int, count: int) -> None:
        side = self.sides[who]
        for _ in range(count):
            try:
                datagram, _ = side.context.protect_request(b"", token=b"", message_id=0)
            except PowerCut:
                side.restart()
            else:
                self.sent[who].append(datagram)

    @precondition(lambda self: self.sent[0] or self.sent[1])
    @rule(who=who, data=st.data())
    def hear_any_datagram_again(self, who: int, data: st.DataObject) -> None:
        side, sent = self.sides[who], self.sent[1 - who]
        if sent:
            index = data.draw(st.integers(0, len(sent) - 1) | st.integers(max(0, len(sent) - 3), len(sent) - 1))
            with contextlib.suppress(ProtectionFailed):
                side.waiting.append(side.context.unprotect_request(sent[index]))

    @rule(who=who)
    def keep_the_window(self, who: int) -> None:
        try:
            self.sides[who].keep_window()
        except PowerCut:
            self.sides[who].restart()

    @rule(who=who, times=st.integers(1, 3))
    def answer(self, who: int, times: int) -> None:
        side = self.sides[who]
        for request in list(side.waiting):
            for _ in range(times):
                try:
                    side.context.protect_response(request, CHANGED, b"", message_id=0)
                except PowerCut:
                    side.restart()
                    return

    @rule(who=who)
    def commit(self, who: int) -> None:
        self.sides[who].disk.commit()

    @rule(who=who)
    def crash(self, who: int) -> None:
        self.sides[who].restart()

    @rule(who=who, cut=st.sampled_from(["before", "after"]))
    def arm(self, who: int, cut: str) -> None:
        self.sides[who].disk.cut = cut


Crashes.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCrashes = Crashes.TestCase


def context(memory: Disk, **changes: object) -> SecureContext:
    return SecureContext(
        **{"sender_id": b"\x07", "recipient_id": b"", "secret": SECRET, "memory": memory, "name": "x", **changes}  # type: ignore[arg-type]
    )


def ask(one: SecureContext) -> int:
    return one.protect_request(b"", token=b"", message_id=0)[1].sequence_number


def test_the_first_number_is_given_out_after_its_block_is_on_disk() -> None:
    disk = Disk()
    one = context(disk)
    assert (disk.commits, disk.synced) == (0, {})
    assert ask(one) == 0
    assert disk.commits == 1
    disk.crash()
    assert ask(context(disk)) == BLOCK


def test_the_next_block_is_asked_for_half_way_and_made_sure_of_at_the_end() -> None:
    disk = Disk()
    one = context(disk)
    for _ in range(BLOCK // 2):
        ask(one)
    assert not disk.pending
    ask(one)
    assert disk.pending
    for _ in range(BLOCK // 2 - 1):
        ask(one)
    assert disk.commits == 1
    assert ask(one) == BLOCK
    assert disk.commits == 2


def test_two_contexts_of_one_name_share_no_number() -> None:
    """As when a device is opened again before the old one is gone."""
    disk = Disk()
    ones = [context(disk), context(disk)]
    numbers = [ask(one) for _ in range(3 * BLOCK) for one in ones]
    ones.append(context(disk))
    numbers += [ask(one) for _ in range(3 * BLOCK) for one in ones]
    assert len(set(numbers)) == len(numbers)


def test_a_number_that_could_not_be_reserved_is_not_used() -> None:
    disk = FailingDisk()
    one = context(disk)
    disk.cut = "before"
    with pytest.raises(PowerCut):
        ask(one)
    assert disk.commits == 0
    assert ask(one) == 0
    assert disk.commits == 1


def test_numbers_end_before_2_to_the_40() -> None:
    disk = Disk()
    disk.put_now(sequence_key("x"), (MOST - 1).to_bytes(8, "big"))
    one = context(disk)
    assert [ask(one), ask(one)] == [MOST - 1, MOST]
    for again in (one, context(disk)):
        with pytest.raises(SequenceExhausted, match="provision"):
            ask(again)


@pytest.mark.parametrize("kept", [None, (10).to_bytes(8, "big")])
def test_a_memory_that_forgot_is_noticed(kept: bytes | None) -> None:
    disk = Disk()
    one = context(disk)
    ask(one)
    state = one.replay_state()
    forgetful = Disk()
    if kept:
        forgetful.put_now(sequence_key("x"), kept)
    with pytest.raises(KeyStoreError, match="lost the sender sequence numbers"):
        context(forgetful, replay_state=state)
    assert ask(context(disk, replay_state=state)) == BLOCK


@pytest.mark.parametrize("value", [b"", b"\x01", bytes(9), b"\xff" * 8])
def test_a_damaged_memory_is_noticed(value: bytes) -> None:
    disk = Disk()
    disk.put_now(sequence_key("x"), value)
    with pytest.raises(KeyStoreError, match="damaged"):
        context(disk)


def test_a_context_cannot_be_doubled() -> None:
    one = context(Disk())
    for double in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="nonces twice"):
            double(one)


def test_an_answer_reuses_the_nonce_only_where_the_window_was_kept() -> None:
    asker = context(Disk())
    answerer = context(Disk(), sender_id=b"", recipient_id=b"\x07")
    request = answerer.unprotect_request(asker.protect_request(b"", token=b"", message_id=0)[0])
    unkept = answerer.protect_response(request, CHANGED, b"", message_id=0)
    answerer.replay_state()
    kept = answerer.protect_response(request, CHANGED, b"", message_id=0)
    again = answerer.protect_response(request, CHANGED, b"", message_id=0)
    assert [len(each) for each in (unkept, kept, again)] == [17, 15, 17]


def test_numbers_of_different_keys_are_apart() -> None:
    disk = Disk()
    first, second = SequenceNumbers(disk, "a"), SequenceNumbers(disk, "b")
    assert [first.take(), first.take(), second.take()] == [0, 1, 0]
