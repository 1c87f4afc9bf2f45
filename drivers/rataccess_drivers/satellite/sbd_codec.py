"""Iridium SBD: frames, sums, result lines and status codes, and the network's clock.

Rules of this file: pure functions and tables, total on any input unless a docstring says otherwise; no state, no I/O.

Sources: frames, sums and the fields of `+SBDIX` as public drivers have them (SparkFun IridiumSBD, MIT); the status codes
as in five public drivers; `-MSSTM` epochs as announced by Iridium for 2014 and 2025.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime

MO_LIMIT = 340
"""Bytes of the largest message from the device (9602, 9603)."""
MT_LIMIT = 270
"""Bytes of the largest message to the device."""
CREDIT_BYTES = 50
"""One credit for every 50 bytes started."""

TICK = 0.09
"""Seconds of one count of `-MSSTM`."""
_COUNTER = 1 << 32
EPOCHS = tuple(
    each.timestamp()
    for each in (
        datetime(2007, 3, 8, 3, 50, 21, tzinfo=UTC),
        datetime(2014, 5, 11, 14, 23, 55, tzinfo=UTC),
        datetime(2025, 2, 14, 18, 14, 17, tzinfo=UTC),
    )
)
"""What the ticks count from, in the order in which Iridium moved it."""


class SbdError(ValueError):
    """A frame or line that is damaged."""


# --- frames -----------------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> bytes:
    """The sum that follows a message both ways: the low 16 bits of the sum of its bytes, high byte first."""
    return (sum(data) & 0xFFFF).to_bytes(2, "big")


def written(data: bytes) -> bytes:
    """What follows `READY` of `AT+SBDWB`."""
    return data + checksum(data)


def read(block: bytes) -> bytes:
    """The message in what `AT+SBDRB` gave: length (2 bytes, high first), message, sum.

    Raises `SbdError` where the length or the sum does not fit.
    """
    if len(block) < 4 or int.from_bytes(block[:2], "big") != len(block) - 4:
        raise SbdError(f"{len(block)} bytes are no message with its length and sum")
    data = block[2:-2]
    if checksum(data) != block[-2:]:
        raise SbdError(f"the sum of {len(data)} bytes is {block[-2:].hex()} and should be {checksum(data).hex()}")
    return data


# --- result lines -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionResult:
    """`+SBDIX: MO status, MOMSN, MT status, MTMSN, MT length, MT queued`."""

    mo_status: int
    momsn: int
    mt_status: int
    mtmsn: int
    mt_length: int
    mt_queued: int


@dataclass(frozen=True, slots=True)
class Buffers:
    """`+SBDSX: MO flag, MOMSN, MT flag, MTMSN, RA flag, waiting`."""

    mo_present: bool
    momsn: int
    mt_present: bool
    mtmsn: int
    """-1 where no message was ever received."""
    ring: bool
    """Whether a ring alert waits for its answer."""
    waiting: int
    """Messages that the gateway holds, as last heard."""


_INTEGER = re.compile(r"-?[0-9]{1,10}")


def numbers(line: str, head: str) -> list[int]:
    """The integers after `head`, such as `+SBDIX:`; none where `line` begins otherwise."""
    return [int(each) for each in _INTEGER.findall(line[len(head) :])] if line.startswith(head) else []


def session_result(line: str) -> SessionResult | None:
    """What a `+SBDIX:` (or `+SBDIXA:`) line says, or `None` for any other line."""
    for head in ("+SBDIX:", "+SBDIXA:"):
        values = numbers(line, head)
        if len(values) == 6:
            return SessionResult(*values)
    return None


def buffers(line: str) -> Buffers | None:
    """What a `+SBDSX:` line says, or `None` for any other line."""
    values = numbers(line, "+SBDSX:")
    if len(values) != 6:
        return None
    return Buffers(bool(values[0]), values[1], bool(values[2]), values[3], bool(values[4]), values[5])


def bars(line: str) -> int | None:
    """Signal of a `+CSQ:` or `+CSQF:` line, 0 to 5, or `None`."""
    for head in ("+CSQ:", "+CSQF:"):
        values = numbers(line, head)
        if values:
            return min(max(values[0], 0), 5)
    return None


# --- status codes -----------------------------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    """What follows from an MO status."""

    DELIVERED = "delivered to the gateway"
    MESSAGE = "this message cannot be sent as it is"
    BARRED = "nothing can be sent until somebody changes something"
    RADIO_OFF = "the radio is off"
    SOON = "try again soon"
    LATER = "try again after three minutes or more"


@dataclass(frozen=True, slots=True)
class MoStatus:
    """One MO status."""

    verdict: Verdict
    text: str


_RESERVED = MoStatus(Verdict.SOON, "a failure that Iridium has not named")
MO_STATUSES: dict[int, MoStatus] = {
    0: MoStatus(Verdict.DELIVERED, "sent"),
    1: MoStatus(Verdict.DELIVERED, "sent; a message that waits at the gateway is too large for this modem"),
    2: MoStatus(Verdict.DELIVERED, "sent; the gateway did not take the location update"),
    3: MoStatus(Verdict.DELIVERED, "sent (reserved)"),
    4: MoStatus(Verdict.DELIVERED, "sent (reserved)"),
    10: MoStatus(Verdict.SOON, "the gateway says that the call did not complete in time"),
    11: MoStatus(Verdict.SOON, "the gateway's queue of messages from this modem is full"),
    12: MoStatus(Verdict.MESSAGE, "the message has too many segments"),
    13: MoStatus(Verdict.SOON, "the gateway says that the session did not complete"),
    14: MoStatus(Verdict.MESSAGE, "a segment has an invalid size"),
    15: MoStatus(Verdict.BARRED, "the gateway denies access: is the modem activated with its provider?"),
    16: MoStatus(Verdict.BARRED, "the modem is locked: it may not call the gateway (AT+CULK)"),
    17: MoStatus(Verdict.SOON, "the gateway does not respond"),
    18: MoStatus(Verdict.SOON, "the connection was lost"),
    19: MoStatus(Verdict.SOON, "the link failed with a protocol error"),
    32: MoStatus(Verdict.SOON, "there is no network service"),
    33: MoStatus(Verdict.BARRED, "antenna fault: look at the antenna and its cable"),
    34: MoStatus(Verdict.RADIO_OFF, "the radio is switched off (AT*R)"),
    35: MoStatus(Verdict.SOON, "the modem is busy"),
    36: MoStatus(Verdict.LATER, "three minutes have not passed since the last registration"),
    37: MoStatus(Verdict.LATER, "the SBD service is disabled for now"),
    38: MoStatus(Verdict.LATER, "traffic management: the network asks for a pause"),
    64: MoStatus(Verdict.BARRED, "band violation: the modem may not transmit here"),
    65: MoStatus(Verdict.BARRED, "PLL lock failure: the modem's hardware"),
}
"""Every status that has a meaning; all others are failures without a name."""
BROKEN = frozenset({10, 13, 17, 18, 19})
"""Statuses of sessions that had begun, after which the gateway may have the message all the same."""
LATER_SECONDS = 180.0
"""Least pause after a `LATER` status, where the modem says no other (`AT+SBDLOE`)."""
MT_NONE, MT_RECEIVED, MT_ERROR = 0, 1, 2


def mo_status(code: int) -> MoStatus:
    """The meaning of an MO status; any number has one."""
    return MO_STATUSES.get(code, _RESERVED)


# --- time -------------------------------------------------------------------------------------------------------------


def ticks(line: str) -> int | None:
    """The count in a `-MSSTM:` line, or `None` (`no network service`)."""
    match = re.fullmatch(r"-MSSTM:\s*([0-9A-Fa-f]{1,8})\s*", line)
    return int(match.group(1), 16) if match else None


def system_time(count: int, *, near: float | None, not_before: float) -> float | None:
    """Seconds since 1970 that `count` ticks mean.

    The counter has 32 bits, and which epoch a modem's firmware goes by it does not say.  With a clock that can be believed
    (`near`) the nearest of all readings counts; else the earliest that is not before `not_before`, or `None`.
    """
    readings = [epoch + (count + turn * _COUNTER) * TICK for epoch in EPOCHS for turn in (0, 1)]
    if near is not None:
        return min(readings, key=lambda each: abs(each - near))
    return min((each for each in readings if each >= not_before), default=None)
