"""What the MAC wants done next.

Rules of this file: values only.  Each call of the MAC returns exactly one of these: do it, and report.
Times are those of the caller's clock, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from rataccess.lorawan.airtime import Modulation


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send at once; then `Mac.transmitted` with the time of the end, or `Mac.abandon` where the radio failed."""

    data: bytes
    frequency: int
    modulation: Modulation
    power_dbm: int
    """At the transmitter's pin: the antenna's gain is taken off."""
    airtime: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Have the receiver on where a preamble begins at `at`; then `Mac.received` or `Mac.silent`."""

    window: int
    """1 or 2."""
    at: float
    frequency: int
    modulation: Modulation
    after: float = 0.0
    """Seconds from the end of the uplink to `at`: over so long clocks may have drifted."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing until `until`; then `Mac.resume`."""

    until: float


@dataclass(frozen=True, slots=True)
class Received:
    """A payload of the network's for the application."""

    port: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """The exchange has ended."""

    joined: bool = False
    """After a join-request: whether the network took the device in."""
    acknowledged: bool = False
    """After a confirmed uplink: whether the network has it."""
    heard: bool = False
    """Whether anything genuine came back."""
    fcnt: int | None = None
    """Of the uplink."""
    received: tuple[Received, ...] = ()


Action = Transmit | Listen | Pause | Done
