"""Short floats: an object comes back to the byte, whatever stands in it, and whatever bytes come, an object or a refusal."""

from __future__ import annotations

import contextlib
import math
import struct
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.objects import Urgency
from rataccess.wire import EPOCH, MessageBuilder, Reach, WireRecord, build, decode_message, fragment
from rataccess.wire.shorten import restore, shorten
from tests.compact.plain_compact import whole_floats

PAGE = (Path(__file__).resolve().parents[2] / "docs/wire.md").read_text(encoding="utf-8")
NOW = EPOCH + 200_000_000.0
REACH = Reach(69_999, 70_010, NOW)
READING = {"temp": 21.6, "hum": 48, "volt": 3.71}
DECIMALS = st.builds(lambda whole, places: whole / 10**places, st.integers(-(2**34), 2**34), st.integers(0, 6))
LEAVES = st.one_of(
    st.floats(),
    DECIMALS,
    st.integers(-(2**70), 2**70),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.none(),
    st.booleans(),
)
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.builds(cbor2.CBORTag, st.integers(6, 12), inner),
    ),
    max_leaves=12,
)


def messages(records: list[WireRecord], limit: int = 9000, *, compact: bool = True) -> bytes:
    builder = MessageBuilder(limit, floor=69_999, now=NOW, dense=REACH if compact else None)
    assert [builder.add(record) for record in records] == [True] * len(records)
    assert len(builder.finish()) <= builder.size
    return builder.finish()


def record(body: bytes, number: int = 70_000) -> WireRecord:
    return WireRecord(number, 8, Urgency.ROUTINE, body, NOW)


@given(OBJECTS)
@settings(max_examples=100, deadline=None)
def test_any_object_comes_back_to_the_byte(value: Any) -> None:
    body = cbor2.dumps(value)
    short = shorten(body)
    assert restore(short) == body
    assert cbor2.dumps(whole_floats(cbor2.loads(short))) == body, "by the words of the page"
    for records in ([record(body)], [record(body), record(body, 70_001)]):
        assert decode_message(messages(records), floor=69_999, now=NOW, compact=True).records == records


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_restored_or_refused(data: bytes) -> None:
    with contextlib.suppress(ObjectError):
        assert len(restore(data)) <= 4.5 * len(data)
    with contextlib.suppress(ObjectError):
        decode_message(b"\xc4" + bytes(5) + data, floor=0, now=NOW, compact=True)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (21.6, 3),
        (-0.01, 2),
        (21.0, 2),
        (59.3293, 6),
        (0.0, 2),
        (1e9, 6),
        (-0.0, 9),
        (2.0**32, 9),
        (59.32931, 9),
        (1 / 3, 9),
        (math.inf, 3),  # cbor2 has them as halves
        (math.nan, 3),
    ],
)
def test_what_began_as_a_decimal_is_short(value: float, size: int) -> None:
    assert len(shorten(cbor2.dumps(value))) == size


def test_a_patterned_float_keeps_its_bits() -> None:
    for pattern in (0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000, 1):
        body = b"\xfb" + struct.pack(">Q", pattern)
        assert restore(shorten(body)) == body


@pytest.mark.parametrize("data", ["c6", "c760", "c8f6", "cb", "cb00", "cbcc00"])
def test_tags_that_stand_for_nothing_are_refused(data: str) -> None:
    with pytest.raises(ObjectError):
        restore(bytes.fromhex(data))
    with pytest.raises(ObjectError):
        decode_message(b"\xc4" + bytes(5) + bytes.fromhex(data), floor=1, now=NOW, compact=True)


def test_a_reading_without_a_template_fits_an_uplink_and_eight_another() -> None:
    """35 bytes as CBOR: with a head, not even one fits 41 where it waited for a day; at DR5 it is 232."""
    body = cbor2.dumps(READING)
    assert (len(body), len(shorten(body))) == (35, 24)
    assert shorten(body).hex() in PAGE
    assert len(messages([record(body)])) == 6 + 24
    assert len(messages([record(body, 70_000 + n) for n in range(8)])) <= 232
    assert len(messages([record(body)], compact=False)) == 10 + 35, "over IP as ever"


def test_what_cannot_fit_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[int]()

    def counted(body: bytes) -> bytes:
        looked.append(len(body))
        return shorten(body)

    monkeypatch.setattr(build, "shorten", counted)
    builder = MessageBuilder(41, floor=69_999, now=NOW, dense=REACH)
    assert not builder.add(record(cbor2.dumps([21.6] * 100_000)))
    assert not builder.add(record(cbor2.dumps([21.6] * 20)))
    assert looked == [181]


def test_a_byte_range_is_of_the_object_as_it_is() -> None:
    part = fragment(record(cbor2.dumps([21.6] * 20)), 1, 18)
    assert part.body == cbor2.dumps(21.6) * 2
    assert decode_message(messages([part]), floor=69_999, now=NOW, compact=True).records == [part]
