"""Registration reports of real modems, asked and unasked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.errors import CommandFailed
from rataccess_drivers.at.registration import AccessTechnology, Registration, is_registration_urc, parse_registration
from tests.at.at_corpora import cases

TECHNOLOGIES = {
    None: None,
    "gsm": AccessTechnology.GSM,
    "edge": AccessTechnology.EGPRS,
    "umts": AccessTechnology.UTRAN,
    "lte": AccessTechnology.LTE,
    "5gnr": AccessTechnology.NR,
}


@pytest.mark.parametrize("case", cases("at_registration"))
def test_real_report(case: dict[str, Any]) -> None:
    """ModemManager writes 0 for an area or cell that is absent (or, once, garbled: `0 5`); here that is `None`."""
    wanted = case["expected"]
    line = next(line for line in case["input"].split("\r\n") if line.startswith(f"+{wanted['command']}:"))
    found = parse_registration(line)
    assert found.name == wanted["command"]
    assert found.stat == wanted["stat"]
    assert found.state.name.lower() == wanted["state"]
    assert (found.area or 0, found.cell or 0) == (wanted["lac_or_tac"], wanted["ci"])
    assert found.technology == TECHNOLOGIES[wanted["act"]]


@pytest.mark.parametrize("case", cases("at_registration"))
def test_real_report_is_told_from_a_urc(case: dict[str, Any]) -> None:
    """Some modems send URCs in the shape of a read reply; those alone are taken for one while the command runs."""
    wanted = case["expected"]
    line = next(line for line in case["input"].split("\r\n") if line.startswith(f"+{wanted['command']}:"))
    urc = is_registration_urc(line, f"AT+{wanted['command']}?")
    solicited_shape = parse_registration(line).mode is not None
    assert urc == (not solicited_shape)
    if case["kind"] == "read-reply":
        assert not urc
    assert is_registration_urc(line, f"AT+{wanted['command']}=2")


def test_psm_form_of_quectel_and_nordic() -> None:
    """n = 5: cause left empty, then both timers."""
    found = parse_registration('+CEREG: 5,5,"76C1","0102DA05",7,,,"11100000","00111000"')
    assert (found.mode, found.stat, found.area, found.cell, found.act) == (5, 5, 0x76C1, 0x0102DA05, 7)
    assert (found.active_time, found.periodic_update, found.cause) == ("11100000", "00111000", None)
    assert found.roaming
    assert found.registered


def test_reject_cause_of_lte() -> None:
    found = parse_registration("+CEREG: 3,,,,0,15")
    assert (found.mode, found.denied, found.cause_type, found.cause) == (None, True, 0, 15)
    assert not found.registered


def test_unquoted_short_area_with_a_wide_cell_is_a_urc() -> None:
    """`1,5,1A2B3C4,7` would have an area of more than 24 bits if 5 were the stat."""
    found = parse_registration("+CEREG: 1,5,1A2B3C4,7")
    assert (found.stat, found.area, found.cell, found.act) == (1, 5, 0x1A2B3C4, 7)


def test_satellite_of_nordic() -> None:
    found = parse_registration('+CEREG: 5,"09DC","000DC379",14')
    assert found.technology is AccessTechnology.SATELLITE_NB_IOT
    assert found.technology.rat == "ntn-nb-iot"


def test_numbers_that_no_standard_has() -> None:
    found = parse_registration('+CEREG: 91,"0001","00000001",99')
    assert (found.stat, found.state.name, found.technology, found.registered) == (91, "UNKNOWN", None, False)


@pytest.mark.parametrize(
    "line", ["+CEREG:", "+CEREG: ", "+CEREG: ,", "+CEREG: x", "+CSQ: 1", "", "CEREG: 1", "+CEREG: -1"]
)
def test_no_report(line: str) -> None:
    with pytest.raises(CommandFailed, match="not a registration report"):
        parse_registration(line)


@given(st.text(alphabet='0123456789ABCDEFabcdef,", ()-x\x00é', max_size=60))
def test_any_text_is_a_report_or_an_error(text: str) -> None:
    try:
        found = parse_registration("+CEREG:" + text)
    except CommandFailed:
        return
    assert isinstance(found, Registration)
    assert found.stat >= 0


@given(
    stat=st.integers(0, 11),
    mode=st.one_of(st.none(), st.integers(2, 5)),
    area=st.integers(0, 0xFFFF),
    cell=st.integers(0, 0xFFFFFFF),
    act=st.integers(0, 16),
)
def test_what_a_quoting_modem_writes_is_read_back(stat: int, mode: int | None, area: int, cell: int, act: int) -> None:
    head = f"{mode}," if mode is not None else ""
    line = f'+CEREG: {head}{stat},"{area:04X}","{cell:08X}",{act}'
    found = parse_registration(line)
    assert (found.mode, found.stat, found.area, found.cell, found.act) == (mode, stat, area, cell, act)
    assert is_registration_urc(line, "AT+CEREG?") == (mode is None)
