"""Failures of every kind, and what supervision does about each."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from rataccess.driver import Evidence, RadioStatus
from rataccess.errors import (
    AttachFailed,
    CommandFailed,
    ConfigurationError,
    PortBusy,
    PortLost,
    RadioSilent,
    RegistrationDenied,
    SimError,
    TransportBroken,
    WrongRadio,
)
from rataccess.link import LinkState, LinkTiming
from rataccess.tariff import Unit
from tests.link.fakes import PACKET, Bench, Radio

pytestmark = pytest.mark.looptime(noop_cycles=0)

RUNGS = ["reopen port", "reopen port", "radio off/on", "radio off/on", "modem reset", "power cut"]


# --- the ladder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cure", ["reopen port", "radio off/on", "modem reset", "power cut"])
async def test_a_hung_radio_is_repaired_by_the_mildest_rung_that_helps(cure: str) -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.cured_by, bench.radio.hung = cure, True
        bench.link.doubt("two requests unanswered")
        begun = bench.clock.monotonic()
        await bench.until(lambda link: not link.ready)
        await bench.up()
        expected = RUNGS[: RUNGS.index(cure) + 1]
        assert [name for name in bench.radio.names() if name in RUNGS] == expected
        ((step, seconds, ok),) = bench.listener.recoveries
        assert (step, ok) == (cure, True)
        assert seconds <= bench.clock.monotonic() - begun
        assert seconds > len(expected)


async def test_each_rung_is_followed_by_a_look_and_bounded_by_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    radio = Radio(hung=True, rung_takes=10_000.0, rungs=(("reopen port", 10.0, 1), ("power cut", 120.0, 2)))
    async with Bench(radio) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        assert radio.names() == ["open", "reopen port", "open", "power cut", "open", "power cut", "open"]
        (first,), second = radio.times("reopen port"), radio.times("power cut")
        assert second[0] - first == pytest.approx(10 + 5.1, abs=0.1)
        assert second[1] - second[0] == pytest.approx(120 + 5.1, abs=0.1)
        ((step, seconds, ok),) = bench.listener.recoveries
        assert (step, ok) == ("power cut", False)
        assert seconds == pytest.approx(250 + 3 * 5.1, abs=0.2)
    assert "recovery 'power cut', try 2 of 2: failed: power cut took longer than 120 s" in caplog.text


async def test_past_the_last_rung_is_faulty_and_tried_rarely() -> None:
    async with Bench(Radio(hung=True)) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        change = bench.listener.changes[-1]
        assert bench.link.faulty
        assert "no answer" in change.cause
        await asyncio.sleep(14 * 86_400)
        looks = bench.radio.times("power cut")
        gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
        assert all(450 <= gap <= 21_600 + 600 for gap in gaps), gaps
        assert gaps[0] < 1500
        assert min(gaps[6:]) > 10_000
        bench.radio.hung = False
        await bench.up(22_000)
        assert not bench.link.faulty


async def test_a_faulty_radio_starts_from_the_mildest_rung_again() -> None:
    async with Bench(Radio(hung=True)) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        bench.radio.cured_by = "reopen port"
        bench.radio.done.clear()
        await bench.up(1000)
        assert [name for name in bench.radio.names() if name in RUNGS] == ["reopen port"]
        assert [(step, ok) for step, _, ok in bench.listener.recoveries] == [
            ("power cut", False),
            ("reopen port", True),
        ]


async def test_trouble_that_comes_back_before_proof_goes_on_up_the_ladder() -> None:
    async with Bench(Radio(cured_by="radio off/on", hung=True)) as bench:
        await bench.up()
        bench.radio.hung = True
        bench.radio.done.clear()
        bench.link.doubt("nothing came")
        await bench.until(lambda link: not link.ready)
        await bench.up()
        assert [name for name in bench.radio.names() if name in RUNGS] == ["radio off/on"]
        bench.link.prove()
        bench.radio.hung = True
        bench.radio.done.clear()
        bench.link.doubt("nothing came")
        await bench.until(lambda link: not link.ready)
        await bench.up()
        assert [name for name in bench.radio.names() if name in RUNGS] == RUNGS[:3]


async def test_a_stable_time_counts_as_proof_for_the_ladder() -> None:
    async with Bench(Radio(cured_by="radio off/on", hung=True)) as bench:
        await bench.up()
        await asyncio.sleep(400)
        bench.radio.hung = True
        bench.radio.done.clear()
        await bench.until(lambda link: not link.ready)
        await bench.up()
        assert [name for name in bench.radio.names() if name in RUNGS] == RUNGS[:3]


async def test_attach_that_fails_with_an_answering_radio_starts_at_radio_off_on() -> None:
    async with Bench(Radio(attach_always=AttachFailed("no service"))) as bench:
        await bench.until(lambda link: "radio off/on" in bench.radio.names())
        assert len(bench.radio.times("attach")) == 8
        assert "reopen port" not in bench.radio.names()
        await bench.until(lambda link: link.faulty)
        assert [name for name in bench.radio.names() if name in RUNGS] == RUNGS[2:]
        # A network that is back after a week is noticed within minutes, though the link was reported as faulty.
        await asyncio.sleep(7 * 86_400)
        assert len(bench.listener.recoveries) <= len(bench.radio.times("power cut"))
        cuts = bench.radio.times("power cut")
        assert len(cuts) < 14, "power was cut again and again during an outage of the network"
        bench.radio.attach_always = None
        await bench.up(301)
        assert not bench.link.faulty


async def test_a_radio_without_a_ladder_is_waited_for() -> None:
    radio = Radio(rungs=(), hung=True)
    async with Bench(radio) as bench:
        await asyncio.sleep(60)
        assert len(radio.times("open")) > 2
        radio.hung = False
        await bench.up(300)


async def test_rungs_climbed_for_the_network_are_not_missing_for_a_hang() -> None:
    async with Bench(Radio(attach_always=AttachFailed("no service"))) as bench:
        await bench.until(lambda link: "modem reset" in bench.radio.names())
        bench.radio.done.clear()
        bench.radio.hung, bench.radio.cured_by, bench.radio.attach_always = True, "reopen port", None
        await bench.up(600)
        assert [name for name in bench.radio.names() if name in RUNGS] == ["reopen port"]


async def test_a_hang_after_a_long_silence_of_the_services_has_its_whole_ladder() -> None:
    async with Bench() as bench:
        await bench.up()
        while "power cut" not in bench.radio.names():
            bench.link.doubt("no answer")
            await asyncio.sleep(59)
        for _ in range(1000):
            bench.link.doubt("no answer")
            await asyncio.sleep(59)
        bench.radio.done.clear()
        bench.radio.hung, bench.radio.cured_by = True, "radio off/on"
        bench.link.doubt("no answer")
        await bench.until(lambda link: not link.ready)
        await bench.up(600)
        assert [name for name in bench.radio.names() if name in RUNGS] == RUNGS[:3]


# --- the port ---------------------------------------------------------------------------------------------------------


async def test_renumbering_a_lost_port_is_opened_anew() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.present = False
        bench.radio.transport.break_down(PortLost("ttyUSB2 vanished"))
        await bench.until(lambda link: not link.ready, 1.0)
        assert bench.link.evidence is Evidence.NONE
        await asyncio.sleep(8)
        bench.radio.present = True
        await bench.up(30)
        assert bench.listener.recoveries == []
        assert not set(bench.radio.names()) & set(RUNGS)
        assert len(bench.radio.drivers) > 2


async def test_an_unplugged_radio_is_repaired_then_looked_for_every_minute() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.present = False
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        assert [name for name in bench.radio.names() if name in RUNGS] == RUNGS
        await asyncio.sleep(86_400)
        assert 1000 < len(bench.radio.times("open")) < 1600
        assert len(bench.radio.times("power cut")) < 15
        bench.radio.present = True
        await bench.up(61)


async def test_a_port_lost_again_and_again_climbs_the_ladder() -> None:
    async with Bench(Radio(open_fails=[PortLost("gone")] * 3)) as bench:
        await bench.up()
        assert [name for name in bench.radio.names() if name in RUNGS] == ["reopen port"]


async def test_a_port_that_somebody_holds_is_left_alone() -> None:
    radio = Radio(open_fails=[PortBusy("ttyUSB2 is held by minicom (pid 7)")] * 30)
    async with Bench(radio) as bench:
        await asyncio.sleep(1)
        assert "minicom" in bench.link.detail
        await bench.up(31 * 61)
        assert not set(radio.names()) & set(RUNGS)


# --- permanent and foreign errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "evidence"),
    [
        (SimError("the SIM is locked"), Evidence.RADIO),
        (WrongRadio("this is a toaster"), Evidence.PORT),
        (ConfigurationError("apn: found '', allowed: a name"), Evidence.NONE),
    ],
)
async def test_a_permanent_error_is_no_hot_loop(error: Exception, evidence: Evidence) -> None:
    async with Bench(Radio(attach_always=error)) as bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        assert bench.link.detail == str(error)
        assert bench.link.evidence is evidence
        assert bench.link.faulty
        await asyncio.sleep(86_400)
        assert 24 <= len(bench.radio.times("attach")) <= 60
        assert not set(bench.radio.names()) & set(RUNGS)
        bench.radio.attach_always = None
        await bench.up(3601)
        assert not bench.link.faulty


async def test_a_maker_that_raises_is_a_permanent_error() -> None:
    bench = Bench()

    def refuse() -> object:
        raise ConfigurationError("no such radio")

    bench.link._session._make_driver = refuse  # type: ignore[assignment]
    async with bench:
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        assert bench.link.detail == "no such radio"


@pytest.mark.parametrize("where", ["open_fails", "attach_fails", "start_fails", "status_fails"])
@pytest.mark.parametrize(
    "error", [RuntimeError("defect"), OSError(5, "I/O error"), asyncio.CancelledError(), KeyError(1)]
)
async def test_foreign_exceptions_do_not_end_supervision(where: str, error: BaseException) -> None:
    radio = Radio()
    getattr(radio, where).append(error)
    async with Bench(radio) as bench:
        await asyncio.sleep(30)
        await bench.up(60)
        assert await bench.link.send(PACKET)


@pytest.mark.parametrize("error", [RuntimeError("defect"), asyncio.CancelledError(), TransportBroken("reset")])
async def test_receiving_that_ends_takes_the_link_down_and_up_again(error: BaseException) -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.transport.break_down(error)
        await bench.until(lambda link: not link.ready, 1.0)
        assert bench.link.evidence is Evidence.REGISTERED
        await bench.up(1.0)
        assert len(bench.radio.drivers) == 1


async def test_steps_that_never_end_are_limited() -> None:
    radio = Radio(takes=1e9)
    timing = LinkTiming(open_limit=3.0, close_limit=1.0)
    async with Bench(radio, timing=timing) as bench:
        await asyncio.sleep(60)
        assert len(radio.times("open")) > 3
        radio.takes = 0.1
        await bench.up()


async def test_the_first_cause_of_a_loss_is_the_one_that_counts() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.transport.break_down(PortLost("consequence"))  # heard by the receiving task, one step later
        bench.radio.driver.announce(RadioStatus(Evidence.REGISTERED, "carrier lost"))
        await bench.up(1.0)
        assert [change.cause for change in bench.listener.changes if change.cause == "consequence"] == []
        assert len(bench.radio.drivers) == 1


async def test_a_late_failure_of_an_old_transport_harms_nobody() -> None:
    async with Bench() as bench:
        await bench.up()
        old = bench.radio.transport
        bench.radio.takes = 5.0
        sending = asyncio.create_task(bench.link.send(PACKET))
        await asyncio.sleep(0)
        old.send_fails = TransportBroken("too late")
        bench.radio.takes = 0.1
        bench.radio.carrier(Evidence.SIM)
        await bench.up(2.0)
        with pytest.raises(TransportBroken, match="too late"):
            await sending
        assert bench.link.ready
        assert len(bench.radio.transports) == 2


async def test_words_of_an_old_driver_harm_nobody() -> None:
    async with Bench() as bench:
        await bench.up()
        old = bench.radio.driver
        bench.radio.transport.break_down(PortLost("vanished"))
        await bench.until(lambda link: not link.ready)
        await bench.up(10.0)
        assert bench.radio.driver is not old
        old.announce(RadioStatus(Evidence.NONE, "late"))
        assert bench.link.ready
        assert old._status_callbacks == []


# --- attaching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 300.0, 7200.0])
async def test_retry_after_is_honoured(seconds: float) -> None:
    async with Bench(Radio(attach_fails=[AttachFailed("congestion", seconds)])) as bench:
        await bench.up()
        first, second = bench.radio.times("attach")
        assert second - first >= seconds
        assert second - first <= seconds + 3
        assert len(bench.radio.times("open")) == 1


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -5.0, 1e15])
async def test_a_senseless_retry_after_is_bounded(seconds: float) -> None:
    async with Bench(Radio(attach_fails=[AttachFailed("congestion", seconds)])) as bench:
        await bench.up(86_402)


async def test_waits_for_the_network_do_not_count_for_the_ladder() -> None:
    async with Bench(Radio(attach_fails=[AttachFailed("congestion", 30.0)] * 100)) as bench:
        await bench.up()
        assert not set(bench.radio.names()) & set(RUNGS)
        assert len(bench.radio.times("attach")) == 101


async def test_a_denied_registration_is_not_repeated_soon() -> None:
    async with Bench(Radio(attach_fails=[RegistrationDenied("illegal MS (3)")] * 3)) as bench:
        await bench.up()
        gaps = [later - earlier for earlier, later in itertools.pairwise(bench.radio.times("attach"))]
        assert all(gap >= 150 for gap in gaps)


async def test_back_off_grows_with_jitter_and_stays_below_its_limit() -> None:
    async with Bench(Radio(attach_always=AttachFailed("no service"), rungs=())) as bench:
        await asyncio.sleep(86_400)
        gaps = [later - earlier for earlier, later in itertools.pairwise(bench.radio.times("attach"))]
        assert gaps[0] < 3
        assert max(gaps) <= 301
        assert min(gaps[12:]) >= 150
        assert len({round(gap, 3) for gap in gaps[12:]}) > 50


async def test_after_a_refused_attach_the_radio_says_how_far_it_got() -> None:
    radio = Radio(attach_fails=[AttachFailed("no service"), CommandFailed("CME", 30)], evidence=Evidence.SIM)
    async with Bench(radio) as bench:
        await asyncio.sleep(0.5)
        assert bench.link.evidence is Evidence.SIM
        assert bench.link.detail == "no service"
        assert bench.radio.driver.is_open


async def test_a_refused_attach_of_a_radio_gone_silent_is_a_hung_radio() -> None:
    radio = Radio(attach_fails=[AttachFailed("no service")], status_fails=[RadioSilent("nothing")])
    async with Bench(radio) as bench:
        await bench.up()
        assert bench.radio.names()[:4] == ["open", "attach", "status", "reopen port"]


# --- carrier ----------------------------------------------------------------------------------------------------------


async def test_carrier_loss_is_told_at_once_and_after_readiness_is_gone() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.link.prove()
        seen: list[tuple[bool, Evidence]] = []
        bench.listener.hook = lambda link: seen.append((link.ready, link.evidence))
        bench.radio.driver.announce(RadioStatus(Evidence.SIM, "carrier lost"))
        assert seen == [(False, Evidence.SIM)]
        assert bench.listener.changes[-1].cause == "carrier lost"


async def test_carrier_that_comes_back_is_used_without_back_off() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.attach_always = AttachFailed("no carrier", 3600.0)
        bench.radio.carrier(Evidence.RADIO)
        await asyncio.sleep(100)
        assert bench.link.state is LinkState.WAITING
        bench.radio.attach_always = None
        bench.radio.carrier(Evidence.REGISTERED)
        await asyncio.sleep(1)
        assert bench.link.state is LinkState.WAITING, "the network's own back-off was broken"
        bench.radio.carrier(Evidence.BEARER)
        await bench.up(0.5)


async def test_a_radio_that_registers_again_is_attached_before_its_time() -> None:
    radio = Radio(attach_always=AttachFailed("no service"), evidence=Evidence.SIM, rungs=())
    async with Bench(radio) as bench:
        await asyncio.sleep(3600)
        await bench.until(lambda link: link.state is LinkState.FAULTY)
        await asyncio.sleep(1)
        radio.attach_always = None
        radio.carrier(Evidence.REGISTERED)
        await bench.up(0.5)


async def test_a_flapping_carrier_is_not_followed_faster_than_allowed() -> None:
    async with Bench() as bench:
        await bench.up()
        begun = bench.clock.monotonic()
        while bench.clock.monotonic() - begun < 600:
            bench.radio.carrier(Evidence.SIM)
            await asyncio.sleep(0.05)
            bench.radio.carrier(Evidence.BEARER)
            await asyncio.sleep(0.45)
        assert len(bench.radio.times("attach")) < 600 / 60 * 3 + 60
        await bench.up(301)
        assert not set(bench.radio.names()) & set(RUNGS)


async def test_carrier_lost_while_the_transport_opens() -> None:
    async with Bench() as bench:
        await bench.until(lambda link: link.state is LinkState.STARTING)
        bench.radio.carrier(Evidence.SIM)
        await bench.up(1.0)
        assert len(bench.radio.transports) == 2


async def test_transports_that_break_at_once_end_on_the_ladder() -> None:
    radio = Radio(start_always=TransportBroken("no route"))
    async with Bench(radio) as bench:
        await bench.until(lambda link: "radio off/on" in radio.names())
        assert len(radio.times("start")) == 4
        assert "reopen port" not in radio.names()
        await bench.until(lambda link: link.faulty)
        radio.start_always = None
        await bench.up(301)


# --- doubt and watch --------------------------------------------------------------------------------------------------


async def test_doubt_with_a_healthy_radio_leaves_the_link_up_and_associated() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.link.prove()
        asked = len(bench.radio.times("status"))
        bench.link.doubt("timeout")
        assert bench.listener.changes[-1].new is Evidence.BEARER
        assert bench.listener.changes[-1].cause == "doubted: timeout"
        await asyncio.sleep(0.5)
        assert len(bench.radio.times("status")) == asked + 1
        assert bench.link.ready
        bench.link.prove()
        assert bench.link.evidence is Evidence.REACHABLE


async def test_doubt_finds_a_detached_radio() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.evidence = Evidence.REGISTERED
        bench.link.doubt("timeout")
        await bench.until(lambda link: not link.ready, 1.0)
        await bench.up(1.0)
        assert len(bench.radio.drivers) == 1


async def test_doubt_finds_a_hung_radio_within_its_own_limit() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.takes = 1e9
        bench.link.doubt("timeout")
        assert await bench.until(lambda link: not link.ready) < 5.2
        assert bench.link.evidence is Evidence.PORT


async def test_many_doubts_at_once_ask_the_radio_once() -> None:
    async with Bench() as bench:
        await bench.up()
        asked = len(bench.radio.times("status"))
        for _ in range(100):
            bench.link.doubt("timeout")
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.5)
        assert len(bench.radio.times("status")) == asked + 1
        assert bench.link.ready


async def test_lasting_doubts_attach_again_then_climb_but_never_give_up() -> None:
    async with Bench() as bench:
        await bench.up()
        begun = bench.clock.monotonic()
        while bench.clock.monotonic() - begun < 3 * 86_400:
            bench.link.doubt("no answer")
            await asyncio.sleep(59)
        attaches = [at - begun for at in bench.radio.times("attach")][1:]
        assert 60 <= attaches[0] < 125
        assert attaches[1] - attaches[0] >= 120
        rungs = [name for name in bench.radio.names() if name in RUNGS]
        assert rungs[:6] == RUNGS[2:] + RUNGS[2:4]
        assert len(attaches) < 25, "a service that is down for days costs few attaches"
        assert not bench.link.faulty
        assert bench.link.ready


async def test_no_reset_is_tried_for_a_network_that_is_out_of_reach() -> None:
    """LoRaWAN without a gateway in reach: attached again now and then, and its session is left to it."""
    async with Bench() as bench:
        await bench.up()
        bench.radio.transports[-1].set_hints(unit=Unit.AIRTIME)
        begun = bench.clock.monotonic()
        while bench.clock.monotonic() - begun < 3 * 86_400:
            bench.link.doubt("its network accepted nothing")
            await asyncio.sleep(59)
            bench.radio.transports[-1].set_hints(unit=Unit.AIRTIME)
        assert 3 < len(bench.radio.times("attach")) < 25
        assert not [name for name in bench.radio.names() if name in RUNGS]
        assert bench.link.ready


async def test_the_watch_finds_a_hung_standby_radio_without_sending() -> None:
    async with Bench(Radio(cured_by="modem reset")) as bench:
        await bench.up()
        await asyncio.sleep(3600)
        assert 230 < len(bench.radio.times("status")) < 250
        bench.radio.hung = True
        assert await bench.until(lambda link: not link.ready) < 15 + 11
        assert bench.radio.sent == []
        await bench.up()


async def test_the_watch_forgives_one_lost_answer() -> None:
    async with Bench() as bench:
        await bench.up()
        for error in (RadioSilent("lost"), CommandFailed("busy"), RuntimeError("defect")):
            bench.radio.status_fails.append(error)
            await asyncio.sleep(31)
        assert bench.link.ready
        assert len(bench.radio.transports) == 1


async def test_the_watch_finds_a_lost_bearer_that_nobody_announced() -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.evidence = Evidence.REGISTERED
        await bench.until(lambda link: not link.ready, 16)
        await bench.up(1)
