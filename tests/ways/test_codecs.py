"""What gateways, network servers and providers say, as bytes: the published examples, and anything else."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.services.ways import directip, events, forwarder, frames, posted
from rataccess_drivers.lora.private import relay
from tests.ways.corpora import corpus

few = settings(max_examples=50)

# --- Semtech's packet forwarder ---------------------------------------------------------------------------------------


def test_the_packet_forwarders_examples_are_read() -> None:
    known = {"PUSH_DATA": forwarder.PUSH_DATA, "PULL_DATA": forwarder.PULL_DATA, "TX_ACK": forwarder.TX_ACK}
    read = 0
    for each in corpus("semtech_udp")["datagrams"]:
        data, expect = bytes.fromhex(each["hex"]), each["expect"]
        if expect.get("type") not in known:
            with pytest.raises(ObjectError):
                forwarder.decode(data)
            continue
        found = forwarder.decode(data)
        read += 1
        assert found.kind == known[expect["type"]]
        assert found.token == b"\x12\x34"
        assert found.gateway == "aa555a0000000101"
        lora = [rx for rx in expect.get("json", {}).get("rxpk", ()) if rx["modu"] == "LORA"]
        assert [rx.tmst for rx in found.received] == [rx["tmst"] for rx in lora]
        assert [rx.frequency for rx in found.received] == [round(rx["freq"] * 1e6) for rx in lora]
        if found.kind == forwarder.TX_ACK:
            assert found.error == (expect["error"] if expect["error"].isupper() else "NONE")
    assert read == 5


def test_what_several_antennas_heard_is_read() -> None:
    heard = {"tmst": 7, "freq": 868.1, "datr": "SF7BW125", "data": "qg=="}
    signals = [{"ant": 0, "chan": 7, "rssic": -99, "lsnr": 3}, {"ant": 1, "rssic": -80, "lsnr": 9.5, "etime": "x"}, {}]
    packets = [{**heard, "rsig": signals}, heard, {**heard, "rssi": -50, "lsnr": "-2.5", "rsig": signals}]
    found = forwarder.decode(b"\x02ab\x00" + bytes(8) + json.dumps({"rxpk": packets}).encode())
    assert [(each.rssi, each.snr) for each in found.received] == [(-80, 9.5), (-120, 0), (-50, -2.5)]


def test_a_transmission_with_a_warning_was_made() -> None:
    """sx1302_hal's forwarder lowers a power that it does not have, and says so."""
    told = b'{"txpk_ack":{"warn":"TX_POWER","value":27}}'
    assert forwarder.decode(b"\x02ab\x05" + bytes(8) + told).error == "NONE"


def test_every_form_of_base64_is_read() -> None:
    for each in corpus("semtech_udp")["base64_cases"]:
        assert forwarder.from_base64(each["data"]).hex() == each["expect"]["bytes"]


@few
@given(st.binary(max_size=60))
def test_base64_with_and_without_padding_in_both_alphabets(data: bytes) -> None:
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        assert forwarder.from_base64(encoded.decode()) == data
        assert forwarder.from_base64(encoded.decode().rstrip("=")) == data


@few
@given(st.binary(min_size=1, max_size=255), st.integers(0, 1 << 33), st.sampled_from([7, 12]))
def test_a_downlink_says_what_was_ordered(data: bytes, tmst: int, factor: int) -> None:
    ordered = forwarder.Transmission(
        data=data, tmst=tmst, frequency=869_525_000, spreading_factor=factor, bandwidth=125_000, power=14
    )
    datagram = forwarder.pull_resp(ordered, b"ab")
    assert datagram[:4] == b"\x02ab\x03"
    txpk = json.loads(datagram[4:])["txpk"]
    assert base64.b64decode(txpk["data"]) == data
    assert (txpk["size"], txpk["tmst"]) == (len(data), tmst % 2**32)
    assert (txpk["freq"], txpk["datr"], txpk["ipol"], txpk["imme"]) == (869.525, f"SF{factor}BW125", True, False)


# --- DirectIP ---------------------------------------------------------------------------------------------------------


def whole(data: bytes) -> directip.MobileOriginated:
    """A message of which nothing is missing and nothing too much."""
    if directip.length_of(data[: directip.HEAD]) + directip.HEAD != len(data):
        raise ObjectError("another length than it says")
    return directip.decode_mo(data[directip.HEAD :])


def test_directips_examples_are_read() -> None:
    for each in corpus("iridium_sbd")["directip"]:
        data, expect = bytes.fromhex(each["hex"]), each["expect"]
        if expect.get("valid") is False:
            with pytest.raises(ObjectError):
                whole(data)
        elif expect.get("kind") == "MO":
            found = whole(data)
            assert (found.imei, found.momsn, found.mtmsn) == (expect["imei"], expect["momsn"], expect["mtmsn"])
            assert found.payload.decode() == expect["payload_text"]
        elif expect.get("kind") == "MT confirmation":
            told = directip.decode_confirmation(data[3:])
            assert (told.client_id, told.status) == (expect["client_msg_id"], expect["status"])


@few
@given(st.binary(min_size=1, max_size=directip.MT_MOST), st.integers(0, 2**32 - 1))
def test_a_message_to_a_device_has_its_elements(payload: bytes, client: int) -> None:
    message = directip.encode_mt(client, "300234063904190", payload)
    assert message[:3] == b"\x01" + (len(message) - 3).to_bytes(2, "big")
    assert message[3:6] == b"\x41\x00\x15"
    assert message[6:10] == client.to_bytes(4, "big")
    assert message.endswith(b"\x42" + len(payload).to_bytes(2, "big") + payload)


@pytest.mark.parametrize(("imei", "payload"), [("30023406390419", b"x"), ("300234063904190", b""), ("x" * 15, b"x")])
def test_no_message_is_made_that_cannot_be(imei: str, payload: bytes) -> None:
    with pytest.raises(ObjectError):
        directip.encode_mt(1, imei, payload)


# --- anything at all --------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["deviceInfo", "devEui", "fPort", "data", "dr", "rxpk", "txpk_ack", "tmst", "freq", "datr", "identity", "sbd",
         "imei", "message", "end_device_ids", "dev_eui", "uplink_message", "f_port", "frm_payload", "time"]
    ), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@few
@given(st.binary(max_size=80) | _JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"rxpk":' + b"[" * 50_000)
def test_anything_is_read_or_refused(data: bytes) -> None:
    readers: list[Any] = [
        lambda: forwarder.decode(data),
        lambda: forwarder.decode(b"\x02ab\x00" + bytes(8) + data),
        lambda: forwarder.decode(b"\x02ab\x05" + bytes(8) + data),
        lambda: directip.decode_mo(data),
        lambda: directip.decode_confirmation(data),
        lambda: frames.decode(data),
        lambda: frames.decode(frames.HEAD + data),
        lambda: events.chirpstack_event("application/1/device/0102030405060708/event/up", data),
        lambda: events.things_stack_event("a@ttn", "v3/a@ttn/devices/d/up", data),
        lambda: posted.fields_of(data, "application/json"),
        lambda: posted.fields_of(data, ""),
    ]
    for read in readers:
        with contextlib.suppress(ObjectError):
            read()


@few
@given(
    st.sampled_from(frames.KINDS),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=300),
    st.fixed_dictionaries({}, optional={"room": st.integers(16, 65_000), "dear": st.booleans()}),
)
def test_relay_frames_hold_what_was_put_in(kind: str, name: str, data: bytes, told: dict[str, Any]) -> None:
    frame = frames.RelayFrame(kind, name.lower(), data, told)
    assert frames.decode(frames.encode(frame)) == frame


def test_the_bridge_of_private_lora_speaks_the_same_frames() -> None:
    frame = frames.decode(relay.to_service(42, 5, b"\x20packet", room=120, unasked=True))
    assert (frame.kind, frame.name, frame.data) == ("lora", "2a0005", b"\x20packet")
    assert frame.told == {"room": 120, "unasked": True}
    assert relay.from_service(frames.encode(frames.RelayFrame("lora", frame.name, b"\xa0answer")), 42) == (
        5,
        b"\xa0answer",
    )


# --- network servers --------------------------------------------------------------------------------------------------


def test_chirpstacks_events_are_read() -> None:
    kinds = {"up": "up", "join": "join", "ack": "ack", "txack": "txack"}
    for each in corpus("chirpstack_events")["events"]:
        found = events.chirpstack_event(each["topic"], json.dumps(each["payload"]).encode())
        assert found.kind == kinds.get(each["event"], "other")
        assert found.dev_eui == each["payload"]["deviceInfo"]["devEui"]
        if each["expect_data_hex"] is not None:
            assert found.data.hex() == each["expect_data_hex"]
            assert (found.port, found.data_rate, found.region) == (1, 1, "EU868")
            assert found.heard_at == pytest.approx(1658136855.775023)


def test_what_is_zero_is_left_out_and_found_again() -> None:
    found = events.chirpstack_event("application/1/device/0102030405060708/event/up", b'{"data":"qg==","fPort":2}')
    assert (found.data_rate, found.port, found.data, found.heard_at) == (0, 2, b"\xaa", None)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("application/1/device/0102030405060708/event/up", b'{"data":"*"}'),
        ("application/1/device/0102030405060708/event/up", b'{"deviceInfo":{"devEui":"0102030405060709"}}'),
        ("application/1/device/01020304/event/up", b"{}"),
        ("application/1/gateway/0102030405060708/event/up", b"{}"),
        ("application/1/device/0102030405060708/event/up", b'{"fPort":"2"}'),
    ],
)
def test_events_that_cannot_be_are_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(ObjectError):
        events.chirpstack_event(topic, payload)


def test_a_refused_downlink_is_noticed() -> None:
    topic = "application/1/device/0102030405060708/event/log"
    found = events.chirpstack_event(topic, b'{"level":"ERROR","code":"DOWNLINK_PAYLOAD_SIZE"}')
    assert (found.kind, found.reason, found.reference, found.fits) == ("refused", "DOWNLINK_PAYLOAD_SIZE", "", None)
    context = {"queue_item_id": "4e91db13", "max_payload_size": "51", "item_size": "60"}
    told = {"level": "ERROR", "code": "DOWNLINK_PAYLOAD_SIZE", "context": context}
    found = events.chirpstack_event(topic, json.dumps(told).encode())
    assert (found.reference, found.fits) == ("4e91db13", 51)
    for odd in ({"context": [1]}, {"context": {"queue_item_id": 7, "max_payload_size": "-1"}}):
        found = events.chirpstack_event(topic, json.dumps({**told, **odd}).encode())
        assert (found.kind, found.reference, found.fits) == ("refused", "", None)
    assert (
        events.chirpstack_event(topic, b'{"code":"DOWNLINK_GATEWAY"}').kind == "other"
    )  # a level that is left out is INFO
    error = {"namespace": "pkg/networkserver", "name": "application_downlink_too_long", "attributes": {"max": 51}}
    told = {"end_device_ids": {"dev_eui": "0102030405060708"}, "downlink_failed": {"downlink": {}, "error": error}}
    found = events.things_stack_event("a@ttn", "v3/a@ttn/devices/d/down/failed", json.dumps(told).encode())
    assert (found.kind, found.reason, found.fits) == ("refused", "application_downlink_too_long", 51)


def test_a_gateways_clock_is_not_believed_where_the_network_says_when_it_heard() -> None:
    gateway, network = "2022-07-18T11:34:15.775023242+00:00", "2022-07-18T09:34:15.775023242+00:00"
    info = [{"gwTime": gateway, "nsTime": network}, {"nsTime": "2022-07-18T09:34:16+00:00"}, {"nsTime": 7}]
    told = json.dumps({"time": gateway, "rxInfo": info}).encode()
    found = events.chirpstack_event("application/1/device/0102030405060708/event/up", told)
    assert found.heard_at == pytest.approx(1658136855.775023)


# --- providers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "26-06-04 12:00:00",
        "26-06-04T12:00:00Z",
        "2026-06-04 12:00:00",
        "2026-06-04T12:00:00Z",
        "2026-06-04T14:00:00+02:00",
    ],
)
def test_every_form_of_time_is_read(text: str) -> None:
    assert posted.time_of(text) == 1_780_574_400


@pytest.mark.parametrize("value", ["", "now", None, 7, "26-13-04 12:00:00", "9999-99-99"])
def test_other_times_are_none(value: object) -> None:
    assert posted.time_of(value) is None


def test_cloudloops_times_leave_out_what_is_zero() -> None:
    assert posted.lingo_time({"year": 2026, "month": 6, "day": 4, "hour": 12}) == 1_780_574_400
    assert posted.lingo_time({"year": 2026, "month": 13}) is None
    assert posted.lingo_time("2026") is None


_KEY = rsa.generate_private_key(65537, 2048)


def token(claims: dict[str, Any], algorithm: str = "RS256", key: rsa.RSAPrivateKey = _KEY) -> str:
    parts = [json.dumps(each).encode() for each in ({"alg": algorithm}, claims)]
    body = b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in parts)
    signature = base64.urlsafe_b64encode(key.sign(body, PKCS1v15(), SHA256())).rstrip(b"=")
    return (body + b"." + signature).decode()


def test_a_token_says_what_was_signed() -> None:
    assert posted.claims_of(token({"imei": "1"}), _KEY.public_key()) == {"imei": "1"}


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-8] + "AAAAAAAA", lambda text: text[5:], lambda text: "a.b.c", lambda text: None]
)
def test_a_token_that_was_not_signed_is_refused(spoil: Any) -> None:
    with pytest.raises(ObjectError):
        posted.claims_of(spoil(token({"imei": "1"})), _KEY.public_key())


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_other_algorithm_is_believed(algorithm: str) -> None:
    with pytest.raises(ObjectError, match="RS256"):
        posted.claims_of(token({"imei": "1"}, algorithm), _KEY.public_key())
