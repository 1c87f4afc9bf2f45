"""The virtual network's own codec, against published vectors, against lora-packet, and against itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.lora import frames, mac_commands, semtech
from rataccess_hil.lora.crypto import (
    DOWN,
    UP,
    SessionKeys,
    data_mic,
    open_join_accept,
    seal_join_accept,
    session_keys,
)
from rataccess_hil.lora.frames import BadFrame, DataFrame, JoinAccept, JoinRequest
from tests.hil_lora.test_airtime import corpus

_PROJECT = Path(__file__).resolve().parents[2]
KEYS = SessionKeys(bytes(range(16)), bytes(range(16, 32)))


def vectors(kind: str) -> list[Any]:
    return [each for each in corpus("lorawan_vectors.json")["frames"] if each["kind"] == kind]


def test_published_data_frames() -> None:
    checked = 0
    for vector in vectors("data-1.0"):
        expected = vector["expected"]
        frame = frames.parse(bytes.fromhex(vector["phy"]))
        assert isinstance(frame, DataFrame)
        assert (frame.message_type, f"{frame.address:08x}") == (expected["mtype"], expected["dev_addr"])
        assert (frame.counter, frame.options.hex()) == (expected["fcnt"], expected["fopts"])
        assert (frame.port, frame.adr, frame.ack) == (expected["fport"], expected["adr"], expected["ack"])
        keys = SessionKeys(bytes.fromhex(vector["nwkskey"]), bytes.fromhex(vector.get("appskey") or "00" * 16))
        assert frame.is_of(keys, frame.counter) is expected["mic_ok"], vector["id"]
        if "frmpayload_plain" in expected and frame.payload:
            assert frame.opened(keys, frame.counter).hex() == expected["frmpayload_plain"]
        if expected["mic_ok"] and "frmpayload_plain" in expected:
            clear = DataFrame(**{**_fields(frame), "payload": frame.opened(keys, frame.counter)})
            assert clear.seal(keys).hex() == vector["phy"]
        checked += 1
    assert checked >= 10


def _fields(frame: DataFrame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in DataFrame.__slots__}


def test_published_joins() -> None:
    for vector in vectors("join-request"):
        request = frames.parse(bytes.fromhex(vector["phy"]))
        assert isinstance(request, JoinRequest)
        assert request.is_of(bytes.fromhex(vector["appkey"])) is vector["expected"]["mic_ok"], vector["id"]
    for vector in vectors("join-accept"):
        key, sealed = bytes.fromhex(vector["appkey"]), bytes.fromhex(vector["phy_encrypted"])
        clear = open_join_accept(key, sealed)
        assert clear is not None
        assert clear.hex() == vector["expected"]["plain"][:-8]
        accept = JoinAccept.parse(clear)
        assert accept.join_nonce == vector["expected"]["join_nonce"]
        assert f"{accept.address:08x}" == vector["expected"]["dev_addr"]
        assert accept.seal(key) == sealed
    (vector,) = vectors("session-keys-1.0")
    expected = json.dumps(vector)
    nonces = (bytes.fromhex("376338")[::-1], bytes.fromhex("aabbcc")[::-1], bytes.fromhex("f18e")[::-1])
    keys = session_keys(bytes.fromhex("98929b92c49edba9676d646d3b612456"), *nonces)
    assert keys.network.hex() in expected
    assert keys.application.hex() in expected


def test_published_mac_commands() -> None:
    for case in corpus("lorawan_vectors.json")["mac_commands"]:
        data, direction = bytes.fromhex(case["bytes"]), DOWN if case["direction"] == "down" else UP
        if data[0] < 0x10:
            assert list(mac_commands.split(data, direction)) == [(data[0], data[1:])]
    assert mac_commands.link_adr_req(1, 2, 0b10, 4, 5).hex() == "0312020045"
    assert mac_commands.rx_param_setup_req(3, 11, 26_265_700).hex() == "053b01" + "0204"
    assert mac_commands.dl_channel_req(1, 868_200_000).hex() == "0a01107a84"
    assert mac_commands.device_time_ans(1 + 2 / 256).hex() == "0d0100000002"
    assert mac_commands.new_channel_req(3, 26_265_700, 10, 5).hex() == "07030102045a"


def test_keys_are_not_told() -> None:
    assert "00010203" not in repr(KEYS)
    assert "\\x01\\x02" not in repr(KEYS)


addresses = st.integers(0, 0xFFFFFFFF)
counters = st.integers(0, 0xFFFFFFFF)
bodies = st.tuples(st.none() | st.integers(1, 223), st.binary(max_size=60), st.binary(max_size=15))


@settings(max_examples=50)
@given(st.sampled_from([2, 3, 4, 5]), addresses, counters, bodies, st.tuples(*[st.booleans()] * 4))
def test_frames_come_back_as_they_were(
    kind: int,
    address: int,
    counter: int,
    body: tuple[int | None, bytes, bytes],
    flags: tuple[bool, bool, bool, bool],
) -> None:
    port, payload, options = body
    payload = payload if port is not None else b""
    frame = DataFrame(kind, address, counter, port, payload, options, *flags)
    read = frames.parse(frame.seal(KEYS))
    assert isinstance(read, DataFrame)
    assert read.is_of(KEYS, counter)
    assert not read.is_of(KEYS, counter ^ 0x10000)
    assert read.opened(KEYS, counter) == payload
    assert (read.port, read.options, read.adr, read.adr_ack_request, read.ack, read.pending) == (port, options, *flags)


@settings(max_examples=100)
@given(st.binary(max_size=40))
def test_anything_else_is_a_bad_frame(data: bytes) -> None:
    for read in (frames.parse, semtech.decode):
        try:
            read(data)
        except (BadFrame, semtech.BadDatagram):
            continue
    assert open_join_accept(bytes(16), data) is None


def test_published_datagrams() -> None:
    found = corpus("semtech_udp.json")
    for case in found["datagrams"]:
        data, expected = bytes.fromhex(case["hex"]), case["expect"]
        if "type" not in expected:
            with pytest.raises(semtech.BadDatagram):
                semtech.decode(data)
            continue
        datagram = semtech.decode(data)
        names = ["PUSH_DATA", "PUSH_ACK", "PULL_DATA", "PULL_RESP", "PULL_ACK", "TX_ACK"]
        assert names[datagram.kind] == expected["type"]
        assert datagram.body == expected.get("json", {})
        assert semtech.decode(datagram.encode()) == datagram
    for case in found["base64_cases"]:
        assert semtech.decode_bytes(case["data"]).hex() == case["expect"]["bytes"]


_SCRIPT = """
const lora = require('lora-packet');
const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const told = asked.map(each => {
  const packet = lora.fromWire(Buffer.from(each.frame, 'hex'));
  if (each.kind === 'accept') {
    const key = Buffer.from(each.key, 'hex');
    const clear = lora.decryptJoinAccept(packet, key);
    const read = lora.fromWire(clear);
    return {address: read.DevAddr.toString('hex'), delay: read.RxDelay.readUInt8(0)};
  }
  if (each.kind === 'join') {
    const key = Buffer.from(each.key, 'hex');
    return {right: lora.verifyMIC(packet, null, key), eui: packet.DevEUI.toString('hex')};
  }
  const app = Buffer.from(each.app, 'hex'), net = Buffer.from(each.net, 'hex'), high = Buffer.from(each.high, 'hex');
  return {
    right: lora.verifyMIC(packet, net, null, high), address: packet.DevAddr.toString('hex'), port: packet.getFPort(),
    data: lora.decrypt(packet, app, net, high).toString('hex'), type: packet.getMType(),
  };
});
console.log(JSON.stringify(told));
"""


def test_lora_packet_reads_our_frames() -> None:
    modules = _PROJECT / "build/npm/node_modules"
    node = shutil.which("node")
    if node is None or not (modules / "lora-packet").is_dir():
        pytest.skip("node or its package lora-packet is not there: make servers")
    app_key = bytes(range(16))
    accept = JoinAccept(0x010203, 0x000013, 0x26011234, rx_delay=5, cf_list=bytes(15) + b"\0")
    request = JoinRequest(0x0102030405060708, 0x1112131415161718, 513)
    data = [
        DataFrame(frames.UNCONFIRMED_UP, 0x26011234, 7, 2, b"hello"),
        DataFrame(frames.CONFIRMED_UP, 0x26011234, 0x1FFFF, 1, bytes(40), b"\x02", adr=True, adr_ack_request=True),
        DataFrame(frames.UNCONFIRMED_DOWN, 0x26011234, 70_000, 9, b"down", ack=True, pending=True),
        DataFrame(frames.CONFIRMED_DOWN, 0x26011234, 3, 0, b"\x06"),
    ]
    asked: list[dict[str, Any]] = [
        {"kind": "accept", "frame": accept.seal(app_key).hex(), "key": app_key.hex()},
        {"kind": "join", "frame": request.seal(app_key).hex(), "key": app_key.hex()},
    ]
    for frame in data:
        high = (frame.counter >> 16).to_bytes(2, "little").hex()
        sealed = frame.seal(KEYS).hex()
        keys = {"app": KEYS.application.hex(), "net": KEYS.network.hex(), "high": high}
        asked.append({"kind": "data", "frame": sealed, **keys})
    run = subprocess.run(
        [node, "-e", _SCRIPT],
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=True,
        env={"NODE_PATH": str(modules), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    told = json.loads(run.stdout)
    assert told[0] == {"address": "26011234", "delay": 5}
    assert told[1] == {"right": True, "eui": "1112131415161718"}
    for frame, answer in zip(data, told[2:], strict=True):
        assert answer["right"] is True
        assert (answer["address"], answer["port"], answer["data"]) == ("26011234", frame.port, frame.payload.hex())


def test_a_join_accept_under_another_key_is_nothing() -> None:
    sealed = seal_join_accept(bytes(16), JoinAccept(1, 2, 3).clear())
    assert open_join_accept(bytes(15) + b"\1", sealed) is None
    assert open_join_accept(bytes(16), sealed[:-1]) is None
    assert len(data_mic(bytes(16), UP, 1, 1, b"x")) == 4


@settings(max_examples=50)
@given(
    st.sampled_from(range(6)),
    st.integers(0, 0xFFFF),
    st.integers(0, (1 << 64) - 1),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
)
def test_datagrams_come_back_as_they_were(kind: int, token: int, gateway: int, body: dict[str, Any]) -> None:
    sent = semtech.Datagram(kind, token, gateway if kind in (0, 2, 5) else None, body)
    assert semtech.decode(sent.encode()) == sent


@settings(max_examples=50)
@given(st.binary(max_size=40), st.binary(max_size=20))
def test_payloads_come_back_in_any_alphabet(data: bytes, noise: bytes) -> None:
    text = semtech.encode_bytes(data)
    for spelt in (text, text.rstrip("="), text.replace("+", "-").replace("/", "_")):
        assert semtech.decode_bytes(spelt) == data
    for direction in (UP, DOWN):
        split = list(mac_commands.split(noise, direction))
        joined = b"".join(bytes([command]) + payload for command, payload in split)
        assert noise.startswith(joined)
