"""No nonce is ever used twice, wherever the process dies."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rataccess.errors import KeyStoreError, ProtectionFailed, SequenceExhausted
from rataccess.security import CHANGED, SecureContext
from rataccess.security.sequence import BLOCK, MOST, SequenceNumbers, sequence_key
from tests.security.oscore_reference import SECRET, Disk
from tests.security.two_ends import WHO, FailingDisk, PowerCut, TwoEnds


class Crashes(TwoEnds):
    """Requests in the usual form, and transactions that end or do not."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])

    @rule(who=WHO, count=st.integers(1, 2 * BLOCK))
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
    @rule(who=WHO, data=st.data())
    def hear_any_datagram_again(self, who: int, data: st.DataObject) -> None:
        side, sent = self.sides[who], self.sent[1 - who]
        if sent:
            index = data.draw(st.integers(0, len(sent) - 1) | st.integers(max(0, len(sent) - 3), len(sent) - 1))
            with contextlib.suppress(ProtectionFailed):
                side.waiting.append(side.context.unprotect_request(sent[index]))

    @rule(who=WHO)
    def commit(self, who: int) -> None:
        self.sides[who].disk.commit()


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
