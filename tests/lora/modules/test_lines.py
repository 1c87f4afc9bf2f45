"""Lines of modules: every line of the collection of vendors' responses, and any bytes at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_drivers.lora.modules.commands import Transaction
from rataccess_drivers.lora.modules.events import Event, Kind, Why, read
from rataccess_drivers.lora.modules.lines import LONGEST, LineReader, redacted
from rataccess_drivers.lora.modules.rak3172 import RAK3172
from rataccess_drivers.lora.modules.rn2483 import RN2483
from rataccess_drivers.lora.modules.wio_e5 import COUNTERS, LIMIT, WIO_E5

PROFILES = {"RAK RUI3": RAK3172, "RAK (WisBlock API)": RAK3172, "Wio-E5": WIO_E5, "RN2483": RN2483}
EVENTS = {
    "confirmed ok": Kind.ACKED,
    "confirmed failed": Kind.NOT_ACKED,
    "joined": Kind.JOINED,
    "join accepted": Kind.JOINED,
    "join failed": Kind.JOIN_FAILED,
    "join denied": Kind.JOIN_FAILED,
    "tx done": Kind.SENT,
    "tx ok": Kind.SENT,
    "start": Kind.STARTED,
    "mode normal": Kind.STARTED,
    "done": Kind.DONE,
    "more downlink waiting": Kind.PENDING,
    "ack": Kind.ACKED,
    "rx": Kind.DOWNLINK,
    "mac error": Kind.FAILED,
    "radio tx ok": Kind.RAW,
    "radio rx": Kind.RAW,
    "radio error": Kind.RAW,
    "reset banner": Kind.BOOTED,
}
ERRORS = {
    "not joined": Why.NOT_JOINED,
    "busy": Why.BUSY,
    "param": Why.PARAMETER,
    "duty cycle": Why.DUTY,
    "length": Why.LENGTH,
    "no free channel": Why.NO_CHANNEL,
    -1: Why.PARAMETER,
}


def corpus() -> list[dict[str, Any]]:
    for folder in Path(__file__).resolve().parents:
        path = folder.parent / "shared/corpora/vendor_response_lines.json"
        if path.exists():
            return [case for case in json.loads(path.read_text())["cases"] if case["device"] in PROFILES]
    return []


CASES = corpus()


@pytest.mark.skipif(not CASES, reason="the collection of vendors' responses is not beside this tree")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['device']} {case['response'][:40]}")
def test_every_line_of_the_collection(case: dict[str, Any]) -> None:
    event = read(PROFILES[case["device"]].table, case["response"])
    expect = case["expect"]
    if "error" in expect:
        assert (event.kind, event.why) == (Kind.REFUSED, ERRORS[expect["error"]])
        assert event.limit == expect.get("max")
    elif "event" in expect:
        allowed = {EVENTS[expect["event"]], *({Kind.ALREADY} if "already" in case["response"] else ())}
        assert event.kind in allowed
    elif "data" in expect and "AT+RECV" not in case["response"]:
        assert event.kind is Kind.DOWNLINK
    assert event.kind is not Kind.OTHER
    _check_fields(event, expect)


def _check_fields(event: Event, expect: dict[str, Any]) -> None:
    value = event.value
    if event.kind in (Kind.DOWNLINK, Kind.RAW) and "data" in expect:
        assert event.data.hex().upper() == expect["data"]
        assert event.port == expect.get("port", 0)
    found = {
        "rssi": event.rssi_dbm,
        "snr": event.snr_db,
        "margin": event.margin_db,
        "gateways": event.gateways,
        "len": event.number,
        "devaddr": value.replace(":", ""),
    }
    for name, wanted in expect.items():
        if name in found:
            assert found[name] == wanted, name
    if "max_len" in expect:
        assert (match := re.search(LIMIT, value))
        assert int(match[1]) == expect["max_len"]
    if "ul" in expect:
        assert (match := re.search(COUNTERS, value))
        assert (int(match[1]), int(match[2])) == (expect["ul"], expect["dl"])
    if "model" in expect:
        assert value.startswith(f"{expect['model']} {expect['version']}")
    if "AT+RECV" in event.line:
        assert (event.name, value) == ("RECV", f"{expect['port']}:{expect['data']}")


@pytest.mark.parametrize(
    ("profile", "line", "why", "seconds"),
    [
        (RAK3172, "AT_DUTYCYCLE_RESTRICTED", Why.DUTY, None),
        (RAK3172, "Restricted_Wait_23784_ms", Why.DUTY, 23.784),
        (RAK3172, "AT_TEST_PARAM_OVERFLOW", Why.PARAMETER, None),
        (RAK3172, "AT_COMMAND_NOT_FOUND", Why.UNKNOWN, None),
        (WIO_E5, "+CMSGHEX: No band in 9384ms", Why.DUTY, 9.384),
        (WIO_E5, "+CMSGHEX: DR error", Why.RATE, None),
        (WIO_E5, "+JOIN: LoRaWAN modem is busy", Why.BUSY, None),
        (WIO_E5, "+FOO: ERROR(-10)", Why.UNKNOWN, None),
        (RN2483, "fram_counter_err_rejoin_needed", Why.COUNTER, None),
        (RN2483, "frame_counter_err_rejoin_needed", Why.COUNTER, None),
        (RN2483, "silent", Why.SILENCED, None),
        (RN2483, "mac_paused", Why.PAUSED, None),
        (RN2483, "keys_not_init", Why.KEYS, None),
    ],
)
def test_refusals(profile: Any, line: str, why: Why, seconds: float | None) -> None:
    event = read(profile.table, line)
    assert (event.kind, event.why, event.seconds) == (Kind.REFUSED, why, seconds)


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (RAK3172, "+EVT:RX_1:-34:15:UNICAST:15:00010"),
        (RAK3172, "+EVT:RX_1:-34:15:UNICAST:999:00"),
        (WIO_E5, '+MSGHEX: PORT: 1; RX: "A1B2'),
        (RN2483, "mac_rx 1 0A0"),
        (RN2483, "mac_rx 300 0A"),
    ],
)
def test_cut_downlinks_are_no_downlinks(profile: Any, line: str) -> None:
    assert read(profile.table, line).kind in (Kind.OTHER, Kind.VALUE)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=120), st.sampled_from(list(PROFILES.values())))
def test_any_line_is_read(line: str, profile: Any) -> None:
    event = read(profile.table, line)
    assert event.line == line
    assert 0 <= event.port <= 255


NASTY = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"+EVT:", b"AT_", b"mac_rx 1 ", b'+MSGHEX: PORT: 1; RX: "', b"0" * 800, b"\0\xff"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(NASTY, st.binary(max_size=40)), max_size=30), st.data())
def test_any_bytes_are_cut_the_same_wherever_they_are_split(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cut = data.draw(st.integers(0, len(whole)))
    one, two = LineReader(), LineReader()
    together = one.feed(whole)
    assert two.feed(whole[:cut]) + two.feed(whole[cut:]) == together
    assert len(one._rest) <= LONGEST
    assert all(line == line.strip() and len(line) <= LONGEST for line in together)


SAID = [
    (
        RAK3172,
        ["OK", "+EVT:SEND_CONFIRMED_OK", "+EVT:SEND_CONFIRMED_FAILED(4)", "+EVT:TX_DONE", "AT_BUSY_ERROR", "AT+DR=3"],
    ),
    (
        WIO_E5,
        ["+CMSGHEX: Start", "+CMSGHEX: ACK Received", "+CMSGHEX: Done", "+MSG: Done", "+CMSGHEX: DR error", "+INFO: x"],
    ),
    (RN2483, ["ok", "mac_tx_ok", "mac_rx 1 AA", "mac_err", "busy", "868"]),
]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(range(3)), st.lists(st.integers(0, 5), max_size=12))
def test_an_uplink_ends_once_and_is_proven_by_nothing_that_came_before_it(kind: int, turns: list[int]) -> None:
    profile, words = SAID[kind]
    uplink = Transaction(profile.uplink(1, "00", True)[-1])
    said = [words[turn] for turn in turns]
    ended = None
    for number, line in enumerate(said):
        was_over = uplink.over
        uplink.take(read(profile.table, line))
        assert uplink.over >= was_over
        if uplink.over and ended is None:
            ended = number
    until = said[: len(said) if ended is None else ended + 1]
    begun = until.index(words[0]) if words[0] in until else len(until)
    proofs = {words[1], words[2]} if kind == 2 else {words[1]}
    assert uplink.has(*profile.acked) == (not proofs.isdisjoint(until[begun:]))
    assert (uplink.refusal is not None) == (words[4] in until)


def test_a_line_without_end_is_given_up() -> None:
    reader = LineReader(longest=10)
    assert [reader.feed(b"0123456789"), reader.feed(b"abc"), reader.feed(b"def" * 99)] == [[], [], []]
    assert reader.feed(b"tail\r\nOK\r\n") == ["OK"]
    assert reader.given_up == 1


def test_keys_are_redacted() -> None:
    key = "2B7E151628AED2A6ABF7158809CF4F3C"
    spaced = " ".join(key[i : i + 2] for i in range(0, 32, 2))
    for line in (f"AT+APPKEY={key}", f"+KEY: APPKEY {spaced}", f"mac set appkey {key.lower()}"):
        assert "..." in redacted(line)
        assert "7E15" not in redacted(line).upper().replace(" ", "")
