"""Frames both ways against lora-packet (npm), which shares no line with ours.  One node process for all cases."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rataccess.lorawan import crypto
from rataccess.lorawan.frame import Downlink, JoinAccept, JoinRequest, SealedJoinAccept, Uplink, decode, encode

MODULES = Path(__file__).parents[2] / "build/npm/node_modules"
KEYS = crypto.SessionKeys(bytes(range(16)), bytes(range(16, 32)))
APP_KEY = bytes(range(32, 48))

SCRIPT = """
const lora = require("lora-packet"), cases = JSON.parse(require("fs").readFileSync(0));
const hex = text => Buffer.from(text, "hex"), nwk = hex(cases.nwk), app = hex(cases.app), root = hex(cases.root);
const high = fcnt => { const b = Buffer.alloc(2); b.writeUInt16LE(fcnt >>> 16); return b; };
const read = cases.read.map(([text, fcnt]) => {
  const p = lora.fromWire(hex(text));
  return {dev_addr: p.DevAddr.toString("hex"), fcnt: p.getFCnt(), up: p.getDir() === "up", confirmed: p.isConfirmed(),
    adr: p.getFCtrlADR(), ack: p.getFCtrlACK(), req: p.getFCtrlADRACKReq(), pending: p.getFCtrlFPending(),
    port: p.getFPort(), fopts: (p.FOpts || "").toString("hex"), mic: lora.verifyMIC(p, nwk, undefined, high(fcnt)),
    payload: p.FRMPayload && p.FRMPayload.length ? lora.decrypt(p, app, nwk, high(fcnt)).toString("hex") : ""};
});
const made = cases.made.map(f => lora.fromFields({MType: f.mtype, DevAddr: hex(f.dev_addr), FCnt: f.fcnt,
  FCtrl: {ADR: f.adr, ACK: f.ack, ADRACKReq: f.req, FPending: f.pending}, FPort: f.port, FOpts: hex(f.fopts),
  payload: hex(f.payload)}, app, nwk).getPHYPayload().toString("hex"));
const joins = cases.joins.map(text => {
  const p = lora.fromWire(hex(text));
  return {join_eui: p.AppEUI.toString("hex"), dev_eui: p.DevEUI.toString("hex"), dev_nonce: p.DevNonce.toString("hex"),
    mic: lora.verifyMIC(p, undefined, root)};
});
const accepts = cases.accepts.map(text => {
  const clear = lora.decryptJoinAccept(lora.fromWire(hex(text)), root), p = lora.fromWire(clear);
  return {clear: clear.toString("hex"), mic: lora.verifyMIC(p, undefined, root)};
});
console.log(JSON.stringify({read, made, joins, accepts}));
"""


def uplinks(random: Random) -> list[Uplink | Downlink]:
    """Frames of every shape."""
    found: list[Uplink | Downlink] = []
    for _ in range(60):
        port = random.choice([None, 0, 1, 2, 223])
        payload = b"" if port is None else random.randbytes(random.choice([1, 15, 16, 17, 51]))
        common: dict[str, Any] = {
            "dev_addr": random.getrandbits(32),
            "fcnt": random.choice([0, 1, 0xFFFF, 0x10000, 0x12345678]),
            "confirmed": random.random() < 0.5,
            "adr": random.random() < 0.5,
            "ack": random.random() < 0.5,
            "fopts": b"" if port == 0 else random.randbytes(random.choice([0, 1, 15])),
            "port": port,
            "payload": payload,
        }
        if random.random() < 0.5:
            found.append(Uplink(**common, adr_ack_req=random.random() < 0.5))
        else:
            found.append(Downlink(**common, fpending=random.random() < 0.5))
    return found


@pytest.fixture(scope="module")
def frames() -> list[Uplink | Downlink]:
    return uplinks(Random(11))


JOINS = [JoinRequest(0x0102030405060708, 0xA1A2A3A4A5A6A7A8, each) for each in (0, 1, 0xFFFF)]
ACCEPTS = [JoinAccept(5, 0x13, 0x26012345), JoinAccept(0xFFFFFF, 0x600008, 0xFD6DB7FF, 3, 5, 5, bytes(range(16)))]


def fields(frame: Uplink | Downlink) -> dict[str, Any]:
    """As the script names them."""
    found = {
        name: value for name, value in asdict(frame).items() if name in ("fcnt", "confirmed", "adr", "ack", "port")
    }
    found |= {"dev_addr": f"{frame.dev_addr:08x}", "fopts": frame.fopts.hex(), "payload": frame.payload.hex()}
    if isinstance(frame, Uplink):
        return found | {"mtype": 4 if frame.confirmed else 2, "req": frame.adr_ack_req, "pending": False}
    return found | {"mtype": 5 if frame.confirmed else 3, "req": False, "pending": frame.fpending}


@pytest.fixture(scope="module")
def peer(frames: list[Uplink | Downlink]) -> dict[str, Any]:
    """What lora-packet makes of our frames, and its own of the same fields."""
    node = shutil.which("node")
    if node is None or not (MODULES / "lora-packet").exists():
        pytest.skip("node or the npm package lora-packet is absent (make servers)")
    cases = {
        "nwk": KEYS.nwk_s_key.hex(),
        "app": KEYS.app_s_key.hex(),
        "root": APP_KEY.hex(),
        "read": [[encode(crypto.seal(KEYS, each)).hex(), each.fcnt] for each in frames],
        "made": [fields(each) for each in peers_own(frames)],
        "joins": [encode(crypto.seal_join_request(APP_KEY, each)).hex() for each in JOINS],
        "accepts": [crypto.seal_join_accept(APP_KEY, each).hex() for each in ACCEPTS],
    }
    run = subprocess.run(
        [node, "-e", SCRIPT],
        input=json.dumps(cases).encode(),
        capture_output=True,
        env={"NODE_PATH": str(MODULES)},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def peers_own(frames: list[Uplink | Downlink]) -> list[Uplink | Downlink]:
    """Those that lora-packet can make: it knows 16 bits of the counter, and gives every frame a port."""
    return [each for each in frames if each.fcnt <= 0xFFFF and each.port is not None]


def test_it_reads_our_frames(peer: dict[str, Any], frames: list[Uplink | Downlink]) -> None:
    for frame, found in zip(frames, peer["read"], strict=True):
        expected = fields(frame)
        assert found["mic"] is True, frame
        assert found["up"] is isinstance(frame, Uplink)
        assert found["fcnt"] == frame.fcnt & 0xFFFF
        for name in ("dev_addr", "confirmed", "adr", "ack", "port", "fopts", "payload"):
            assert found[name] == expected[name], (name, frame)
        if isinstance(frame, Uplink):
            assert found["req"] == frame.adr_ack_req
        else:
            assert found["pending"] == frame.fpending


def test_we_read_its_frames(peer: dict[str, Any], frames: list[Uplink | Downlink]) -> None:
    own = peers_own(frames)
    assert len(own) > 10
    for frame, wire in zip(own, peer["made"], strict=True):
        found = decode(bytes.fromhex(wire))
        assert isinstance(found, Uplink | Downlink)
        opened = crypto.open_frame(KEYS, found, found.fcnt)
        assert fields(opened) == fields(frame)
        assert crypto.seal(KEYS, opened) == found


def test_joining(peer: dict[str, Any]) -> None:
    for request, found in zip(JOINS, peer["joins"], strict=True):
        assert found == {
            "join_eui": f"{request.join_eui:016x}",
            "dev_eui": f"{request.dev_eui:016x}",
            "dev_nonce": f"{request.dev_nonce:04x}",
            "mic": True,
        }
    for accept, found in zip(ACCEPTS, peer["accepts"], strict=True):
        assert found["mic"] is True
        wire = decode(crypto.seal_join_accept(APP_KEY, accept))
        assert isinstance(wire, SealedJoinAccept)
        assert encode(crypto.open_join_accept(APP_KEY, wire)).hex() == found["clear"]
