"""One SBD session of a virtual modem, step by step, and what it leaves behind where it breaks.

Rules of this file: the order of events over the air, and nothing of AT.  The steps are: the modem finds the network, the
gateway takes the MO message, the modem learns that, the MT message comes down, the gateway learns that.  MOMSN moves on
when the modem knows its message accepted; MTMSN is the gateway's.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rataccess_hil.satellite.sbd_state import USUAL_STATUS, Break, Step
from rataccess_hil.satellite.sbd_steps import Wait

if TYPE_CHECKING:
    from rataccess_hil.satellite.sbd_core import SbdModem


@dataclass(frozen=True, slots=True)
class Outcome:
    """What +SBDIX says."""

    mo_status: int
    momsn: int
    mt_status: int = 0
    mtmsn: int = 0
    mt_length: int = 0
    mt_queued: int = 0

    def __str__(self) -> str:
        fields = (self.mo_status, self.momsn, self.mt_status, self.mtmsn, self.mt_length, self.mt_queued)
        return "+SBDIX: " + ", ".join(str(field) for field in fields)


class Dropped(Exception):
    """The session ends here, with this MO status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"MO status {status}")
        self.status = status


Air = Generator[Wait, None, Outcome]
Waits = Generator[Wait, None, None]


def session(modem: SbdModem) -> Air:
    """Run one; each yield is time over the air."""
    modem.counts.sessions += 1
    modem.in_session = True
    number = modem.momsn
    try:
        outcome = yield from _try(modem, number)
        modem.counts.succeeded += 1
    except Dropped as dropped:
        outcome = Outcome(dropped.status, number, modem.model.failed_mt_status)
    finally:
        modem.in_session = False
        modem.discharge()
    statuses = modem.counts.statuses
    statuses[outcome.mo_status] = statuses.get(outcome.mo_status, 0) + 1
    return outcome


def _try(modem: SbdModem, number: int) -> Air:
    forced = yield from _hurdles(modem)
    plan = _plan(modem)
    length = modem.draw(modem.timings.session if modem.bars() >= 3 else modem.timings.weak_session)
    modem.buffers.mt = None
    yield from _air(modem, length * 0.35)
    if modem.gateway.of(modem.imei).barred:
        raise Dropped(15)
    _break(plan, Step.BEFORE_MO)
    if modem.buffers.mo is not None:
        modem.gateway.take_mo(modem.imei, number, modem.buffers.mo)
        yield from _air(modem, length * 0.35)
        _break(plan, Step.AFTER_MO)
    modem.momsn = (modem.momsn + 1) & 0xFFFF
    modem.attach()
    _break(plan, Step.AFTER_ACK)
    found = yield from _terminate(modem, number, length * 0.3, plan)
    return replace(found, mo_status=forced) if forced else found


def _hurdles(modem: SbdModem) -> Generator[Wait, None, int]:
    """What stands before a session; returns an MO status that counts as sent, or 0."""
    refused = modem.refusal()
    if refused is not None:
        yield Wait(modem.timings.reply)
        raise Dropped(refused)
    forced = modem.faults.statuses.popleft() if modem.faults.statuses else 0
    if forced > 4:
        yield Wait(modem.draw(modem.timings.session), session=True)
        raise Dropped(forced)
    if modem.bars() == 0 or not modem.in_network() or modem.lacks_time():
        yield Wait(modem.draw(modem.timings.no_service), session=True)
        if modem.bars() == 0 or not modem.in_network() or modem.lacks_time():
            raise Dropped(32)
    return forced


def _plan(modem: SbdModem) -> Break | None:
    if modem.faults.breaks:
        return modem.faults.breaks.popleft()
    if modem.chance.random() >= modem.model.failures[modem.bars()]:
        return None
    step = modem.chance.choice((Step.BEFORE_MO, Step.BEFORE_MO, Step.AFTER_MO, Step.AFTER_ACK, Step.DURING_MT))
    return Break(step, USUAL_STATUS[step] or 18)


def _break(plan: Break | None, step: Step) -> None:
    if plan is not None and plan.step is step:
        raise Dropped(plan.status)


def _air(modem: SbdModem, seconds: float) -> Waits:
    """Time over the air; the link is lost where the sky is at its end."""
    yield Wait(seconds, session=True)
    if modem.bars() == 0:
        raise Dropped(18)


def _terminate(modem: SbdModem, number: int, seconds: float, plan: Break | None) -> Air:
    """The MT half of a session."""
    gateway, imei = modem.gateway, modem.imei
    message = gateway.next_mt(imei)
    if message is None:
        yield Wait(seconds / 3, session=True)
        if modem.buffers.mo is None:
            gateway.mailbox_checked(imei)
            gateway.take_mo(imei, number, None)
        modem.buffers.ring = False
        return Outcome(0, number)
    if len(message.payload) > gateway.of(imei).longest_mt:
        gateway.of(imei).queue.remove(message)  # else it would stand before all others for ever
        return Outcome(1, number, 0, 0, 0, gateway.queued(imei))
    yield Wait(seconds, session=True)
    if modem.bars() == 0 or (plan is not None and plan.step is Step.DURING_MT):
        status = plan.status if plan is not None and plan.step is Step.DURING_MT else 0
        return Outcome(status, number, 2, 0, 0, gateway.queued(imei))
    modem.buffers.mt, modem.buffers.mt_number = message.payload, message.mtmsn
    modem.buffers.ring = False
    if plan is None or plan.step is not Step.AFTER_MT:
        gateway.mt_done(imei, message)
    return Outcome(0, number, 1, message.mtmsn, len(message.payload), gateway.queued(imei))
