"""What to do about a failure: wait, attach again, climb the recovery ladder, or give up for long.

Rules of this file: a plain object, no I/O, no clock: failures and monotonic times in, remedies out.  It counts; `Link`
acts.  Counting starts anew on proof or after a stable time (`recovered`).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rataccess.driver import Evidence, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    PermanentError,
    PortBusy,
    PortLost,
    RadioNotFound,
    RadioSilent,
    RataccessError,
    RegistrationDenied,
    SimError,
    TransportError,
    WrongRadio,
)
from rataccess.link.backoff import Kept, exponential, usable
from rataccess.link.states import LinkEvent
from rataccess.link.timing import LinkTiming


class CarrierLost(AttachFailed):
    """The radio told of a bearer that is gone."""


class Unproved(AttachFailed):
    """The radio says all is well, and the services have been silent for long."""


class Failure(enum.Enum):
    """The kinds of trouble that have remedies of their own."""

    SILENT = "silent"
    """The radio does not answer."""
    LOST = "lost"
    """Its port failed, or the driver itself did."""
    ABSENT = "absent"
    """No such device."""
    BUSY = "busy"
    """Somebody else holds the port."""
    REFUSED = "refused"
    """The radio answers and there is no bearer."""
    CARRIER = "carrier"
    BROKEN = "broken"
    """The transport broke; the radio said nothing."""
    UNPROVED = "unproved"
    PERMANENT = "permanent"
    """Somebody must change something."""


_KINDS: tuple[tuple[type[BaseException], Failure], ...] = (  # the first that matches
    (RadioSilent, Failure.SILENT),
    (PortLost, Failure.LOST),
    (RadioNotFound, Failure.ABSENT),
    (PortBusy, Failure.BUSY),
    (CarrierLost, Failure.CARRIER),
    (Unproved, Failure.UNPROVED),
    (AttachFailed, Failure.REFUSED),
    (CommandFailed, Failure.REFUSED),
    (TransportError, Failure.BROKEN),
    (Closed, Failure.LOST),  # closed by itself: a defect of the driver, and surely not for ever
    (PermanentError, Failure.PERMANENT),
)


def kind_of(error: BaseException) -> Failure:
    """Which kind of failure `error` is; what nobody foresaw (a foreign exception) counts as a lost port."""
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), Failure.LOST)


_REACHED: tuple[tuple[type[RataccessError], Evidence], ...] = (  # the first that matches
    (RadioSilent, Evidence.PORT),
    (WrongRadio, Evidence.PORT),
    (SimError, Evidence.RADIO),
    (TransportError, Evidence.REGISTERED),
    (Unproved, Evidence.REGISTERED),
)
_NOTHING_LEFT = frozenset({Failure.LOST, Failure.ABSENT, Failure.BUSY, Failure.PERMANENT})


def reached(error: RataccessError, known: Evidence) -> Evidence:
    """How far a link still is after `error`; `known` where the error says nothing of it."""
    found = next((evidence for type_, evidence in _REACHED if isinstance(error, type_)), None)
    if found is None:
        found = Evidence.NONE if kind_of(error) in _NOTHING_LEFT else known
    return found


RADIO_ANSWERS = frozenset({Failure.REFUSED, Failure.CARRIER, Failure.BROKEN, Failure.UNPROVED})
"""The driver stays open: its port and the radio behind it did nothing wrong."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do next."""

    event: LinkEvent
    """`REATTACH`, `POSTPONE`, `REPAIR` or `GIVE_UP`."""
    wait: float = 0.0
    """Seconds, for `POSTPONE` and `GIVE_UP`."""
    mandated: bool = False
    """Whether the network or radio asked for this wait."""
    rung: int = 0
    """Index of the rung to run, for `REPAIR`."""


class Remedies:
    """Counts failures and decides."""

    def __init__(self, timing: LinkTiming, random: Random, kept: Kept) -> None:
        self._timing = timing
        self._random = random
        self._immediate: deque[float] = deque(maxlen=timing.immediate_retries)
        self._counts: dict[Failure, int] = {}
        self._climbing_for_network = False
        self.attempts = kept.attempts
        self.rung = kept.rung
        self.tries = kept.tries
        self.rounds = kept.rounds

    def recovered(self) -> bool:
        """Proof, or a stable time: count from nothing; returns whether there was anything to forget.

        The limit on immediate retries stays: a link may be proved each time and still flap.
        """
        before = (self.attempts, self.rung, self.tries, self.rounds, self._counts)
        self.attempts, self.rung, self.tries, self.rounds, self._counts = 0, None, 0, 0, {}
        self._climbing_for_network = False
        return before != (0, None, 0, 0, {})

    def may_hurry(self, now: float) -> bool:
        """Whether an attach without back-off is allowed now; counts it where it is."""
        timing = self._timing
        full = len(self._immediate) >= timing.immediate_retries
        if timing.immediate_retries < 1 or (full and now - self._immediate[0] < timing.immediate_window):
            return False
        self._immediate.append(now)
        return True

    def doubt_patience(self) -> float:
        """How long (s) doubts must last before a radio that says all is well is attached again."""
        rounds = min(self._counts.get(Failure.UNPROVED, 0), 30)
        return min(self._timing.doubt_patience * 2.0**rounds, self._timing.faulty_longest)

    def after(self, error: BaseException, rungs: Sequence[Recovery], now: float) -> Remedy:
        """What to do after `error`; `rungs` is the radio's ladder, mildest first."""
        kind = kind_of(error)
        retry_after = usable(getattr(error, "retry_after", None), self._timing.retry_after_longest)
        told_to_wait = kind is Failure.REFUSED and retry_after is not None  # no trouble with the radio
        self._counts[kind] = self._counts.get(kind, 0) + (0 if told_to_wait else 1)
        self.attempts += 1
        match kind:
            case Failure.PERMANENT:
                return Remedy(LinkEvent.GIVE_UP, self._permanent_wait())
            case Failure.BUSY:
                return self._postpone(self._timing.local_longest)
            case Failure.SILENT:
                return self._climb(kind, rungs, 0)
            case Failure.LOST:
                return self._unless(kind, self._timing.port_losses, rungs, self._timing.backoff_longest)
            case Failure.ABSENT:
                return self._absent(rungs)
            case Failure.REFUSED:
                return self._refused(error, retry_after, rungs)
            case Failure.BROKEN:
                return self._broken(rungs, now)
            case Failure.CARRIER:
                return self._hurry(now)
            case Failure.UNPROVED:
                return self._unproved(rungs, now)

    def _absent(self, rungs: Sequence[Recovery]) -> Remedy:
        """Looking for a device costs nothing, so a faulty link looks often; its ladder still runs rarely."""
        timing = self._timing
        limit = timing.absences
        if self.rounds:
            limit = max(limit, round(self._faulty_wait() / timing.local_longest))
            if self._counts[Failure.ABSENT] <= limit and self.rung is None:
                return Remedy(LinkEvent.GIVE_UP, timing.local_longest)
        return self._unless(Failure.ABSENT, limit, rungs, timing.local_longest)

    def _refused(self, error: BaseException, retry_after: float | None, rungs: Sequence[Recovery]) -> Remedy:
        timing = self._timing
        if retry_after is None and self._counts[Failure.REFUSED] >= self._patience(timing.attach_failures):
            return self._climb(Failure.REFUSED, rungs, beyond_port(rungs))
        denied = isinstance(error, RegistrationDenied)
        first, longest = timing.backoff_first, timing.backoff_longest
        if denied:
            first, longest = timing.denied_first, timing.permanent_longest
        wait = max(exponential(self.attempts, first, longest, self._random), retry_after or 0.0)
        return Remedy(LinkEvent.GIVE_UP if self.rounds else LinkEvent.POSTPONE, wait, retry_after is not None)

    def _broken(self, rungs: Sequence[Recovery], now: float) -> Remedy:
        count = self._counts[Failure.BROKEN]
        if count >= self._patience(self._timing.transport_failures):
            return self._climb(Failure.BROKEN, rungs, beyond_port(rungs))
        return self._hurry(now) if count == 1 else self._postpone(self._timing.backoff_longest)

    def _unproved(self, rungs: Sequence[Recovery], now: float) -> Remedy:
        """Never gives up: while the service is down, a link that could be up must not end as faulty."""
        start = beyond_port(rungs)
        if self._counts[Failure.UNPROVED] <= self._timing.doubt_rounds:
            return self._hurry(now)
        if self._next_rung(rungs, start) is None:
            self.rung, self.tries = None, 0
            return self._hurry(now)
        return self._climb(Failure.UNPROVED, rungs, start)

    def _patience(self, failures: int) -> int:
        """Failures of a radio that answers until its ladder; doubles each round, for the network itself may be down."""
        timing = self._timing
        most = max(failures, round(timing.faulty_longest / timing.backoff_longest))
        return min(failures << min(self.rounds, 16), most)

    def _hurry(self, now: float) -> Remedy:
        return Remedy(LinkEvent.REATTACH) if self.may_hurry(now) else self._postpone(self._timing.backoff_longest)

    def _postpone(self, longest: float) -> Remedy:
        return Remedy(LinkEvent.POSTPONE, exponential(self.attempts, self._timing.backoff_first, longest, self._random))

    def _unless(self, kind: Failure, limit: int, rungs: Sequence[Recovery], longest: float) -> Remedy:
        """Back off, unless this has happened `limit` times or the ladder is being climbed already."""
        if self._counts[kind] >= limit or self.rung is not None:
            return self._climb(kind, rungs, 0)
        return self._postpone(longest)

    def _next_rung(self, rungs: Sequence[Recovery], start: int) -> tuple[int, int] | None:
        """Rung and how often it will have run then; `None` past the last one."""
        rung, tries = (start, 0) if self.rung is None or self.rung < start else (self.rung, self.tries)
        while rung < len(rungs):
            if tries < rungs[rung].attempts:
                return rung, tries + 1
            rung, tries = rung + 1, 0
        return None

    def _climb(self, kind: Failure, rungs: Sequence[Recovery], start: int) -> Remedy:
        if not rungs and self.attempts < self._timing.attach_failures:
            return self._postpone(self._timing.backoff_longest)
        answers = kind in RADIO_ANSWERS
        if self._climbing_for_network and not answers:  # the rungs behind us were for a lesser trouble
            self.rung, self.tries = None, 0
        self._climbing_for_network = answers and (self.rung is None or self._climbing_for_network)
        found = self._next_rung(rungs, start)
        if kind is not Failure.UNPROVED:  # that count is what its patience grows by
            self._counts.pop(kind, None)
        if found is None:
            return self._past_the_last(kind)
        self.rung, self.tries = found
        return Remedy(LinkEvent.REPAIR, rung=self.rung)

    def _past_the_last(self, kind: Failure) -> Remedy:
        """The next round starts from the mildest rung again: a modem that hung yesterday may need only that today.

        A radio that answers is still asked as often as any back-off allows: an outage of its network ends without
        anybody touching the radio.  Looking whether a device was plugged in again is free.
        """
        self.rung, self.tries = None, 0
        self._climbing_for_network = False
        self.rounds += 1
        timing = self._timing
        if kind is Failure.ABSENT:
            return Remedy(LinkEvent.GIVE_UP, timing.local_longest)
        if kind in RADIO_ANSWERS:
            return Remedy(LinkEvent.GIVE_UP, timing.backoff_longest)
        return Remedy(LinkEvent.GIVE_UP, self._faulty_wait())

    def _faulty_wait(self) -> float:
        timing = self._timing
        return exponential(self.rounds, timing.faulty_first, timing.faulty_longest, self._random)

    def _permanent_wait(self) -> float:
        timing = self._timing
        return exponential(self._counts[Failure.PERMANENT], timing.faulty_first, timing.permanent_longest, self._random)


def beyond_port(rungs: Sequence[Recovery]) -> int:
    """Where a radio that answers starts on its ladder: reopening a port that works would repair nothing."""
    named = next((index for index, rung in enumerate(rungs) if rung.name == "radio off/on"), None)
    return named if named is not None else min(1, max(0, len(rungs) - 1))
