"""What a line of a LoRaWAN module says, whichever module it is.

Rules of this file: text in, values out; a table of patterns reads the lines of one module.  A line that no pattern knows, or
that was cut, is `Kind.OTHER` and harms nothing.  Values are hidden from `repr`: a module may repeat a key.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """What happened."""

    OK = enum.auto()
    VALUE = enum.auto()
    """An answer to a question."""
    REFUSED = enum.auto()
    """The command was not carried out; see `Why`."""
    STARTED = enum.auto()
    """More lines follow until `DONE`."""
    DONE = enum.auto()
    JOINED = enum.auto()
    ALREADY = enum.auto()
    """Joined before; nothing was sent."""
    JOIN_FAILED = enum.auto()
    ADDRESS = enum.auto()
    SENT = enum.auto()
    ACKED = enum.auto()
    NOT_ACKED = enum.auto()
    FAILED = enum.auto()
    """Not sent, or (where it had to be confirmed) not acknowledged."""
    DOWNLINK = enum.auto()
    SIGNAL = enum.auto()
    MARGIN = enum.auto()
    """Answer to a link check."""
    PENDING = enum.auto()
    """The network holds more downlinks."""
    TIME = enum.auto()
    """The network has told the time."""
    BOOTED = enum.auto()
    RAW = enum.auto()
    """Of the modes without LoRaWAN."""
    OTHER = enum.auto()


class Why(enum.Enum):
    """Why a module refuses."""

    PARAMETER = "it does not take that parameter"
    GARBLED = "it did not get that command whole"
    UNKNOWN = "it does not know that command"
    BUSY = "it is busy"
    NOT_JOINED = "it has not joined a network"
    MODE = "it is in another mode"
    DUTY = "the duty cycle forbids to send now"
    NO_CHANNEL = "no channel is free"
    LENGTH = "the payload is too long for the data rate"
    RATE = "the data rate does not allow it"
    KEYS = "it has no keys"
    SILENCED = "the network has ordered it to be silent"
    PAUSED = "its LoRaWAN stack is paused"
    COUNTER = "its frame counter is used up"
    OTHER = "it reports an error"


@dataclass(frozen=True, slots=True)
class Event:
    """One line."""

    kind: Kind
    line: str = field(default="", repr=False)
    name: str = ""
    """The command that the line belongs to, where the line says so."""
    value: str = field(default="", repr=False)
    why: Why | None = None
    port: int = 0
    data: bytes = field(default=b"", repr=False)
    rssi_dbm: float | None = None
    snr_db: float | None = None
    limit: int | None = None
    """Bytes that fit now."""
    seconds: float | None = None
    """How long the module wants to be left alone."""
    margin_db: int | None = None
    gateways: int | None = None
    number: int | None = None
    prelude: bool = False
    """Of a refusal: the refusal itself follows in a line of its own."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Lines that look like this say that.  Named groups become the fields of the event."""

    kind: Kind
    regex: re.Pattern[str]
    why: Why | None = None
    prelude: bool = False


def pattern(kind: Kind, regex: str, why: Why | None = None, *, prelude: bool = False) -> Pattern:
    """A pattern for whole lines, in letters of either size."""
    return Pattern(kind, re.compile(regex, re.IGNORECASE), why, prelude)


LARGEST_PORT = 255


def read(table: Sequence[Pattern], line: str) -> Event:
    """What `line` says by the first pattern that fits; never raises."""
    for each in table:
        match = each.regex.fullmatch(line)
        if match is not None:
            return _event(each, match, line)
    return Event(Kind.OTHER, line)


def _event(found: Pattern, match: re.Match[str], line: str) -> Event:
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    try:
        data = bytes.fromhex(groups.get("data", ""))
        port = int(groups.get("port", "0"))
        milliseconds = groups.get("ms")
        event = Event(
            found.kind,
            line,
            name=groups.get("name", "").upper(),
            value=groups.get("value", "").strip(),
            why=found.why,
            port=port,
            data=data,
            rssi_dbm=_real(groups.get("rssi")),
            snr_db=_real(groups.get("snr")),
            limit=_whole(groups.get("limit")),
            seconds=None if milliseconds is None else int(milliseconds) / 1000,
            margin_db=_whole(groups.get("margin")),
            gateways=_whole(groups.get("gateways")),
            number=_whole(groups.get("number")),
            prelude=found.prelude,
        )
    except ValueError:  # hexadecimal digits that were cut, or a number beyond all measure
        return Event(Kind.OTHER, line)
    return event if port <= LARGEST_PORT else Event(Kind.OTHER, line)


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text)


def _real(text: str | None) -> float | None:
    return None if text is None else float(text)
