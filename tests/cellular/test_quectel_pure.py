"""What needs no modem: tables, parsers, options, against real lines and against any text at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.bus import parse_port
from rataccess.clock import SystemClock
from rataccess.config.check import check_options
from rataccess.driver import DriverContext, Evidence, HasPowerKey
from rataccess.errors import CommandFailed, ConfigurationError, NotNow, RegistrationDenied, TransportBroken
from rataccess.registry import driver
from rataccess_drivers.at.parsers import parse_registration
from rataccess_drivers.cellular import causes, events
from rataccess_drivers.cellular.cells import parse_location, parse_neighbour, parse_serving
from rataccess_drivers.cellular.events import read_event
from rataccess_drivers.cellular.flash import (
    active_time_bits,
    band_mask,
    cycle_bits,
    is_set,
    tau_bits,
    wanted_bands,
    wanted_technologies,
)
from rataccess_drivers.cellular.network import urc_port
from rataccess_drivers.cellular.options import PagingCycle, QuectelOptions, Rat
from rataccess_drivers.cellular.profiles import BG95, BG96, EC2X, profile_of
from rataccess_drivers.cellular.standing import Standing
from tests.cellular.quectel_rigs import corpus

# --- real lines -----------------------------------------------------------------------------------------------------------


def test_serving_cells_of_real_modems() -> None:
    cases = [case for case in corpus("vendor_response_lines") if case["response"].startswith('+QENG: "servingcell"')]
    assert len(cases) >= 10
    for case in cases:
        wanted, cell = case["expect"], parse_serving(case["response"])
        if "rat" not in wanted:
            assert cell is None, case
            continue
        assert cell is not None, case
        rats = {"eMTC": "lte-m", "LTE": "lte", "NTN NBIoT": "ntn-nb-iot"}
        found = (cell.rat, cell.mcc, cell.mnc, cell.cell, cell.area, cell.physical_cell, cell.channel, cell.band)
        names = ("mcc", "mnc", "cell_id", "tac", "pci", "earfcn", "band")
        assert found == (rats[wanted["rat"]], *(wanted[name] for name in names)), case
        assert (cell.signal_dbm, cell.quality_db) == (wanted["rsrp"], wanted["rsrq"]), case


def test_fixes_of_real_modems() -> None:
    cases = [case for case in corpus("vendor_response_lines") if case["response"].startswith("+QGPSLOC:")]
    assert len(cases) >= 5
    for case in cases:
        wanted, fix = case["expect"], parse_location(case["response"])
        assert fix is not None, case
        assert [fix.latitude, fix.longitude] == pytest.approx([wanted["lat"], wanted["lon"]]), case
        assert (fix.altitude, fix.satellites) == (wanted["alt_m"], wanted["sats"]), case
        assert fix.time == datetime.fromisoformat(wanted["utc"]).replace(tzinfo=UTC).timestamp(), case
        assert fix.accuracy is None  # a dilution of precision is none


def test_registration_lines_of_real_modems_are_events() -> None:
    for case in corpus("at_registration"):
        line = str(case["input"]).strip()
        if "\n" in line or "C5GREG" in line:
            continue
        event = read_event(line)
        try:
            report = parse_registration(line)
        except CommandFailed:
            assert event is None, line
        else:
            assert event == events.Registered(report), line


def test_en_dc_says_the_cell_in_a_line_of_its_own() -> None:
    cell = parse_serving('+QENG: "LTE","FDD",262,01,2C480D,29,1300,3,5,5,7ED,-97,-13,-63,12,23')
    assert cell is not None
    assert (cell.rat, cell.band, cell.signal_dbm) == ("lte", 3, -97.0)


def test_unknown_power_is_none() -> None:
    cell = parse_serving('+QENG: "servingcell","LIMSRV","eMTC","FDD",262,01,2C480D,29,1300,3,5,5,7ED,0,-,,,')
    assert cell is not None
    assert (cell.signal_dbm, cell.quality_db) == (None, None)


@pytest.mark.parametrize("values", ["-14,-99", "-99,-14"])
def test_neighbours_of_either_order(values: str) -> None:
    cell = parse_neighbour(f'+QENG: "neighbourcell intra","LTE",275,280,{values},-67,-,-,-,-,-,-')
    assert cell is not None
    assert (cell.signal_dbm, cell.quality_db, cell.physical_cell) == (-99.0, -14.0, 280)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("usb:2c7c:0700#if2", "usbat"),
        ("usb:2c7c:0700#if3", "usbmodem"),
        ("usb:2c7c:0700#if1", None),
        ("serial:/dev/ttyAMA0", "uart1"),
        ("serial:/dev/ttyUSB2", None),
        ("pty:/run/bg95", None),
    ],
)
def test_port_on_which_news_are_told(address: str, port: str | None) -> None:
    assert urc_port(parse_port(address)) == port


@settings(max_examples=300)
@given(
    st.sampled_from(
        [
            "",
            "+QENG: ",
            '+QENG: "servingcell",',
            '+QENG: "neighbourcell intra",',
            "+QGPSLOC: ",
            "+QIURC: ",
            "+CEREG: ",
            "+QIOPEN: ",
            "+CGEV: ",
            "+CGEV: NW PDN DEACT ",
            "+CPIN: ",
            "+CFUN: ",
        ]
    ),
    st.text(st.sampled_from('0123456789ABFxLTEMNW",-+.: \\()é\x00'), max_size=80) | st.text(max_size=40),
)
def test_any_text_is_survived(head: str, text: str) -> None:
    line = head + text
    parse_serving(line)
    parse_neighbour(line)
    fix = parse_location(line)
    assert fix is None or (abs(fix.latitude) <= 90 and abs(fix.longitude) <= 180)
    read_event(line)
    read_event(line, b"data")


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('+QIURC: "recv",3', events.SocketReadable(3)),
        ('+QIURC: "closed",11', events.SocketClosed(11)),
        ('+QIURC: "pdpdeact",1', events.ContextLost(1, '+QIURC: "pdpdeact",1')),
        ('+QIURC: "incoming full"', None),
        ('+QIURC: "dnsgip",0,1,600', None),
        ("+QIOPEN: 2,565", events.SocketOpened(2, 565)),
        ("RDY", events.Booted("RDY", True)),
        ("+CFUN: 1", events.Booted("+CFUN: 1", False)),
        ("+CFUN: 4", None),
        ("NORMAL POWER DOWN", events.PoweredDown()),
        ("+CPIN: NOT READY", events.SimChanged("NOT READY")),
        ("+CGEV: ME DETACH", events.ContextLost(None, "+CGEV: ME DETACH")),
        ("+CGEV: ME PDN ACT 1", None),
        ("+QIND: SMS DONE", None),
        ("RDYX", None),
    ],
)
def test_events(line: str, event: events.Event | None) -> None:
    assert read_event(line) == event


# --- tables ---------------------------------------------------------------------------------------------------------------


def test_models() -> None:
    families = {
        "BG95-M3": BG95,
        "bg77": BG95,
        "BG95-S5": BG95,
        "BG96": BG96,
        "EC25": EC2X,
        "EG25-G": EC2X,
        "EG91": EC2X,
    }
    assert {name: profile_of(name) for name in families} == families
    assert [profile_of(name) for name in ("", "SIM7600", "M95", "XBG95")] == [None] * 4


def test_power_timings_are_those_of_the_hardware_designs() -> None:
    for profile in (BG95, BG96, EC2X):
        assert 0.5 <= profile.power.key_on < 0.65  # on, and means nothing to one that is on
        assert 0.65 <= profile.power.key_off <= 1.0  # off, and on where it was off
    assert 2.0 <= BG95.power.reset <= 3.8
    assert all(0.15 <= profile.power.reset <= 0.46 for profile in (BG96, EC2X))


def test_timers() -> None:
    # 24.008 10.5.7.3 and 10.5.7.4a; examples of real modules
    assert active_time_bits(10) == "00000101"
    assert (active_time_bits(62), active_time_bits(63), active_time_bits(360)) == ("00011111", "00100010", "00100110")
    assert (tau_bits(62), tau_bits(63), tau_bits(3600)) == ("01111111", "10000011", "00000110")
    assert (tau_bits(1e9), active_time_bits(1e9)) == ("11011111", "01011111")


_UNITS = {"011": 2, "100": 30, "101": 60, "000": 600, "001": 3600, "010": 36_000, "110": 1_152_000}


@given(st.floats(min_value=2, max_value=35_712_000))
def test_periodic_update_is_never_shorter_than_asked(seconds: float) -> None:
    bits = tau_bits(seconds)
    unit = _UNITS[bits[:3]]
    assert 0 <= unit * int(bits[3:], 2) - seconds < unit


def test_paging_cycles() -> None:
    assert (cycle_bits(5.12, narrow_band=False), cycle_bits(5.13, narrow_band=False)) == ("0000", "0001")
    assert (cycle_bits(5.12, narrow_band=True), cycle_bits(50, narrow_band=True)) == ("0010", "0101")
    assert (cycle_bits(1e6, narrow_band=False), cycle_bits(1e6, narrow_band=True)) == ("1101", "1111")


@pytest.mark.parametrize(
    ("rats", "wanted"),
    [
        ([], {}),
        ([Rat.AUTO], {"nwscanmode": "0", "nwscanseq": "00", "iotopmode": "2"}),
        ([Rat.LTE_M], {"nwscanmode": "3", "nwscanseq": "02", "iotopmode": "0"}),
        ([Rat.NB_IOT, Rat.LTE_M], {"nwscanmode": "3", "nwscanseq": "0302", "iotopmode": "2"}),
        ([Rat.LTE_M, Rat.GSM, Rat.NB_IOT], {"nwscanmode": "0", "nwscanseq": "020103", "iotopmode": "2"}),
        ([Rat.GSM], {"nwscanmode": "1", "nwscanseq": "01"}),
    ],
)
def test_technologies_of_bg95(rats: list[Rat], wanted: dict[str, str]) -> None:
    assert wanted_technologies(rats, BG95.selection) == wanted


def test_technologies_of_ec25() -> None:
    assert wanted_technologies([Rat.LTE], EC2X.selection) == {"nwscanmode": "3", "nwscanseq": "04"}
    with pytest.raises(ConfigurationError, match="lte-m"):
        wanted_technologies([Rat.LTE_M], EC2X.selection)


def test_settings_are_compared_as_modems_give_them() -> None:
    assert is_set("nwscanseq", "020301", "0203")  # completed by the modem
    assert not is_set("nwscanseq", "030201", "0203")
    assert is_set("nwscanseq", "0", "00")
    assert not is_set("nwscanseq", "0203", "00")
    assert is_set("nwscanmode", "0", "0")
    assert not is_set("nwscanmode", "3", "0")


def test_bands() -> None:
    real = ["0xf", "0x100002000000000f0e189f", "0x10004200000000090e189f"]
    assert band_mask([3, 20]) == 0x80004
    assert wanted_bands(real, {Rat.LTE_M: [3, 20]}, BG95.selection) == ["f", "80004", "10004200000000090e189f"]
    assert wanted_bands(["0xF", "0x80004", "0x0"], {Rat.LTE_M: [20, 3]}, BG95.selection) is None
    with pytest.raises(ConfigurationError, match="gsm"):
        wanted_bands(real, {Rat.GSM: [8]}, BG95.selection)
    with pytest.raises(CommandFailed):
        wanted_bands(["what"], {Rat.LTE_M: [3]}, BG95.selection)


def test_denials() -> None:
    assert all(720 <= cause.retry_after <= 3600 for cause in causes.REJECT_CAUSES.values())
    assert all(cause.retry_after >= 900 for cause in causes.REJECT_CAUSES.values() if cause.lasting)
    error = causes.denied(None)
    assert isinstance(error, RegistrationDenied)
    assert error.retry_after == 900
    assert "no cause" in str(error)
    assert "PLMN not allowed" in str(causes.denied(11))
    assert causes.denied(200).retry_after == 900


def test_socket_errors_are_busy_or_broken() -> None:
    assert set(causes.SOCKET_ERRORS) == set(range(550, 575))
    for number in causes.SOCKET_ERRORS:
        error = causes.socket_error(number, "sending")
        assert isinstance(error, NotNow | TransportBroken)
        assert str(number) in str(error)
    assert isinstance(causes.socket_error(None, "sending"), TransportBroken)


# --- what follows from what is known -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "evidence", "detail"),
    [
        ([], Evidence.SIM, "not registered"),
        (["+CEREG: 2", "+CGREG: 0"], Evidence.SIM, "searching"),
        (["+CEREG: 3,,,,0,11", "+CGREG: 0"], Evidence.SIM, "PLMN not allowed"),
        (["+CEREG: 6"], Evidence.SIM, "SMS only"),
        (["+CEREG: 0", "+CGREG: 5"], Evidence.REGISTERED, "without data"),
        (["+CEREG: 3", "+CGREG: 1"], Evidence.REGISTERED, "without data"),
        (["+CEREG: 77"], Evidence.SIM, "out of coverage"),
    ],
)
def test_evidence(said: list[str], evidence: Evidence, detail: str) -> None:
    standing = Standing(port=True, answers=True, sim="READY")
    for line in said:
        report = parse_registration(line)
        standing.registrations[report.name] = report
    status = standing.status()
    assert status.evidence is evidence
    assert detail in status.detail


def test_one_domain_that_searches_holds_a_denial_back() -> None:
    standing = Standing(port=True, answers=True, sim="READY")
    for line in ("+CEREG: 2", "+CGREG: 3,,,,0,7"):
        report = parse_registration(line)
        standing.registrations[report.name] = report
    assert standing.denied is None
    standing.registrations["CEREG"] = parse_registration("+CEREG: 0")
    assert standing.denied is not None


# --- options --------------------------------------------------------------------------------------------------------------


def options(**values: Any) -> QuectelOptions:
    found: QuectelOptions = check_options({"port": "serial:/dev/ttyS0", **values}, QuectelOptions, "links.lte.options")
    return found


def test_options_from_a_file() -> None:
    found = options(
        apn="iot",
        rat=["lte-m", "nb-iot"],
        bands={"lte-m": [3, 20]},
        psm={"active_time": 10, "periodic_tau": 3600},
        edrx={"cycle": 20.48},
        power_key={"line": 17, "active_low": True},
        reset={"line": "RESET"},
        power_switch={"file": "/run/supply"},
    )
    assert (found.rat, found.bands) == ([Rat.LTE_M, Rat.NB_IOT], {Rat.LTE_M: [3, 20]})
    assert found.edrx == PagingCycle(cycle=20.48)
    made = driver("quectel").create(found, DriverContext("lte", SystemClock()))
    assert isinstance(made, HasPowerKey)
    assert not isinstance(driver("quectel").create(options(), DriverContext("lte", SystemClock())), HasPowerKey)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": "/dev/ttyUSB2"}, "port address"),
        ({"password": "x"}, "password"),
        ({"pin": "1234"}, "pin"),
        ({"rat": ["auto", "gsm"]}, "auto"),
        ({"rat": ["gsm", "gsm"]}, "twice"),
        ({"rat": ["5g"]}, "nb-iot"),
        ({"bands": {"lte-m": []}}, "bands"),
        ({"authentication": "chap"}, "username"),
        ({"username": "a", "username_secret": "b"}, "not both"),
        ({"apn": 'a"b'}, "apn"),
        ({"psm": {"active_time": 1, "periodic_tau": 60}}, "active_time"),
        ({"power_key": {}}, "line"),
        ({"power_key": {"line": 1, "file": "/x"}}, "line"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        options(**values)


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        options().apn = "other"  # type: ignore[misc]
    assert msgspec.structs.asdict(options())["baudrate"] == 115_200
