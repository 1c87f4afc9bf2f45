"""Supervision asks an SBD modem how it is, whatever the modem is busy with: no bytes into a session, no silence of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from rataccess.config.model import LinkSettings
from rataccess.driver import Evidence, RadioMessage
from rataccess.errors import TransportBroken
from rataccess.link import Link
from rataccess.objects import Service
from rataccess.tariff import Unit
from rataccess.transport import Handover, Packet
from rataccess_transports.sbd import SbdTransport
from tests.link.fakes import ENDPOINTS, FakeMemory, Listener
from tests.satellite.sbd_script import HEALTHY, SETTINGS, ScriptedSbd, driver

pytestmark = pytest.mark.looptime


def slowly(script: ScriptedSbd, command: str, seconds: float) -> None:
    """Answered as usual, after so long."""
    usual = script.answers.get(command, "")
    lines = usual.splitlines() if isinstance(usual, str) else []

    def later(text: str) -> None:
        asyncio.get_running_loop().call_later(seconds, lambda: script.say(*lines, "OK"))

    script.answers[command] = later


async def test_nothing_waits_behind_a_session() -> None:
    """Questions come at every moment of a message's way, while each command takes its time and the session 100 s."""
    script = ScriptedSbd()
    radio = driver(script)
    await radio.open()
    await radio.attach()
    for command in {*HEALTHY, *SETTINGS} - {"AT+SBDIX"}:
        slowly(script, command, 0.7)
    slowly(script, "AT+SBDIX", 100.0)
    asked: list[float] = []

    async def ask() -> None:
        begun = asyncio.get_running_loop().time()
        assert (await radio.status()).evidence is Evidence.BEARER
        await radio.network_time()
        asked.append(asyncio.get_running_loop().time() - begun)

    sending = asyncio.create_task(radio.send_message(RadioMessage(b"up")))
    asking = []
    while not sending.done():
        asking.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.35)
    assert isinstance(await sending, Handover)
    await asyncio.gather(*asking)
    session = script.asked.index("AT+SBDIX")
    assert script.asked[session + 1 :].count("AT+CSQF") <= 3
    assert max(asked) < 10
    await radio.aclose()


@asynccontextmanager
async def linked(script: ScriptedSbd) -> AsyncIterator[tuple[Link, Listener]]:
    listener = Listener()
    first = driver(script)
    link = Link(
        "sat",
        LinkSettings(driver="sbd", transport="sbd"),
        endpoints=ENDPOINTS,
        listener=listener,
        clock=first._context.clock,
        memory=FakeMemory(),
        random=Random(1),
        make_driver=lambda: driver(script),
        make_transport=lambda radio, bearer: SbdTransport(radio),  # type: ignore[arg-type]
        unit=Unit.CREDIT,
    )
    link.start()
    try:
        async with asyncio.timeout(60):
            while not link.ready:
                await asyncio.sleep(0.5)
        yield link, listener
    finally:
        await link.aclose()


async def test_a_modem_that_waits_for_a_lost_byte_is_not_silent() -> None:
    """It gives up after 60 s and says so (result 1); the link stays up meanwhile, and the message goes."""
    script = ScriptedSbd()
    async with linked(script) as (link, listener):
        lost = True

        def take(byte: int) -> None:
            nonlocal lost
            if lost and script._payload == 1:
                lost = False
                script._payload = 0
                script._line = bytearray()
                asyncio.get_running_loop().call_later(60, script.say, "1", "OK")
            else:
                ScriptedSbd._take_payload(script, byte)

        script._take_payload = take  # type: ignore[method-assign]
        begun = asyncio.get_running_loop().time()
        handover = await link.send(Packet(b"\x20record", Service.SOLUTION))
        assert isinstance(handover, Handover)
        assert asyncio.get_running_loop().time() - begun > 55
        assert link.ready
        assert listener.recoveries == []


async def test_supervision_through_a_long_session() -> None:
    script = ScriptedSbd()
    async with linked(script) as (link, listener):
        slowly(script, "AT+SBDIX", 250.0)
        sending = asyncio.create_task(link.send(Packet(b"\x20record", Service.SOLUTION)))
        while "AT+SBDIX" not in script.asked:
            await asyncio.sleep(0.1)
        before = len(script.asked)
        for _ in range(2):
            await asyncio.sleep(100)
            link.doubt("nobody answers")
        await asyncio.sleep(1)
        assert len(script.asked) == before
        assert script._line == b""
        assert isinstance(await sending, Handover)
        assert listener.recoveries == []


async def test_a_link_that_is_stopped_in_a_session() -> None:
    """The caller hears of it, and the modem is left alone; what the next driver does is in `test_broken_everywhere`."""
    script = ScriptedSbd()
    async with linked(script) as (link, _):
        slowly(script, "AT+SBDIX", 30.0)
        sending = asyncio.create_task(link.send(Packet(b"\x20record", Service.SOLUTION)))
        while "AT+SBDIX" not in script.asked:
            await asyncio.sleep(0.1)
        before = len(script.asked)
        await link.aclose()
        with pytest.raises(TransportBroken, match="closed"):
            await sending
        assert len(script.asked) == before
