"""The base of every driver, the evidence ladder, and what only some radios can do.

Rules of this file: no radio, no bus.  A driver controls one radio: power, registration, status, recovery.  It knows
nothing of services, channels, CoAP or keys.  It retries nothing beyond what the radio's manual demands: supervision does.

A capability is a type (`isinstance(driver, LocatesItself)`), never a method that raises.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rataccess.clock import Clock
from rataccess.objects import Memory
from rataccess.tariff import Unit

if TYPE_CHECKING:
    from rataccess.transport import Handover, Hints


class Evidence(enum.IntEnum):
    """How far a link has provably got.  Only `REACHABLE` is proof that packets pass."""

    NONE = 0
    PORT = 1
    RADIO = 2
    SIM = 3
    REGISTERED = 4
    BEARER = 5
    REACHABLE = 6


@dataclass(frozen=True, slots=True)
class RadioStatus:
    """What a radio says of itself.  Fields that a radio does not know are `None`."""

    evidence: Evidence
    """Never above `BEARER`: a driver cannot prove reachability."""
    detail: str = ""
    """One line for people: what was found, and what stands in the way."""
    rat: str | None = None
    operator: str | None = None
    signal_dbm: float | None = None
    """Received power (RSRP for LTE and NB-IoT, RSSI elsewhere), dBm."""
    signal_quality_db: float | None = None
    """RSRQ or SNR, dB."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """The radio's own connection to its network."""

    rat: str
    interface: str | None = None
    """Network interface of the operating system that carries it, where there is one."""
    addresses: tuple[str, ...] = ()
    mtu: int | None = None
    """Largest IP packet, bytes, where known."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One rung of the recovery ladder."""

    name: str
    """For logs: `reopen port`, `radio off/on`, `modem reset`, `power key`, `power cut` ..."""
    run: Callable[[], Awaitable[None]]
    """Does it, and returns when the radio can be opened again; any `RataccessError` counts as failed."""
    deadline: float
    """Seconds that `run` may take."""
    attempts: int = 1
    """How often to try this rung before the next one."""


class Forgetful:
    """A `Memory` that ends with the process: for tests and tools."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """See `Memory.get`."""
        return self._values.get(key)

    def put(self, key: str, value: bytes) -> None:
        """See `Memory.put`."""
        self._values[key] = value

    put_now = put


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a driver is given besides its options."""

    name: str
    """The link's name, for logs."""
    clock: Clock
    secret: Callable[[str], str | None] = field(default=lambda name: None, repr=False)
    """Looks a secret (such as `wifi.pin`, a SIM's PIN) up in the key store; `None` where it has none."""
    memory: Memory = field(default_factory=Forgetful, repr=False)
    """What must outlive the process: LoRaWAN sessions and counters, air time spent, message numbers.  Keys begin with
    `driver/` and the link's name."""


StatusCallback = Callable[[RadioStatus], None]


class Driver(ABC):
    """Controls one radio.  The constructor opens nothing."""

    options_type: type[Any] | None = None
    """A frozen `msgspec.Struct` of this driver's own options, or `None` where it has none."""
    transports: tuple[str, ...] = ()
    """Names of the transports that can carry packets over it; a link with another is refused.  Empty: any may be tried."""

    def __init__(self) -> None:
        self._status_callbacks: list[StatusCallback] = []

    @classmethod
    @abstractmethod
    def create(cls, options: Any, context: DriverContext) -> Driver:
        """Build one from its `options_type`; opens nothing."""

    @abstractmethod
    async def open(self) -> None:
        """Bus up, radio identified.

        Raises `RadioNotFound`, `PortBusy`, `RadioSilent`, `WrongRadio` or another `DriverError`; closed again then.
        """

    @abstractmethod
    async def attach(self) -> Bearer:
        """Bring the bearer up and return it; at once where it is up already.

        Raises `AttachFailed` (cause, retry_after), `RegistrationDenied`, `SimError`, `RadioSilent`, `PortLost`.
        """

    @abstractmethod
    async def status(self) -> RadioStatus:
        """Ask the radio now.  Raises `RadioSilent` or `PortLost`; never changes anything."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of the bus; idempotent; frees everything even when the radio does not answer."""

    @property
    @abstractmethod
    def recoveries(self) -> Sequence[Recovery]:
        """The rungs that this radio has, mildest first; may depend on configuration (a reset line, a power switch)."""

    def on_status(self, callback: StatusCallback) -> Callable[[], None]:
        """Have `callback` called when the radio tells of a change unasked (carrier, bearer, restart); returns an undo."""
        self._status_callbacks.append(callback)
        return lambda: self._status_callbacks.remove(callback) if callback in self._status_callbacks else None

    def announce(self, status: RadioStatus) -> None:
        """For subclasses: tell of a change."""
        for callback in tuple(self._status_callbacks):
            callback(status)


# --- capabilities -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fix:
    """A GNSS fix.  `time` is seconds since 1970 (UTC)."""

    latitude: float
    longitude: float
    time: float | None = None
    altitude: float | None = None
    """Metres."""
    accuracy: float | None = None
    """Metres, where the radio says; a dilution of precision is not an accuracy."""
    satellites: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One observed cell, raw."""

    rat: str
    serving: bool
    mcc: str | None = None
    mnc: str | None = None
    """Two or three digits: the length means something."""
    area: int | None = None
    """LAC or TAC."""
    cell: int | None = None
    physical_cell: int | None = None
    channel: int | None = None
    """(E)ARFCN."""
    band: int | None = None
    signal_dbm: float | None = None
    quality_db: float | None = None


class DatagramSocket(ABC):
    """A UDP socket inside a radio, connected to one host and port."""

    max_size: int
    """Largest datagram in bytes."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Raises `PacketTooLarge`, `NotNow` or `TransportBroken`."""

    @abstractmethod
    async def receive(self) -> bytes:
        """The next datagram, whole.  Raises `TransportBroken` or `Closed`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Idempotent; gives up gracefully where the radio does not answer."""


@runtime_checkable
class OpensDatagramSockets(Protocol):
    """The radio has a UDP stack of its own."""

    async def open_datagram_socket(self, host: str, port: int) -> DatagramSocket:
        """Raises `TransportBroken` or a `DriverError`."""
        ...


@runtime_checkable
class LocatesItself(Protocol):
    """The radio has a GNSS receiver."""

    async def locate(self) -> Fix | None:
        """The fix now, or `None` while there is none."""
        ...


@runtime_checkable
class KnowsTime(Protocol):
    """The radio learns the time from its network."""

    async def network_time(self) -> float | None:
        """Seconds since 1970 (UTC), or `None` while the radio does not know."""
        ...


@runtime_checkable
class SeesCells(Protocol):
    """The radio can list the cells around it."""

    async def cells(self) -> Sequence[Cell]:
        """Serving cell first."""
        ...


@runtime_checkable
class HasPowerKey(Protocol):
    """The radio's power key is wired to a GPIO line."""

    async def press_power_key(self) -> None:
        """Switch the radio off where it is on, and on again; returns when it should answer."""
        ...


@dataclass(frozen=True, slots=True)
class RadioMessage:
    """A message that a radio received."""

    data: bytes
    port: int = 0
    """What the network says beside it: LoRaWAN's FPort, IMT's topic; 0 where it says nothing."""


@runtime_checkable
class MovesMessages(Protocol):
    """The radio moves whole messages without addresses: LoRaWAN, SBD, IMT, private LoRa, Notecard."""

    @property
    def message_hints(self) -> Hints:
        """What the radio can do right now; `rat`, `mtu` and the tariff among it."""
        ...

    def on_message_hints(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """Have `callback` called at each change; returns an undo."""
        ...

    async def send_message(self, message: RadioMessage) -> Handover | None:
        """Returns a `Handover` where the network has accepted it, `None` where it was sent and nothing is known.

        Raises `PacketTooLarge`, `NotNow` (with `retry_after`: duty cycle, no sky, busy) or `TransportBroken`.  A message is
        never sent again by the radio's driver once the network may have it.
        """
        ...

    async def receive_message(self) -> RadioMessage:
        """The next one.  Raises `TransportBroken` or `Closed`.  Cancelling loses nothing."""
        ...


@runtime_checkable
class Charges(Protocol):
    """The radio uses more than one message's worth for each message: repetitions, joins, questions for mail."""

    def on_charge(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Have `callback` called with so many more units used (ms of air time, credits, messages); returns an undo.

        A message that `send_message` has sent counts once without that; what was received counts by its size.
        """
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a network or the law leaves a radio of something: air time of one sub-band, messages a day."""

    name: str
    """Such as `868.0-868.6 MHz, 1 %`."""
    unit: Unit
    left: int
    """In `unit`, now."""
    limit: int
    """In `unit`, for each `period`."""
    period: float
    """Seconds."""
    next_slot: float | None = None
    """Seconds until something may be sent, or `None` for now."""


@runtime_checkable
class Rationed(Protocol):
    """The radio keeps count of what it may still send."""

    def allowances(self) -> Sequence[Allowance]:
        """Each of them, as of now."""
        ...
