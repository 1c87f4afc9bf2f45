"""Network registration: `+CREG`, `+CGREG`, `+CEREG`, `+C5GREG`, asked or unasked (3GPP TS 27.007 clauses 7.2, 10.1.20,
10.1.22, 10.1.47).

Rules of this file: pure functions, one line in, one frozen value out; `CommandFailed` with the line where it is none.

A read reply is `n,stat,...`, the URC `stat,...`, and nothing marks which one it is; real modems also leave the quotes
out, pad with blanks or zeros, put a routing area between area and cell, and send URCs in the shape of read replies.  So
the shape decides: after `n` stands a short decimal `stat`, after `stat` a hexadecimal area.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import hexadecimal, plain_text, split_raw, whole_number

_LINE = re.compile(r"\s*\+(C(?:G|E|5G)?REG):(.*)", re.DOTALL)
PREFIXES = ("+CREG:", "+CGREG:", "+CEREG:", "+C5GREG:")
# The widest area code is the 24-bit TAC of 5G (TS 24.501 clause 9.11.3.9).
_MOST_AREA = 0xFFFFFF


class AccessTechnology(enum.IntEnum):
    """`<AcT>` (TS 27.007 clause 7.3; 14 is what Nordic's nRF9151 reports for NB-IoT over satellites)."""

    GSM = 0
    GSM_COMPACT = 1
    UTRAN = 2
    EGPRS = 3
    HSDPA = 4
    HSUPA = 5
    HSPA = 6
    LTE = 7
    EC_GSM_IOT = 8
    NB_IOT = 9
    LTE_5GCN = 10
    NR = 11
    NG_RAN = 12
    EN_DC = 13
    SATELLITE_NB_IOT = 14
    SATELLITE_LTE = 15
    SATELLITE_NR = 16

    @property
    def rat(self) -> str:
        """The radio access technology in the words of `Hints.rat`."""
        return _RATS.get(self, "lte")


_RATS = {
    AccessTechnology.GSM: "gsm",
    AccessTechnology.GSM_COMPACT: "gsm",
    AccessTechnology.UTRAN: "umts",
    AccessTechnology.EGPRS: "gsm",
    AccessTechnology.HSDPA: "umts",
    AccessTechnology.HSUPA: "umts",
    AccessTechnology.HSPA: "umts",
    AccessTechnology.EC_GSM_IOT: "gsm",
    AccessTechnology.NB_IOT: "nb-iot",
    AccessTechnology.NR: "nr",
    AccessTechnology.NG_RAN: "nr",
    AccessTechnology.EN_DC: "nr",
    AccessTechnology.SATELLITE_NB_IOT: "ntn-nb-iot",
    AccessTechnology.SATELLITE_LTE: "ntn-lte",
    AccessTechnology.SATELLITE_NR: "ntn-nr",
}


def access_technology(value: int | None) -> AccessTechnology | None:
    """The technology with that number; `None` for one that the standard does not know."""
    try:
        return None if value is None else AccessTechnology(value)
    except ValueError:
        return None


class RegistrationState(enum.IntEnum):
    """`<stat>`; numbers that the standard does not know are `UNKNOWN`."""

    IDLE = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5
    HOME_SMS_ONLY = 6
    ROAMING_SMS_ONLY = 7
    EMERGENCY_ONLY = 8
    HOME_CSFB_NOT_PREFERRED = 9
    ROAMING_CSFB_NOT_PREFERRED = 10
    ATTACHED_RLOS = 11


_USABLE = frozenset({1, 5, 9, 10})
_AT_HOME = frozenset({1, 6, 9})
_ROAMING = frozenset({5, 7, 10})


@dataclass(frozen=True, slots=True)
class Registration:
    """One registration report.  What the modem left out is `None`."""

    name: str
    """`CREG`, `CGREG`, `CEREG` or `C5GREG`."""
    stat: int
    """As sent; Nordic adds 90 (UICC failure) and 91 (no suitable cell)."""
    area: int | None = None
    """LAC or TAC."""
    cell: int | None = None
    act: int | None = None
    mode: int | None = None
    """`<n>` of a read reply; `None` in a URC."""
    routing_area: int | None = None
    cause_type: int | None = None
    """0: `cause` is an EMM or GMM cause of TS 24.301 or TS 24.008; 1: manufacturer specific."""
    cause: int | None = None
    active_time: str | None = None
    """T3324 as eight bits (TS 24.008 clause 10.5.7.3)."""
    periodic_update: str | None = None
    """T3412 extended as eight bits (TS 24.008 clause 10.5.7.4a)."""

    @property
    def state(self) -> RegistrationState:
        """`stat` by name."""
        try:
            return RegistrationState(self.stat)
        except ValueError:
            return RegistrationState.UNKNOWN

    @property
    def technology(self) -> AccessTechnology | None:
        """`act` by name."""
        return access_technology(self.act)

    @property
    def registered(self) -> bool:
        """Whether data can pass: registered at home or roaming, and not for SMS or emergencies only."""
        return self.stat in _USABLE

    @property
    def roaming(self) -> bool:
        """Registered, in a foreign network."""
        return self.stat in _ROAMING

    @property
    def denied(self) -> bool:
        """The network has refused; `cause` may tell why."""
        return self.stat == RegistrationState.DENIED


def parse_registration(line: str) -> Registration:
    """The registration that a read reply or URC reports.  Raises `CommandFailed` where the line is neither."""
    match = _LINE.fullmatch(line)
    fields = split_raw(match[2].rstrip()) if match else []
    asked = _is_read_reply(fields)
    stat = whole_number(fields[asked]) if len(fields) > asked else None
    if match is None or stat is None or stat < 0:
        raise CommandFailed(f"not a registration report: {line!r}")
    mode = whole_number(fields[0]) if asked else None
    return _located(match[1], stat, mode, fields[asked + 1 :])


def is_registration_urc(line: str, command: str) -> bool:
    """For `UrcPattern.when_solicited`: whether `line` is a URC though `command` is about the same registration.

    Only a read (`AT+CEREG?`) is answered with a line, and that line has the shape of a read reply.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return False
    return not command.endswith("?") or not _is_read_reply(split_raw(match[2].rstrip()))


def _is_read_reply(fields: list[str]) -> bool:
    """Whether the fields are `n,stat,...`; see the rules of this file."""
    if len(fields) < 2 or not _short_decimal(fields[0]):
        return False
    second, rest = fields[1], fields[2:]
    if not rest:
        return _short_decimal(second)
    # As many digits as an area code has: only the quotes, which a modem sets around every hexadecimal field or none, tell.
    if len(second) > 3:
        return second.isdigit() and len(second) == 4 and rest[0][:1] == '"'
    # An unquoted area without leading zeros looks like a stat; then what would be the area is the cell, and too large.
    area = hexadecimal(rest[0])
    return _short_decimal(second) and (area is None or area <= _MOST_AREA)


def _short_decimal(raw: str) -> bool:
    return raw.isascii() and raw.isdigit() and len(raw) <= 4


def _located(name: str, stat: int, mode: int | None, rest: list[str]) -> Registration:
    rest = rest + [""] * (8 - len(rest))
    routing_area = None
    if len(plain_text(rest[1])) in (1, 2) and len(plain_text(rest[2])) > 2:
        # Novatel: area, routing area, cell
        routing_area = hexadecimal(rest.pop(1))
    area, cell, act, *more = rest
    result = Registration(name, stat, hexadecimal(area), hexadecimal(cell), _act(act), mode, routing_area)
    if name == "C5GREG":
        return result  # the allowed NSSAI follows, which says nothing of the registration itself
    return _with_details(result, more)


def _act(raw: str) -> int | None:
    value = whole_number(raw)
    return value if value is not None and 0 <= value <= 255 else None


def _with_details(plain: Registration, more: list[str]) -> Registration:
    """Add a routing area (`"00"`, CGREG), or the cause and the PSM timers (CEREG, n above 2)."""
    first, second, active_time, periodic_update = more[:4]
    routing_area = plain.routing_area
    if plain.name == "CGREG" and first[:1] == '"':
        routing_area, first = hexadecimal(first), ""
    cause_type = whole_number(first)
    return Registration(
        plain.name,
        plain.stat,
        plain.area,
        plain.cell,
        plain.act,
        plain.mode,
        routing_area,
        cause_type,
        whole_number(second) if cause_type is not None else None,
        plain_text(active_time) or None,
        plain_text(periodic_update) or None,
    )
