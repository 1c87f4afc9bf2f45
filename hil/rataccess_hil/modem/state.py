"""What a virtual modem knows: its settings, its SIM, the air around it, its contexts and sockets.

Rules of this file: values only, no behaviour beyond deriving one value from another.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field


class Hang(enum.StrEnum):
    """The ways in which a modem stops working, mildest first.  In all of them it keeps swallowing what is written."""

    PORT = "port"
    """Only the port is dead: an ESC, or closing and opening the port, brings it back; the radio part works on."""
    RADIO = "radio"
    """It answers, but never registers: switching the radio off and on (CFUN 0 or 4, then 1) brings it back."""
    COMMANDS = "commands"
    """It answers AT and ATE alone, nothing else: the reset command (CFUN=1,1) brings it back."""
    FIRMWARE = "firmware"
    """Dead: the reset line, the power key, a power cut or its own watchdog bring it back."""
    SUPPLY = "supply"
    """Latched up: nothing but a power cut brings it back."""


class Power(enum.StrEnum):
    """Whether it runs."""

    OFF = "off"
    BOOTING = "booting"
    RUNNING = "running"


class Stat(enum.IntEnum):
    """Registration states (3GPP TS 27.007 section 10.1.22)."""

    IDLE = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5


REGISTERED = (Stat.HOME, Stat.ROAMING)


@dataclass(slots=True)
class Settings:
    """What AT commands set; back to these (or to what &W saved) at each start."""

    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    errors: int = 0
    """CMEE."""
    registration: dict[str, int] = field(default_factory=lambda: {"+CREG": 0, "+CGREG": 0, "+CEREG": 0})
    """Kind of report, n."""
    operator_format: int = 0
    event_reports: int = 0
    """CGEREP."""
    zone_reports: int = 0
    """CTZR."""
    payload_echo: bool = True
    """QISDE; needs `echo` too."""
    receive_hex: bool = False
    """QICFG dataformat, the receiving half."""
    edrx_reports: bool = False


@dataclass(slots=True)
class Kept:
    """What the modem keeps in flash."""

    saved: Settings | None = None
    """By &W."""
    baudrate: int = 115200
    configuration: dict[str, str] = field(default_factory=dict)
    zone_update: int = 0
    """CTZU: 0 off, 1 the clock shows GMT, 3 local time."""
    psm: bool = False
    periodic_tau: str = "00101100"
    active_time: str = "00001010"
    edrx: dict[int, str] = field(default_factory=dict)
    contexts: dict[int, tuple[str, str]] = field(default_factory=lambda: {1: ("IPV4V6", "")})
    """CGDCONT: cid to type and APN."""


@dataclass(slots=True)
class Sim:
    """The SIM in the holder."""

    present: bool = True
    pin: str | None = field(default=None, repr=False)
    """The PIN that it asks for, or none."""
    puk: str = field(default="12345678", repr=False)
    tries: int = 3
    puk_tries: int = 10
    imsi: str = "001010123456789"
    iccid: str = "8988280666000000000"
    numbers: str = ""
    unlocked: bool = False
    """The PIN was given since power-on."""

    def state(self) -> str:
        """What CPIN? says of it."""
        if self.puk_tries <= 0:
            return "SIM PERM_BLOCKED"
        if self.tries <= 0:
            return "SIM PUK"
        return "SIM PIN" if self.pin is not None and not self.unlocked else "READY"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that the modem can hear; power and quality in dBm and dB."""

    channel: int = 6300
    """EARFCN."""
    physical: int = 260
    band: int = 20
    area: int = 0x5B10
    """Tracking area code."""
    identity: int = 0x3787103
    rsrp: int = -95
    rsrq: int = -10
    rssi: int = -67
    sinr: int = 12


@dataclass(slots=True)
class Air:
    """What is around the antenna."""

    coverage: bool = True
    denied: int | None = None
    """The cause (3GPP TS 24.301 section 9.9.3.9) with which the network refuses, or none."""
    roaming: bool = False
    refuses_context: int | None = None
    """The CME code with which the network refuses PDP contexts, or none."""
    mcc: str = "001"
    mnc: str = "01"
    operator: str = "Virtual Cellular"
    cell: Cell = field(default_factory=Cell)
    neighbours: list[Cell] = field(default_factory=lambda: [Cell(physical=261, rsrp=-103, rsrq=-13, rssi=-76)])
    zone: int = 4
    """Quarters of an hour that local time is ahead of UTC."""
    tells_time: bool = True
    """Whether the network sends NITZ."""
    sky: bool = True
    """Whether GNSS satellites can be heard."""
    latitude: float = 59.32932
    longitude: float = 18.06858
    altitude: float = 28.0


@dataclass(slots=True)
class Context:
    """A PDP context as QICSGP set it."""

    kind: int = 1
    apn: str = ""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    authentication: int = 0
    active: bool = False
    lost: bool = False
    """The network took it away: it must be deactivated before it can be activated again."""
    address: str = ""


@dataclass(slots=True)
class Socket:
    """A socket as QIOPEN made it."""

    serial: int
    """Never the same twice, unlike the number that the host gave it."""
    context: int
    service: str
    host: str
    port: int
    local_port: int
    mode: int
    state: int = 1
    """0 initial, 1 opening, 2 connected, 3 listening, 4 closing."""
    buffer: deque[tuple[bytes, tuple[str, int]]] = field(default_factory=deque)
    announced: bool = False
    sent: int = 0
    received: int = 0
    read: int = 0

    @property
    def unread(self) -> int:
        """Bytes that wait in the buffer."""
        return sum(len(data) for data, _ in self.buffer)


@dataclass(slots=True)
class Faults:
    """What is wrong with the modem at the moment."""

    hang: Hang | None = None
    slow: float = 0.0
    """Seconds more before each answer."""
    gap: float = 0.0
    """Seconds between the lines of an answer."""
    chatter: list[str] = field(default_factory=list)
    """URCs said in every gap of every answer: between any two lines and before the final one."""
    interjections: dict[str, list[str]] = field(default_factory=lambda: {"between": [], "before final": []})
    """The same, each once."""
    typos: dict[str, str] = field(default_factory=dict)
    """What the firmware spells wrong."""
    buffer_full: bool = False
    """QISEND answers SEND FAIL."""
    watchdog: float | None = None
    """Seconds after which a hung firmware restarts by itself."""
    ignored: set[str] = field(default_factory=set)
    """Commands that are never answered."""
