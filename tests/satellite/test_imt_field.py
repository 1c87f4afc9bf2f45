"""What 9704s in the field do and one on a bench does not: messages that would leave half an hour later, silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Evidence, Forgetful, RadioMessage
from rataccess.errors import Closed, NotNow, TransportBroken
from rataccess_drivers.gpio import LineSettings
from tests.satellite.imt_script import ScriptedImt, driver

pytestmark = pytest.mark.looptime

HELLO = RadioMessage(b"hello")


async def up(script: ScriptedImt, memory: Forgetful | None = None, **options: Any) -> Any:
    modem = driver(script, memory, **options)
    await modem.open()
    await modem.attach()
    return modem


@pytest.mark.parametrize("stuck", ["segment", "final"])
async def test_a_message_that_does_not_leave_in_time_is_taken_back(stuck: str) -> None:
    """The modem would keep it, and send it when its records have long gone another way.  The link is none the worse."""
    script = ScriptedImt()
    script.stop_at = stuck

    def cancel(body: dict[str, Any]) -> None:
        script.say(200, "messageOriginateStatus", {"topic_id": 244, "message_id": body["message_id"]})
        script.final = "message_cancelled_pre_transit"
        script.end()

    script._put_messageOriginateStatus = cancel  # type: ignore[attr-defined]
    modem = await up(script)
    with pytest.raises(NotNow, match="cancelled_pre_transit"):
        await modem.send_message(HELLO)
    assert (await modem.status()).evidence is Evidence.BEARER
    script.stop_at, script.final = "", "mo_ack_received"
    await asyncio.sleep(10)
    assert await modem.send_message(HELLO)
    await modem.aclose()


async def test_a_message_that_left_while_it_was_taken_back_is_handed_over() -> None:
    script = ScriptedImt()
    script.stop_at = "final"
    script.answers["PUT messageOriginateStatus"] = (200, {"topic_id": 244, "message_id": 1})
    modem = await up(script)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(545)
    assert script.bodies[script.asked.index("PUT messageOriginateStatus")] == {
        "topic_id": 244,
        "message_id": 1,
        "action": "cancel",
    }
    script.end()
    assert (await sending).reference == "1"
    await modem.aclose()


async def test_a_modem_that_says_nothing_of_its_message_is_to_be_repaired() -> None:
    script = ScriptedImt()
    script.stop_at = "final"
    script.answers["PUT messageOriginateStatus"] = (406, {})
    modem = await up(script)
    with pytest.raises(TransportBroken, match="no end of a message"):
        await modem.send_message(HELLO)
    await modem.aclose()


async def stopped_in_the_middle(script: ScriptedImt, memory: Forgetful) -> None:
    """A process that hands a message over, and ends."""
    script.stop_at = "final"
    modem = await up(script, memory)
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(1)
    await modem.aclose()
    with pytest.raises(Closed):
        await sending
    script.stop_at = ""


@pytest.mark.parametrize(
    ("status", "copies"),
    [("message_cancelled_pre_transit", 2), ("mo_ack_received", 1), ("network_error", 1)],
)
async def test_what_an_earlier_process_left_is_taken_back(status: str, copies: int) -> None:
    """It is sent again only where the modem says that it never left."""
    script, memory = ScriptedImt(), Forgetful()
    await stopped_in_the_middle(script, memory)

    def cancel(body: dict[str, Any]) -> None:
        script.say(200, "messageOriginateStatus", {"topic_id": 244, "message_id": body["message_id"]})
        script.say(299, "messageOriginateStatus", {"message_id": body["message_id"], "final_mo_status": status})

    script._put_messageOriginateStatus = cancel  # type: ignore[attr-defined]
    modem = await up(script, memory)
    with pytest.raises(NotNow, match="may still be sending"):
        await modem.send_message(RadioMessage(b"second"))
    await asyncio.sleep(130)
    assert await modem.send_message(RadioMessage(b"second"))
    if status == "network_error":
        with pytest.raises(TransportBroken, match="may have"):
            await modem.send_message(HELLO)
    else:
        assert await modem.send_message(HELLO)
    assert script.asked.count("PUT messageOriginateStatus") == 1
    assert script.messages.count(b"hello") == copies
    await modem.aclose()


async def test_the_modem_has_shut_down_before_its_supply_goes() -> None:
    """IRIDIUM_ENABLE first, and back only when the modem is surely down: its guide warns of damage otherwise."""
    levels: list[tuple[float, int, bool]] = []

    class Wire:
        def __init__(self, settings: LineSettings, initial: bool) -> None:
            self.line = settings.line
            self.write(initial)

        def write(self, value: bool) -> None:
            levels.append((asyncio.get_running_loop().time(), int(self.line or 0), value))

        def close(self) -> None:
            """Nothing is held."""

    wirings: list[tuple[dict[str, Any], int]] = [({"power_enable": {"line": 1}}, 5), ({}, 30)]
    for wiring, pause in wirings:
        script = ScriptedImt()
        modem = driver(script, line_opener=Wire, iridium_enable={"line": 2}, **wiring)
        await modem.open()
        levels.clear()
        await modem.recoveries[-1].run()
        down = {line: when for when, line, value in levels if not value}
        back = {line: when for when, line, value in levels if value}
        assert [line for _, line, _ in levels][: len(down)] == sorted(down, reverse=True)
        assert back[2] - down[2] == pytest.approx(35 if wiring else 30, abs=1)
        assert back[min(down)] - down[min(down)] == pytest.approx(pause, abs=1)
        await modem.aclose()


@pytest.mark.parametrize(("code", "status"), [(406, ""), (200, "network_error"), (200, "mo_ack_received")])
async def test_the_very_message_that_was_left_is_not_sent_beside_itself(code: int, status: str) -> None:
    script, memory = ScriptedImt(), Forgetful()
    await stopped_in_the_middle(script, memory)

    def cancel(body: dict[str, Any]) -> None:
        script.say(code, "messageOriginateStatus")
        if status:
            script.say(299, "messageOriginateStatus", {"message_id": body["message_id"], "final_mo_status": status})

    script._put_messageOriginateStatus = cancel  # type: ignore[attr-defined]
    modem = await up(script, memory)
    await asyncio.sleep(130)
    with pytest.raises(NotNow, match="accounted for"):
        await modem.send_message(HELLO)
    if status == "mo_ack_received":
        assert await modem.send_message(HELLO)
    else:
        with pytest.raises(TransportBroken, match="may have"):
            await modem.send_message(HELLO)
    assert script.messages == [b"hello"]
    assert await modem.send_message(RadioMessage(b"second"))
    await modem.aclose()


async def test_what_another_modem_has_is_not_waited_for() -> None:
    script, memory = ScriptedImt(), Forgetful()
    await stopped_in_the_middle(script, memory)
    script.answers["GET hwInfo"] = (200, {"imei": "300258060000001"})
    modem = await up(script, memory)
    assert await modem.send_message(RadioMessage(b"second"))
    assert "PUT messageOriginateStatus" not in script.asked
    await modem.aclose()


@pytest.mark.parametrize("refusal", [b"407 BAD_JSON {}\r", b"405 MALFORMED {}\r"])
async def test_a_refusal_that_names_no_target_answers_what_was_asked(refusal: bytes) -> None:
    """Else each such request would be waited for in vain, and the modem be taken for a silent one."""
    script = ScriptedImt()
    modem = await up(script)
    script.answers["PUT messageOriginate"] = None
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(0.5)
    script.port.write(refusal)
    with pytest.raises(NotNow, match=refusal.split()[1].decode()):
        await sending
    assert (await modem.status()).evidence is Evidence.BEARER
    await modem.aclose()


async def test_a_late_answer_is_not_taken_for_the_next_message() -> None:
    """Its number would be that of another message, which the modem has given up or is yet to send."""
    script = ScriptedImt()
    modem = await up(script)
    script.answers["PUT messageOriginate"] = None
    sending = asyncio.create_task(modem.send_message(HELLO))
    await asyncio.sleep(0.5)
    late = {"topic_id": 244, "request_reference": 77, "message_id": 9, "message_response": "message_accepted"}
    script.say(200, "messageOriginate", late)
    script.say(299, "messageOriginateSegment", {"message_id": 9, "segment_start": 0, "segment_length": 7})
    with pytest.raises(NotNow, match="another message"):
        await sending
    del script.answers["PUT messageOriginate"]
    await asyncio.sleep(10)
    assert await modem.send_message(HELLO)
    assert script.asked.count("PUT messageOriginateSegment") == 1
    await modem.aclose()
