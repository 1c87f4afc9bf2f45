"""What can be configured for an Iridium SBD modem.

Rules of this file: values and the checks that need no modem.  Durations are seconds.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess_drivers.gpio import LineSettings


class Mailbox(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the driver may spend by itself to fetch messages for the device.

    A message that waits at the gateway comes with the next session anyway; these are sessions without a message of ours.
    """

    credits_a_day: Annotated[int, Meta(ge=0, le=100_000)] = 50
    """At most so many credits for ring alerts, further waiting messages and checks, by UTC day; 0 for none."""
    check_every: Annotated[float, Meta(ge=600)] | None = None
    """Look for messages so often without a ring alert; each look costs a credit.  Not at all by default."""

    def __post_init__(self) -> None:
        if self.check_every is not None and not self.credits_a_day:
            raise ValueError("`check_every` costs a credit each time, and `credits_a_day` is 0")


class SbdOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Iridium 9601, 9602 or 9603 (RockBLOCK 9602, 9603)."""

    port: Annotated[str, Meta(min_length=1)]
    """Its serial port; see `rataccess.bus` for the forms."""
    baudrate: Annotated[int, Meta(ge=600, le=115_200)] = 19_200
    ring_alerts: bool = True
    """Whether the modem tells of messages that wait for it.  The network calls it where it last had a session."""
    auto_register: bool = False
    """Whether the modem registers by itself when it has moved far, so that it is called there.  That is a session each
    time, which costs what the contract says and which nobody here is told of, so no budget counts it."""
    least_bars: Annotated[int, Meta(ge=1, le=5)] = 2
    """Signal, 0 to 5, below which no session is begun; Iridium's users are told to have 2 (SparkFun's guide)."""
    sky_timeout: Annotated[float, Meta(gt=0, le=3_600)] = 600.0
    """How long one attach waits for a satellite."""
    sky_patience: Annotated[float, Meta(ge=0, le=3_600)] = 120.0
    """The link stays up so long without any satellite: between two of them, and under a bridge."""
    session_timeout: Annotated[float, Meta(ge=30, le=900)] = 300.0
    """A session without a result after so long means that the modem hangs; SparkFun's driver gives it 300 s."""
    charge_time: Annotated[float, Meta(ge=0, le=600)] = 0.0
    """Seconds between two sessions, and after opening, in which a weak supply charges the super capacitor: 30 where a USB
    port is all there is (SparkFun's guide).  Without it such a modem loses its power in a session, and the message."""
    ready_timeout: Annotated[float, Meta(gt=0, le=240)] = 20.0
    """How long a modem may take to answer after its port was opened or its supply switched on."""
    trust_momsn: bool = True
    """Whether a session that broke, and after which the MOMSN has not moved, left nothing at the gateway.  Drivers have
    found it so, and Iridium has not said it.  Without this trust such a message is never sent again by itself."""
    mailbox: Mailbox = Mailbox()
    sleep: LineSettings | None = None
    """Line to the ON/OFF (SLEEP) pin; active means on.  The modem is put to sleep when the driver is closed."""
    power_switch: LineSettings | None = None
    """Line of a switch in the modem's supply; active means on."""
