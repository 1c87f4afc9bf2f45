"""What a virtual Notecard is and keeps.

Rules of this file: values only.  Figures that no source shows are settings.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Any

I2C_ADDRESS = 0x17

METHODS = ("-", "wifi", "cell", "ntn", "wifi-cell", "wifi-ntn", "cell-ntn", "wifi-cell-ntn")


class NotecardHang(enum.StrEnum):
    """Ways to stop working; a power cut ends each."""

    SILENT = "silent"
    """It takes everything and answers nothing."""
    GONE = "gone"
    """It does not even acknowledge its address on I2C."""


@dataclass(frozen=True, slots=True)
class NotecardModel:
    """What kind of Notecard it is."""

    name: str = "Blues Wireless Notecard"
    sku: str = "NOTE-NBGL"
    board: str = "1.11"
    version: tuple[int, int, int] = (8, 1, 3)
    device: str = "dev:860322068012345"
    ntn: str | None = "skylo"
    """The satellite module: `skylo`, `iridium`, or none."""
    checks: bool = True
    """Whether it answers a request that has a checksum with one."""
    longest_packet: dict[str, int] = field(default_factory=lambda: {"skylo": 256, "iridium": 340})
    """Bytes of a whole packet up (unverified)."""
    overhead: int = 4
    """Bytes of such a packet besides the note (unverified)."""
    burst: int = 600
    """Bytes that its interrupt buffer takes without a pause of 200 ms; what is more is lost."""
    nacks_when_busy: bool = False
    """Whether what is written over I2C while a request is worked on is not acknowledged."""
    needs_compact: bool = True
    """Whether note.add over NTN alone is refused without a compact template that has a port."""


@dataclass(frozen=True, slots=True)
class NotecardTimings:
    """Seconds.  Pairs are the shortest and the longest, drawn anew each time."""

    reply: float = 0.03
    boot: float = 3.0
    pause: float = 0.2
    """After which its interrupt buffer is empty again."""
    sync: tuple[float, float] = (2.0, 8.0)
    ntn: tuple[float, float] = (10.0, 40.0)
    """For each packet over satellite."""
    search: float = 30.0
    """After which a sync that finds no network gives up until the next one."""


@dataclass(slots=True)
class NotecardAir:
    """What can be heard."""

    wifi: bool = False
    cell: bool = True
    latitude: float | None = 42.5776
    longitude: float | None = -70.87134


@dataclass(slots=True)
class NotecardFaults:
    """What has been broken on purpose."""

    hang: NotecardHang | None = None
    errors: deque[str] = field(default_factory=deque)
    """Texts with which requests to come fail, one each."""
    drop_replies: int = 0
    garble_replies: int = 0
    nacks: int = 0
    """Accesses on I2C that are not acknowledged."""
    heartbeats: int = 0
    """Lines of `{heartbeat}` before the next reply."""


@dataclass(slots=True)
class Binary:
    """The store of card.binary."""

    data: bytearray = field(default_factory=bytearray)
    bad: bool = False
    most: int = 130_554


@dataclass(slots=True)
class NotecardCounts:
    """What can be counted."""

    boots: int = 0
    requests: int = 0
    lost_bytes: int = 0
    syncs: int = 0
    failed_syncs: int = 0
    sent: int = 0
    received: int = 0
    nacks: int = 0


Settings = dict[str, dict[str, Any]]
"""What requests have set, by request."""
