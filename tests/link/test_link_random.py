"""Anything at any time: no illegal transition, no hot loop, no leak, and a sound radio always comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.driver import Evidence, RadioStatus, Recovery
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    ConfigurationError,
    NotNow,
    PortBusy,
    PortLost,
    RadioNotFound,
    RadioSilent,
    RegistrationDenied,
    SimError,
    TransportBroken,
    TransportError,
    WrongRadio,
)
from rataccess.link import LinkState, LinkTiming
from rataccess.link.backoff import Kept
from rataccess.link.remedy import CarrierLost, Remedies, Unproved
from rataccess.link.states import TRANSITIONS, IllegalTransition, LinkEvent, advance
from tests.link.fakes import PACKET, Bench, Radio, virtual

ERRORS: list[BaseException] = [
    RadioSilent("silent"),
    PortLost("lost"),
    RadioNotFound("absent"),
    PortBusy("busy"),
    AttachFailed("refused"),
    AttachFailed("told to wait", 100.0),
    RegistrationDenied("denied"),
    CommandFailed("CME", 3),
    TransportBroken("broken"),
    TransportError("odd"),
    NotNow("later", 5.0),
    SimError("sim"),
    WrongRadio("wrong"),
    ConfigurationError("configuration"),
    Closed("closed"),
    RuntimeError("defect"),
    OSError("defect"),
    asyncio.CancelledError(),
]
EVENTS = [
    "hang",
    "heal",
    "unplug",
    "plug",
    "drop",
    "carrier",
    "prove",
    "doubt",
    "hold",
    "release",
    "break",
    "send",
    "jump",
]
MOMENTS = [0.0, 0.01, 0.05, 0.11, 0.21, 0.35, 1.0, 5.2, 10.0]
"""Waits about as long as the steps of supervision take here."""


def poke(bench: Bench, event: str) -> None:
    """One thing that may happen to a link."""
    radio, link = bench.radio, bench.link
    match event:
        case "hang" | "heal":
            radio.hung = event == "hang"
        case "unplug" | "plug":
            radio.present = event == "plug"
        case "drop" | "carrier" if radio.drivers:
            evidence = Evidence.SIM if event == "drop" else Evidence.BEARER
            for driver in radio.drivers:  # late words of an old driver must harm nobody
                driver.announce(RadioStatus(evidence, event))
        case "prove":
            link.prove()
        case "doubt":
            link.doubt("no answer")
        case "hold":
            link.hold()
        case "release":
            link.release()
        case "break" if radio.transports:
            radio.transport.break_down()
        case "jump":
            bench.clock.jump(1e7)


def fill(radio: Radio, world: Random, most: int) -> None:
    """Let some steps of the radio fail, each in any way."""
    for script in (radio.open_fails, radio.attach_fails, radio.start_fails, radio.status_fails):
        script += [world.choice([None, *ERRORS]) for _ in range(world.randint(0, most))]


@pytest.mark.parametrize("where", ["open_fails", "attach_fails", "start_fails", "status_fails", "receive", "send"])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_any_error_anywhere_is_outlived(where: str, error: BaseException) -> None:
    async def body() -> None:
        radio = Radio()
        if where.endswith("_fails"):
            getattr(radio, where).append(error)
        async with Bench(radio) as bench:
            await bench.up(3_700)
            if where == "receive":
                radio.transport.break_down(error)
            elif where == "send" and not isinstance(error, asyncio.CancelledError):
                radio.transport.send_fails = error
                with pytest.raises(TransportError):
                    await bench.link.send(PACKET)
                radio.transport.send_fails = None
            bench.link.doubt("no answer")
            await asyncio.sleep(30)
            await bench.up(3_700)
            assert await bench.link.send(PACKET)

    virtual(body)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.integers(0, 6), events=st.integers(0, 30), hurry=st.booleans())
def test_whatever_happens_a_sound_radio_comes_back(seed: int, most: int, events: int, hurry: bool) -> None:
    """The script is drawn from a seed, because lists that hypothesis draws are mostly short and alike."""

    async def body() -> None:
        world, radio = Random(seed), Radio()
        fill(radio, world, most)
        async with Bench(radio, seed=seed) as bench:
            for _ in range(events):
                await asyncio.sleep(world.choice(MOMENTS) if hurry else world.uniform(0, 400))
                event = world.choice(EVENTS)
                if event == "send":
                    with contextlib.suppress(TransportError):
                        await bench.link.send(PACKET)
                else:
                    poke(bench, event)
                assert bench.link.ready <= (bench.link.state is LinkState.UP)
            assert bench.link._task is not None
            assert not bench.link._task.done()
            radio.hung, radio.present, radio.evidence = False, True, Evidence.BEARER
            for script in (radio.open_fails, radio.attach_fails, radio.start_fails, radio.status_fails):
                script.clear()
            bench.link.release()
            await bench.up(21_700)
            await asyncio.sleep(100)
            await bench.up(301)  # the last thing that happened may have been noticed only now
            assert await bench.link.send(PACKET)
            bench.link.prove()
            assert bench.link.evidence is Evidence.REACHABLE

    virtual(body)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    most=st.integers(0, 4),
    events=st.integers(0, 4),
    at=st.one_of(st.floats(0, 0.5), st.floats(0, 60)),
)
def test_closing_at_any_moment_leaves_nothing_behind(seed: int, most: int, events: int, at: float) -> None:
    async def body() -> None:
        world, radio = Random(seed), Radio(rung_takes=7.0)
        fill(radio, world, most)
        async with Bench(radio) as bench:
            for _ in range(events):
                await asyncio.sleep(at / events)
                poke(bench, world.choice(EVENTS))
            await asyncio.sleep(0 if events else at)
            begun = bench.clock.monotonic()
            await bench.link.aclose()
            assert bench.clock.monotonic() - begun <= 2 * LinkTiming().close_limit + 1

    virtual(body)


def test_closing_while_a_transport_is_being_closed() -> None:
    async def body() -> None:
        async with Bench() as bench:
            await bench.up()
            bench.radio.transport.break_down()
            await bench.until(lambda link: not link.ready)
            await asyncio.sleep(0.005)

    virtual(body)


def test_a_driver_that_does_not_close_holds_nobody_up() -> None:
    async def body() -> None:
        bench = Bench()
        bench.link.start()
        await bench.up()

        async def never() -> None:
            await asyncio.Event().wait()

        bench.radio.driver.aclose = never  # type: ignore[method-assign]
        bench.radio.transport.aclose = never  # type: ignore[method-assign]
        async with asyncio.timeout(25):
            await bench.link.aclose()
        assert bench.link.state is LinkState.CLOSED
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(body)


@pytest.mark.parametrize("seed", range(2))
def test_months_of_outages(seed: int) -> None:
    """Forty days of hangs, outages, flaps and restarts of the radio; in the end it works, and was never hammered."""

    async def body() -> None:
        world = Random(seed)
        radio = Radio()
        async with Bench(radio, timing=LinkTiming(watch_every=600.0), seed=seed) as bench:
            end = 40 * 86_400
            while bench.clock.monotonic() < end:
                await asyncio.sleep(world.expovariate(1 / 20_000))
                match world.choice(["hang", "outage", "flap", "unplug", "service"]):
                    case "hang":
                        radio.hung, radio.cured_by = True, world.choice([name for name, _, _ in radio.rungs])
                        await bench.until(lambda link: not link.ready)
                    case "outage":
                        radio.attach_always = AttachFailed("no service")
                        radio.carrier(Evidence.SIM) if radio.driver.is_open else None
                        await asyncio.sleep(world.expovariate(1 / 10_000))
                        radio.attach_always = None
                    case "flap":
                        for _ in range(20):
                            radio.carrier(Evidence.SIM)
                            await asyncio.sleep(world.uniform(0, 5))
                            radio.carrier(Evidence.BEARER)
                            await asyncio.sleep(world.uniform(0, 5))
                    case "unplug":
                        radio.present = False
                        await asyncio.sleep(world.expovariate(1 / 5_000))
                        radio.present = True
                    case "service":
                        for _ in range(10):
                            bench.link.doubt("no answer")
                            await asyncio.sleep(30)
                took = await bench.up(23_000)
                assert took < 23_000
                bench.link.prove()
        per_hour = Counter(int(at // 3600) for at in radio.times("attach"))
        assert max(per_hour.values()) < 120
        assert any(ok for _, _, ok in bench.listener.recoveries)

    virtual(body)


# --- the pure parts ---------------------------------------------------------------------------------------------------

INTERNAL = [CarrierLost("carrier"), Unproved("unproved")]


async def nothing() -> None:
    """A rung that does nothing."""


@settings(max_examples=200, deadline=None)
@given(
    failures=st.lists(st.tuples(st.sampled_from([*ERRORS, *INTERNAL]), st.floats(0, 1000)), max_size=80),
    attempts=st.lists(st.integers(1, 3), max_size=4),
    kept=st.builds(
        Kept, st.integers(0, 99), st.one_of(st.none(), st.integers(0, 9)), st.integers(0, 5), st.integers(0, 99)
    ),
)
def test_remedies_are_always_bounded(
    failures: list[tuple[BaseException, float]], attempts: list[int], kept: Kept
) -> None:
    timing = LinkTiming()
    rungs = [Recovery(f"rung {index}", nothing, 1.0, count) for index, count in enumerate(attempts)]
    remedies = Remedies(timing, Random(1), kept)
    now, repairs = 0.0, 0
    hurried: list[float] = []
    for error, passed in failures:
        now += passed
        remedy = remedies.after(error, rungs, now)
        assert remedy.event in (LinkEvent.REATTACH, LinkEvent.POSTPONE, LinkEvent.REPAIR, LinkEvent.GIVE_UP)
        assert 0 <= remedy.wait <= timing.retry_after_longest
        assert (remedy.wait > 0.5) == (remedy.event in (LinkEvent.POSTPONE, LinkEvent.GIVE_UP))
        assert remedy.rung < max(1, len(rungs))
        if remedy.event is LinkEvent.REATTACH:
            hurried = [at for at in hurried if now - at < timing.immediate_window] + [now]
            assert len(hurried) <= timing.immediate_retries
        # Rungs in a row are bounded: a radio past the last one is left alone for a while, whatever went wrong.
        repairs = repairs + 1 if remedy.event is LinkEvent.REPAIR else 0
        assert repairs <= 2 * sum(attempts)


def test_every_state_can_be_left_and_reached() -> None:
    for state in LinkState:
        if state is not LinkState.CLOSED:
            assert any(old is state for old, _ in TRANSITIONS)
        if state is not LinkState.IDLE:
            assert state in TRANSITIONS.values()
    assert not any(old is LinkState.CLOSED for old, _ in TRANSITIONS)
    with pytest.raises(IllegalTransition, match="closed cannot begin"):
        advance(LinkState.CLOSED, LinkEvent.BEGIN)
