"""Whom to trust: which silence is a lost packet, a dead service or a dead link, and when a link has earned its place again.

Rules of this file: suspicion, failure, probation (docs/decisions/0005-suspicion.md); it decides nothing about records and
sends nothing itself.  Proof is an answer of our own service, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rataccess.access.decisions import Kind
from rataccess.access.standing import MAX_FAILBACK, Standing
from rataccess.clock import Clock
from rataccess.objects import Service
from rataccess.policy import Suspicion

if TYPE_CHECKING:
    from rataccess.access.access import Access

DOUBT_AFTER = 0.5
"""Seconds that a link stays suspected before its radio is asked."""
CHANCES = 2
"""Probes that a suspected link may leave unanswered, while another answers, before it counts as dead.  Records do not wait
for that; a late answer is no reason to change links (with one packet in ten ten times too late, one chance was too few)."""
ACQUITTALS = 2
"""So often in a row a link is cleared by one service of what the other one's silence made it suspect of, before that other
service counts as down: once may be a lost packet."""
UNACCEPTED = 2
"""So many transmissions in a row that a network did not accept are no chance."""

FREE_PROBE_EVERY = 60.0
"""Seconds between probes of a link that is up, silent, and costs nothing (unless `failback_after` is longer).  It need not
flap to be silent: a probe is one packet, and only its answer shows that the link carries again."""


class Trust:
    """The judge over one device's links."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self.down: set[Service] = set()
        """Services that do not answer over links that work."""
        self._unanswered: dict[Service, int] = {}

    # --- answers and their absence -------------------------------------------------------------------------------------

    def answered(self, name: str, service: Service, seconds: float | None) -> None:
        """A service answered over link `name`, `seconds` after the request where that was measured."""
        standing = self._access.links[name]
        standing.last_answers[service] = now = self._clock.monotonic()
        if seconds is not None:
            standing.timer.sample(seconds)
        standing.link.prove()
        if service in self.down:
            self.down.discard(service)
            self._access.note(Kind.SERVICE, f"the {service} service answers again (over {name})")
        self._unanswered.pop(service, None)
        standing.silences[service].end()
        doubted = standing.suspicion
        standing.clear()
        if doubted:
            self._acquit(standing, service)
        if standing.probation and now >= standing.stable_from and standing.link.ready:
            standing.probation = False
            self._access.changed(f"{name} is back, proven and stable for {standing.settings.failback_after:g} s")
        elif doubted:
            self._access.changed(f"{name} answers again")
        self._watch_others(name)

    def _acquit(self, standing: Standing, witness: Service) -> None:
        """The link lives: twice in a row, and it is the other service that does not answer."""
        accuser, standing.accuser = standing.accuser, None
        if accuser is not None and accuser is not witness:
            self._unanswered[accuser] = self._unanswered.get(accuser, 0) + 1
            if self._unanswered[accuser] >= ACQUITTALS:
                self.service_silent(standing.name, accuser)

    def _watch_others(self, name: str) -> None:
        """This link answers: links whose answers are overdue have a few time-outs more to show that they live."""
        for other in self._access.links.values():
            if other.name != name and other.suspicion is Suspicion.UNANSWERED and not other.planned("confirm"):
                self._give_chances(other, name, CHANCES)

    def _give_chances(self, standing: Standing, witness: str, left: int) -> None:
        def judge() -> None:
            if standing.suspicion is not Suspicion.UNANSWERED:
                return
            if left == 0:
                self._confirm(standing, witness)
                return
            for user in () if standing.frugal else self._access.users.values():
                user.probe(standing.name)
            self._give_chances(standing, witness, left - 1)

        standing.later("confirm", standing.timer.timeout, judge)

    def taken(self, standing: Standing, *, accepted: bool) -> None:
        """The network of a link that acknowledges handover has accepted a packet, or has not although it should have."""
        now = self._clock.monotonic()
        if accepted:
            standing.link.prove("its network took a packet")
            standing.heard()
            doubted = standing.suspicion
            standing.clear()
            if standing.probation and now >= standing.stable_from:
                standing.probation = False
            if doubted:
                self._access.changed(f"{standing.name}: its network accepts packets again")
            return
        standing.unaccepted += 1
        repeats = standing.link.hints.repeats if standing.link.hints else 1
        if (
            standing.unaccepted * min(repeats, UNACCEPTED) >= UNACCEPTED
            and standing.suspicion is not Suspicion.CONFIRMED
        ):
            standing.suspicion = Suspicion.CONFIRMED
            times = f", each sent up to {repeats} times" if repeats > 1 else ""
            count = max(standing.unaccepted, *(silence.tries for silence in standing.silences.values()))
            why = f"its network accepted none of the last {count} packet(s){times}"
            standing.link.doubt(why)
            self._access.note(Kind.LINK, f"{standing.name}: {why}")
            self.fall(standing, now, f"{standing.name}: {why}")

    def overdue(self, name: str, service: Service, sent_at: float) -> None:
        """A request sent at `sent_at` (event loop's clock) over link `name` is unanswered for longer than usual."""
        standing, now = self._access.links[name], self._clock.monotonic()
        if standing.last_answers.get(service, float("-inf")) >= sent_at:
            return  # later requests were answered: one packet was lost
        if any(at >= sent_at for at in standing.last_answers.values()):
            if all(each.last_answers.get(service, sent_at - 1) < sent_at for each in self._access.links.values()):
                self.service_silent(name, service)
            return
        if standing.hands_over:
            return  # what its network takes is proof enough
        first = standing.suspicion is Suspicion.NONE
        dead = standing.suspect(now)
        if first:
            standing.accuser = service
            standing.later("doubt", max(DOUBT_AFTER, standing.timer.timeout), lambda: self._doubt(standing))
            for other, user in self._access.users.items():
                if other is not service and not standing.frugal:
                    user.probe(name)
            self._access.changed(f"{name}: an answer is overdue")
        if standing.suspicion is Suspicion.CONFIRMED:
            standing.link.doubt(f"{standing.overdue} requests unanswered")
        elif dead:
            self._confirm(standing, None)

    def _doubt(self, standing: Standing) -> None:
        """Still no answer: have the radio itself asked, which costs nothing on the air and finds one that hangs."""
        if standing.suspicion and standing.link.ready:
            standing.link.doubt(f"no answer for {self._clock.monotonic() - standing.suspected_at:.1f} s")

    def service_silent(self, name: str, service: Service) -> None:
        """The service does not answer although the link `name` works."""
        if service not in self.down:
            self.down.add(service)
            self._access.note(Kind.SERVICE, f"the {service} service does not answer; {name} itself works")

    def _confirm(self, standing: Standing, witness: str | None) -> None:
        if standing.suspicion is not Suspicion.UNANSWERED:
            return
        standing.cancel("confirm")
        standing.suspicion = Suspicion.CONFIRMED
        now = self._clock.monotonic()
        why = f"silent: {standing.overdue} request(s) unanswered" + (f" while {witness} answers" if witness else "")
        standing.link.doubt(why)
        self.fall(standing, now, f"{standing.name}: {why}")

    def fall(self, standing: Standing, now: float, cause: str) -> None:
        """A link that carried has failed: others carry on at once, and it has to earn its place again."""
        wait = standing.fail(now)
        if standing.link.ready:
            standing.later("failback", wait, lambda: self._try(standing))
        for each in self._access.links.values():
            each.cancel("grace")
        self.stand_down(standing, now, cause)

    def stand_down(self, standing: Standing, now: float, cause: str) -> None:
        """A link does not carry any more, by its own fault or as it was told."""
        self._access.changed(cause)
        for user in self._access.users.values():
            user.link_lost(standing.name)

    # --- coming back ---------------------------------------------------------------------------------------------------

    def _try(self, standing: Standing) -> None:
        """The time of stability is over: ask for proof; without an answer, wait again, and longer."""
        if not standing.probation or not standing.link.ready:
            return
        if standing.frugal:
            self._forgive(standing)
            return
        answering = [service for service in self._access.users if service not in self.down]
        for service in answering[:1] or list(self._access.users)[:1]:
            self._access.users[service].probe(standing.name)
        standing.later("failback", max(2.0, 3 * standing.timer.timeout), lambda: self._tried(standing))

    def _tried(self, standing: Standing) -> None:
        if not standing.probation or not standing.link.ready:
            return
        standing.failures += 1
        wait = standing.wait(self._clock.monotonic(), FREE_PROBE_EVERY if standing.free else MAX_FAILBACK)
        standing.link.doubt("no answer to the probe")
        self._access.note(Kind.LINK, f"{standing.name}: no answer to the probe; next one in {wait:.0f} s")
        standing.later("failback", wait, lambda: self._try(standing))

    def _forgive(self, standing: Standing) -> None:
        """A link that merely stands by was up for long enough; no byte is spent on proof."""
        if standing.probation and standing.link.ready:
            standing.probation = False
            standing.clear()
            standing.unproved = standing.frugal
            self._access.changed(f"{standing.name} has been stable")

    def came_up(self, standing: Standing, now: float) -> None:
        """A link can send: in use at once where there is no other, else on probation until it has proved itself."""
        standing.was_ready = True
        standing.started()
        self._access.note(Kind.LINK, f"{standing.name}: up ({standing.link.detail or standing.link.evidence.name})")
        if self._access.current is None or self._access.current == standing.name:
            standing.probation = False
        elif self._better(standing):  # make before break: even one that never failed proves itself before it takes over
            standing.probation = True
            wait = standing.wait(now) if standing.failures else 0.0
            standing.stable_from = now + wait
            standing.later("failback", wait, lambda: self._try(standing))
        elif standing.failures:
            standing.probation = True
            standing.later("failback", standing.wait(now), lambda: self._forgive(standing))
        self._access.changed(f"{standing.name}: up")

    def _better(self, standing: Standing) -> bool:
        """Whether `standing` would be preferred to the link in use, were it sound: only then is it worth a probe."""
        current = self._access.links.get(self._access.current or "")
        if current is None:
            return True
        mine, theirs = standing.view(), current.view()
        return (mine.order, mine.price) < (theirs.order, theirs.price)
