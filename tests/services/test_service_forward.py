"""From a device to the file of lines (tests/receivers has the kills); and any object as JSON."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.services.jsonform import body_as_json, iso
from tests.services.service_world import NOW, World


def lines(world: World) -> list[dict[str, object]]:
    return [json.loads(line) for line in (world.folder / "solution.ndjson").read_text().splitlines()]


def test_what_a_device_sends_is_a_line(solution: World) -> None:
    device = solution.add("A1")
    record = device.record(1, {"t": 21.5, "raw": b"\0\1"}, at=NOW + 0.25)
    solution.send(device, record, device.record(2, None, "alarms", at=NOW + 0.25), control={16: "lte"})
    solution.send(device, device.record(3, "ö", at=None), control={16: ""})
    solution.forward()
    first, second, third = lines(solution)
    assert first == {
        "device": "00",
        "serial_number": "A1",
        "channel": "solution",
        "queue": "readings",
        "record": 1,
        "captured_at": "2026-09-21T14:13:20.250Z",
        "received_at": iso(solution.clock.wall()),
        "link": "lte",
        "body": {"t": 21.5, "raw": {"$bytes": "AAE="}},
    }
    assert (second["queue"], second["body"]) == ("alarms", None)
    assert (third["captured_at"], third["link"], third["body"]) == (None, None, "ö")


def test_what_was_parked_is_forwarded_when_it_is_named(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, device.record(1, 1, "late", named=False), device.record(2, 2))
    solution.forward()
    assert [line["record"] for line in lines(solution)] == [2]
    solution.send(device, device.record(3, 3, "late"))
    solution.forward()
    assert sorted((line["record"], line["queue"]) for line in lines(solution)) == [
        (1, "late"),
        (2, "readings"),
        (3, "late"),
    ]


# --- objects as JSON --------------------------------------------------------------------------------------------------

_EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
        (b"\xff", {"$bytes": "/w=="}),
        (math.nan, {"$float": "nan"}),
        (math.inf, {"$float": "inf"}),
        (-math.inf, {"$float": "-inf"}),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=_EAST), "2026-01-02T01:04:05.678Z"),
        (date(2026, 1, 2), "2026-01-02"),
        ({1: "a", "b": 2}, {"$map": [[1, "a"], ["b", 2]]}),
        ({"$bytes": "trick"}, {"$map": [["$bytes", "trick"]]}),
        ({(1, 2): 3}, {"$map": [[[1, 2], 3]]}),
        (2**63 - 1, 2**63 - 1),
        (2**63, {"$integer": "9223372036854775808"}),
        (Decimal("1.50"), {"$decimal": "1.50"}),
        (Fraction(1, 3), {"$fraction": [1, 3]}),
        ({1}, {"$set": [1]}),
        (cbor2.CBORTag(4711, [1]), {"$tag": 4711, "value": [1]}),
        (cbor2.CBORSimpleValue(99), {"$simple": 99}),
        (cbor2.undefined, {"$undefined": True}),
    ],
)
def test_objects_as_json(value: object, expected: object) -> None:
    assert json.loads(body_as_json(cbor2.dumps(value))) == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_become_one_line_of_json(body: bytes) -> None:
    text = body_as_json(body)
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)
    text.encode()


def shared_bomb(depth: int) -> bytes:
    """Lists of lists of references, each twice to the one before (tags 28 and 29)."""
    lists = (b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + cbor2.dumps(index)) for index in range(depth))
    return b"\x98" + bytes([depth + 1]) + b"\xd8\x1c\x81\x00" + b"".join(lists)


def test_shared_references_do_not_blow_up() -> None:
    small, large = shared_bomb(3), shared_bomb(60)
    assert len(cbor2.loads(small)) == 4
    assert json.loads(body_as_json(large)).keys() == {"$cbor"}
    cyclic = b"\xd8\x1c\x81\xd8\x1d\x00"
    assert json.loads(body_as_json(cyclic)).keys() == {"$cbor"}


def test_huge_numbers_are_kept_as_bytes() -> None:
    assert json.loads(body_as_json(cbor2.dumps(10**6000))).keys() == {"$cbor"}


def test_times_that_nobody_knows() -> None:
    assert iso(None) is None
    assert iso(0.0004) == "1970-01-01T00:00:00.000Z"
    assert datetime.fromisoformat(iso(NOW) or "") == datetime.fromtimestamp(NOW, UTC)
