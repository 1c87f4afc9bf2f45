"""What real modules do that manuals do not say: lines of field logs and of the firmware's source, and what must follow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Evidence, RadioMessage, RadioStatus
from rataccess.errors import AttachFailed, NotNow, PacketTooLarge, RadioSilent, TransportBroken
from rataccess_drivers.lora.modules.identity import who_answers
from tests.lora.modules.scripted import KINDS, RAK, ScriptedModule, context, scripted
from tests.lora.modules.test_modules_scripted import JOIN, SEND, attached, opened, sending

pytestmark = pytest.mark.looptime

ALL = list(KINDS)
HELLO = RadioMessage(b"\x01\xab", 2)
REFUSES = {"rak3172": "AT_COMMAND_NOT_FOUND", "wio_e5": "+AT: ERROR(-23)", "rn2483": "invalid_param"}
US915: dict[str, dict[str, Any]] = {
    "rak3172": {r"AT\+BAND=\?": ["AT+BAND=5", "OK"], r"AT\+DR=\?": ["AT+DR=0", "OK"]},
    "wio_e5": {r"AT\+DR": "+DR: US915 DR0 SF10 BW125K", r"AT\+LW=LEN": "+LW: LEN, 11"},
}


# --- commands that the module did not get whole -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
async def test_what_another_program_left_half_written_does_not_make_it_another_module(kind: str) -> None:
    module = scripted(kind)
    module.default = REFUSES[kind]
    module._rest = b"login: pi "
    async with opened(kind, module) as (_, radio):
        assert radio.model


async def test_a_module_in_its_bootloader_is_started() -> None:
    module = scripted("rak3172", {r"AT\+VER=\?": "AT_COMMAND_NOT_FOUND"})

    def start(match: Any) -> list[str]:
        module.answers[r"AT\+VER=\?"] = ["AT+VER=RUI_4.2.0_RAK3172-E", "OK"]
        return ["RAKwireless RAK3172-E Example", "Current Work Mode: LoRaWAN."]

    module.answers["ATZ"] = start
    async with attached("rak3172", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None


async def test_a_module_that_is_busy_when_it_is_asked_what_it_is() -> None:
    module = scripted("rak3172", {r"AT\+VER=\?": "AT_BUSY_ERROR"})
    with pytest.raises(RadioSilent, match="is busy"):
        async with opened("rak3172", module):
            pass
    answers = iter([["OK"], ["AT+VER=RUI_4.2.0_RAK3172-E", "OK"]])
    async with opened("rak3172", scripted("rak3172", {r"AT\+VER=\?": lambda match: next(answers)})) as (_, radio):
        assert radio.model == "RUI_4.2.0_RAK3172-E"


@pytest.mark.parametrize("kind", ALL)
def test_what_a_module_says_late_is_not_anothers(kind: str) -> None:
    """`RadioSilent` is tried again, `WrongRadio` is not."""
    table = KINDS[kind][0].profile.table
    own = {"wio_e5": "+AT: OK", "rn2483": "RN2483 1.0.1 Dec 15 2015 09:38:09"}.get(kind, "AT_BUSY_ERROR")
    assert who_answers([REFUSES[kind], own], table) is None
    assert who_answers(["ERROR: 1"], table) == "a RAK module with a firmware before RUI3 (RAK811, RAK4200)"
    for other in ALL:
        assert (who_answers([REFUSES[other]], table) is None) == (other == kind)


@pytest.mark.parametrize("kind", ALL)
async def test_a_command_that_was_spoilt_on_its_way_is_said_again(kind: str) -> None:
    """A RAK3172 with low-power serial port spoils the first letter that wakes it."""
    async with attached(kind) as (module, radio):
        answers = iter([REFUSES[kind]])
        asked = {"rak3172": r"AT\+NJS=\?", "wio_e5": "AT", "rn2483": "mac get status"}[kind]
        said = {"rak3172": ["AT+NJS=1", "OK"], "wio_e5": "+AT: OK", "rn2483": "00000010"}[kind]
        module.answers[asked] = lambda match: [next(answers)] if module.sent(asked)[1:] == [] else said
        module.heard.clear()
        assert (await radio.status()).evidence is Evidence.BEARER
        assert len(module.sent(asked)) == 2
        refused = iter([[REFUSES[kind].replace("+AT", "+CMSGHEX")]])
        usual = module.answers[SEND[kind]] if SEND[kind] in module.answers else KINDS[kind][1][_send(kind)]
        module.answers[SEND[kind]] = lambda match: next(refused, None) or _said(usual, match)
        assert await radio.send_message(HELLO) is not None
        assert len(module.sent(SEND[kind])) == 2


def _send(kind: str) -> str:
    return next(
        pattern for pattern in KINDS[kind][1] if "SEND" in pattern or "MSGHEX" in pattern or "mac tx" in pattern
    )


def _said(reply: Any, match: Any) -> Any:
    if callable(reply):
        return [
            line.replace("None", "CMSGHEX")
            for line in (f"+CMSGHEX: {each}" for each in ("Start", "ACK Received", "Done"))
        ]
    return reply


# --- late lines -------------------------------------------------------------------------------------------------------


def unhurried(module: ScriptedModule) -> ScriptedModule:
    """Its lines come one after the other, as they do over a serial line: 20 ms each."""
    write, free = module.port.write, [0.0]

    def later(data: bytes) -> None:
        loop = asyncio.get_running_loop()
        free[0] = max(free[0], loop.time()) + 0.02
        loop.call_at(free[0], write, data)

    module.port.write = later  # type: ignore[method-assign]
    return module


def answers_late(module: ScriptedModule, *lines: str) -> None:
    """It comes to itself with the next command, and answers that and an earlier one."""

    def take(data: bytes) -> None:
        module.port.on_bytes = module._take
        module.say(*lines)

    module.port.on_bytes = take


async def test_the_late_answer_to_one_command_and_to_the_question_after_it() -> None:
    """A module that was busy with itself answers both, with the same word."""
    async with attached("rak3172", unhurried(scripted("rak3172"))) as (module, radio):
        module.port.on_bytes = lambda data: None
        with pytest.raises(RadioSilent):
            await radio.obey(radio.profile.key("00" * 16))
        answers_late(module, "OK", "OK")
        module.answers[r"AT\+APPKEY=.*"] = "AT_PARAM_ERROR"
        answer = await radio.run(radio.profile.key("11" * 16))
        assert answer.refusal is not None


async def test_two_versions_of_an_rn2483_are_no_restart() -> None:
    async with attached("rn2483") as (module, radio):
        module.port.on_bytes = lambda data: None
        with pytest.raises(RadioSilent):
            await radio.run(radio.profile.probe)
        banner = "RN2483 1.0.5 Oct 31 2018 15:06:52"
        module.answers["mac get status"] = "00000010"
        answers_late(module, banner, banner)
        assert (await radio.status()).evidence is Evidence.BEARER


@pytest.mark.parametrize(
    ("kind", "late", "lines"),
    [
        ("rak3172", "+EVT:SEND_CONFIRMED_OK", ["OK", "+EVT:SEND_CONFIRMED_FAILED(4)"]),
        ("wio_e5", "+CMSGHEX: ACK Received", ["+CMSGHEX: Start", "+CMSGHEX: Wait ACK", "+CMSGHEX: Done"]),
        ("rn2483", "mac_tx_ok", ["ok", "mac_err"]),
    ],
)
async def test_an_acknowledgement_of_the_uplink_before_proves_nothing(kind: str, late: str, lines: list[str]) -> None:
    async with attached(kind, sending(kind, late, *lines)) as (_, radio):
        assert await radio.send_message(HELLO) is None


# --- what is said differently -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["AT_BUSY_ERROR", None])
async def test_both_lines_of_a_refusal_by_duty_cycle_belong_together(second: str | None) -> None:
    lines = [line for line in ("Restricted_Wait_23784_ms", second) if line]
    module = unhurried(sending("rak3172", *lines))
    async with attached("rak3172", module) as (_, radio):
        with pytest.raises(NotNow) as caught:
            await radio.send_message(HELLO)
        assert caught.value.retry_after == 23.784
        module.answers[r"AT\+DR=\?"] = ["AT+DR=5", "OK"]
        assert await radio.ask(radio.profile.ask_data_rate) == "5"
        module.answers[SEND["rak3172"]] = RAK[r"AT\+SEND=.*"]
        assert await radio.send_message(HELLO) is not None


async def test_a_join_that_is_refused_by_duty_cycle_says_until_when() -> None:
    module = scripted("rak3172", {JOIN["rak3172"]: ["Restricted_Wait_3343902_ms", "AT_BUSY_ERROR"]})
    async with opened("rak3172", module) as (_, radio):
        with pytest.raises(AttachFailed) as caught:
            await radio.attach()
        assert caught.value.retry_after == pytest.approx(3343.902)


async def test_a_join_that_only_tells_the_address() -> None:
    lines = ["+JOIN: Starting", "+JOIN: NORMAL", "+JOIN: NetID 000024 DevAddr 48:00:00:01", "+JOIN: Done"]
    async with attached("wio_e5", scripted("wio_e5", {JOIN["wio_e5"]: lines})) as (_, radio):
        assert (await radio.status()).evidence is Evidence.BEARER


async def test_lines_between_lines_and_in_the_middle_of_them() -> None:
    lines = ["+INFO: Input timeout", "+LOG: WARN 7729182 LW tx 8", "+CMSGHEX: Start", "+CMSGHEX: Wait ACK"]
    lines += ["+CMSGHEX: FPEN+CMSGHEX: ACK Received", '+CMSGHEX: PORT: 2; RX: "12345678"', "+CMSGHEX: Done"]
    async with attached("wio_e5", sending("wio_e5", *lines)) as (_, radio):
        assert await radio.send_message(HELLO) is not None
        assert (await radio.receive_message()).data == bytes.fromhex("12345678")
    lines = [
        "Wait for LoRaWAN join...OK",
        "OK",
        "Data Packet:+EVT:RX_1:-62:12:UNICAST:2:0102",
        "0x74 +EVT:SEND_CONFIRMED_OK",
    ]
    async with attached("rak3172", sending("rak3172", *lines)) as (_, radio):
        assert await radio.send_message(HELLO) is not None
        assert (await radio.receive_message()).data == b"\x01\x02"


@pytest.mark.parametrize(
    ("version", "status", "joined"),
    [
        ("RN2903 0.9.8 Feb 14 2017 20:17:03", "0001", True),
        ("RN2483 1.0.3 Mar 22 2017 06:00:42", "00000401", True),
        ("RN2483 1.0.3 Mar 22 2017 06:00:42", "00000410", False),
        ("RN2483 1.0.5 Oct 31 2018 15:06:52", "00000401", False),
        ("RN2483 1.0.5 Oct 31 2018 15:06:52", "00000810", True),
        ("RN2483A 1.0.5rc7 Jan 01 2018 00:00:00", "00000010", True),
    ],
)
async def test_where_an_rn2483_says_that_it_has_joined(version: str, status: str, joined: bool) -> None:
    async with attached("rn2483") as (_, radio):
        assert radio.profile.joined(status, version) is joined


# --- settings that are not what they were -----------------------------------------------------------------------------


async def test_a_module_that_starts_anew_without_an_answer_when_its_mode_is_set() -> None:
    mode = ["0"]

    def tell(match: Any) -> list[str]:
        mode[0] = match[1]
        return ["RAKwireless RAK3172-E Example", "------", "Current Work Mode: LoRaWAN."]

    answers: dict[str, Any] = {r"AT\+NWM=\?": lambda match: [f"AT+NWM={mode[0]}", "OK"], r"AT\+NWM=(\d)": tell}
    p2p = {rf"AT\+{name}=\?": "AT_MODE_NO_SUPPORT" for name in ("NJS",)}
    module = scripted("rak3172", {**answers, **p2p})
    module.answers[r"AT\+NJS=\?"] = lambda match: ["AT+NJS=0", "OK"] if mode[0] == "1" else ["AT_MODE_NO_SUPPORT"]
    async with attached("rak3172", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None


@pytest.mark.parametrize(
    ("kind", "line", "setting"),
    [
        ("wio_e5", "+CMSGHEX: ERROR(-12)", r"AT\+MODE"),
        ("wio_e5", "+CMSGHEX: Please join network first", r"AT\+MODE"),
        ("rak3172", "AT_MODE_NO_SUPPORT", r"AT\+NWM=\?"),
        ("rak3172", "AT_NO_NETWORK_JOINED", r"AT\+NWM=\?"),
        ("rn2483", "not_joined", "mac get band"),
    ],
)
async def test_a_module_that_has_started_anew_unheard_is_set_up_again(kind: str, line: str, setting: str) -> None:
    async with attached(kind, sending(kind, line)) as (module, radio):
        module.heard.clear()
        with pytest.raises(TransportBroken):
            await radio.send_message(HELLO)
        await radio.attach()
        assert len(module.sent(setting)) == 1
        assert module.sent(JOIN[kind])


async def test_a_join_in_another_mode_is_set_right_by_the_next_attempt() -> None:
    mode = ["LWOTAA"]
    joins = iter([["+JOIN: Not in OTAA mode"]])
    module = scripted("wio_e5", {r"AT\+MODE": lambda match: [f"+MODE: {mode[0]}"]})
    usual: Any = KINDS["wio_e5"][1][r"AT\+JOIN(?:=FORCE)?"]
    module.answers[JOIN["wio_e5"]] = lambda match: next(joins, usual)
    async with opened("wio_e5", module) as (_, radio):
        with pytest.raises(AttachFailed, match="another mode"):
            await radio.attach()
        mode[0] = "LWABP"
        await radio.attach()
        assert "AT+MODE=LWOTAA" in module.heard


async def test_a_module_that_asks_for_no_acknowledgement_any_more() -> None:
    module = sending("rak3172", "OK", "+EVT:TX_DONE")
    async with attached("rak3172", module) as (_, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        assert await radio.send_message(HELLO) is None
        await asyncio.sleep(0)
        assert [status.evidence for status in told] == [Evidence.RADIO]
        module.answers |= {r"AT\+CFM=\?": ["AT+CFM=0", "OK"], r"AT\+NJS=\?": ["AT+NJS=1", "OK"]}
        await radio.attach()
        assert "AT+CFM=1" in module.heard
        assert len(module.sent(JOIN["rak3172"])) == 1


@pytest.mark.parametrize("kind", ALL)
async def test_a_session_that_another_key_made_is_not_used(kind: str) -> None:
    given = context()
    joined: Any = {"rak3172": {r"AT\+NJS=\?": ["AT+NJS=1", "OK"]}, "rn2483": {"mac get status": "00000010"}}.get(
        kind, {}
    )
    async with attached(kind, None, given):
        pass
    other = context(key="00" * 15 + "01", memory=given.memory)  # type: ignore[arg-type]
    async with attached(kind, scripted(kind, joined), other) as (module, _):
        assert module.sent(JOIN[kind]) == [
            {"wio_e5": "AT+JOIN=FORCE", "rn2483": "mac join otaa"}.get(kind, "AT+JOIN=1:0:8:0")
        ]
        assert [line for line in module.heard if "00" * 15 in line]


async def test_a_session_by_personalisation_that_was_left_in_an_rn2483() -> None:
    async with attached("rn2483", scripted("rn2483", {"mac get status": "00000010"})) as (module, _):
        assert module.sent("mac join .*") == ["mac join otaa"]


@pytest.mark.parametrize(
    ("kind", "question", "answer", "order"),
    [
        ("rak3172", r"AT\+DCS=\?", ["AT+DCS=0", "OK"], "AT+DCS=1"),
        ("wio_e5", r"AT\+LW=DC", "+LW: DC, OFF, 0", "AT+LW=DC,ON"),
    ],
)
async def test_a_duty_cycle_that_somebody_has_switched_off(kind: str, question: str, answer: Any, order: str) -> None:
    async with attached(kind, scripted(kind, {question: answer})) as (module, _):
        assert module.sent(question) == []
    async with attached(kind, scripted(kind, {question: answer}), duty_cycle=True) as (module, _):
        assert order in module.heard


# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lines"),
    [("rak3172", ["OK"]), ("wio_e5", ["+MSGHEX: Start"]), ("rn2483", ["ok"])],
)
async def test_an_unconfirmed_uplink_whose_end_is_not_told_was_sent(kind: str, lines: list[str]) -> None:
    """The first RUI3 says nothing, and a line may be lost; no proof was asked for."""
    async with attached(kind, sending(kind, *lines), confirmed="never") as (module, radio):
        for _ in range(2):
            assert await radio.send_message(HELLO) is None
        assert radio._joined
        assert len(module.sent(SEND[kind])) == 2


async def test_an_acknowledgement_is_one_although_the_line_after_it_is_lost() -> None:
    module = sending("wio_e5", "+CMSGHEX: Start", "+CMSGHEX: ACK Received")
    async with attached("wio_e5", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None


@pytest.mark.parametrize(
    ("kind", "answers", "times"),
    [
        ("rak3172", {r"AT\+RETY=\?": ["AT+RETY=0", "OK"]}, 1),
        ("rak3172", {r"AT\+RETY=\?": ["AT+RETY=3", "OK"]}, 4),
        ("rak3172", {r"AT\+RETY=\?": "AT_COMMAND_NOT_FOUND"}, 8),
        ("wio_e5", {r"AT\+RETRY": "+RETRY: 3"}, 4),
        ("rn2483", {"mac get retx": "7"}, 8),
    ],
)
async def test_air_time_of_an_uplink_in_vain_is_what_the_module_is_set_to(
    kind: str, answers: dict[str, Any], times: int
) -> None:
    """The number of a RAK3172 (`FAILED(4)`) is the reason: no answer in RX2."""
    lines = {"rak3172": ["OK", "+EVT:SEND_CONFIRMED_FAILED(4)"], "rn2483": ["ok", "mac_err"]}
    module = sending(kind, *lines.get(kind, ["+CMSGHEX: Start", "+CMSGHEX: Wait ACK", "+CMSGHEX: Done"]))
    module.answers |= answers
    async with attached(kind, module) as (_, radio):
        assert radio.message_hints.repeats == times
        before = radio.allowances()[0].left
        assert await radio.send_message(HELLO) is None
        assert before - radio.allowances()[0].left == times * radio.message_hints.tariff.units(2)


async def test_empty_uplinks_that_a_rak3172_sends_by_itself_are_counted() -> None:
    async with attached("rak3172") as (module, radio):
        before = radio.allowances()[0].left
        module.say("+EVT:TX_DONE")
        await asyncio.sleep(1)
        assert before - radio.allowances()[0].left == radio.message_hints.tariff.units(0) > 0


# --- room -------------------------------------------------------------------------------------------------------------


async def test_mac_commands_that_leave_no_room_are_sent_first() -> None:
    module = sending("wio_e5", "+CMSGHEX: Length error 0")
    async with attached("wio_e5", module) as (_, radio):
        module.answers[r'AT\+MSGHEX=""'] = ["+MSGHEX: Start", "+MSGHEX: Done"]
        module.answers[r"AT\+LW=LEN"] = "+LW: LEN, 0"
        with pytest.raises(NotNow):
            await radio.send_message(HELLO)
        await asyncio.sleep(1)
        assert len(module.sent(r'AT\+MSGHEX=""')) == 1
        assert radio.message_hints.mtu == 115
        module.answers[r"AT\+LW=LEN"] = "+LW: LEN, 51"
        del module.answers[SEND["wio_e5"]]
        assert await radio.send_message(HELLO) is not None
        assert radio.message_hints.mtu == 51


async def test_an_uplink_that_should_fit_is_tried_again_once() -> None:
    """A RAK3172 that has no room sends the MAC commands by itself; US915 DR0 carries 11 bytes with them."""
    answers = {**US915["rak3172"], SEND["rak3172"]: "AT_PARAM_ERROR"}
    async with attached("rak3172", scripted("rak3172", answers), region="US915") as (_, radio):
        assert radio.message_hints.mtu == 11
        with pytest.raises(NotNow):
            await radio.send_message(HELLO)
        with pytest.raises(TransportBroken, match="although 11 should fit"):
            await radio.send_message(HELLO)
        with pytest.raises(PacketTooLarge):
            await radio.send_message(RadioMessage(bytes(12), 2))


# --- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "baudrate"), [("rak3172", 57_600), ("wio_e5", 38_400), ("wio_e5", 115_200)])
async def test_a_module_at_a_speed_that_somebody_has_set(kind: str, baudrate: int) -> None:
    module = scripted(kind)
    usual = module.port.open_line

    def open_line(address: str, found: int, on_data: Any, on_lost: Any) -> Any:
        module.port.on_bytes = module._take if found == baudrate else lambda data: module.port.write(b"\xf8\x00\xfe")
        return usual(address, found, on_data, on_lost)

    module.port.open_line = open_line  # type: ignore[method-assign, assignment]
    async with attached(kind, module) as (_, radio):
        assert await radio.send_message(HELLO) is not None
