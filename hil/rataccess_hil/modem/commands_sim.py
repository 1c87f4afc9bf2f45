"""Commands about the SIM.

Rules of this file: each function answers one command; the table at the end names them.  Sources: 3GPP TS 27.007 section
8.3, 3GPP TS 31.101 (three tries of the PIN, ten of the PUK), Quectel BG95 AT commands manual.
"""

from __future__ import annotations

from rataccess_hil.modem.actions import Answer, AtError
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form


def check(modem: Modem, *, unlocked: bool = True) -> None:
    """Raise what a command that needs the SIM answers without one."""
    if not modem.sim.present:
        raise AtError(10)
    if not modem.sim_ready:
        raise AtError(14)
    if unlocked and modem.sim.state() != "READY":
        raise AtError({"SIM PIN": 11, "SIM PUK": 12}.get(modem.sim.state(), 13))


def pin(modem: Modem, call: Call) -> Answer:
    """AT+CPIN."""
    if call.form is Form.TEST:
        return []
    check(modem, unlocked=False)
    if call.form is Form.READ:
        return [f"+CPIN: {modem.sim.state()}"]
    state = modem.sim.state()
    if state == "SIM PIN":
        _try_pin(modem, call.text(0))
    elif state == "SIM PUK":
        _try_puk(modem, call.text(0), call.text(1))
    else:
        raise AtError(3)
    modem.sim.unlocked = True
    modem.schedule.after(0.0, lambda: modem.urc("+CPIN: READY"))
    modem.schedule.after(0.0, modem.registration.evaluate)
    return []


def _try_pin(modem: Modem, given: str) -> None:
    sim = modem.sim
    if given != sim.pin:
        sim.tries -= 1
        raise AtError(16 if sim.tries else 12)
    sim.tries = 3


def _try_puk(modem: Modem, puk: str, new_pin: str) -> None:
    sim = modem.sim
    if puk != sim.puk:
        sim.puk_tries -= 1
        raise AtError(16)
    sim.pin, sim.tries, sim.puk_tries = new_pin, 3, 10


def tries(modem: Modem, call: Call) -> Answer:
    """AT+QPINC."""
    check(modem, unlocked=False)
    return [f'+QPINC: "SC",{modem.sim.tries},{modem.sim.puk_tries}']


def subscriber(modem: Modem, call: Call) -> Answer:
    """AT+CIMI."""
    if call.form is Form.TEST:
        return []
    check(modem)
    return [modem.sim.imsi]


def card(modem: Modem, call: Call) -> Answer:
    """AT+QCCID, and AT+ICCID where the model has it."""
    if call.form is Form.TEST:
        return []
    check(modem, unlocked=False)
    # An odd number of digits is padded with F, as the card keeps it.
    padded = modem.sim.iccid + "F" * (len(modem.sim.iccid) % 2)
    return [f"{call.name}: {padded}"]


def inserted(modem: Modem, call: Call) -> Answer:
    """AT+QSIMSTAT."""
    if call.form is Form.READ:
        return [f"+QSIMSTAT: 0,{int(modem.sim.present)}"]
    return []


def initialised(modem: Modem, call: Call) -> Answer:
    """AT+QINISTAT: bits 0 CPIN, 1 SMS, 2 phone book."""
    ready = modem.sim.present and modem.sim_ready and modem.sim.state() == "READY"
    return [f"+QINISTAT: {7 if ready else 0}"]


def lock(modem: Modem, call: Call) -> Answer:
    """AT+CLCK="SC": asks, sets or lifts the lock of the PIN."""
    check(modem, unlocked=False)
    if call.text(0) != "SC":
        raise AtError(4)
    mode = call.number(1, 0, 2)
    if mode == 2:
        return [f"+CLCK: {int(modem.sim.pin is not None)}"]
    given = call.text(2)
    if mode == 0 and modem.sim.pin is not None:
        _try_pin(modem, given)
        modem.sim.pin = None
    elif mode == 1:
        modem.sim.pin, modem.sim.unlocked = given, True
    return []


COMMANDS: dict[str, Handler] = {
    "+CPIN": pin,
    "+QPINC": tries,
    "+CIMI": subscriber,
    "+QCCID": card,
    "+ICCID": card,
    "+QSIMSTAT": inserted,
    "+QINISTAT": initialised,
    "+CLCK": lock,
}
