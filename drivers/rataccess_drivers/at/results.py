"""Final results: which line ends a reply, whether well or badly, and what its error number or text means.

Rules of this file: tables of the standards and of the few vendor words that are finals wherever they occur; pure
functions.  What only one command of one vendor means is in that `Command`'s `success` and `failure`.

Sources: ITU-T V.250 clause 5.7.1 (result codes), 3GPP TS 27.007 clause 9.2 (+CME ERROR), 3GPP TS 27.005 clause 3.2.5
(+CMS ERROR); the vendors' words from Quectel's M95 and BG95 and SIMCom's SIM800 AT manuals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# V.250 clause 5.7.1, table 1.  RING (2) is unsolicited, never final.
NUMERIC = {
    "0": "OK",
    "1": "CONNECT",
    "3": "NO CARRIER",
    "4": "ERROR",
    "6": "NO DIALTONE",
    "7": "BUSY",
    "8": "NO ANSWER",
}
# What a modem says of a call or data connection, and so also when no command runs.
OF_CALLS = frozenset({"NO CARRIER", "NO DIALTONE", "NO DIAL TONE", "BUSY", "NO ANSWER", "CONNECT"})

SUCCESSES = frozenset({"OK", "CONNECT", "SEND OK", "CLOSE OK", "DEACT OK", "SHUT OK"})
FAILURES = frozenset(
    {
        "ERROR",
        "NO CARRIER",
        "NO DIALTONE",
        "NO DIAL TONE",
        "BUSY",
        "NO ANSWER",
        "ABORTED",
        "COMMAND NOT SUPPORT",
        "SEND FAIL",
        "CLOSE FAIL",
        "DEACT FAIL",
        "SHUT FAIL",
    }
)
_ERROR_LINE = re.compile(r"(\+CM[ES] ERROR): ?\s*(.*)|MODEM ERROR: ?([0-9]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Final:
    """A final result.  `code` is the CME or CMS number, `None` for the results that have none."""

    line: str
    ok: bool
    code: int | None = None


def classify(line: str) -> Final | None:
    """The final result that `line` is by itself, or `None` for any other line.

    `+CME ERROR:` without as much as a blank after the colon is no result: it is the beginning of a cut line.  Codes
    are given for text forms (`AT+CMEE=2`) too, where the text is one of the standard's.
    """
    if line in SUCCESSES:
        return Final(line, True)
    if line in FAILURES:
        return Final(line, False)
    if line.startswith("CONNECT ") and line[8:9].isdigit():
        return Final(line, True)  # with its speed; SIMCom's CONNECT OK is no result of V.250
    return _error_line(line) if "ERROR:" in line else None


def _error_line(line: str) -> Final | None:
    match = _ERROR_LINE.fullmatch(line)
    if match is None or line.endswith(":"):
        return None
    if match[3] is not None:
        return Final(line, False, int(match[3][:9]))
    return Final(line, False, error_code(match[1], match[2]))


def error_code(kind: str, text: str) -> int | None:
    """The number of a `+CME ERROR` or `+CMS ERROR` (`kind`), given as number or as the standard's text."""
    text = text.strip().strip('"')
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    return (_CME_BY_TEXT if kind == "+CME ERROR" else _CMS_BY_TEXT).get(_letters(text))


def describe(line: str, code: int | None) -> str:
    """A final failure for people: `+CME ERROR: 10 (SIM not inserted)`."""
    table = CMS if line.startswith("+CMS") else CME if line.startswith("+CME") else {}
    meaning = table.get(code) if code is not None else None
    return f"{line} ({meaning})" if meaning and meaning not in line else line


def _letters(text: str) -> str:
    """What is left for comparing: modems differ in case, blanks, hyphens and underscores."""
    return "".join(filter(str.isalnum, text)).lower()


CME = {
    0: "phone failure",
    1: "no connection to phone",
    2: "phone adaptor link reserved",
    3: "operation not allowed",
    4: "operation not supported",
    5: "PH-SIM PIN required",
    6: "PH-FSIM PIN required",
    7: "PH-FSIM PUK required",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    13: "SIM failure",
    14: "SIM busy",
    15: "SIM wrong",
    16: "incorrect password",
    17: "SIM PIN2 required",
    18: "SIM PUK2 required",
    20: "memory full",
    21: "invalid index",
    22: "not found",
    23: "memory failure",
    24: "text string too long",
    25: "invalid characters in text string",
    26: "dial string too long",
    27: "invalid characters in dial string",
    30: "no network service",
    31: "network timeout",
    32: "network not allowed - emergency calls only",
    40: "network personalization PIN required",
    41: "network personalization PUK required",
    42: "network subset personalization PIN required",
    43: "network subset personalization PUK required",
    44: "service provider personalization PIN required",
    45: "service provider personalization PUK required",
    46: "corporate personalization PIN required",
    47: "corporate personalization PUK required",
    48: "hidden key required",
    49: "EAP method not supported",
    50: "incorrect parameters",
    51: "command implemented but currently disabled",
    52: "command aborted by user",
    53: "not attached to network due to MT functionality restrictions",
    54: "modem not allowed - MT restricted to emergency calls only",
    55: "operation not allowed because of MT functionality restrictions",
    56: "fixed dial number only allowed - called number is not a fixed dial number",
    57: "temporarily out of service due to other MT usage",
    58: "language/alphabet not supported",
    59: "unexpected data value",
    60: "system failure",
    61: "data missing",
    62: "call barred",
    63: "message waiting indication subscription failure",
    100: "unknown",
    103: "illegal MS",
    106: "illegal ME",
    107: "GPRS services not allowed",
    108: "GPRS services and non-GPRS services not allowed",
    111: "PLMN not allowed",
    112: "location area not allowed",
    113: "roaming not allowed in this location area",
    114: "GPRS services not allowed in this PLMN",
    115: "no suitable cells in location area",
    122: "congestion",
    126: "insufficient resources",
    127: "missing or unknown APN",
    128: "unknown PDP address or PDP type",
    129: "user authentication failed",
    130: "activation rejected by GGSN, Serving GW or PDN GW",
    131: "activation rejected, unspecified",
    132: "service option not supported",
    133: "requested service option not subscribed",
    134: "service option temporarily out of order",
    140: "feature not supported",
    141: "semantic errors in the TFT operation",
    142: "syntactical errors in the TFT operation",
    143: "unknown PDP context",
    144: "semantic errors in packet filter(s)",
    145: "syntactical errors in packet filter(s)",
    146: "PDP context without TFT already activated",
    148: "unspecified GPRS error",
    149: "PDP authentication failure",
    150: "invalid mobile class",
    171: "last PDN disconnection not allowed",
    172: "semantically incorrect message",
    177: "operator determined barring",
    178: "maximum number of PDP contexts reached",
    179: "requested APN not supported in current RAT and PLMN combination",
    180: "request rejected, bearer control mode violation",
    181: "invalid PTI value",
    192: "PDP type IPv4 only allowed",
    193: "PDP type IPv6 only allowed",
    196: "PDP types IPv4 or IPv6 or IPv4v6 only allowed",
    197: "PDP type non-IP only allowed",
}
CMS = {
    300: "ME failure",
    301: "SMS service of ME reserved",
    302: "operation not allowed",
    303: "operation not supported",
    304: "invalid PDU mode parameter",
    305: "invalid text mode parameter",
    310: "SIM not inserted",
    311: "SIM PIN required",
    312: "PH-SIM PIN required",
    313: "SIM failure",
    314: "SIM busy",
    315: "SIM wrong",
    316: "SIM PUK required",
    317: "SIM PIN2 required",
    318: "SIM PUK2 required",
    320: "memory failure",
    321: "invalid memory index",
    322: "memory full",
    330: "SMSC address unknown",
    331: "no network service",
    332: "network timeout",
    340: "no +CNMA acknowledgement expected",
    500: "unknown error",
}
_CME_BY_TEXT = {_letters(text): code for code, text in CME.items()}
# Words that modems write in place of the standard's.
_CME_BY_TEXT.update(
    {_letters("operation not supported"): 4, _letters("no network"): 30, _letters("unknown error"): 100}
)
_CMS_BY_TEXT = {_letters(text): code for code, text in CMS.items()}
