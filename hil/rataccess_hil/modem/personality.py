"""What differs between modems of one family, as data: identities, names, time limits.

Rules of this file: values only.  Sources: Particle device-os for power timings,
replies of real modules for names; what was read in neither is marked (unverified).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineTimings:
    """How long the power key and the reset line must be held, seconds.  Never scaled: drivers hold them in real time."""

    key_on: float = 0.5
    """BG95: 500 to 1000 ms."""
    key_off: float = 0.65
    """BG95: 650 to 1500 ms."""
    key_off_most: float = 1.5
    reset: float = 2.0
    """BG95: 2 to 3.8 s."""
    reset_most: float = 3.8


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things take, seconds; the defaults are a BG95's on a good day."""

    boot: float = 2.5
    """From the power key to `RDY`: the UART takes commands."""
    app_ready: float = 0.6
    """From `RDY` to `APP RDY`."""
    sim_ready: float = 1.0
    """From `RDY` to `+CPIN: READY`; CPIN? answers 14 (SIM busy) before."""
    sms_done: float = 5.5
    """From `RDY` to `+QIND: SMS DONE`."""
    restart: float = 0.5
    """From the OK of CFUN=1,1 until the module is off and boots."""
    power_down: float = 1.3
    """From the OK of QPOWD (or the key) to `POWERED DOWN`."""
    reply: float = 0.005
    """From the CR to the first byte of an answer."""
    register: float = 6.0
    """From radio on to registered (LTE-M; far longer in bad places)."""
    lost_context: float = 60.0
    """For how long a PDP context outlives lost coverage (unverified: set by the network)."""
    radio: float = 1.0
    """CFUN=0, 4 and 1 (the manual's limit is 15)."""
    attach: float = 1.0
    """CGATT, CGACT."""
    activate: float = 1.2
    """QIACT (limit 150)."""
    deactivate: float = 0.6
    """QIDEACT (limit 40)."""
    connect: float = 0.3
    """From the OK of QIOPEN to its result (limit 150)."""
    send: float = 0.05
    """From the last payload byte to SEND OK (limit 120)."""
    close: float = 0.1
    """QICLOSE of a UDP socket (limit 10)."""
    scan: float = 45.0
    """COPS=? (limit 180)."""
    resolve: float = 0.4
    """QIDNSGIP (limit 60)."""
    fix: float = 35.0
    """From QGPS=1 to the first fix, cold."""
    escape: float = 0.02
    """How long a lone ESC must stand alone to leave a data prompt (unverified: a fixed-length prompt takes any byte)."""
    connected: float = 10.0
    """For how long after traffic the radio stays in the connected state."""

    def scaled(self, factor: float) -> Timings:
        """The same, every one times `factor`."""
        return Timings(**{field.name: getattr(self, field.name) * factor for field in dataclasses.fields(self)})


FAST = Timings().scaled(0.02)
"""As real, fifty times faster: what tests on a real clock use."""


@dataclass(frozen=True, slots=True)
class Personality:
    """One model of modem."""

    manufacturer: str
    model: str
    revision: str
    """What CGMR says."""
    firmware: str
    """What QGMR says."""
    rat: str
    """QENG's and QCSQ's name of its usual radio access technology."""
    network_name: str
    """QNWINFO's."""
    access_technology: int
    """AcT of COPS and CEREG: 7 E-UTRAN; Quectel numbers LTE-M 8 in COPS and CEREG, as real BG95 replies show."""
    boot_lines: tuple[str, ...]
    """The first lines after power-on: at once, and `Timings.app_ready` later."""
    sockets: int = 12
    contexts: int = 16
    iccid_command: str = "+QCCID"
    gnss: bool = True
    lpwa: bool = True
    """Whether it has LTE-M and NB-IoT (iotopmode, eDRX, PSM)."""
    key_resets: bool = False
    """Whether holding the power key as long as the reset line resets it (one pin for both, Particle)."""
    configuration: tuple[tuple[str, str], ...] = ()
    """QCFG names and their factory values."""
    lines: LineTimings = LineTimings()


BG95 = Personality(
    manufacturer="Quectel",
    model="BG95-M3",
    revision="BG95M3LAR02A04",
    firmware="BG95M3LAR02A04_01.200.01.200",
    rat="eMTC",
    network_name="eMTC",
    access_technology=8,
    boot_lines=("RDY", "APP RDY"),
    key_resets=True,
    configuration=(
        ("nwscanseq", "00"),
        ("nwscanmode", "0"),
        ("iotopmode", "0"),
        ("roamservice", "255"),
        ("band", "0xf,0x100002000000000f0e189f,0x10004200000000090e189f"),
        ("servicedomain", "1"),
        ("sim/onchip", "0"),
        ("psm/enter", "0"),
        ("psm/urc", "0"),
        ("gpio", "1"),
        ("apready", "0,0,500"),
        ("urc/ri/ring", '"pulse",120,1000,5000,"off",1'),
        ("risignaltype", '"respective"'),
        ("urc/delay", "0"),
        ("urc/cache", "0"),
        ("cmux/urcport", "0"),
        ("airplanecontrol", "0"),
        ("celevel", "0"),
        ("simeffect", "0"),
        ("ledmode", "0"),
    ),
)

EC25 = Personality(
    manufacturer="Quectel",
    model="EC25",
    revision="EC25EFAR06A18M4G",
    firmware="EC25EFAR06A18M4G_01.001.01.001",
    rat="LTE",
    network_name="FDD LTE",
    access_technology=7,
    boot_lines=("RDY",),
    lpwa=False,
    configuration=(
        ("nwscanseq", "00"),
        ("nwscanmode", "0"),
        ("roamservice", "2"),
        ("band", "0x93,0x800d5,0x0"),
        ("servicedomain", "2"),
        ("usbnet", "0"),
        ("usbcfg", "0x2C7C,0x0125,1,1,1,1,1,0,0"),
        ("urc/ri/ring", '"pulse",120,1000,5000,"off",1'),
        ("risignaltype", '"respective"'),
        ("ims", "0,0"),
    ),
    lines=LineTimings(key_on=0.5, key_off=0.65, key_off_most=60.0, reset=0.15, reset_most=0.46),
)
