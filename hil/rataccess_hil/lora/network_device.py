"""What the virtual network server keeps of one device: keys, session, counters, and what waits for it.

Rules of this file: no time and no gateway.  Keys never appear in a `repr`.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from dataclasses import dataclass, field

from rataccess_hil.lora.crypto import SessionKeys


class Misdeed(enum.StrEnum):
    """How the network can behave badly, once, in its next answer to a device."""

    BAD_MIC = "bad_mic"
    OLD_COUNTER = "old_counter"
    REPLAY = "replay"
    """The last downlink again, byte for byte."""
    WRONG_ADDRESS = "wrong_address"
    JOIN_ACCEPT = "join_accept"
    """A join-accept out of nowhere, with the right key."""
    TRUNCATED = "truncated"
    SILENCE = "silence"


@dataclass(slots=True)
class Downlink:
    """What waits to be sent to a device."""

    data: bytes
    port: int
    confirmed: bool
    number: int
    identity: str = ""
    """Its name for whoever queued it."""


@dataclass(slots=True)
class Session:
    """A session, from join or by personalisation."""

    address: int
    keys: SessionKeys = field(repr=False)
    up: int = -1
    """The highest uplink counter so far, 32 bits; -1 before the first."""
    down: int = 0
    """The next downlink counter."""
    rx1_offset: int = 0
    rx2_rate: int = 0
    rx2_frequency: int = 0
    rx_delay: int = 1


@dataclass(frozen=True, slots=True)
class ReceivedUplink:
    """An uplink as the application gets it."""

    dev_eui: int
    address: int
    counter: int
    port: int | None
    data: bytes
    confirmed: bool
    rate: int
    frequency: int
    rssi_dbm: float
    snr_db: float
    gateways: int
    at: float
    """Loop time at which the server heard of it."""


_numbers = itertools.count(1)


class NetworkDevice:
    """A device that the network server knows.  `send` and `command` queue what goes down after its next uplinks."""

    def __init__(self, dev_eui: int, app_key: bytes, join_eui: int = 0, name: str = "") -> None:
        self.dev_eui, self.join_eui = dev_eui, join_eui
        self.name = name or f"device-{dev_eui:016x}"
        self._app_key = app_key
        self.session: Session | None = None
        self.nonces: set[int] = set()
        """Every DevNonce it has joined with."""
        self.join_nonce = 0
        self.queue: deque[Downlink] = deque()
        self.commands: deque[bytes] = deque()
        """MAC commands that go down next."""
        self.answers: list[tuple[int, bytes]] = []
        """MAC commands that came up, in order."""
        self.unacknowledged: Downlink | None = None
        """The confirmed downlink that was sent last, until it is acknowledged."""
        self.misdeeds: deque[Misdeed] = deque()
        self.last_downlink = b""
        self.last_accept = b""
        self.uplinks: list[ReceivedUplink] = []
        self.levels: deque[float] = deque(maxlen=20)
        self.adr = True
        """Whether its data rate is managed where it allows that."""
        self.battery: int | None = None
        self.margin: int | None = None
        self.joins = 0
        self.wanted_delay: int | None = None
        self.wanted_windows: tuple[int, int, int] | None = None
        """What the device was asked for and has not answered yet: RX1 delay; RX1 offset, RX2 rate and frequency."""
        self.accepts_joins = True
        """Whether its join-requests are answered."""

    @property
    def app_key(self) -> bytes:
        """The AppKey."""
        return self._app_key

    def send(self, data: bytes, port: int = 2, *, confirmed: bool = False, identity: str = "") -> int:
        """Queue a downlink; returns its number."""
        item = Downlink(bytes(data), port, confirmed, next(_numbers), identity)
        self.queue.append(item)
        return item.number

    def command(self, command: bytes) -> None:
        """Queue a MAC command."""
        self.commands.append(command)

    def misbehave(self, *kinds: Misdeed | str) -> None:
        """Behave badly in the next answers, in this order."""
        self.misdeeds.extend(Misdeed(kind) for kind in kinds)

    def take_commands(self, room: int) -> bytes:
        """As many queued commands as fit in `room` bytes, taken from the queue."""
        taken = b""
        while self.commands and len(taken) + len(self.commands[0]) <= room:
            taken += self.commands.popleft()
        return taken

    def __repr__(self) -> str:
        return f"<NetworkDevice {self.name} {'joined' if self.session else 'not joined'} queue={len(self.queue)}>"
