"""No key is ever shown; the two services' contexts share nothing."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import traceback

import pytest

from rataccess.errors import RataccessError
from rataccess.keys import derive_session_secret
from rataccess.objects import Service
from rataccess.security import CHANGED, SecureContext, derivation, peek
from tests.security.oscore_reference import Disk

ROOT = bytes(range(200, 232))
BODY = b"a body that is nobody's business"


def everything_that_can_be_shown(secret: bytes) -> str:
    """What `repr`, `str`, `vars` and errors of a whole exchange say."""
    disk = Disk()
    client = SecureContext(sender_id=b"\x07", recipient_id=b"", secret=secret, memory=disk, name="client")
    server = SecureContext(sender_id=b"", recipient_id=b"\x07", secret=secret, memory=disk, name="server")
    datagram, identity = client.protect_request(BODY, token=b"t", message_id=1, path=("p",))
    request = server.unprotect_request(datagram)
    state = server.replay_state()
    answer = server.protect_response(request, CHANGED, BODY, message_id=2)
    response = client.unprotect_response(answer, identity)
    shown = [client, server, identity, request, response, peek(datagram), state.hex(), disk.synced, disk.pending]
    shown += [vars(client), vars(server)]
    for wrong in (
        lambda: server.unprotect_request(datagram),
        lambda: server.unprotect_request(datagram[:-1] + b"\x00"),
        lambda: client.unprotect_response(answer[:-1] + b"\x00", identity),
        lambda: SecureContext(sender_id=b"", recipient_id=b"", secret=secret, memory=disk, name="x"),
        lambda: SecureContext(sender_id=b"", recipient_id=b"1", secret=secret[:15], memory=disk, name="x"),
    ):
        with contextlib.suppress(RataccessError):
            try:
                wrong()
            except RataccessError as error:
                shown += [*traceback.format_exception(error), repr(error.__context__), repr(error.__cause__)]
                raise
    return "\n".join(f"{each!r} {each!s}" for each in shown)


def test_no_secret_is_shown_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("aiocoap", "coap", "aiocoap.cryptography", "rataccess"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    secret = derive_session_secret(ROOT, Service.SOLUTION)
    shown = everything_that_can_be_shown(secret) + caplog.text
    keys = [derivation.derive(secret, b"", role, None, "Key", 16) for role in (b"\x07", b"")]
    for hidden in (ROOT, secret, secret[:15], *keys):
        assert hidden.hex() not in shown
        assert repr(hidden)[2:-1] not in shown
        assert str(list(hidden))[1:-1] not in shown
    assert BODY.decode() not in shown


def test_the_contexts_of_the_two_services_share_nothing() -> None:
    disk = Disk()
    ends = {
        service: SecureContext(
            sender_id=b"\x01",  # each service gives ids on its own, so they may well be the same
            recipient_id=b"",
            secret=derive_session_secret(ROOT, service),
            memory=disk,
            name=str(service),
        )
        for service in Service
    }
    sent = {
        service: [end.protect_request(BODY, token=b"", message_id=0) for _ in range(3)] for service, end in ends.items()
    }
    numbers = {service: [identity.sequence_number for _, identity in each] for service, each in sent.items()}
    assert numbers == {service: [0, 1, 2] for service in Service}
    assert not {datagram for datagram, _ in sent[Service.SOLUTION]} & {one for one, _ in sent[Service.MANAGEMENT]}
    assert len(disk.synced) == 2
    peer = SecureContext(
        sender_id=b"",
        recipient_id=b"\x01",
        secret=derive_session_secret(ROOT, Service.SOLUTION),
        memory=Disk(),
        name="s",
    )
    assert peer.unprotect_request(sent[Service.SOLUTION][0][0]).body == BODY
    with pytest.raises(RataccessError, match="forged"):
        peer.unprotect_request(sent[Service.MANAGEMENT][1][0])


def test_the_security_floor_needs_no_coap_library() -> None:
    """A Pi Zero would pay seconds for it."""
    code = "import rataccess.security, sys; print([m for m in ('aiocoap', 'lakers', 'pyroute2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert result.stdout.strip() == "[]"


def _root() -> str:
    import rataccess

    assert rataccess.__file__
    return rataccess.__file__.rpartition("/rataccess/")[0]
