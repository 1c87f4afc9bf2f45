"""Whatever arrives, and whenever the process dies: counters never repeat, and the duty cycle is never exceeded."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rataccess.errors import NotNow, PacketTooLarge, TransportBroken
from rataccess.lorawan.commands import COMMANDS, Command
from rataccess.lorawan.frame import Uplink, decode
from rataccess.lorawan.regions import AU915, EU868, REGIONS, US915, Region
from rataccess_drivers.lora.mac import Done, Listen
from tests.lorawan.small_network import Bench, nothing

ORDERS = [kind for (uplink, _), kind in sorted(COMMANDS.items()) if not uplink]
raw = st.binary(max_size=40)


@st.composite
def orders(draw: st.DrawFn) -> list[Command]:
    """Commands of the network's, sensible or not."""
    kinds = draw(st.lists(st.sampled_from(ORDERS), min_size=1, max_size=4))
    found: list[Command] = [kind.decode(draw(st.binary(min_size=kind.size(), max_size=kind.size()))) for kind in kinds]
    while sum(1 + each.size() for each in found) > 15:
        found.pop()
    return found


class Device(RuleBasedStateMachine):
    """A MAC, its network, an ill-meaning neighbour and an unreliable supply."""

    def __init__(self) -> None:
        super().__init__()
        self.bench: Bench | None = None
        self.seen: list[bytes] = []

    @initialize(
        region=st.sampled_from([EU868, EU868, US915, AU915, REGIONS["AS923"]]),
        adr=st.booleans(),
        slow=st.booleans(),
        joined=st.sampled_from([True, True, True, False]),
    )
    def begin(self, region: Region, adr: bool, slow: bool, joined: bool) -> None:
        settings: dict[str, object] = {"adr": adr, "data_rate": min(region.join_data_rates) if slow else None}
        self.bench = Bench(region, settings=settings)
        if joined:
            self.bench.join(rx2_dr=region.rx2_dr)

    @property
    def there(self) -> Bench:
        assert self.bench is not None
        return self.bench

    @rule(answered=st.booleans(), delay=st.integers(0, 15))
    def join(self, answered: bool, delay: int) -> None:
        bench = self.there
        try:
            action = bench.mac.join(bench.clock.now)
        except NotNow as error:
            bench.clock.now += min(error.retry_after, 7200)
            return
        region = bench.region

        def answer(_: Listen) -> bytes | None:
            return bench.network.take_in(rx2_dr=region.rx2_dr, rx_delay=delay) if answered else None

        keys, uplinks = bench.network.keys, bench.network.uplinks
        done = bench.run(action, answer)
        assert done.joined is answered
        if not answered:
            assert (bench.network.keys, bench.network.uplinks) == (keys, uplinks)

    def exchange(self, data: bytes, confirmed: bool, answer: object) -> Done | None:
        bench = self.there
        try:
            action = bench.mac.send(bench.clock.now, 2, data, confirmed=confirmed)
        except NotNow as error:
            bench.clock.now += min(error.retry_after, 7200)
            return None
        except (PacketTooLarge, TransportBroken):
            return None
        return bench.run(action, answer)  # type: ignore[arg-type]

    @rule(data=raw, confirmed=st.booleans())
    def send(self, data: bytes, confirmed: bool) -> None:
        self.exchange(data, confirmed, nothing)

    @precondition(lambda self: self.bench is not None and self.bench.mac.session is not None)
    @rule(dying=st.booleans())
    def burst(self, dying: bool) -> None:
        """As much as ever goes."""
        bench = self.there
        for _ in range(15):
            try:
                bench.run(bench.mac.send(bench.clock.now, 2, bytes(max(0, min(51, bench.mac.room)))))
            except NotNow:
                break
            if dying:
                bench.restart()

    @precondition(lambda self: self.bench is not None and self.bench.network.keys is not None)
    @rule(data=raw, confirmed=st.booleans(), ack=st.booleans(), commands=orders(), window=st.integers(1, 2))
    def send_and_be_answered(
        self, data: bytes, confirmed: bool, ack: bool, commands: list[Command], window: int
    ) -> None:
        network = self.there.network

        def answer(listen: Listen) -> bytes | None:
            if listen.window != window:
                return None
            frame = network.downlink(data, 1, confirmed=confirmed, ack=ack, commands=commands)
            self.seen.append(frame)
            return frame

        done = self.exchange(data, confirmed, answer)
        assert done is None or done.heard

    @precondition(lambda self: self.bench is not None and self.bench.mac.session is not None)
    @rule(noise=raw, flip=st.integers(0, 200), again=st.booleans())
    def hear_what_is_not_genuine(self, noise: bytes, flip: int, again: bool) -> None:
        bench = self.there
        forged = noise
        if self.seen:
            forged = self.seen[-1]
            if not again:
                at = flip % len(forged)
                forged = forged[:at] + bytes([forged[at] ^ 1]) + forged[at + 1 :]
        before = bench.mac.session
        done = self.exchange(b"x", False, lambda _: forged)
        after = bench.mac.session
        assert before is not None
        assert after is not None
        if done is not None and not done.heard:
            assert (after.fcnt_down, after.rx1_delay, after.sticky) == (
                before.fcnt_down,
                before.rx1_delay,
                before.sticky,
            )
            assert (after.rx2_frequency, after.max_dcycle, after.added) == (
                before.rx2_frequency,
                before.max_dcycle,
                before.added,
            )
        assert done is None or not done.heard, "forged or heard before"

    @rule(steps=st.integers(0, 3))
    def die(self, steps: int) -> None:
        """The supply fails in the middle of an exchange, after so many steps."""
        bench = self.there
        try:
            action = bench.mac.send(bench.clock.now, 2, b"dying")
            for _ in range(steps):
                if not isinstance(action, Done):
                    action = bench.step(action)  # type: ignore[assignment]
        except (NotNow, TransportBroken, PacketTooLarge):
            pass
        bench.restart()

    @rule(seconds=st.floats(0, 5000))
    def wait(self, seconds: float) -> None:
        self.there.clock.now += seconds

    @invariant()
    def counters_never_repeat(self) -> None:
        """The network asserts it for DevNonces; here for FCntUp: a counter twice only for the very same frame."""
        if self.bench is None:
            return
        counters: dict[tuple[int, bytes], bytes] = {}
        for frame, keys in zip(self.there.network.heard, self.there.network.under, strict=True):
            read = decode(frame)
            if isinstance(read, Uplink):
                assert counters.setdefault((read.fcnt, keys), frame) == frame

    @invariant()
    def duty_cycle_is_kept(self) -> None:
        """In each hour that ends with a transmission."""
        if self.bench is None:
            return
        for band in self.there.region.bands:
            sent = [
                (each.at, each.action.airtime)
                for each in self.there.sent
                if band.lowest <= each.action.frequency < band.highest
            ]
            for end, airtime in sent[-3:]:
                hour = sum(length for at, length in sent if end + airtime - 3600 < at <= end)
                assert hour <= band.share * 3600 + 1e-6

    @invariant()
    def dwell_time_is_kept(self) -> None:
        if self.bench is not None and self.bench.region is US915:
            for each in self.bench.sent[-3:]:
                assert each.action.modulation.bandwidth > 125_000 or each.action.airtime <= 0.4

    @invariant()
    def something_can_always_be_sent(self) -> None:
        """No set of orders leaves the device without channel, data rate or window."""
        if self.bench is not None and self.bench.mac.session is not None:
            assert self.bench.mac.session.data_rates(self.bench.region)
            assert self.bench.mac.room >= 0


Device.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDevice = Device.TestCase
