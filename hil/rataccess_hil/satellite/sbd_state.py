"""What a virtual SBD modem is and keeps: settings, profile, buffers, faults.

Rules of this file: values only; nothing here speaks.  What public sources leave open, figure or rule, is a
setting here.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field, replace

EPOCH_2007 = 1_173_325_821
"""2007-03-08T03:50:21Z, of older firmware (unverified)."""
EPOCH_2014 = 1_399_818_235
"""2014-05-11T14:23:55Z."""
EPOCH_2025 = 1_739_556_857
"""2025-02-14T18:14:17Z, announced."""
TICK = 0.09
"""Seconds of an MSSTM tick."""


class Step(enum.StrEnum):
    """Where a session can break."""

    BEFORE_MO = "before mo"
    """The gateway never got the MO message."""
    AFTER_MO = "after mo"
    """The gateway took it, and the modem does not know."""
    AFTER_ACK = "after ack"
    """The modem knows (its MOMSN moved on), yet the session failed."""
    DURING_MT = "during mt"
    """The MO message is through, the MT message is not, and stays with the gateway."""
    AFTER_MT = "after mt"
    """The modem has the MT message, and the gateway does not know: it will come again with the same MTMSN."""


USUAL_STATUS = {
    Step.BEFORE_MO: 18,
    Step.AFTER_MO: 13,
    Step.AFTER_ACK: 17,
    Step.DURING_MT: 0,
    Step.AFTER_MT: 0,
}
"""MO status with which a session that broke there ends, unless another is asked for."""


class Hang(enum.StrEnum):
    """Ways to stop working; a power cut ends each."""

    UART = "uart"
    """Nothing in, nothing out, no echo."""
    BUSY = "busy"
    """It echoes and never answers."""


@dataclass(frozen=True, slots=True)
class Break:
    """A session that is going to break."""

    step: Step
    status: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds.  Pairs are the shortest and the longest, drawn anew each time."""

    boot: float = 2.0
    reply: float = 0.02
    signal: tuple[float, float] = (0.3, 2.0)
    """AT+CSQ, with the network in view."""
    signal_stall: float = 50.0
    """AT+CSQ, before the network was ever in view."""
    network: float = 4.0
    """From the first sky after power came until the network has been found."""
    session: tuple[float, float] = (6.0, 22.0)
    """With three bars and more."""
    weak_session: tuple[float, float] = (15.0, 60.0)
    """With one or two."""
    no_service: tuple[float, float] = (3.0, 15.0)
    """Until a session without any bar is given up."""
    registration: tuple[float, float] = (4.0, 12.0)
    second_ring: float = 20.0
    ring_pulse: float = 5.0
    binary: float = 60.0
    """How long SBDWB and SBDWT wait for what was announced."""
    indicator: float = 4.0
    """How often +CIEV looks at the sky."""
    charge: float = 0.0
    """The supercap, after power came and after each session; a session before it is full browns the modem out."""

    def with_sessions(self, seconds: float) -> Timings:
        """All that goes over the air takes about `seconds`: for demonstrations."""
        pair = (seconds * 0.8, seconds * 1.2)
        quick = replace(self, network=0.0, signal_stall=seconds, signal=(0.0, seconds / 4))
        return replace(quick, session=pair, weak_session=pair, no_service=pair, registration=pair)


@dataclass(frozen=True, slots=True)
class Model:
    """What kind of modem it is, and what its firmware does."""

    name: str = "9600 Family SBD Transceiver"
    manufacturer: str = "Iridium"
    firmware: str = "TA16005"
    epoch: int = EPOCH_2014
    """Seconds since 1970 at which its system time began."""
    flow_control: int = 0
    """What is stored for AT&K: 3 is the factory's, with which a three-wire host hears nothing until AT&K0."""
    three_wire: bool = True
    """Whether the host has no RTS line."""
    tells_next_momsn: bool = True
    """Whether +SBDSX says the number that the next session will have, or the last one's (unverified)."""
    failed_mt_status: int = 2
    """What a failed session says of MT (public logs show 0 as well as 2)."""
    failures: tuple[float, ...] = (1.0, 0.4, 0.1, 0.0, 0.0, 0.0)
    """Chance that a session breaks by itself, for each number of bars."""

    @property
    def needs_time_first(self) -> bool:
        """Whether a session wants an MSSTM poll before it (firmware before TA13001)."""
        return self.firmware < "TA13001"


@dataclass(slots=True)
class Profile:
    """What AT&W0 stores."""

    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    dtr: int = 2
    flow: int = 0
    ring_indication: bool = False
    """AT+SBDMTA."""
    auto_register: int = 0
    """AT+SBDAREG."""


@dataclass(slots=True)
class Faults:
    """What has been broken on purpose."""

    hang: Hang | None = None
    breaks: deque[Break] = field(default_factory=deque)
    """Sessions to come, one each."""
    statuses: deque[int] = field(default_factory=deque)
    """MO statuses that sessions to come end with, one each, with nothing carried (1 to 4: carried)."""
    locked: bool = False
    antenna: bool = False
    """Whether it is broken: status 33."""
    traffic_until: float = 0.0
    """Traffic management: status 38 until then (loop time)."""
    disabled: bool = False
    """Status 37."""
    busy: bool = False
    """Status 35."""
    stall_signal: float = 0.0
    """Further seconds that AT+CSQ takes."""


@dataclass(slots=True)
class Buffers:
    """What is in the modem's memory, and gone with its power."""

    mo: bytes | None = None
    mt: bytes | None = None
    mt_number: int = -1
    """MTMSN of the message in the MT buffer, -1 before there was any."""
    ring: bool = False
    """A ring alert that was not answered yet."""


@dataclass(slots=True)
class Counts:
    """What can be counted."""

    boots: int = 0
    sessions: int = 0
    succeeded: int = 0
    aborted: int = 0
    brown_outs: int = 0
    rings_heard: int = 0
    rings_missed: int = 0
    swallowed: int = 0
    """Bytes written to a modem that was off, starting or hung."""
    statuses: dict[int, int] = field(default_factory=dict)
    """How many sessions ended with each MO status."""
