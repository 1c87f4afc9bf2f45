"""What a virtual SBD modem says to each command.

Rules of this file: a table of small conversations over `SbdModem`; the session itself is in `sbd_session`.  Reply texts
that no public source shows (SBDTC, SBDS, SBDREG, CIER, CULK, CRIS) are marked (unverified).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rataccess_hil.satellite.gateway import LONGEST_SBD_MO
from rataccess_hil.satellite.sbd_core import SbdModem
from rataccess_hil.satellite.sbd_grammar import Call, Handler
from rataccess_hil.satellite.sbd_session import Outcome, session
from rataccess_hil.satellite.sbd_state import Profile
from rataccess_hil.satellite.sbd_steps import Aborted, Answer, AtError, NoAnswer, Raw, Read, Wait

_LONGEST_TEXT = 120
"""Characters that SBDWT takes in the command line."""


def _nothing(modem: SbdModem, call: Call) -> Answer:
    yield from ()


def checksum(data: bytes) -> bytes:
    """The low 16 bits of the plain sum, big-endian.

    >>> checksum(b"hello").hex()
    '0214'
    """
    return (sum(data) & 0xFFFF).to_bytes(2, "big")


# --- basic ------------------------------------------------------------------------------------------------------------


def _echo(modem: SbdModem, call: Call) -> Answer:
    modem.profile.echo = call.choice(1, 0) == 1
    yield from ()


def _verbose(modem: SbdModem, call: Call) -> Answer:
    modem.profile.verbose = call.choice(1, 0) == 1
    yield from ()


def _quiet(modem: SbdModem, call: Call) -> Answer:
    modem.profile.quiet = call.choice(1, 0) == 1
    yield from ()


def _dtr(modem: SbdModem, call: Call) -> Answer:
    modem.profile.dtr = call.choice(3, 0)
    yield from ()


def _flow(modem: SbdModem, call: Call) -> Answer:
    chosen = call.choice(6, 3)
    if chosen not in (0, 3):
        raise AtError
    modem.profile.flow = chosen
    yield from ()


def _store(modem: SbdModem, call: Call) -> Answer:
    call.choice(1, 0)
    modem.store()
    yield from ()


def _recall(modem: SbdModem, call: Call) -> Answer:
    call.choice(1, 0)
    modem.recall()
    yield from ()


def _factory(modem: SbdModem, call: Call) -> Answer:
    call.choice(0, 0)
    modem.profile = Profile(flow=3)
    yield from ()


def _identity(modem: SbdModem, call: Call) -> Answer:
    said = {0: "2400", 3: modem.model.firmware, 4: "IRIDIUM", 7: modem.model.name}
    yield said.get(call.choice(7, 0), modem.model.name)


# --- identity ---------------------------------------------------------------------------------------------------------


def _imei(modem: SbdModem, call: Call) -> Answer:
    yield modem.imei


def _maker(modem: SbdModem, call: Call) -> Answer:
    yield modem.model.manufacturer


def _model(modem: SbdModem, call: Call) -> Answer:
    yield modem.model.name


def _firmware(modem: SbdModem, call: Call) -> Answer:
    yield f"Call Processor Version: {modem.model.firmware}"


def _lock(modem: SbdModem, call: Call) -> Answer:
    yield f"+CULK:{int(modem.faults.locked)}"  # (unverified)


# --- the network ------------------------------------------------------------------------------------------------------


def _signal(modem: SbdModem, call: Call) -> Answer:
    if call.asks:
        yield "+CSQ:(0-5)"
        return
    found = modem.in_network()
    seconds = modem.draw(modem.timings.signal) if found else modem.timings.signal_stall
    yield Wait(seconds + modem.faults.stall_signal)
    modem.last_bars = modem.bars()
    yield f"+CSQ:{modem.last_bars}"


def _last_signal(modem: SbdModem, call: Call) -> Answer:
    yield f"+CSQF:{modem.last_bars}"


def _indicators(modem: SbdModem, call: Call) -> Answer:
    if call.asks:
        bars, service = modem.indicators
        yield f"+CIER:{int(bars or service)},{int(bars)},{int(service)},0"
        return
    fields = (call.value or "").split(",")
    if not 1 <= len(fields) <= 5 or not all(field.strip() in ("0", "1") for field in fields):
        raise AtError
    on = [field.strip() == "1" for field in fields] + [False] * 3
    modem.indicate(on[0] and on[1], on[0] and on[2])


def _system_time(modem: SbdModem, call: Call) -> Answer:
    ticks = modem.system_time()
    yield "-MSSTM: no network service" if ticks is None else f"-MSSTM: {ticks:08x}"


def _ring_status(modem: SbdModem, call: Call) -> Answer:
    yield f"+CRIS:0,{int(modem.buffers.ring)}"  # telephony ring, SBD ring (unverified)


def _ring_status_and_time(modem: SbdModem, call: Call) -> Answer:
    ticks = modem.system_time() or 0
    yield f"+CRISX:0,{int(modem.buffers.ring)},{ticks:08x}"  # (unverified)


def _radio(modem: SbdModem, call: Call) -> Answer:
    modem.radio = call.choice(1) == 1
    yield from ()


def _flush(modem: SbdModem, call: Call) -> Answer:
    yield Wait(0.3)
    modem.radio = False


# --- buffers ----------------------------------------------------------------------------------------------------------


def _write_binary(modem: SbdModem, call: Call) -> Answer:
    size = call.choice(99_999)
    if not 1 <= size <= LONGEST_SBD_MO:
        yield "3"
        return
    yield "READY"
    data = yield Read(size + 2, modem.timings.binary)
    if not data:
        yield "1"
    elif checksum(data[:-2]) != data[-2:]:
        yield "2"
    else:
        modem.buffers.mo = data[:-2]
        yield "0"


def _write_text(modem: SbdModem, call: Call) -> Answer:
    if call.value is None:
        yield "READY"
        text = yield Read(None, modem.timings.binary)
        if not text:
            yield "1"
            return
        if len(text) > LONGEST_SBD_MO:
            raise AtError
        modem.buffers.mo = text
        yield "0"
        return
    if not 1 <= len(call.value) <= _LONGEST_TEXT:
        raise AtError
    modem.buffers.mo = call.value.encode("latin-1")


def _read_binary(modem: SbdModem, call: Call) -> Answer:
    data = modem.buffers.mt or b""
    yield Raw(len(data).to_bytes(2, "big") + data + checksum(data))


def _read_text(modem: SbdModem, call: Call) -> Answer:
    yield "+SBDRT:"
    yield Raw((modem.buffers.mt or b"") + b"\r\n")


def _clear(modem: SbdModem, call: Call) -> Answer:
    which = call.choice(2)
    if which in (0, 2):
        modem.buffers.mo = None
    if which in (1, 2):
        modem.buffers.mt = None
    yield "0"


def _clear_number(modem: SbdModem, call: Call) -> Answer:
    modem.momsn = 0
    yield "0"


def _copy(modem: SbdModem, call: Call) -> Answer:
    size = len(modem.buffers.mo or b"")
    modem.buffers.mt = modem.buffers.mo
    yield f"SBDTC: Outbound SBD Copied to Inbound SBD: size = {size}"  # (unverified)


# --- sessions ---------------------------------------------------------------------------------------------------------


def _initiate(modem: SbdModem, call: Call) -> Answer:
    if call.value is not None and not re.fullmatch(r"[+-]?\d+\.\d+,[+-]?\d+\.\d+", call.value):
        raise AtError
    if not modem.charged:
        modem.schedule.after(0.5, modem.brown_out, hardware=True)
        raise NoAnswer
    number = modem.momsn
    try:
        outcome = yield from session(modem)
    except Aborted:
        outcome = Outcome(18, number, modem.model.failed_mt_status)
    yield str(outcome)


def _momsn_told(modem: SbdModem) -> int:
    return modem.momsn if modem.model.tells_next_momsn else (modem.momsn - 1) & 0xFFFF


def _status_extended(modem: SbdModem, call: Call) -> Answer:
    held = modem.buffers
    flags = (int(held.mo is not None), _momsn_told(modem), int(held.mt is not None), held.mt_number)
    waiting = modem.gateway.queued(modem.imei) if held.mt is not None else 0
    yield "+SBDSX: " + ", ".join(str(field) for field in (*flags, int(held.ring), waiting))


def _status(modem: SbdModem, call: Call) -> Answer:
    held = modem.buffers
    flags = (int(held.mo is not None), _momsn_told(modem), int(held.mt is not None), held.mt_number)
    yield "+SBDS:" + ", ".join(str(field) for field in flags)  # (unverified)


def _register(modem: SbdModem, call: Call) -> Answer:
    if call.asks:
        yield f"+SBDREG:{modem.registered}"
        return
    refused = modem.refusal()
    if refused is None:
        yield Wait(modem.draw(modem.timings.registration), session=True)
        if modem.bars() == 0 or not modem.in_network():
            refused = 32
    if refused is None:
        modem.attach()
    yield f"+SBDREG:{modem.registered},{refused or 0}"


def _auto_register(modem: SbdModem, call: Call) -> Answer:
    if call.asks:
        yield f"+SBDAREG:{modem.profile.auto_register}"
        return
    modem.profile.auto_register = call.choice(2)


def _detach(modem: SbdModem, call: Call) -> Answer:
    refused = modem.refusal()
    if refused is None:
        yield Wait(modem.draw(modem.timings.registration), session=True)
        refused = 32 if modem.bars() == 0 else None
    if refused is None:
        modem.detach()
    yield f"+SBDDET:{modem.registered},{refused or 0}"


def _ring_indication(modem: SbdModem, call: Call) -> Answer:
    if call.asks:
        yield f"+SBDMTA:{int(modem.profile.ring_indication)}"
        return
    modem.profile.ring_indication = call.choice(1) == 1


def _traffic(modem: SbdModem, call: Call) -> Answer:
    left = max(0.0, modem.faults.traffic_until - modem.schedule.now)
    yield f"+SBDLOE:0,{round(left + 0.499)}"


COMMANDS: Mapping[str, Handler] = {
    "E": _echo,
    "V": _verbose,
    "Q": _quiet,
    "&D": _dtr,
    "&K": _flow,
    "&W": _store,
    "&Y": _nothing,
    "&F": _factory,
    "Z": _recall,
    "I": _identity,
    "+GSN": _imei,
    "+CGSN": _imei,
    "+GMI": _maker,
    "+CGMI": _maker,
    "+GMM": _model,
    "+CGMM": _model,
    "+GMR": _firmware,
    "+CGMR": _firmware,
    "+CULK": _lock,
    "+CSQ": _signal,
    "+CSQF": _last_signal,
    "+CIER": _indicators,
    "-MSSTM": _system_time,
    "+CRIS": _ring_status,
    "+CRISX": _ring_status_and_time,
    "*R": _radio,
    "*F": _flush,
    "+SBDWB": _write_binary,
    "+SBDWT": _write_text,
    "+SBDRB": _read_binary,
    "+SBDRT": _read_text,
    "+SBDD": _clear,
    "+SBDC": _clear_number,
    "+SBDTC": _copy,
    "+SBDIX": _initiate,
    "+SBDIXA": _initiate,
    "+SBDSX": _status_extended,
    "+SBDS": _status,
    "+SBDREG": _register,
    "+SBDAREG": _auto_register,
    "+SBDDET": _detach,
    "+SBDMTA": _ring_indication,
    "+SBDLOE": _traffic,
}
"""Every command that the virtual modem knows."""
