"""Frames, keys, MAC commands, addresses, times and air times as others have published them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from rataccess.errors import FrameError, ProtectionFailed
from rataccess.lorawan import crypto
from rataccess.lorawan.addresses import dev_addr_prefix, gps_time, split_dev_addr, utc_of_gps
from rataccess.lorawan.airtime import Modulation
from rataccess.lorawan.commands import decode_commands
from rataccess.lorawan.frame import (
    Downlink,
    JoinRequest,
    OtherFrame,
    SealedJoinAccept,
    Uplink,
    decode,
    encode,
    join_accept,
)
from tests.lorawan.lorawan_corpora import cases

hexa = bytes.fromhex
NO_KEY = bytes(16)


def data_10(case: dict[str, Any]) -> None:
    expected, wire = case["expected"], hexa(case["phy"])
    frame = decode(wire)
    assert isinstance(frame, Uplink if expected["dir"] == "up" else Downlink)
    assert encode(frame) == wire
    assert f"{frame.dev_addr:08x}" == expected["dev_addr"]
    assert (frame.adr, frame.ack, frame.fcnt) == (expected["adr"], expected["ack"], expected["fcnt"])
    assert (frame.fopts.hex(), frame.port) == (expected["fopts"], expected["fport"])
    assert frame.payload.hex() == expected["frmpayload_encrypted"]
    assert frame.confirmed is (expected["mtype"] >= 4)
    if isinstance(frame, Uplink):
        assert (frame.adr_ack_req, frame.class_b) == (
            expected["adr_ack_req_or_rfu"],
            expected["fpending_or_classb"],
        )
    keys = crypto.SessionKeys(hexa(case["nwkskey"]), hexa(case["appskey"] or NO_KEY.hex()))
    if not expected["mic_ok"]:
        with pytest.raises(ProtectionFailed):
            crypto.open_frame(keys, frame, frame.fcnt)
        frame = replace(frame, mic=hexa(expected["mic"]))
    opened = crypto.open_frame(keys, frame, frame.fcnt)
    assert frame.mic.hex() == expected["mic"]
    if "frmpayload_plain" in expected:
        assert opened.payload.hex() == expected["frmpayload_plain"]
    assert crypto.seal(keys, opened) == frame


def data_11(case: dict[str, Any]) -> None:
    """The halves of the MIC that 1.1 shares with 1.0, and the payload."""
    frame, keys = decode(hexa(case["phy"])), {name: hexa(key) for name, key in case["keys"].items()}
    assert isinstance(frame, Uplink)
    half = crypto.data_mic(keys["fnwk"], frame.body, uplink=True, dev_addr=frame.dev_addr, fcnt=frame.fcnt)
    assert frame.mic[2:] == half[:2]
    assert frame.mic.hex() == case["expected"]["mic"]
    if plain := case["expected"]["frmpayload_plain"]:
        shown = crypto.encrypt_payload(
            keys["app"], frame.payload, uplink=True, dev_addr=frame.dev_addr, fcnt=frame.fcnt
        )
        assert shown.hex() == plain


def join_request(case: dict[str, Any]) -> None:
    expected, wire, key = case["expected"], hexa(case["phy"]), hexa(case["appkey"])
    frame = decode(wire)
    assert isinstance(frame, JoinRequest)
    assert encode(frame) == wire
    assert f"{frame.join_eui:016x}" == expected["join_eui"]
    assert f"{frame.dev_eui:016x}" == expected["dev_eui"]
    assert frame.dev_nonce == expected["dev_nonce"]
    assert crypto.seal_join_request(key, frame).mic.hex() == expected["mic"]
    if expected["mic_ok"]:
        crypto.check_join_request(key, frame)
    else:
        with pytest.raises(ProtectionFailed):
            crypto.check_join_request(key, frame)


def accepted(case: dict[str, Any]) -> None:
    expected, wire, key = case["expected"], hexa(case["phy_encrypted"]), hexa(case["appkey"])
    frame = decode(wire)
    assert isinstance(frame, SealedJoinAccept)
    assert encode(frame) == wire
    accept = crypto.open_join_accept(key, frame)
    assert encode(accept).hex() == expected["plain"]
    assert (accept.join_nonce, accept.mic.hex()) == (expected["join_nonce"], expected["mic"])
    assert (f"{accept.net_id:06x}", f"{accept.dev_addr:08x}") == (expected["net_id"], expected["dev_addr"])
    assert (accept.rx1_dr_offset, accept.rx2_dr) == (expected["rx1_dr_offset"], expected["rx2_dr"])
    assert (accept.rx_delay, accept.cflist.hex()) == (expected["rx_delay"], expected["cflist"])
    assert crypto.seal_join_accept(key, accept) == wire
    with pytest.raises(ProtectionFailed):
        crypto.open_join_accept(bytes(15) + b"\1", frame)


def accepted_11(case: dict[str, Any]) -> None:
    clear = crypto.decrypt_join_accept(hexa(case["nwkkey"]), hexa(case["phy_encrypted"]))
    assert clear.hex() == case["expected"]["plain"]
    assert join_accept(clear).opt_neg
    assert crypto.join_mic(hexa(case["jsintkey"]), hexa(case["mic_prefix"]) + clear[:-4]) == clear[-4:]


def keys_10(case: dict[str, Any]) -> None:
    nonces = (int(case[name], 16) for name in ("join_nonce_be", "net_id_be", "dev_nonce_be"))
    keys = crypto.session_keys(hexa(case["appkey"]), *nonces)
    assert keys.nwk_s_key.hex() == case["expected"]["nwkskey"]
    assert keys.app_s_key.hex() == case["expected"]["appskey"]
    assert keys.nwk_s_key.hex() not in repr(keys)
    assert repr(keys.nwk_s_key) not in repr(keys)


def keys_11(case: dict[str, Any]) -> None:
    context = b"".join(hexa(case[name])[::-1] for name in ("join_nonce_be", "join_eui_or_netid_be", "dev_nonce_be"))
    kinds = {"fnwksintkey": 1, "appskey": 2, "snwksintkey": 3, "nwksenckey": 4}
    for name, expected in case["expected"].items():
        root = case["appkey"] if name == "appskey" else case["nwkkey"]
        assert crypto.derive_key(hexa(root), kinds[name], context).hex() == expected, name


def keys_join_server(case: dict[str, Any]) -> None:
    context = hexa(case["dev_eui_be"])[::-1]
    for name, kind in (("jsintkey", 6), ("jsenckey", 5)):
        assert crypto.derive_key(hexa(case["nwkkey"]), kind, context).hex() == case["expected"][name]


def rejoin(case: dict[str, Any]) -> None:
    frame = decode(hexa(case["phy"]))
    assert isinstance(frame, OtherFrame)
    assert encode(frame) == hexa(case["phy"])
    assert frame.mic.hex() == case["expected"]["mic"]
    assert crypto.join_mic(hexa(case["key"]), frame.body) == frame.mic


def parse_only(case: dict[str, Any]) -> None:
    wire, expected = hexa(case["phy"]), case["expected"]
    if case["id"] == "lp-ja-cflist":  # published as 32 octets: without the MHDR
        with pytest.raises(FrameError, match="major version"):
            decode(wire)
        wire = b"\x20" + wire
    frame = decode(wire)
    assert encode(frame) == wire
    if isinstance(frame, OtherFrame):
        found = {"mtype": frame.mtype.value, "macpayload": frame.payload.hex(), "mic": frame.mic.hex()}
        assert found == expected
    elif isinstance(frame, Uplink):
        assert (frame.fopts.hex(), frame.port) == (expected["fopts"], expected["fport"])
        assert wire[5] == expected["fctrl"]
    else:
        assert isinstance(frame, SealedJoinAccept)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "data-1.0": data_10,
    "data-1.1": data_11,
    "join-request": join_request,
    "join-accept": accepted,
    "join-accept-1.1": accepted_11,
    "session-keys-1.0": keys_10,
    "session-keys-1.1": keys_11,
    "js-keys-1.1": keys_join_server,
    "rejoin": rejoin,
    "parse-only": parse_only,
}


@pytest.mark.parametrize("case", cases("frames"))
def test_frames(case: dict[str, Any]) -> None:
    CHECKS[case["kind"]](case)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


ALIASES = {"cid": None, "frequency_hz": "frequency", "freq_hz": "frequency", "freq_ok": "frequency_ok"}
ALIASES |= {"dr_ok": "data_rate_ok", "fraction_256": "fraction", "dr": "data_rate"}


@pytest.mark.parametrize("case", cases("mac_commands"))
def test_mac_commands(case: dict[str, Any]) -> None:
    wire, uplink = hexa(case["bytes"]), case["direction"] == "up"
    (command,) = decode_commands(wire, uplink=uplink)
    expected = dict(case["expected"])
    assert type(command).__name__.lower() == expected.pop("cid").lower()
    for name, value in expected.items():
        found = getattr(command, ALIASES.get(name) or name)
        assert found == (sum(1 << each for each in value) if name == "ch_mask" else value), name
    assert command.encode() == wire  # type: ignore[union-attr]
    with pytest.raises(FrameError):
        decode_commands(wire[:-1] if len(wire) > 1 else b"\x03", uplink=uplink)


@pytest.mark.parametrize("case", cases("dev_addr"))
def test_dev_addr(case: dict[str, Any]) -> None:
    dev_addr = int(case["dev_addr"], 16)
    parts = split_dev_addr(dev_addr)
    assert (parts.netid_type, parts.nwk_id) == (case["netid_type"], int(case["nwk_id"], 16))
    prefix, free = dev_addr_prefix(parts.netid_type << 21 | parts.nwk_id)
    assert prefix | parts.nwk_addr == dev_addr
    assert parts.nwk_addr < 1 << free
    assert dev_addr.to_bytes(4, "little").hex() == case["wire"]


@pytest.mark.parametrize("case", cases("gps_time"))
def test_gps_time(case: dict[str, Any]) -> None:
    utc = datetime.fromisoformat(case["utc"]).timestamp()
    assert gps_time(utc) == case["gps_s"]
    assert utc_of_gps(case["gps_s"]) == utc


def test_a_leap_second_does_not_go_back() -> None:
    before, during, after = (utc_of_gps(1_025_136_014 + each) for each in range(3))
    assert before <= during <= after
    assert after == before + 1


@pytest.mark.parametrize("case", cases("airtime"))
def test_airtime(case: dict[str, Any]) -> None:
    modulation = Modulation(
        case["sf"],
        case["bw_khz"] * 1000,
        coding_rate=int(case["cr"][-1]),
        preamble=case["preamble"],
        explicit_header=case["explicit_header"],
        low_data_rate=case["ldro"],
    )
    seconds = modulation.time_on_air(case["payload"])
    symbols = seconds / modulation.symbol_time - case["preamble"] - 4.25
    assert round(symbols) == case["payload_symbols"]
    if "airtime_us" in case:
        assert round(seconds * 1e6) == case["airtime_us"]
    if "computed" in case["origin"]:
        assert replace(modulation, low_data_rate=None).optimised is case["ldro"]
