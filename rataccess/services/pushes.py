"""Unasked requests of a service, and which answer belongs to which.

Rules of this file: tokens and protection; no meaning of bodies.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable

from rataccess.errors import ProtectionFailed, SecurityError
from rataccess.objects import Service
from rataccess.security import RequestIdentity, Response, SecureContext, low_bits
from rataccess.services.airway import Airway
from rataccess.services.session import PUSH_TOKEN_BYTES, Session
from rataccess.services.sessions import Sessions

logger = logging.getLogger("rataccess.services")

_OPEN_PUSHES = 4096
"""Unasked requests whose answer is still awaited; the oldest is forgotten first."""


class Pushes:
    """Those whose answer is still awaited."""

    def __init__(self, service: Service, count: Callable[[str], None]) -> None:
        self._service = service
        self._count = count
        self._open: OrderedDict[bytes, tuple[bytes, SecureContext, RequestIdentity]] = OrderedDict()
        self._message_id = secrets.randbelow(0x10000)

    def request(self, session: Session, body: bytes) -> tuple[bytes, Hashable] | None:
        """A datagram for the device, and where it goes; `None` where its keys cannot be used any more."""
        try:
            token, data, identity = self._protect(session, body)
        except SecurityError as error:
            self._count("devices whose keys cannot be used")
            logger.error("%s: %s", session.entry.serial_number, error)
            return None
        self._open[token] = (session.kid, session.context, identity)
        while len(self._open) > _OPEN_PUSHES:
            self._open.popitem(last=False)
        self._count("unasked requests")
        return data, session.address

    def _protect(self, session: Session, body: bytes) -> tuple[bytes, bytes, RequestIdentity]:
        if isinstance(session.address, Airway):
            data, identity = session.context.protect_compact(body, self._service)
            return _compact_token(session.kid, low_bits(identity.sequence_number)), data, identity
        token = self._free_token()
        data, identity = session.context.protect_request(body, token=token, message_id=self.next_message_id())
        return token, data, identity

    def open_compact(self, data: bytes, session: Session, low: int) -> Response | None:
        """The genuine answer, in compact form, to one of them, or `None`; it is awaited no more."""
        token = _compact_token(session.kid, low)
        _, context, identity = self._open.get(token, (b"", None, None))
        if context is not session.context or identity is None:
            self._count("answers to nothing")
            return None
        try:
            response = session.context.unprotect_compact_response(data, identity)
        except ProtectionFailed:
            self._count("forged answers")
            return None
        del self._open[token]
        return response

    def open(self, data: bytes, token: bytes, sessions: Sessions) -> tuple[Session, Response] | None:
        """The genuine answer to one of them and whose it is, or `None`; it is awaited no more."""
        kid, context, identity = self._open.get(token, (b"", None, None))
        if sessions.is_revoked(kid):
            self._count("answers of revoked devices")
            return None
        session = sessions.in_memory(kid)
        if session is None or context is not session.context or identity is None:
            self._count("answers to nothing")
            return None
        try:
            response = session.context.unprotect_response(data, identity)
        except ProtectionFailed:
            self._count("forged answers")
            return None
        del self._open[token]
        return session, response

    def next_message_id(self) -> int:
        """CoAP's."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        return self._message_id

    def _free_token(self) -> bytes:
        while (token := secrets.token_bytes(PUSH_TOKEN_BYTES)) in self._open:
            pass
        return token


def _compact_token(kid: bytes, low: int) -> bytes:
    """What an answer in compact form is found by: longer than any token of ours, for a kid has a byte at least."""
    return b"compact" + low.to_bytes(2, "big") + kid
