"""Signal quality: `+CSQ` and `+CESQ` (3GPP TS 27.007 clauses 8.5 and 8.69).

Rules of this file: pure functions, one line in, one frozen value out; `CommandFailed` with the line where it is none.

Each reported number stands for a bin; the value given is the bin's lower edge, which the standard prints.  The lowest
bin has none, and is given as one step below the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import split_raw, whole_number

_LINE = re.compile(r"\s*\+(CSQ|CESQ)\s*:(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SignalQuality:
    """`+CSQ`.  What the modem does not know is `None`."""

    rssi_dbm: float | None
    """Received signal strength."""
    bit_error_rate: int | None
    """RXQUAL class, 0 (best) to 7."""


@dataclass(frozen=True, slots=True)
class ExtendedSignal:
    """`+CESQ`.  What the modem does not know, or this radio access technology does not have, is `None`."""

    rssi_dbm: float | None = None
    """GSM RXLEV."""
    bit_error_rate: int | None = None
    rscp_dbm: float | None = None
    """UMTS received signal code power."""
    ecno_db: float | None = None
    """UMTS energy to noise."""
    rsrq_db: float | None = None
    """LTE reference signal received quality."""
    rsrp_dbm: float | None = None
    """LTE reference signal received power."""
    ss_rsrq_db: float | None = None
    """NR, as the next two."""
    ss_rsrp_dbm: float | None = None
    ss_sinr_db: float | None = None

    @property
    def power_dbm(self) -> float | None:
        """Received power in the technology in use: RSRP, else RSCP, else RXLEV."""
        powers = (self.ss_rsrp_dbm, self.rsrp_dbm, self.rscp_dbm, self.rssi_dbm)
        return next((power for power in powers if power is not None), None)

    @property
    def quality_db(self) -> float | None:
        """RSRQ, else Ec/N0."""
        qualities = (self.ss_rsrq_db, self.rsrq_db, self.ecno_db)
        return next((quality for quality in qualities if quality is not None), None)


def parse_signal(line: str) -> SignalQuality:
    """The reply to `AT+CSQ`; 100 to 191 is the finer scale that Quectel and SIMCom use beyond GSM.

    Raises `CommandFailed` where the line is no such reply.
    """
    numbers = _numbers(line, "CSQ", 2)
    rssi, errors = numbers[0], numbers[1]
    if rssi is not None and 100 <= rssi <= 191:
        power: float | None = -116.0 + rssi - 100
    else:
        power = _scaled(rssi, 31, -113.0, 2.0)
    return SignalQuality(power, errors if errors is not None and 0 <= errors <= 7 else None)


def parse_extended_signal(line: str) -> ExtendedSignal:
    """The reply to `AT+CESQ`.  Raises `CommandFailed` where the line is no such reply."""
    rxlev, errors, rscp, ecno, rsrq, rsrp, *nr = _numbers(line, "CESQ", 6)
    nr += [None] * 3
    return ExtendedSignal(
        rssi_dbm=_scaled(rxlev, 63, -111.0, 1.0),
        bit_error_rate=errors if errors is not None and 0 <= errors <= 7 else None,
        rscp_dbm=_scaled(rscp, 96, -121.0, 1.0),
        ecno_db=_scaled(ecno, 49, -24.5, 0.5),
        rsrq_db=_scaled(rsrq, 34, -20.0, 0.5),
        rsrp_dbm=_scaled(rsrp, 97, -141.0, 1.0),
        ss_rsrq_db=_scaled(nr[0], 126, -43.5, 0.5),
        ss_rsrp_dbm=_scaled(nr[1], 126, -157.0, 1.0),
        ss_sinr_db=_scaled(nr[2], 127, -23.5, 0.5),
    )


def _numbers(line: str, name: str, least: int) -> list[int | None]:
    match = _LINE.fullmatch(line)
    numbers = [whole_number(raw) for raw in split_raw(match[2].rstrip())] if match and match[1] == name else []
    if len(numbers) < least or all(number is None for number in numbers):
        raise CommandFailed(f"not a +{name} reply: {line!r}")
    return numbers


def _scaled(number: int | None, most: int, base: float, step: float) -> float | None:
    """99 and 255 (unknown), and whatever else is outside the scale, is `None`."""
    return base + number * step if number is not None and 0 <= number <= most else None
