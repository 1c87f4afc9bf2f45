"""What can be configured for a cellular modem.

Rules of this file: values and the checks that need no radio.  Durations are seconds.  A password or PIN is never written
here: the key store has it, and these options hold at most its name there.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from rataccess.bus import parse_port
from rataccess_drivers.gpio import LineSettings

SecretName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
QuotedText = Annotated[str, Meta(pattern=r'^[^"\x00-\x1f\x7f]*$', max_length=127)]
"""Fits a string constant of an AT command as it is (27.007 clause 4)."""


class Rat(enum.StrEnum):
    """A radio access technology that can be chosen."""

    AUTO = "auto"
    LTE_M = "lte-m"
    NB_IOT = "nb-iot"
    LTE = "lte"
    UMTS = "umts"
    GSM = "gsm"


class Authentication(enum.StrEnum):
    """How the network checks user name and password (PPP's names: RFC 1334, RFC 1994)."""

    NONE = "none"
    PAP = "pap"
    CHAP = "chap"
    PAP_OR_CHAP = "pap-or-chap"


class PdpType(enum.StrEnum):
    """Which addresses the context has."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    IPV4V6 = "ipv4v6"


class PowerSaving(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """PSM (3GPP TS 23.682 clause 4.5.4).  While it sleeps the modem answers nothing until its power key wakes it."""

    active_time: Annotated[float, Meta(ge=2, le=11_160)]
    """T3324: how long the modem stays reachable after it was connected; rounded up to what its 8 bits can say."""
    periodic_tau: Annotated[float, Meta(ge=2, le=35_712_000)]
    """T3412 extended: how often it wakes by itself; rounded up likewise."""


class PagingCycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """eDRX (3GPP TS 24.008 clause 10.5.5.32): the modem listens for its network only so often."""

    cycle: Annotated[float, Meta(ge=5.12, le=10_485.76)]
    """Seconds between two listenings, rounded up to the next that the technology has."""


class QuectelOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Quectel modem."""

    port: Annotated[str, Meta(min_length=1)]
    """Its AT port; see `rataccess.bus` for the forms."""
    baudrate: Annotated[int, Meta(ge=300, le=4_000_000)] = 115_200
    model: Annotated[str, Meta(min_length=2)] | None = None
    """What `AT+CGMM` must begin with, such as `BG95`; any known model by default."""

    apn: Annotated[str, Meta(pattern=r'^[^"\x00-\x1f\x7f]*$', max_length=100)] = ""
    """Access point name; empty for the network's default."""
    pdp_type: PdpType = PdpType.IPV4
    authentication: Authentication = Authentication.NONE
    username: QuotedText = ""
    username_secret: SecretName | None = None
    """Name in the key store of the user name, instead of `username`."""
    password_secret: SecretName | None = None
    """Name in the key store of the password."""
    context: Annotated[int, Meta(ge=1, le=16)] = 1
    """Number of the PDP context; 1 is also the one that LTE attaches with."""

    rat: list[Rat] = []
    """Allowed technologies, preferred first; `["auto"]` for all in the modem's order; empty leaves it as it is set."""
    bands: dict[Rat, Annotated[list[Annotated[int, Meta(ge=1, le=128)]], Meta(min_length=1)]] = {}
    """Bands (3GPP numbers) to search, by technology; those not named stay as they are set."""
    psm: PowerSaving | None = None
    """Power saving mode; switched off by default, for a modem that sleeps answers nothing."""
    edrx: PagingCycle | None = None
    """Left as it is set by default."""

    registration_timeout: Annotated[float, Meta(gt=0, le=3_600)] = 180.0
    """How long one attach waits for the network.  First time: LTE-M up to 3 min, NB-IoT 5 to 15 min; the modem goes on
    searching after an attach that gave up."""
    sim_timeout: Annotated[float, Meta(gt=0, le=300)] = 30.0
    """How long to wait for a SIM that is busy."""
    pin_tries_left: Annotated[int, Meta(ge=1, le=3)] = 3
    """The PIN (`<link>.pin` in the key store) is sent only while the SIM allows at least so many tries: with fewer, one
    was refused before.  After correcting the PIN in the key store either enter it once by hand or lower this once."""

    power_key: LineSettings | None = None
    reset: LineSettings | None = None
    power_switch: LineSettings | None = None
    """The supply; active is on."""

    def __post_init__(self) -> None:
        parse_port(self.port)
        if Rat.AUTO in self.rat and len(self.rat) > 1:
            raise ValueError('`rat` is either ["auto"] or a list of technologies')
        if len(set(self.rat)) != len(self.rat):
            raise ValueError("`rat` names a technology twice")
        if self.username and self.username_secret:
            raise ValueError("either `username` or `username_secret`, not both")
        if self.authentication is not Authentication.NONE and not (self.username or self.username_secret):
            raise ValueError(f"authentication {self.authentication} needs `username` or `username_secret`")
