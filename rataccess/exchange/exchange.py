"""The exchange with one service: which records go into which request, and what becomes of them.

Rules of this file: it owns the requests in flight (tokens, time-outs, windows) and applies answers to the store.  Access
decides about links, security about bytes, the store about durability.  One task for each link sends (a lane); it builds a
message only at the moment of sending, so that the most urgent record goes first whatever waited before.

A record is settled by the service's acknowledgement, over whatever link that comes.  An attempt that is overdue, or whose
link is lost, gives its records back; they go again, protected anew, and the service tells duplicates by record number.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Protocol

from rataccess.access import Access, Kind
from rataccess.clock import Clock
from rataccess.errors import (
    BudgetExceeded,
    NotNow,
    ObjectError,
    PacketTooLarge,
    ProtectionFailed,
    RataccessError,
    ServiceRefused,
)
from rataccess.exchange.compose import Composer, Draft
from rataccess.exchange.inbound import Inflow
from rataccess.exchange.lane import Flight, Lane, Tokens
from rataccess.exchange.staging import Outgoing, Staging
from rataccess.numbers import NumberSet
from rataccess.objects import ReceiptState, Service, Urgency
from rataccess.policy import Demand
from rataccess.security import CHANGED, Request, SecureContext, peek
from rataccess.store import Inbound, Store
from rataccess.transport import Handover, Packet
from rataccess.wire import BASE, MORE, PARTIAL, TIME, Message, decode_message, encode_message

_log = logging.getLogger("rataccess.exchange")

MOST_LATE = 512
"""Overdue requests whose late answer is still taken; the oldest go first."""
RESEND_AFTER = 6 * 3600.0
"""Seconds that a record which the operator took (handover) waits for its acknowledgement."""
HOUSEKEEPING = 5.0
"""Seconds between looks at what has expired, while anything waits."""
HOUSEKEEPING_IDLE = 300.0
REFUSED_PAUSE = 1.0
REFUSED_IN_A_ROW = 2
"""A refusal is quick and certain, and where it costs nothing the service is asked again soon, however often it refused."""
STUCK = 2.0
"""Seconds that handing one packet to a radio may take before that is silence too: 1,460 bytes at 9,600 baud take 1.6 s."""


def replay_key(service: Service) -> str:
    """Where the store keeps the replay window of a service's own requests."""
    return f"replay/{service}"


class Observer(Protocol):
    """What an exchange tells the floor above."""

    def records_sent(self, numbers: Sequence[int]) -> None:
        """They left the device for the first time or again."""

    def objects_arrived(self, objects: Sequence[Inbound]) -> None:
        """They are in the inbox."""

    def time_told(self, wall: float) -> None:
        """The service says that it is `wall` (seconds since 1970) now."""


class Exchange:
    """One service's exchange; a `User` of access."""

    def __init__(
        self,
        service: Service,
        *,
        store: Store,
        context: SecureContext,
        access: Access,
        clock: Clock,
        random: random.Random,
        ask_time: bool = False,
    ) -> None:
        self.service = service
        self._store = store
        self._context = context
        self._access = access
        self._clock = clock
        self._random = random
        self._tokens = Tokens(random)
        self._message_id = random.randrange(65_536)
        self.staging = Staging(store, service)
        self._lanes = {name: Lane(name) for name in access.links}
        self._flights: dict[bytes, Flight] = {}
        self._late: dict[bytes, None] = {}
        self._outgoing: dict[int, Outgoing] = {}
        self._handed: dict[int, Outgoing] = {}
        self._settling: set[int] = set()
        self._inflow = Inflow(service, store)
        self._received = store.received(service)
        self._composer = Composer(self, context)
        self._floor_at = float("-inf")
        self.peer_floor: int | None = None
        self.ask_time = ask_time
        self.news: set[str] = {"hello"}
        """What the service is to be told, of `hello`, `acknowledge`, `base`: reason enough for a request that is free."""
        self._tasks: list[asyncio.Task[None]] = []
        self._replies: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self.dropped = 0
        """Packets that were malformed, forged, replayed or unasked for."""

    def __repr__(self) -> str:
        return f"<Exchange {self.service} flights={len(self._flights)} outgoing={len(self._outgoing)}>"

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self, observer: Observer) -> None:
        """Begin to send; `observer` hears what becomes of it."""
        self._observer = observer
        self._access.use(self.service, self)
        for lane in self._lanes.values():
            self._tasks.append(asyncio.create_task(self._run(lane), name=f"exchange {self.service} {lane.link}"))
            lane.wake.set()
        self._tasks.append(asyncio.create_task(self._keep_house(), name=f"exchange {self.service} housekeeping"))

    async def aclose(self) -> None:
        """Stop; what was not acknowledged stays in the store; idempotent."""
        for task in (*self._tasks, *self._replies):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._replies, return_exceptions=True)
        for flight in self._flights.values():
            if flight.timer:
                flight.timer.cancel()
        for lane in self._lanes.values():
            if lane.pause:
                lane.pause.cancel()
        self._tasks.clear()
        self._flights.clear()

    def arrived(self, urgency: Urgency) -> None:
        """A record of that urgency is in the store."""
        self.staging.arrived(urgency)
        self._wake()

    def settled(self, numbers: Sequence[int]) -> None:
        """The store has written down that these records are settled: delivered, expired, dropped or replaced."""
        self._settling.difference_update(numbers)
        for number in numbers:
            item = self._outgoing.pop(number, None)
            if item:
                item.settled = True
        self._wake_if_idle()

    def _wake(self) -> None:
        for lane in self._lanes.values():
            lane.wake.set()

    def _wake_if_idle(self) -> None:
        if not (self._outgoing or self._settling):
            self._idle.set()

    # --- sending -------------------------------------------------------------------------------------------------------

    async def _run(self, lane: Lane) -> None:
        while True:
            await lane.wake.wait()
            lane.wake.clear()
            try:
                while await self._send_one(lane):
                    pass
            except RataccessError:
                _log.exception("%s over %s: sending failed", self.service, lane.link)

    async def _send_one(self, lane: Lane) -> bool:
        link = self._access.links[lane.link].link
        if not link.ready or link.hints is None:
            return False
        urgency = self.staging.top()
        if not lane.open_for(urgency is not None and urgency >= Urgency.PROMPT):
            return False
        if not lane.probe and (pause := lane.not_before - self._clock.monotonic()) > 0:
            self._pause(lane, pause)
            return False
        draft = self._composer.compose(lane, link.hints, self.permits)
        if draft is None:
            return False
        return await self._launch(lane, draft)

    def permits(self, lane: Lane, item: Outgoing, size: int) -> bool:
        """Whether policy gives `item` to this lane's link, in a packet of `size` bytes."""
        record = item.record
        demand = Demand(self.service, record.urgency, size if record.max_cost else 0, record.max_cost, record.links)
        return self._access.decide(demand).link == lane.link

    def _pause(self, lane: Lane, seconds: float) -> None:
        if lane.pause:
            lane.pause.cancel()
        lane.pause = asyncio.get_running_loop().call_later(seconds, lane.wake.set)

    async def _launch(self, lane: Lane, draft: Draft) -> bool:
        token = self._tokens.new(self._flights)
        self._message_id = (self._message_id + 1) & 0xFFFF
        data, identity = self._context.protect_request(draft.body, token=token, message_id=self._message_id)
        flight = Flight(token, identity, lane, self._clock.monotonic(), draft.parts, flags=draft.flags)
        self._flights[token] = flight
        lane.in_flight += 1
        for item, _, _ in draft.parts:
            item.flights += 1
            self._outgoing[item.record.number] = item
        timeout = self._access.links[lane.link].timer.timeout
        flight.timer = asyncio.get_running_loop().call_later(STUCK + timeout, self._overdue, flight, timeout)
        try:
            handover = await self._access.send(lane.link, Packet(data, self.service))
        except BaseException as error:
            self._ground(flight)
            if isinstance(error, RataccessError):
                return self._refused_by_link(lane, error)
            raise
        if flight.live:
            self._sent(flight, handover)
        return True

    def _refused_by_link(self, lane: Lane, error: RataccessError) -> bool:
        """What could not be sent waits again; returns whether to try at once."""
        if isinstance(error, PacketTooLarge):
            return True
        if isinstance(error, NotNow | BudgetExceeded):
            lane.not_before = self._clock.monotonic() + error.retry_after
            self._pause(lane, error.retry_after)
        elif isinstance(error, ServiceRefused):
            self.refused(lane.link)
        self._wake()
        return False

    def _sent(self, flight: Flight, handover: Handover | None) -> None:
        flight.sent_at = self._clock.monotonic()
        numbers = [item.record.number for item, _, _ in flight.parts]
        if numbers:
            self._store.mark_sent(self.service, numbers)
            self._observer.records_sent(numbers)
        if handover is not None:
            self._handed_over(flight, numbers)
            return
        timeout = self._access.links[flight.lane.link].timer.timeout
        if flight.timer:
            flight.timer.cancel()
        flight.timer = asyncio.get_running_loop().call_later(timeout, self._overdue, flight, timeout)

    def _handed_over(self, flight: Flight, numbers: list[int]) -> None:
        """The operator took it: wait for the next cheap acknowledgement, and do not send again before long."""
        self._land(flight)
        self._handed.update((item.record.number, item) for item, _, _ in flight.parts)
        self._store.hand_over(self.service, numbers, self._clock.wall() + RESEND_AFTER)
        self._remember_late(flight)

    # --- trouble -------------------------------------------------------------------------------------------------------

    def _land(self, flight: Flight) -> None:
        """The flight no longer counts for window and time-out."""
        flight.live = False
        flight.lane.in_flight -= 1
        if flight.timer:
            flight.timer.cancel()
        for item, _, _ in flight.parts:
            item.flights -= 1

    def _ground(self, flight: Flight) -> None:
        """The flight is given up: what it told is untold, and records that no other flight carries wait again."""
        if flight.live:
            self._land(flight)
            self._give_back(flight)
            self._remember_late(flight)

    def _give_back(self, flight: Flight) -> None:
        self.news |= flight.flags & {"acknowledge", "base", "hello"}
        waiting = []
        for item, start, end in flight.parts:
            if item.settled:
                continue
            if end:
                if not item.missing:
                    waiting.append(item)
                item.give_back(start, end)
            elif item.flights == 0:
                waiting.append(item)
        self.staging.put_back(waiting)

    def _remember_late(self, flight: Flight) -> None:
        self._late[flight.token] = None
        while len(self._late) > MOST_LATE:
            token = next(iter(self._late))
            del self._late[token]
            self._flights.pop(token, None)

    def _overdue(self, flight: Flight, timeout: float) -> None:
        if not flight.live:
            return
        self._ground(flight)
        flight.lane.overdue(flight.sent_at, self._clock.monotonic(), timeout, 0.75 + self._random.random() / 2)
        self._access.overdue(flight.lane.link, self.service, flight.sent_at)
        self._wake()

    def link_lost(self, link: str) -> None:
        """What is in flight over `link` goes again at once."""
        lane = self._lanes[link]
        for flight in [each for each in self._flights.values() if each.lane is lane and each.live]:
            self._ground(flight)
        lane.restart()
        self._wake()

    def refused(self, link: str) -> None:
        """Nobody listens at the service's address: what is in flight there is lost; ask again, but not at once."""
        lane = self._lanes[link]
        for flight in [each for each in self._flights.values() if each.lane is lane and each.live]:
            self._ground(flight)
        now = self._clock.monotonic()
        if self.free(link):
            lane.silent = min(lane.silent, REFUSED_IN_A_ROW - 1)
        lane.overdue(now, now, REFUSED_PAUSE, 0.75 + self._random.random() / 2)
        lane.wake.set()

    def access_changed(self) -> None:
        """Decisions may come out otherwise now."""
        self._wake()

    def probe(self, link: str) -> None:
        """Ask for an answer over `link`, whatever policy says of records."""
        lane = self._lanes[link]
        lane.probe = True
        lane.wake.set()

    # --- answers -------------------------------------------------------------------------------------------------------

    def packet_received(self, link: str, data: bytes) -> None:
        """A packet for this service's context: an answer, or a request of the service's own."""
        try:
            header = peek(data)
            if header.kind == "request":
                self._serve(link, self._context.unprotect_request(data))
            elif header.kind == "response":
                self._answer(link, header.token, data)
        except (ProtectionFailed, ObjectError) as error:
            self.dropped += 1
            _log.debug("%s over %s: dropped a packet: %s", self.service, link, error)

    def _answer(self, link: str, token: bytes, data: bytes) -> None:
        flight = self._flights.get(token)
        if flight is None:
            self.dropped += 1
            return
        response = self._context.unprotect_response(data, flight.identity)
        now = self._clock.monotonic()
        live = flight.live
        if live:
            self._land(flight)
            flight.lane.answered(now)
        del self._flights[token]
        self._late.pop(token, None)
        if response.code != CHANGED:
            self._complain(flight, response.code)
            return
        if "link" in flight.flags:
            flight.lane.told_link = True
        self._access.answered(link, self.service, now - flight.sent_at if live else None)
        self._apply(response.body, link, flight)
        flight.lane.wake.set()

    def _complain(self, flight: Flight, code: int) -> None:
        """The service took the request for genuine and refused it: its records wait, for long."""
        text = f"the {self.service} service answered {code >> 5}.{code & 31:02d} to a request"
        self._access.note(Kind.SERVICE, text)
        _log.error("%s; its %d record(s) wait", text, len(flight.parts))
        flight.lane.not_before = self._clock.monotonic() + REFUSED_PAUSE * 10
        self._give_back(flight)

    def _apply(self, body: bytes, link: str, flight: Flight | None) -> None:
        message = decode_message(body, floor=self._received.floor, now=self._clock.wall())
        if flight is not None and not body:
            self._settle([item for item, _, end in flight.parts if not end], link)  # a service that says only 2.04
        if message.acknowledged is not None:
            self._acknowledged(message.acknowledged, message.control, link, flight)
        self._control(message.control, link)
        if message.records or BASE in message.control:
            self._take(message)

    def _acknowledged(self, numbers: NumberSet, control: dict[int, Any], link: str, flight: Flight | None) -> None:
        if self.peer_floor is not None and numbers.floor < self.peer_floor:
            if flight is not None and flight.sent_at < self._floor_at:
                return  # an answer that was overtaken
            self._access.note(Kind.SERVICE, f"the {self.service} service has forgotten what it acknowledged")
            self.news.add("base")
        if self.peer_floor is None or numbers.floor != self.peer_floor:
            self.peer_floor, self._floor_at = numbers.floor, flight.sent_at if flight else 0.0
        parts = flight.parts if flight else []
        done = [item for item, _, _ in parts if item.record.number in numbers and not item.settled]
        done += [item for number, item in self._handed.items() if number in numbers and not item.settled]
        self._settle(done, link)
        self._keep_ranges(control.get(PARTIAL), parts)
        if not self._outgoing and numbers.floor + 1 < self._store.base(self.service):
            self.news.add("base")  # a hole that nothing will ever fill: expired, dropped or replaced records

    def _settle(self, items: Sequence[Outgoing], link: str) -> None:
        if not items:
            return
        numbers = sorted({item.record.number for item in items})
        for item in items:
            item.settled = True
            self._outgoing.pop(item.record.number, None)
            self._handed.pop(item.record.number, None)
            if item.wire.queue is not None:
                self._store.confirm_queue(self.service, item.record.queue_id)
        self._access.links[link].traffic.records += len(numbers)
        self._settling.update(numbers)
        self._store.settle(self.service, numbers, ReceiptState.DELIVERED)

    def _keep_ranges(self, told: object, parts: list[tuple[Outgoing, int, int]]) -> None:
        """What the service holds of unfinished objects; it may hold more or less than this flight carried."""
        held = told if isinstance(told, dict) else {}
        again = []
        for item in {item for item, _, end in parts if end and not item.settled}:
            spans = held.get(item.record.number)
            if isinstance(spans, list) and len(spans) % 2 == 0 and item.flights == 0:
                had = bool(item.missing)
                item.hold_only(zip(spans[::2], spans[1::2], strict=True))
                if item.missing and not had:
                    again.append(item)
        self.staging.put_back(again)

    def _control(self, control: dict[int, Any], link: str) -> None:
        told = control.get(TIME)
        if type(told) is int and told > 0:
            self.ask_time = False
            self._observer.time_told(told / 1000)
        if control.get(MORE) is True:
            self.probe(link)

    # --- records from the service --------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        received = self._received.copy()
        base = message.control.get(BASE)
        if type(base) is int and base > 0:
            received.raise_floor(base - 1)
        new = [record for record in message.records if record.number not in received]
        objects = self._inflow.accept(new)
        for each in objects:
            received.add(each.number)
        if objects or received != self._received:
            self._store.receive(self.service, objects, received)
            self._received = received
        self.news.add("acknowledge")
        if objects:
            self._observer.objects_arrived(objects)

    def _serve(self, link: str, request: Request) -> None:
        """A request of the service's own: apply it, answer it."""
        self._access.answered(link, self.service, None)
        self._apply(request.body, link, None)
        control: dict[int, Any] = {PARTIAL: partial} if (partial := self._inflow.partial()) else {}
        body = encode_message(Message(self._received, control), floor=None, now=self._clock.wall())
        self.news.discard("acknowledge")
        # on disk before the answer leaves: a replay after a restart is refused, and the answer may reuse the nonce
        self._store.put_now(replay_key(self.service), self._context.replay_state())
        self._message_id = (self._message_id + 1) & 0xFFFF
        data = self._context.protect_response(request, CHANGED, body, message_id=self._message_id)
        task = asyncio.create_task(self._reply(link, data))
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _reply(self, link: str, data: bytes) -> None:
        try:
            await self._access.send(link, Packet(data, self.service))
        except RataccessError as error:
            _log.debug("%s over %s: an answer was not sent: %s", self.service, link, error)

    # --- what the composer asks ----------------------------------------------------------------------------------------

    @property
    def received(self) -> NumberSet:
        """What has arrived from the service."""
        return self._received

    @property
    def partial(self) -> dict[int, list[int]]:
        """The byte ranges held of the service's unfinished objects."""
        return self._inflow.partial()

    def expired(self, item: Outgoing) -> bool:
        """Whether it is too late to send `item`; housekeeping settles it."""
        expires_at = item.record.expires_at
        return expires_at is not None and self._clock.wall_known() and expires_at <= self._clock.wall()

    def base(self) -> int:
        """Every record below this number is settled."""
        return self._store.base(self.service)

    def wall(self) -> float:
        """Now, in seconds since 1970."""
        return self._clock.wall()

    def free(self, link: str) -> bool:
        """Whether a packet over `link` costs nothing."""
        return self._access.links[link].view().free

    def in_use(self, link: str) -> bool:
        """Whether ordinary records take `link` now."""
        return self._access.current == link

    # --- time ----------------------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        while True:
            busy = bool(self._outgoing or self._store.base(self.service) <= self._store.last_number(self.service))
            await asyncio.sleep(HOUSEKEEPING if busy else HOUSEKEEPING_IDLE)
            now = self._clock.wall()
            if self._clock.wall_known():
                self._store.expire(now)
            due = self._store.due_for_resend(self.service, now, 64)
            again = [
                self._handed.pop(record.number) if record.number in self._handed else Outgoing(record) for record in due
            ]
            if again:
                self._store.hand_over(self.service, [item.record.number for item in again], now + RESEND_AFTER)
                self.staging.put_back(again)
                self._wake()

    async def drained(self) -> None:
        """Wait until every record is settled, and the store has that."""
        while self._outgoing or self._settling or self.staging.top() is not None:
            self._idle.clear()
            await self._idle.wait()
