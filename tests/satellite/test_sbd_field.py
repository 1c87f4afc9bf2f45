"""What SBD modems in the field do and one on a bench does not: left by others, cut answers, mail that never comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rataccess.driver import Evidence, RadioMessage
from rataccess.errors import NotNow
from rataccess.transport import Handover
from tests.satellite.rigs import Sbd
from tests.satellite.sbd_script import ScriptedSbd, driver, read_block

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")


async def up(script: ScriptedSbd, **options: Any) -> Any:
    modem = driver(script, **options)
    await modem.open()
    await modem.attach()
    return modem


@pytest.mark.parametrize(
    "left",
    [
        {"verbose": False},
        {"quiet": True},
        {"echo": False},
        {"echo": False, "verbose": False, "quiet": True, "flow": 3},
    ],
)
async def test_a_modem_as_somebody_left_it(left: dict[str, Any]) -> None:
    """Numbers for words, no answers at all, no echo, and flow control that nobody wired."""
    radio = Sbd()
    await asyncio.sleep(5)
    for name, value in left.items():
        setattr(radio.modem.core.profile, name, value)
    modem = radio.driver()
    await modem.open()
    await modem.attach()
    assert await modem.send_message(HELLO)
    await modem.aclose()
    await radio.aclose()


async def test_the_last_signal_under_its_other_name() -> None:
    """Handbooks print `+CSQ:` for both commands; a 9603N says `+CSQF:`."""
    script = ScriptedSbd()
    script.answers["AT+CSQF"] = "+CSQ:4"
    modem = await up(script)
    assert "signal 4" in (await modem.status()).detail
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_a_message_of_which_only_half_an_answer_told() -> None:
    """The gateway has done with it, and the next session would overwrite it."""
    script = ScriptedSbd()
    modem = await up(script)

    def session(text: str) -> str:
        script.answers["AT+SBDSX"] = "+SBDSX: 1, 8, 1, 23, 0, 0"
        return "+SBDIX: 0, 7, 1, 23, 5"

    script.answers.update({"AT+SBDIX": session, "AT+SBDRB": read_block(b"\x01down")})
    assert isinstance(await modem.send_message(HELLO), Handover)
    assert (await modem.receive_message()).data == b"\x01down"
    await modem.aclose()


async def test_a_message_that_nobody_told_of_is_fetched_before_the_next_session() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    order: list[str] = []

    def said(name: str, answer: str | bytes) -> Any:
        def answered(text: str) -> str | bytes:
            order.append(name)
            return answer

        return answered

    script.answers["AT+SBDSX"] = "+SBDSX: 0, 7, 1, 23, 0, 0"
    script.answers["AT+SBDRB"] = said("read", read_block(b"\x01down"))
    script.answers["AT+SBDIX"] = said("session", "+SBDIX: 0, 7, 0, 0, 0, 0")
    await modem.send_message(HELLO)
    assert order[:2] == ["read", "session"]
    assert (await modem.receive_message()).data == b"\x01down"
    await modem.aclose()


async def test_a_mailbox_look_with_a_cut_answer() -> None:
    """It is paid for, what it brought is there, and the link stays."""
    script = ScriptedSbd()
    modem = await up(script)

    def session(text: str) -> str:
        script.answers["AT+SBDSX"] = "+SBDSX: 0, 8, 1, 23, 0, 0"
        return "+SBDIX: 0, 7, 1"

    script.answers.update({"AT+SBDIXA": session, "AT+SBDIX": session, "AT+SBDRB": read_block(b"\x01down")})
    script.say("SBDRING")
    assert (await modem.receive_message()).data == b"\x01down"
    (allowance,) = modem.allowances()
    assert allowance.left == allowance.limit - 1
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 8, 0, 0, 0, 0"
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_a_mailbox_look_that_is_refused_costs_nothing() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.answers["AT+SBDIXA"] = "ERROR"
    script.say("SBDRING")
    await asyncio.sleep(200)
    (allowance,) = modem.allowances()
    assert allowance.left == allowance.limit
    assert 2 <= script.count("AT+SBDIXA") <= 6
    await modem.aclose()


async def test_an_ok_before_the_result_ends_no_session() -> None:
    """Whoever asks what came of it then ends the session, believes that nothing was sent, and pays twice."""
    script = ScriptedSbd()
    modem = await up(script)

    def over() -> None:
        script.answers["AT+SBDSX"] = "+SBDSX: 1, 8, 0, -1, 0, 0"
        script.say("+SBDIX: 0, 7, 0, 0, 0, 0", "OK")

    def session(text: str) -> None:
        script.say("OK")
        asyncio.get_running_loop().call_later(20, over)

    script.answers["AT+SBDIX"] = session
    asked = len(script.asked)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(19)
    assert script.asked[asked:][-1] == "AT+SBDIX"
    assert (await sending).reference == "7"
    await modem.aclose()


async def test_a_result_whose_head_was_spoilt_is_one_all_the_same() -> None:
    """What it says is not believed; the modem is asked what came of it, at once and not after minutes."""
    script = ScriptedSbd()
    modem = await up(script)

    def session(text: str) -> str:
        script.answers["AT+SBDSX"] = "+SBDSX: 1, 8, 1, 23, 0, 0"
        return "+SBDI\x18: 13, 7, 1, 23, 5, 0"

    script.answers.update({"AT+SBDIX": session, "AT+SBDRB": read_block(b"\x01down")})
    begun = asyncio.get_running_loop().time()
    assert (await modem.send_message(HELLO)).reference == "7"
    assert asyncio.get_running_loop().time() - begun < 5
    assert (await modem.receive_message()).data == b"\x01down"
    await modem.aclose()


async def test_mail_that_never_comes_does_not_empty_the_purse() -> None:
    """A message that is too large for the modem stays at the gateway for ever, and is counted in each answer."""
    script = ScriptedSbd()
    script.answers["AT+SBDIX"] = "+SBDIX: 1, 7, 0, 0, 0, 3"
    modem = await up(script)
    for _ in range(3):
        await modem.send_message(HELLO)
        await asyncio.sleep(1000)
    assert script.count("AT+SBDIX") == 3 + 1
    answers: Any = ["+SBDIX: 0, 9, 0, 0, 0, 4", "+SBDIX: 0, 9, 1, 23, 5, 0"]
    script.answers.update({"AT+SBDIX": answers, "AT+SBDRB": read_block(b"\x01down")})
    await modem.send_message(RadioMessage(b"more"))
    assert (await modem.receive_message()).data == b"\x01down"
    await modem.aclose()


async def test_mail_that_fails_on_its_way_is_asked_for_again_with_pauses() -> None:
    script = ScriptedSbd()
    script.answers["AT+SBDIX"] = "+SBDIX: 0, 7, 2, 0, 0, 1"
    modem = await up(script, mailbox={"credits_a_day": 8})
    await modem.send_message(HELLO)
    await asyncio.sleep(60)
    assert 3 <= script.count("AT+SBDIX") <= 6
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    script.answers.update({"AT+SBDIX": "+SBDIX: 0, 9, 1, 23, 5, 0", "AT+SBDRB": read_block(b"\x01down")})
    assert (await modem.receive_message()).data == b"\x01down"
    await modem.aclose()


async def test_a_weak_supply_is_given_time_to_charge() -> None:
    """On USB the super capacitor takes half a minute; a session before that ends in a brown-out."""
    radio = Sbd()
    radio.modem.core.timings = replace(radio.modem.core.timings, charge=28.0)
    radio.modem.controls.power_cut()
    await asyncio.sleep(3)
    modem = radio.driver(charge_time=30.0)
    await modem.open()
    await modem.attach()
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        while True:
            try:
                await modem.send_message(HELLO)
                break
            except NotNow as later:
                await asyncio.sleep(later.retry_after)
    assert radio.modem.controls.stats()["brown_outs"] == 0
    assert radio.up() == [b"hello"] * 3
    assert asyncio.get_running_loop().time() - begun > 85
    await modem.aclose()
    await radio.aclose()


async def test_a_hardware_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    script = ScriptedSbd()
    modem = await up(script)
    script.say("HARDWARE FAILURE: 2, 8")
    await asyncio.sleep(1)
    assert "the modem says HARDWARE FAILURE: 2, 8" in caplog.text
    script.answers["AT+SBDIX"] = "HARDWARE FAILURE: 2, 8\nERROR"
    with pytest.raises(NotNow):
        await modem.send_message(HELLO)
    await modem.aclose()


async def test_firmware_that_hangs_without_the_time_is_asked_for_it_first() -> None:
    script = ScriptedSbd()
    modem = await up(script)
    assert modem.identity.firmware.endswith("TA16005")
    await modem.send_message(HELLO)
    assert "AT-MSSTM" in script.asked[script.asked.index("AT+CSQF") : script.asked.index("AT+SBDIX")]
    await modem.aclose()


@pytest.mark.parametrize("wanted", [False, True])
async def test_no_session_that_nobody_counts(wanted: bool) -> None:
    """Automatic registration is a session of the modem's own."""
    script = ScriptedSbd()
    script.answers["AT+GSN"] = "ERROR"
    script.answers["AT+CGSN"] = "300234010753370"
    modem = await up(script, auto_register=wanted)
    assert f"AT+SBDAREG={int(wanted)}" in script.asked
    assert modem.identity.imei == "300234010753370"
    await modem.aclose()


@pytest.mark.parametrize("moment", [0.005, 0.03, 0.05, 0.07, 0.09, 0.11, 0.15, 0.2])
async def test_whoever_gives_up_while_a_message_is_written_leaves_no_half_of_it(moment: float) -> None:
    """A modem that waits for the rest takes the next commands for it, for up to a minute."""
    radio = Sbd()
    await asyncio.sleep(5)
    modem = radio.driver()
    await modem.open()
    await modem.attach()
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(moment)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert (await modem.status()).evidence is Evidence.BEARER
    await asyncio.sleep(40)
    assert (await modem.status()).evidence is Evidence.BEARER
    sent = len(radio.up())
    assert await modem.send_message(RadioMessage(b"another"))
    assert len(radio.up()) == sent + 1
    await modem.aclose()
    await radio.aclose()
