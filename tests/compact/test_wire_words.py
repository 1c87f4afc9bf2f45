"""The compact form as docs/wire.md describes it is what the code writes: by the worked example, and by a second reader."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.objects import Service, Urgency
from rataccess.template import Template
from rataccess.template.bits import octets
from rataccess.wire import EPOCH, MessageBuilder, Reach, WireRecord, decode_message
from tests.compact import plain_compact
from tests.compact.compact_contexts import pair
from tests.security.oscore_reference import Reference

PAGE = (Path(__file__).resolve().parents[2] / "docs/wire.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("### A packet, byte by byte")[1].split("## Delivery")[0]
BLOCKS = PAGE.split("### An example")[1].split("### What it costs")[0]
SECRET = bytes(range(16))
CAPTURED = EPOCH + 200_000_000.0
TICKS = 20_000_000_000


def _found(pattern: str, text: str = EXAMPLE) -> str:
    match = re.search(pattern, text, re.DOTALL)
    assert match, pattern
    return match.group(1)


PACKET = bytes.fromhex(_found(r"```hex\n(.*?)\n"))
TEMPLATE = Template.from_definition(json.loads(_found(r"The schema is `(.*?)`", BLOCKS)))


def test_the_example_is_what_is_sent() -> None:
    device, service = pair(SECRET, used=100_000)
    probe, identity = device.protect_compact(b"", Service.SOLUTION)
    request = service.unprotect_compact(probe)
    service.replay_state()
    answer = service.protect_response(request, 0x44, cbor2.dumps([69_999]), message_id=0)
    device.unprotect_compact_response(answer, identity)
    record = WireRecord(70_000, 8, Urgency.ALARM, cbor2.dumps({"leak": True}), CAPTURED)
    now = CAPTURED + 1.5
    builder = MessageBuilder(41, floor=69_999, now=now, dense=Reach(69_999, 70_000, now))
    assert builder.add(record)
    packet, _ = device.protect_compact(builder.finish(), Service.SOLUTION)
    assert packet == PACKET
    assert len(packet) == 16 + len(record.body)
    [back] = decode_message(service.unprotect_compact(packet).body, floor=69_999, now=now, compact=True).records
    assert back == record
    shown = datetime.datetime.fromtimestamp(CAPTURED, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert shown in EXAMPLE


def test_a_stranger_reads_the_example_by_the_words_of_the_page() -> None:
    keys = Reference(b"\x01", b"", SECRET)  # an implementation of RFC 8613 that is not ours
    head = plain_compact.head(PACKET)
    assert (head["kind"], head["service"]) == (0, 1)
    number = plain_compact.nearest(head["low"], 12, 100_000)
    assert number == 100_001
    body = plain_compact.body(PACKET, keys.sender_key, keys.common_iv, b"\x01", number)
    assert body.hex() == _found(r"The body is `([0-9a-f]+)`")
    said = plain_compact.dense(body, 69_999, TICKS + 150)
    assert said == {"urgency": 3, "queue_id": 8, "number": 70_000, "ticks": TICKS, "value": {"leak": True}}


def test_the_other_bodies_are_read_by_the_words_of_the_page() -> None:
    near, far, ranged = (bytes.fromhex(each) for each in re.findall(r"`((?:e2|f2|61)[0-9a-f]{10,})`", EXAMPLE))
    for body in (near, far):
        said = plain_compact.dense(body, 69_999, TICKS + 150, TEMPLATE.definition())
        assert said["value"] == {"temp": 21.5, "hum": 40}
        assert (said["number"], said["ticks"], said["queue_id"], said["schema"]) == (70_000, TICKS, 8, 1)
    assert plain_compact.dense(ranged, 69_999, TICKS) == {"number": 70_000, "offset": 600, "body": bytes(5)}


def test_its_bits_are_all_explained() -> None:
    rows = [line.split("|")[1] for line in EXAMPLE.splitlines() if line.startswith("| `")]
    bits = ["".join(re.findall(r"`([01]+)`", row)) for row in rows]
    assert bits[0] == octets(PACKET[:2])
    assert "".join(bits[1:]) == octets(bytes.fromhex(_found(r"The body is `([0-9a-f]+)`"))[:6])


FLOORS = st.integers(0, 2**26)
RECORDS = st.builds(
    lambda floor, ahead, more, queue_id, urgency, age, value: (
        WireRecord(floor + ahead, queue_id, urgency, cbor2.dumps(value), CAPTURED - age / 100),
        Reach(floor, floor + ahead + more, CAPTURED),
    ),
    FLOORS,
    st.integers(1, 2**20),
    st.integers(0, 2**17),
    st.integers(0, 63),
    st.sampled_from(list(Urgency)),
    st.integers(-360_000, 8_640_000),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@given(RECORDS, st.data())
@settings(max_examples=50, deadline=None)
def test_both_readers_find_any_record_wherever_the_floor_is_by_then(
    made: tuple[WireRecord, Reach], data: st.DataObject
) -> None:
    record, reach = made
    builder = MessageBuilder(200, floor=reach.floor, now=reach.now, dense=reach)
    assert builder.add(record)
    body = builder.finish()
    floor = data.draw(st.integers(reach.floor or 0, max(record.number, reach.highest)))
    if body[0] >> 6 != 3 and reach.highest - (reach.floor or 0) >= 0x7FFF:
        return  # 16 bits, for which the composer minds the same
    heard = CAPTURED + data.draw(st.floats(-3000, 3000))  # a slow network, a clock that is off
    back = decode_message(body, floor=floor, now=heard, compact=True)
    assert [each.number for each in back.records] == [record.number]
    assert [each.captured_at for each in back.records] == [pytest.approx(record.captured_at, abs=0.005)]
    assert [(each.queue_id, each.urgency, each.body) for each in back.records] == [
        (record.queue_id, record.urgency, record.body)
    ]
    if body[0] >> 5 == 0b110:
        said = plain_compact.dense(body, floor, round((heard - EPOCH) * 100))
        assert said["number"] == record.number
        assert said["queue_id"] == record.queue_id
        assert said["ticks"] == round(((record.captured_at or 0) - EPOCH) * 100)


@given(st.integers(0, 2**27), st.integers(1, 5000), st.integers(0, 2**23), st.binary(min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_both_readers_find_any_range(floor: int, ahead: int, offset: int, part: bytes) -> None:
    reach = Reach(floor, floor + ahead, CAPTURED)
    record = WireRecord(floor + ahead, 8, Urgency.ROUTINE, part, CAPTURED, None, offset, 2**24)
    builder = MessageBuilder(60, floor=floor, now=CAPTURED, dense=reach)
    assert builder.add(record, told=True)
    body = builder.finish()
    [piece] = decode_message(body, floor=floor, now=CAPTURED, compact=True).pieces
    said = plain_compact.dense(body, floor, TICKS)
    assert (piece.number, piece.offset, piece.body) == (record.number, offset, part)
    assert said == {"number": piece.number, "offset": offset, "body": part}


def test_a_context_knows_no_form_but_keys() -> None:
    device, service = pair(SECRET)
    for index in range(6):
        if index % 2:
            data, _ = device.protect_request(b"\x80", token=b"t", message_id=1)
            assert service.unprotect_request(data).body == b"\x80"
        else:
            assert service.unprotect_compact(device.protect_compact(b"\x80", Service.SOLUTION)[0]).body == b"\x80"


@pytest.mark.parametrize("number", [0, 255, 2**20 - 1, 2**20, 2**40 - 1])
def test_whole_numbers_of_any_size_are_told(number: int) -> None:
    device, service = pair(SECRET, used=number)
    packet, _ = device.protect_compact(b"x", Service.MANAGEMENT)
    assert plain_compact.head(packet) == {"kind": 1, "service": 0, "number": number, "at": 3 if number < 2**20 else 6}
    assert service.unprotect_compact(packet).body == b"x"
