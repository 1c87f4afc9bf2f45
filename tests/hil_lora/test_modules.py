"""The three serial modules as a host sees them: words, events, refusals, power, sleep."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rataccess_hil.journal import Direction
from rataccess_hil.lora import (
    RN2483_101,
    RUI3_1,
    RUI3_4,
    RUI3_FIRST,
    WISBLOCK,
    Ether,
    NetworkServer,
    Rui3Firmware,
    VirtualGateway,
    VirtualRak3172,
    VirtualRn2483,
    VirtualRn2903,
    VirtualWioE5,
)
from rataccess_hil.lora.module import SerialModule
from rataccess_hil.lora.network_device import NetworkDevice
from rataccess_hil.memory_port import MemoryPort
from tests.hil_lora.test_airtime import corpus

pytestmark = pytest.mark.looptime

EUI, JOIN_EUI, KEY = 0x70B3D57ED0000001, 0x0102030405060708, bytes(range(16))
KEY_TEXT = KEY.hex().upper()


class Bench:
    """A module on a port, a network that knows it, and a host's hands."""

    def __init__(self, kind: type[SerialModule], region: str, **options: Any) -> None:
        self.ether = Ether(seed=1)
        self.server = NetworkServer(region=region)
        self.server.sender.duty_cycle = False
        self.gateway = VirtualGateway(self.ether, self.server, region=region)
        self.port = MemoryPort()
        self.module = kind(self.port, self.ether, dev_eui=EUI, seed=2, **{"region": region, **options})
        self.known: NetworkDevice = self.server.add_device(EUI, KEY, JOIN_EUI)
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self._partial = b""
        self.line = self.port.open_line("memory", 115200, self._heard, lambda error: None)

    def _heard(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\r\n")
        for each in whole:
            self.lines.put_nowait(each.decode())

    def say(self, *commands: str) -> None:
        for command in commands:
            self.line.write(command.encode() + b"\r\n")

    async def ask(self, command: str, count: int = 1) -> list[str]:
        self.say(command)
        return await self.next(count)

    async def next(self, count: int = 1) -> list[str]:
        return [await asyncio.wait_for(self.lines.get(), 400) for _ in range(count)]

    async def quiet(self, seconds: float = 1.0) -> bool:
        await asyncio.sleep(seconds)
        return self.lines.empty()


@asynccontextmanager
async def bench(kind: type[SerialModule], region: str = "EU868", **options: Any) -> AsyncIterator[Bench]:
    made = Bench(kind, region, **options)
    await made.gateway.open()
    await asyncio.sleep(0.1)
    yield made
    made.module.hang()
    made.line.close()
    await made.gateway.aclose()


# --- RAK3172 ----------------------------------------------------------------------------------------------------------


async def rak_joined(made: Bench) -> None:
    for command in (f"AT+APPEUI={JOIN_EUI:016X}", f"AT+APPKEY={KEY_TEXT}", "AT+DR=5", "AT+DCS=0"):
        assert await made.ask(command) == ["OK"]
    assert await made.ask("AT+JOIN=1:0:8:0") == ["OK"]
    assert await made.next() == ["+EVT:JOINED"]


async def test_rak_joins_sends_and_receives() -> None:
    async with bench(VirtualRak3172) as made:
        assert await made.ask("AT") == ["OK"]
        assert await made.ask("AT+VER=?", 2) == ["AT+VER=RUI_4.0.6_RAK3172-E", "OK"]
        assert await made.ask("AT+SEND=2:00") == ["AT_NO_NETWORK_JOINED"]
        await rak_joined(made)
        assert await made.ask("AT+NJS=?", 2) == ["AT+NJS=1", "OK"]
        made.known.send(b"\xaa\x55", port=9)
        assert await made.ask("AT+SEND=2:68656C6C6F") == ["OK"]
        assert await made.ask("AT+SEND=2:00") == ["AT_BUSY_ERROR"]
        done, received = await made.next(2)
        assert done == "+EVT:TX_DONE"
        assert received.startswith("+EVT:RX_1:-")
        assert received.endswith(":13:UNICAST:9:AA55")
        assert await made.ask("AT+RECV=?", 2) == ["AT+RECV=9:AA55", "OK"]
        assert [(each.data, each.port) for each in made.known.uplinks] == [(b"hello", 2)]


@pytest.mark.parametrize(
    ("firmware", "ok", "failed"),
    [
        (RUI3_4, "+EVT:SEND_CONFIRMED_OK", "+EVT:SEND_CONFIRMED_FAILED(4)"),
        (RUI3_1, "+EVT:SEND CONFIRMED OK", "+EVT:SEND CONFIRMED FAILED"),
    ],
)
async def test_rak_confirmed_uplinks_as_each_firmware_spells_it(firmware: Rui3Firmware, ok: str, failed: str) -> None:
    async with bench(VirtualRak3172, firmware=firmware) as made:
        await rak_joined(made)
        assert await made.ask("AT+CFM=1") == ["OK"]
        assert await made.ask("AT+SEND=2:01", 2) == ["OK", ok]
        made.ether.obstruct(made.gateway.station, 100.0)
        assert await made.ask("AT+SEND=2:02", 2) == ["OK", failed]
        assert await made.ask("AT+CFS=?", 2) == ["AT+CFS=0", "OK"]


async def test_rak_events_of_an_older_style() -> None:
    async with bench(VirtualRak3172, firmware=WISBLOCK) as made:
        made.say(f"AT+APPEUI={JOIN_EUI:016X}", f"AT+APPKEY={KEY_TEXT}", "AT+DR=5", "AT+JOIN=1:0:8:0")
        assert (await made.next(9))[-1] == "+EVT:JOINED"
        made.known.send(b"\x01", port=3)
        await made.ask("AT+SEND=2:00", 2)
        _, levels, payload = await made.next(3)
        assert levels.startswith("+EVT:RX_1, RSSI -")
        assert payload == "+EVT:3:01"


async def test_rak_refuses_what_is_wrong_and_never_tells_a_key() -> None:
    async with bench(VirtualRak3172) as made:
        for command in (
            "AT+DEVEUI=12",
            "AT+APPKEY=zz",
            "AT+DR=9",
            "AT+SEND=0:00",
            "AT+SEND=2:0",
            "AT+JOIN=2",
            "AT+NWM=7",
        ):
            assert await made.ask(command) == ["AT_PARAM_ERROR"], command
        assert await made.ask("AT+NONSENSE=1") == ["AT_COMMAND_NOT_FOUND"]
        assert await made.ask(f"AT+APPKEY={KEY_TEXT}") == ["OK"]
        assert await made.ask("AT+APPKEY=?") == ["AT_ERROR"]
        assert made.module.key_reads == 1
        assert KEY_TEXT.encode() not in made.port.journal.bytes_in(Direction.TO_HOST)
        assert KEY.hex() not in repr(made.module.device).lower()


async def test_rak_from_the_factory_in_another_mode_and_band() -> None:
    async with bench(VirtualRak3172, region="EU868", point_to_point=True) as made:
        assert await made.ask("AT+NWM=?", 2) == ["AT+NWM=0", "OK"]
        assert await made.ask("AT+JOIN=1:0:8:0") == ["AT_MODE_NO_SUPPORT"]
        assert await made.ask("AT+CFM=?") == ["AT_MODE_NO_SUPPORT"]
        banner = await made.ask("AT+NWM=1", 4)
        assert banner[-1] == "Current Work Mode: LoRaWAN."
        assert await made.ask("AT+BAND=5") == ["OK"]
        assert await made.ask("AT+JOIN=1:0:8:0", 2) == ["OK", "+EVT:JOIN_FAILED_RX_TIMEOUT"]
        assert await made.ask("AT+BAND=4") == ["OK"]
        await rak_joined(made)


async def test_rak_duty_cycle_and_too_long() -> None:
    async with bench(VirtualRak3172) as made:
        await rak_joined(made)
        made.say("AT+DR=0", "AT+ADR=0", "AT+DCS=1")
        await made.next(3)
        assert await made.ask("AT+SEND=2:" + "00" * 52, 2) == ["AT_PARAM_ERROR", "+EVT:TX_DONE"]
        assert [(each.data, each.port) for each in made.known.uplinks] == [(b"", 2)]
        said = await made.ask("AT+SEND=2:" + "00" * 51, 2)
        assert said == ["OK", "+EVT:TX_DONE"]
        while said[0] == "OK":
            said = await made.ask("AT+SEND=2:" + "00" * 51, 2)
        assert re.fullmatch(r"Restricted_Wait_\d{3,6}_ms", said[0])
        assert said[1] == "AT_BUSY_ERROR"


async def test_rak_sends_by_itself_what_the_network_asks_for() -> None:
    async with bench(VirtualRak3172) as made:
        await rak_joined(made)
        made.known.send(b"\x01", port=3)
        made.known.send(b"\x02", port=3)
        said = await made.ask("AT+SEND=2:00", 5)
        assert [line.split(":")[1].split("_")[0] for line in said[1:]] == ["TX", "RX", "TX", "RX"]
        assert [each.data for each in made.known.uplinks] == [b"\0", b""]


async def test_rak_of_the_first_firmware_does_not_tell_the_end_of_an_uplink() -> None:
    async with bench(VirtualRak3172, firmware=RUI3_FIRST) as made:
        await rak_joined(made)
        assert await made.ask("AT+SEND=2:00") == ["OK"]
        assert await made.quiet(30)


async def test_rak_link_check_and_time() -> None:
    async with bench(VirtualRak3172) as made:
        await rak_joined(made)
        made.say("AT+LINKCHECK=1", "AT+TIMEREQ=1", "AT+SEND=2:00")
        said = await made.next(6)
        assert said[3] == "+EVT:TX_DONE"
        assert sorted(line.split(":")[1] for line in said[4:]) == ["LINKCHECK", "TIMEREQ OK"]
        answer = (await made.ask("AT+LTIME=?", 2))[0]
        assert answer.endswith("on 09/21/2026")


async def test_rak_power_cut_hang_and_other_faults() -> None:
    async with bench(VirtualRak3172, boot_time=1.0) as made:
        await rak_joined(made)
        made.say("AT+SEND=2:00")
        await made.next()
        made.module.power_cut(0.5)
        said = await made.next(4)
        assert said[0] == "RAKwireless RAK3172-E Example"
        assert await made.ask("AT+NJS=?", 2) == ["AT+NJS=0", "OK"]
        made.module.hang()
        made.say("AT")
        assert await made.quiet(30)
        made.module.reset_line.write(True)
        made.module.reset_line.write(False)
        await made.next(4)
        made.module.interject("+EVT:RX_1:-34:15:UNICAST:15:000102030405")
        assert await made.ask("AT+NJM=?", 3) == ["+EVT:RX_1:-34:15:UNICAST:15:000102030405", "AT+NJM=1", "OK"]
        made.module.ignore("AT+VER")
        made.say("AT+VER=?")
        assert await made.quiet()
        made.say("AT+SLEEP=5000")
        await made.next()
        made.say("AT")
        assert await made.quiet(0.1)
        assert await made.ask("AT") == ["OK"]


async def test_rak_joins_again_by_itself_and_tries_as_often_as_told() -> None:
    async with bench(VirtualRak3172) as made:
        await rak_joined(made)
        made.ether.obstruct(made.gateway.station, 100.0)
        assert await made.ask("AT+JOIN=1:1:7:2") == ["OK"]
        assert await made.next() == ["+EVT:JOIN_FAILED_RX_TIMEOUT"]
        assert len(made.ether.log) == 4
        made.ether.clear()
        made.module.power_cut()
        assert (await made.next(5))[-1] == "+EVT:JOINED"


# --- Wio-E5 -----------------------------------------------------------------------------------------------------------


async def wio_joined(made: Bench) -> None:
    assert await made.ask(f'AT+ID=AppEui,"{JOIN_EUI:016X}"') == ["+ID: AppEui, 01:02:03:04:05:06:07:08"]
    assert await made.ask(f'AT+KEY=APPKEY,"{KEY_TEXT}"') == [f"+KEY: APPKEY {KEY.hex(' ').upper()}"]
    assert await made.ask("AT+DR=DR5", 2) == ["+DR: DR5", "+DR: EU868 DR5  SF7  BW125K "]
    assert await made.ask("AT+LW=DC,OFF") == ["+LW: DC, OFF"]
    made.say("AT+JOIN")
    said = await made.next(5)
    assert said[:3] == ["+JOIN: Start", "+JOIN: NORMAL", "+JOIN: Network joined"]
    assert said[3].startswith("+JOIN: NetID 000013 DevAddr ")
    assert said[4] == "+JOIN: Done"


async def test_wio_joins_sends_and_receives() -> None:
    async with bench(VirtualWioE5) as made:
        assert await made.ask("AT") == ["+AT: OK"]
        assert await made.ask("AT+VER") == ["+VER: 4.0.11"]
        assert await made.ask("AT+ID", 3) == [
            "+ID: DevAddr, 00:00:00:00",
            "+ID: DevEui, 70:B3:D5:7E:D0:00:00:01",
            "+ID: AppEui, 00:00:00:00:00:00:00:00",
        ]
        assert await made.ask('AT+MSGHEX="00"') == ["+MSGHEX: Please join network first"]
        await wio_joined(made)
        assert await made.ask("AT+JOIN") == ["+JOIN: Joined already"]
        assert await made.ask("AT+PORT=2") == ["+PORT: 2"]
        made.known.send(b"\xa1\xb2", port=1)
        made.known.send(b"more", port=1)
        said = await made.ask('AT+MSGHEX="68 65 6c 6c 6f"', 5)
        assert said[:3] == ["+MSGHEX: Start", "+MSGHEX: FPENDING", '+MSGHEX: PORT: 1; RX: "A1B2"']
        assert said[3].startswith("+MSGHEX: RXWIN1, RSSI -")
        assert said[3].endswith("SNR 13.0")
        assert said[4] == "+MSGHEX: Done"
        made.known.queue.clear()
        said = await made.ask('AT+CMSG="hi"', 5)
        assert said[:3] == ["+CMSG: Start", "+CMSG: Wait ACK", "+CMSG: ACK Received"]
        assert [(each.data, each.port) for each in made.known.uplinks] == [(b"hello", 2), (b"hi", 2)]


async def test_wio_refusals_and_modes() -> None:
    async with bench(VirtualWioE5, mode="TEST", region="EU868") as made:
        assert await made.ask("AT+JOIN") == ["+JOIN: ERROR(-12)"]
        assert await made.ask("AT+MODE=LWOTAA") == ["+MODE: LWOTAA"]
        assert await made.ask("AT+NONSENSE") == ["+NONSENSE: ERROR(-10)"]
        assert await made.ask('AT+KEY=APPKEY,"12"') == ["+KEY: ERROR(-1)"]
        assert await made.ask("AT+KEY=APPKEY") == ["+KEY: ERROR(-1)"]
        assert made.module.key_reads == 1
        await wio_joined(made)
        assert await made.ask('AT+MSGHEX="0g"') == ["+MSGHEX: ERROR(-23)"]
        assert await made.ask("AT+LW=LEN") == ["+LW: LEN, 242"]
        made.say("AT+ADR=OFF", "AT+DR=0", "AT+LW=DC,ON")
        await made.next(4)
        assert await made.ask('AT+MSGHEX="' + "00" * 52 + '"') == ["+MSGHEX: Length error 51"]
        for _ in range(2):
            await made.ask('AT+MSGHEX="' + "00" * 51 + '"', 2)
        (answer,) = await made.ask('AT+MSGHEX="00"')
        assert answer.startswith("+MSGHEX: No band in ")


async def test_wio_wrong_region_join_failure_and_busy() -> None:
    async with bench(VirtualWioE5) as made:
        made.say(f'AT+KEY=APPKEY,"{KEY_TEXT}"', f'AT+ID=AppEui,"{JOIN_EUI:016X}"', "AT+DR=US915")
        await made.next(3)
        made.say("AT+JOIN", "AT+JOIN")
        said = await made.next(5)
        assert said == [
            "+JOIN: Start",
            "+JOIN: NORMAL",
            "+JOIN: LoRaWAN modem is busy",
            "+JOIN: Join failed",
            "+JOIN: Done",
        ]


async def test_wio_sleep_link_check_time_and_power_cut() -> None:
    async with bench(VirtualWioE5) as made:
        await wio_joined(made)
        assert await made.ask("AT+LOWPOWER") == ["+LOWPOWER: SLEEP"]
        made.line.write(b"A\r\n")
        assert await made.next() == ["+LOWPOWER: WAKEUP"]
        made.say("AT+LW=LCR", "AT+LW=DTR", "AT+MSG")
        said = await made.next(6)
        assert said[3] == "+MSG: Link 20, 1"
        assert (await made.ask("AT+RTC"))[0].startswith("+RTC: 2026-09-21 ")
        made.module.power_cut()
        await asyncio.sleep(1)
        assert await made.ask('AT+MSG="x"') == ["+MSG: Please join network first"]
        assert await made.ask("AT+RESET") == ["+RESET: OK"]


# --- RN2483, RN2903 ---------------------------------------------------------------------------------------------------


async def rn_joined(made: Bench) -> None:
    for command in (f"deveui {EUI:016X}", f"appeui {JOIN_EUI:016X}", f"appkey {KEY_TEXT}", "ch dcycle 0 0"):
        assert await made.ask(f"mac set {command}") == ["ok"]
    assert await made.ask("mac join otaa", 2) == ["ok", "accepted"]


async def test_rn_joins_sends_and_receives() -> None:
    async with bench(VirtualRn2483) as made:
        assert await made.ask("sys get ver") == ["RN2483 1.0.5 Oct 31 2018 15:06:52"]
        assert await made.ask("sys get hweui") == [f"{EUI:016X}"]
        assert await made.ask("mac join otaa") == ["keys_not_init"]
        assert await made.ask("mac tx uncnf 1 00") == ["not_joined"]
        await rn_joined(made)
        assert await made.ask("mac get status") == ["00000010"]
        assert await made.ask("mac tx uncnf 2 68656C6C6F", 2) == ["ok", "mac_tx_ok"]
        made.known.send(b"\x0a\x0b", port=1)
        assert await made.ask("mac tx cnf 2 00", 2) == ["ok", "mac_rx 1 0A0B"]
        made.ether.obstruct(made.gateway.station, 100.0)
        made.say("mac set retx 1", "mac tx cnf 2 01", "mac tx cnf 2 02")
        assert await made.next(4) == ["ok", "ok", "busy", "mac_err"]
        assert await made.ask("mac get upctr") == ["3"]
        assert [each.data for each in made.known.uplinks] == [b"hello", b"\0"]


async def test_rn_refusals_and_spellings() -> None:
    async with bench(VirtualRn2483, firmware=RN2483_101) as made:
        for command in ("nonsense", "mac set appkey 12", "mac tx cnf 0 00", "mac get appkey", "mac set dr 9", "radio"):
            assert await made.ask(command) == ["invalid_param"], command
        assert made.module.key_reads == 1
        await rn_joined(made)
        assert await made.ask("mac get status") == ["0001"]
        assert await made.ask("mac tx uncnf 2 " + "00" * 243) == ["invalid_data_len"]
        assert isinstance(made.module, VirtualRn2483)
        made.module.counters_used_up = True
        assert await made.ask("mac tx uncnf 2 00") == ["fram_counter_err_rejoin_needed"]
        made.module.silence()
        assert await made.ask("mac tx uncnf 2 00") == ["silent"]
        assert await made.ask("mac forceENABLE") == ["ok"]
        assert await made.ask("mac pause") == ["4294967245"]
        assert await made.ask("mac tx uncnf 2 00") == ["mac_paused"]
        assert await made.ask("mac resume") == ["ok"]


async def test_rn_keeps_over_a_power_cut_what_was_saved() -> None:
    async with bench(VirtualRn2483) as made:
        await rn_joined(made)
        await made.ask("mac tx uncnf 2 00", 2)
        assert await made.ask("mac save") == ["ok"]
        made.module.power_cut()
        assert await made.next() == ["RN2483 1.0.5 Oct 31 2018 15:06:52"]
        assert await made.ask("mac join abp", 2) == ["ok", "accepted"]
        assert await made.ask("mac tx uncnf 2 01", 2) == ["ok", "mac_tx_ok"]
        assert [each.counter for each in made.known.uplinks] == [0, 1]
        assert await made.ask("sys factoryRESET") == ["RN2483 1.0.5 Oct 31 2018 15:06:52"]
        assert await made.ask("mac join abp") == ["keys_not_init"]


async def test_rn_sleeps_until_its_time_or_the_auto_baud_character() -> None:
    async with bench(VirtualRn2483) as made:
        start = asyncio.get_running_loop().time()
        assert await made.ask("sys sleep 5000") == ["ok"]
        assert asyncio.get_running_loop().time() - start == pytest.approx(5.0, abs=0.1)
        made.say("sys sleep 100000")
        await asyncio.sleep(1)
        made.say("mac get dr")
        assert await made.quiet()
        made.line.write(b"\0\x55")
        assert await made.next() == ["ok"]
        assert await made.ask("\0\x55mac get dr") == ["5"]


async def test_rn_as_a_bare_radio() -> None:
    async with bench(VirtualRn2483) as made:
        other = Bench.__new__(Bench)
        other.ether, other.port = made.ether, MemoryPort()
        other.module = VirtualRn2483(other.port, made.ether, name="other", position=(350.0, 0.0))
        other.lines, other._partial = asyncio.Queue(), b""
        other.line = other.port.open_line("memory", 57600, other._heard, lambda error: None)
        for each in (made, other):
            each.say("mac pause", "radio set sf sf7", "radio set freq 868300000")
            assert await each.next(3) == ["4294967245", "ok", "ok"]
        assert await other.ask("radio rx 0") == ["ok"]
        assert await made.ask("radio tx 48656C6C6F", 2) == ["ok", "radio_tx_ok"]
        assert await other.next() == ["radio_rx  48656C6C6F"]
        assert await other.ask("radio rx 10", 2) == ["ok", "radio_err"]
        other.module.hang()
        other.line.close()


async def test_rn2903_in_its_region() -> None:
    async with bench(VirtualRn2903, region="US915") as made:
        await rn_joined(made)
        assert await made.ask("mac tx uncnf 2 00", 2) == ["ok", "mac_tx_ok"]
        assert await made.ask("mac reset 868") == ["invalid_param"]
        assert await made.ask("mac reset") == ["ok"]


# --- words ------------------------------------------------------------------------------------------------------------


async def test_rak_says_what_real_ones_say() -> None:
    for case in corpus("vendor_response_lines.json")["cases"]:
        expected = case["expect"]
        if case["device"] == "RAK RUI3" and "cast" in expected:
            values = {"window": 1, **{name: expected[name] for name in ("rssi", "snr", "port", "data")}}
            assert RUI3_4.reception[0].format(**values) == case["response"]
    spelt = {
        text
        for firmware in (RUI3_1, RUI3_4, WISBLOCK)
        for text in (firmware.join_failed, firmware.confirmed_ok, firmware.confirmed_failed)
    }
    assert {
        "+EVT:JOIN FAILED",
        "+EVT:SEND CONFIRMED OK",
        "+EVT:SEND_CONFIRMED_OK",
        "+EVT:SEND CONFIRMED FAILED",
    } <= spelt


async def test_answers_can_be_replaced() -> None:
    async with bench(VirtualRak3172) as made:
        made.module.override("AT+SEND", "AT_RX_ERROR", "AT_CRYPTO_ERROR")
        for answer in ("AT_RX_ERROR", "AT_CRYPTO_ERROR", "AT_NO_NETWORK_JOINED"):
            assert await made.ask("AT+SEND=2:00") == [answer]


async def test_wio_test_mode() -> None:
    async with bench(VirtualWioE5, mode="TEST") as made:
        heard = MemoryPort()
        other = VirtualWioE5(heard, made.ether, mode="TEST", name="other", position=(310.0, 0.0))
        said: list[bytes] = []
        line = heard.open_line("memory", 9600, said.append, lambda error: None)
        line.write(b"AT+TEST=RFCFG,868,SF7,125,12,15,14,ON,OFF,OFF\r\nAT+TEST=RXLRPKT\r\n")
        (answer,) = await made.ask("AT+TEST=RFCFG,868,SF7,125,12,15,14,ON,OFF,OFF")
        assert answer.startswith("+TEST: RFCFG F:868000000, SF7, BW125K, TXPR:12, RXPR:15, POW:14dBm")
        assert await made.ask('AT+TEST=TXLRPKT,"00 AA"', 2) == ['+TEST: TXLRPKT "00AA"', "+TEST: TX DONE"]
        await asyncio.sleep(1)
        told = b"".join(said).decode().split("\r\n")
        assert told[1] == "+TEST: RXLRPKT"
        assert told[2].startswith("+TEST: LEN:2, RSSI:-")
        assert told[3] == '+TEST: RX "00AA"'
        assert await made.ask("AT+TEST=STOP") == ["+TEST: STOP"]
        assert await made.ask("AT+TEST=NONSENSE") == ["+TEST: ERROR(-1)"]
        other.hang()
        line.close()


@pytest.mark.parametrize("kind", [VirtualRak3172, VirtualWioE5, VirtualRn2483])
async def test_any_line_is_answered_or_passed_over(kind: type[SerialModule]) -> None:
    chance = random.Random(7)
    pieces = [
        "AT",
        "+",
        "=",
        "?",
        "SEND",
        "JOIN",
        "KEY",
        "ID",
        ",",
        '"',
        ":",
        "mac",
        "set",
        "tx",
        "get",
        " ",
        "0",
        "AA",
        "é",
    ]
    async with bench(kind) as made:
        for _ in range(300):
            made.say("".join(chance.choices(pieces, k=chance.randrange(1, 7))))
        await asyncio.sleep(200)
        while not made.lines.empty():
            assert "Traceback" not in made.lines.get_nowait()
        made.say("AT" if kind is not VirtualRn2483 else "sys get ver")
        await asyncio.sleep(1)
        assert not made.lines.empty()
