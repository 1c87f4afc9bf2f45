"""One exchange: an uplink, its repetitions, and what came of them.

Rules of this file: values; device.py moves them on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from rataccess_drivers.lora.mac.actions import Received
from rataccess_drivers.lora.mac.options import Options
from rataccess_drivers.lora.mac.radiate import Choice


class State(enum.Enum):
    """Where an exchange is."""

    IDLE = "idle"
    SENDING = "sending"
    RX1 = "rx1"
    RX2 = "rx2"
    PAUSED = "paused"


@dataclass(slots=True)
class Exchange:
    """The present one."""

    frame: bytes
    choice: Choice
    left: int
    """Transmissions that may still follow."""
    dev_nonce: int | None = None
    """Of a join-request."""
    confirmed: bool = False
    fcnt: int | None = None
    options: Options = field(default_factory=Options)
    transmissions: int = 0
    ended_at: float = 0.0
    acknowledged: bool = False
    heard: bool = False
    received: list[Received] = field(default_factory=list)
