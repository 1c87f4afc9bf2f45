"""Operators: `+COPS` read and scanned, and operator names in any of the modem's alphabets (3GPP TS 27.007 clause 7.3).

Rules of this file: pure functions, lines in, frozen values out; `CommandFailed` with the line where it is no such reply.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import plain_text, split_raw, whole_number
from rataccess_drivers.at.registration import AccessTechnology, access_technology

_PLMN = re.compile(r"([0-9]{3})([0-9]{2,3})")
_UCS2 = re.compile(r"(?:[0-9A-F]{4}){2,}|(?:[0-9a-f]{4}){2,}")
# One network of a scan.  Some modems close the parenthesis before the technology as well: `(2,"A","A","310260"),2)`.
_NETWORK = re.compile(
    r'\(\s*([0-9])\s*,\s*("[^"]*"|[^",()]*)\s*,\s*("[^"]*"|[^",()]*)\s*,\s*"([^"]*)"\s*\)?\s*(?:,\s*([0-9]{1,2})\s*)?\)'
)
# Where the GSM 7-bit default alphabet (3GPP TS 23.038 clause 6.2.1) differs from ASCII.
_GSM = str.maketrans(
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1c\x1d\x1e\x1f$@[\\]^_`{|}~\x7f",
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà",
)


class Selection(enum.IntEnum):
    """`<mode>`: how the network is chosen."""

    AUTOMATIC = 0
    MANUAL = 1
    DEREGISTERED = 2
    SET_FORMAT = 3
    MANUAL_THEN_AUTOMATIC = 4


class NetworkStatus(enum.IntEnum):
    """`<stat>` of a scanned network."""

    UNKNOWN = 0
    AVAILABLE = 1
    CURRENT = 2
    FORBIDDEN = 3


@dataclass(frozen=True, slots=True)
class CurrentOperator:
    """The operator in use, or none: then only `mode` is there."""

    mode: int
    format: int | None = None
    """0 long name, 1 short name, 2 numeric."""
    name: str | None = None
    act: int | None = None

    @property
    def technology(self) -> AccessTechnology | None:
        """`act` by name."""
        return access_technology(self.act)

    @property
    def plmn(self) -> tuple[str, str] | None:
        """Mobile country and network code, where the format is numeric; the MNC keeps its two or three digits."""
        return split_plmn(self.name or "") if self.format == 2 else None


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a scan.  A name or technology that the modem left out is `None`."""

    status: int
    long_name: str | None
    short_name: str | None
    code: str
    """MCC and MNC."""
    act: int | None

    @property
    def technology(self) -> AccessTechnology | None:
        """`act` by name."""
        return access_technology(self.act)


def parse_operator(line: str, *, charset: str | None = None) -> CurrentOperator:
    """The reply to `AT+COPS?`.  `charset` is `AT+CSCS`'s, where known; see `decode_text`.

    Raises `CommandFailed` where the line is no such reply.
    """
    head, _, text = line.partition(":")
    fields = split_raw(text.strip())
    mode = whole_number(fields[0]) if head.strip() == "+COPS" else None
    if mode is None or len(fields) == 2:
        raise CommandFailed(f"not an operator: {line!r}")
    fields += [""] * (4 - len(fields))
    name = decode_text(plain_text(fields[2]), charset) or None
    return CurrentOperator(mode, whole_number(fields[1]), name, whole_number(fields[3]))


def parse_networks(text: str, *, charset: str | None = None) -> tuple[Network, ...]:
    """The networks in a reply to `AT+COPS=?`, in order; `text` may be several lines.

    Modems leave out names, the technology and the lists of modes at the end, send a line for each network, or cut the
    reply short: each network that is whole is given, and a text without any gives none.
    """
    return tuple(_network(match, charset) for match in _NETWORK.finditer(text))


def _network(match: re.Match[str], charset: str | None) -> Network:
    status, long_name, short_name, code, act = match.groups()
    return Network(
        int(status),
        decode_text(plain_text(long_name.strip()), charset) or None,
        decode_text(plain_text(short_name.strip()), charset) or None,
        decode_text(code, charset),
        int(act) if act else None,
    )


def split_plmn(code: str) -> tuple[str, str] | None:
    """Mobile country code and mobile network code of five or six digits; `None` for anything else."""
    match = _PLMN.fullmatch(code)
    return (match[1], match[2]) if match else None


def decode_text(text: str, charset: str | None = None) -> str:
    """A name in the alphabet that the modem uses (`AT+CSCS`): `UCS2`, `GSM`, or anything else, which is as it stands.

    Modems write UCS2 whatever they were told, so without `charset`, or with `UCS2`, a text that is UCS2 in hexadecimal
    and nothing but printable characters is decoded, and any other left as it is.
    """
    if charset is not None and charset.upper() == "GSM":
        return text.translate(_GSM)
    if charset is None or charset.upper() == "UCS2":
        return _from_ucs2(text)
    return text


def _from_ucs2(text: str) -> str:
    if not _UCS2.fullmatch(text):
        return text
    decoded = bytes.fromhex(text).decode("utf-16-be", errors="replace").rstrip("\0\uffff")
    return decoded if decoded and decoded.isprintable() and "\ufffd" not in decoded else text
