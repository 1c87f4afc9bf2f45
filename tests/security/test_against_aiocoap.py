"""Byte for byte against aiocoap, for random keys, ids, numbers and messages."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.security import SecureContext
from rataccess.security.sequence import sequence_key
from tests.security.oscore_reference import Disk, Reference, plain

TOKENS = st.binary(max_size=8)
MESSAGE_IDS = st.integers(0, 0xFFFF)
BODIES = st.binary(max_size=300)
CODES = st.sampled_from([1, 2, 3, 4, 7])
ANSWERS = st.sampled_from([0x41, 0x44, 0x45, 0x80, 0x82, 0xA0])
PATHS = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=3).map(tuple)
NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**40 - 300))


@dataclass
class Pair:
    """Both sides, by us and by aiocoap."""

    client: SecureContext
    server: SecureContext
    their_client: Reference
    their_server: Reference


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Contexts with the same random parameters, both senders at the same random number."""
    ids = draw(st.lists(st.binary(max_size=7), min_size=2, max_size=2, unique=True))
    secret, salt = draw(st.binary(min_size=16, max_size=40)), draw(st.binary(max_size=10))
    id_context = draw(st.none() | st.binary(max_size=40))
    first = draw(NUMBERS)

    def ours(sender_id: bytes, recipient_id: bytes) -> SecureContext:
        memory = Disk()
        memory.put_now(sequence_key("x"), first.to_bytes(8, "big"))
        return SecureContext(
            sender_id=sender_id,
            recipient_id=recipient_id,
            secret=secret,
            salt=salt,
            id_context=id_context,
            memory=memory,
            name="x",
        )

    def theirs(sender_id: bytes, recipient_id: bytes) -> Reference:
        context = Reference(sender_id, recipient_id, secret, salt, id_context)
        context.sender_sequence_number = first
        return context

    return Pair(ours(*ids), ours(*ids[::-1]), theirs(*ids), theirs(*ids[::-1]))


@given(pairs(), TOKENS, MESSAGE_IDS, st.booleans(), CODES, PATHS, BODIES)
@settings(max_examples=60, deadline=None)
def test_requests_are_the_same_bytes(
    pair: Pair, token: bytes, message_id: int, confirmable: bool, code: int, path: tuple[str, ...], body: bytes
) -> None:
    message = plain(code, body, token, message_id, 0 if confirmable else 1, path)
    theirs, _ = pair.their_client.protect_bytes(message)
    ours, _ = pair.client.protect_request(
        body, token=token, message_id=message_id, confirmable=confirmable, code=code, path=path
    )
    assert ours == theirs
    request = pair.server.unprotect_request(theirs)
    assert (request.code, request.path, request.body) == (code, path, body)
    assert (request.token, request.message_id, request.confirmable) == (token, message_id, confirmable)
    read, _ = pair.their_server.unprotect_bytes(ours)
    assert (read.code, read.opt.uri_path, read.payload) == (code, path, body)


@given(pairs(), TOKENS, MESSAGE_IDS, st.booleans(), ANSWERS, BODIES)
@settings(max_examples=60, deadline=None)
def test_responses_are_the_same_bytes(
    pair: Pair, token: bytes, message_id: int, confirmable: bool, code: int, body: bytes
) -> None:
    datagram, identity = pair.client.protect_request(b"?", token=token, message_id=7, confirmable=confirmable)
    _, their_identity = pair.their_client.protect_bytes(plain(2, b"?", token, 7, 1))
    _, their_request = pair.their_server.unprotect_bytes(datagram)
    request = pair.server.unprotect_request(datagram)
    pair.server.replay_state()
    for _ in range(2):  # the first reuses the nonce of the request, the second does not
        ours = pair.server.protect_response(request, code, body, message_id=message_id)
        message = plain(code, body, token, 7 if confirmable else message_id, 2 if confirmable else 1)
        theirs, _ = pair.their_server.protect_bytes(message, their_request)
        assert ours == theirs
        response = pair.client.unprotect_response(theirs, identity)
        assert (response.code, response.body) == (code, body)
        read, _ = pair.their_client.unprotect_bytes(ours, their_identity)
        assert (read.code, read.payload) == (code, body)
