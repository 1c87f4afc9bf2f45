"""Commands about GNSS.

Rules of this file: each function answers one command; the table at the end names them.  Source: Quectel BG95 GNSS
application note; replies of real modules for the shapes.
"""

from __future__ import annotations

import datetime

from rataccess_hil.modem.actions import Answer, AtError
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form


def switch_on(modem: Modem, call: Call) -> Answer:
    """AT+QGPS."""
    _needs_gnss(modem)
    if call.form is Form.READ:
        return [f"+QGPS: {int(modem.gnss_since is not None)}"]
    if call.form is Form.SET:
        call.number(0, 1, 4)
        if modem.gnss_since is not None:
            raise AtError(504)
        modem.gnss_since = modem.schedule.now
    return []


def switch_off(modem: Modem, call: Call) -> Answer:
    """AT+QGPSEND."""
    _needs_gnss(modem)
    if call.form is Form.EXECUTE:
        if modem.gnss_since is None:
            raise AtError(505)
        modem.gnss_since = None
    return []


def locate(modem: Modem, call: Call) -> Answer:
    """AT+QGPSLOC: mode 0 ddmm.mmmmN, 1 the same with six decimals, 2 signed degrees."""
    _needs_gnss(modem)
    if call.form is Form.TEST:
        return ["+QGPSLOC: (0-2)"]
    mode = call.number(0, 0, 2, 0)
    if modem.gnss_since is None:
        raise AtError(505)
    if not modem.air.sky or modem.schedule.now - modem.gnss_since < modem.timings.fix:
        raise AtError(516)
    now = datetime.datetime.fromtimestamp(modem.epoch + modem.schedule.now, datetime.UTC)
    air = modem.air
    place = f"{_angle(air.latitude, mode, 2, 'NS')},{_angle(air.longitude, mode, 3, 'EW')}"
    return [f"+QGPSLOC: {now:%H%M%S}.000,{place},1.2,{air.altitude:.1f},3,0.00,0.0,0.0,{now:%d%m%y},09"]


def _angle(degrees: float, mode: int, width: int, signs: str) -> str:
    if mode == 2:
        return f"{degrees:.5f}"
    whole = int(abs(degrees))
    decimals = 4 if mode == 0 else 6
    minutes = (abs(degrees) - whole) * 60
    return f"{whole:0{width}d}{minutes:0{decimals + 3}.{decimals}f}{signs[degrees < 0]}"


def configure(modem: Modem, call: Call) -> Answer:
    """AT+QGPSCFG: taken."""
    _needs_gnss(modem)
    return []


def _needs_gnss(modem: Modem) -> None:
    if not modem.personality.gnss:
        raise AtError(None)


COMMANDS: dict[str, Handler] = {
    "+QGPS": switch_on,
    "+QGPSEND": switch_off,
    "+QGPSLOC": locate,
    "+QGPSCFG": configure,
}
