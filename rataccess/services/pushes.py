"""Unasked requests of a service, and which answer belongs to which.

Rules of this file: tokens and protection; no meaning of bodies.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable

from rataccess.errors import ProtectionFailed, SecurityError
from rataccess.security import RequestIdentity, Response, SecureContext
from rataccess.services.session import PUSH_TOKEN_BYTES, Session
from rataccess.services.sessions import Sessions

logger = logging.getLogger("rataccess.services")

_OPEN_PUSHES = 4096
"""Unasked requests whose answer is still awaited; the oldest is forgotten first."""


class Pushes:
    """Those whose answer is still awaited."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._open: OrderedDict[bytes, tuple[bytes, SecureContext, RequestIdentity]] = OrderedDict()
        self._message_id = secrets.randbelow(0x10000)

    def request(self, session: Session, body: bytes) -> tuple[bytes, Hashable] | None:
        """A datagram for the device, and where it goes; `None` where its keys cannot be used any more."""
        token = self._free_token()
        message_id = self.next_message_id()
        try:
            data, identity = session.context.protect_request(body, token=token, message_id=message_id)
        except SecurityError as error:
            self._count("devices whose keys cannot be used")
            logger.error("%s: %s", session.entry.serial_number, error)
            return None
        self._open[token] = (session.kid, session.context, identity)
        while len(self._open) > _OPEN_PUSHES:
            self._open.popitem(last=False)
        self._count("unasked requests")
        return data, session.address

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
