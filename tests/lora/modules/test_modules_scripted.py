"""The drivers of LoRaWAN modules against scripted lines: what is asked, what is written, and what each answer means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rataccess.clock import LoopClock
from rataccess.driver import Evidence, Forgetful, KnowsTime, MovesMessages, RadioMessage, RadioStatus, Rationed
from rataccess.errors import (
    AttachFailed,
    Closed,
    ConfigurationError,
    KeyStoreError,
    NotNow,
    PacketTooLarge,
    RadioSilent,
    TransportBroken,
    WrongRadio,
)
from rataccess.registry import driver as registered
from rataccess.tariff import Unit
from rataccess_drivers.lora.modules.driver import ModuleDriver
from rataccess_drivers.lora.modules.options import DateOrder
from tests.lora.modules.scripted import DEV_EUI, KEY, KINDS, Reply, ScriptedModule, context, driver, scripted

pytestmark = pytest.mark.looptime

ALL = list(KINDS)
SEND = {"rak3172": r"AT\+SEND=.*", "wio_e5": r'AT\+C?MSGHEX=".*"', "rn2483": r"mac tx .*"}
JOIN = {"rak3172": r"AT\+JOIN=.*", "wio_e5": r"AT\+JOIN.*", "rn2483": r"mac join otaa"}
HELLO = RadioMessage(b"\x01\xab", 2)


@asynccontextmanager
async def attached(
    kind: str, module: ScriptedModule | None = None, given: Any = None, **options: object
) -> AsyncIterator[tuple[ScriptedModule, ModuleDriver]]:
    async with opened(kind, module, given, **options) as (module, radio):
        await radio.attach()
        yield module, radio


@asynccontextmanager
async def opened(
    kind: str, module: ScriptedModule | None = None, given: Any = None, **options: object
) -> AsyncIterator[tuple[ScriptedModule, ModuleDriver]]:
    module = module or scripted(kind)
    radio = driver(kind, module, given, **options)
    try:
        await radio.open()
        yield module, radio
    finally:
        await radio.aclose()


def sending(kind: str, *lines: str) -> ScriptedModule:
    """A module that says that when it is to send."""
    answers: Mapping[str, Reply | None] = {SEND[kind]: lines}
    return scripted(kind, answers)


# --- what they are ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
async def test_registered_and_capable(kind: str) -> None:
    assert registered(kind) is KINDS[kind][0]
    radio = driver(kind, scripted(kind))
    assert isinstance(radio, MovesMessages)
    assert isinstance(radio, Rationed)
    assert isinstance(radio, KnowsTime) == (kind == "rak3172")
    assert [each.name for each in radio.recoveries] == ["reopen port", "modem reset"]
    wired = driver(kind, scripted(kind), reset={"line": 4}, power_switch={"line": 5})
    assert [each.name for each in wired.recoveries] == ["reopen port", "modem reset", "reset line", "power cut"]


# --- the usual way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
async def test_join_send_and_receive(kind: str) -> None:
    async with attached(kind) as (module, radio):
        assert len(module.sent(JOIN[kind])) == 1
        hints = radio.message_hints
        assert (hints.mtu, hints.unit, hints.overhead, hints.compact) == (115, Unit.AIRTIME, 13, True)
        assert hints.modulation is not None
        assert hints.modulation.spreading_factor == 9
        assert hints.acknowledges_handover
        handover = await radio.send_message(HELLO)
        assert handover is not None
        (command,) = module.sent(SEND[kind])
        assert "01AB" in command
        module.say({"rak3172": "+EVT:RX_1:-34:15:UNICAST:2:FFEE", "rn2483": "mac_rx 2 FFEE"}.get(kind, ""))
        if kind == "wio_e5":
            module.say('+CMSGHEX: PORT: 2; RX: "FF EE"')
        assert await radio.receive_message() == RadioMessage(b"\xff\xee", 2)


@pytest.mark.parametrize("kind", ALL)
async def test_echo_blank_lines_and_other_line_ends_do_not_matter(kind: str) -> None:
    module = scripted(kind)
    module.echo, module.end = True, "\n\r\n"
    async with attached(kind, module, join_eui="70B3D57ED0000001") as (_, radio):
        assert await radio.send_message(HELLO) is not None


async def test_several_downlinks_and_pending() -> None:
    lines = [
        "+CMSGHEX: Start",
        "+CMSGHEX: FPENDING",
        '+CMSGHEX: PORT: 1; RX: "01"',
        '+CMSGHEX: PORT: 2; RX: "02"',
        "+CMSGHEX: RXWIN1, RSSI -43, SNR 10.0",
        "+CMSGHEX: ACK Received",
        "+CMSGHEX: Done",
    ]
    fetched = ["+MSGHEX: Start", '+MSGHEX: PORT: 2; RX: "03"', "+MSGHEX: Done"]
    module = scripted("wio_e5", {r'AT\+CMSGHEX=".*"': lines, r'AT\+MSGHEX=""': fetched})
    async with attached("wio_e5", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None
        assert [(await radio.receive_message()).data for _ in range(3)] == [b"\1", b"\2", b"\3"]
        assert len(module.sent(r'AT\+MSGHEX=""')) == 1
        status = await radio.status()
        assert (status.signal_dbm, status.signal_quality_db) == (-43, 10)


@pytest.mark.parametrize("kind", ALL)
async def test_unconfirmed_uplinks(kind: str) -> None:
    answers: dict[str, Reply | None] = {
        "rak3172": {r"AT\+SEND=.*": ["OK", "+EVT:TX_DONE"], r"AT\+CFM=\?": ["AT+CFM=1", "OK"]},
        "wio_e5": {r'AT\+MSGHEX=".*"': ["+MSGHEX: Start", "+MSGHEX: Done"]},
        "rn2483": {r"mac tx uncnf 2 01AB": ["ok", "mac_tx_ok"]},
    }[kind]  # type: ignore[assignment]
    async with attached(kind, scripted(kind, answers), confirmed="never") as (module, radio):
        assert not radio.message_hints.acknowledges_handover
        assert await radio.send_message(HELLO) is None
        if kind == "rak3172":
            assert "AT+CFM=0" in module.heard


UNACKNOWLEDGED = {
    "rak3172": ("OK", "+EVT:SEND CONFIRMED FAILED(4)"),
    "wio_e5": ("+CMSGHEX: Start", "+CMSGHEX: Done"),
    "rn2483": ("ok", "mac_err"),
}


@pytest.mark.parametrize("kind", ALL)
async def test_unacknowledged_uplinks_end_in_a_new_join(kind: str) -> None:
    module = sending(kind, *UNACKNOWLEDGED[kind])
    async with attached(kind, module, unacknowledged_limit=2) as (_, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        assert await radio.send_message(HELLO) is None
        assert told == []
        assert await radio.send_message(HELLO) is None
        await asyncio.sleep(0)
        assert [status.evidence for status in told] == [Evidence.RADIO]
        assert "2 confirmed uplinks" in told[0].detail
        with pytest.raises(TransportBroken):
            await radio.send_message(HELLO)
        with pytest.raises(TransportBroken):
            await radio.receive_message()
        await radio.attach()
        assert len(module.sent(JOIN[kind])) == 2


@pytest.mark.parametrize("kind", ALL)
async def test_uplinks_are_sent_once_whatever_comes(kind: str) -> None:
    module = sending(kind)
    async with attached(kind, module) as (_, radio):
        with pytest.raises(TransportBroken, match="not known"):
            await radio.send_message(HELLO)
        assert len(module.sent(SEND[kind])) == 1
        with pytest.raises(TransportBroken):
            await radio.send_message(HELLO)
        assert len(module.sent(SEND[kind])) == 1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "line", "seconds"),
    [
        ("rak3172", "AT_BUSY_ERROR", 5.0),
        ("rak3172", "Restricted_Wait_23784_ms", 23.784),
        ("rak3172", "AT_DUTYCYCLE_RESTRICTED", None),
        ("wio_e5", "+CMSGHEX: No band in 9384ms", 9.384),
        ("wio_e5", "+CMSGHEX: No free channel", None),
        ("wio_e5", "+CMSGHEX: LoRaWAN modem is busy", 5.0),
        ("rn2483", "no_free_ch", None),
        ("rn2483", "busy", 5.0),
        ("rn2483", "silent", 3600.0),
    ],
)
async def test_not_now(kind: str, line: str, seconds: float | None) -> None:
    module = sending(kind, line)
    async with attached(kind, module) as (_, radio):
        with pytest.raises(NotNow) as caught:
            await radio.send_message(HELLO)
        if seconds is None:  # what the duty cycle of 1 % asks for after 15 bytes at SF9
            modulation = radio.message_hints.modulation
            assert modulation is not None
            assert caught.value.retry_after == pytest.approx(99 * modulation.time_on_air(15), rel=0.01)
        else:
            assert caught.value.retry_after == seconds
        assert (await radio.status()).evidence is not Evidence.NONE


@pytest.mark.parametrize(
    ("kind", "line", "limit"),
    [
        ("rak3172", "AT_PARAM_ERROR", 51),
        ("wio_e5", "+CMSGHEX: Length error 51", 51),
        ("rn2483", "invalid_data_len", 51),
    ],
)
async def test_payload_limit_that_shrinks(kind: str, line: str, limit: int) -> None:
    module = sending(kind, line)
    async with attached(kind, module) as (_, radio):
        heard: list[int] = []
        radio.on_message_hints(lambda hints: heard.append(hints.mtu))
        module.answers |= {r"AT\+DR=\?": ["AT+DR=0", "OK"], "mac get dr": "0", r"AT\+LW=LEN": "+LW: LEN 51"}
        module.answers[r"AT\+DR"] = "+DR: EU868 DR0 SF12 BW125K"
        with pytest.raises(PacketTooLarge) as caught:
            await radio.send_message(RadioMessage(bytes(100), 1))
        assert (caught.value.size, caught.value.limit) == (100, limit)
        assert heard[-1] == radio.message_hints.mtu == limit
        with pytest.raises(PacketTooLarge):
            await radio.send_message(RadioMessage(bytes(52), 1))
        assert len(module.sent(SEND[kind])) == 1


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("rak3172", "AT_NO_NETWORK_JOINED"),
        ("wio_e5", "+CMSGHEX: Please join network first"),
        ("rn2483", "not_joined"),
        ("rn2483", "frame_counter_err_rejoin_needed"),
    ],
)
async def test_session_that_is_gone(kind: str, line: str) -> None:
    async with attached(kind, sending(kind, line)) as (module, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        with pytest.raises(TransportBroken, match="join again"):
            await radio.send_message(HELLO)
        assert [status.evidence for status in told] == [Evidence.RADIO]
        await radio.attach()
        assert len(module.sent(JOIN[kind])) == 2


async def test_paused_stack_is_resumed() -> None:
    answers = iter([["mac_paused"], ["ok", "mac_tx_ok"]])
    module = scripted("rn2483", {r"mac tx .*": lambda match: next(answers)})
    async with attached("rn2483", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None
        assert "mac resume" in module.heard


# --- joining ----------------------------------------------------------------------------------------------------------

FAILED = {
    "rak3172": ("OK", "+EVT:JOIN_FAILED_RX_TIMEOUT"),
    "wio_e5": ("+JOIN: Start", "+JOIN: NORMAL", "+JOIN: Join failed", "+JOIN: Done"),
    "rn2483": ("ok", "denied"),
}


@pytest.mark.parametrize("kind", ALL)
async def test_join_backs_off(kind: str) -> None:
    module = scripted(kind, {JOIN[kind]: FAILED[kind]})
    clock = LoopClock()
    async with opened(kind, module, context(clock=clock)) as (_, radio):
        waits = []
        for pause in (0, 3600, 10 * 3600):
            await asyncio.sleep(pause)
            with pytest.raises(AttachFailed, match="no network has accepted") as caught:
                await radio.attach()
            waits.append(caught.value.retry_after or 0)
        air = 1.482752  # 23 bytes at SF12
        assert [round(wait) for wait in waits] == [
            pytest.approx(air * factor * 1.125, rel=0.13) for factor in (100, 1_000, 10_000)
        ]
        assert (await radio.status()).evidence is Evidence.RADIO


@pytest.mark.parametrize(
    ("kind", "lines", "retry_after"),
    [
        ("rak3172", ["AT_BUSY_ERROR"], 10.0),
        ("wio_e5", ["+JOIN: LoRaWAN modem is busy", "+JOIN: Done"], 10.0),
        ("wio_e5", ["+JOIN: Start", "+JOIN: No band in 7000ms"], 7.0),
        ("rn2483", ["silent"], 3600.0),
    ],
)
async def test_join_that_is_refused(kind: str, lines: list[str], retry_after: float) -> None:
    async with opened(kind, scripted(kind, {JOIN[kind]: lines})) as (_, radio):
        with pytest.raises(AttachFailed) as caught:
            await radio.attach()
        assert caught.value.retry_after == retry_after


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("rak3172", {r"AT\+NJS=\?": ["AT+NJS=1", "OK"]}),
        ("wio_e5", {r"AT\+JOIN": "+JOIN: Joined already"}),
        ("wio_e5", {r"AT\+JOIN": ["+JOIN: Start", "+JOIN: Joined already", "+JOIN: Done"]}),
        ("rn2483", {r"mac get status": "00000010"}),
        ("rn2483", {r"mac get status": "0001"}),
    ],
)
async def test_a_module_that_has_joined_does_not_join_again(kind: str, answers: dict[str, Reply | None]) -> None:
    memory = Forgetful()
    async with attached(kind, None, context(memory=memory)):
        pass
    async with attached(kind, scripted(kind, answers), context(memory=memory)) as (module, radio):
        assert radio.message_hints.mtu == 115
        assert kind == "wio_e5" or module.sent(JOIN[kind]) == []
        assert not [line for line in module.heard if KEY in line]
        await radio.attach()
        assert await radio.send_message(HELLO) is not None


async def test_keys_of_the_module_itself() -> None:
    async with attached("rn2483", None, context(key=None)) as (module, _):
        assert module.sent(r".*appkey.*") == []
    refuses: dict[str, Reply | None] = {"mac join otaa": "keys_not_init"}
    async with opened("rn2483", scripted("rn2483", refuses), context(key=None)) as (_, radio):
        with pytest.raises(AttachFailed, match=r"key store as `lora\.appkey`"):
            await radio.attach()


async def test_lost_keys_are_written_again() -> None:
    memory = Forgetful()
    async with attached("rn2483", None, context(memory=memory)) as (module, _):
        assert module.sent("mac set appkey .*") == [f"mac set appkey {KEY}"]
        assert "mac save" in module.heard
    answers = iter([["keys_not_init"], ["ok", "accepted"]])
    module = scripted("rn2483", {"mac join otaa": lambda match: next(answers)})
    async with attached("rn2483", module, context(memory=memory)):
        assert module.sent("mac set appkey .*") == [f"mac set appkey {KEY}"]


@pytest.mark.parametrize("kind", ALL)
async def test_keys_show_nowhere(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    word = {"rak3172": r"AT\+APPKEY=.*", "wio_e5": r"AT\+KEY=.*", "rn2483": r"mac set appkey .*"}[kind]
    module = scripted(
        kind, {word: {"rak3172": "AT_PARAM_ERROR", "wio_e5": "+KEY: ERROR(-1)"}.get(kind, "invalid_param")}
    )
    module.echo = True
    async with opened(kind, module) as (_, radio):
        with pytest.raises(AttachFailed) as caught:
            await radio.attach()
        assert KEY not in str(caught.value) + repr(radio) + repr(radio.__dict__)
    assert KEY not in caplog.text
    assert [line for line in module.heard if KEY in line]


async def test_key_that_is_none() -> None:
    async with opened("rak3172", None, context(key="secret-but-no-key")) as (_, radio):
        with pytest.raises(KeyStoreError, match=r"'lora.appkey' is no AppKey") as caught:
            await radio.attach()
        assert "secret-but" not in str(caught.value)


# --- factory state and settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
async def test_settings_that_fit_are_not_written(kind: str) -> None:
    memory = Forgetful()
    options: dict[str, object] = {"join_eui": "0000000000000001", "dev_eui": DEV_EUI}
    async with attached(kind, None, context(memory=memory), **options):
        pass
    async with attached(kind, None, context(memory=memory), **options) as (module, _):
        writes = r"AT\+(?!SEND|JOIN|LW)\w+=[^?].*|mac set .*|mac save|mac reset .*"
        assert module.sent(writes) == []


async def test_factory_state_of_a_rak3172() -> None:
    state = {
        "NWM": "0",
        "BAND": "5",
        "NJM": "0",
        "CLASS": "C",
        "ADR": "0",
        "CFM": "0",
        "DEVEUI": "0" * 16,
        "APPEUI": "0" * 16,
    }

    def ask(match: Any) -> list[str]:
        return [f"AT+{match[1]}={state[match[1]]}", "OK"]

    def tell(match: Any) -> list[str]:
        state[match[1]] = match[2]
        return ["OK", "RAKwireless RAK3172-E", "Current Work Mode: LoRaWAN."] if match[1] == "NWM" else ["OK"]

    names = "|".join(state)
    module = scripted("rak3172", {rf"AT\+({names})=\?": ask, rf"AT\+({names})=([^?].*)": tell, "ATZ": None})
    async with attached("rak3172", module, dev_eui=DEV_EUI, join_eui="70B3D57ED0000001") as (_, radio):
        assert await radio.send_message(HELLO) is not None
        assert radio.dev_eui == DEV_EUI
    assert state == {
        "NWM": "1",
        "BAND": "4",
        "NJM": "1",
        "CLASS": "A",
        "ADR": "1",
        "CFM": "1",
        "DEVEUI": DEV_EUI,
        "APPEUI": "70B3D57ED0000001",
    }
    assert f"AT+APPKEY={KEY}" in module.heard
    assert module.heard.count("ATZ") == 2


async def test_factory_state_of_an_rn2483_takes_the_hardware_eui() -> None:
    answers: dict[str, Reply | None] = {"mac get deveui": "0" * 16, "sys get hweui": "0004A30B001A2B3C"}
    async with attached("rn2483", scripted("rn2483", answers)) as (module, radio):
        assert "mac set deveui 0004A30B001A2B3C" in module.heard
        assert radio.dev_eui == "0004A30B001A2B3C"


async def test_module_without_dev_eui_and_none_configured() -> None:
    answers: dict[str, Reply | None] = {r"AT\+DEVEUI=\?": ["AT+DEVEUI=FFFFFFFFFFFFFFFF", "OK"]}
    async with opened("rak3172", scripted("rak3172", answers)) as (_, radio):
        with pytest.raises(ConfigurationError, match="has no DevEUI; set `dev_eui`"):
            await radio.attach()


@pytest.mark.parametrize("kind", ALL)
async def test_module_that_answers_for_another(kind: str) -> None:
    with pytest.raises(WrongRadio, match=f"is {DEV_EUI}; the configuration expects AC1F09FFFE999999"):
        async with opened(kind, None, dev_eui="AC1F09FFFE999999"):
            pass
    async with attached(kind, None, dev_eui="ac1f09fffe999999", adopt=True) as (module, radio):
        assert [line for line in module.heard if "AC1F09FFFE999999" in line]
        assert radio.dev_eui == "AC1F09FFFE999999"


async def test_wrong_region() -> None:
    with pytest.raises(WrongRadio, match="is an RN2903, made for US915; the configuration says EU868"):
        async with opened("rn2483", scripted("rn2483", {"sys get ver": "RN2903 1.0.5 Nov 06 2018 10:45:27"})):
            pass
    answers: dict[str, Reply | None] = {r"AT\+BAND=\?": ["AT+BAND=0", "OK"], r"AT\+BAND=4": "AT_PARAM_ERROR"}
    async with opened("rak3172", scripted("rak3172", answers)) as (_, radio):
        with pytest.raises(WrongRadio, match="refuses the region EU868"):
            await radio.attach()


async def test_sub_band_of_a_fixed_plan() -> None:
    rn2903: dict[str, Reply | None] = {
        "sys get ver": "RN2903 1.0.5 Nov 06 2018 10:45:27",
        "mac get band": "invalid_param",
        "mac get dr": "2",
    }
    async with attached("rn2483", scripted("rn2483", rn2903), region="US915", sub_band=2) as (module, _):
        assert len(module.sent(r"mac set ch status \d+ on")) == 9
        assert "mac set ch status 65 on" in module.heard
    wrong: dict[str, Reply | None] = {r"AT\+MASK=\?": ["AT+MASK=00FF", "OK"], r"AT\+BAND=\?": ["AT+BAND=5", "OK"]}
    async with attached("rak3172", scripted("rak3172", wrong), region="US915", sub_band=2) as (module, _):
        assert "AT+MASK=0002" in module.heard


# --- who answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("rak3172", "wio_e5", "a Wio-E5 answers at pty:/dev/module, and no RAK3172"),
        ("rak3172", "rn2483", "an RN2483 or RN2903 answers at .* and no RAK3172"),
        ("wio_e5", "rak3172", "a modem with AT commands .* answers at .* and no Wio-E5"),
        ("wio_e5", "rn2483", "an RN2483 or RN2903 answers at .* and no Wio-E5"),
        ("rn2483", "rak3172", "a RAK module .* answers at .* and no RN2483"),
        ("rn2483", "wio_e5", "a Wio-E5 answers at .* and no RN2483"),
    ],
)
async def test_wrong_module_on_the_port(kind: str, other: str, message: str) -> None:
    module = scripted(other)
    module.default = {"rak3172": "AT_COMMAND_NOT_FOUND", "wio_e5": "+AT: ERROR(-10)", "rn2483": "invalid_param"}[other]
    radio = driver(kind, module)
    with pytest.raises(WrongRadio, match=message):
        await radio.open()
    assert not module.port.in_use


async def test_a_cellular_modem_on_the_port() -> None:
    module = ScriptedModule({"AT": "OK"}, default="ERROR")
    with pytest.raises(WrongRadio, match=r"says nothing that names it; expected was a RAK3172 \(RUI3\)"):
        await driver("rak3172", module).open()


@pytest.mark.parametrize("kind", ALL)
async def test_silent_module(kind: str) -> None:
    module = ScriptedModule({})
    with pytest.raises(RadioSilent, match="nothing answers as a"):
        await driver(kind, module).open()
    assert not module.port.in_use


async def test_rn2483_is_woken_by_a_break() -> None:
    module = scripted("rn2483")
    asleep = dict(module.answers)
    module.answers.clear()

    def wake(data: bytes) -> None:
        if data == b"\x55":
            module.answers.update(asleep)
            module._rest = b""
        else:
            module._take(data)

    module.port.on_bytes = wake
    async with attached("rn2483", module) as (_, radio):
        assert await radio.send_message(HELLO) is not None
    assert b"\0" in module.raw


# --- trouble ----------------------------------------------------------------------------------------------------------

BANNER = {"rak3172": "Current Work Mode: LoRaWAN.", "rn2483": "RN2483 1.0.5 Oct 31 2018 15:06:52"}


@pytest.mark.parametrize("kind", list(BANNER))
async def test_module_that_reboots_by_itself(kind: str) -> None:
    async with attached(kind) as (module, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        waiting = asyncio.create_task(radio.receive_message())
        await asyncio.sleep(0)
        module.say(BANNER[kind])
        with pytest.raises(TransportBroken, match="restarted by itself"):
            await waiting
        assert [status.evidence for status in told] == [Evidence.RADIO]
        await radio.attach()
        assert len(module.sent(JOIN[kind])) == 2
        assert await radio.send_message(HELLO) is not None


@pytest.mark.parametrize("kind", list(BANNER))
async def test_module_that_reboots_while_it_sends(kind: str) -> None:
    module = sending(kind, "ok" if kind == "rn2483" else "OK", BANNER[kind])
    async with attached(kind, module) as (_, radio):
        with pytest.raises(TransportBroken, match="started anew"):
            await radio.send_message(HELLO)
        assert len(module.sent(SEND[kind])) == 1


@pytest.mark.parametrize("kind", ALL)
async def test_port_that_vanishes(kind: str) -> None:
    async with attached(kind) as (module, radio):
        told: list[RadioStatus] = []
        radio.on_status(told.append)
        module.port.disconnect()
        await asyncio.sleep(0)
        assert told[-1].evidence <= Evidence.PORT
        with pytest.raises(TransportBroken):
            await radio.send_message(HELLO)


@pytest.mark.parametrize("kind", ALL)
async def test_closing_ends_what_waits(kind: str) -> None:
    module = sending(kind)
    async with attached(kind, module) as (_, radio):
        sender = asyncio.create_task(radio.send_message(HELLO))
        receiver = asyncio.create_task(radio.receive_message())
        await asyncio.sleep(0.1)
        await radio.aclose()
        with pytest.raises((Closed, TransportBroken)):
            await sender
        with pytest.raises(Closed):
            await receiver
        with pytest.raises(Closed):
            await radio.send_message(HELLO)


@pytest.mark.parametrize("kind", ALL)
async def test_late_answers_are_not_taken_for_others(kind: str) -> None:
    """A cancelled uplink goes on in the module; the next waits for its end and is not confused by its lines."""
    module = sending(kind)
    async with attached(kind, module) as (_, radio):
        first = asyncio.create_task(radio.send_message(HELLO))
        await asyncio.sleep(0.1)
        first.cancel()
        second = asyncio.create_task(radio.send_message(RadioMessage(b"\x02", 2)))
        await asyncio.sleep(0.1)
        assert len(module.sent(SEND[kind])) == 1
        module.say(*UNACKNOWLEDGED[kind])
        await asyncio.sleep(0.1)
        assert len(module.sent(SEND[kind])) == 2
        module.say(*UNACKNOWLEDGED[kind])
        assert await second is None


# --- time, air time, sleep --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "order", "found"),
    [
        ("AT+LTIME=17h54m09s on 02/03/2026", "month-first", 1770141249.0),
        ("AT+LTIME=17h54m09s on 02/03/2026", "day-first", 1772474049.0),
        ("17h54m09s on 13/02/2026", "month-first", 1771005249.0),
        ("AT+LTIME=00h00m28s on 01/01/1970", "month-first", None),
        ("AT+LTIME=", "month-first", None),
    ],
)
async def test_time_of_the_network(line: str, order: str, found: float | None) -> None:
    module = scripted("rak3172", {r"AT\+LTIME=\?": [line, "OK"]})
    clock = LoopClock(known=False)
    async with attached("rak3172", module, context(clock=clock), date_order=DateOrder(order)) as (_, radio):
        assert "AT+TIMEREQ=1" in module.heard
        assert isinstance(radio, KnowsTime)
        assert await radio.network_time() == found


async def test_air_time_is_counted_and_kept() -> None:
    memory = Forgetful()
    clock = LoopClock()
    async with attached("rak3172", None, context(memory=memory, clock=clock)) as (_, radio):
        (before,) = radio.allowances()
        joining = 62  # ms: 23 bytes at SF7
        assert (before.limit, before.left, before.unit, before.period) == (36_000, 36_000 - joining, Unit.AIRTIME, 3600)
        assert before.name == "EU868, 1 % (kept by the module)"
        await radio.send_message(HELLO)
        (after,) = radio.allowances()
        spent = radio.message_hints.tariff.units(2)
        assert after.left == before.left - spent
    async with attached("rak3172", None, context(memory=memory, clock=clock)) as (_, radio):
        assert radio.allowances()[0].left == after.left - joining
        await asyncio.sleep(3_700)
        assert radio.allowances()[0].left == 36_000


async def test_sleep_between_uplinks() -> None:
    async with attached("wio_e5", scripted("wio_e5"), sleep=True) as (module, radio):
        module.answers[r"AT\+LOWPOWER"] = "+LOWPOWER: SLEEP"
        await radio.send_message(HELLO)
        assert module.heard[-1] == "AT+LOWPOWER"
        assert radio._asleep
        assert (await radio.status()).evidence is Evidence.BEARER
        assert module.heard[-1] == "AT+LOWPOWER"
    async with attached("rak3172", scripted("rak3172", {r"AT\+LPM=\?": ["AT+LPM=0", "OK"]}), sleep=True) as (module, _):
        assert "AT+LPM=1" in module.heard
