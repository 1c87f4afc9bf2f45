"""What differs between Quectel's families, as data: identity, time limits, power timings, numbers and names.

Rules of this file: values and the look-up; no behaviour.  Sources: Quectel AT manuals and hardware designs of the
families, the power timings as Particle's device-os uses them (its Quectel driver), replies of real modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rataccess_drivers.at.commands import UrcPattern
from rataccess_drivers.at.registration import is_registration_urc
from rataccess_drivers.cellular.options import Rat


@dataclass(frozen=True, slots=True)
class PowerTimings:
    """How long lines must be held and what follows takes; seconds."""

    key_on: float = 0.575
    """Every family starts at 500 ms and ends at 650 ms: a press of this length starts a module that is off, and means
    nothing to one that runs."""
    key_off: float = 0.8
    """Past the 650 ms at which a module switches off, and short of the 1000 to 1500 ms that some allow at most."""
    off: float = 2.0
    """From the release of the key until the module is off and can be started again."""
    ready: float = 5.5
    """From the start until the UART answers."""
    reset: float = 0.3
    """150 to 460 ms."""
    patience: float = 30.0
    """How long after `ready` an answer is still waited for: a USB port must be enumerated too."""
    discharge: float = 5.0
    """The supply must be off so long for the module's capacitors to be empty."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long answers may take; seconds."""

    query: float = 4.0
    """A plain query takes 0.3 to 1; below the 5 s in which a doubted radio must have answered."""
    check: float = 2.0
    """The same of a modem that is under suspicion already: twice what it needs."""
    setting: float = 10.0
    sim: float = 10.0
    """`AT+CPIN` takes up to 5 (BG95 manual); ModemManager allows 10."""
    radio: float = 45.0
    """`AT+CFUN` takes up to 15 (BG95 manual); three times that is hung."""
    operator: float = 180.0
    """`AT+COPS=0`."""
    activate: float = 150.0
    """`AT+QIACT`."""
    deactivate: float = 40.0
    """`AT+QIDEACT`."""
    open_socket: float = 80.0
    """`AT+QIOPEN`: up to 150 for TCP; a UDP socket only has its name resolved, which takes up to 60."""
    send: float = 10.0
    """`AT+QISEND`: the manual gives 120 for TCP; a datagram is put into a buffer or refused, in milliseconds."""
    close: float = 3.0
    """`AT+QICLOSE` of a UDP socket, which has no farewell."""
    reset: float = 15.0
    """`AT+CFUN=1,1` and `AT+QPOWD`, until their OK."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How technologies and bands are chosen (`AT+QCFG`)."""

    codes: Mapping[Rat, str]
    """What `nwscanseq` calls them."""
    modes: Mapping[frozenset[Rat], str]
    """`nwscanmode`: which sets of technologies have a number; any other set is 0 (automatic)."""
    iot_modes: Mapping[frozenset[Rat], str] = field(default_factory=dict)
    """`iotopmode`: which of LTE-M and NB-IoT; empty where the family has neither."""
    band_fields: Mapping[Rat, int] = field(default_factory=dict)
    """Which mask of `band` is whose."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One family."""

    name: str
    models: tuple[str, ...]
    """What `AT+CGMM` begins with."""
    rats: Mapping[int, str]
    """`<AcT>` of COPS and CEREG to our names."""
    default_rat: str
    selection: Selection
    power: PowerTimings
    limits: Limits = Limits()
    registrations: tuple[str, ...] = ("+CEREG", "+CGREG")
    """Packet domains: LTE with its narrow relatives, and GSM or UMTS."""
    report_kinds: tuple[int, ...] = (5, 3, 2)
    """`<n>` of them, best first: 5 and 3 give the reject cause; families and firmware differ in what they take."""
    lpwa: bool = False
    """Whether it has PSM and eDRX."""
    sinr_in_fifths: bool = False
    """QENG's SINR: fifths of a dB from -20 dB (BG9x)."""
    gnss_shares_radio: bool = False
    """GNSS gets the receiver only while the modem is idle, so it is ended after each fix."""


_BG_SELECTION = Selection(
    codes={Rat.GSM: "01", Rat.LTE_M: "02", Rat.NB_IOT: "03"},
    modes={
        frozenset({Rat.GSM}): "1",
        frozenset({Rat.LTE_M}): "3",
        frozenset({Rat.NB_IOT}): "3",
        frozenset({Rat.LTE_M, Rat.NB_IOT}): "3",
    },
    iot_modes={
        frozenset({Rat.LTE_M}): "0",
        frozenset({Rat.NB_IOT}): "1",
        frozenset({Rat.LTE_M, Rat.NB_IOT}): "2",
    },
    band_fields={Rat.LTE_M: 1, Rat.NB_IOT: 2},
)
_EC_SELECTION = Selection(
    codes={Rat.GSM: "01", Rat.UMTS: "03", Rat.LTE: "04"},
    modes={frozenset({Rat.GSM}): "1", frozenset({Rat.UMTS}): "2", frozenset({Rat.LTE}): "3"},
    band_fields={Rat.LTE: 1},
)
# Quectel numbers LTE-M 8 in COPS and CEREG (the standard: EC-GSM-IoT); some firmware says 7 (E-UTRAN).
_BG_RATS = {0: "gsm", 3: "gsm", 7: "lte-m", 8: "lte-m", 9: "nb-iot", 14: "ntn-nb-iot"}
_EC_RATS = {0: "gsm", 1: "gsm", 2: "umts", 3: "gsm", 4: "umts", 5: "umts", 6: "umts", 7: "lte", 100: "cdma"}

BG95 = Profile(
    name="BG95",
    models=("BG95", "BG77"),
    rats=_BG_RATS,
    default_rat="lte-m",
    selection=_BG_SELECTION,
    power=PowerTimings(off=2.0, ready=5.5, reset=2.9),  # off 1.3 s at least; reset 2 to 3.8 s
    lpwa=True,
    sinr_in_fifths=True,
    gnss_shares_radio=True,
)
BG96 = Profile(
    name="BG96",
    models=("BG96",),
    rats=_BG_RATS,
    default_rat="lte-m",
    selection=_BG_SELECTION,
    power=PowerTimings(off=3.0, ready=7.9),  # off 2 s at least
    lpwa=True,
    sinr_in_fifths=True,
    gnss_shares_radio=True,
)
EC2X = Profile(
    name="EC2x",
    models=("EC25", "EC21", "EC20", "EG25", "EG21", "EG91", "EG95"),
    rats=_EC_RATS,
    default_rat="lte",
    selection=_EC_SELECTION,
    power=PowerTimings(off=30.0, ready=15.0),
)
PROFILES: Sequence[Profile] = (BG95, BG96, EC2X)

MOST_SENT = 1460
"""Bytes of one `AT+QISEND` (Quectel TCP/IP application notes)."""
MOST_READ = 1500
"""Bytes of one `AT+QIRD`."""
SOCKETS = 12
"""Socket numbers 0 to 11."""

BOOT_LINES = ("RDY", "APP RDY")
POWER_DOWN_LINES = ("POWERED DOWN", "NORMAL POWER DOWN")

URCS: Sequence[UrcPattern] = (
    *(UrcPattern(f"{name}:", when_solicited=is_registration_urc) for name in ("+CREG", "+CGREG", "+CEREG")),
    UrcPattern('+QIURC: "recv"', binary_field=2),  # the count is there in push mode only, which another program may set
    UrcPattern("+QIURC:"),
    UrcPattern("+QIOPEN:"),
    UrcPattern("+CGEV:"),
    UrcPattern("+CPIN:"),
    UrcPattern("+CFUN:"),
    UrcPattern("+QUSIM:"),
    UrcPattern("+QSIMSTAT:"),
    UrcPattern("+QIND:"),
    UrcPattern("+CTZV:"),
    UrcPattern("+CTZE:"),
    UrcPattern("+CEDRXP:"),
    UrcPattern("+QPSMTIMER:"),
    UrcPattern("+QNTP:"),
    UrcPattern("+QPING:"),
    UrcPattern("+CMTI:"),
    UrcPattern("+CSCON:"),
    *(UrcPattern(line) for line in (*BOOT_LINES, *POWER_DOWN_LINES)),
    UrcPattern("RING"),
    UrcPattern("SMS DONE"),
    UrcPattern("PB DONE"),
)


def profile_of(model: str, profiles: Sequence[Profile] = PROFILES) -> Profile | None:
    """The family of a module that calls itself `model` (`BG95-M3`, `EC25`); `None` for one that is not known."""
    name = model.strip().upper()
    return next((profile for profile in profiles if name.startswith(profile.models)), None)
