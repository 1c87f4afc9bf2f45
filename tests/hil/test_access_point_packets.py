"""The access point's IPv4 and UDP, against arbitrary bytes and by way of back and forth."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rataccess_hil.access_point.packets import (
    FRAGMENTATION_NEEDED,
    PORT_UNREACHABLE,
    Datagram,
    Malformed,
    NotCarried,
    build,
    checksum,
    dont_fragment,
    parse,
    unreachable,
)

_HOSTS = st.integers(0, 2**32 - 1).map(lambda number: socket.inet_ntoa(number.to_bytes(4, "big")))
_ADDRESSES = st.tuples(_HOSTS, st.integers(0, 65_535))
_DATAGRAMS = st.builds(Datagram, _ADDRESSES, _ADDRESSES, st.binary(max_size=200))

# RFC 1071 section 3: the sum of these words is ddf2, so its complement is 220d.
RFC_1071 = bytes.fromhex("0001f203f4f5f6f7")


def test_checksum_of_the_rfc() -> None:
    assert checksum(RFC_1071) == 0x220D
    assert checksum(RFC_1071 + b"\x22\x0d") == 0


@given(_DATAGRAMS)
def test_there_and_back(datagram: Datagram) -> None:
    packet = build(datagram)
    assert parse(packet) == datagram
    assert dont_fragment(packet)
    assert packet[26:28] != b"\0\0"  # would mean: no checksum


@given(_DATAGRAMS, st.data())
def test_no_damaged_packet_passes_for_another(datagram: Datagram, data: st.DataObject) -> None:
    packet = bytearray(build(datagram))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Malformed, NotCarried)):
        parse(bytes(packet))


@given(st.binary(max_size=100))
@example(b"\x45")
@example(b"\x4f" + bytes(30))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(Malformed, NotCarried):
        assert isinstance(parse(data), Datagram)


@pytest.mark.parametrize(("code", "mtu"), [(PORT_UNREACHABLE, 0), (FRAGMENTATION_NEEDED, 900)])
def test_unreachable(code: int, mtu: int) -> None:
    packet = build(Datagram(("10.0.0.2", 1000), ("192.0.2.1", 5683), b"payload"))
    error = unreachable(packet, code, mtu=mtu)
    assert checksum(error[:20]) == 0
    assert checksum(error[20:]) == 0
    assert (error[9], error[20], error[21]) == (socket.IPPROTO_ICMP, 3, code)
    assert int.from_bytes(error[26:28], "big") == mtu
    assert (error[12:16], error[16:20]) == (packet[16:20], packet[12:16])
    assert error[28:] == packet[:28]
    with pytest.raises(NotCarried):
        parse(error)
