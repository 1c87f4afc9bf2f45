"""What can be configured for a LoRaWAN module.

Rules of this file: values and the checks that need no radio.  Durations are seconds.  A key is never written here: the key
store has it as `<link>.appkey`.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.bus import parse_port
from rataccess.lorawan.regions import REGIONS
from rataccess_drivers.gpio import LineSettings

Eui = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{16}$")]
"""Eight bytes, most significant first, as on the module's label."""


class Confirmed(enum.StrEnum):
    """Which uplinks ask the network for an acknowledgement."""

    ALWAYS = "always"
    NEVER = "never"


class DateOrder(enum.StrEnum):
    """How a module writes a date."""

    MONTH_FIRST = "month-first"
    DAY_FIRST = "day-first"


class ModuleOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One LoRaWAN module."""

    port: Annotated[str, Meta(min_length=1)]
    """Its serial port; see `rataccess.bus` for the forms."""
    baudrate: Annotated[int, Meta(ge=300, le=4_000_000)] | None = None
    """By default the module's usual ones are tried."""
    region: str
    """Channel plan: what the law where the device is demands, and the network uses; a name of `REGIONS`."""
    sub_band: Annotated[int, Meta(ge=1, le=8)] | None = None
    """US915 and AU915: the eight channels (and the wide one) that the network listens to; most use 2."""

    dev_eui: Eui | None = None
    """The module must have this one, or `WrongRadio`; written where it has none.  By default its own is used."""
    adopt: bool = False
    """Whether a module with another DevEUI is given the configured one."""
    join_eui: Eui | None = None
    """JoinEUI (AppEUI); by default what the module has."""

    confirmed: Confirmed = Confirmed.ALWAYS
    """An acknowledged uplink is a handover.  `never` where the network rations downlinks: then the service's answer is the
    only proof, and comes after a later uplink."""
    adr: bool = True
    """Whether the network chooses the data rate; `false` for a device that moves."""
    data_rate: Annotated[int, Meta(ge=0, le=15)] | None = None
    """To begin with, or for good where `adr` is off; by default what the module has."""
    duty_cycle: bool | None = None
    """Whether the module itself keeps the duty cycle that the law demands; by default as the module has it.  An RN2483 or
    RN2903 always does.
    """
    link_check: bool = False
    """Whether the first uplink after joining asks how well it was heard, which costs a downlink."""
    fetch_pending: Annotated[int, Meta(ge=0, le=8)] = 2
    """Empty uplinks in a row to fetch what the network says it still holds."""
    sleep: bool = False
    """Whether the module sleeps between uplinks, as far as it can."""

    unacknowledged_limit: Annotated[int, Meta(ge=0, le=1_000)] = 8
    """Confirmed uplinks in a row without acknowledgement after which the module joins anew; 0 for never."""
    date_order: DateOrder = DateOrder.MONTH_FIRST
    """RAK3172: of `AT+LTIME`."""

    reset: LineSettings | None = None
    """The module's reset line; active is in reset (most need `active_low`)."""
    power_switch: LineSettings | None = None
    """The supply; active is on."""

    def __post_init__(self) -> None:
        parse_port(self.port)
        if self.region not in REGIONS:
            raise ValueError(f"`region` is {self.region!r}; allowed: {', '.join(sorted(REGIONS))}")
        region = REGIONS[self.region]
        if self.sub_band is not None and not region.fixed:
            raise ValueError(
                f"`sub_band` is for channel plans with fixed channels (US915, AU915); {self.region} has none"
            )
        if self.data_rate is not None and self.data_rate not in region.data_rates:
            known = ", ".join(map(str, region.data_rates))
            raise ValueError(f"`data_rate` is {self.data_rate}; {self.region} has {known}")
        if self.adopt and self.dev_eui is None:
            raise ValueError("`adopt` needs `dev_eui`")
