"""What a virtual IMT modem (RockBLOCK 9704) is and keeps: settings, messages under way, faults.

Rules of this file: values only.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field, replace

Version = tuple[int, int, int]

MO_STATUSES = (
    "mo_ack_received",
    "message_discarded_on_overflow",
    "message_expired",
    "message_transfer_timeout",
    "segment_not_supplied",
    "segment_incorrect",
    "network_error",
    "message_cancelled_pre_transit",
    "message_cancelled_in_transit",
    "subscription_invalid",
    "protocol_error",
    "message_dropped_local_crc_error",
    "crc_error_in_transfer",
    "user_supplied_crc_error",
)
"""How an MO message can end."""
MT_STATUSES = ("complete", "message_timed_out", "message_cancelled", "crc_error_in_transfer")
"""How an MT message can end."""


class ImtBreak(enum.StrEnum):
    """Where a message to come breaks."""

    BEFORE_GATEWAY = "before gateway"
    """The gateway never got it."""
    AFTER_GATEWAY = "after gateway"
    """The gateway has it, and the modem says otherwise."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that the subscription has."""

    number: int
    name: str
    priority: str = "Medium"
    discard_seconds: int = 604_800
    depth: int = 99


RAW = Topic(244, "RAW", "High")


@dataclass(frozen=True, slots=True)
class ImtTimings:
    """Seconds, and bytes a second."""

    boot: float = 3.0
    state: float = 0.1
    """After which another operational state is in force."""
    sim: float = 0.3
    network: float = 5.0
    """From being active in the sky until the constellation is visible."""
    start: tuple[float, float] = (2.0, 8.0)
    """Before a transfer."""
    rate: float = 850.0
    """Of a transfer: 100 kB take about two minutes."""
    segment: float = 10.0
    """How long the host may take to supply a segment."""
    transfer: float = 300.0
    """How long a transfer may stall before it is given up."""
    provisioning: float = 600.0
    """Sky that the first provisioning needs (10 to 30 minutes)."""
    state_report: float = 5.0
    """How often it looks for a change of the constellation, where satellites come and go."""

    def quick(self, seconds: float) -> ImtTimings:
        """Every transfer takes about `seconds`: for demonstrations."""
        return replace(self, network=0.0, start=(seconds * 0.8, seconds * 1.2), rate=1e6, provisioning=seconds)


@dataclass(frozen=True, slots=True)
class ImtModel:
    """What kind of modem it is, and what its firmware does."""

    versions: tuple[Version, ...] = ((1, 7, 0), (1, 6, 1), (1, 6, 0))
    hw_version: str = "0x0601"
    serial_number: str = "1a07ty"
    iccid: str = "8988169771000000001"
    firmware: Version = (1, 5, 5)
    first_malformed: bool = True
    """Whether the first line after the port was opened is answered with 405."""
    wants_blanks: bool = True
    """Whether a PUT without blanks in its JSON is answered with 407."""
    silent_after: int | None = None
    """So many failed messages in a row silence it until its power is cut."""
    topics: tuple[Topic, ...] = (RAW, Topic(313, "PURPLE"), Topic(314, "PINK"))


@dataclass(slots=True)
class Originated:
    """An MO message under way."""

    topic: int
    number: int
    """Its message id."""
    length: int
    """With its CRC."""
    reference: int
    data: bytearray = field(default_factory=bytearray)
    asked: tuple[int, int] | None = None
    """Start and length of the segment that the host owes."""
    in_transit: bool = False
    accepted_at: float = 0.0


@dataclass(slots=True)
class ImtFaults:
    """What has been broken on purpose."""

    silent: bool = False
    statuses: deque[str] = field(default_factory=deque)
    """Final statuses of MO messages to come."""
    breaks: deque[tuple[ImtBreak, str]] = field(default_factory=deque)
    mt_statuses: deque[str] = field(default_factory=deque)
    """Final statuses of MT messages to come; all but `complete` leave them with the gateway."""
    garble_mt: int = 0
    """So many MT messages to come have a byte altered."""
    codes: dict[str, deque[int]] = field(default_factory=dict)
    """Codes with which requests for a target are refused, one each."""
    junk: bytes = b""
    """Said before the next line."""
    card: bool = True


@dataclass(slots=True)
class ImtCounts:
    """What can be counted."""

    boots: int = 0
    requests: int = 0
    refused: int = 0
    mo: int = 0
    mt: int = 0
    failed_in_a_row: int = 0
    swallowed: int = 0
