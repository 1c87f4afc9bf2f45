"""The IMT driver's dialogues with a modem from a script, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Evidence, Forgetful, MovesMessages, RadioMessage
from rataccess.errors import AttachFailed, Closed, NotNow, PacketTooLarge, RadioSilent, TransportBroken
from rataccess_drivers.satellite.imt_transfer import FINAL_MO, Fate
from tests.satellite.imt_script import ScriptedImt, driver

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")
HIDDEN = {"constellation_visible": False, "signal_bars": 0}


async def up(script: ScriptedImt, memory: Forgetful | None = None, **options: Any) -> Any:
    modem = driver(script, memory, **options)
    await modem.open()
    await modem.attach()
    return modem


async def test_start_up_dance_and_a_message() -> None:
    script = ScriptedImt()
    modem = await up(script)
    assert script.asked[:4] == ["GET apiVersion", "GET apiVersion", "PUT apiVersion", "GET hwInfo"]
    assert script.bodies[2] == {"active_version": {"major": 1, "minor": 7, "patch": 0}}
    assert b'{"active_version": {"major": 1, "minor": 7, "patch": 0}}' in script.raw[2]  # blanks, or 407
    assert modem.identity["imei"] == "300258060000000"
    handover = await modem.send_message(HELLO)
    assert handover.reference == "1"
    assert script.messages == [b"hello"]
    status = await modem.status()
    assert all(isinstance(modem, kind) for kind in (MovesMessages,))
    assert (status.evidence, status.signal_dbm) == (Evidence.BEARER, -111)
    await modem.aclose()


async def test_through_inactive_to_active() -> None:
    script = ScriptedImt()
    script.answers["GET operationalState"] = (200, {"state": "firmware_upgrade", "reason": 3})
    modem = await up(script)
    asked = zip(script.asked, script.bodies, strict=True)
    states = [body["state"] for what, body in asked if what == "PUT operationalState"]
    assert states == ["inactive", "active"]
    await modem.aclose()
    script.answers["GET operationalState"] = (200, {"state": "inactive", "reason": 0})
    script.answers["PUT operationalState"] = (406, {})
    modem = await up(script)
    await modem.aclose()


async def test_a_long_message_goes_in_segments() -> None:
    script = ScriptedImt()
    script.segment = 50
    modem = await up(script, mtu=100_000)
    data = bytes(range(256)) * 20
    await modem.send_message(RadioMessage(data))
    assert script.messages == [data]
    with pytest.raises(PacketTooLarge):
        await modem.send_message(RadioMessage(bytes(100_001)))
    await modem.aclose()


@pytest.mark.parametrize("status", [*FINAL_MO, "a_status_of_next_year"])
async def test_every_final_status(status: str) -> None:
    script = ScriptedImt()
    modem = await up(script)
    script.final = status
    found = FINAL_MO.get(status, Fate.UNKNOWN)
    if found is Fate.DELIVERED:
        assert await modem.send_message(HELLO)
    elif found is Fate.BARRED:
        with pytest.raises(TransportBroken, match="activated"):
            await modem.send_message(HELLO)
        with pytest.raises(AttachFailed):
            await modem.attach()
    else:
        with pytest.raises(NotNow, match=status):
            await modem.send_message(HELLO)
        script.final = "mo_ack_received"
        await asyncio.sleep(301)
        if found is Fate.FAILED:
            assert await modem.send_message(HELLO)
        else:
            with pytest.raises(TransportBroken, match="may have this very message"):
                await modem.send_message(HELLO)
            assert await modem.send_message(RadioMessage(b"another"))
    await modem.aclose()


async def test_not_provisioned_says_what_to_do() -> None:
    script = ScriptedImt()
    script.answers["GET messageProvisioning"] = (418, {})
    modem = driver(script)
    await modem.open()
    with pytest.raises(AttachFailed, match="open sky"):
        await modem.attach()
    script.answers["GET messageProvisioning"] = (200, {"provisioning": [{"topic_id": 313}]})
    with pytest.raises(AttachFailed, match=r"\[313\]"):
        await modem.attach()
    await modem.aclose()


async def test_no_message_without_sky() -> None:
    script = ScriptedImt()
    modem = await up(script, sky_patience=30.0)
    heard: list[Any] = []
    modem.on_status(heard.append)
    visible, script.answers["GET constellationState"] = script.answers["GET constellationState"], (200, HIDDEN)
    script.say(299, "constellationState", HIDDEN)
    await asyncio.sleep(1)
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    await asyncio.sleep(40)
    assert [each.evidence for each in heard] == [Evidence.SIM]
    assert script.messages == []
    script.answers["GET constellationState"] = visible  # and the line that would have told was lost
    await modem.attach()
    script.say(299, "constellationState", HIDDEN)
    await asyncio.sleep(1)
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_one_message_at_a_time() -> None:
    script = ScriptedImt()
    script.stop_at = "final"
    modem = await up(script)
    first = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    with pytest.raises(NotNow):
        await modem.send_message(RadioMessage(b"second"))
    script.end()
    assert await first
    await modem.aclose()


async def test_received_messages() -> None:
    script = ScriptedImt()
    modem = await up(script)
    script.deliver(b"wrong", 1, crc_off=1)
    script.deliver(bytes(range(200)), 2)
    script.deliver(b"x", 3, piece=1)
    assert (await modem.receive_message()).data == bytes(range(200))
    assert (await modem.receive_message()).data == b"x"
    await modem.aclose()


async def test_a_restart_of_the_modem_breaks_the_transport() -> None:
    script = ScriptedImt()
    script.stop_at = "final"
    modem = await up(script)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    script.say(299, "bootInfo", {"image_type": "production"})
    with pytest.raises(TransportBroken, match="restarted"):
        await sending
    with pytest.raises(TransportBroken):
        await modem.receive_message()
    await modem.attach()
    with pytest.raises(TransportBroken, match="may have"):
        await modem.send_message(HELLO)
    assert script.messages == [b"hello"]
    await modem.aclose()


@pytest.mark.parametrize(
    ("stuck", "copies"), [("accept", 1), ("segment", 1), ("supplied", 0), ("final", 1)], ids=lambda each: str(each)
)
async def test_killed_in_the_middle(stuck: str, copies: int) -> None:
    """However far it got, the gateway never has two copies; where nobody can know, the error says so."""
    script, memory = ScriptedImt(), Forgetful()
    script.stop_at = stuck
    modem = await up(script, memory)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    await modem.aclose()
    with pytest.raises(Closed):
        await sending
    script.stop_at = ""
    modem = await up(script, memory)
    if stuck in ("supplied", "final"):
        with pytest.raises(NotNow, match="may still be sending"):
            await modem.send_message(HELLO)
        await asyncio.sleep(130)
        assert await modem.send_message(RadioMessage(b"second"))
        with pytest.raises(TransportBroken, match="may have"):
            await modem.send_message(HELLO)
    else:
        assert await modem.send_message(HELLO)
    assert script.messages.count(b"hello") == copies
    await modem.aclose()


async def test_the_end_of_a_message_is_heard_after_a_restart() -> None:
    script, memory = ScriptedImt(), Forgetful()
    script.stop_at = "final"
    modem = await up(script, memory)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    await modem.aclose()
    await asyncio.gather(sending, return_exceptions=True)
    modem = await up(script, memory)
    script.end()
    await asyncio.sleep(1)
    assert (await modem.send_message(HELLO)).reference == "1"
    assert script.messages == [b"hello"]
    await modem.aclose()


async def test_silence() -> None:
    script = ScriptedImt()
    script.dead = True
    with pytest.raises(RadioSilent):
        await driver(script).open()
    assert not script.port.in_use
    script.dead = False
    modem = await up(script)
    script.dead = True
    with pytest.raises(RadioSilent):
        await modem.status()
    with pytest.raises(TransportBroken):
        await modem.send_message(HELLO)
    await modem.aclose()
