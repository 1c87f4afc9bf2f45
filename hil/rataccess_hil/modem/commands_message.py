"""Commands about short messages: as much as general-purpose AT clients ask when they start.

Rules of this file: each function answers one command; the table at the end names them.  Messages are neither sent nor
received: CMGS and its like are unknown commands.  Source: 3GPP TS 27.005.
"""

from __future__ import annotations

from rataccess_hil.modem.actions import Answer
from rataccess_hil.modem.commands_general import accepted
from rataccess_hil.modem.commands_sim import check
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form


def service_centre(modem: Modem, call: Call) -> Answer:
    """AT+CSCA."""
    check(modem)
    return ['+CSCA: "+46700000000",145'] if call.form is Form.READ else []


def storage(modem: Modem, call: Call) -> Answer:
    """AT+CPMS: empty."""
    check(modem)
    if call.form is Form.READ:
        return ['+CPMS: "ME",0,23,"ME",0,23,"ME",0,23']
    return ["+CPMS: 0,23,0,23,0,23"] if call.form is Form.SET else ['+CPMS: ("ME","SM"),("ME","SM"),("ME","SM")']


COMMANDS: dict[str, Handler] = {
    "+CMGF": accepted,
    "+CNMI": accepted,
    "+CSMP": accepted,
    "+CSCS": accepted,
    "+CSCA": service_centre,
    "+CPMS": storage,
}
