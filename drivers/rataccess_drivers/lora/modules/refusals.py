"""What follows from a module's refusal.

Rules of this file: values in, an error or seconds out; nothing is asked or raised here.
"""

from __future__ import annotations

from collections.abc import Callable

from rataccess.errors import NotNow, PacketTooLarge, RataccessError, TransportBroken
from rataccess_drivers.lora.modules.events import Event, Why
from rataccess_drivers.lora.modules.lines import redacted

BUSY = 5.0
"""Seconds: a module is busy for its two receive windows, and a little more."""
SHORTEST = 1.0
SILENCED = 3_600.0
"""The network has ordered silence; only the network ends it, so it is asked rarely."""
FOPTS = 15
"""Bytes that MAC commands may take of a payload (LoRaWAN L2 1.0.4 clause 4.3.1.6)."""


def uplink_error(
    name: str, refusal: Event, size: int, limit: int, pause: float, *, again: bool = False
) -> RataccessError:
    """For an uplink of `size` bytes where `limit` fit; `pause` is what the duty cycle asks for after one of that size.

    `again`: one that should have fitted was refused before, and waiting has not helped.
    """
    said = f"{name}: the module says {redacted(refusal.line)!r}"
    match refusal.why:
        case Why.NOT_JOINED | Why.COUNTER:
            return TransportBroken(f"{said}: it has to join again")
        case Why.MODE:
            return TransportBroken(f"{said}: it has to be set up again")
        case Why.LENGTH if refusal.limit is not None and 0 < refusal.limit < size:
            return PacketTooLarge(size, refusal.limit)
        case Why.LENGTH | Why.PARAMETER:
            if size > limit:
                return PacketTooLarge(size, limit)
            if size > limit - FOPTS > 0:  # MAC commands go along with the next uplink
                return PacketTooLarge(size, limit - FOPTS)
            if not again:
                return NotNow(f"{said}: MAC commands take the room", BUSY)
            return TransportBroken(f"{said} to an uplink of {size} bytes, although {limit} should fit")
        case Why.DUTY | Why.NO_CHANNEL:
            wait = pause if refusal.seconds is None else refusal.seconds
            return NotNow(f"{said}: the duty cycle forbids it", max(SHORTEST, wait))
        case Why.SILENCED:
            return NotNow(f"{said}: the network has ordered silence", SILENCED)
        case _:
            return NotNow(said, BUSY)


def join_wait(refusal: Event, failed: Callable[[], float]) -> float | None:
    """How long to leave a module alone that refuses to join; `failed`: the wait after an attempt that was made."""
    match refusal.why:
        case Why.BUSY:
            return 2 * BUSY
        case Why.DUTY | Why.NO_CHANNEL:
            return failed() if refusal.seconds is None else max(SHORTEST, refusal.seconds)
        case Why.SILENCED:
            return SILENCED
        case _:
            return None
