"""How the virtual modem registers, and what it tells of the network; held against replies of real modems."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.modem import EC25, Air, Cell, Hang
from tests.hil.bench import Bench, corpus


def cover(bench: Bench, on: bool, seconds: float = 0.0) -> list[str]:
    bench.modem.air.coverage = on
    return bench.do(lambda modem: modem.registration.evaluate(), seconds)


# --- a reader of registration lines that real replies vouch for -------------------------------------------------------


@dataclass(frozen=True)
class Registration:
    command: str
    stat: int
    area: int = 0
    cell: int = 0


def read_registration(line: str, *, solicited: bool) -> Registration:
    """A reader of the shapes of 3GPP TS 27.007 that knows nothing of this project."""
    command, _, rest = line.strip().partition(":")
    fields = [field.strip().strip('"') for field in rest.split(",")]
    stat, *place = fields[1:] if solicited else fields
    if len(place) >= 2 and place[0]:
        return Registration(command.lstrip("+"), int(stat), int(place[0], 16), int(place[1], 16))
    return Registration(command.lstrip("+"), int(stat))


# Shapes of other makers that no Quectel modem says: two reports in one, the solicited shape as a URC, a routing area
# between area and cell, blanks inside a number.
_OTHERS = "cgreg_multi|md400|x220|s8500|gobi_weird|with_rac|altair_lte_solicited|novatel_lte"


def test_the_reader_reads_what_real_modems_say() -> None:
    cases = [case for case in corpus("at_registration")["cases"] if not re.search(_OTHERS, case["id"])]
    assert len(cases) >= 40
    for case in cases:
        expected = case["expected"]
        found = read_registration(case["input"], solicited=case["kind"] == "read-reply")
        assert (found.stat, found.area, found.cell) == (expected["stat"], expected["lac_or_tac"], expected["ci"])


@pytest.mark.parametrize("command", ["CREG", "CGREG", "CEREG"])
@pytest.mark.parametrize("kind", range(6))
def test_reports_of_every_kind_read_as_real_ones_do(command: str, kind: int) -> None:
    bench = Bench()
    if command == "CREG" and kind > 3:
        assert bench.ask(f"AT+CREG={kind}") == ["+CME ERROR: 50"]
        return
    assert bench.ask(f"AT+{command}={kind}") == ["OK"]
    answer, final = bench.ask(f"AT+{command}?")
    place = (0x5B10, 0x3787103) if kind >= 2 else (0, 0)
    assert final == "OK"
    assert answer.startswith(f"+{command}: {kind},")
    assert read_registration(answer, solicited=True) == Registration(command, 1, *place)
    assert [read_registration(line, solicited=False) for line in cover(bench, False)] == (
        [Registration(command, 2)] if kind else []
    )
    assert [read_registration(line, solicited=False) for line in cover(bench, True, 10.0)] == (
        [Registration(command, 1, *place)] if kind else []
    )


def test_power_saving_timers_are_told_where_they_belong() -> None:
    bench = Bench()
    assert bench.ask('AT+CPSMS=1,,,"11100000","00111000"') == ["OK"]
    assert bench.ask("AT+CPSMS?") == ['+CPSMS: 1,,,"11100000","00111000"', "OK"]
    bench.ask("AT+CEREG=5")
    assert bench.ask("AT+CEREG?")[0] == '+CEREG: 5,1,"5B10","3787103",8,,,"00111000","11100000"'
    assert bench.ask('AT+CPSMS=1,,,"2","00111000"') == ["+CME ERROR: 50"]


def test_denial_comes_after_a_search_with_its_cause_and_ends_with_it() -> None:
    bench = Bench()
    bench.ask("AT+CEREG=3")
    bench.modem.air.denied = 15
    assert bench.do(lambda modem: modem.registration.evaluate()) == ["+CEREG: 2"]
    assert bench.hear(10.0) == ["+CEREG: 3,,,,0,15"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 3,3,,,,0,15", "OK"]
    assert bench.ask("AT+COPS?") == ["+COPS: 0", "OK"]
    assert '"LIMSRV"' in bench.ask('AT+QENG="servingcell"')[0]
    bench.modem.air.denied = None
    assert bench.do(lambda modem: modem.registration.evaluate(), 10.0) == [
        "+CEREG: 2",
        '+CEREG: 1,"5B10","3787103",8',
    ]


def test_roaming() -> None:
    bench = Bench(air=Air(roaming=True))
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,5", "OK"]


def test_no_coverage_leaves_it_searching_without_signal() -> None:
    bench = Bench(air=Air(coverage=False))
    assert bench.ask("AT+CEREG?;+CSQ;+CESQ;+QCSQ;+QNWINFO;+COPS?") == [
        "+CEREG: 0,2",
        "+CSQ: 99,99",
        "+CESQ: 99,99,255,255,255,255",
        '+QCSQ: "NOSERVICE"',
        "+QNWINFO: No Service",
        "+COPS: 0",
        "OK",
    ]
    assert bench.ask('AT+QENG="servingcell"') == ['+QENG: "servingcell","SEARCH"', "OK"]
    assert bench.ask('AT+QENG="neighbourcell"') == ["OK"]


def test_the_radio_off_is_not_registered_and_on_searches() -> None:
    bench = Bench()
    bench.ask("AT+CEREG=1")
    assert bench.ask("AT+CFUN=4", 2.0) == ["+CEREG: 0", "OK"]
    assert bench.ask("AT+CFUN?") == ["+CFUN: 4", "OK"]
    assert bench.ask("AT+CFUN=1", 2.0) == ["+CEREG: 2", "OK"]
    assert bench.hear(6.0) == ["+CEREG: 1"]
    assert bench.ask("AT+CFUN=7") == ["+CME ERROR: 50"]


def test_operator_selection() -> None:
    bench = Bench()
    assert bench.ask("AT+COPS=3,2;+COPS?") == ['+COPS: 0,2,"00101",8', "OK"]
    assert bench.ask("AT+COPS=2", 1.0) == ["OK"]
    assert bench.ask("AT+COPS?;+CEREG?") == ["+COPS: 2", "+CEREG: 0,0", "OK"]
    assert bench.ask("AT+COPS=0", 10.0) == ["OK"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,1", "OK"]
    assert bench.ask('AT+COPS=1,2,"99999"', 10.0) == ["+CME ERROR: 30"]
    assert bench.ask('AT+COPS=1,2,"00101"', 20.0) == ["OK"]


def test_a_hung_radio_searches_in_vain() -> None:
    bench = Bench()
    bench.modem.hang(Hang.RADIO)
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]
    assert bench.ask("AT+COPS=0", 30.0) == ["OK"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]


# --- cells ------------------------------------------------------------------------------------------------------------

SERVING = ("state", "rat", "duplex", "mcc", "mnc", "cell_id", "pci", "earfcn", "band", "ul_bw", "dl_bw", "tac")
LEVELS = ("rsrp", "rsrq", "rssi", "sinr_raw", "srxlev")
WORDS = ("state", "rat", "duplex", "mcc", "mnc")


def read_serving_cell(line: str) -> dict[str, Any]:
    """By the field order of Quectel's manual: cell identity and tracking area are hexadecimal."""
    fields = [field.strip('"') for field in line.partition(": ")[2].split(",")][1:]
    found: dict[str, Any] = {}
    for name, value in zip((*SERVING, *LEVELS), fields, strict=False):
        if name in WORDS:
            found[name] = value
        else:
            found[name] = int(value, 16 if name in ("cell_id", "tac") else 10) if value else None
    return found


def test_the_reader_reads_real_serving_cells_and_ours() -> None:
    cases = [
        case
        for case in corpus("vendor_response_lines")["cases"]
        if case["response"].startswith('+QENG: "servingcell"') and len(case["expect"]) in (1, 17)
    ]
    assert len(cases) >= 8
    for case in cases:
        expected = {name: value for name, value in case["expect"].items() if name != "note"}
        assert read_serving_cell(case["response"]) == expected
    bench = Bench(air=Air(mcc="334", mnc="020", cell=Cell(channel=2050, band=4, rsrp=-108, rsrq=-11, rssi=-83)))
    found = read_serving_cell(bench.ask('AT+QENG="servingcell"')[0])
    real = cases[0]["expect"]
    assert found.keys() == real.keys()
    same = ("state", "rat", "duplex", "mcc", "mnc", "cell_id", "pci", "earfcn", "band", "tac", "rsrp", "rsrq", "rssi")
    assert {name: found[name] for name in same} == {name: real[name] for name in same}


def test_traffic_makes_it_connected_for_a_while() -> None:
    bench = Bench()
    bench.online()
    bench.socket()
    bench.ask('AT+QISENDEX=0,"00"')
    assert '"CONNECT"' in bench.ask('AT+QENG="servingcell"')[0]
    bench.hear(11.0)
    assert '"NOCONN"' in bench.ask('AT+QENG="servingcell"')[0]


def test_an_ec25_is_plain_lte() -> None:
    bench = Bench(personality=EC25)
    assert bench.ask("ATI")[1] == "EC25"
    assert bench.ask("AT+COPS?") == ['+COPS: 0,0,"Virtual Cellular",7', "OK"]
    assert bench.ask("AT+QNWINFO")[0].startswith('+QNWINFO: "FDD LTE"')
    assert bench.ask("AT+CPSMS?") == ["ERROR"]
    assert bench.ask('AT+QCFG="iotopmode"') == ["ERROR"]


@settings(max_examples=30, deadline=None)
@given(rsrp=st.integers(-140, -44), rsrq=st.integers(-20, -3))
def test_indices_give_back_the_level(rsrp: int, rsrq: int) -> None:
    bench = Bench(air=Air(cell=Cell(rsrp=rsrp, rsrq=rsrq)))
    fields = [int(field) for field in bench.ask("AT+CESQ")[0].removeprefix("+CESQ: ").split(",")]
    # Lower edges of the bins, 3GPP TS 36.133 sections 9.1.4 and 9.1.7.
    assert fields[5] - 141 == rsrp
    assert fields[4] / 2 - 20 == rsrq


# --- time -------------------------------------------------------------------------------------------------------------


def read_clock(line: str) -> str:
    """A CCLK answer as ISO 8601."""
    match = re.fullmatch(r'\+CCLK:\s*"?(\d\d)/(\d\d)/(\d\d),(\d\d:\d\d:\d\d)([+-]\d\d)?"?', line)
    assert match
    year, month, day, time, zone = match.groups()
    ahead = datetime.timezone(datetime.timedelta(minutes=15 * int(zone or 0)))
    return datetime.datetime.fromisoformat(f"20{year}-{month}-{day}T{time}").replace(tzinfo=ahead).isoformat()


def test_the_clock_reads_like_real_ones() -> None:
    for case in corpus("at_cclk")["cases"]:
        if case["expected"].get("ok") and case["input"].startswith("+CCLK"):
            expected = case["expected"]["iso8601"].replace("Z", "+00:00")
            found = datetime.datetime.fromisoformat(read_clock(case["input"]))
            assert found == datetime.datetime.fromisoformat(expected if ":" in expected[-3:] else expected + ":00")
    bench = Bench()
    bench.ask("AT+CTZU=3")
    assert read_clock(bench.ask("AT+CCLK?")[0]).startswith("2026-01-01T01:00:0")
    assert read_clock(bench.ask("AT+CCLK?")[0]).endswith("+01:00")
    bench.ask("AT+CTZU=1")
    assert bench.ask("AT+CCLK?")[0].startswith('+CCLK: "26/01/01,00:00:0')
    assert bench.ask("AT+QLTS=1")[0].startswith('+QLTS: "2026/01/01,00:00:0')
    assert bench.ask("AT+QLTS=2")[0].startswith('+QLTS: "2026/01/01,01:00:0')


def test_the_clock_is_not_set_before_the_network_tells_and_may_set_it() -> None:
    bench = Bench()
    assert bench.ask("AT+CCLK?")[0].startswith('+CCLK: "80/01/06,')
    bench = Bench(air=Air(tells_time=False))
    bench.ask("AT+CTZU=3")
    assert bench.ask("AT+CCLK?")[0].startswith('+CCLK: "80/01/06,')
    assert bench.ask("AT+QLTS=1") == ['+QLTS: ""', "OK"]


# --- GNSS -------------------------------------------------------------------------------------------------------------


def test_gnss_needs_to_be_on_and_a_while() -> None:
    bench = Bench()
    assert bench.ask("AT+QGPSLOC=2") == ["+CME ERROR: 505"]
    assert bench.ask("AT+QGPSEND") == ["+CME ERROR: 505"]
    assert bench.ask("AT+QGPS=1") == ["OK"]
    assert bench.ask("AT+QGPS=1") == ["+CME ERROR: 504"]
    assert bench.ask("AT+QGPSLOC=2") == ["+CME ERROR: 516"]
    bench.hear(36.0)
    real = r"\+QGPSLOC: \d{6}\.\d+,-?\d+\.\d+,-?\d+\.\d+,[\d.]+,-?[\d.]+,[23],[\d.]+,[\d.]+,[\d.]+,\d{6},\d\d"
    matching = [
        case
        for case in corpus("vendor_response_lines")["cases"]
        if case["command"] == "AT+QGPSLOC" and re.fullmatch(real, case["response"])
    ]
    assert len(matching) >= 4
    assert re.fullmatch(real, bench.ask("AT+QGPSLOC=2")[0])
    assert ",59.32932,18.06858," in bench.ask("AT+QGPSLOC=2")[0]
    assert ",5919.7592N,01804.1148E," in bench.ask("AT+QGPSLOC=0")[0]
    bench.modem.air.sky = False
    assert bench.ask("AT+QGPSLOC=2") == ["+CME ERROR: 516"]
    assert bench.ask("AT+QGPSEND") == ["OK"]


# --- the rest of what real modems say ---------------------------------------------------------------------------------


def shape(line: str) -> str:
    """A line with each quoted text as S and each number as N."""
    return re.sub(r"-?\d+", "N", re.sub(r'"[^"]*"', "S", line))


def test_socket_and_status_lines_have_the_shape_of_real_ones() -> None:
    bench = Bench(personality=EC25)
    bench.online()
    serial = bench.socket()
    bench.datagram(serial, b"hello, world")
    bench.ask("AT+QIRD=0,6")
    bench.ask('AT+QISENDEX=0,"00"', 1.0)
    opened = bench.ask('AT+QIOPEN=1,0,"UDP","198.51.100.7",4242,0,0', 1.0)
    compared = 0
    for case in corpus("vendor_response_lines")["cases"]:
        command = case["command"]
        if not case["device"].startswith("Quectel EG800") or re.search("QPING|QNTP|QSSL", command):
            continue
        said = opened[1:] if command.startswith("AT+QIOPEN") else bench.ask(command.replace("QISTATE", "QISTATE?"), 1.0)
        name = "operation|operate successfully|socket identity has been used"
        assert shape(re.sub(name, "text", said[0])) == shape(re.sub(name, "text", case["response"])), command
        compared += 1
    assert compared >= 10
    assert bench.ask("AT+QIGETERROR") == ["+QIGETERROR: 563,socket identity has been used", "OK"]


def test_what_general_clients_ask_when_they_start() -> None:
    bench = Bench()
    assert "AT+QIOPEN" in bench.ask("AT+CLAC")
    assert bench.ask("AT+CMGF=0") == ["OK"]
    assert bench.ask("AT+CSCA?") == ['+CSCA: "+46700000000",145', "OK"]
    assert bench.ask('AT+CPMS="ME"') == ["+CPMS: 0,23,0,23,0,23", "OK"]
    assert bench.ask("AT+CMGS=20") == ["ERROR"], "no message is sent, and none is said to be"
