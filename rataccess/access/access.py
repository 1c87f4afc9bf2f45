"""Which link now: the judge over all links.

Rules of this file: it hears of links (up, down), of answers and of their absence; it decides by `policy` and writes down
why.  It builds no message and knows no key.  Exchanges are its users; it tells them when something changed.

Proof is an answer of our own service, nothing else.  An overdue answer is a suspicion; the other service is asked over the
same link, so that a dead service is not taken for a dead link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Protocol

from rataccess.access.budget import Budget
from rataccess.access.decisions import DecisionLog, Entry, Kind, Recovered
from rataccess.access.standing import Standing
from rataccess.access.trust import Trust
from rataccess.access.upkeep import Upkeep
from rataccess.clock import Clock
from rataccess.errors import BudgetExceeded, NotNow, PacketTooLarge, StoreError, TransportBroken
from rataccess.link import Link, LinkChange
from rataccess.objects import Memory, Service, Urgency
from rataccess.policy import WAITS, Decision, Demand, LinkView, Suspicion, choose
from rataccess.tariff import Unit
from rataccess.transport import Handover, Packet

UNACCEPTED_PAUSE = 2.0
"""Seconds of rest after a packet that its network should have accepted and has not; it doubles with each in a row."""


class User(Protocol):
    """What access tells an exchange."""

    def packet_received(self, link: str, data: bytes) -> None:
        """A packet for the exchange's service."""

    def link_lost(self, link: str) -> None:
        """What is in flight over `link` should go again at once, over another."""

    def access_changed(self) -> None:
        """Decisions may come out otherwise now."""

    def probe(self, link: str) -> None:
        """Ask the service for an answer over `link`."""

    def refused(self, link: str) -> None:
        """The network says that nobody listens at the service's address."""


class Access:
    """Owns the links' standing; a `LinkListener`."""

    def __init__(self, clock: Clock, memory: Memory, random: Random | None = None) -> None:
        self._clock = clock
        self._random = random or Random()
        self._memory = memory
        self._standings: dict[str, Standing] = {}
        self.users: dict[Service, User] = {}
        """The exchanges."""
        self._trust = Trust(self, clock)
        self._upkeep = Upkeep(self._standings, self.views, lambda each, text: self.note(Kind.BUDGET, text, each.name))
        self._decisions: dict[tuple[object, ...], Decision] = {}
        self._views: list[LinkView] | None = None
        self._closing = False
        self._budgets: list[Budget] = []
        self._left: list[int] = []
        """Of each budget, when views and decisions were made."""
        self.current: str | None = None
        """The link that ordinary records take now."""
        self.log = DecisionLog()
        self.recoveries: deque[Recovered] = deque(maxlen=64)
        self.on_entry: Callable[[Entry], None] | None = None
        self.on_change: Callable[[], None] | None = None
        """Called after anything that decisions depend on has changed, hints and the link in use among it."""

    # --- composition ---------------------------------------------------------------------------------------------------

    def add(self, link: Link) -> None:
        """Take `link` into the set; the order of calls breaks ties of policy."""
        budget = link.settings.budget
        kept = Budget(link.name, budget, self._memory, self._clock) if budget else None
        self._standings[link.name] = Standing(link, kept, self._clock.monotonic)
        self._budgets += [kept] if kept else []

    def use(self, service: Service, user: User) -> None:
        """Connect the exchange of one service."""
        self.users[service] = user

    @property
    def links(self) -> Mapping[str, Standing]:
        """All links, in order of configuration."""
        return self._standings

    @property
    def least_urgency(self) -> Urgency:
        """The lowest that any link carries: what is below never leaves."""
        return min(standing.settings.min_urgency.urgency for standing in self._standings.values())

    def start(self) -> None:
        """Begin supervision of every link."""
        for standing in self._standings.values():
            self._plan_keepalive(standing)
        self._upkeep.start()

    async def aclose(self) -> None:
        """Close every link; idempotent; nothing is decided any more."""
        self._closing = True
        for standing in self._standings.values():
            standing.cancel()
        for standing in self._standings.values():
            await standing.link.aclose()
            if standing.budget:
                standing.budget.save()
        for standing in self._standings.values():
            standing.cancel()

    # --- deciding ------------------------------------------------------------------------------------------------------

    def views(self) -> list[LinkView]:
        """Every link as policy sees it."""
        self._look_at_budgets()
        if self._views is None:
            self._views = [standing.view() for standing in self._standings.values()]
        return self._views

    def decide(self, demand: Demand) -> Decision:
        """The link for `demand`; kept until something changes, be it what is left of a budget."""
        self._look_at_budgets()
        key = (demand.urgency, demand.size, demand.max_cost, demand.links)
        found = self._decisions.get(key)
        if found is None:
            if len(self._decisions) > 256:
                self._decisions.clear()
            found = self._decisions[key] = choose(demand, self.views())
        return found

    def _look_at_budgets(self) -> None:
        """Forget views and decisions where a budget has been spent from, or filled again, since."""
        if self._budgets and (left := [budget.left for budget in self._budgets]) != self._left:
            self._left, self._views = left, None
            self._decisions.clear()

    def changed(self, cause: str) -> None:
        """Something that decisions depend on is otherwise now."""
        if self._closing:
            return
        self._views = None
        self._decisions.clear()
        self._reconsider(cause)
        self._upkeep.look()
        for user in self.users.values():
            user.access_changed()
        if self.on_change:
            self.on_change()

    def _reconsider(self, cause: str) -> None:
        suspicious = any(standing.suspicion is Suspicion.UNANSWERED for standing in self._standings.values())
        if suspicious and self.current and self._standings[self.current].link.ready:
            return  # a suspicion is no decision yet
        decision = self.decide(Demand(Service.SOLUTION, Urgency.ROUTINE))
        if decision.link is None:
            decision = self.decide(Demand(Service.SOLUTION, Urgency.ALARM))
        if decision.link != self.current:
            before, self.current = self.current, decision.link
            self.note(Kind.SWITCH, f"{cause}; now {decision}", before, decision.link)

    def wanted(self, names: Sequence[str]) -> None:
        """A record waits that only these links may carry: cold ones among them come up, and stay while this is said."""
        if not self._closing:
            self._upkeep.wanted(names)

    def note(self, kind: Kind, text: str, origin: str | None = None, target: str | None = None) -> None:
        """Write a decision down."""
        entry = Entry(self._clock.wall(), kind, text, origin, target)
        self.log.add(entry)
        if self.on_entry:
            self.on_entry(entry)

    # --- sending and hearing -------------------------------------------------------------------------------------------

    def room(self, name: str, mtu: int) -> int:
        """Bytes of the largest packet that the link takes now: `mtu`, or less near the end of a budget."""
        standing = self._standings[name]
        if standing.budget is None:
            return mtu
        view = standing.view()
        return view.tariff.room(standing.budget.left // view.repeats, mtu)

    async def send(self, name: str, packet: Packet) -> Handover | None:
        """Send over the link `name` within its budget; raises as `Transport.send`, or `BudgetExceeded`, `StoreError`."""
        standing = self._standings[name]
        if not standing.link.ready:
            raise TransportBroken(f"link {name!r} is down")
        refund = self._spend(standing, len(packet.data)) if standing.budget else None
        sent = False
        try:
            handover = await standing.link.send(packet)
            sent = True
        except (NotNow, PacketTooLarge) as error:
            if isinstance(error, NotNow):
                self._shut(standing, error)
            raise
        except BaseException:
            sent = True  # perhaps
            raise
        finally:
            if refund:
                refund(sent)
        hints = standing.link.hints
        standing.sent(hints.tariff.units(len(packet.data)) if hints else 0)
        if standing.hands_over:
            if handover is None:
                self._rest(standing, Service, self._clock.monotonic(), UNACCEPTED_PAUSE)
            self._trust.taken(standing, accepted=handover is not None)
        standing.traffic.packets_up += 1
        standing.traffic.bytes_up += len(packet.data) + (hints.overhead if hints else 0)
        standing.traffic.bill(hints, len(packet.data), sent=True)
        return handover

    def _shut(self, standing: Standing, why: NotNow) -> None:
        """The link takes nothing for so long: what cannot wait may go over another."""
        seconds = why.retry_after
        standing.shut_until, standing.shut_why = self._clock.monotonic() + seconds, why.reason
        if seconds > min(WAITS.values()):
            text = f"{standing.name}: takes nothing for {seconds:.0f} s ({why.reason})"
            standing.later("slot", seconds, lambda: self.changed(f"{standing.name} takes packets again"))
            self.changed(text)

    def _rest(self, standing: Standing, services: Iterable[Service], sent_at: float, pause: float) -> None:
        """What was sent at `sent_at` came to nothing: pause before the next try; alarms may take another link."""
        jitter = 0.75 + self._random.random() / 2  # devices that lost the same gateway do not go in step
        seconds = standing.in_vain(services, sent_at, pause, jitter)
        if seconds > min(WAITS.values()):
            standing.later("rest", seconds, lambda: self.changed(f"{standing.name} is tried again"))
            self._views = None
            self._decisions.clear()

    def rest_left(self, name: str, service: Service, *, urgent: bool) -> float:
        """Seconds that the link rests, after tries in vain, before anything is sent for `service`; 0 for now."""
        return self._standings[name].rest_left(service, urgent=urgent)

    def _spend(self, standing: Standing, size: int) -> Callable[[bool], None]:
        """Take from the budget what a packet is billed as at most; returns what gives back what was kept for repetitions,
        which count by themselves, and the rest too where it was not sent."""
        budget, view = standing.budget, standing.view()
        assert budget is not None
        once, period = view.billed(size), budget.period
        if not budget.spend(once * view.repeats):
            unit = standing.link.unit
            self.note(Kind.BUDGET, f"{standing.name}: {unit.several(once * view.repeats)} would break its budget")
            raise BudgetExceeded(standing.name, budget.next_period_in)
        return lambda sent: budget.refund(once * (view.repeats - sent), period)

    def answered(self, name: str, service: Service, seconds: float | None) -> None:
        """A service answered over link `name`, `seconds` after the request where that was measured."""
        if not self._closing:
            self._trust.answered(name, service, seconds)

    def overdue(self, name: str, service: Service, sent_at: float, pause: float = UNACCEPTED_PAUSE) -> None:
        """A request sent at `sent_at` (event loop's clock) over link `name` is unanswered for longer than usual.

        Where tries are dear the link rests, for `pause` seconds at first.
        """
        if not self._closing:
            standing = self._standings[name]
            later = standing.last_answers.get(service, float("-inf")) >= sent_at
            if standing.frugal and not (later or standing.hands_over):
                self._rest(standing, (service,), sent_at, pause)
            self._trust.overdue(name, service, sent_at)

    def _plan_keepalive(self, standing: Standing, idle: float = 0.0) -> None:
        if standing.settings.keepalive:
            wait = max(0.01, standing.settings.keepalive - idle)
            standing.later("keepalive", wait, lambda: self._keep_alive(standing))

    def _keep_alive(self, standing: Standing) -> None:
        idle = self._clock.monotonic() - standing.last_sent
        if idle < standing.settings.keepalive:
            self._plan_keepalive(standing, idle)
            return
        if standing.name == self.current:
            for user in list(self.users.values())[:1]:
                user.probe(standing.name)
        self._plan_keepalive(standing)

    # --- LinkListener --------------------------------------------------------------------------------------------------

    def link_changed(self, link: Link, change: LinkChange) -> None:
        """A link's evidence changed."""
        if self._closing:
            return
        standing = self._standings[link.name]
        now, ready = self._clock.monotonic(), link.ready
        if ready and not standing.was_ready:
            self._trust.came_up(standing, now)
        elif standing.was_ready and not ready:
            standing.was_ready, standing.down_since = False, now
            standing.cancel("failback")
            standing.clear()
            self.note(Kind.LINK, f"{link.name}: down ({change.cause})")
            fall = self._trust.stand_down if link.held else self._trust.fall
            fall(standing, now, f"{link.name}: {change.cause}")
            self._upkeep.spare(standing)
        else:
            self._views = None
            self._decisions.clear()  # a reason may name the evidence

    def hints_changed(self, link: Link) -> None:
        """A link's hints changed."""
        if link.ready:
            self.changed(f"{link.name}: hints changed")

    def packet_received(self, link: Link, packet: Packet) -> None:
        """A packet came in over a link."""
        standing = self._standings[link.name]
        overhead = link.hints.overhead if link.hints else 0
        standing.traffic.packets_down += 1
        standing.traffic.bytes_down += len(packet.data) + overhead
        standing.traffic.bill(link.hints, len(packet.data), sent=False)
        if standing.budget and link.unit is not Unit.AIRTIME:
            self._charge(standing, standing.view().billed(len(packet.data)))
        user = self.users.get(packet.service)
        if user:
            user.packet_received(link.name, packet.data)

    def charged(self, link: Link, units: int) -> None:
        """A radio used so much besides its packets."""
        standing = self._standings[link.name]
        standing.traffic.charge(link.hints, units)
        self._charge(standing, units)
        self._upkeep.spare(standing)

    def _charge(self, standing: Standing, units: int) -> None:
        if standing.budget:
            try:
                standing.budget.charge(units)
            except StoreError as error:
                self.note(Kind.STORE, f"what {standing.name} has spent could not be kept: {error}")

    def service_refused(self, link: Link, service: Service) -> None:
        """The path works, the service does not."""
        self._trust.service_silent(link.name, service)
        user = self.users.get(service)
        if user:
            user.refused(link.name)

    def recovery_finished(self, link: Link, step: str, seconds: float, ok: bool) -> None:
        """A rung of a link's recovery ladder is done."""
        self.recoveries.append(Recovered(self._clock.wall(), link.name, step, seconds, ok))
        outcome = "brought it back" if ok else "did not help"
        self.note(Kind.RECOVERY, f"{link.name}: {step} {outcome} after {seconds:.1f} s")

    # --- telling people ------------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Why this link: the decision, every link's state, the latest decisions."""
        decision = self.decide(Demand(Service.SOLUTION, Urgency.ROUTINE))
        urgent = self.decide(Demand(Service.SOLUTION, Urgency.ALARM))
        lines = [f"in use: {decision}"] + ([f"for alarms: {urgent}"] if urgent.link != decision.link else [])
        lines += [f"  {standing.line()}" for standing in self._standings.values()]
        lines += [f"  the {service} service does not answer" for service in sorted(self._trust.down)]
        if len(self.log):
            lines.append("latest decisions:")
            lines += [f"  {entry.at:.3f} {entry.kind}: {entry.text}" for entry in list(self.log)[-12:]]
        return "\n".join(lines)
