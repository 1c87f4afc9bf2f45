"""What the tests of the security floor compare with: aiocoap's OSCORE, and a memory that forgets what was not synced.

Rules of this file: helpers only; nothing here is imported by the library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap import oscore
from aiocoap.message import Direction

SECRET = bytes(range(1, 17))
SALT = bytes.fromhex("9e7ca92223786340")


def vectors() -> dict[str, Any]:
    """RFC 8613 appendix C."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "corpora" / "oscore_vectors.json"
        if not found.exists():
            found = folder.parent / "shared" / "corpora" / "oscore_vectors.json"
        if found.exists():
            loaded: dict[str, Any] = json.loads(found.read_text())
            return loaded
    pytest.skip("the vectors of RFC 8613 are not there (shared/corpora/oscore_vectors.json)", allow_module_level=True)


class Disk:
    """A `Memory` whose `crash` loses what was only `put`."""

    def __init__(self) -> None:
        self.synced: dict[str, bytes] = {}
        self.pending: dict[str, bytes] = {}
        self.commits = 0

    def get(self, key: str) -> bytes | None:
        return self.pending.get(key, self.synced.get(key))

    def put(self, key: str, value: bytes) -> None:
        self.pending[key] = value

    def put_now(self, key: str, value: bytes) -> None:
        self.commits += 1
        self.pending[key] = value
        self.commit()

    def commit(self) -> None:
        self.synced.update(self.pending)
        self.pending.clear()

    def crash(self) -> None:
        self.pending.clear()


class Reference(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):
    """A context of aiocoap's with the same parameters as ours."""

    echo_recovery = None

    def __init__(
        self, sender_id: bytes, recipient_id: bytes, secret: bytes, salt: bytes = b"", id_context: bytes | None = None
    ) -> None:
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id, self.id_context = sender_id, recipient_id, id_context
        self.sender_sequence_number = 0
        self.recipient_replay_window = oscore.ReplayWindow(1024, lambda: None)
        self.recipient_replay_window.initialize_empty()
        self.derive_keys(salt, secret)

    def post_seqnoincrease(self) -> None:
        pass

    def protect_bytes(self, message: aiocoap.Message, request_id: Any = None) -> tuple[bytes, Any]:
        """The protected message of a plain one, as a datagram."""
        message.direction = Direction.OUTGOING
        outer, identity = self.protect(message, request_id)
        outer.mtype, outer.mid, outer.token = message.mtype, message.mid, message.token
        return outer.encode(), identity

    def unprotect_bytes(self, datagram: bytes, request_id: Any = None) -> tuple[aiocoap.Message, Any]:
        """The plain message of a protected datagram."""
        outer = aiocoap.Message.decode(datagram)
        outer.direction = Direction.INCOMING
        return self.unprotect(outer, request_id)

    def get_oscore_context_for(self, unprotected: dict[int, bytes]) -> Reference | None:
        """What aiocoap's server asks of each of its credentials."""
        return self if unprotected.get(oscore.COSE_KID) == self.recipient_id else None


def plain(
    code: int, payload: bytes, token: bytes, message_id: int, mtype: int, path: tuple[str, ...] = ()
) -> aiocoap.Message:
    """A plain message of aiocoap's."""
    message = aiocoap.Message(code=aiocoap.Code(code), payload=payload, uri_path=path)
    message.mtype, message.mid, message.token = aiocoap.Type(mtype), message_id, token
    return message
