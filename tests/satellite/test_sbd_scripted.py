"""The SBD driver's dialogues with a modem from a script, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Evidence, Forgetful, KnowsTime, MovesMessages, RadioMessage, Rationed
from rataccess.errors import (
    AttachFailed,
    Closed,
    NotNow,
    ObjectError,
    PacketTooLarge,
    RadioSilent,
    TransportBroken,
    WrongRadio,
)
from rataccess.tariff import Unit
from rataccess_drivers.satellite import sbd_codec as codec
from rataccess_drivers.satellite.sbd_codec import Verdict
from tests.satellite.sbd_script import ScriptedSbd, driver, read_block

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")


def now() -> float:
    return asyncio.get_running_loop().time()


async def up(script: ScriptedSbd, memory: Forgetful | None = None, **options: Any) -> Any:
    modem = driver(script, memory, **options)
    await modem.open()
    await modem.attach()
    return modem


async def test_one_message_is_one_session() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    handover = await modem.send_message(HELLO)
    assert handover.reference == "7"
    assert script.messages == [b"hello"]
    assert script.count("AT+SBDIX") == 1
    assert script.asked[:5] == ["AT", "ATE1", "AT", "AT&D0", "AT&K0"]
    await modem.aclose()


async def test_what_it_is_and_what_it_costs() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    assert all(isinstance(modem, kind) for kind in (MovesMessages, KnowsTime, Rationed))
    hints = modem.message_hints
    assert (hints.rat, hints.mtu, hints.unit, hints.tariff.units(51)) == ("sbd", 340, Unit.CREDIT, 2)
    assert hints.acknowledges_handover
    assert (await modem.status()).evidence is Evidence.BEARER
    with pytest.raises(PacketTooLarge):
        await modem.send_message(RadioMessage(bytes(341)))
    with pytest.raises(ObjectError):
        await modem.send_message(RadioMessage(b""))
    assert script.count("AT+SBDIX") == 0
    await modem.aclose()


async def test_a_silent_and_a_foreign_modem() -> None:
    script = ScriptedSbd()
    script.dead = True
    with pytest.raises(RadioSilent):
        await driver(script).open()
    script.dead = False
    script.answers["AT+GSN"] = "ERROR"
    with pytest.raises(WrongRadio):
        await driver(script).open()
    assert not script.port.in_use


@pytest.mark.parametrize("code", [*range(66), 99])
async def test_every_mo_status(code: int) -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIX"] = f"+SBDIX: {code}, 7, 0, 0, 0, 0"
    verdict = codec.mo_status(code).verdict
    if verdict is Verdict.DELIVERED:
        assert (await modem.send_message(HELLO)).reference == "7"
        assert code <= 4
    elif verdict is Verdict.MESSAGE:
        with pytest.raises(PacketTooLarge):
            await modem.send_message(HELLO)
    elif verdict is Verdict.BARRED:
        with pytest.raises(TransportBroken):
            await modem.send_message(HELLO)
        await modem.aclose()
        return
    else:
        with pytest.raises(NotNow) as caught:
            await modem.send_message(HELLO)
        assert (caught.value.retry_after >= 180) == (verdict is Verdict.LATER)
    if verdict is not Verdict.DELIVERED:
        assert script.count("AT+SBDD0") == 1  # nothing is left for the next session to send
    assert ("AT*R1" in script.asked[-4:]) == (verdict is Verdict.RADIO_OFF)
    await modem.aclose()


async def test_a_barred_modem_says_so_at_the_next_attach() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIX"] = "+SBDIX: 15, 7, 0, 0, 0, 0"
    with pytest.raises(TransportBroken, match="denies access"):
        await modem.send_message(HELLO)
    with pytest.raises(AttachFailed) as caught:
        await modem.attach()
    assert caught.value.retry_after == 3600
    await modem.attach()
    await modem.aclose()


async def test_traffic_management_says_how_long() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers.update({"AT+SBDIX": "+SBDIX: 38, 7, 0, 0, 0, 0", "AT+SBDLOE": "+SBDLOE:0,900"})
    with pytest.raises(NotNow) as caught:
        await modem.send_message(HELLO)
    assert caught.value.retry_after == 900
    assert modem.message_hints.next_slot == 900
    await asyncio.sleep(901)
    assert modem.message_hints.next_slot is None
    await modem.aclose()


async def test_traffic_management_never_lasts_for_ever() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers.update({"AT+SBDIX": "+SBDIX: 38, 7, 0, 0, 0, 0", "AT+SBDLOE": "+SBDLOE:0,9999999999"})
    with pytest.raises(NotNow) as caught:
        await modem.send_message(HELLO)
    assert caught.value.retry_after == 86_400
    await modem.aclose()


async def test_the_ladder_of_pauses() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIX"] = "+SBDIX: 18, 7, 0, 0, 0, 0"
    pauses = []
    for _ in range(6):
        with pytest.raises(NotNow) as caught:
            await modem.send_message(HELLO)
        pauses.append(caught.value.retry_after)
        sessions = script.count("AT+SBDIX")
        with pytest.raises(NotNow):
            await modem.send_message(HELLO)
        assert script.count("AT+SBDIX") == sessions  # not before its time
        await asyncio.sleep(pauses[-1] + 0.1)
    assert all(pause <= most for pause, most in zip(pauses, (5, 5, 30, 30, 300.1, 300.1), strict=True))
    assert pauses[-2:] == pytest.approx([300, 300])
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 7, 0, 0, 0, 0"
    await modem.send_message(HELLO)
    await modem.aclose()


async def test_no_session_without_sky() -> None:
    script = ScriptedSbd()
    modem = await up(script, sky_patience=60)
    script.answers["AT+CSQF"] = "+CSQF:1"
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    script.say("+CIEV:0,0", "+CIEV:1,0")
    heard: list[Any] = []
    modem.on_status(heard.append)
    await asyncio.sleep(59)
    assert heard == []
    assert modem.message_hints.next_slot is not None
    await asyncio.sleep(2)
    assert [each.evidence for each in heard] == [Evidence.RADIO]
    script.answers.update({"AT+CSQ": "+CSQ:0", "AT+CSQF": "+CSQF:0"})
    waiting = asyncio.create_task(modem.attach())
    await asyncio.sleep(100)
    assert not waiting.done()
    script.say("+CIEV:1,1", "+CIEV:0,3")
    await asyncio.sleep(1)
    assert waiting.done()
    assert script.count("AT+SBDIX") == 0
    await modem.aclose()


async def test_attach_gives_up_without_sky() -> None:
    script = ScriptedSbd()
    script.answers["AT+CSQ"] = "+CSQ:0"
    modem = driver(script, sky_timeout=100.0)
    await modem.open()
    with pytest.raises(AttachFailed, match="open sky"):
        await modem.attach()
    await modem.aclose()


async def test_wrong_sum_is_written_again() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.write_results = ["2", "1"]
    assert await modem.send_message(HELLO)
    assert script.messages == [b"hello"]
    script.write_results = ["2", "2", "2"]
    with pytest.raises(NotNow, match="sum"):
        await modem.send_message(HELLO)
    assert script.count("AT+SBDIX") == 1
    await modem.aclose()


TRICKY = b"\r\nOK\r\n\r\nSBDRING\r\n+SBDIX: 0, 1, 0, 0, 0, 0\r\nERROR\r\n"


async def test_a_message_that_looks_like_lines() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers.update({"AT+SBDIX": "+SBDIX: 0, 7, 1, 3, 57, 0", "AT+SBDRB": read_block(TRICKY)})
    await modem.send_message(HELLO)
    assert (await modem.receive_message()).data == TRICKY
    assert script.count("AT+SBDRB") == 1
    await modem.aclose()


@pytest.mark.parametrize("bad", [b"\x00\x05hel\r\nOK\r\n", read_block(b"hello", sum_off=1), b"", b"\xff\xff\r\nOK\r\n"])
async def test_a_spoilt_message_is_read_again(bad: bytes) -> None:
    script = ScriptedSbd()
    modem = await up(script)
    replies: Any = [bad, bad, read_block(b"good")]
    script.answers.update({"AT+SBDIX": "+SBDIX: 0, 7, 1, 3, 4, 0", "AT+SBDRB": replies})
    await modem.send_message(HELLO)
    assert (await modem.receive_message()).data == b"good"
    await modem.aclose()


async def test_no_session_overwrites_an_unread_message() -> None:
    script, memory = ScriptedSbd(), Forgetful()
    modem = await up(script, memory)
    script.answers.update({"AT+SBDIX": "+SBDIX: 0, 7, 1, 3, 4, 0", "AT+SBDRB": read_block(b"late", sum_off=1)})
    await modem.send_message(HELLO)
    with pytest.raises(TransportBroken, match="cannot be read"):
        await modem.send_message(RadioMessage(b"second"))
    assert script.count("AT+SBDIX") == 1
    await modem.aclose()
    script.answers.update({"AT+SBDSX": "+SBDSX: 0, 8, 1, 3, 0, 0", "AT+SBDRB": read_block(b"late")})
    modem = await up(script, memory)
    assert (await modem.receive_message()).data == b"late"
    await modem.aclose()


async def test_a_received_message_is_delivered_once_across_restarts() -> None:
    script, memory = ScriptedSbd(), Forgetful()
    script.answers.update({"AT+SBDSX": "+SBDSX: 0, 7, 1, 3, 0, 0", "AT+SBDRB": read_block(b"once")})
    script.answers["AT+SBDD1"] = "1"  # the modem keeps it, whatever it is told
    modem = await up(script, memory)
    await modem.aclose()
    modem = await up(script, memory)
    assert (await modem.receive_message()).data == b"once"
    await modem.aclose()
    modem = await up(script, memory)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(modem.receive_message(), 100)
    await modem.aclose()
    with pytest.raises(Closed):
        await modem.receive_message()


async def test_a_ring_is_answered_and_the_queue_emptied() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    said: Any = ["+SBDIX: 0, 8, 1, 4, 3, 1", "+SBDIX: 0, 9, 1, 5, 3, 0"]
    script.answers.update({"AT+SBDIXA": said[0], "AT+SBDIX": said[1]})
    blocks: Any = [read_block(b"one"), read_block(b"two")]
    script.answers["AT+SBDRB"] = blocks
    script.say("SBDRING")
    assert [(await modem.receive_message()).data for _ in range(2)] == [b"one", b"two"]
    assert (script.count("AT+SBDIXA"), script.count("AT+SBDIX")) == (1, 1)
    await asyncio.sleep(1)
    (allowance,) = modem.allowances()
    assert allowance.left == allowance.limit - 2
    await modem.aclose()


@pytest.mark.parametrize("how", [{"AT+CRIS": "+CRIS:000,001"}, {"AT+SBDSX": "+SBDSX: 0, 7, 0, -1, 1, 0"}])
async def test_a_ring_missed_is_answered_after_opening(how: dict[str, str]) -> None:
    script = ScriptedSbd()
    script.answers.update(how)
    script.answers.update({"AT+SBDIXA": "+SBDIX: 0, 8, 1, 4, 3, 0", "AT+SBDRB": read_block(b"one")})
    modem = await up(script)
    assert (await modem.receive_message()).data == b"one"
    await modem.aclose()


async def test_fetching_stops_where_the_day_s_credits_end() -> None:
    script, memory = ScriptedSbd(), Forgetful()
    script.answers.update({"AT+SBDIX": "+SBDIX: 0, 8, 1, 4, 3, 9", "AT+SBDSX": "+SBDSX: 0, 7, 0, -1, 0, 9"})
    script.answers["AT+SBDRB"] = read_block(b"one")
    modem = await up(script, memory, mailbox={"credits_a_day": 3})
    await asyncio.sleep(3600)
    assert script.count("AT+SBDIX") == 3
    await modem.aclose()
    modem = await up(script, memory, mailbox={"credits_a_day": 3})
    await asyncio.sleep(3600)
    assert script.count("AT+SBDIX") == 3
    await asyncio.sleep(86_400)
    assert script.count("AT+SBDIX") == 6
    await modem.aclose()


async def test_mail_is_looked_for_by_schedule() -> None:
    script = ScriptedSbd()
    modem = await up(script, mailbox={"check_every": 3600.0})
    await asyncio.sleep(3600 * 3 + 100)
    assert script.count("AT+SBDIX") == 3
    assert script.messages == []
    await modem.aclose()


async def test_nothing_is_written_while_a_session_is_open() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIX"] = None
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    asked = list(script.asked)
    assert (await modem.status()).evidence is Evidence.BEARER
    assert await modem.network_time() is None
    with pytest.raises(NotNow):
        await modem.send_message(RadioMessage(b"other"))
    script.say("+CIEV:0,3", "SBDRING")
    await asyncio.sleep(60)
    assert script.asked == asked
    script.answers["AT+SBDIXA"] = "+SBDIX: 0, 8, 0, 0, 0, 0"
    script.say("+SBDIX: 0, 7, 0, 0, 0, 0", "OK")
    await sending
    await modem.aclose()


async def test_a_frozen_session_breaks_the_transport() -> None:
    script, memory = ScriptedSbd(), Forgetful()
    modem = await up(script, memory)
    heard: list[Any] = []
    modem.on_status(heard.append)
    script.answers["AT+SBDIX"] = None
    began = now()
    with pytest.raises(TransportBroken):
        await modem.send_message(HELLO)
    assert 300 <= now() - began < 320
    assert heard[-1].evidence is Evidence.PORT
    with pytest.raises(TransportBroken):
        await modem.receive_message()
    script.answers["AT+SBDSX"] = "+SBDSX: 1, 7, 0, -1, 0, 0"
    await modem.attach()  # it lives again, and has the message still: set up anew
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 7, 0, 0, 0, 0"
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_a_modem_that_lost_its_power_in_a_session_leaves_it_open() -> None:
    """The MOMSN has not moved and the buffer is empty: nobody knows, and the very same message is not sent again."""
    script, memory = ScriptedSbd(), Forgetful()
    modem = await up(script, memory)
    script.answers["AT+SBDIX"] = None
    with pytest.raises(TransportBroken):
        await modem.send_message(HELLO)
    await modem.attach()
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 7, 0, 0, 0, 0"
    with pytest.raises(TransportBroken, match="may have this very message"):
        await modem.send_message(HELLO)
    assert await modem.send_message(RadioMessage(b"another"))
    await modem.aclose()


async def test_a_cancelled_caller_does_not_end_the_session() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIX"] = None
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(5)
    sending.cancel()
    await asyncio.wait([sending])
    script.say("+SBDIX: 0, 7, 0, 0, 0, 0", "OK")
    await asyncio.sleep(1)
    assert (await modem.send_message(HELLO)).reference == "7"
    assert script.messages == [b"hello"]
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 8, 0, 0, 0, 0"
    assert (await modem.send_message(HELLO)).reference == "8"  # what was told is a new message when it comes again
    await modem.aclose()


async def test_time_by_the_nearest_epoch() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    for epoch in codec.EPOCHS:
        wall = 1_767_225_600.0 + now()
        if epoch > 1.2e9:  # the first epoch's counter has rolled over since
            script.answers["AT-MSSTM"] = f"-MSSTM: {int((wall - epoch) / codec.TICK):08x}"
            assert await modem.network_time() == pytest.approx(wall, abs=1)
    script.answers["AT-MSSTM"] = "-MSSTM: no network service"
    assert await modem.network_time() is None
    await modem.aclose()


async def test_old_firmware_needs_the_time_before_a_session() -> None:
    script = ScriptedSbd()
    script.answers.update({"AT+CGMR": "Call Processor Version: TA11002", "AT-MSSTM": "-MSSTM: no network service"})
    modem = await up(script)
    with pytest.raises(NotNow, match="network service"):
        await modem.send_message(HELLO)
    script.answers["AT-MSSTM"] = "-MSSTM: 5fd2c1e0"
    assert await modem.send_message(HELLO)
    await modem.aclose()
