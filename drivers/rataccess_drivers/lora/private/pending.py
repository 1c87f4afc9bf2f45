"""What an end of private LoRa has under way, and what it knows of the other end.

Rules of this file: values; `link` moves them on.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

from rataccess_drivers.lora.private.frame import Frame


@dataclass(slots=True)
class Peer:
    """What is known of the other end."""

    sequence: int
    heard: OrderedDict[tuple[int, int], None] = field(default_factory=OrderedDict)
    polled: int | None = None
    """Sequence number of its last poll."""
    awake_until: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement that is to be sent."""

    frame: Frame
    not_before: float


@dataclass(slots=True)
class Attempt:
    """The message under way."""

    ticket: int
    frame: Frame
    attempts: int
    not_before: float
    tries: int = 0
    looks: int = 0
    waiting_until: float | None = None


def acknowledged(answer: Frame) -> tuple[int, int, bytes]:
    """Which frame an acknowledgement is of."""
    return answer.address, answer.sequence, answer.payload


def key(frame: Frame) -> tuple[int, int]:
    """What a copy of a message has in common with it."""
    return frame.sequence, zlib.crc32(frame.payload)
