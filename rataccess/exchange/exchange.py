"""The exchange with one service: which records go into which request, and when they go again.

Rules of this file: it sends, and it minds what is in flight (windows, time-outs).  Access decides about links, security
about bytes, the store about durability, `ledger` about what became of records, `reception` about what comes in.  One task
for each link sends (a lane); it builds a message only at the moment of sending, so that the most urgent record goes first
whatever waited before.

A record is settled by the service's acknowledgement, over whatever link that comes.  An attempt that is overdue, or whose
link is lost, gives its records back; they go again, protected anew, and the service tells duplicates by record number.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Protocol

from rataccess.access import Access
from rataccess.clock import Clock
from rataccess.errors import BudgetExceeded, Closed, NotNow, PacketTooLarge, RataccessError, ServiceRefused
from rataccess.exchange.compose import Composer, Draft
from rataccess.exchange.flights import LATEST, Flight, Flights
from rataccess.exchange.housekeeping import LOOK_AGAIN, Housekeeping
from rataccess.exchange.inbound import Inflow
from rataccess.exchange.lane import Lane
from rataccess.exchange.ledger import Ledger
from rataccess.exchange.reception import REFUSED_PAUSE, Reception
from rataccess.exchange.staging import Outgoing, Staging
from rataccess.objects import Service, Urgency
from rataccess.policy import LEAST_PACKET, Decision, Demand
from rataccess.security import SecureContext
from rataccess.store import Inbound, Store
from rataccess.transport import Handover, Packet

_log = logging.getLogger("rataccess.exchange")

REFUSED_IN_A_ROW = 2
"""A refusal is quick and certain, and where it costs nothing the service is asked again soon, however often it refused."""
STUCK = 2.0
"""Seconds that handing one packet to a radio may take before that is silence too: 1,460 bytes at 9,600 baud take 1.6 s."""
STUCK_SESSION = 600.0
"""The same where `send` returns only when the operator has the packet: satellite modems try for minutes."""
TROUBLE_PAUSE = 1.0
"""Seconds of rest after an error that nothing else paces, such as a full disk."""


def replay_key(service: Service) -> str:
    """Where the store keeps the replay window of a service's own requests."""
    return f"replay/{service}"


class Observer(Protocol):
    """What an exchange tells the floor above."""

    def records_sent(self, numbers: Sequence[int]) -> None:
        """They left the device for the first time or again."""

    def records_handed_over(self, numbers: Sequence[int]) -> None:
        """The operator has them, whole."""

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
        self.access = access
        self._store = store
        self._context = context
        self._clock = clock
        self._random = random
        self._message_id = random.randrange(65_536)
        self.staging = Staging(store, service)
        self.staging.hopeless = self._hopeless
        self.flights = Flights(random)
        self.ledger = Ledger(service, store, access, self.staging)
        self.inflow = Inflow(service, store)
        self.composer = Composer(self, context)
        self.reception = Reception(self, context)
        self._housekeeping = Housekeeping(self, store, clock)
        self._lanes = {name: Lane(name) for name in access.links}
        self.ask_time = ask_time
        self.observer: Observer
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Exchange {self.service} flights={len(self.flights)} records={len(self.staging.items)}>"

    @property
    def peer_floor(self) -> int | None:
        """Up to where the service has acknowledged, as it said last in this run."""
        return self.ledger.peer_floor

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self, observer: Observer) -> None:
        """Begin to send; `observer` hears what becomes of it."""
        self.observer = observer
        self.access.use(self.service, self)
        for lane in self._lanes.values():
            self._tasks.append(asyncio.create_task(self._run(lane), name=f"exchange {self.service} {lane.link}"))
            lane.wake.set()
        self._tasks.append(asyncio.create_task(self._housekeeping.run(), name=f"exchange {self.service} housekeeping"))

    async def aclose(self) -> None:
        """Stop; what was not acknowledged stays in the store; `drained` raises `Closed`; idempotent."""
        self._closed = True
        self._moved.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reception.aclose()
        self.flights.close()
        for lane in self._lanes.values():
            lane.close()
        self._tasks.clear()

    def arrived(self, urgency: Urgency) -> None:
        """A record of that urgency is in the store."""
        self.staging.arrived(urgency)
        self._housekeeping.needed.set()
        self.wake()

    def settled(self, numbers: Sequence[int]) -> None:
        """The store has written down that these records are settled: delivered, expired, dropped or replaced."""
        self.ledger.settled(numbers)
        self._moved.set()

    def dated(self, boot: bytes, offset: float) -> None:
        """Time is known, and the store's records of this boot are dated: so are those in memory."""
        self.staging.dated(boot, offset, self._clock.wall())
        self.ledger.dated(self._clock.wall())
        self.ask_time = False
        self.wake()

    async def drained(self) -> None:
        """Wait until every record is settled, and the store has announced that; raises `Closed` where this closes."""
        while not self.ledger.drained:
            if self._closed:
                raise Closed(f"the device was closed before every record for {self.service} was settled")
            self._moved.clear()
            await self._moved.wait()

    def wake(self) -> None:
        """Have every lane look for something to send."""
        for lane in self._lanes.values():
            lane.wake.set()

    # --- sending -------------------------------------------------------------------------------------------------------

    async def _run(self, lane: Lane) -> None:
        while True:
            await lane.wake.wait()
            lane.wake.clear()
            try:
                while await self._send_one(lane):
                    pass
            except Exception as error:  # noqa: BLE001 - a lane that ended would be silence for ever
                level = logging.WARNING if isinstance(error, RataccessError) else logging.CRITICAL
                _log.log(level, "%s over %s: sending failed: %s", self.service, lane.link, error, exc_info=True)
                lane.shut_until = self._clock.monotonic() + TROUBLE_PAUSE
                lane.wait(TROUBLE_PAUSE)

    async def _send_one(self, lane: Lane) -> bool:
        link = self.access.links[lane.link].link
        if not link.ready or link.hints is None:
            return False
        if (pause := lane.pause_left(self._clock.monotonic())) > 0:
            lane.wait(pause)
            return False
        urgency = self.staging.top()
        if not lane.open_for(urgency is not None and urgency >= Urgency.PROMPT):
            return False
        self.staging.unfinished = False
        mtu = self.access.room(lane.link, link.hints.mtu if lane.limit is None else min(lane.limit, link.hints.mtu))
        draft = self.composer.compose(lane, mtu, self.permits)
        if draft is None:
            if self.staging.unfinished:
                lane.wait(0.05)  # there is more to look through, and others want the event loop too
            return False
        return await self._launch(lane, draft)

    def permits(self, lane: Lane, item: Outgoing, size: int) -> bool:
        """Whether policy gives `item` to this lane's link, in a packet of `size` bytes."""
        record = item.record
        if self._expired(item):
            return False
        if not item.bound:
            return self.carries(lane, record.urgency)
        decision = self._decide(item, size)
        if decision.link is None and record.links:
            self.access.wanted(record.links)
        return decision.link == lane.link

    def _decide(self, item: Outgoing, size: int) -> Decision:
        record = item.record
        needed = LEAST_PACKET if record.max_cost is None else size
        return self.access.decide(Demand(self.service, record.urgency, needed, record.max_cost, record.links))

    def _hopeless(self, item: Outgoing) -> bool:
        return self._decide(item, LEAST_PACKET).link is None

    def carries(self, lane: Lane, urgency: Urgency) -> bool:
        """Whether policy gives this lane's link records of that urgency which do not restrict the links themselves."""
        return self.access.decide(Demand(self.service, urgency)).link == lane.link

    def _expired(self, item: Outgoing) -> bool:
        """Whether it is too late to send `item`; housekeeping settles it."""
        expires_at = item.record.expires_at
        return expires_at is not None and self._clock.wall_known() and expires_at <= self._clock.wall()

    async def _launch(self, lane: Lane, draft: Draft) -> bool:
        flight: Flight | None = None
        hints = self.access.links[lane.link].link.hints
        try:
            token = self.flights.token()
            data, identity = self._context.protect_request(draft.body, token=token, message_id=self.message_id())
            flight = Flight(token, identity, lane, self._clock.monotonic(), draft.parts, flags=draft.flags)
            self.flights.launch(flight)
            timeout = self.access.links[lane.link].timer.timeout
            stuck = STUCK_SESSION if hints and hints.acknowledges_handover else STUCK
            flight.timer = asyncio.get_running_loop().call_later(stuck + timeout, self._overdue, flight, timeout)
            handover = await self.access.send(lane.link, Packet(data, self.service))
        except BaseException as error:
            lane.probe = lane.probe or draft.probe
            self._abandon(flight, draft)
            if isinstance(error, RataccessError):
                return self._not_sent(lane, error)
            raise
        self._sent(flight, handover)
        return True

    def _abandon(self, flight: Flight | None, draft: Draft) -> None:
        """It never left."""
        if flight is None or flight.live:
            if flight is not None:
                self.flights.land(flight)
                self.flights.answered(flight)
            self.ledger.news |= draft.flags & {"acknowledge", "base", "hello"}
            self.staging.untake([part for part in draft.parts if not part[0].settled])

    def _not_sent(self, lane: Lane, error: RataccessError) -> bool:
        """What could not be sent waits again; returns whether to try at once."""
        now = self._clock.monotonic()
        if isinstance(error, PacketTooLarge) and error.limit < min(error.size, lane.limit or error.size):
            lane.limit = max(0, error.limit)  # smaller each time: this ends
            return True
        if isinstance(error, ServiceRefused):
            self.refused(lane.link)
        elif isinstance(error, BudgetExceeded):  # policy gives the link nothing more; a budget is looked at again soon
            lane.shut_until = now + min(LOOK_AGAIN, error.retry_after)
        elif isinstance(error, NotNow):
            lane.shut_until = now + max(0.01, error.retry_after)
        elif self.access.links[lane.link].link.ready:
            _log.warning("%s over %s: not sent: %s", self.service, lane.link, error)
            lane.shut_until = now + TROUBLE_PAUSE
        self.wake()
        return False

    def _sent(self, flight: Flight, handover: Handover | None) -> None:
        if numbers := [item.record.number for item, _, _ in flight.parts if not item.settled]:
            self._store.mark_sent(self.service, numbers)
            self.observer.records_sent(numbers)
        if not flight.live:
            return  # answered already, or given up while the radio was stuck
        flight.sent_at = now = self._clock.monotonic()
        if handover is not None:
            self.flights.land(flight)
            self.flights.late(flight, float("inf"))
            self.observer.records_handed_over(self.ledger.hand_over(flight, self._clock.wall()))
            return
        timeout = self.access.links[flight.lane.link].timer.timeout
        if flight.timer:
            flight.timer.cancel()
        flight.timer = asyncio.get_running_loop().call_at(now + timeout, self._overdue, flight, timeout)

    def message_id(self) -> int:
        """The next one."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        return self._message_id

    # --- trouble -------------------------------------------------------------------------------------------------------

    def _ground(self, flight: Flight) -> None:
        """The flight is given up: what it told is untold, and records that no other flight carries wait again."""
        if flight.live:
            self.flights.land(flight)
            self.ledger.news |= flight.flags & {"acknowledge", "base", "hello"}
            self.staging.untake([part for part in flight.parts if not part[0].settled])
            self.flights.late(flight, self._clock.monotonic() + LATEST)

    def _overdue(self, flight: Flight, timeout: float) -> None:
        if not flight.live or self._closed:
            return
        self._ground(flight)
        flight.lane.overdue(flight.sent_at, self._clock.monotonic(), timeout, self.jitter())
        self.access.overdue(flight.lane.link, self.service, flight.sent_at)
        self.wake()

    def jitter(self) -> float:
        """A factor around 1, so that devices do not go in step."""
        return 0.75 + self._random.random() / 2

    # --- what access tells ---------------------------------------------------------------------------------------------

    def packet_received(self, link: str, data: bytes) -> None:
        """A packet for this service's context."""
        if not self._closed:
            self.reception.take(link, data)

    def link_lost(self, link: str) -> None:
        """What is in flight over `link` goes again at once."""
        lane = self._lanes[link]
        for flight in self.flights.over(lane):
            self._ground(flight)
        lane.restart()
        self.wake()

    def refused(self, link: str) -> None:
        """Nobody listens at the service's address: what is in flight there is lost; ask again, but not at once."""
        lane = self._lanes[link]
        for flight in self.flights.over(lane):
            self._ground(flight)
        now = self._clock.monotonic()
        if self.free(link):
            lane.silent = min(lane.silent, REFUSED_IN_A_ROW - 1)
        lane.overdue(now, now, REFUSED_PAUSE, self.jitter())
        lane.wake.set()

    def access_changed(self) -> None:
        """Decisions may come out otherwise now."""
        for name, lane in self._lanes.items():
            lane.limit = None
            if self.ledger.handed and not lane.told_link and self._answers_for_free(name):
                self.ledger.news.add("hello")  # an acknowledgement that is free spares sending again what costs
        self.staging.rewind()
        self.wake()

    def _answers_for_free(self, link: str) -> bool:
        hints = self.access.links[link].link.hints
        return self.in_use(link) and self.free(link) and hints is not None and not hints.acknowledges_handover

    def probe(self, link: str) -> None:
        """Ask for an answer over `link`, whatever policy says of records; nothing while it is down."""
        if self.access.links[link].link.ready:
            lane = self._lanes[link]
            lane.probe = True
            lane.wake.set()

    # --- what composer and reception ask -------------------------------------------------------------------------------

    def base(self) -> int:
        """Every record below this number is settled."""
        return self._store.base(self.service)

    def wall(self) -> float:
        """Now, in seconds since 1970."""
        return self._clock.wall()

    def monotonic(self) -> float:
        """Now, on the event loop's clock."""
        return self._clock.monotonic()

    def free(self, link: str) -> bool:
        """Whether a packet over `link` costs nothing."""
        return self.access.links[link].view().free

    def in_use(self, link: str) -> bool:
        """Whether ordinary records take `link` now."""
        return self.access.current == link

    def keep_replay_window(self) -> None:
        """On disk before an answer leaves: a replay after a restart is refused, and the answer may reuse the nonce."""
        self._store.put_now(replay_key(self.service), self._context.replay_state())
