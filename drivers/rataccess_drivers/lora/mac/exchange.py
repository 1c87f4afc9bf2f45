"""One exchange: an uplink, its repetitions, and what came of them.

Rules of this file: values; device.py moves them on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from rataccess.lorawan import crypto
from rataccess.lorawan.frame import Uplink, encode
from rataccess_drivers.lora.mac import adr
from rataccess_drivers.lora.mac.actions import Received
from rataccess_drivers.lora.mac.options import Options
from rataccess_drivers.lora.mac.radiate import Choice
from rataccess_drivers.lora.mac.session import Session


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
    left: int = 0
    """Transmissions that may still follow, of this frame or of another with the same payload."""
    copies: int = 0
    """Of these, how many of this frame."""
    dev_nonce: int | None = None
    """Of a join-request."""
    port: int | None = None
    payload: bytes = b""
    confirmed: bool = False
    fcnt: int | None = None
    options: Options = field(default_factory=Options)
    transmissions: int = 0
    ended_at: float = 0.0
    acknowledged: bool = False
    heard: bool = False
    received: list[Received] = field(default_factory=list)


def sealed(session: Session, exchange: Exchange, *, adr_on: bool) -> bytes:
    """The PHY payload of the uplink that `exchange` is."""
    assert exchange.fcnt is not None
    uplink = Uplink(
        session.dev_addr,
        exchange.fcnt,
        confirmed=exchange.confirmed,
        adr=adr_on,
        adr_ack_req=adr_on and adr.wants_answer(session),
        ack=exchange.options.ack,
        fopts=exchange.options.fopts,
        port=exchange.port,
        payload=exchange.payload,
    )
    return encode(crypto.seal(session.keys, uplink))
