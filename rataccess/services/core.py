"""A service without its socket: batches of datagrams in, datagrams to send out, one transaction between them.

Rules of this file: no I/O but the store's.  The order is fixed: take the whole batch, commit it, and only then give the
answers away.  What a batch did to the sessions in memory is thrown away with them where the commit fails.  Datagrams that
do not prove who sent them are counted by cause and dropped; nobody is told.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from rataccess.clock import Clock
from rataccess.errors import KeyStoreError, ObjectError, ProtectionFailed, SecurityError, StoreCorrupt, StoreError
from rataccess.objects import Service
from rataccess.security import BAD_REQUEST, CHANGED, POST, Header, Request, RequestIdentity, SecureContext, peek
from rataccess.services.keyfile import KeyFile
from rataccess.services.session import PUSH_TOKEN_BYTES, Now, Session
from rataccess.services.settings import ServerSettings
from rataccess.services.store import Changes, ServiceStore

logger = logging.getLogger("rataccess.services")

NOT_FOUND, METHOD_NOT_ALLOWED = 0x84, 0x85
"""RFC 7252 section 12.1.2."""
CONFIRMABLE = 0
_KEPT_ANSWERS = 1024
"""Answers kept for confirmable requests that come twice (RFC 7252 section 4.2)."""
_OPEN_PUSHES = 4096
"""Unasked requests whose answer is still awaited; the oldest is forgotten first."""

Datagram = tuple[bytes, Hashable]
"""Bytes, and an address that means something to the caller only; its `str` tells it from others."""


@dataclass(slots=True)
class _Answer:
    session: Session
    request: Request
    code: int
    body: bytes
    address: Hashable
    key: Hashable | None


@dataclass(slots=True)
class _Batch:
    changes: Changes = field(default_factory=Changes)
    sessions: dict[bytes, Session] = field(default_factory=dict)
    answers: list[_Answer] = field(default_factory=list)
    again: list[Datagram] = field(default_factory=list)
    """Answers of before, for confirmable requests that came twice."""


class ServiceCore:
    """Everything that a service knows and does.  Used from one thread."""

    def __init__(
        self, service: Service, settings: ServerSettings, store: ServiceStore, keys: KeyFile, clock: Clock
    ) -> None:
        self.service = service
        self.store = store
        self.counters: Counter[str] = Counter(store.counters())
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._pushes: OrderedDict[bytes, tuple[bytes, SecureContext, RequestIdentity]] = OrderedDict()
        self._recent: OrderedDict[bytes, Session] = OrderedDict()
        self._generation = 1
        self._message_id = secrets.randbelow(0x10000)
        self._counted = Counter(self.counters)
        keys.refresh()

    def __repr__(self) -> str:
        return f"<ServiceCore {self.service} sessions={len(self._sessions)}>"

    @property
    def busy(self) -> bool:
        """Whether a device was heard a short while ago, so that `tick` has something to do."""
        return bool(self._recent) or self.counters != self._counted

    # --- batches ------------------------------------------------------------------------------------------------------

    def process(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        """Take a batch and return what to send, all of it durable.

        Raises `StoreCorrupt`.  Any other failure of the store loses the batch, which the devices send again.
        """
        try:
            self._look_around()
            return self._process(datagrams)
        except StoreCorrupt:
            raise
        except StoreError as error:
            self.count("batches that the store refused")
            logger.warning("a batch of %d datagrams was not kept: %s", len(datagrams), error)
            return []
        except Exception:
            if len(datagrams) == 1:
                self.count("defects")
                logger.exception("a datagram of %d bytes met a defect and was dropped", len(datagrams[0][0]))
                return []
            return [answer for datagram in datagrams for answer in self.process([datagram])]

    def _process(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        batch, now = _Batch(), self._now()
        try:
            for data, address in datagrams:
                self._take(data, address, now, batch)
            self._commit(batch, now)
        except BaseException:
            for kid in batch.sessions:
                self._forget(kid)
            raise
        for kid, session in batch.sessions.items():
            self._recent[kid] = session
            self._recent.move_to_end(kid)
        self._shrink()
        return batch.again + [self._protect(answer) for answer in batch.answers]

    def _commit(self, batch: _Batch, now: Now) -> None:
        if not batch.sessions:
            return  # nothing but noise: it gets no disk access either
        for session in batch.sessions.values():
            session.save(now.wall, batch.changes)
        self.store.commit(batch.changes, self._uncounted())

    def _take(self, data: bytes, address: Hashable, now: Now, batch: _Batch) -> None:
        try:
            header = peek(data)
        except ProtectionFailed:
            self.count("malformed datagrams")
            return
        if header.kind == "request":
            self._request(data, address, header, now, batch)
        elif header.kind == "response":
            self._response(data, address, header, now, batch)
        else:
            self.count("empty messages and resets")

    def _request(self, data: bytes, address: Hashable, header: Header, now: Now, batch: _Batch) -> None:
        session = self._session(header.kid, now)
        if session is None:
            revoked = header.kid is not None and self._keys.is_revoked(header.kid)
            self.count("requests of revoked devices" if revoked else "requests of unknown devices")
            return
        key = _request_key(data, address) if header.type == CONFIRMABLE else None
        if key is not None and key in self._kept:
            self.count("confirmable requests answered again")
            batch.again.append((self._kept[key], address))
            return
        try:
            request = session.context.unprotect_request(data)
        except ProtectionFailed as error:
            self.count("replayed requests" if "seen before" in str(error) else "forged requests")
            return
        batch.sessions[session.kid] = session
        session.heard(address, now)
        code, body = self._serve(session, request, now, batch.changes)
        batch.answers.append(_Answer(session, request, code, body, address, key))

    def _serve(self, session: Session, request: Request, now: Now, changes: Changes) -> tuple[int, bytes]:
        if request.path:
            self.count("requests to another path")
            return NOT_FOUND, b""
        if request.code != POST:
            self.count("requests of another method")
            return METHOD_NOT_ALLOWED, b""
        try:
            message = session.apply(request.body, now, changes)
        except ObjectError:
            self.count("malformed messages")
            return BAD_REQUEST, b""
        self.count("messages")
        return CHANGED, session.answer(message, request.token, now)

    def _response(self, data: bytes, address: Hashable, header: Header, now: Now, batch: _Batch) -> None:
        kid, context, identity = self._pushes.get(header.token, (b"", None, None))
        session = self._sessions.get(kid)
        if session is None or context is not session.context or identity is None:
            self.count("answers to nothing")
            return
        if self._keys.is_revoked(kid):
            self.count("answers of revoked devices")
            return
        try:
            response = session.context.unprotect_response(data, identity)
        except ProtectionFailed:
            self.count("forged answers")
            return
        del self._pushes[header.token]
        batch.sessions[kid] = session
        session.heard(address, now)
        try:
            session.apply(response.body, now, batch.changes)
        except ObjectError:
            self.count("malformed messages")

    def _protect(self, answer: _Answer) -> Datagram:
        """The datagram of an answer whose request is struck out on disk: it takes the nonce of the request."""
        context, message_id = answer.session.context, self._next_message_id()
        data = context.protect_response(answer.request, answer.code, answer.body, message_id=message_id)
        if answer.key is not None:
            self._kept[answer.key] = data
            if len(self._kept) > _KEPT_ANSWERS:
                self._kept.popitem(last=False)
        return data, answer.address

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Notice what other processes did to the key file and the store."""
        try:
            changed = self._keys.refresh()
        except KeyStoreError as error:
            self.count("unreadable key files")
            logger.error("%s; the devices of before stay in force", error)
            changed = False
        if self.store.changed_elsewhere() or changed:
            self._generation += 1

    def _session(self, kid: bytes | None, now: Now) -> Session | None:
        entry = None if kid is None else self._keys.by_kid(kid)
        if kid is None or entry is None:
            return None
        session = self._sessions.get(kid)
        if session is not None and session.entry.secret != entry.secret:
            self._forget(kid)
            session = None
        if session is None:
            try:
                session = Session(entry, self.store, self.service, self._settings, self.count, now.wall)
            except KeyStoreError as error:
                self.count("devices whose keys cannot be used")
                logger.error("%s: %s", entry.serial_number, error)
                return None
            self._sessions[kid] = session
        elif session.generation != self._generation:
            session.refresh(entry, now.wall)
        session.generation = self._generation
        self._sessions.move_to_end(kid)
        return session

    def _forget(self, kid: bytes) -> None:
        self._sessions.pop(kid, None)
        self._recent.pop(kid, None)

    def _shrink(self) -> None:
        while len(self._sessions) > self._settings.sessions:
            self._forget(next(iter(self._sessions)))

    # --- unasked ------------------------------------------------------------------------------------------------------

    def tick(self) -> list[Datagram]:
        """Once a second while `busy`: unasked requests for devices that were heard a short while ago."""
        self._look_around()
        now = self._now()
        for kid, session in list(self._recent.items()):
            if now.monotonic - session.heard_at <= self._settings.push_for:
                break  # the least recently heard comes first
            del self._recent[kid]
        datagrams = [datagram for kid in list(self._recent) for datagram in self._push(kid, now)]
        if not self._recent:
            self.save_counters()
        return datagrams

    def _push(self, kid: bytes, now: Now) -> Iterator[Datagram]:
        session = self._session(kid, now)
        if session is None or not session.may_push(now.monotonic):
            return
        token = self._free_token()
        body, message_id = session.push(now), self._next_message_id()
        try:
            data, identity = session.context.protect_request(body, token=token, message_id=message_id)
        except SecurityError as error:
            self.count("devices whose keys cannot be used")
            logger.error("%s: %s", session.entry.serial_number, error)
            return
        self._pushes[token] = (kid, session.context, identity)
        while len(self._pushes) > _OPEN_PUSHES:
            self._pushes.popitem(last=False)
        self.count("unasked requests")
        yield data, session.address

    def _free_token(self) -> bytes:
        while (token := secrets.token_bytes(PUSH_TOKEN_BYTES)) in self._pushes:
            pass
        return token

    # --- small things -------------------------------------------------------------------------------------------------

    def count(self, cause: str) -> None:
        """Count one event; counters are kept with the next commit."""
        self.counters[cause] += 1

    def save_counters(self) -> None:
        """Keep the counters now; what the store refuses is kept later."""
        uncounted = self._uncounted()
        if uncounted:
            try:
                self.store.commit(Changes(), uncounted)
            except StoreCorrupt:
                raise
            except StoreError as error:
                logger.warning("counters were not kept: %s", error)

    def _uncounted(self) -> dict[str, int]:
        changed = {name: value - self._counted[name] for name, value in self.counters.items()}
        changed = {name: value for name, value in changed.items() if value}
        self._counted.update(changed)
        return changed

    def _now(self) -> Now:
        return Now(self._clock.wall(), self._clock.monotonic())

    def _next_message_id(self) -> int:
        self._message_id = (self._message_id + 1) & 0xFFFF
        return self._message_id


def _request_key(data: bytes, address: Hashable) -> Hashable:
    return address, hashlib.sha256(data).digest()
