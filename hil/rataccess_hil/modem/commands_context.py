"""Commands about PDP contexts.

Rules of this file: each function answers one command; the table at the end names them.  Sources: 3GPP TS 27.007 section
10.1, Quectel BG95 TCP/IP application note.
"""

from __future__ import annotations

from rataccess_hil.modem.actions import Answer, AtError, Wait
from rataccess_hil.modem.commands_sim import check
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form
from rataccess_hil.modem.state import Context

_TYPES = ("IP", "IPV6", "IPV4V6", "PPP", "Non-IP")
_ATTACH_CONTEXT = 1


def _most(modem: Modem) -> int:
    return modem.personality.contexts


def define(modem: Modem, call: Call) -> Answer:
    """AT+CGDCONT; kept in flash."""
    contexts = modem.kept.contexts
    if call.form is Form.TEST:
        return [f'+CGDCONT: (1-{_most(modem)}),"{kind}",,,(0-2),(0-4)' for kind in _TYPES[:3]]
    if call.form is Form.READ:
        return [f'+CGDCONT: {cid},"{kind}","{apn}","0.0.0.0",0,0,0,0' for cid, (kind, apn) in sorted(contexts.items())]
    cid = call.number(0, 1, _most(modem))
    if len(call) == 1:
        contexts.pop(cid, None)
        return []
    kind = call.text(1)
    if kind.upper() not in (known.upper() for known in _TYPES):
        raise AtError(50)
    contexts[cid] = (kind, call.text(2, ""))
    return []


def attach(modem: Modem, call: Call) -> Answer:
    """AT+CGATT."""
    if call.form is Form.TEST:
        return ["+CGATT: (0,1)"]
    if call.form is Form.READ:
        return [f"+CGATT: {int(_attached(modem))}"]
    return _attach(modem, call.number(0, 0, 1))


def _attach(modem: Modem, wanted: int) -> Answer:
    check(modem)
    yield Wait(modem.timings.attach)
    if wanted and not modem.registration.registered:
        raise AtError(30)
    modem.data.attached = bool(wanted)
    if not wanted:
        modem.data.lose_all()
    return None


def _attached(modem: Modem) -> bool:
    return modem.registration.registered and modem.data.attached


def _is_active(modem: Modem, cid: int) -> bool:
    context = modem.data.contexts.get(cid)
    # The context of the attach is up as soon as the modem is registered (LTE default bearer).
    return (cid == _ATTACH_CONTEXT and _attached(modem)) or bool(context and context.active)


def activation(modem: Modem, call: Call) -> Answer:
    """AT+CGACT."""
    if call.form is Form.TEST:
        return ["+CGACT: (0,1)"]
    if call.form is Form.READ:
        return [f"+CGACT: {cid},{int(_is_active(modem, cid))}" for cid in sorted(modem.kept.contexts)]
    return _activation(modem, call.number(0, 0, 1), call.number(1, 1, _most(modem), _ATTACH_CONTEXT))


def _activation(modem: Modem, wanted: int, cid: int) -> Answer:
    if cid not in modem.kept.contexts:
        raise AtError(50)
    yield Wait(modem.timings.attach)
    if wanted and not _attached(modem):
        raise AtError(30)
    if wanted and not _is_active(modem, cid):
        modem.data.activate(cid)
    elif not wanted and cid == _ATTACH_CONTEXT:
        raise AtError(171)
    elif not wanted:
        modem.data.deactivate(cid)
    return None


def _address(modem: Modem, cid: int) -> str:
    context = modem.data.contexts.get(cid)
    if context is not None and context.active:
        return context.address
    return "10.64.0.1" if _is_active(modem, cid) else ""


def addresses(modem: Modem, call: Call) -> Answer:
    """AT+CGPADDR."""
    if call.form is Form.TEST:
        return [f"+CGPADDR: ({','.join(str(cid) for cid in sorted(modem.kept.contexts))})"]
    wanted = [call.number(0, 1, _most(modem))] if call.given(0) else sorted(modem.kept.contexts)
    lines = []
    for cid in wanted:
        address = _address(modem, cid)
        lines.append(f'+CGPADDR: {cid},"{address}"' if address else f"+CGPADDR: {cid}")
    return lines


def parameters(modem: Modem, call: Call) -> Answer:
    """AT+CGCONTRDP."""
    if call.form is Form.TEST:
        return ["+CGCONTRDP: (1)"]
    wanted = [call.number(0, 1, _most(modem))] if call.given(0) else sorted(modem.kept.contexts)
    lines = []
    for cid in wanted:
        address = _address(modem, cid)
        if address:
            apn = modem.kept.contexts.get(cid, ("IP", ""))[1]
            first, second = modem.data.dns
            lines.append(f'+CGCONTRDP: {cid},{4 + cid},"{apn}","{address}.255.255.255.0",,"{first}","{second}"')
    return lines


def events(modem: Modem, call: Call) -> Answer:
    """AT+CGEREP."""
    if call.form is Form.TEST:
        return ["+CGEREP: (0-2),(0,1)"]
    if call.form is Form.READ:
        return [f"+CGEREP: {modem.settings.event_reports},0"]
    modem.settings.event_reports = call.number(0, 0, 2, 0)
    return []


def profile(modem: Modem, call: Call) -> Answer:
    """AT+QICSGP."""
    if call.form is Form.TEST:
        return [f"+QICSGP: (1-{_most(modem)}),(1-3),<APN>,<username>,<password>,(0-3)"]
    number = call.number(0, 1, _most(modem))
    contexts = modem.data.contexts
    if len(call) == 1:
        found = contexts.get(number, Context())
        shown = f'{found.kind},"{found.apn}","{found.user}","{found.password}",{found.authentication}'
        return [f"+QICSGP: {shown}"]
    old = contexts.get(number)
    if old is not None and (old.active or old.lost):
        raise AtError(None)
    contexts[number] = Context(
        call.number(1, 1, 3), call.text(2), call.text(3, ""), call.text(4, ""), call.number(5, 0, 3, 0)
    )
    return []


def activate(modem: Modem, call: Call) -> Answer:
    """AT+QIACT: fails where the context is active already, as real ones do."""
    if call.form is Form.TEST:
        return [f"+QIACT: (1-{_most(modem)})"]
    if call.form is Form.READ:
        return [
            f'+QIACT: {number},1,{context.kind},"{context.address}"'
            for number, context in sorted(modem.data.contexts.items())
            if context.active
        ]
    return _activate(modem, call.number(0, 1, _most(modem)))


def _activate(modem: Modem, number: int) -> Answer:
    context = modem.data.contexts.setdefault(number, Context())
    if context.active or context.lost:
        raise AtError(None)
    yield Wait(modem.timings.activate)
    refusal = modem.air.refuses_context
    if refusal is not None or not _attached(modem):
        modem.data.last_error = 561
        raise AtError(refusal if refusal is not None else 30)
    if modem.data.contexts.get(number) is context:
        modem.data.activate(number)
    return None


def deactivate(modem: Modem, call: Call) -> Answer:
    """AT+QIDEACT: OK also where nothing is active."""
    if call.form is Form.TEST:
        return [f"+QIDEACT: (1-{_most(modem)})"]
    return _deactivate(modem, call.number(0, 1, _most(modem)))


def _deactivate(modem: Modem, number: int) -> Answer:
    yield Wait(modem.timings.deactivate)
    modem.data.deactivate(number)
    return None


COMMANDS: dict[str, Handler] = {
    "+CGDCONT": define,
    "+CGATT": attach,
    "+CGACT": activation,
    "+CGPADDR": addresses,
    "+CGCONTRDP": parameters,
    "+CGEREP": events,
    "+QICSGP": profile,
    "+QIACT": activate,
    "+QIDEACT": deactivate,
}
