"""Where and when a device listens after an uplink.

Rules of this file: functions.  Source: LoRaWAN L2 1.0.4 clause 3.3; RP002-1.0.3 for the data rates.
"""

from __future__ import annotations

from rataccess.errors import FrameError
from rataccess.lorawan.regions import Region
from rataccess_drivers.lora.mac.actions import Listen
from rataccess_drivers.lora.mac.radiate import Choice
from rataccess_drivers.lora.mac.session import Session
from rataccess_drivers.lora.mac.settings import JOIN_ACCEPT_DELAY, RX2_AFTER_RX1


def window(region: Region, session: Session | None, choice: Choice, ended_at: float, number: int) -> Listen:
    """Window 1 or 2 after an uplink sent as `choice` that ended at `ended_at`; `session` is `None` after a join-request."""
    if session is None:
        delay, offset, dwell = JOIN_ACCEPT_DELAY, 0, region.downlink_dwell
        second = (region.rx2_frequency, region.rx2_dr)
    else:
        delay, offset, dwell = float(session.rx1_delay), session.rx1_dr_offset, session.downlink_dwell
        second = (session.rx2_frequency, session.rx2_dr)
    first = (choice.downlink, region.rx1_dr(choice.dr, offset, dwell=dwell))
    frequency, dr = first if number == 1 else second
    modulation = None if dr is None else region.downlink_modulation(dr)
    if modulation is None:
        raise FrameError(f"{region.name} has no receive window with DR{dr}")
    after = delay + (RX2_AFTER_RX1 if number == 2 else 0.0)
    return Listen(number, ended_at + after, frequency, modulation, after)
