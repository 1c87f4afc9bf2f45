"""A service made of a stranger's stack: aiocoap's server and aiocoap's OSCORE, which know nothing of this library.

Rules of this file: no protection, message codec or exchange of ours is used; only the keys are told.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiocoap
import aiocoap.defaults
from aiocoap import oscore, oscore_sitewrapper, resource
from aiocoap.credentials import CredentialsMap

MISSING = aiocoap.defaults.oscore_missing_modules()


class Peer(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):
    """A security context of aiocoap's with the device's kid and session secret, in memory."""

    echo_recovery = None

    def __init__(self, kid: bytes, secret: bytes) -> None:
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id, self.id_context = b"", kid, None
        self.sender_sequence_number = 0
        self.recipient_replay_window = oscore.ReplayWindow(1024, lambda: None)
        self.recipient_replay_window.initialize_empty()
        self.derive_keys(b"", secret)

    def post_seqnoincrease(self) -> None:
        """Nothing is kept."""

    def get_oscore_context_for(self, unprotected: dict[int, bytes]) -> Peer | None:
        """What aiocoap's server asks of each of its credentials."""
        return self if unprotected.get(oscore.COSE_KID) == self.recipient_id else None


class Inbox(resource.Resource):
    """The root: keeps what is posted, and answers 2.04 with what `answer` returns."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda payload: b"") -> None:
        super().__init__()
        self.payloads: list[bytes] = []
        self.messages: list[aiocoap.Message] = []
        self.answer = answer

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.payloads.append(request.payload)
        self.messages.append(request)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=self.answer(request.payload))


@contextlib.asynccontextmanager
async def plain_service(inbox: Inbox, peer: Peer) -> AsyncIterator[int]:
    """A protected server at a free port of 127.0.0.1; its port."""
    site = resource.Site()
    site.add_resource([], inbox)
    credentials: Any = CredentialsMap()
    credentials[":device"] = peer
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = await aiocoap.Context.create_server_context(
        oscore_sitewrapper.OscoreSiteWrapper(site, credentials),
        bind=("127.0.0.1", port),
        transports=["simplesocketserver"],
    )
    try:
        yield port
    finally:
        await server.shutdown()
