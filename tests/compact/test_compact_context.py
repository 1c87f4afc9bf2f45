"""Protection in compact form: the guarantees of the usual form, whatever is lost, altered, replayed or restarted."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rataccess.errors import ProtectionFailed
from rataccess.objects import Service
from rataccess.security import BAD_REQUEST, CHANGED, RequestIdentity, SecureContext
from rataccess.security.compact import REACH, WHOLE_BYTES, read_compact
from tests.compact.compact_contexts import KID, Book, pair
from tests.security.oscore_reference import SECRET
from tests.security.two_ends import WHO, PowerCut, TwoEnds

S = Service.SOLUTION


def exchanged(device: SecureContext, service: SecureContext) -> None:
    """One request and its answer."""
    packet, identity = device.protect_compact(b"?", S)
    request = service.unprotect_compact(packet)
    service.replay_state()
    device.unprotect_compact_response(service.protect_response(request, CHANGED, b"!", message_id=0), identity)


def test_a_request_and_its_response_take_ten_bytes_each_beside_their_bodies() -> None:
    device, service = pair(SECRET, used=100_000)
    exchanged(device, service)
    packet, identity = device.protect_compact(b"body", S)
    assert len(packet) == 10 + 4
    assert device.compact_overhead == 10
    request = service.unprotect_compact(packet)
    assert (request.body, request.code, request.path) == (b"body", 2, ())
    assert request.token == identity.token == (100_001).to_bytes(3, "big")[-2:]
    service.replay_state()
    answer = service.protect_response(request, CHANGED, b"answer", message_id=0)
    assert len(answer) == 10 + 6
    assert device.unprotect_compact_response(answer, identity).body == b"answer"


def test_a_second_response_takes_a_number_of_its_own() -> None:
    device, service = pair(SECRET)
    packet, identity = device.protect_compact(b"", S)
    request = service.unprotect_compact(packet)
    answers = [service.protect_response(request, CHANGED, b"", message_id=0)]
    service.replay_state()
    answers += [service.protect_response(request, CHANGED, b"", message_id=0) for _ in range(2)]
    assert [len(answer) for answer in answers] == [15, 10, 15]
    for answer in answers:
        assert device.unprotect_compact_response(answer, identity).body == b""


def test_an_error_travels_as_two_bytes() -> None:
    device, service = pair(SECRET)
    packet, identity = device.protect_compact(b"\xff", S)
    answer = service.protect_response(service.unprotect_compact(packet), BAD_REQUEST, b"", message_id=0)
    assert device.unprotect_compact_response(answer, identity).code == BAD_REQUEST


def test_short_numbers_are_sent_only_while_the_peer_is_near() -> None:
    device, service = pair(SECRET)
    assert not device.within_reach
    assert device.compact_overhead == WHOLE_BYTES + 8
    exchanged(device, service)
    heads = [len(device.protect_compact(b"", S)[0]) for _ in range(REACH + 2)]
    assert heads == [10] * REACH + [11, 11]
    exchanged(device, service)
    assert device.within_reach


def test_after_a_restart_numbers_are_whole_until_an_answer() -> None:
    memory, book = Book(), Book()
    device, service = pair(SECRET, device_memory=memory, service_memory=book)
    exchanged(device, service)
    state = service.replay_state()
    device, _ = pair(SECRET, device_memory=memory)
    assert not device.within_reach
    restarted = SecureContext(
        sender_id=b"", recipient_id=KID, secret=SECRET, memory=book, name="service", replay_state=state
    )
    exchanged(device, restarted)
    state = restarted.replay_state()
    again = SecureContext(
        sender_id=b"", recipient_id=KID, secret=SECRET, memory=book, name="service", replay_state=state
    )
    assert device.within_reach
    exchanged(device, again)


def test_a_service_that_has_lost_its_window_is_deaf_for_a_while_only() -> None:
    device, service = pair(SECRET, used=5000)
    exchanged(device, service)
    _, lost = pair(SECRET)
    for _ in range(REACH):
        with pytest.raises(ProtectionFailed):
            lost.unprotect_compact(device.protect_compact(b"x", S)[0])
    assert lost.unprotect_compact(device.protect_compact(b"x", S)[0]).body == b"x"


def test_a_number_of_several_processes_is_never_short() -> None:
    class Shared(Book):
        def replace(self, key: str, old: bytes | None, new: bytes) -> bool:
            self[key] = new
            return True

    device, service = pair(SECRET, device_memory=Shared())
    exchanged(device, service)
    assert not device.within_reach


def test_one_form_proves_nothing_in_the_other() -> None:
    device, service = pair(SECRET)
    full, identity = device.protect_request(b"\x81\x05", token=b"", message_id=1)
    sealed = full[full.index(b"\xff") + 1 :]
    with pytest.raises(ProtectionFailed):
        service.unprotect_compact(bytes((0x60, 0, identity.sequence_number)) + sealed)
    packet, identity = device.protect_compact(b"\x02", S)
    reframed = full[: full.index(b"\xff") + 1].replace(bytes((0x09, 0)), bytes((0x09, identity.sequence_number)))
    with pytest.raises(ProtectionFailed):
        service.unprotect_request(reframed + packet[3:])
    assert service.unprotect_compact(packet).body == b"\x02"
    assert service.unprotect_request(full).body == b"\x81\x05"


@given(st.binary(max_size=20), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_altered_or_cut_short_changes_nothing(body: bytes, data: st.DataObject) -> None:
    device, service = pair(SECRET)
    if data.draw(st.booleans()):
        exchanged(device, service)
    packet, identity = device.protect_compact(body, S)
    before = repr(service), service.replay_state()
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    altered = bytearray(packet)
    altered[bit // 8] ^= 0x80 >> bit % 8
    for wrong in (bytes(altered), packet[: bit // 8], packet + b"\0"):
        if wrong[1:] == packet[1:] and wrong[0] ^ packet[0] == 0x20:
            assert read_compact(wrong).service is not S  # the other service's, whose keys are others
            continue
        with pytest.raises(ProtectionFailed):
            service.unprotect_compact(wrong)
        assert (repr(service), service.replay_state()) == before
    request = service.unprotect_compact(packet)
    with pytest.raises(ProtectionFailed, match="seen before"):
        service.unprotect_compact(packet)
    answer = bytearray(service.protect_response(request, CHANGED, b"!", message_id=0))
    answer[data.draw(st.integers(0, len(answer) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtectionFailed):
        device.unprotect_compact_response(bytes(answer), identity)


@given(st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_refused(data: bytes) -> None:
    device, service = pair(SECRET)
    _, identity = device.protect_compact(b"", S)
    for read in (service.unprotect_compact, lambda data: device.unprotect_compact_response(data, identity)):
        with pytest.raises(ProtectionFailed):
            read(data)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_both_forms_in_turn_late_lost_and_doubled_each_count_once(script: list[tuple[bool, int, int]]) -> None:
    """A device that changes between LoRaWAN and UDP; each packet is so many steps under way."""
    device, service = pair(SECRET)
    under_way: list[tuple[int, bool, bytes, RequestIdentity]] = []
    taken, refused = list[int](), list[str]()

    def arrive(compact: bool, data: bytes, identity: RequestIdentity, fate: int) -> None:
        try:
            request = service.unprotect_compact(data) if compact else service.unprotect_request(data)
        except ProtectionFailed as error:
            refused.append(str(error))
            return
        taken.append(int.from_bytes(request.body, "big"))
        service.replay_state()
        answer = service.protect_response(request, CHANGED, b"", message_id=0)
        if fate % 2:  # else the answer is lost
            read = device.unprotect_compact_response if compact else device.unprotect_response
            read(answer, identity)

    fates = [fate for _, _, fate in script]
    for step, (compact, late, fate) in enumerate(script):
        body = step.to_bytes(2, "big")
        if compact:
            data, identity = device.protect_compact(body, S)
        else:
            data, identity = device.protect_request(body, token=bytes([step]), message_id=step)
        if fate != 8:  # lost
            under_way += [(step + late, compact, data, identity)] * (2 if fate == 9 else 1)
        for each in sorted((each for each in under_way if each[0] <= step), key=lambda each: each[0]):
            arrive(*each[1:], fate)
        under_way = [each for each in under_way if each[0] > step]
    for each in sorted(under_way, key=lambda each: each[0]):
        arrive(*each[1:], 0)
    assert all("seen before" in each for each in refused)
    assert sorted(taken) == [step for step, fate in enumerate(fates) if fate != 8]


class Crashes(TwoEnds):
    """Requests in both forms."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: tuple[list[tuple[bool, bytes]], list[tuple[bool, bytes]]] = ([], [])

    @rule(who=WHO, compact=st.booleans(), count=st.integers(1, 300))
    def ask(self, who: int, compact: bool, count: int) -> None:
        side = self.sides[who]
        for _ in range(count):
            try:
                if compact:
                    data, _ = side.context.protect_compact(b"", S)
                else:
                    data, _ = side.context.protect_request(b"", token=b"", message_id=0)
            except PowerCut:
                side.restart()
            else:
                self.sent[who].append((compact, data))

    @precondition(lambda self: self.sent[0] or self.sent[1])
    @rule(who=WHO, data=st.data())
    def hear_any_again(self, who: int, data: st.DataObject) -> None:
        side, sent = self.sides[who], self.sent[1 - who]
        if sent:
            compact, packet = sent[data.draw(st.integers(max(0, len(sent) - 3), len(sent) - 1))]
            read = side.context.unprotect_compact if compact else side.context.unprotect_request
            with contextlib.suppress(ProtectionFailed):
                side.waiting.append(read(packet))


Crashes.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestCrashes = Crashes.TestCase
