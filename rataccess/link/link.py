"""One link under supervision: a driver and a transport, kept up, watched, doubted, repaired.

Rules of this file: one task per link walks the table of `states`; what to do about a failure is decided in `trouble`, what
is open is held by `session`.  Calls from outside (`send`, `prove`, `doubt`, `hold`, what a driver announces) change
evidence and readiness at once, tell the listener, and wake the task; they never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from rataccess.clock import Clock
from rataccess.driver import Allowance, Bearer, Driver, Evidence, RadioStatus
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    NotNow,
    PacketTooLarge,
    RataccessError,
    ServiceRefused,
    TransportBroken,
)
from rataccess.link.backoff import usable
from rataccess.link.health import Health
from rataccess.link.listener import LinkListener
from rataccess.link.remedy import RADIO_ANSWERS, CarrierLost, Failure, Unproved, kind_of, reached
from rataccess.link.session import Session
from rataccess.link.standing import NOT_STARTED, Standing
from rataccess.link.states import LinkEvent, LinkState, advance
from rataccess.link.timing import LinkTiming
from rataccess.link.trouble import Trouble
from rataccess.objects import Memory, Service
from rataccess.tariff import Unit
from rataccess.transport import Endpoint, Handover, Packet, Transport

if TYPE_CHECKING:
    from rataccess.config.model import LinkSettings

log = logging.getLogger("rataccess.link")

_WAITS = (LinkState.WAITING, LinkState.FAULTY)
_RESOLUTION = 0.001
"""A wait that is shorter is over."""


class Link(Standing):
    """A configured driver and transport under supervision.

    Use from one event loop.  A link with `settings.hot` off is held from the beginning: it opens nothing until `release`.
    """

    def __init__(
        self,
        name: str,
        settings: LinkSettings,
        *,
        endpoints: Mapping[Service, Endpoint],
        listener: LinkListener,
        clock: Clock,
        memory: Memory,
        random: Random,
        make_driver: Callable[[], Driver],
        make_transport: Callable[[Driver, Bearer], Transport],
        timing: LinkTiming | None = None,
        unit: Unit = Unit.BYTE,
    ) -> None:
        super().__init__(name, settings, listener, clock, unit)
        self.endpoints = endpoints
        self._timing = timing or LinkTiming()
        self._session = Session(name, self._timing, make_driver, make_transport)
        self._health = Health(name, self._session, clock, self._timing)
        self._trouble = Trouble(name, clock, memory, random, self._timing, self._ladder_ended)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._loss: RataccessError | None = None  # why the link that is up is not any more
        self._steps: dict[LinkState, Callable[[], Awaitable[LinkEvent]]] = {
            LinkState.IDLE: self._idle,
            LinkState.WAITING: self._wait,
            LinkState.FAULTY: self._wait,
            LinkState.OPENING: self._open,
            LinkState.ATTACHING: self._attach,
            LinkState.STARTING: self._begin,
            LinkState.UP: self._stay,
            LinkState.RECOVERING: self._recover,
        }

    @property
    def last_status(self) -> RadioStatus | None:
        """What the radio said last."""
        return self._health.status

    @property
    def next_attempt(self) -> float | None:
        """Seconds until it is tried again to come up; `None` where it does not wait for that."""
        return max(0.0, self._trouble.left()) if self.state in _WAITS and not self._held else None

    def allowances(self) -> Sequence[Allowance]:
        """What the network or the law leaves the radio, where its driver keeps count."""
        return self._session.allowances()

    # --- from outside -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin supervision; needs a running event loop.  Again does nothing; `Closed` after `aclose`."""
        if self.state is LinkState.CLOSED:
            raise Closed(f"link {self.name} is closed")
        if self._task is None:
            self.faulty = self._trouble.restore()
            self._task = asyncio.get_running_loop().create_task(self._supervise(), name=f"rataccess link {self.name}")

    async def aclose(self) -> None:
        """End supervision and close transport and driver, within a bounded time; idempotent."""
        task = self._task
        if task is not None and not task.done():
            if not task.cancelling():
                task.cancel()
            await asyncio.wait({task})
        if self.state is not LinkState.CLOSED:
            self._move(LinkEvent.CLOSE)
            self._set(Evidence.NONE, "closed", ready=False)

    def hold(self) -> None:
        """Go down and stay down until `release`: at once when up or waiting, else after the step that runs."""
        self._held = True
        if self.ready:
            self._set(Evidence.NONE, "held", ready=False)
        self._wake.set()

    def release(self) -> None:
        """Come up again; a back-off that still runs is waited for."""
        self._held = False
        self._wake.set()

    async def send(self, packet: Packet) -> Handover | None:
        """As `Transport.send`.

        Raises `TransportBroken` at once when not `ready`; `PacketTooLarge`, `NotNow` (for 0 s to a day) and
        `ServiceRefused` come from the transport and leave the link as it is; any other failure is a `TransportBroken` that
        takes the link down.
        """
        transport = self._session.transport
        if transport is None or not self.ready:
            raise TransportBroken(f"link {self.name} is not up: {self.detail}")
        try:
            return await transport.send(packet)
        except NotNow as later:
            wait = usable(later.retry_after, self._timing.retry_after_longest) or 0.0
            raise NotNow(later.reason, wait) from later.__cause__
        except (PacketTooLarge, ServiceRefused):
            raise
        except RataccessError as error:
            self._lose(transport, error)
            if isinstance(error, TransportBroken):
                raise
            raise TransportBroken(f"link {self.name} broke while sending: {error}") from error
        except Exception as error:
            log.exception("link %s: sending failed in an unforeseen way", self.name)
            broken = TransportBroken(f"link {self.name} broke while sending: {type(error).__name__}: {error}")
            self._lose(transport, broken)
            raise broken from error

    def prove(self, how: str = "a service answered") -> None:
        """Packets pass: `REACHABLE`.  Back-off and ladder start anew.  Ignored when not ready.

        A service answered over this link or, `how` says so, its network took a packet where it is that which it tells.
        """
        if not self.ready:
            return
        self._health.clear()
        self._trouble.ends()
        self._trouble.forget()
        self._set(Evidence.REACHABLE, how)

    def doubt(self, why: str) -> None:
        """Requests went unanswered: no longer `REACHABLE`, and the radio is asked at once.  Ignored when not ready."""
        if not self.ready:
            return
        self._health.doubt()
        self._trouble.begins()
        self._set(min(self.evidence, Evidence.BEARER), f"doubted: {why}")
        self._wake.set()

    # --- the task -----------------------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        try:
            while True:
                self._move(await self._step())
        except Exception:
            log.critical("link %s: supervision ended by a defect of its own", self.name, exc_info=True)
            self._set(Evidence.NONE, "supervision ended by a defect of its own; see the log", ready=False, faulty=True)
        finally:
            self._set(Evidence.NONE, self.detail, ready=False)
            await self._session.aclose()

    async def _step(self) -> LinkEvent:
        """Do what the state asks for; what failed has been looked after when this returns."""
        try:
            event = await self._steps[self.state]()
        except RataccessError as error:
            event = await self._failed(error)
        if event is LinkEvent.HOLD or (self._held and self.state is not LinkState.IDLE):
            await self._session.aclose()
            self._trouble.ends()
            self._set(Evidence.NONE, "held", ready=False)
            return LinkEvent.HOLD
        return event

    def _move(self, event: LinkEvent) -> None:
        old, self.state = self.state, advance(self.state, event)
        log.debug("link %s: %s -> %s (%s)", self.name, old, self.state, event)

    async def _pause(self, seconds: float | None) -> bool:
        """Sleep until woken (true) or for `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _idle(self) -> LinkEvent:
        while self._held:
            self._set(Evidence.NONE, "held")
            await self._pause(None)
        return LinkEvent.BEGIN

    async def _wait(self) -> LinkEvent:
        """Until the time has come, or the bearer is back by itself."""
        left = self._trouble.left()
        if self.detail == NOT_STARTED and left > _RESOLUTION:
            why = self._trouble.why or "an attempt failed"
            self._set(self.evidence, f"not started: before the restart: {why}; the next attempt is in {left:.0f} s")
        while not self._held:
            left = self._trouble.left()
            if left <= _RESOLUTION or self._came_back():
                break
            await self._pause(left)
        return LinkEvent.DUE_OPEN if self._session.driver_open else LinkEvent.DUE

    def _came_back(self) -> bool:
        """Whether the radio has got so far meanwhile that attaching is worth while before its time.

        A bearer that is up by itself breaks no back-off of the network: attaching to it asks the network for nothing.
        """
        enough = Evidence.BEARER if self._trouble.remedy.mandated else Evidence.REGISTERED
        better = self._session.driver_open and self.evidence > self._trouble.got_to and self.evidence >= enough
        return better and self._trouble.remedies.may_hurry(self._clock.monotonic())

    async def _open(self) -> LinkEvent:
        self._set(Evidence.NONE, "opening the radio")
        await self._session.open(self._announced, self._charged)
        self._set(Evidence.RADIO, "the radio answers")
        return LinkEvent.OPENED

    async def _attach(self) -> LinkEvent:
        self._loss = None
        try:
            self.bearer = await self._session.attach()
        except (AttachFailed, CommandFailed) as error:
            # How far did it get?  A silent radio is another kind of trouble.
            status = await self._health.ask(self._timing.watch_limit, certain=True)
            if status is not None:
                self._set(min(status.evidence, Evidence.REGISTERED), str(error))
            raise
        self._set(Evidence.BEARER, f"attached: {self.bearer.rat}")
        return LinkEvent.ATTACHED

    async def _begin(self) -> LinkEvent:
        assert self.bearer is not None
        transport = await self._session.start(self.bearer, self._hinted)
        if self._loss is not None:
            raise self._loss
        if self._held:
            return LinkEvent.HOLD
        self._session.receive(transport, self._received, self._refused, lambda error: self._lose(transport, error))
        self._hinted(transport.hints)
        self._health.clear()
        self._trouble.mended()
        self._set(Evidence.BEARER, f"ready: {self.bearer.rat}", ready=True, faulty=False)
        return LinkEvent.STARTED

    async def _stay(self) -> LinkEvent:
        """Watch the link while it is up; raises what brought it down."""
        since = self._clock.monotonic()
        while self.ready:
            woken = await self._pause(self._timing.watch_every)
            if not self.ready or (woken and not self._health.urgent):
                continue
            status = await self._check()
            if status is not None and status.evidence < Evidence.BEARER:
                self._carrier_lost(status)
            if not self._health.doubts and self._clock.monotonic() - since >= self._timing.stable_after:
                self._trouble.forget()
        if self._loss is not None:
            raise self._loss
        return LinkEvent.HOLD

    async def _check(self) -> RadioStatus | None:
        """Ask the radio; `None` too where a loss, or a doubt while nobody was in a hurry, came between."""
        hurried = self._health.urgent
        asking = asyncio.get_running_loop().create_task(self._health.check(self._trouble.remedies.doubt_patience()))
        waking = asyncio.get_running_loop().create_task(self._wake.wait())
        try:
            while not asking.done():
                await asyncio.wait((asking, waking), return_when=asyncio.FIRST_COMPLETED)
                if waking.done() and (not self.ready or (self._health.urgent and not hurried)):
                    return None  # the event stays set: the next pause ends at once
                if waking.done():
                    await asyncio.wait((asking,))
            return await asking
        finally:
            for task in (asking, waking):
                task.cancel()
            await asyncio.wait((asking, waking))
            if not asking.cancelled():
                asking.exception()  # seen: where it was not returned, a loss explains it

    async def _recover(self) -> LinkEvent:
        rung = self._trouble.rung
        assert rung is not None
        self.detail = f"recovering: {rung.name}"
        started = self._clock.monotonic()
        try:
            await self._session.run(rung)
            outcome = "done"
        except RataccessError as error:
            outcome = f"failed: {error}"
        self._trouble.rung_done(rung, outcome, self._clock.monotonic() - started)
        return LinkEvent.RUNG_DONE

    # --- what comes in ------------------------------------------------------------------------------------------------

    def _announced(self, status: RadioStatus) -> None:
        """The driver told of a change."""
        self._health.status = status
        if self._held:
            return
        if self.state in (LinkState.STARTING, LinkState.UP) and self._loss is None:
            if status.evidence < Evidence.BEARER:
                self._carrier_lost(status)
            return
        self._set(min(status.evidence, Evidence.BEARER), status.detail or self.detail)
        self._wake.set()

    def _carrier_lost(self, status: RadioStatus) -> None:
        self._down(
            CarrierLost(status.detail or f"the radio got no further than {status.evidence.name}"), status.evidence
        )

    def _lose(self, transport: Transport, error: RataccessError) -> None:
        """The transport failed; nothing where it is not the one in use any more."""
        if transport is self._session.transport:
            self._down(error, min(self.evidence, reached(error, Evidence.NONE)))

    def _down(self, error: RataccessError, evidence: Evidence) -> None:
        if self._loss is None:
            self._loss = error
            self._trouble.begins()
            self._set(evidence, str(error), ready=False)
            self._wake.set()

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    @property
    def _out_of_reach(self) -> bool:
        """Whether silence says nothing against a radio that says all is well: no reset brings a LoRa gateway or a satellite
        into reach, and one may cost a LoRaWAN module its session."""
        return self.hints is not None and self.hints.frugal

    async def _failed(self, error: RataccessError) -> LinkEvent:
        """Close what is of no more use and decide what to do."""
        kind = kind_of(error)
        self._set(reached(error, self.evidence), str(error), ready=False)
        self._loss = None
        if self._held:
            return LinkEvent.HOLD
        rungs = () if isinstance(error, Unproved) and self._out_of_reach else self._session.recoveries
        remedy = self._trouble.judge(error, rungs, self.evidence)
        # A rung finds the driver of a silent radio as it was, so that it may use the port; a port that is lost is closed.
        usable = kind in RADIO_ANSWERS or (kind is Failure.SILENT and remedy.event is LinkEvent.REPAIR)
        await (self._session.close_transport() if usable else self._session.aclose())
        self._trouble.fix(error)
        if remedy.event is LinkEvent.GIVE_UP:
            self._given_up(str(error))
        return remedy.event

    def _given_up(self, cause: str) -> None:
        if not self.faulty:
            log.error("link %s is faulty: %s", self.name, cause)
        self._set(self.evidence, cause, faulty=True)
        if self._trouble.remedies.rung is None:  # else the ladder still has rungs for a radio that answers
            self._trouble.finished(ok=False)

    def _ladder_ended(self, step: str, seconds: float, ok: bool) -> None:
        self._tell(self._listener.recovery_finished, step, seconds, ok)
