"""RFC 8613 appendix C, through our own interface."""

from __future__ import annotations

from typing import Any

import pytest

from rataccess.errors import ProtectionFailed
from rataccess.security import CHANGED, SecureContext, derivation
from rataccess.security.coap import option_bytes, read_oscore_option
from rataccess.security.sequence import sequence_key
from tests.security.oscore_reference import Disk, vectors

CORPUS = vectors()
DERIVATIONS = {each["name"]: each for each in CORPUS["key_derivation"]}
MESSAGES = {each["name"].split()[0]: each for each in CORPUS["messages"]}
REQUESTS = ["C.4", "C.5", "C.6"]
GET = 1


def context(name: str, *, swapped: bool = False, first: int = 0) -> SecureContext:
    """The client's context of C.1, C.2 or C.3, or the server's that goes with it, whose next number is `first`."""
    given = next(each for key, each in DERIVATIONS.items() if key.startswith(f"{name} client"))
    ids = [bytes.fromhex(given["sender_id"]), bytes.fromhex(given["recipient_id"])]
    sender_id, recipient_id = reversed(ids) if swapped else ids
    memory = Disk()
    memory.put_now(sequence_key("vector"), first.to_bytes(8, "big"))
    id_context = given["id_context"]
    return SecureContext(
        sender_id=sender_id,
        recipient_id=recipient_id,
        secret=bytes.fromhex(given["master_secret"]),
        salt=bytes.fromhex(given["master_salt"]),
        id_context=None if id_context is None else bytes.fromhex(id_context),
        memory=memory,
        name="vector",
    )


@pytest.mark.parametrize("name", DERIVATIONS)
def test_keys_and_nonces_are_derived_as_in_the_vectors(name: str) -> None:
    given = DERIVATIONS[name]
    secret, salt = bytes.fromhex(given["master_secret"]), bytes.fromhex(given["master_salt"])
    id_context = None if given["id_context"] is None else bytes.fromhex(given["id_context"])
    common = derivation.common_iv(secret, salt, id_context)
    assert common.to_bytes(13, "big").hex() == given["expect"]["common_iv"]
    for role in ("sender", "recipient"):
        role_id = bytes.fromhex(given[f"{role}_id"])
        key = derivation.derive(secret, salt, role_id, id_context, "Key", 16)
        assert key.hex() == given["expect"][f"{role}_key"]
        nonce = derivation.nonce_base(common, role_id).to_bytes(13, "big")
        assert nonce.hex() == given["expect"][f"{role}_nonce_piv0"]


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_protected_as_in_the_vectors(name: str) -> None:
    given = MESSAGES[name]
    plain, protected = bytes.fromhex(given["unprotected"]), bytes.fromhex(given["protected"])
    token = plain[4 : 4 + (plain[0] & 15)]
    message_id = int.from_bytes(plain[2:4], "big")
    client = context(given["context"], first=0x14)
    ours, _ = client.protect_request(b"", token=token, message_id=message_id, confirmable=True, code=GET, path=("tv1",))
    option = bytes.fromhex(given["expect"]["oscore_option_value"])
    # The vector has a Uri-Host outside, for proxies, which we never send: the OSCORE option follows it with delta 6.
    ours_with_host = ours.replace(option_bytes(9, option), option_bytes(3, b"localhost") + option_bytes(6, option), 1)
    assert ours_with_host == protected


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_of_the_vectors_are_understood_once(name: str) -> None:
    given = MESSAGES[name]
    server = context(given["context"], swapped=True)
    protected = bytes.fromhex(given["protected"])
    request = server.unprotect_request(protected)
    assert (request.code, request.path, request.body, request.confirmable) == (GET, ("tv1",), b"", True)
    assert request.identity.nonce.hex() == given["expect"]["nonce"]
    assert request.identity.additional_data.hex() == given["expect"]["aad"]
    with pytest.raises(ProtectionFailed, match="seen before"):
        server.unprotect_request(protected)


def test_the_first_response_is_that_of_c_7_and_the_second_that_of_c_8() -> None:
    server = context("C.1", swapped=True)
    request = server.unprotect_request(bytes.fromhex(MESSAGES["C.4"]["protected"]))
    server.replay_state()
    answers = [server.protect_response(request, 0x45, b"Hello World!", message_id=7) for _ in range(2)]
    assert [each.hex() for each in answers] == [MESSAGES["C.7"]["protected"], MESSAGES["C.8"]["protected"]]


@pytest.mark.parametrize("name", ["C.7", "C.8"])
def test_responses_of_the_vectors_are_understood(name: str) -> None:
    client = context("C.1", first=0x14)
    token = bytes.fromhex("00003974")
    _, identity = client.protect_request(b"", token=token, message_id=0x5D1F, code=GET, path=("tv1",))
    response = client.unprotect_response(bytes.fromhex(MESSAGES[name]["protected"]), identity)
    assert (response.code, response.body) == (0x45, b"Hello World!")


@pytest.mark.parametrize("case", CORPUS["option_value_cases"], ids=lambda case: case["value"] or "empty")
def test_option_values_are_read_as_in_the_vectors(case: dict[str, Any]) -> None:
    value, expected = bytes.fromhex(case["value"]), case["expect"]
    if isinstance(expected, dict):
        texts = [None if part is None else part.hex() for part in read_oscore_option(value)]
        assert texts == [expected["piv"], expected["kid"], expected.get("kid_context")]
    elif value:
        with pytest.raises(ProtectionFailed):
            read_oscore_option(value)
    else:
        assert read_oscore_option(value) == (b"", None, None)


def test_a_response_to_a_fetch_is_a_content_outside() -> None:
    """RFC 8613 section 4.2: the outer code of a response to FETCH (Observe) is 2.05."""
    client, server = context("C.1"), context("C.1", swapped=True)
    datagram, identity = client.protect_request(b"x", token=b"t", message_id=1)
    request = server.unprotect_request(datagram[:1] + b"\x05" + datagram[2:])
    answer = server.protect_response(request, CHANGED, b"y", message_id=2)
    assert answer[1] == 0x45
    assert client.unprotect_response(answer, identity).body == b"y"
