"""A network server in a few lines, and a bench that moves a MAC through virtual time.

Rules of this file: for tests of the MAC alone; no radio, no event loop.  The network trusts the shared codec; what is
independent of it (the corpora, lora-packet, the virtual network) is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from rataccess.driver import Forgetful
from rataccess.lorawan import crypto
from rataccess.lorawan.commands import Command, encode_commands
from rataccess.lorawan.frame import Downlink, JoinAccept, JoinRequest, Uplink, decode
from rataccess.lorawan.regions import EU868, Region
from rataccess_drivers.lora.airtime_ledger import AirtimeLedger
from rataccess_drivers.lora.mac import Action, Done, Listen, Mac, MacSettings, Pause, Transmit

APP_KEY = bytes(range(16))
DEV_EUI, JOIN_EUI = 0x70B3D57ED0000001, 0x0000000000000001


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def wall_known(self) -> bool:
        return False


class SmallNetwork:
    """One device's network."""

    def __init__(self) -> None:
        self.accept = JoinAccept(1, 0x13, 0x26012345)
        self.keys: crypto.SessionKeys | None = None
        self.fcnt_down = 0
        self.first_fcnt = 0
        self.join_nonce = 0
        self.dev_nonces: list[int] = []
        self.uplinks: list[Uplink] = []
        self.heard: list[bytes] = []
        self.under: list[bytes] = []
        """The network session key when that was heard."""

    def hear(self, data: bytes) -> None:
        """Anything that was sent."""
        self.heard.append(data)
        self.under.append(self.keys.nwk_s_key if self.keys else b"")
        frame = decode(data)
        if isinstance(frame, JoinRequest):
            crypto.check_join_request(APP_KEY, frame)
            assert (frame.dev_eui, frame.join_eui) == (DEV_EUI, JOIN_EUI)
            assert frame.dev_nonce not in self.dev_nonces, "a DevNonce came twice"
            self.dev_nonces.append(frame.dev_nonce)
            return
        assert isinstance(frame, Uplink)
        assert self.keys is not None
        last = self.uplinks[-1].fcnt if self.uplinks else self.first_fcnt
        whole = last & ~0xFFFF | frame.fcnt
        self.uplinks.append(crypto.open_frame(self.keys, frame, whole))

    def take_in(self, **changes: object) -> bytes:
        """A join-accept for the last join-request."""
        self.join_nonce += 1
        fields = {"join_nonce": self.join_nonce, "net_id": 0x13, "dev_addr": 0x26012345} | changes
        accept = JoinAccept(**fields)  # type: ignore[arg-type]
        self.keys = crypto.session_keys(APP_KEY, accept.join_nonce, accept.net_id, self.dev_nonces[-1])
        self.fcnt_down, self.uplinks = 0, []
        return crypto.seal_join_accept(APP_KEY, accept)

    def downlink(self, payload: bytes = b"", port: int | None = None, **changes: object) -> bytes:
        """The next downlink; `commands` are put into FOpts."""
        fields: dict[str, object] = {"dev_addr": 0x26012345, "fcnt": self.fcnt_down} | changes
        orders = fields.pop("commands", ())
        assert isinstance(orders, Iterable)
        fields.setdefault("fopts", encode_commands(orders))
        fcnt = fields["fcnt"]
        assert isinstance(fcnt, int)
        self.fcnt_down = max(self.fcnt_down, fcnt + 1)
        assert self.keys is not None
        frame = crypto.seal(self.keys, Downlink(port=port, payload=payload, **fields))  # type: ignore[arg-type]
        return frame.body + frame.mic


Answer = Callable[[Listen], bytes | None]


def nothing(_: Listen) -> bytes | None:
    """Nobody answers."""
    return None


@dataclass
class Sent:
    """A transmission."""

    at: float
    action: Transmit


@dataclass
class Bench:
    """A device before its network."""

    region: Region = EU868
    memory: Forgetful = field(default_factory=Forgetful)
    clock: Hours = field(default_factory=Hours)
    network: SmallNetwork = field(default_factory=SmallNetwork)
    random: Random = field(default_factory=lambda: Random(7))
    settings: dict[str, object] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    windows: list[Listen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The process dies and comes back: only what is on disk is left."""
        ledger = AirtimeLedger(self.region.bands, self.memory, "driver/field/airtime", self.clock)
        settings = MacSettings(self.region, DEV_EUI, JOIN_EUI, APP_KEY, **self.settings)  # type: ignore[arg-type]
        self.ledger = ledger
        self.mac = Mac(settings, self.memory, "driver/field", ledger, self.random, self.clock.now)

    def run(self, action: Action, answer: Answer = nothing) -> Done:
        """Carry the exchange through; `answer` says what comes into each window."""
        while not isinstance(action, Done):
            action = self.step(action, answer)
        return action

    def step(self, action: Action, answer: Answer = nothing) -> Action:
        """Do one thing that the MAC wants."""
        match action:
            case Transmit():
                self.sent.append(Sent(self.clock.now, action))
                self.network.hear(action.data)
                self.clock.now += action.airtime
                return self.mac.transmitted(self.clock.now)
            case Listen():
                self.windows.append(action)
                assert action.at >= self.clock.now
                self.clock.now = action.at + 0.1
                data = answer(action)
                return self.mac.silent(self.clock.now) if data is None else self.mac.received(self.clock.now, data, 5.0)
            case Pause():
                assert action.until >= self.clock.now
                self.clock.now = action.until
                return self.mac.resume(self.clock.now)
        raise AssertionError(action)

    def join(self, **accept: object) -> Done:
        """Join; the network answers in RX1."""
        return self.run(self.mac.join(self.clock.now), lambda _: self.network.take_in(**accept))

    def send(self, payload: bytes = b"data", answer: Answer = nothing, *, port: int | None = 2, **more: bool) -> Done:
        """An uplink, once the duty cycle allows it."""
        self.clock.now += self.mac.wait(self.clock.now, len(payload))
        return self.run(self.mac.send(self.clock.now, port, payload, **more), answer)

    def order(self, *commands: Command) -> Done:
        """An uplink that is answered with MAC commands."""
        wire = encode_commands(commands)
        if len(wire) > 15:
            return self.send(b"", lambda _: self.network.downlink(wire, 0), port=None)
        return self.send(b"", lambda _: self.network.downlink(fopts=wire), port=None)

    @property
    def last(self) -> Uplink:
        """The last uplink that the network heard."""
        return self.network.uplinks[-1]


def joined(region: Region = EU868, **settings: object) -> Bench:
    """A device that has joined."""
    bench = Bench(region, settings=settings)
    assert bench.join(rx2_dr=region.rx2_dr).joined
    return bench


def only_in(window: int, make: Callable[[], bytes]) -> Answer:
    """Answers in one of the windows."""
    return lambda listen: make() if listen.window == window else None
