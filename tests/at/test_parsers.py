"""Replies of real modems, read by the 27.007 parsers; where ModemManager's own policy differs, the test says so."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.errors import CommandFailed
from rataccess_drivers.at import parsers
from rataccess_drivers.at.grammar import plain_text
from rataccess_drivers.at.parsers import AccessTechnology, SimLock
from tests.at.at_corpora import cases

TECHNOLOGIES = {
    "gsm": AccessTechnology.GSM,
    "edge": AccessTechnology.EGPRS,
    "umts": AccessTechnology.UTRAN,
    "lte": AccessTechnology.LTE,
    "5gnr": AccessTechnology.NG_RAN,
    "unknown": None,
}


def of(corpus: str, command: str) -> list[Any]:
    """The cases of one command in a corpus that has several."""
    return [each for each in cases(corpus) if each.values[0] is None or each.values[0].get("command") == command]


@pytest.mark.parametrize("case", of("at_cops_read", "+COPS?"))
def test_operator(case: dict[str, Any]) -> None:
    found = parsers.parse_operator(case["input"])
    wanted = case["expected"]
    assert (found.mode, found.format, found.name) == (wanted["mode"], wanted["format"], wanted["operator"])
    assert found.technology == TECHNOLOGIES[wanted["act"]]


@pytest.mark.parametrize("case", of("at_cops_read", "operator-name normalise"))
def test_operator_name_in_any_alphabet(case: dict[str, Any]) -> None:
    charset = case["context"]["te_charset"]
    assert parsers.decode_text(case["input"], None if charset == "unknown" else charset) == case["expected"]["name"]


@pytest.mark.parametrize("case", cases("at_cops_list"))
def test_networks(case: dict[str, Any]) -> None:
    """ModemManager makes a missing technology GSM, which is `None` here, and takes every name for GSM 7-bit."""
    charset = None if case["id"].endswith("ublox_lara") else "GSM"
    found = parsers.parse_networks(case["input"], charset=charset)
    wanted = case["expected"]
    assert [each.status for each in found] == [each["stat"] for each in wanted]
    assert [each.long_name for each in found] == [each["operator_long"] for each in wanted]
    assert [each.short_name for each in found] == [each["operator_short"] for each in wanted]
    assert [each.code for each in found] == [each["operator_code"] for each in wanted]
    for network, each in zip(found, wanted, strict=True):
        assert network.technology in (TECHNOLOGIES[each["access_tech"]], None)
        assert network.technology is not None or each["access_tech"] == "gsm"


def test_no_operator_is_a_mode_alone() -> None:
    found = parsers.parse_operator("+COPS: 0")
    assert (found.mode, found.name, found.plmn) == (0, None, None)


def test_the_length_of_a_network_code_is_kept() -> None:
    assert parsers.parse_operator('+COPS: 0,2,"310026",7').plmn == ("310", "026")
    assert parsers.parse_operator('+COPS: 0,2,"31026",7').plmn == ("310", "26")


@pytest.mark.parametrize("case", cases("at_cesq"))
def test_extended_signal(case: dict[str, Any]) -> None:
    """Lower bin edges, as ModemManager."""
    found = parsers.parse_extended_signal(case["input"])
    wanted = case["expected"]
    assert found.rssi_dbm == wanted.get("rssi")
    assert (found.rscp_dbm, found.ecno_db) == (wanted.get("rscp"), wanted.get("ecio"))
    assert (found.rsrq_db, found.rsrp_dbm) == (wanted.get("rsrq"), wanted.get("rsrp"))


@pytest.mark.parametrize(
    ("line", "power"),
    [
        ("+CSQ: 0,99", -113),
        ("+CSQ: 31,0", -51),
        ("+CSQ:20,99", -73),
        ("+CSQ: 99,99", None),
        ("+CSQ: 191,99", -25),
        ("+CSQ: 199,99", None),
        ("+CSQ: 77,99", None),
    ],
)
def test_signal(line: str, power: float | None) -> None:
    assert parsers.parse_signal(line).rssi_dbm == power


@pytest.mark.parametrize("case", cases("at_cclk"))
def test_clock(case: dict[str, Any]) -> None:
    wanted = case["expected"]
    if not wanted["ok"]:
        with pytest.raises(CommandFailed, match="not a time"):
            parsers.parse_clock(case["input"])
        return
    found = parsers.parse_clock(case["input"])
    plain = wanted["iso8601"][:19]
    assert found.time.replace(tzinfo=None).isoformat() == plain
    assert (found.offset_minutes or 0) == wanted["utc_offset_minutes"]


@pytest.mark.parametrize("text", ["70/01/01,00:00:05+00", "80/01/06,00:00:12+00", "04/01/01,00:00:00+00"])
def test_a_clock_that_was_never_set_is_known_for_it(text: str) -> None:
    assert not parsers.parse_clock(f'+CCLK: "{text}"').known
    assert parsers.parse_clock('+CCLK: "26/03/01,12:00:00+04"').known


@pytest.mark.parametrize(
    "text", ["25/02/30,00:00:00+00", "25/13/01,00:00:00", "25/01/01,24:00:00", "25/01/01,00:00:00+97"]
)
def test_no_such_time(text: str) -> None:
    with pytest.raises(CommandFailed, match="not a time"):
        parsers.parse_clock(f'+CCLK: "{text}"')


def test_time_of_quectel() -> None:
    found = parsers.parse_clock('+QLTS: "2026/03/01,12:00:00+04,0"')
    assert found.time.isoformat() == "2026-03-01T12:00:00+01:00"


@pytest.mark.parametrize("case", cases("at_cfun"))
def test_functionality(case: dict[str, Any]) -> None:
    wanted = case["expected"]["state"]
    assert parsers.parse_functionality(case["input"]) == {"on": 1, "off": 0, "low": 4}.get(wanted, wanted)


@pytest.mark.parametrize("case", of("at_pdp_context", "+CGDCONT=?"))
def test_context_ranges(case: dict[str, Any]) -> None:
    """ModemManager leaves out PPP, and the second of two ranges."""
    lines = [line for line in case["input"].splitlines() if not line.startswith("+CGDCONT: ,")]
    found = [each for each in map(parsers.parse_context_range, lines) if each.pdp_type != "PPP"]
    names = {"IP": "ipv4", "IPV6": "ipv6", "IPV4V6": "ipv4v6"}
    assert [names[each.pdp_type] for each in found] == [each["pdp_type"] for each in case["expected"]]
    assert [each.cids[0] for each in found] == [each["min_cid"] for each in case["expected"]]
    for each, wanted in zip(found, case["expected"], strict=True):
        assert wanted["max_cid"] in each.cids


@pytest.mark.parametrize("case", of("at_pdp_context", "+CGDCONT?"))
def test_contexts(case: dict[str, Any]) -> None:
    found = [parsers.parse_context(line) for line in case["input"].splitlines()]
    assert [(each.cid, each.apn) for each in found] == [(each["cid"], each["apn"]) for each in case["expected"]]
    assert {each.pdp_type for each in found} == {"IP"}


@pytest.mark.parametrize("case", of("at_pdp_context", "+CGACT?"))
def test_context_states(case: dict[str, Any]) -> None:
    found = [parsers.parse_context_state(line) for line in case["input"].splitlines()]
    assert [{"cid": each.cid, "active": each.active} for each in found] == list(case["expected"])


@pytest.mark.parametrize("case", of("at_pdp_context", "+CGCONTRDP"))
def test_context_parameters(case: dict[str, Any]) -> None:
    found = parsers.parse_context_parameters(case["input"])
    wanted = case["expected"]
    assert (found.cid, found.bearer, found.apn) == (wanted["cid"], wanted["bearer_id"], wanted.get("apn"))
    assert (found.address, found.mask) == (wanted.get("local_address"), wanted.get("subnet"))
    assert found.gateway == wanted.get("gateway_address")
    servers = [wanted[key] for key in ("dns_primary_address", "dns_secondary_address") if key in wanted]
    assert list(found.dns) == servers


@pytest.mark.parametrize("case", of("at_pdp_context", "apn-compare"))
def test_apns(case: dict[str, Any]) -> None:
    assert parsers.same_apn(*case["input"]) == case["expected"]["match"]


@pytest.mark.parametrize(
    ("line", "addresses"),
    [
        ('+CGPADDR: 1,"10.0.0.7"', ("10.0.0.7",)),
        ("+CGPADDR: 1,10.0.0.7", ("10.0.0.7",)),
        (
            '+CGPADDR: 1,"10.0.0.7","38.7.251.144.154.37.192.120.0.0.0.0.0.0.0.1"',
            ("10.0.0.7", "2607:fb90:9a25:c078::1"),
        ),
        ('+CGPADDR: 1,"0.0.0.0"', ()),
        ("+CGPADDR: 1", ()),
        ('+CGPADDR: 1,""', ()),
    ],
)
def test_addresses(line: str, addresses: tuple[str, ...]) -> None:
    assert parsers.parse_addresses(line).addresses == addresses


@pytest.mark.parametrize("case", of("at_sim", "+CPIN?"))
def test_sim_lock(case: dict[str, Any]) -> None:
    """For an error, which is no reply, ModemManager has an unknown lock."""
    wanted = case["expected"]["expected_lock"]
    if wanted == "unknown":
        with pytest.raises(CommandFailed, match="not the state of a SIM"):
            parsers.parse_sim_lock(case["input"])
    else:
        assert parsers.parse_sim_lock(case["input"]) is SimLock[wanted.upper()]


@pytest.mark.parametrize("case", of("at_sim", "ICCID normalise"))
@pytest.mark.parametrize("prefix", ["", "+QCCID: ", "%XICCID:", "#CCID: "])
def test_iccid(case: dict[str, Any], prefix: str) -> None:
    if "error" in case["expected"]:
        with pytest.raises(CommandFailed, match="not an ICCID"):
            parsers.parse_iccid(prefix + case["input"])
    else:
        assert parsers.parse_iccid(prefix + case["input"]) == case["expected"]["iccid"]


@pytest.mark.parametrize("case", cases("at_identity"))
def test_identity(case: dict[str, Any]) -> None:
    given_ = case["input"]
    lines = (given_["ati"] or "").splitlines()
    found = parsers.parse_identity(lines)
    labels = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines if ":" in line}
    if "Model" in labels:
        assert (found.manufacturer, found.model) == (labels["Manufacturer"], labels["Model"])
        assert (found.revision, found.imei) == (labels["Revision"], labels.get("IMEI"))
    serial = (given_["gsn"] or "").strip()
    first = plain_text(serial.partition(",")[0])
    if first.isdigit():
        assert parsers.parse_imei(serial) == first
    else:
        with pytest.raises(CommandFailed, match="not an IMEI"):
            parsers.parse_imei(serial)


def test_identity_of_quectel() -> None:
    found = parsers.parse_identity(["Quectel", "BG95-M3", "Revision: BG95M3LAR02A04"])
    assert (found.manufacturer, found.model, found.revision) == ("Quectel", "BG95-M3", "BG95M3LAR02A04")


def test_imsi() -> None:
    assert parsers.parse_imsi("001010123456789") == "001010123456789"
    assert parsers.parse_imsi('+CIMI: "001010123456789"') == "001010123456789"
    with pytest.raises(CommandFailed, match="not an IMSI"):
        parsers.parse_imsi("00101012345678901")


def test_error_reporting() -> None:
    assert parsers.parse_error_reporting("+CMEE: 1") == 1


LINE_PARSERS = [
    getattr(parsers, name)
    for name in parsers.__all__
    if name.startswith("parse_") and name not in ("parse_identity", "parse_networks", "parse_address")
]
HEADS = [
    "",
    "+CREG:",
    "+COPS:",
    "+CSQ:",
    "+CESQ:",
    "+CCLK:",
    "+CFUN:",
    "+CGDCONT:",
    "+CGACT:",
    "+CGPADDR:",
    "+CGCONTRDP:",
]


@given(st.sampled_from(HEADS), st.text(alphabet='0123456789.:/,"()- +aF\x00\xff٣²', max_size=60))
def test_any_line_is_read_or_refused(head: str, text: str) -> None:
    for parse in LINE_PARSERS:
        try:
            parse(head + text)
        except CommandFailed as error:
            assert "not a" in str(error) or "not the" in str(error)  # noqa: PT017 - refusing is one of two good ends


@given(st.text(max_size=80))
def test_any_text_is_a_list_of_networks(text: str) -> None:
    assert isinstance(parsers.parse_networks(text), tuple)
    assert isinstance(parsers.parse_identity(text.splitlines()), parsers.Identity)
    assert parsers.parse_address(text) is None or text


def test_every_parser_is_tried() -> None:
    assert len(LINE_PARSERS) >= 14
    assert all(inspect.isfunction(parse) for parse in LINE_PARSERS)
