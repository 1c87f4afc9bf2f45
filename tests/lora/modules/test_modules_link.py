"""A LoRaWAN module under supervision: brought up, hung, cut, out of reach, and back without anybody's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from rataccess.config.model import LinkSettings
from rataccess.driver import Evidence
from rataccess.errors import NotNow, RataccessError
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.tariff import Unit
from rataccess.transport import Handover, Packet
from rataccess_transports.lorawan import LoraWanTransport
from tests.link.fakes import FakeMemory, Listener
from tests.lora.modules.virtual import World, world

pytestmark = pytest.mark.looptime

ALL = ["rak3172", "wio_e5", "rn2483"]


@asynccontextmanager
async def linked(kind: str, **options: Any) -> AsyncIterator[tuple[World, Link, Listener]]:
    async with world(kind) as made:
        listener = Listener()
        link = Link(
            "lora",
            LinkSettings(driver=kind, transport="lorawan"),
            endpoints={},
            listener=listener,
            clock=made.clock,
            memory=FakeMemory(),
            random=Random(1),
            make_driver=lambda: made.build(**options),
            make_transport=lambda driver, bearer: LoraWanTransport.create(
                driver=driver, bearer=bearer, endpoints={}, options=None, clock=made.clock
            ),
            unit=Unit.AIRTIME,
        )
        link.start()
        try:
            yield made, link, listener
        finally:
            await link.aclose()


async def until(condition: Callable[[], bool], limit: float = 86_400.0) -> float:
    """Virtual seconds until `condition`."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not condition():
        assert loop.time() - begun < limit
        await asyncio.sleep(5.0)
    return loop.time() - begun


@pytest.mark.parametrize("kind", ALL)
async def test_a_module_that_hangs_is_cut_from_its_supply_and_joins_again(kind: str) -> None:
    async with linked(kind, reset=4, power_switch=5) as (made, link, listener):
        await until(lambda: link.ready, 60)
        assert isinstance(await link.send(Packet(b"\0one", Service.SOLUTION)), Handover)
        assert link.hints is not None
        assert link.hints.compact
        made.module.hang()
        await until(lambda: not link.ready, 60)
        await until(lambda: link.ready, 600)
        assert listener.recoveries[-1][0] in ("reset line", "power cut")
        assert listener.recoveries[-1][2]
        assert isinstance(await link.send(Packet(b"\0two", Service.SOLUTION)), Handover)
        assert [uplink.data for uplink in made.known.uplinks] == [b"\0one", b"\0two"]


async def test_hours_without_a_gateway_cost_little_air_time() -> None:
    async with linked("rak3172") as (made, link, listener):
        made.gateway.online = False
        await asyncio.sleep(2 * 3600)
        assert link.evidence is Evidence.RADIO
        assert listener.recoveries == []
        joins = made.module.commands.count("AT+JOIN=1:0:8:0")
        assert 8 <= joins <= 30  # 36 s of air time at SF12 in the first hour, and as much in the ten that follow
        made.gateway.online = True
        await until(lambda: link.ready, 3600)
        assert isinstance(await link.send(Packet(b"\0up", Service.SOLUTION)), Handover)


@pytest.mark.parametrize("kind", ALL)
async def test_a_session_that_the_network_has_forgotten(kind: str) -> None:
    async with linked(kind, unacknowledged_limit=3) as (made, link, listener):
        await until(lambda: link.ready, 60)
        made.known.session = None
        sent = 0
        while link.ready:
            try:
                assert await link.send(Packet(bytes([0, sent]), Service.SOLUTION)) is None
            except NotNow as later:
                await asyncio.sleep(later.retry_after)
            except RataccessError:
                break
            sent += 1
        assert sent == 3
        await until(lambda: link.ready, 600)
        assert isinstance(await link.send(Packet(b"\0again", Service.SOLUTION)), Handover)
        assert len(made.known.nonces) == 2
        assert listener.recoveries == []


@pytest.mark.parametrize("kind", ALL)
async def test_an_uplink_whose_sender_has_gone_is_no_silence(kind: str) -> None:
    """The module is at it for half a minute more; it is not asked, and nothing is repaired."""
    async with linked(kind) as (made, link, listener):
        await until(lambda: link.ready, 60)
        made.module.device.retries = 7
        made.gateway.online = False
        sending = asyncio.create_task(link.send(Packet(b"\0gone", Service.SOLUTION)))
        await asyncio.sleep(1)
        sending.cancel()
        await asyncio.wait({sending})
        before = len(made.module.commands)
        link.doubt("no answer")
        await asyncio.sleep(8)
        assert len(made.module.commands) == before
        await asyncio.sleep(60)
        assert link.ready
        assert listener.recoveries == []
        made.gateway.online = True
        assert isinstance(await link.send(Packet(b"\0next", Service.SOLUTION)), Handover)
