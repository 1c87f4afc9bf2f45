"""The exchange with one service: what the floors above and below use, and what becomes of requests without an answer.

Rules of this file: it joins the parts of an exchange and minds time-outs.  Access decides about links, security about bytes,
the store about durability, `compose` about what goes into which request, `sending` about when, `ledger` about what became of
records, `reception` about what comes in.

A record is settled by the service's acknowledgement, over whatever link that comes.  An attempt that is overdue, or whose
link is lost, gives its records back; they go again, protected anew, and the service tells duplicates by record number.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from rataccess.access import Access
from rataccess.clock import Clock
from rataccess.errors import Closed
from rataccess.exchange.awaiting import Awaiting
from rataccess.exchange.compose import Composer
from rataccess.exchange.flights import Flight, Flights
from rataccess.exchange.grounding import Grounding
from rataccess.exchange.housekeeping import Housekeeping
from rataccess.exchange.inbound import Inflow
from rataccess.exchange.lane import MOST_PAUSE, Lane
from rataccess.exchange.ledger import Ledger
from rataccess.exchange.observer import Observer
from rataccess.exchange.reception import REFUSED_PAUSE, Reception
from rataccess.exchange.sending import SOON, Sender
from rataccess.exchange.staging import Staging, new_record
from rataccess.exchange.transfers import Transfers
from rataccess.objects import Service, Urgency
from rataccess.policy import Demand, refusal
from rataccess.security import SecureContext
from rataccess.store import NewRecord, Store
from rataccess.template import TemplateBook
from rataccess.transport import Downlink

REFUSED_IN_A_ROW = 2
"""A refusal is quick and certain, and where it costs nothing the service is asked again soon, however often it refused."""
WRITTEN_WITHIN = 0.5
"""Seconds from an acknowledgement to a commit of its own, where none comes along: each wears the flash, and costs more than
all else that a record needs."""
MORE_AFTER = 60.0
"""Seconds after which the rest of what a service has is asked for where air time is dear: what else goes up brings it."""
ROOM_EVERY = 2.0
"""Seconds between looks whether an inbox that was full has room again."""
PATIENCE = 0.2
"""Seconds that an acknowledgement waits for a request to ride on (RFC 1122 section 4.2.3.2 allows 0.5; a service repeats
after 1)."""


def replay_key(service: Service) -> str:
    """Where the store keeps the replay window of a service's own requests."""
    return f"replay/{service}"


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
        templates: TemplateBook | None = None,
    ) -> None:
        """`templates`: what this device has defined; records of other templates travel as plain CBOR."""
        self.service = service
        self.access = access
        self._store = store
        self._context = context
        self._clock = clock
        self._random = random
        self._message_id = random.randrange(65_536)
        self.staging = Staging(store, service)
        self.sender = Sender(self, context, store, clock)
        self.staging.hopeless = self.sender.hopeless
        self.flights = Flights(random, self.overdue)
        self.transfers = Transfers()
        self.ledger = Ledger(service, store, access, self.staging, self.transfers)
        self.grounding = Grounding(self)
        self.ledger.delivered = self.delivered
        self.inflow = Inflow(service, store)
        self.composer = Composer(self, context, templates)
        self.reception = Reception(self, context)
        self._housekeeping = Housekeeping(self, store, clock)
        self._awaiting = Awaiting(self, clock)
        self._lanes = {name: Lane(name) for name in access.links}
        self.ask_time = ask_time
        self.observer: Observer
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Event()
        self._closed = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

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
            self._tasks.append(asyncio.create_task(self.sender.run(lane), name=f"exchange {self.service} {lane.link}"))
            lane.wake.set()
        self._tasks.append(asyncio.create_task(self._housekeeping.run(), name=f"exchange {self.service} housekeeping"))

    async def aclose(self) -> None:
        """Stop; what was not acknowledged stays in the store; `drained` raises `Closed`; idempotent."""
        self._closed = True
        self._moved.set()
        self._awaiting.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reception.aclose()
        self.flights.close()
        for lane in self._lanes.values():
            lane.close()
        self._tasks.clear()

    def arrived(self, urgency: Urgency) -> None:
        """Some record of that urgency is in the store."""
        self.staging.arrived(urgency)
        self._housekeeping.needed.set()
        self.wake()

    def accepted(self, new: NewRecord, number: int) -> None:
        """The store has just kept `new` under `number`: as `arrived`, but it needs not be read, and wakes one link only."""
        if not new.time_known:
            self.arrived(new.urgency)  # the store may have dated it meanwhile
            return
        queue_id, known = self._store.queue_id(self.service, new.queue)
        self.staging.accepted(new_record(new, number, queue_id, known))
        self._housekeeping.needed.set()
        chosen = None if new.links or new.max_cost is not None else self.sender.chosen(new.urgency)
        if chosen is None:
            self.wake()
        else:
            self._lanes[chosen].wake.set()

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

    # --- for the application -------------------------------------------------------------------------------------------

    async def send_packet(self, data: bytes) -> None:
        """Send `data` at once over the link in use; it is protected, but not kept, not repeated and not acknowledged.

        Raises `PacketTooLarge` beyond `packet_room`, `TransportBroken` where no link is up, `NotNow` and `BudgetExceeded` as
        the link does, `SecurityError` and `StoreError` where it cannot be protected.
        """
        if self._closed:
            raise Closed("the device was closed")
        await self.sender.send_packet(data)

    def packet_room(self) -> int | None:
        """Bytes of the largest packet that `send_packet` takes now; `None` where no link is up."""
        return self.sender.packet_room()

    def expect(self, deadline: float, max_cost: float | None = None) -> Callable[[], None]:
        """A reply is awaited up to `deadline` (event loop's clock): ask for it where the service cannot send it unasked,
        and where a question costs no more than `max_cost`.

        Returns what ends that, to be called when it has come.
        """
        return self._awaiting.expect(deadline, max_cost)

    async def drained(self) -> None:
        """Wait until every record is settled, and the store has announced that; raises `Closed` where this closes."""
        while not self.ledger.drained:
            if self._closed:
                raise Closed(f"the device was closed before every record for {self.service} was settled")
            self._commit()
            self._moved.clear()
            await self._moved.wait()

    def wake(self) -> None:
        """Have every lane look for something to send."""
        for lane in self._lanes.values():
            lane.wake.set()

    # --- what the parts of an exchange ask of each other -----------------------------------------------------------------

    def message_id(self) -> int:
        """The next one."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        return self._message_id

    def lane(self, link: str) -> Lane:
        """A link as this exchange uses it."""
        return self._lanes[link]

    def delivered(self, numbers: Sequence[int]) -> None:
        """The service has these records.  The store writes that down together with whatever it writes next, or soon: where a
        power cut comes first they go again, and the service knows their numbers."""
        self.observer.records_delivered(numbers)
        self._later("commit", WRITTEN_WITHIN, self._commit)

    def _commit(self) -> None:
        if timer := self._timers.pop("commit", None):
            timer.cancel()
        self._store.commit_soon()

    def look(self, lane: Lane) -> None:
        """Have `lane` look for something to send, where anything may be."""
        if lane.probe or self.staging.waiting or self.ledger.news:
            lane.wake.set()

    def owe_acknowledgement(self) -> None:
        """Records of the service's arrived: tell with the next request, or in a moment in one of its own."""
        self.ledger.news.add("acknowledge")
        if not self._later("acknowledge", PATIENCE, self._acknowledge):
            return
        self.ledger.patient = True

    def _acknowledge(self) -> None:
        self.ledger.patient = False
        if self.ledger.news and self.access.current is not None:
            self._lanes[self.access.current].wake.set()

    def look_for_room(self) -> None:
        """The inbox was full: tell the service when it is not any more, where that is free."""
        self._later("room", ROOM_EVERY, self._look_for_room)

    def _look_for_room(self) -> None:
        if self.inflow.full:
            self.look_for_room()
        else:
            self.ledger.news.add("hello")
            self.wake()

    def _later(self, what: str, seconds: float, call: Callable[[], None]) -> bool:
        """Have `call` called in `seconds`, unless that is planned already; returns whether it was not."""
        if what in self._timers or self._closed:
            return False

        def due() -> None:
            self._timers.pop(what, None)
            call()

        self._timers[what] = asyncio.get_running_loop().call_later(seconds, due)
        return True

    # --- trouble -------------------------------------------------------------------------------------------------------

    def overdue(self, flight: Flight, timeout: float) -> None:
        """No answer to `flight` within `timeout` seconds."""
        if not flight.live or self._closed:
            return
        self.grounding.ground(flight)
        link, pause = flight.lane.link, min(timeout, MOST_PAUSE)
        now, dear = self._clock.monotonic(), self.frugal(link)
        flight.lane.overdue(flight.sent_at, now, pause, self.jitter(), dear=dear)
        self.access.overdue(link, self.service, flight.sent_at, pause)
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
            self.grounding.ground(flight)
        lane.restart(dear=self.compact(link))
        self.wake()

    def refused(self, link: str) -> None:
        """Nobody listens at the service's address: what is in flight there is lost; ask again, but not at once."""
        lane = self._lanes[link]
        for flight in self.flights.over(lane):
            self.grounding.ground(flight)
        now = self._clock.monotonic()
        if self.free(link):
            lane.silent = min(lane.silent, REFUSED_IN_A_ROW - 1)
        lane.overdue(now, now, REFUSED_PAUSE, self.jitter())
        lane.wake.set()

    def access_changed(self) -> None:
        """Decisions may come out otherwise now."""
        for name, lane in self._lanes.items():
            lane.limit = None
            if self.ledger.handed and not lane.told_link and self.answers_for_free(name):
                self.ledger.news.add("hello")  # an acknowledgement that is free spares sending again what costs
        if self.flights.slow:
            self._later("slow", SOON, self.grounding.stop_waiting)
        self.staging.rewind()
        self.wake()

    def answers_for_free(self, link: str) -> bool:
        """Whether `link` is in use, and asking over it costs nothing and is answered."""
        hints = self.access.links[link].link.hints
        return self.in_use(link) and self.free(link) and hints is not None and not hints.acknowledges_handover

    def probe(self, link: str) -> None:
        """Ask for an answer over `link`, whatever policy says of records; nothing while it is down."""
        if self.access.links[link].link.ready:
            lane = self._lanes[link]
            lane.probe = True
            lane.wake.set()

    def ask_for_more(self, link: str) -> None:
        """The service has more than fits an answer.  Where air time is dear, the next request may well bring it."""
        hints = self.access.links[link].link.hints
        if hints is None or not hints.compact:
            self.probe(link)
        elif not hints.acknowledges_handover:  # there it comes by itself, or with what the operator takes next
            self._later("more", MORE_AFTER, lambda: self.probe(link) if self.affords(link, None) else None)

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
        return self.access.links[link].free

    def frugal(self, link: str) -> bool:
        """Whether each packet over `link` is dear, and nothing is sent to find out how it does."""
        return self.access.links[link].frugal

    def compact(self, link: str) -> bool:
        """Whether packets over `link` travel in compact form."""
        hints = self.access.links[link].link.hints
        return hints is not None and hints.compact

    def affords(self, link: str, max_cost: float | None) -> bool:
        """Whether a packet of hardly any bytes over `link` costs no more than that, and its budget has room for it."""
        demand = Demand(self.service, Urgency.PROMPT, max_cost=max_cost)
        return refusal(demand, self.access.links[link].view()) is None

    def listens(self, link: str) -> bool:
        """Whether the service may speak first over `link`."""
        hints = self.access.links[link].link.hints
        return hints is None or hints.downlink is Downlink.ANYTIME

    def answers_at_once(self, link: str) -> bool:
        """Whether what the service has to say comes right after a request, or not at all."""
        hints = self.access.links[link].link.hints
        return hints is not None and hints.downlink is Downlink.AFTER_UPLINK

    def in_use(self, link: str) -> bool:
        """Whether ordinary records take `link` now."""
        return self.access.current == link

    def keep_replay_window(self) -> None:
        """On disk before an answer leaves: a replay after a restart is refused, and the answer may reuse the nonce."""
        self._store.put_now(replay_key(self.service), self._context.replay_state())
