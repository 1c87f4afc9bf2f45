"""Telling what is genuine: datagrams and packets in compact form to `Genuine`, before anything is written.

Rules of this file: keys and counters; nothing is struck out or applied here.  What does not prove who sent it is counted by
cause and dropped; nobody is told.  The store is asked for nothing but a replay window that another process has moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from rataccess.errors import ProtectionFailed
from rataccess.objects import Service
from rataccess.security import CompactHeader, Header, Request, peek, read_compact
from rataccess.services.airway import Airway
from rataccess.services.pushes import Pushes
from rataccess.services.repeats import Repeats
from rataccess.services.session import Session
from rataccess.services.sessions import Sessions
from rataccess.services.store import ServiceStore
from rataccess.services.taking import Batch, Genuine

CONFIRMABLE = 0
_UNKNOWN = "requests of unknown devices"
_UNKNOWN_NAME = "packets of unknown names"
_OTHER_SERVICE = "packets for the other service"
_MALFORMED = "malformed datagrams"


class Opening:
    """One service's."""

    def __init__(
        self,
        service: Service,
        store: ServiceStore,
        sessions: Sessions,
        pushes: Pushes,
        repeats: Repeats,
        count: Callable[[str], None],
    ) -> None:
        self._service = service
        self._store = store
        self._sessions = sessions
        self._pushes = pushes
        self._repeats = repeats
        self._count = count

    def open(self, data: bytes, address: Hashable, batch: Batch) -> Genuine | None:
        """What `data` is, where it is genuine.  An answer of before to a request that came twice goes into `batch`."""
        if isinstance(address, Airway):
            return self._open_compact(data, address, batch)
        try:
            header = peek(data)
        except ProtectionFailed:
            self._count(_MALFORMED)
            return None
        if header.kind == "request":
            return self._open_request(data, address, header, batch)
        if header.kind == "response":
            return self._open_response(data, address, header)
        self._count("empty messages and resets")
        return None

    def count_refused(self, error: ProtectionFailed) -> None:
        """A request did not prove genuine, or came twice."""
        self._count("replayed requests" if "seen before" in str(error) else "forged requests")

    def _open_request(self, data: bytes, address: Hashable, header: Header, batch: Batch) -> Genuine | None:
        session = self._sessions.find(header.kid)
        if session is None:
            self._count("requests of revoked devices" if self._sessions.is_revoked(header.kid) else _UNKNOWN)
            return None
        if not session.allowance.open(batch.now.monotonic):
            self._count("messages over the rate")
            return None
        key = self._repeats.key(data, address) if header.type == CONFIRMABLE else None
        kept = self._repeats.answer(key)
        if kept is not None:
            self._count("confirmable requests answered again")
            batch.again.append((kept, address))
            return None
        try:
            request = session.context.open_request(data)
        except ProtectionFailed as error:
            self.count_refused(error)
            return None
        self._sessions.keep(session)
        return Genuine(session, address, request=request, key=key)

    def _open_response(self, data: bytes, address: Hashable, header: Header) -> Genuine | None:
        found = self._pushes.open(data, header.token, self._sessions)
        return None if found is None else Genuine(found[0], address, response=found[1])

    # --- compact form --------------------------------------------------------------------------------------------------

    def _open_compact(self, data: bytes, airway: Airway, batch: Batch) -> Genuine | None:
        try:
            header = read_compact(data)
        except ProtectionFailed:
            self._count(_MALFORMED)
            return None
        if header.service is not self._service:
            self._count(_OTHER_SERVICE)
            return None
        session = self._sessions.find_named(airway.kind, airway.name)
        if session is None:
            self._count(_UNKNOWN_NAME)
            return None
        if header.response:
            assert header.low is not None
            response = self._pushes.open_compact(data, session, header.low)
            return None if response is None else Genuine(session, airway, response=response)
        if not session.allowance.open(batch.now.monotonic):
            self._count("messages over the rate")
            return None
        try:
            request = self._open_number(session, data, header)
        except ProtectionFailed as error:
            self.count_refused(error)
            return None
        self._sessions.keep(session)
        return Genuine(session, airway, request=request)

    def _open_number(self, session: Session, data: bytes, header: CompactHeader) -> Request:
        """A short sequence number is completed by what was seen of the device, be it by another process."""
        try:
            return session.context.open_compact(data)
        except ProtectionFailed:
            version, _ = self._store.versions([session.device]).get(session.device, (session.version, None))
            if header.low is None or version == session.version:
                raise
            kept = self._store.load_devices([session.device])[session.device].device.replay
            return session.context.open_compact(data, kept)
