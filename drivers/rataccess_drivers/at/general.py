"""Clock, functionality and error reporting: `+CCLK`, `+CFUN`, `+CMEE` (3GPP TS 27.007 clauses 8.15, 8.2, 9.1).

Rules of this file: pure functions, one line in, one value out; `CommandFailed` with the line where it is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from rataccess.clock import EARLIEST_PLAUSIBLE
from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import plain_text, split_raw, whole_number

_TIME = re.compile(
    r"\s*(\d{4}|\d{2})/(\d{1,2})/(\d{1,2})\s*,\s*(\d{1,2}):(\d{1,2}):(\d{1,2})\s*([+-]\s*\d{1,3})?\s*(?:,.*)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ModemClock:
    """A time that a modem gave."""

    time: datetime
    """With its offset; UTC where the modem gave none."""
    offset_minutes: int | None
    """Local time minus UTC, as sent."""

    @property
    def seconds(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z, if the modem's clock keeps local time, as the standard says."""
        return self.time.timestamp()

    @property
    def known(self) -> bool:
        """Whether it was ever set: modems start in 1970, 1980 or 2004."""
        return self.seconds >= EARLIEST_PLAUSIBLE


def parse_clock(line: str) -> ModemClock:
    """The reply to `AT+CCLK?`, and others that hold one time: `+QLTS: "2026/03/01,12:00:00+04,0"`.

    Raises `CommandFailed` where there is none.
    """
    head, _, text = line.partition(":")
    if not re.fullmatch(r"\s*[+%#^*$][A-Z0-9]+\s*", head):
        text = line
    return parse_time(plain_text(text.strip()), line)


def parse_time(text: str, line: str | None = None) -> ModemClock:
    """`yy/MM/dd,hh:mm:ss±zz`, the year in two or four digits, zz in quarters of an hour, or absent.

    Two digits from 70 on are of the last century.  Raises `CommandFailed`, naming `line` or else `text`.
    """
    match = _TIME.fullmatch(text)
    try:
        return _clock(match)
    except (ValueError, OverflowError):
        raise CommandFailed(f"not a time: {line or text!r}") from None


def _clock(match: re.Match[str] | None) -> ModemClock:
    if match is None:
        raise ValueError
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    if year < 100:
        year += 1900 if year >= 70 else 2000
    offset = 15 * int(match[7].replace(" ", "")) if match[7] else None
    zone = timezone(timedelta(minutes=offset or 0))
    return ModemClock(datetime(year, month, day, hour, minute, second, tzinfo=zone), offset)


def parse_functionality(line: str) -> int:
    """`<fun>` in the reply to `AT+CFUN?`: 0 minimum, 1 full, 4 radio off, others the vendor's.  Raises `CommandFailed`."""
    return _first_number(line, "CFUN")


def parse_error_reporting(line: str) -> int:
    """`<n>` in the reply to `AT+CMEE?`: 0 plain `ERROR`, 1 numbers, 2 texts.  Raises `CommandFailed`."""
    return _first_number(line, "CMEE")


def _first_number(line: str, name: str) -> int:
    head, _, text = line.partition(":")
    number = whole_number(split_raw(text.strip())[0])
    if head.strip() != "+" + name or number is None:
        raise CommandFailed(f"not a +{name} reply: {line!r}")
    return number
