"""What outlives a restart of the program, and what a jumping wall clock does to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from rataccess.clock import LoopClock
from rataccess.driver import Evidence
from rataccess.errors import AttachFailed, DiskFull, SimError
from rataccess.link import LinkState, LinkTiming
from rataccess.link.backoff import Kept, exponential, load, save
from rataccess.objects import encode
from tests.link.fakes import Bench, FakeMemory, Radio

pytestmark = pytest.mark.looptime(noop_cycles=0)

YEAR = 365 * 86_400.0
KEY = "link/lte/backoff"


async def refused(memory: FakeMemory, clock: LoopClock, retry_after: float | None, run: float = 1.0) -> None:
    """A run of the program in which the network refuses, ended after `run` seconds."""
    radio = Radio(attach_always=AttachFailed("congestion", retry_after), rungs=())
    async with Bench(radio, memory=memory, clock=clock):
        await asyncio.sleep(run)


async def test_a_restart_does_not_shorten_the_networks_back_off() -> None:
    memory, clock = FakeMemory(), LoopClock()
    await refused(memory, clock, 3600.0)
    begun = clock.monotonic()
    async with Bench(memory=memory, clock=clock) as bench:
        assert bench.link.state in (LinkState.IDLE, LinkState.WAITING)
        await asyncio.sleep(1)
        assert "not started: before the restart: congestion; the next attempt is in 359" in bench.link.detail
        await asyncio.sleep(3590 - (clock.monotonic() - begun))
        assert bench.radio.done == []
        await bench.up(20)


async def test_a_restart_goes_on_with_the_same_exponent() -> None:
    memory, clock = FakeMemory(), LoopClock()
    await refused(memory, clock, None, 600.0)
    radio = Radio(attach_always=AttachFailed("congestion"), rungs=())
    async with Bench(radio, memory=memory, clock=clock) as bench:
        await asyncio.sleep(600)
        assert 2 <= len(bench.radio.times("attach")) <= 4


async def test_proof_resets_what_is_kept() -> None:
    memory, clock = FakeMemory(), LoopClock()
    await refused(memory, clock, None, 600.0)
    async with Bench(memory=memory, clock=clock) as bench:
        await bench.up(301)
        bench.link.prove()
        puts = memory.puts
        bench.link.prove()
        assert memory.puts == puts, "proof of a sound link writes nothing"
    async with Bench(memory=memory, clock=clock) as bench:
        await bench.up(0.5)


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
@pytest.mark.parametrize("retry_after", [None, 3600.0])
async def test_a_jump_of_the_wall_clock_stalls_nothing(jump: float, retry_after: float | None) -> None:
    memory, clock = FakeMemory(), LoopClock()
    await refused(memory, clock, retry_after, 1.0)
    clock.jump(jump)
    async with Bench(memory=memory, clock=clock) as bench:
        took = await bench.up((retry_after or 300.0) + 5)
        if jump < 0 and retry_after:
            assert took > 3500


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
async def test_a_jump_while_waiting_changes_nothing(jump: float) -> None:
    async with Bench(Radio(attach_fails=[AttachFailed("congestion", 1000.0)])) as bench:
        await asyncio.sleep(10)
        bench.clock.jump(jump)
        await asyncio.sleep(980)
        assert len(bench.radio.times("attach")) == 1
        await bench.up(20)


@pytest.mark.parametrize(("retry_after", "limit"), [(None, 301.0), (3600.0, 3601.0)])
async def test_without_a_believable_clock_the_wait_is_served_again(retry_after: float | None, limit: float) -> None:
    memory, clock = FakeMemory(), LoopClock()
    await refused(memory, clock, retry_after, 1.0)
    async with Bench(memory=memory, clock=LoopClock(0.0, known=False)) as bench:
        await bench.up(limit)


async def test_a_hung_radio_goes_on_at_its_rung_after_a_restart() -> None:
    memory, clock = FakeMemory(), LoopClock()
    async with Bench(Radio(hung=True), memory=memory, clock=clock) as bench:
        await bench.until(lambda link: "modem reset" in bench.radio.names())
    async with Bench(Radio(hung=True, cured_by="power cut"), memory=memory, clock=clock) as bench:
        await bench.up()
        assert [name for name in bench.radio.names() if name[0] in "rmp"] == ["power cut"]


async def test_a_radio_that_hung_yesterday_starts_from_the_mildest_rung() -> None:
    memory, clock = FakeMemory(), LoopClock()
    async with Bench(Radio(hung=True), memory=memory, clock=clock) as bench:
        await bench.until(lambda link: "modem reset" in bench.radio.names())
    await asyncio.sleep(86_400)
    async with Bench(Radio(hung=True, cured_by="reopen port"), memory=memory, clock=clock) as bench:
        await bench.up(60)


async def test_a_faulty_radio_stays_reported_and_rarely_tried_across_a_restart() -> None:
    memory, clock = FakeMemory(), LoopClock()
    async with Bench(Radio(hung=True), memory=memory, clock=clock) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
    async with Bench(memory=memory, clock=clock) as bench:
        assert bench.link.faulty
        await asyncio.sleep(290)
        assert bench.radio.done == []
        await bench.up(20)  # and not only after a quarter of an hour: it may have been repaired
        assert not bench.link.faulty


async def test_after_a_permanent_error_a_restart_tries_at_once() -> None:
    memory, clock = FakeMemory(), LoopClock()
    async with Bench(Radio(attach_always=SimError("no SIM")), memory=memory, clock=clock) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
    async with Bench(memory=memory, clock=clock) as bench:
        await bench.up(0.5)


async def test_a_disk_that_fails_costs_no_supervision(caplog: pytest.LogCaptureFixture) -> None:
    memory = FakeMemory()
    memory.broken = DiskFull("no space left")
    async with Bench(Radio(attach_fails=[AttachFailed("no service")] * 3), memory=memory) as bench:
        await bench.up(60)
        assert bench.link.evidence is Evidence.BEARER
    assert "no space left" in caplog.text


# --- the pure part ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        encode({"attempts": 1}),
        encode([1, 2, 3]),
        encode([-1, None, 0, 0, 1.0, 1.0, False]),
        encode([10**9, None, 0, 0, 1.0, 1.0, False]),
        encode([1, "one", 0, 0, 1.0, 1.0, False]),
        encode([1, None, 0, 0, float("nan"), 1.0, False]),
        encode([1, None, 0, 0, 1.0, float("inf"), False]),
        encode([True, None, 0, 0, 1.0, 1.0, False]),
    ],
)
async def test_damaged_memory_is_a_fresh_start(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert load(FakeMemory({KEY: data}), KEY, LoopClock(), LinkTiming()) == Kept()
    assert "unusable" in caplog.text


async def test_what_is_saved_is_loaded() -> None:
    memory, clock = FakeMemory(), LoopClock()
    kept = Kept(3, 1, 2, 1, 10.0, clock.wall() + 10, True, "no antenna")
    save(memory, KEY, kept)
    assert load(memory, KEY, clock, LinkTiming()) == kept
    assert kept.remaining(clock, 300.0) == pytest.approx(10.0)
    memory.put(
        KEY, encode([3, 1, 2, 1, 10.0, kept.not_before, True])
    )  # as a program of before reasons were kept wrote it
    assert load(memory, KEY, clock, LinkTiming()) == replace(kept, why="")


def test_back_off_doubles_within_jitter_and_is_repeatable() -> None:
    waits = [exponential(attempt, 2.0, 300.0, Random(5)) for attempt in range(1, 12)]
    assert waits == [exponential(attempt, 2.0, 300.0, Random(5)) for attempt in range(1, 12)]
    for attempt, wait in enumerate(waits, 1):
        assert min(2.0**attempt, 300.0) / 2 <= wait <= min(2.0**attempt, 300.0)
    assert 150.0 <= exponential(10**6, 2.0, 300.0, Random(5)) <= 300.0
