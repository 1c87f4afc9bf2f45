"""Which link now: the judge over all links.

Rules of this file: it hears of links (up, down), of answers and of their absence; it decides by `policy` and writes down
why.  It builds no message and knows no key.  Exchanges are its users; it tells them when something changed.

Proof is an answer of our own service, nothing else.  An overdue answer is a suspicion; the other service is asked over the
same link, so that a dead service is not taken for a dead link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from rataccess.access.budget import Budget
from rataccess.access.decisions import DecisionLog, Entry, Kind, Recovered
from rataccess.access.standing import Standing
from rataccess.clock import Clock
from rataccess.errors import BudgetExceeded, TransportBroken
from rataccess.link import Link, LinkChange
from rataccess.objects import Memory, Service, Urgency
from rataccess.policy import Decision, Demand, LinkView, Suspicion, choose, second_attempt
from rataccess.transport import Handover, Packet

DOUBT_AFTER = 0.5
"""Seconds that a link stays suspected before its radio is asked."""
CHANCES = 2
"""Probes that a suspected link may leave unanswered, while another answers, before it counts as dead.  Records do not wait
for that; a late answer is no reason to change links (with one packet in ten ten times too late, one chance was too few)."""


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

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self._clock = clock
        self._memory = memory
        self._standings: dict[str, Standing] = {}
        self._users: dict[Service, User] = {}
        self._down: set[Service] = set()
        self._decisions: dict[tuple[object, ...], Decision] = {}
        self._views: list[LinkView] | None = None
        self._closing = False
        self.current: str | None = None
        """The link that ordinary records take now."""
        self.log = DecisionLog()
        self.recoveries: deque[Recovered] = deque(maxlen=64)
        self.on_entry: Callable[[Entry], None] | None = None

    # --- composition ---------------------------------------------------------------------------------------------------

    def add(self, link: Link) -> None:
        """Take `link` into the set; the order of calls breaks ties of policy."""
        budget = link.settings.budget
        self._standings[link.name] = Standing(
            link, Budget(link.name, budget, self._memory, self._clock) if budget else None
        )

    def use(self, service: Service, user: User) -> None:
        """Connect the exchange of one service."""
        self._users[service] = user

    @property
    def links(self) -> Mapping[str, Standing]:
        """All links, in order of configuration."""
        return self._standings

    def start(self) -> None:
        """Begin supervision of every link."""
        for standing in self._standings.values():
            standing.link.start()
            self._plan_keepalive(standing)
            if not standing.settings.hot:
                standing.later(
                    "cool", standing.settings.failback_after, self._warm_up
                )  # a better link's time to come up

    async def aclose(self) -> None:
        """Close every link; idempotent; nothing is decided any more."""
        self._closing = True
        for standing in self._standings.values():
            standing.cancel()
        for standing in self._standings.values():
            await standing.link.aclose()
            standing.cancel()

    # --- deciding ------------------------------------------------------------------------------------------------------

    def views(self) -> list[LinkView]:
        """Every link as policy sees it; budgets are read anew by `decide`."""
        if self._views is None or any(standing.budget for standing in self._standings.values()):
            self._views = [standing.view() for standing in self._standings.values()]
        return self._views

    def decide(self, demand: Demand) -> Decision:
        """The link for `demand`; kept until something changes (not where a budget runs)."""
        views = self.views()
        if any(view.bytes_left is not None for view in views):
            return choose(demand, views)
        key = (demand.urgency, demand.size, demand.max_cost, demand.links)
        found = self._decisions.get(key)
        if found is None:
            if len(self._decisions) > 256:
                self._decisions.clear()
            found = self._decisions[key] = choose(demand, views)
        return found

    def second(self, demand: Demand, first: str) -> str | None:
        """The link for a second attempt, or `None`."""
        return second_attempt(demand, self.views(), first).link

    def _changed(self, cause: str) -> None:
        self._views = None
        self._decisions.clear()
        self._reconsider(cause)
        self._warm_up()
        for user in self._users.values():
            user.access_changed()

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

    def _warm_up(self) -> None:
        """Cold links (`hot = false`) come up when no link before them carries, and go when one does again for good."""
        carried = False
        for view in sorted(self.views(), key=lambda view: (view.order, view.cost_per_byte)):
            standing = self._standings[view.name]
            if not standing.settings.hot:
                if not carried:
                    standing.cancel("cool")
                    standing.link.release()
                elif not standing.planned("cool") and not standing.link.held:
                    standing.later("cool", standing.settings.failback_after, standing.link.hold)
            carried = carried or (view.ready and view.suspicion is Suspicion.NONE and not view.probation)

    def note(self, kind: Kind, text: str, origin: str | None = None, target: str | None = None) -> None:
        """Write a decision down."""
        entry = Entry(self._clock.wall(), kind, text, origin, target)
        self.log.add(entry)
        if self.on_entry:
            self.on_entry(entry)

    # --- sending and hearing -------------------------------------------------------------------------------------------

    async def send(self, name: str, packet: Packet) -> Handover | None:
        """Send over the link `name` within its budget; raises as `Transport.send`, or `BudgetExceeded`."""
        standing = self._standings[name]
        if standing.budget:
            billed = standing.view().billed(len(packet.data))
            if not standing.link.ready:
                raise TransportBroken(f"link {name!r} is down")
            if not standing.budget.spend(billed):
                self.note(Kind.BUDGET, f"{name}: {billed} bytes would break its budget")
                raise BudgetExceeded(name, standing.budget.next_period_in)
        handover = await standing.link.send(packet)
        hints = standing.link.hints
        standing.traffic.packets_up += 1
        standing.traffic.bytes_up += len(packet.data) + (hints.overhead if hints else 0)
        standing.last_sent = self._clock.monotonic()
        return handover

    def answered(self, name: str, service: Service, seconds: float | None) -> None:
        """A service answered over link `name`, `seconds` after the request where that was measured."""
        standing = self._standings[name]
        standing.last_answers[service] = now = self._clock.monotonic()
        if seconds is not None:
            standing.timer.sample(seconds)
        standing.link.prove()
        if service in self._down:
            self._down.discard(service)
            self.note(Kind.SERVICE, f"the {service} service answers again (over {name})")
        doubted = standing.suspicion
        standing.clear()
        if standing.probation and now >= standing.stable_from and standing.link.ready:
            standing.probation = False
            self._changed(f"{name} is back, proven and stable for {standing.settings.failback_after:g} s")
        elif doubted:
            self._changed(f"{name} answers again")
        self._watch_others(name)

    def _watch_others(self, name: str) -> None:
        """This link answers: links whose answers are overdue have a few time-outs more to show that they live."""
        for other in self._standings.values():
            if other.name != name and other.suspicion is Suspicion.UNANSWERED and not other.planned("confirm"):
                self._give_chances(other, name, CHANCES)

    def _give_chances(self, standing: Standing, witness: str, left: int) -> None:
        def judge() -> None:
            standing.cancel("confirm")
            if standing.suspicion is not Suspicion.UNANSWERED:
                return
            if left == 0:
                self._confirm(standing, witness)
                return
            for user in self._users.values():
                user.probe(standing.name)
            self._give_chances(standing, witness, left - 1)

        standing.later("confirm", standing.timer.timeout, judge)

    def overdue(self, name: str, service: Service, sent_at: float) -> None:
        """A request sent at `sent_at` (event loop's clock) over link `name` is unanswered for longer than usual."""
        standing, now = self._standings[name], self._clock.monotonic()
        if standing.last_answers.get(service, float("-inf")) >= sent_at:
            return  # later requests were answered: one packet was lost
        if any(at >= sent_at for at in standing.last_answers.values()):
            if all(each.last_answers.get(service, sent_at - 1) < sent_at for each in self._standings.values()):
                self._service_silent(name, service)
            return
        first = standing.suspicion is Suspicion.NONE
        dead = standing.suspect(now)
        if first:
            standing.later("doubt", max(DOUBT_AFTER, standing.timer.timeout), lambda: self._doubt(standing))
            for other, user in self._users.items():
                if other is not service:
                    user.probe(name)
            self._changed(f"{name}: an answer is overdue")
        elif standing.suspicion is Suspicion.CONFIRMED:
            standing.link.doubt(f"{standing.overdue} requests unanswered")
        elif dead:
            self._confirm(standing, None)

    def _doubt(self, standing: Standing) -> None:
        """Still no answer: have the radio itself asked, which costs nothing on the air and finds one that hangs."""
        standing.cancel("doubt")
        if standing.suspicion and standing.link.ready:
            standing.link.doubt(f"no answer for {self._clock.monotonic() - standing.suspected_at:.1f} s")

    def _service_silent(self, name: str, service: Service) -> None:
        if service not in self._down:
            self._down.add(service)
            self.note(Kind.SERVICE, f"the {service} service does not answer; {name} itself works")

    def _confirm(self, standing: Standing, witness: str | None) -> None:
        if standing.suspicion is not Suspicion.UNANSWERED:
            return
        standing.cancel("confirm")
        standing.suspicion = Suspicion.CONFIRMED
        now = self._clock.monotonic()
        why = f"silent: {standing.overdue} request(s) unanswered" + (f" while {witness} answers" if witness else "")
        standing.link.doubt(why)
        self._fall(standing, now, f"{standing.name}: {why}")

    def _fall(self, standing: Standing, now: float, cause: str) -> None:
        """A link that carried has failed: others carry on at once, and it has to earn its place again."""
        wait = standing.fail(now)
        if standing.link.ready:
            standing.later("failback", wait, lambda: self._try(standing))
        self._changed(cause)
        for user in self._users.values():
            user.link_lost(standing.name)

    # --- coming back ---------------------------------------------------------------------------------------------------

    def _try(self, standing: Standing) -> None:
        """The time of stability is over: ask for proof; without an answer, wait again, and longer."""
        if not standing.probation or not standing.link.ready:
            return
        answering = [service for service in self._users if service not in self._down]
        for service in answering[:1] or list(self._users)[:1]:
            self._users[service].probe(standing.name)
        standing.later("failback", max(2.0, 3 * standing.timer.timeout), lambda: self._tried(standing))

    def _tried(self, standing: Standing) -> None:
        if not standing.probation or not standing.link.ready:
            return
        standing.failures += 1
        wait = standing.wait(self._clock.monotonic())
        standing.link.doubt("no answer to the probe")
        self.note(Kind.LINK, f"{standing.name}: no answer to the probe; next one in {wait:.0f} s")
        standing.later("failback", wait, lambda: self._try(standing))

    def _forgive(self, standing: Standing) -> None:
        """A link that merely stands by was up for long enough; no byte is spent on proof."""
        if standing.probation and standing.link.ready:
            standing.probation = False
            self._changed(f"{standing.name} has been stable")

    def _plan_keepalive(self, standing: Standing) -> None:
        if standing.settings.keepalive:
            standing.later("keepalive", standing.settings.keepalive, lambda: self._keep_alive(standing))

    def _keep_alive(self, standing: Standing) -> None:
        idle = self._clock.monotonic() - standing.last_sent
        if standing.name == self.current and idle >= standing.settings.keepalive:
            for user in list(self._users.values())[:1]:
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
            self._came_up(standing, now)
        elif standing.was_ready and not ready:
            standing.was_ready = False
            standing.cancel("failback")
            standing.clear()
            self.note(Kind.LINK, f"{link.name}: down ({change.cause})")
            self._fall(standing, now, f"{link.name}: {change.cause}")
        else:
            self._views = None

    def _came_up(self, standing: Standing, now: float) -> None:
        standing.was_ready = True
        standing.started()
        self.note(Kind.LINK, f"{standing.name}: up ({standing.link.detail or standing.link.evidence.name})")
        if self.current is None or self.current == standing.name:
            standing.probation = False
        elif self._better(standing):  # make before break: even one that never failed proves itself before it takes over
            standing.probation = True
            wait = standing.wait(now) if standing.failures else 0.0
            standing.stable_from = now + wait
            standing.later("failback", wait, lambda: self._try(standing))
        elif standing.failures:
            standing.probation = True
            standing.later("failback", standing.wait(now), lambda: self._forgive(standing))
        self._changed(f"{standing.name}: up")

    def _better(self, standing: Standing) -> bool:
        """Whether `standing` would be preferred to the link in use, were it sound: only then is it worth a probe."""
        current = self._standings.get(self.current or "")
        if current is None:
            return True
        mine, theirs = standing.settings, current.settings
        return (mine.order, mine.cost_per_byte) < (theirs.order, theirs.cost_per_byte)

    def hints_changed(self, link: Link) -> None:
        """A link's hints changed."""
        self._changed(f"{link.name}: hints changed")

    def packet_received(self, link: Link, packet: Packet) -> None:
        """A packet came in over a link."""
        standing = self._standings[link.name]
        overhead = link.hints.overhead if link.hints else 0
        standing.traffic.packets_down += 1
        standing.traffic.bytes_down += len(packet.data) + overhead
        if standing.budget:
            standing.budget.charge(standing.view().billed(len(packet.data)))
        user = self._users.get(packet.service)
        if user:
            user.packet_received(link.name, packet.data)

    def service_refused(self, link: Link, service: Service) -> None:
        """The path works, the service does not."""
        self._service_silent(link.name, service)
        user = self._users.get(service)
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
        lines = [f"in use: {decision}"]
        lines += [f"  {standing.line()}" for standing in self._standings.values()]
        lines += [f"  the {service} service does not answer" for service in sorted(self._down)]
        if len(self.log):
            lines.append("latest decisions:")
            lines += [f"  {entry.at:.3f} {entry.kind}: {entry.text}" for entry in list(self.log)[-12:]]
        return "\n".join(lines)
