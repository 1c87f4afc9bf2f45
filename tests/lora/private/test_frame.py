"""Frames of private LoRa: every value has one form, and nothing else is taken for a frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_drivers.lora.private.frame import Frame, FrameError, Kind, decode, encode, overhead

PAYLOADS = {Kind.DATA: st.binary(min_size=1, max_size=240), Kind.ACK: st.binary(min_size=2, max_size=2)}


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(Kind))
    return Frame(
        kind,
        draw(st.integers(1, 255)),
        draw(st.integers(1, 65535)),
        draw(st.integers(0, 255)),
        kind is not Kind.POLL and draw(st.booleans()),
        draw(st.booleans()),
        draw(PAYLOADS.get(kind, st.just(b""))),
    )


@settings(max_examples=80)
@given(frames())
def test_round_trip(frame: Frame) -> None:
    data = encode(frame)
    assert decode(data) == frame
    assert len(data) == overhead(frame.address) + len(frame.payload)
    assert overhead(frame.address) - 2 <= 5


@settings(max_examples=80)
@given(frames(), st.data())
def test_altered_frames_are_refused(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(encode(frame))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        decode(bytes(whole))


@settings(max_examples=80)
@given(st.binary(max_size=260))
def test_any_bytes(data: bytes) -> None:
    try:
        frame = decode(data)
    except FrameError:
        return
    assert encode(frame) == data


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("", "too short"),
        ("402a0501", "malformed"),  # data without a payload
        ("442a000501aa", "malformed"),  # a long address that is short
        ("402a0001aa", "malformed"),  # no address
        ("40000501aa", "malformed"),  # no network
        ("412a0501aa", "malformed"),  # the bit that is zero
        ("702a0501aa", "malformed"),  # no such kind
        ("502a0501aa", "malformed"),  # half an acknowledgement
        ("682a0501", "malformed"),  # the hub asks
        ("602a0501aa", "malformed"),  # a question with a payload
        ("802a0501aa", "other version"),
        ("44 2a 05 01", "malformed"),
    ],
)
def test_malformed_frames(head: str, reason: str) -> None:
    import zlib

    body = bytes.fromhex(head)
    data = body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big") if body else b"\0" * 5
    with pytest.raises(FrameError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_a_frame_on_the_air() -> None:
    assert encode(Frame(Kind.DATA, 0x2A, 5, 1, False, True, b"\xaa")).hex() == "422a0501aa0a32"
