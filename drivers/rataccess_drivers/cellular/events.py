"""What a Quectel modem says unasked, as values.

Rules of this file: sans-I/O; one line in, one event or `None` out, for any line at all.  What follows from an event is the
driver's business.  Sources: Quectel AT manuals and TCP/IP application notes, 3GPP TS 27.007 clauses 7.2, 10.1.19, 10.1.22.
"""

from __future__ import annotations

from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import plain_text, split_raw, whole_number
from rataccess_drivers.at.registration import Registration, parse_registration
from rataccess_drivers.cellular.profiles import BOOT_LINES, POWER_DOWN_LINES


@dataclass(frozen=True, slots=True)
class Booted:
    """The firmware has started.  `first`: this is said first of all (`RDY`); the other lines follow within seconds."""

    line: str
    first: bool


@dataclass(frozen=True, slots=True)
class PoweredDown:
    """It is off now."""


@dataclass(frozen=True, slots=True)
class SimChanged:
    """The SIM is there, gone, or locked: `word` is that of `AT+CPIN?`."""

    word: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration report."""

    report: Registration


@dataclass(frozen=True, slots=True)
class ContextLost:
    """A PDP context is gone; `number` is `None` where all are."""

    number: int | None
    why: str


@dataclass(frozen=True, slots=True)
class SocketOpened:
    """The result of a QIOPEN; `error` is 0 for success."""

    number: int
    error: int


@dataclass(frozen=True, slots=True)
class SocketReadable:
    """Data waits in a socket's buffer."""

    number: int


@dataclass(frozen=True, slots=True)
class SocketPushed:
    """A datagram that came with its URC (push mode)."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The modem has closed a socket; its number stays taken until QICLOSE."""

    number: int


Event = (
    Booted
    | PoweredDown
    | SimChanged
    | Registered
    | ContextLost
    | SocketOpened
    | SocketReadable
    | SocketPushed
    | SocketClosed
)


def read_event(line: str, payload: bytes | None = None) -> Event | None:
    """What the URC `line` (and the block that it announced) means; `None` where it changes nothing here."""
    if line in BOOT_LINES:
        return Booted(line, first=line == BOOT_LINES[0])
    if line in POWER_DOWN_LINES:
        return PoweredDown()
    head, colon, rest = line.partition(":")
    if not colon:
        return None
    fields = split_raw(rest.strip())
    match head:
        case "+CREG" | "+CGREG" | "+CEREG":
            return _registration(line)
        case "+QIURC":
            return _socket_event(fields, payload)
        case "+QIOPEN":
            number, error = _number(fields, 0), _number(fields, 1)
            return SocketOpened(number, error) if number is not None and error is not None else None
        case "+CGEV":
            return _packet_event(rest.strip())
        case "+CPIN":
            return SimChanged(rest.strip().upper())
        case "+CFUN":
            # Quectel says it when it starts, never as an answer to nothing.
            return Booted(line, first=False) if _number(fields, 0) == 1 else None
    return None


def _number(fields: list[str], index: int) -> int | None:
    return whole_number(fields[index]) if index < len(fields) else None


def _registration(line: str) -> Event | None:
    try:
        return Registered(parse_registration(line))
    except CommandFailed:
        return None


def _socket_event(fields: list[str], payload: bytes | None) -> Event | None:
    kind, number = plain_text(fields[0]), _number(fields, 1)
    if number is None:
        return None
    match kind:
        case "recv":
            return SocketReadable(number) if payload is None else SocketPushed(number, payload)
        case "closed":
            return SocketClosed(number)
        case "pdpdeact":
            return ContextLost(number, f'+QIURC: "pdpdeact",{number}')
    return None


def _packet_event(text: str) -> Event | None:
    """`NW PDN DEACT 1`, `ME PDN DEACT 1`, `NW DEACT "IP","10.0.0.1",1`, `NW DETACH`, `ME DETACH` (27.007 10.1.19)."""
    words = text.upper()
    if words in ("NW DETACH", "ME DETACH"):
        return ContextLost(None, f"+CGEV: {text}")
    if words.startswith(("NW PDN DEACT ", "ME PDN DEACT ")):
        number = whole_number(split_raw(text[len("NW PDN DEACT ") :])[0])
        return ContextLost(number, f"+CGEV: {text}") if number is not None else None
    return None
