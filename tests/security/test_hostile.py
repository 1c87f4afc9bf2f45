"""Forged, altered, replayed, malformed: whatever arrives changes nothing."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rataccess.errors import KeyStoreError, ObjectError, ProtectionFailed
from rataccess.security import CHANGED, RequestIdentity, SecureContext, derivation, peek
from rataccess.security.coap import option_bytes
from rataccess.security.sequence import sequence_key
from tests.security.oscore_reference import SECRET, Disk

TOKEN, MESSAGE_ID = b"\x2a\x17", 0x1234


class Ends(NamedTuple):
    client: SecureContext
    server: SecureContext


def make_ends(kid: bytes = b"\x07", secret: bytes = SECRET) -> Ends:
    memory = Disk()
    client = SecureContext(sender_id=kid, recipient_id=b"", secret=secret, memory=memory, name="client")
    return Ends(client, SecureContext(sender_id=b"", recipient_id=kid, secret=secret, memory=memory, name="server"))


@pytest.fixture
def ends() -> Ends:
    return make_ends()


def ask(ends: Ends, body: bytes = b"body") -> tuple[bytes, RequestIdentity]:
    return ends.client.protect_request(body, token=TOKEN, message_id=MESSAGE_ID)


def flips(datagram: bytes) -> dict[int, bytes]:
    """The datagram with each of its bits flipped, by the number of the bit."""
    return {
        bit: datagram[: bit // 8] + bytes((datagram[bit // 8] ^ 1 << bit % 8,)) + datagram[bit // 8 + 1 :]
        for bit in range(len(datagram) * 8)
    }


def test_a_flipped_bit_in_a_request_is_found_except_where_rfc_8613_protects_nothing(ends: Ends) -> None:
    """Type, token and message id are not protected (RFC 8613 section 4.3); everything else is."""
    datagram, _ = ask(ends)
    before = ends.server.replay_state()
    unprotected = {4, *range(16, 16 + 8 * (2 + len(TOKEN)))}  # confirmable or not; message id and token
    for bit, altered in flips(datagram).items():
        if bit in unprotected:
            assert make_ends().server.unprotect_request(altered).body == b"body"
        else:
            with pytest.raises(ProtectionFailed):
                ends.server.unprotect_request(altered)
            assert ends.server.replay_state() == before
    assert ends.server.unprotect_request(datagram).body == b"body"


@pytest.mark.parametrize("own_number", [False, True])
def test_a_flipped_bit_in_a_response_is_found(ends: Ends, own_number: bool) -> None:
    datagram, identity = ask(ends)
    request = ends.server.unprotect_request(datagram)
    if not own_number:
        ends.server.replay_state()
    answer = ends.server.protect_response(request, CHANGED, b"answer", message_id=1)
    before = ends.client.replay_state()
    for bit, altered in flips(answer).items():
        names_its_empty_kid = own_number and bit == 8 * 7 + 3  # the k flag: the same sender, said aloud
        if bit == 4 or 16 <= bit < 32 or bit in _equivalent_codes(answer) or names_its_empty_kid:
            assert ends.client.unprotect_response(altered, identity).body == b"answer"
        else:
            with pytest.raises(ProtectionFailed):
                ends.client.unprotect_response(altered, identity)
        assert ends.client.replay_state() == before


def _equivalent_codes(answer: bytes) -> set[int]:
    """The outer code is not protected: the bits that make another response code of it."""
    return {8 + bit for bit in range(8) if (answer[1] ^ 1 << bit) >> 5 in (2, 4, 5)}


def test_a_replayed_request_changes_nothing_and_its_original_is_still_taken(ends: Ends) -> None:
    datagrams = [ask(ends)[0] for _ in range(3)]
    for datagram in (datagrams[2], datagrams[0]):
        ends.server.unprotect_request(datagram)
        before = ends.server.replay_state()
        with pytest.raises(ProtectionFailed, match="seen before"):
            ends.server.unprotect_request(datagram)
        assert ends.server.replay_state() == before
    assert ends.server.unprotect_request(datagrams[1]).body == b"body"


def test_requests_are_taken_out_of_order_as_far_as_the_window_reaches(ends: Ends) -> None:
    datagrams = [ask(ends)[0] for _ in range(1026)]
    ends.server.unprotect_request(datagrams[1025])
    with pytest.raises(ProtectionFailed, match="seen before"):
        ends.server.unprotect_request(datagrams[1])
    assert ends.server.unprotect_request(datagrams[2])


@given(st.lists(st.integers(0, 3000), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_order_and_no_restart_has_a_request_taken_twice(numbers: list[int]) -> None:
    client, server = make_ends()
    memory = Disk()
    taken: set[int] = set()
    highest = -1
    for number in numbers:
        memory.put_now(sequence_key("client"), number.to_bytes(8, "big"))
        client = SecureContext(sender_id=b"\x07", recipient_id=b"", secret=SECRET, memory=memory, name="client")
        datagram, _ = client.protect_request(b"", token=b"", message_id=0)
        expected = number not in taken and number > highest - 1024
        if expected:
            server.unprotect_request(datagram)
            taken.add(number)
            highest = max(highest, number)
        else:
            with pytest.raises(ProtectionFailed):
                server.unprotect_request(datagram)
        state = server.replay_state()
        assert len(state) <= 141
        server = SecureContext(
            sender_id=b"", recipient_id=b"\x07", secret=SECRET, memory=Disk(), name="server", replay_state=state
        )


def test_an_answer_belongs_to_one_request(ends: Ends) -> None:
    first, identity = ask(ends)
    _, other_identity = ask(ends)
    request = ends.server.unprotect_request(first)
    ends.server.replay_state()
    answer = ends.server.protect_response(request, CHANGED, b"", message_id=1)
    with pytest.raises(ProtectionFailed):
        ends.client.unprotect_response(answer, other_identity)
    assert ends.client.unprotect_response(answer, identity).code == CHANGED


def test_what_one_context_protects_no_other_takes() -> None:
    """Neither another kid with the same secret, nor the same kid with another secret."""
    datagram, identity = ask(make_ends())
    for other in (make_ends(kid=b"\x08"), make_ends(secret=SECRET[::-1])):
        with pytest.raises(ProtectionFailed):
            other.server.unprotect_request(datagram)
    request = (mine := make_ends()).server.unprotect_request(datagram)
    with pytest.raises(ValueError, match="another context"):
        make_ends().server.protect_response(request, CHANGED, b"", message_id=1)
    mine.server.replay_state()
    answer = mine.server.protect_response(request, CHANGED, b"", message_id=1)
    with pytest.raises(ProtectionFailed):
        make_ends(secret=SECRET[::-1]).client.unprotect_response(answer, identity)


def test_a_message_does_not_come_back_to_its_sender_as_genuine(ends: Ends) -> None:
    datagram, identity = ask(ends)
    with pytest.raises(ProtectionFailed):
        ends.client.unprotect_request(datagram)
    with pytest.raises(ProtectionFailed):
        ends.client.unprotect_response(datagram, identity)


COAP_LIKE = st.builds(
    lambda first, code, rest: bytes((0x40 | first, code)) + rest,
    st.integers(0, 0x3F),
    st.sampled_from([0, 2, 5, 0x44, 0x45, 0x80, 0xFF]),
    st.binary(max_size=60),
)
PROTECTED_LIKE = st.builds(
    lambda token, option, payload: bytes((0x50 | len(token), 2, 0, 1)) + token + option_bytes(9, option) + payload,
    st.binary(max_size=8),
    st.binary(max_size=20),
    st.binary(max_size=40).map(lambda payload: b"\xff" + payload),
)


@given(st.binary(max_size=80) | COAP_LIKE | PROTECTED_LIKE)
@example(b"")
@example(bytes.fromhex("40020000"))
@example(bytes.fromhex("70000001"))
@example(bytes.fromhex("5002000190ff"))
@example(bytes.fromhex("50020001" + "eeffffffff" * 3))
@settings(max_examples=400, deadline=None)
def test_any_bytes_at_all_are_refused(datagram: bytes) -> None:
    ends = make_ends()
    _, identity = ask(ends)
    before = ends.server.replay_state()
    with contextlib.suppress(ProtectionFailed):
        header = peek(datagram)
        assert header.kind in ("request", "response", "empty", "reset")
    with pytest.raises(ProtectionFailed):
        ends.server.unprotect_request(datagram)
    with pytest.raises(ProtectionFailed):
        ends.client.unprotect_response(datagram, identity)
    assert ends.server.replay_state() == before


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_genuine_peer_that_sends_nonsense_inside_breaks_nothing(plaintext: bytes) -> None:
    ends = make_ends()
    number, token = 5, b"t"
    data = derivation.additional_data(b"\x07", bytes((number,)))
    nonce = (ends.client._sender_base ^ number).to_bytes(13, "big")
    sealed = ends.client._sender.encrypt(nonce, plaintext, data)
    datagram = bytes((0x51, 2, 0, 1)) + token + option_bytes(9, bytes((9, number, 7))) + b"\xff" + sealed
    before = ends.server.replay_state()
    try:
        request = ends.server.unprotect_request(datagram)
    except ProtectionFailed:
        assert ends.server.replay_state() == before
    else:
        assert request.code == plaintext[0]


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (b"\x44", "code of a response"),
        (b"\x00", "code of a response"),
        (b"\x02\xd1\x0ex", "critical option"),  # Block1 (27): a body in blocks is not what it seems
        (b"\x02\xb1\xff", "not UTF-8"),
        (b"\x02\xff", "without a payload"),
    ],
)
def test_what_a_genuine_request_may_not_hold(ends: Ends, inside: bytes, why: str) -> None:
    data = derivation.additional_data(b"\x07", b"\x00")
    nonce = ends.client._sender_base.to_bytes(13, "big")
    sealed = ends.client._sender.encrypt(nonce, inside, data)
    datagram = bytes((0x50, 2, 0, 1)) + option_bytes(9, b"\x09\x00\x07") + b"\xff" + sealed
    with pytest.raises(ProtectionFailed, match=why):
        ends.server.unprotect_request(datagram)


def test_options_that_may_be_ignored_are(ends: Ends) -> None:
    """Content-Format (12) inside; Uri-Host (3) and Uri-Port (7) outside, as other clients send them."""
    data = derivation.additional_data(b"\x07", b"\x00")
    nonce = ends.client._sender_base.to_bytes(13, "big")
    sealed = ends.client._sender.encrypt(nonce, b"\x02\xc1\x3c\xffbody", data)
    outside = option_bytes(3, b"h" * 300) + option_bytes(4, b"\x16\x33") + option_bytes(2, b"\x09\x00\x07")
    request = ends.server.unprotect_request(bytes((0x50, 2, 0, 1)) + outside + b"\xff" + sealed)
    assert (request.body, request.path) == (b"body", ())


def test_peek_says_what_anybody_can_read(ends: Ends) -> None:
    datagram, _ = ask(ends)
    header = peek(datagram)
    assert (header.kind, header.type, header.code) == ("request", 1, 2)
    assert (header.token, header.message_id, header.kid) == (TOKEN, MESSAGE_ID, b"\x07")
    request = ends.server.unprotect_request(datagram)
    ends.server.replay_state()
    answer = peek(ends.server.protect_response(request, CHANGED, b"", message_id=99))
    assert (answer.kind, answer.token, answer.message_id, answer.kid) == ("response", TOKEN, 99, None)
    assert peek(bytes.fromhex("60001234")).kind == "empty"
    assert peek(bytes.fromhex("70001234")).kind == "reset"


@pytest.mark.parametrize(
    "datagram",
    [
        "5002000141ff00",
        "50020001b161",
        "5102000190",
        "500200019000ff00",
        "50220001",
        "60020001",
        "5000000100",
        "d0020001",
    ],
)
def test_peek_refuses_what_is_malformed_or_not_protected(datagram: str) -> None:
    with pytest.raises(ProtectionFailed):
        peek(bytes.fromhex(datagram))


def test_a_confirmable_request_is_answered_on_its_acknowledgement(ends: Ends) -> None:
    datagram, identity = ends.client.protect_request(b"", token=TOKEN, message_id=MESSAGE_ID, confirmable=True)
    request = ends.server.unprotect_request(datagram)
    answer = ends.server.protect_response(request, CHANGED, b"", message_id=1)
    assert (peek(answer).type, peek(answer).message_id) == (2, MESSAGE_ID)
    assert ends.client.unprotect_response(answer, identity).code == CHANGED


@given(
    st.binary(max_size=7), st.binary(max_size=200), st.binary(max_size=2), st.sampled_from([0, 255, 65_535, 2**24 - 1])
)
@settings(max_examples=40, deadline=None)
def test_the_overhead_is_never_more_than_is_said(kid: bytes, body: bytes, token: bytes, number: int) -> None:
    memory = Disk()
    memory.put_now(sequence_key("x"), number.to_bytes(8, "big"))
    context = SecureContext(sender_id=kid, recipient_id=b"other", secret=SECRET, memory=memory, name="x")
    said = context.overhead
    datagram, _ = context.protect_request(body, token=token, message_id=1)
    assert len(datagram) <= len(body) + said
    assert said == 22 + len(kid)


def test_a_path_is_checked_before_a_number_is_used(ends: Ends) -> None:
    with pytest.raises(ObjectError, match="255"):
        ends.client.protect_request(b"", token=b"", message_id=1, path=("x" * 256,))
    assert "next=0" in repr(ends.client)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"secret": b"short"}, "5 bytes"),
        ({"sender_id": b"12345678"}, "8 bytes"),
        ({"sender_id": b""}, "same id"),
        ({"id_context": bytes(256)}, "256 bytes"),
        ({"replay_state": b""}, "replay window"),
        ({"replay_state": b"\x02" + bytes(12)}, "replay window"),
        ({"replay_state": b"\x01" + bytes(12) + bytes(129)}, "replay window"),
        ({"replay_state": b"\x01" + b"\xff" * 12}, "replay window"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, Any], why: str) -> None:
    right: dict[str, Any] = {"sender_id": b"\x01", "recipient_id": b"", "secret": SECRET}
    with pytest.raises(KeyStoreError, match=why):
        SecureContext(**{**right, **changes}, memory=Disk(), name="x")


def sealed_request(ends: Ends, option: bytes, partial_iv: bytes, *, before: bytes = b"", delta: int = 9) -> bytes:
    """What a genuine device might send otherwise than we do."""
    data = derivation.additional_data(b"\x07", partial_iv)
    nonce = (ends.client._sender_base ^ int.from_bytes(partial_iv, "big")).to_bytes(13, "big")
    sealed = ends.client._sender.encrypt(nonce, b"\x02\xffbody", data)
    return bytes((0x50, 2, 0, 1)) + before + option_bytes(delta, option) + b"\xff" + sealed


def test_a_request_without_a_number_is_refused_though_its_key_is_right(ends: Ends) -> None:
    """Nothing would tell it from its replay."""
    assert ends.server.unprotect_request(sealed_request(ends, b"\x09\x05\x07", b"\x05")).body == b"body"
    with pytest.raises(ProtectionFailed, match="another sender"):
        ends.server.unprotect_request(sealed_request(ends, b"\x08\x07", b""))


def test_a_critical_option_outside_that_is_not_understood_is_refused(ends: Ends) -> None:
    """Proxy-Uri (35) asks for what we are not; Observe (6) may be ignored."""
    datagram = sealed_request(ends, b"\x09\x05\x07", b"\x05", before=option_bytes(6, b"\x01"), delta=3)
    behind = datagram.replace(b"\xff", bytes((0xD0, 35 - 9 - 13)) + b"\xff", 1)
    with pytest.raises(ProtectionFailed, match=r"critical CoAP option \(35\)"):
        ends.server.unprotect_request(behind)
    assert ends.server.unprotect_request(datagram).body == b"body"


def test_a_token_of_more_than_8_bytes_is_a_format_error(ends: Ends) -> None:
    datagram, _ = ends.client.protect_request(b"", token=bytes(8), message_id=1)
    assert peek(datagram).token == bytes(8)
    for length in range(9, 16):
        with pytest.raises(ProtectionFailed, match="token"):
            peek(bytes((0x50 | length,)) + datagram[1:4] + bytes(length) + datagram[12:])


@pytest.mark.parametrize(
    ("option", "inside", "why"),
    [
        (b"\x08\x09", b"\x44", "another sender"),
        (b"", b"\x02", "code of a request"),
        (b"", b"\x60", "code of a request"),
        (b"", b"\x44\xd1\x0ex", "critical option"),
    ],
)
def test_what_a_genuine_response_may_not_hold(ends: Ends, option: bytes, inside: bytes, why: str) -> None:
    _, identity = ask(ends)
    sealed = ends.server._sender.encrypt(identity.nonce, inside, identity.additional_data)
    head = bytes((0x50 | len(TOKEN), CHANGED, 0, 1)) + TOKEN
    with pytest.raises(ProtectionFailed, match=why):
        ends.client.unprotect_response(head + option_bytes(9, option) + b"\xff" + sealed, identity)


def test_a_message_shorter_than_its_tag_is_refused(ends: Ends) -> None:
    datagram, _ = ask(ends, b"")
    with pytest.raises(ProtectionFailed, match="too short"):
        ends.server.unprotect_request(datagram[:-1])
