"""Commands about the modem itself: identity, settings, clock, power.

Rules of this file: each function answers one command; the table at the end names them.  Sources: ITU-T V.250, 3GPP TS
27.007, Quectel BG95 AT commands manual.
"""

from __future__ import annotations

import datetime
from copy import deepcopy

from rataccess_hil.modem.actions import Answer, AtError, Wait
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form
from rataccess_hil.modem.state import Settings

_RATES = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)


def switch(field: str, high: int = 1) -> Handler:
    """A basic command such as E0 that sets one of `Settings`."""

    def answer(modem: Modem, call: Call) -> Answer:
        value = call.number(0, 0, high, 0)
        setattr(modem.settings, field, bool(value))
        return []

    return answer


def accepted(modem: Modem, call: Call) -> Answer:
    """Taken, and without effect here."""
    return []


def identity(modem: Modem, call: Call) -> Answer:
    """ATI."""
    made_by = modem.personality
    return [made_by.manufacturer, made_by.model, f"Revision: {made_by.revision}"]


def constant(*names: str) -> Handler:
    """A command that says fields of the personality, or the IMEI."""

    def answer(modem: Modem, call: Call) -> Answer:
        if call.form is Form.TEST:
            return []
        if call.form is Form.READ:
            raise AtError(None)
        return [modem.imei if name == "imei" else str(getattr(modem.personality, name)) for name in names]

    return answer


def factory(modem: Modem, call: Call) -> Answer:
    """AT&F."""
    modem.terminal.settings = Settings()
    return []


def save(modem: Modem, call: Call) -> Answer:
    """AT&W."""
    modem.kept.saved = deepcopy(modem.settings)
    return []


def restore(modem: Modem, call: Call) -> Answer:
    """ATZ."""
    modem.terminal.settings = deepcopy(modem.kept.saved) if modem.kept.saved else Settings()
    return []


def errors(modem: Modem, call: Call) -> Answer:
    """AT+CMEE."""
    if call.form is Form.TEST:
        return ["+CMEE: (0-2)"]
    if call.form is Form.READ:
        return [f"+CMEE: {modem.settings.errors}"]
    modem.settings.errors = call.number(0, 0, 2, 0)
    return []


def rate(modem: Modem, call: Call) -> Answer:
    """AT+IPR; a pseudo terminal has no rate, so the value is only kept."""
    if call.form is Form.TEST:
        return [f"+IPR: ({','.join(str(value) for value in _RATES)})"]
    if call.form is Form.READ:
        return [f"+IPR: {modem.kept.baudrate}"]
    value = call.number(0, 0, 921600)
    if value not in _RATES:
        raise AtError(50)
    modem.kept.baudrate = value
    return []


def function(modem: Modem, call: Call) -> Answer:
    """AT+CFUN."""
    if call.form is Form.TEST:
        return ["+CFUN: (0,1,4),(0,1)"]
    if call.form is Form.READ:
        return [f"+CFUN: {modem.function}"]
    wanted, restarts = call.number(0, 0, 4), call.number(1, 0, 1, 0)
    if wanted not in (0, 1, 4) or (restarts and wanted != 1):
        raise AtError(50)
    if restarts:
        modem.reset_by_command()
        return []
    return _function(modem, wanted)


def _function(modem: Modem, wanted: int) -> Answer:
    if wanted != modem.function:
        yield Wait(modem.timings.radio)
        modem.cycle_radio(wanted)
    return None


def power_down(modem: Modem, call: Call) -> Answer:
    """AT+QPOWD."""
    if call.form is Form.TEST:
        return ["+QPOWD: (0,1)"]
    if call.number(0, 0, 1, 1) == 0:
        modem.schedule.after(0.0, modem.switch_off)
    else:
        modem.power_down()
    return []


def configuration(modem: Modem, call: Call) -> Answer:
    """AT+QCFG: every name of the personality is kept and read back; others fail."""
    if call.form is Form.TEST:
        return [f'+QCFG: "{name}",{value}' for name, value in modem.kept.configuration.items()]
    name = call.text(0)
    if name not in modem.kept.configuration:
        raise AtError(None)
    if len(call) == 1:
        return [f'+QCFG: "{name}",{modem.kept.configuration[name]}']
    values = list(call.values[1:])
    if name in ("nwscanmode", "nwscanseq", "iotopmode", "servicedomain", "roamservice", "band"):
        # The last field says whether it takes effect at once; it is not kept.
        values = values[: len(modem.kept.configuration[name].split(","))]
    modem.kept.configuration[name] = ",".join(values)
    return []


def _stamp(moment: datetime.datetime, zone: int) -> str:
    return f"{moment:%y/%m/%d,%H:%M:%S}{zone:+03d}"


def _utc(modem: Modem) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(modem.epoch + modem.schedule.now, datetime.UTC)


def clock(modem: Modem, call: Call) -> Answer:
    """AT+CCLK: 1980 until the network has told the time and CTZU lets it set the clock."""
    if call.form is Form.SET:
        call.text(0)
        return []
    known = modem.registration.time_known_since is not None
    update = modem.kept.zone_update
    if not known or update == 0:
        since_start = datetime.datetime(1980, 1, 6, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=modem.schedule.now
        )
        return [f'+CCLK: "{_stamp(since_start, 0)}"']
    ahead = datetime.timedelta(minutes=15 * modem.air.zone) if update == 3 else datetime.timedelta()
    return [f'+CCLK: "{_stamp(_utc(modem) + ahead, modem.air.zone)}"']


def network_clock(modem: Modem, call: Call) -> Answer:
    """AT+QLTS: 0 the moment of synchronisation, 1 GMT now, 2 local time now."""
    if call.form is Form.TEST:
        return ["+QLTS: (0-2)"]
    mode = call.number(0, 0, 2, 0)
    since = modem.registration.time_known_since
    if since is None:
        return ['+QLTS: ""']
    now = _utc(modem)
    if mode == 0:
        now = datetime.datetime.fromtimestamp(modem.epoch + since, datetime.UTC)
    if mode != 1:
        now += datetime.timedelta(minutes=15 * modem.air.zone)
    return [f'+QLTS: "{now:%Y/%m/%d,%H:%M:%S}{modem.air.zone:+03d},0"']


def zone_update(modem: Modem, call: Call) -> Answer:
    """AT+CTZU."""
    if call.form is Form.TEST:
        return ["+CTZU: (0,1,3)"]
    if call.form is Form.READ:
        return [f"+CTZU: {modem.kept.zone_update}"]
    value = call.number(0, 0, 3)
    if value == 2:
        raise AtError(50)
    modem.kept.zone_update = value
    return []


def zone_reports(modem: Modem, call: Call) -> Answer:
    """AT+CTZR."""
    if call.form is Form.TEST:
        return ["+CTZR: (0-2)"]
    if call.form is Form.READ:
        return [f"+CTZR: {modem.settings.zone_reports}"]
    modem.settings.zone_reports = call.number(0, 0, 2)
    return []


def known_commands(modem: Modem, call: Call) -> Answer:
    """AT+CLAC."""
    return [f"AT{name}" for name in sorted(modem.commands)]


def supply(modem: Modem, call: Call) -> Answer:
    """AT+CBC."""
    return ["+CBC: 0,80,3800"] if call.form is Form.EXECUTE else []


def port_of_urcs(modem: Modem, call: Call) -> Answer:
    """AT+QURCCFG: there is one port."""
    if call.form is Form.SET and len(call) == 1:
        return ['+QURCCFG: "urcport","usbat"']
    return []


COMMANDS: dict[str, Handler] = {
    "E": switch("echo"),
    "V": switch("verbose"),
    "Q": switch("quiet"),
    "&F": factory,
    "&W": save,
    "Z": restore,
    "&D": accepted,
    "&C": accepted,
    "&K": accepted,
    "X": accepted,
    "H": accepted,
    "S": accepted,
    "I": identity,
    "+CGMI": constant("manufacturer"),
    "+GMI": constant("manufacturer"),
    "+CGMM": constant("model"),
    "+GMM": constant("model"),
    "+CGMR": constant("revision"),
    "+GMR": constant("revision"),
    "+QGMR": constant("firmware"),
    "+CGSN": constant("imei"),
    "+GSN": constant("imei"),
    "+CMEE": errors,
    "+IPR": rate,
    "+IFC": accepted,
    "+CLAC": known_commands,
    "+CFUN": function,
    "+QPOWD": power_down,
    "+QCFG": configuration,
    "+CCLK": clock,
    "+QLTS": network_clock,
    "+CTZU": zone_update,
    "+CTZR": zone_reports,
    "+CBC": supply,
    "+QURCCFG": port_of_urcs,
    "+QSCLK": accepted,
}
