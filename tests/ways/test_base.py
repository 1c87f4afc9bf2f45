"""What every way has: it is begun again with back-off, whatever ended it, and closes for good."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess.errors import ConfigurationError, WayBroken
from rataccess.lorawan.regions import DWELL_LIMIT, REGIONS
from rataccess.objects import Service, encode
from rataccess.services.airway import Airway
from rataccess.services.keyfile import KeyFile
from rataccess.services.sockets import Allowed, host_and_port
from rataccess.services.ways.base import LASTED, QUIET, Surroundings, WayIn, service_of
from rataccess.services.ways.rooms import believed, downlink_room, largest_downlink, room_of
from rataccess.services.ways.semtech import adr
from rataccess.services.ways.semtech.sessions import MOST_ROOTS, RESERVED, DeviceState, Session, root_of
from tests.ways.ways_world import APP_KEY, HeardBy


def _no_store(name: str) -> Any:
    raise AssertionError(f"{name} keeps nothing")


class Fragile(WayIn):
    """Breaks as it is told."""

    def __init__(self, *ends: Any) -> None:
        self.counted: Counter[str] = Counter()
        around = Surroundings(
            Service.SOLUTION,
            LoopClock(),
            self._note,
            KeyFile(Path("absent")),
            _no_store,
            {},
            Random(2),
        )
        super().__init__("fragile", around)
        self.ends, self.runs, self.closed = list(ends), list[float](), 0

    def _note(self, cause: str) -> None:
        self.counted[cause] += 1

    def send(self, airway: Airway, data: bytes) -> None:
        raise AssertionError("nothing is sent")

    async def _open(self) -> None:
        if self.ends and isinstance(self.ends[0], ConfigurationError):
            raise self.ends.pop(0)

    async def _run(self) -> None:
        self.runs.append(asyncio.get_running_loop().time())
        end = self.ends.pop(0) if self.ends else asyncio.Event()
        if isinstance(end, asyncio.Event):
            await end.wait()
        if isinstance(end, float):
            await asyncio.sleep(end)
            raise WayBroken("it was over")
        assert isinstance(end, Exception)
        raise end

    async def _close(self) -> None:
        self.closed += 1


@pytest.mark.looptime
async def test_a_way_that_breaks_is_begun_again_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    way = Fragile(*[WayBroken("no broker")] * 9)
    await way.start(HeardBy())
    await asyncio.sleep(400)
    waits = [b - a for a, b in zip(way.runs, way.runs[1:], strict=False)]
    assert len(waits) == 9
    assert all(wait <= 60 for wait in waits)
    assert waits[0] <= 1
    assert waits[6] >= 30
    assert way.counted["ways in begun again"] == 9
    assert way.state == "open"
    await way.aclose()
    await way.aclose()
    assert way.state == "closed"
    assert "no broker" in caplog.text


@pytest.mark.looptime
async def test_one_that_lasted_begins_soon_again() -> None:
    way = Fragile(WayBroken("a"), WayBroken("b"), WayBroken("c"), LASTED + 1.0)
    await way.start(HeardBy())
    await asyncio.sleep(100)
    assert way.runs[4] - way.runs[3] - LASTED - 1 <= 1
    await way.aclose()


@pytest.mark.looptime
async def test_a_defect_and_a_lost_port_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    way = Fragile(RuntimeError("a defect"), ConfigurationError("the port is taken"))
    with caplog.at_level(logging.CRITICAL):
        await way.start(HeardBy())
        await asyncio.sleep(10)
    assert way.counted["ways in that met a defect"] == 1
    assert way.counted["ways in begun again"] == 2
    assert len(way.runs) == 2
    await way.aclose()


@pytest.mark.looptime
async def test_what_strangers_cause_is_told_once_in_a_while_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    way = Fragile()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for number in range(50):
                way._met(RuntimeError("a defect"))
                way._warn("way %s: %d", number)
            await asyncio.sleep(QUIET)
    assert way.counted["ways in that met a defect"] == 150
    assert [each.getMessage() for each in caplog.records] == ["way fragile met a defect", "way fragile: 0"] * 3


async def test_one_that_cannot_begin_says_so() -> None:
    way = Fragile(ConfigurationError("the port is taken"))
    with pytest.raises(ConfigurationError, match=f"way {way.name}: the port is taken"):
        await way.start(HeardBy())
    assert way.closed == 1
    await way.aclose()


@pytest.mark.parametrize(
    ("first", "service"),
    [
        (0x00, Service.MANAGEMENT),
        (0x20, Service.SOLUTION),
        (0xA0, Service.SOLUTION),
        (0x9F, Service.MANAGEMENT),
        (0xC0, None),
    ],
)
def test_the_first_byte_names_the_service(first: int, service: Service | None) -> None:
    assert service_of(bytes([first])) is service
    assert service_of(b"") is None


def test_only_times_that_can_be_are_believed() -> None:
    class Clock(LoopClock):
        def wall(self) -> float:
            return 1_790_000_000.0

    assert believed(1_790_000_000.0 - 3600, Clock()) == 1_790_000_000.0 - 3600
    for wrong in (None, 0.0, 1_790_000_000.0 + 3600, 1_790_000_000.0 - 30 * 86_400, float("nan")):
        assert believed(wrong, Clock()) is None
    assert believed(1_790_000_000.0, Clock(known=False)) is None


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_no_data_rate_gives_more_room_than_its_window_takes(region: str) -> None:
    plan = REGIONS[region]
    rooms = [downlink_room(plan, rate) for rate in range(-1, 16)]
    assert all(0 < room <= 242 for room in rooms)
    assert rooms[0] == largest_downlink(plan, plan.rx2_dr)
    if plan.downlink_dwell:
        waves = {rate: plan.downlink_modulation(rate) for rate in plan.dwell_payloads}
        times = [
            wave.time_on_air(13 + largest_downlink(plan, rate)) for rate, wave in waves.items() if wave is not None
        ]
        assert times
        assert all(time <= DWELL_LIMIT for time in times)
    assert room_of("nowhere", region, None, 7, 125_000) > room_of(region, region, None, None, None)


@settings(max_examples=50)
@given(
    st.dictionaries(st.binary(max_size=8), st.sets(st.integers(0, 0xFFFF), max_size=9), max_size=3),
    st.integers(-1, 2**32 - 1),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_what_is_kept_of_a_device_comes_back_with_counters_never_used(
    nonces: dict[bytes, set[int]], fcnt_up: int, fcnt_down: int, pending: bool
) -> None:
    session = Session.begin(APP_KEY, dev_addr=7, join_nonce=3, dev_nonce=9, net_id=0, rx_delay=1)
    session.fcnt_up, session.fcnt_down = fcnt_up, fcnt_down
    state = DeviceState("00" * 8, nonces, 3, None if pending else session, session if pending else None)
    data = state.packed()
    assert APP_KEY not in data
    assert session.keys.app_s_key not in data
    found = DeviceState.unpacked("00" * 8, data, APP_KEY)
    [again] = found.sessions
    assert (found.dev_nonces, found.join_nonce, again.keys) == (nonces, 3, session.keys)
    assert (found.pending is None, again.fcnt_up) == (not pending, fcnt_up)
    assert fcnt_down < again.fcnt_down == again.usable <= fcnt_down + RESERVED
    assert DeviceState.unpacked("00" * 8, data, None).sessions == []


def test_nonces_of_many_keys_and_of_before_are_bounded_and_kept() -> None:
    state = DeviceState("00" * 8)
    for number in range(3 * MOST_ROOTS):
        assert state.use(root_of(bytes(16), number), 7)
        assert not state.use(root_of(bytes(16), number), 7)
    assert len(state.dev_nonces) == MOST_ROOTS
    before = DeviceState.unpacked("00" * 8, encode([1, b"\x00\x07\x00\x09", 2, None, None]), APP_KEY)
    assert not before.use(root_of(APP_KEY, 1), 9)
    assert before.use(root_of(APP_KEY, 1), 8)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**17))
def test_a_counter_is_found_from_its_lower_half(last: int, ahead: int) -> None:
    session = Session.begin(APP_KEY, dev_addr=7, join_nonce=3, dev_nonce=9, net_id=0, rx_delay=1)
    session.fcnt_up = last
    following, had = session.counters((last + ahead) & 0xFFFF)
    assert last < following <= last + 0x10000
    assert had is None or last - 0x10000 < had <= last
    assert last + ahead in (following, had) or ahead > 0xFFFF


@pytest.mark.parametrize("region", ["US915", "AU915"])
@pytest.mark.parametrize("sub_band", [1, 2, 8])
def test_adaptive_data_rate_leaves_a_sub_band_as_it_is(region: str, sub_band: int) -> None:
    plan = REGIONS[region]
    on = every = frozenset(range(72))
    for each in adr.link_adr(plan, 3, 0, every, sub_band=sub_band):
        assert on is not None
        on = plan.masked(on, every, each.ch_mask, each.ch_mask_cntl)  # type: ignore[assignment]
    assert on == plan.sub_band_mask(sub_band)


@settings(max_examples=50)
@given(st.sampled_from(sorted(REGIONS)), st.integers(0, 5), st.integers(0, 7), st.floats(-30, 30))
def test_advice_is_within_the_plan_and_settles(region: str, rate: int, power: int, snr: float) -> None:
    plan = REGIONS[region]
    rate = min(rate, adr.fastest_data_rate(plan))
    found = adr.advise(plan, rate, power, [snr - 1, snr])
    assert found[0] >= rate
    assert found[0] in plan.data_rates
    assert 0 <= found[1] <= max(power, plan.last_power)
    assert 0 <= adr.margin(snr, 7) <= 254


def test_addresses_and_networks_that_are_allowed() -> None:
    allowed = Allowed(("192.0.2.0/24", "2001:db8::1"), "key")
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "2001:db8::1%eth0"):
        assert address in allowed
    for other in ("192.0.3.7", "::ffff:192.0.3.7", "2001:db8::2", "", None, "localhost"):
        assert other not in allowed
    assert "anything" in Allowed((), "key")
    assert host_and_port("[2001:db8::1]:1700") == ("2001:db8::1", 1700)
    assert host_and_port("farm.example:1700") == ("farm.example", 1700)
