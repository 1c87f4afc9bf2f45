"""A link that comes up, carries packets, is held and closed."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest

from rataccess.config.model import BudgetSettings
from rataccess.driver import Evidence
from rataccess.errors import Closed, NotNow, PacketTooLarge, RadioSilent, ServiceRefused, TransportBroken
from rataccess.link import Link, LinkState
from rataccess.objects import Service
from rataccess.transport import Packet
from tests.link.fakes import PACKET, Bench, Radio

pytestmark = pytest.mark.looptime(noop_cycles=0)


async def test_climbs_the_evidence_ladder_and_carries_packets() -> None:
    async with Bench() as bench:
        await bench.up(1.0)
        assert [change.new for change in bench.listener.changes] == [Evidence.RADIO, Evidence.BEARER, Evidence.BEARER]
        assert bench.link.state is LinkState.UP
        handover = await bench.link.send(PACKET)
        assert handover is not None
        assert bench.radio.sent == [PACKET]
        bench.radio.transport.inbox.put_nowait(Packet(b"answer", Service.SOLUTION))
        await asyncio.sleep(0.1)
        assert bench.listener.packets == [Packet(b"answer", Service.SOLUTION)]
        assert bench.listener.changes[-1].new is Evidence.BEARER
        bench.link.prove()
        assert repr(bench.link) == "<Link lte REACHABLE up: a service answered>"
    assert bench.link.evidence is Evidence.NONE


async def test_evidence_is_told_with_time_and_cause() -> None:
    async with Bench() as bench:
        await bench.up()
        await asyncio.sleep(100)
        bench.link.prove()
        change = bench.listener.changes[-1]
        assert (change.old, change.new, change.at) == (Evidence.BEARER, Evidence.REACHABLE, bench.clock.monotonic())
        assert bench.link.changed_at == change.at
        told = len(bench.listener.changes)
        bench.link.prove()
        assert len(bench.listener.changes) == told


async def test_send_before_up_is_refused_at_once() -> None:
    bench = Bench()
    with pytest.raises(TransportBroken, match="not up"):
        await bench.link.send(PACKET)
    bench.link.prove()
    bench.link.doubt("nothing")
    assert bench.link.evidence is Evidence.NONE
    await bench.link.aclose()


@pytest.mark.parametrize(
    "error", [PacketTooLarge(2000, 1200), NotNow("duty cycle", 3.0), ServiceRefused("solution", "x")]
)
async def test_what_the_transport_survives_passes_through(error: Exception) -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.transport.send_fails = error
        with pytest.raises(type(error)):
            await bench.link.send(PACKET)
        assert bench.link.ready


@pytest.mark.parametrize(
    ("asked", "told"), [(0.0, 0.0), (-5.0, 0.0), (3.5, 3.5), (1e30, 86_400.0), (math.inf, 86_400.0), (math.nan, 0.0)]
)
async def test_no_wait_is_endless_or_nonsense(asked: float, told: float) -> None:
    async with Bench() as bench:
        await bench.up()
        bench.radio.transport.send_fails = NotNow("duty cycle", asked)
        with pytest.raises(NotNow, match="duty cycle; try again in") as caught:
            await bench.link.send(PACKET)
        assert caught.value.retry_after == told
        assert bench.link.ready


@pytest.mark.parametrize(
    "error", [TransportBroken("reset"), RadioSilent("no answer"), RuntimeError("defect"), Closed("closed")]
)
async def test_any_other_failure_of_send_takes_the_link_down_at_once(error: Exception) -> None:
    async with Bench() as bench:
        await bench.up()
        seen: list[bool] = []
        bench.listener.hook = lambda link: seen.append(link.ready)
        bench.radio.transport.send_fails = error
        with pytest.raises(TransportBroken):
            await bench.link.send(PACKET)
        assert not bench.link.ready
        assert seen == [False]
        with pytest.raises(TransportBroken):
            await bench.link.send(PACKET)
        await bench.up(60)
        assert len(bench.radio.transports) == 2


async def test_refusals_while_receiving_are_told_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    async with Bench() as bench:
        await bench.up()
        for name in ("management", "nonsense", "solution"):
            bench.radio.transport.inbox.put_nowait(ServiceRefused(name, "port unreachable"))
        await asyncio.sleep(0.1)
        assert bench.listener.refused == [Service.MANAGEMENT, Service.SOLUTION]
        assert bench.link.ready
        assert "nonsense" in caplog.text


async def test_hints_carry_the_configured_price() -> None:
    budget = BudgetSettings(bytes=1000, billing_quantum=50)
    async with Bench(cost_per_byte=0.25, budget=budget) as bench:
        assert bench.link.hints is None
        await bench.up()
        hints = bench.link.hints
        assert hints is not None
        assert (hints.mtu, hints.cost_per_byte, hints.billing_quantum) == (1200, 0.25, 50)
        told = bench.listener.hints
        bench.radio.transport.set_hints(mtu=600)
        assert bench.link.hints is not None
        assert bench.link.hints.mtu == 600
        assert bench.listener.hints == told + 1


async def test_a_cold_link_opens_nothing_until_released() -> None:
    async with Bench(hot=False) as bench:
        await asyncio.sleep(1000)
        assert bench.radio.done == []
        assert bench.link.state is LinkState.IDLE
        bench.link.release()
        await bench.up(1.0)
        bench.link.hold()
        assert not bench.link.ready
        await asyncio.sleep(1)
        assert bench.link.state is LinkState.IDLE
        assert bench.radio.all_closed()
        bench.link.release()
        bench.link.hold()
        bench.link.release()
        await bench.up(1.0)
        bench.link.hold()
        bench.link.release()
        assert not bench.link.ready
        await bench.up(1.0)


async def test_hold_during_a_step_waits_for_it_and_repairs_nothing() -> None:
    async with Bench(Radio(hung=True)) as bench:
        await bench.until(lambda link: link.state is LinkState.OPENING)
        bench.link.hold()
        await asyncio.sleep(600)
        assert bench.link.state is LinkState.IDLE
        assert bench.radio.names() == ["open"]


async def test_a_failing_listener_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def hook(link: Link) -> None:
        raise RuntimeError("listener defect")

    async with Bench() as bench:
        bench.listener.hook = hook
        await bench.up(1.0)
    assert "listener defect" in caplog.text
    assert {record.levelno for record in caplog.records} >= {logging.ERROR}


async def test_start_and_aclose_may_be_called_again() -> None:
    bench = Bench()
    bench.link.start()
    bench.link.start()
    await bench.up(1.0)
    assert len(bench.radio.drivers) == 1
    await asyncio.gather(bench.link.aclose(), bench.link.aclose())
    await bench.link.aclose()
    assert bench.radio.all_closed()
    with pytest.raises(Closed):
        bench.link.start()
