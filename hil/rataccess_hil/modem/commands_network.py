"""Commands about registration, operators, signal and cells, and power saving.

Rules of this file: each function answers one command; the table at the end names them.  Sources: 3GPP TS 27.007 sections
7 and 10, Quectel BG95 AT commands manual, replies of real modules for the shapes of QENG, QCSQ and QNWINFO.
"""

from __future__ import annotations

import re

from rataccess_hil.modem.actions import Answer, AtError, Wait
from rataccess_hil.modem.commands_sim import check
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form
from rataccess_hil.modem.state import Cell, Stat

_MOST_KINDS = {"+CREG": 3, "+CGREG": 5, "+CEREG": 5}


def registration(modem: Modem, call: Call) -> Answer:
    """AT+CREG, AT+CGREG, AT+CEREG."""
    if call.form is Form.TEST:
        return [f"{call.name}: (0-{_MOST_KINDS[call.name]})"]
    if call.form is Form.READ:
        return [modem.registration.report(call.name, solicited=True)]
    modem.settings.registration[call.name] = call.number(0, 0, _MOST_KINDS[call.name], 0)
    return []


def operator(modem: Modem, call: Call) -> Answer:
    """AT+COPS."""
    if call.form is Form.TEST:
        return _scan(modem)
    registration = modem.registration
    if call.form is Form.READ:
        mode = 2 if registration.deregistered else int(registration.manual is not None)
        if not registration.registered:
            return [f"+COPS: {mode}"]
        shown = _operator_name(modem, modem.settings.operator_format)
        act = modem.personality.access_technology
        return [f'+COPS: {mode},{modem.settings.operator_format},"{shown}",{act}']
    return _select(modem, call)


def _operator_name(modem: Modem, shape: int) -> str:
    return modem.air.operator if shape < 2 else modem.air.mcc + modem.air.mnc


def _scan(modem: Modem) -> Answer:
    yield Wait(modem.timings.scan, abortable=True)
    air = modem.air
    found = []
    if air.coverage:
        stat = 2 if modem.registration.registered else 3 if air.denied is not None else 1
        act = modem.personality.access_technology
        found.append(f'({stat},"{air.operator}","{air.operator[:8]}","{air.mcc}{air.mnc}",{act})')
    yield f"+COPS: {''.join(f'{entry},' for entry in found)},(0-4),(0-2)"
    return None


def _select(modem: Modem, call: Call) -> Answer:
    mode = call.number(0, 0, 4)
    if call.given(1):
        modem.settings.operator_format = call.number(1, 0, 2)
    if mode == 3:
        return None
    check(modem)
    registration = modem.registration
    registration.deregistered = mode == 2
    registration.manual = call.text(2) if mode in (1, 4) else None
    if mode == 2:
        modem.data.lose_all()
    registration.evaluate()
    while mode in (0, 1) and registration.stat is Stat.SEARCHING and modem.air.coverage:
        yield Wait(modem.timings.register / 4)
    if mode == 1 and not registration.registered:
        raise AtError(30)
    return None


def strength(modem: Modem, call: Call) -> Answer:
    """AT+CSQ."""
    if call.form is Form.TEST:
        return ["+CSQ: (0-31,99),(0-7,99)"]
    if not _hears(modem):
        return ["+CSQ: 99,99"]
    return [f"+CSQ: {max(0, min(31, (modem.air.cell.rssi + 113) // 2))},99"]


def extended_strength(modem: Modem, call: Call) -> Answer:
    """AT+CESQ."""
    if not _hears(modem):
        return ["+CESQ: 99,99,255,255,255,255"]
    cell = modem.air.cell
    quality = max(0, min(34, round((cell.rsrq + 20) * 2)))
    return [f"+CESQ: 99,99,255,255,{quality},{max(0, min(97, cell.rsrp + 141))}"]


def vendor_strength(modem: Modem, call: Call) -> Answer:
    """AT+QCSQ."""
    if not _hears(modem):
        return ['+QCSQ: "NOSERVICE"']
    cell = modem.air.cell
    return [f'+QCSQ: "{modem.personality.rat}",{cell.rssi},{cell.rsrp},{_raw_sinr(modem, cell)},{cell.rsrq}']


def network(modem: Modem, call: Call) -> Answer:
    """AT+QNWINFO."""
    if not modem.registration.registered:
        return ["+QNWINFO: No Service"]
    air = modem.air
    name = modem.personality.network_name
    return [f'+QNWINFO: "{name}","{air.mcc}{air.mnc}","LTE BAND {air.cell.band}",{air.cell.channel}']


def _hears(modem: Modem) -> bool:
    return modem.air.coverage and modem.function == 1


def _raw_sinr(modem: Modem, cell: Cell) -> int:
    # BG9x: fifths of a dB from -20 dB (Quectel's BG9x manuals, AT+QCSQ); others say dB.
    return max(0, min(250, (cell.sinr + 20) * 5)) if modem.personality.lpwa else cell.sinr


def engineering(modem: Modem, call: Call) -> Answer:
    """AT+QENG."""
    if call.form is Form.TEST:
        return ['+QENG: ("servingcell","neighbourcell")']
    wanted = call.text(0)
    if wanted == "servingcell":
        return [_serving(modem)]
    if wanted == "neighbourcell":
        return _neighbours(modem)
    raise AtError(50)


def _serving(modem: Modem) -> str:
    if not _hears(modem) or modem.registration.stat is Stat.SEARCHING:
        return '+QENG: "servingcell","SEARCH"'
    air, cell = modem.air, modem.air.cell
    state = "LIMSRV"
    if modem.registration.registered:
        busy = modem.schedule.now - modem.data.traffic_at < modem.timings.connected
        state = "CONNECT" if busy else "NOCONN"
    return (
        f'+QENG: "servingcell","{state}","{modem.personality.rat}","FDD",{air.mcc},{air.mnc},{cell.identity:X},'
        f"{cell.physical},{cell.channel},{cell.band},3,3,{cell.area:X},{cell.rsrp},{cell.rsrq},{cell.rssi},"
        f"{_raw_sinr(modem, cell)},{max(0, cell.rsrp + 124)}"
    )


def _neighbours(modem: Modem) -> list[str]:
    if not _hears(modem):
        return []
    serving, rat = modem.air.cell, modem.personality.rat
    lines = []
    for cell in modem.air.neighbours:
        where = "intra" if cell.channel == serving.channel else "inter"
        lines.append(
            f'+QENG: "neighbourcell {where}","{rat}",{cell.channel},{cell.physical},{cell.rsrq},{cell.rsrp},{cell.rssi},'
            f"{cell.sinr},{max(0, cell.rsrp + 124)},-,-,-,-"
        )
    return lines


def power_saving(modem: Modem, call: Call) -> Answer:
    """AT+CPSMS."""
    _needs_lpwa(modem)
    if call.form is Form.TEST:
        return ["+CPSMS: (0-2),,,(00000000-11111111),(00000000-11111111)"]
    kept = modem.kept
    if call.form is Form.READ:
        return [f'+CPSMS: {int(kept.psm)},,,"{kept.periodic_tau}","{kept.active_time}"']
    mode = call.number(0, 0, 2, 0)
    timers = [call.text(index, default) for index, default in ((3, kept.periodic_tau), (4, kept.active_time))]
    if not all(re.fullmatch("[01]{8}", timer) for timer in timers):
        raise AtError(50)
    kept.psm = mode == 1
    kept.periodic_tau, kept.active_time = timers
    return []


def discontinuous_reception(modem: Modem, call: Call) -> Answer:
    """AT+CEDRXS."""
    _needs_lpwa(modem)
    if call.form is Form.TEST:
        return ['+CEDRXS: (0-3),(4,5),("0000"-"1111")']
    if call.form is Form.READ:
        return [f'+CEDRXS: {act},"{value}"' for act, value in sorted(modem.kept.edrx.items())]
    mode = call.number(0, 0, 3)
    modem.settings.edrx_reports = mode == 2
    if mode in (0, 3):
        modem.kept.edrx.clear()
        return []
    act, value = call.number(1, 4, 5), call.text(2, "0101")
    if not re.fullmatch("[01]{4}", value):
        raise AtError(50)
    modem.kept.edrx[act] = value
    return []


def reception(modem: Modem, call: Call) -> Answer:
    """AT+CEDRXRDP."""
    _needs_lpwa(modem)
    if not modem.kept.edrx or not modem.registration.registered:
        return ["+CEDRXRDP: 0"]
    act, value = sorted(modem.kept.edrx.items())[0]
    return [f'+CEDRXRDP: {act},"{value}","{value}","0000"']


def _needs_lpwa(modem: Modem) -> None:
    if not modem.personality.lpwa:
        raise AtError(None)


COMMANDS: dict[str, Handler] = {
    "+CREG": registration,
    "+CGREG": registration,
    "+CEREG": registration,
    "+COPS": operator,
    "+CSQ": strength,
    "+CESQ": extended_strength,
    "+QCSQ": vendor_strength,
    "+QNWINFO": network,
    "+QENG": engineering,
    "+CPSMS": power_saving,
    "+CEDRXS": discontinuous_reception,
    "+CEDRXRDP": reception,
}
