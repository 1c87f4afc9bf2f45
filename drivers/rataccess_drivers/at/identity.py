"""Who the modem and its SIM are: `ATI`, `+CGSN`, `+CIMI`, ICCID, `+CPIN` (3GPP TS 27.007 clauses 5 and 8.3).

Rules of this file: pure functions, lines in, frozen values out; `CommandFailed` with the line where it is no such reply.
Identities come bare, quoted, and behind any prefix.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import plain_text

_PREFIX = re.compile(r"\s*(?:[+%#^*$][A-Z0-9]+|IMEI|IMSI|ICCID)\s*:\s*", re.IGNORECASE)
_LABEL = re.compile(r"\s*(Manufacturer|Model|Revision|IMEI)\s*:\s*(.*)", re.IGNORECASE)
_SWAP = re.compile("(.)(.)")


class SimLock(enum.StrEnum):
    """What `+CPIN` says; the last three are Quectel's and SIMCom's."""

    READY = "READY"
    SIM_PIN = "SIM PIN"
    SIM_PUK = "SIM PUK"
    SIM_PIN2 = "SIM PIN2"
    SIM_PUK2 = "SIM PUK2"
    PH_SIM_PIN = "PH-SIM PIN"
    PH_FSIM_PIN = "PH-FSIM PIN"
    PH_FSIM_PUK = "PH-FSIM PUK"
    PH_NET_PIN = "PH-NET PIN"
    PH_NET_PUK = "PH-NET PUK"
    PH_NETSUB_PIN = "PH-NETSUB PIN"
    PH_NETSUB_PUK = "PH-NETSUB PUK"
    PH_SP_PIN = "PH-SP PIN"
    PH_SP_PUK = "PH-SP PUK"
    PH_CORP_PIN = "PH-CORP PIN"
    PH_CORP_PUK = "PH-CORP PUK"
    NOT_READY = "NOT READY"
    NOT_INSERTED = "NOT INSERTED"
    REMOVED = "SIM REMOVED"


@dataclass(frozen=True, slots=True)
class Identity:
    """`ATI`.  What it does not say is `None`."""

    manufacturer: str | None = None
    model: str | None = None
    revision: str | None = None
    imei: str | None = None


def parse_sim_lock(line: str) -> SimLock:
    """The reply to `AT+CPIN?`, also without its prefix.  Raises `CommandFailed` for a word that no standard has."""
    word = _value(line).upper()
    try:
        return SimLock(word)
    except ValueError:
        raise CommandFailed(f"not the state of a SIM: {line!r}") from None


def parse_identity(lines: Iterable[str]) -> Identity:
    """The reply to `ATI`.

    With labels (`Model: E1550`) they tell; without, as Quectel's, two lines are manufacturer and model, one is the model.
    """
    found: dict[str, str] = {}
    plain = []
    for line in lines:
        match = _LABEL.fullmatch(line.strip())
        if match:
            found.setdefault(match[1].lower(), match[2].strip())
        elif line.strip():
            plain.append(line.strip())
    if "model" not in found and plain:
        found["model"] = plain[1] if len(plain) > 1 else plain[0]
    if "manufacturer" not in found and len(plain) > 1 and found.get("model") == plain[1]:
        found["manufacturer"] = plain[0]
    return Identity(found.get("manufacturer"), found.get("model"), found.get("revision"), found.get("imei"))


def parse_imei(line: str) -> str:
    """The IMEI (15 digits) or IMEISV (16) in a reply to `AT+CGSN`; what a vendor appends after a comma is dropped.

    Raises `CommandFailed` where there is none, as in a modem that has an ESN.
    """
    return _digits(_value(line.partition(",")[0]), line, "IMEI", 14, 16)


def parse_imsi(line: str) -> str:
    """The IMSI in a reply to `AT+CIMI`: 6 to 15 digits (3GPP TS 23.003 clause 2.2).  Raises `CommandFailed`."""
    return _digits(_value(line), line, "IMSI", 6, 15)


def parse_iccid(line: str) -> str:
    """The ICCID in a reply to `+QCCID`, `+CCID`, `%XICCID`, `#CCID` ..., without padding, in reading order.

    It begins with 89, has 19 or 20 characters, and some Chinese SIMs have letters A to F in the account number (ITU-T
    E.118; 3GPP TS 31.102 clause 4.2.1).  Some modems give the octets of EF-ICCID as they are, nibbles swapped.  Raises
    `CommandFailed` where it is none.
    """
    text = _value(line).upper()
    if text.startswith("98"):
        text = _SWAP.sub(r"\2\1", text)
    text = text.removesuffix("F")
    if not re.fullmatch(r"89[0-9A-F]{17,18}", text):
        raise CommandFailed(f"not an ICCID: {line!r}")
    return text


def _digits(text: str, line: str, what: str, least: int, most: int) -> str:
    if not (text.isascii() and text.isdigit() and least <= len(text) <= most):
        raise CommandFailed(f"not an {what}: {line!r}")
    return text


def _value(line: str) -> str:
    return plain_text(_PREFIX.sub("", line, count=1).strip()).strip()
