"""What can be configured for a RockBLOCK 9704 (Iridium IMT).

Rules of this file: values and the checks that need no modem.  Durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess_drivers.gpio import LineSettings
from rataccess_drivers.satellite.imt_transfer import CRC_BYTES, LIMIT, SEGMENT


class ImtOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One RockBLOCK 9704."""

    port: Annotated[str, Meta(min_length=1)]
    """Its serial port; see `rataccess.bus` for the forms."""
    baudrate: Annotated[int, Meta(ge=9_600, le=3_000_000)] = 230_400
    sim: Literal["none", "local", "remote", "internal"] = "internal"
    """Where the SIM is."""
    topic: Annotated[int, Meta(ge=64, le=65_535)] = 244
    """Topic of messages from the device; 244 is RAW.  It must be provisioned for this modem."""
    mtu: Annotated[int, Meta(ge=16, le=LIMIT)] = SEGMENT - CRC_BYTES
    """Largest packet.  Messages of up to 100 kB are possible, but by default one fits one segment: a transfer that breaks
    then loses one segment and not minutes of them, and large objects are cut into ranges anyway."""
    credit_bytes: Annotated[int, Meta(ge=1, le=100_000)] = 1
    """How many bytes started make one credit in the contract."""
    least_bars: Annotated[int, Meta(ge=0, le=5)] = 1
    """Signal, 0 to 5, below which no message is begun."""
    sky_timeout: Annotated[float, Meta(gt=0, le=3_600)] = 600.0
    """How long one attach waits for a satellite."""
    sky_patience: Annotated[float, Meta(ge=0, le=3_600)] = 120.0
    """The link stays up so long without any satellite."""
    message_timeout: Annotated[float, Meta(ge=30, le=3_600)] = 540.0
    """How long a message may take before it is taken back; one of 100 kB needs about two minutes under a clear sky.  Records
    that a radio has not passed on within 10 minutes go another way, so more than that makes them arrive twice."""
    ready_timeout: Annotated[float, Meta(gt=0, le=240)] = 30.0
    """How long the modem may take to answer after its port was opened or it was switched on."""
    power_enable: LineSettings | None = None
    """Line to POWER_ENABLE; that pin is active low, so set `active_low` where no transistor is in between."""
    iridium_enable: LineSettings | None = None
    """Line to IRIDIUM_ENABLE; active high."""
