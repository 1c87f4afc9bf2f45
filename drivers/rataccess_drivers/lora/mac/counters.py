"""Frame counters: FCntUp given out, FCntDown accepted.

Rules of this file: FCntUp is reserved ahead in the session: one write for many uplinks, and after a crash numbers are
skipped, never used again.  Source: LoRaWAN L2 1.0.4, clause 4.3.1.5.
"""

from __future__ import annotations

from rataccess.errors import ProtectionFailed
from rataccess_drivers.lora.mac.session import Session
from rataccess_drivers.lora.mac.settings import MAX_FCNT_GAP

BLOCK = 64
"""FCntUp reserved at a time.  Networks take a gap of 16384 at most, so 256 crashes in a row do no harm."""
LAST_FCNT = 0xFFFFFFFF


def reserve(session: Session, fcnt: int) -> Session:
    """The session in which `fcnt` is reserved; the same one where it is already."""
    if fcnt < session.fcnt_up_limit:
        return session
    return session.replace(fcnt_up_limit=min(fcnt + BLOCK, LAST_FCNT + 1))


def whole_fcnt_down(last: int | None, low: int) -> int:
    """The counter of 32 bits of a downlink that carries its lower 16.

    Raises `ProtectionFailed` where that is not above `last`, or further than `MAX_FCNT_GAP` from it.
    """
    before = -1 if last is None else last
    fcnt = (max(before, 0) & ~0xFFFF) | low
    if fcnt <= before:
        fcnt += 0x10000
    if fcnt - before > MAX_FCNT_GAP or fcnt > LAST_FCNT:
        raise ProtectionFailed(f"a downlink with FCnt {low} after {before} is old, a replay, or too far ahead")
    return fcnt
