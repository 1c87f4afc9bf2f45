"""The codec under any input: what is encoded is read again, and what is none raises `FrameError` and nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rataccess.errors import FrameError, ObjectError
from rataccess.lorawan import crypto
from rataccess.lorawan.commands import (
    COMMANDS,
    Command,
    LinkAdrReq,
    NewChannelReq,
    Unknown,
    decode_commands,
    encode_commands,
)
from rataccess.lorawan.frame import (
    Downlink,
    JoinAccept,
    SealedJoinAccept,
    Uplink,
    cflist_frequencies,
    cflist_masks,
    decode,
    encode,
    encode_frequencies,
    encode_masks,
    join_accept,
)

KEYS = crypto.SessionKeys(bytes(16), bytes(range(16)))
word = st.integers(0, 0xFFFFFFFF)


@st.composite
def frames(draw: st.DrawFn) -> Uplink | Downlink:
    port = draw(st.none() | st.integers(0, 255))
    payload = b"" if port is None else draw(st.binary(max_size=222))
    fopts = b"" if port == 0 else draw(st.binary(max_size=15))
    kind: type[Uplink] | type[Downlink] = Uplink if draw(st.booleans()) else Downlink
    return kind(
        draw(word), draw(word), draw(st.booleans()), draw(st.booleans()), draw(st.booleans()), fopts, port, payload
    )


@settings(max_examples=60)
@given(frames())
def test_sealed_frames_are_opened_again(frame: Uplink | Downlink) -> None:
    wire = encode(crypto.seal(KEYS, frame))
    read = decode(wire)
    assert isinstance(read, type(frame))
    assert read.fcnt == frame.fcnt & 0xFFFF
    opened = crypto.open_frame(KEYS, read, frame.fcnt)
    assert (opened.payload, opened.fopts, opened.port, opened.fcnt) == (
        frame.payload,
        frame.fopts,
        frame.port,
        frame.fcnt,
    )


@settings(max_examples=100)
@given(st.binary(max_size=255))
@example(bytes.fromhex("7c0000000060000000000000"))
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    with suppress(FrameError):
        assert encode(decode(data)) == bytes([data[0] & 0xE0]) + data[1:]
    with suppress(FrameError):
        join_accept(data)
    for uplink in (False, True):
        with suppress(FrameError):
            found = decode_commands(data, uplink=uplink)
            read = b"".join(each.data if isinstance(each, Unknown) else each.encode() for each in found)
            assert len(read) == len(data)


@settings(max_examples=60)
@given(st.sampled_from(sorted(COMMANDS.items())), st.binary(min_size=6, max_size=6))
def test_commands_are_read_again(entry: tuple[tuple[bool, int], type[Command]], noise: bytes) -> None:
    (uplink, _), kind = entry
    command = kind.decode(noise[: kind.size()])
    (again,) = decode_commands(encode_commands([command]), uplink=uplink)
    assert again == command


@settings(max_examples=50)
@given(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1), word, st.integers(0, 7), st.integers(0, 15), st.booleans())
def test_join_accepts_are_opened_again(nonce: int, net: int, addr: int, offset: int, rx2: int, listed: bool) -> None:
    accept = JoinAccept(nonce, net, addr, offset, rx2, 3, encode_frequencies([867_100_000]) if listed else b"")
    frame = decode(crypto.seal_join_accept(KEYS.app_s_key, accept))
    assert isinstance(frame, SealedJoinAccept)
    opened = crypto.open_join_accept(KEYS.app_s_key, frame)
    assert opened.body == accept.body


def test_lists_of_channels() -> None:
    assert cflist_frequencies(encode_frequencies([867_100_000, 867_300_000])) == [867_100_000, 867_300_000, 0, 0, 0]
    assert cflist_masks(encode_masks([0xFF00, 0, 0, 0, 2])) == [0xFF00, 0, 0, 0, 2]
    assert cflist_masks(encode_frequencies([1])) == []
    assert cflist_frequencies(encode_masks([1])) == []
    assert cflist_frequencies(b"") == cflist_masks(b"") == []


@pytest.mark.parametrize(
    "wrong",
    [
        Uplink(1, 0, fopts=bytes(16)),
        Uplink(1, 0, payload=b"x"),
        Downlink(1, 0, fopts=b"\x02", port=0, payload=b"\x02"),
        Uplink(1 << 32, 0),
        JoinAccept(1 << 24, 0, 0),
    ],
)
def test_frames_that_contradict_themselves(wrong: Uplink | Downlink | JoinAccept) -> None:
    with pytest.raises(FrameError):
        _ = wrong.body
    with pytest.raises(ObjectError, match="MIC"):
        encode(JoinAccept(1, 1, 1))


def test_values_that_do_not_fit() -> None:
    with pytest.raises(FrameError, match="data_rate takes 0 to 15"):
        LinkAdrReq(data_rate=16).encode()
    with pytest.raises(FrameError, match="frequency"):
        NewChannelReq(frequency=2_400_000_000).encode()
