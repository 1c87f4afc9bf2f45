"""A service without its socket: batches of datagrams in, datagrams to send out, one transaction between them.

Rules of this file: no I/O but the store's.  The order is fixed: tell what is genuine, lock the devices concerned, go on from
what is kept of them, strike out and take each message, commit, and only then give the answers away.  So several processes
may share one store: of a datagram that two of them get, one finds it struck out.  What a batch did to the sessions in memory
is thrown away with them where the commit fails.  Datagrams that do not prove who sent them are counted by cause and dropped,
before the store is asked for anything; nobody is told.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from rataccess.clock import Clock
from rataccess.errors import (
    KeyStoreError,
    ObjectError,
    ProtectionFailed,
    SecurityError,
    StoreCorrupt,
    StoreError,
    StoreUnreachable,
)
from rataccess.objects import Service
from rataccess.security import BAD_REQUEST, CHANGED, POST, Request
from rataccess.services.common import Common, Now
from rataccess.services.filing import file_known
from rataccess.services.floors import Era
from rataccess.services.keyfile import KeyFile
from rataccess.services.opening import Opening
from rataccess.services.pushes import Pushes
from rataccess.services.repeats import Repeats
from rataccess.services.schematics import by_id
from rataccess.services.session import Session
from rataccess.services.sessions import Sessions
from rataccess.services.settings import ServerSettings
from rataccess.services.store import Changes, ServiceStore
from rataccess.services.taking import Answer, Batch, Datagram, Genuine
from rataccess.services.tally import Tally
from rataccess.template import Template
from rataccess.wire import LateNumber

logger = logging.getLogger("rataccess.services")

NOT_FOUND, METHOD_NOT_ALLOWED = 0x84, 0x85
"""RFC 7252 section 12.1.2."""
_COUNT_EVERY = 1.0
"""Seconds between two times that counters are kept in a shared store: their rows are everybody's."""
_AWAY_FOR = 1.0
"""Seconds without another attempt after the store's server could not be reached: an attempt holds up the event loop."""
_SWEEP_EVERY = 60.0
"""Seconds between two times that packets are removed whose time has passed."""
_LOADED_AT_ONCE = 200
"""Sessions that a tick loads anew at most, so that a change of all does not hold up what comes in."""

__all__ = ["Datagram", "ServiceCore"]


class ServiceCore:
    """Everything that a service knows and does.  Used from one thread."""

    def __init__(
        self,
        service: Service,
        settings: ServerSettings,
        store: ServiceStore,
        keys: KeyFile,
        clock: Clock,
        *,
        templates: Iterable[Template] = (),
    ) -> None:
        """`templates` are those of the configuration: what devices have told of theirs goes before."""
        self.service = service
        self.store = store
        self._tally = Tally(store)
        self.counters = self._tally.counters
        self.refused = 0
        """Batches that the store refused."""
        self.on_calls: Callable[[], None] | None = None
        """Called after each commit that brought calls."""
        self.on_records: Callable[[], None] | None = None
        """Called after each commit that brought records or packets."""
        self._settings = settings
        self._clock = clock
        self._counted_at = clock.monotonic()
        self._stamps = (0, 0)
        self._away_until = self._swept_at = clock.monotonic()
        holder = secrets.token_hex(4)
        known = by_id(templates)
        self._era = Era()
        self._common = Common(service, store, settings, known, self.count, holder, self._era, clock.wall)
        self._sessions = Sessions(self._common, keys)
        self._pushes = Pushes(service, self.count)
        self._repeats = Repeats()
        self._opening = Opening(service, store, self._sessions, self._pushes, self._repeats, self.count)
        self._recent: OrderedDict[bytes, Session] = OrderedDict()
        file_known(store, known, settings, self.count, calls=service is Service.SOLUTION)

    def __repr__(self) -> str:
        return f"<ServiceCore {self.service} {len(self._sessions)} sessions>"

    @property
    def busy(self) -> bool:
        """Whether a device was heard a short while ago, so that `tick` has something to do."""
        return bool(self._recent) or self._tally.changed

    # --- batches ------------------------------------------------------------------------------------------------------

    def process(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        """Take a batch and return what to send, all of it durable.

        Raises `StoreCorrupt`.  Any other failure of the store loses the batch, which the devices send again.
        """
        if self._clock.monotonic() < self._away_until:
            self._refuse()
            return []
        try:
            self._sessions.look_around()
            return self._process(datagrams)
        except StoreCorrupt:
            raise
        except StoreError as error:
            if type(error) is StoreError and len(datagrams) > 1:
                return self._one_by_one(datagrams)  # the store refuses something, and perhaps not all
            if isinstance(error, StoreUnreachable):
                self._away()
            self._refuse()
            logger.warning("a batch of %d datagrams was not kept: %s", len(datagrams), error)
            return []
        except Exception:
            if len(datagrams) == 1:
                self.count("defects")
                logger.exception("a datagram of %d bytes met a defect and was dropped", len(datagrams[0][0]))
                return []
            return self._one_by_one(datagrams)

    def _refuse(self) -> None:
        self.refused += 1
        self.count("batches that the store refused")

    def _away(self) -> None:
        """The store's server is out of reach: who knows which copy it has when it is back."""
        self._away_until = self._clock.monotonic() + _AWAY_FOR
        self._era.end()

    def _one_by_one(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        return [answer for datagram in datagrams for answer in self.process([datagram])]

    def _process(self, datagrams: Sequence[Datagram]) -> list[Datagram]:
        batch, genuine = Batch(self._now()), list[Genuine]()
        for data, address in datagrams:
            found = self._opening.open(data, address, batch)
            if found is not None:
                genuine.append(found)
        if genuine:
            self._take_all(genuine, batch)
        protected = [self._protect(answer) for answer in batch.answers]
        return batch.again + [datagram for datagram in protected if datagram is not None]

    def _take_all(self, genuine: list[Genuine], batch: Batch) -> None:
        """The transaction."""
        try:
            with self.store.transaction():
                usable = self._settle({each.session.kid: each.session for each in genuine}, batch.changes, batch.now)
                for each in genuine:
                    if each.session.kid in usable:
                        self._take(each, batch)
                self._commit(batch)
        except BaseException:
            self._tally.give_back(batch.counted)
            for each in genuine:
                self._forget(each.session.kid)
            raise
        for kid, session in batch.sessions.items():
            self._recent[kid] = session
            self._recent.move_to_end(kid)
        for kid in self._sessions.shrink():
            self._recent.pop(kid, None)
        if batch.changes.calls and self.on_calls is not None:
            self.on_calls()
        if batch.changes.records and self.on_records is not None:
            self.on_records()

    def _settle(self, sessions: dict[bytes, Session], changes: Changes, now: Now) -> set[bytes]:
        """Within a transaction: lock the devices and go on from what is kept of them; the sessions that can be used."""
        versions = self.store.lock_devices({session.device for session in sessions.values()})
        stale = [each for each in sessions.values() if each.version != versions.get(each.device)]
        if any(each.version > versions.get(each.device, each.version) for each in stale):
            self._era.end()  # an old copy was put back under the running service
        unusable = self._load(stale, changes)
        if self.service is Service.MANAGEMENT:
            stamp = self.store.stamps()[0]
            fresh = (each for kid, each in sessions.items() if each.stamp != stamp and kid not in unusable)
            pushed = [each for each in fresh if each.push_environment(stamp, now.wall)]
            unusable |= self._load(pushed, changes)
        return sessions.keys() - unusable

    def _load(self, sessions: Sequence[Session], changes: Changes) -> set[bytes]:
        """Load sessions anew; those that cannot be."""
        states, unusable = self.store.load_devices([session.device for session in sessions]), set[bytes]()
        for session in sessions:
            try:
                session.load(states[session.device], changes)
            except (KeyStoreError, KeyError) as error:
                unusable.add(session.kid)
                self._sessions.unusable(session.entry, error)
                self._forget(session.kid)
        return unusable

    def _commit(self, batch: Batch) -> None:
        if not batch.sessions and not batch.changes.kept:
            return  # nothing but what was seen before
        for session in batch.sessions.values():
            session.save(batch.now.wall, batch.changes)
        if not self.store.shared or batch.now.monotonic - self._counted_at >= _COUNT_EVERY:
            self._counted_at = batch.now.monotonic
            batch.counted = self._tally.take()
        self.store.commit(batch.changes, batch.counted)

    # --- taking ---------------------------------------------------------------------------------------------------------

    def _take(self, each: Genuine, batch: Batch) -> None:
        session, request, late = each.session, each.request, False
        if request is not None:
            late = session.address is not None and request.identity.sequence_number < session.context.highest_seen
            try:
                session.context.strike_out(request)
            except ProtectionFailed as error:
                self._opening.count_refused(error)
                return
        batch.sessions[session.kid] = session
        if late:
            with session.heard_late(each.address):
                self._apply(each, batch)
        else:
            session.heard(each.address, batch.now)
            self._apply(each, batch)

    def _apply(self, each: Genuine, batch: Batch) -> None:
        session, request, response = each.session, each.request, each.response
        if request is not None:
            served = self._serve(session, request, batch)
            if served is not None:
                batch.answers.append(
                    Answer(session, request, *served, each.address, each.key, session.is_fresh(request))
                )
        elif response is not None:
            try:
                session.apply(response.body, batch.now, batch.changes)
            except ObjectError:
                self.count("malformed messages")

    def _serve(self, session: Session, request: Request, batch: Batch) -> tuple[int, bytes] | None:
        """Code and body of the answer; `None` where there is none."""
        if request.path:
            self.count("requests to another path")
            return NOT_FOUND, b""
        if request.code != POST:
            self.count("requests of another method")
            return METHOD_NOT_ALLOWED, b""
        try:
            message = session.apply(request.body, batch.now, batch.changes, request)
        except LateNumber:
            self.count("packets that came too late to be read")
            return None  # what it brought comes again, with another number
        except ObjectError:
            self.count("malformed messages")
            return BAD_REQUEST, b""
        self.count("messages")
        body = session.answer(message, request, batch.now)
        return None if body is None else (CHANGED, body)

    def _protect(self, answer: Answer) -> Datagram | None:
        """The datagram of an answer whose request is struck out on disk: it takes the nonce of the request, unless another
        era may have answered that; `None` where no other can be had now."""
        context, message_id = answer.session.context, self._pushes.next_message_id()
        answer.request.identity.reusable &= answer.reusing
        try:
            data = context.protect_response(answer.request, answer.code, answer.body, message_id=message_id)
        except (StoreError, SecurityError) as error:
            if isinstance(error, StoreUnreachable):
                self._away()
            self.count("answers that could not be sent")
            logger.warning("%s: an answer found no sequence number: %s", answer.session.entry.serial_number, error)
            return None
        self._repeats.keep(answer.key, data)
        return data, answer.address

    def _forget(self, kid: bytes) -> None:
        self._sessions.forget(kid)
        self._recent.pop(kid, None)

    # --- unasked ------------------------------------------------------------------------------------------------------

    def tick(self) -> list[Datagram]:
        """Once a second while `busy`: unasked requests for devices that were heard a short while ago.

        Raises the errors of the store; what waits still does.
        """
        now = self._now()
        if now.monotonic < self._away_until:
            return []
        self._sessions.look_around()
        for kid, session in list(self._recent.items()):
            if session.push_until < now.monotonic or self._sessions.in_memory(kid) is not session:
                del self._recent[kid]
        try:
            self._refresh(now)
            datagrams = [found for each in list(self._recent.values()) if (found := self._push(each, now)) is not None]
            if now.monotonic - self._swept_at >= _SWEEP_EVERY:
                self._swept_at = now.monotonic
                self.store.drop_packets(now.wall)
        except StoreUnreachable:
            self._away()
            raise
        self.save_counters()
        return datagrams

    @property
    def awaited(self) -> bool:
        """Whether a device waits for the answer to a call: `tick` should come more often."""
        now = self._clock.monotonic()
        return any(each.awaits_until > now for each in self._recent.values())

    def _refresh(self, now: Now) -> None:
        """Notice what others have done to the devices heard a short while ago, and leave those that others hear now."""
        if not self._recent:
            return
        stamps = self.store.stamps()
        news, self._stamps = stamps != self._stamps, stamps
        asked = {each.device: each for each in self._recent.values() if news or each.may_push(now)}
        stale: dict[bytes, Session] = {}
        for device, (version, holder) in self.store.versions(asked).items():
            session = asked[device]
            if holder not in (None, self._common.holder):
                self._recent.pop(session.kid, None)
            elif version != session.version or self._behind(session, stamps[0]):
                stale[session.kid] = session
        if len(stale) > _LOADED_AT_ONCE:
            stale = dict(list(stale.items())[:_LOADED_AT_ONCE])
            self._stamps = (0, 0)  # the others with the next tick
        if stale:
            self._refresh_now(stale, now)

    def _behind(self, session: Session, stamp: int) -> bool:
        return self.service is Service.MANAGEMENT and session.stamp != stamp

    def _refresh_now(self, sessions: dict[bytes, Session], now: Now) -> None:
        changes = Changes()
        try:
            with self.store.transaction():
                self._settle(sessions, changes, now)
                self.store.commit(changes, {})
        except BaseException:
            for kid in sessions:
                self._forget(kid)
            raise

    def _push(self, session: Session, now: Now) -> Datagram | None:
        body = session.push(now)
        return None if body is None else self._pushes.request(session, body)

    def send_packet(self, kid: bytes, data: bytes) -> Datagram | None:
        """A datagram with the packet `data` for a device that was heard a short while ago; `None` where it was not, or where
        the packet does not fit the path that it was last heard over.  At most once: nothing of it is kept."""
        session, now = self._recent.get(kid), self._now()
        if session is None or now.monotonic > session.push_until:
            return None
        body = session.packet_body(data, now)
        return None if body is None else self._pushes.request(session, body)

    # --- counters -----------------------------------------------------------------------------------------------------

    def count(self, cause: str) -> None:
        """Count one event; counters are kept with the next commit, in a shared store once a second."""
        self._tally.count(cause)

    def save_counters(self) -> None:
        """Keep the counters now; what the store refuses is kept later."""
        self._tally.save()

    def _now(self) -> Now:
        return Now(self._clock.wall(), self._clock.monotonic())
