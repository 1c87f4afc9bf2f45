"""The reader of the kernel's messages, against pyroute2's and against what a real kernel says."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from rataccess_drivers.ip import rtnetlink
from rataccess_drivers.ip.netlink import RouteMonitor
from rataccess_drivers.ip.view import AddressGone, AddressSeen, Event, InterfaceView, LinkGone, LinkSeen
from rataccess_hil.access_point import NetworkNamespace, why_not

needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")

GROUPS = 0x1 | 0x10 | 0x100


def by_pyroute2(data: bytes) -> list[Event]:
    """The events of a datagram as an independent implementation reads them."""
    found = (_theirs(message["header"]["type"], message) for message in MarshalRtnl().parse(data))
    return [event for event in found if event is not None]


def _theirs(kind: int, message: Any) -> Event | None:
    if kind in (16, 17) and message["family"] == socket.AF_UNSPEC:
        if kind == 17:
            return LinkGone(message["index"])
        return LinkSeen(
            message["index"],
            message.get_attr("IFLA_IFNAME") or "",
            message["flags"],
            bool(message.get_attr("IFLA_CARRIER")),
            message.get_attr("IFLA_OPERSTATE") or "UNKNOWN",
            message.get_attr("IFLA_MTU"),
        )
    if kind not in (20, 21):
        return None
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if kind == 21:
        return AddressGone(message["index"], address)
    flags = message.get_attr("IFA_FLAGS")
    return AddressSeen(message["index"], address, message["scope"], message["flags"] if flags is None else flags)


def by_us(data: bytes) -> list[Event]:
    found = (rtnetlink.event(message) for message in rtnetlink.messages(data))
    return [event for event in found if event is not None]


@pytest.fixture
def kernel() -> Iterator[socket.socket]:
    """A listening socket in a namespace of its own, with what happens there."""
    with NetworkNamespace() as namespace, namespace.entered():
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as listener:
            listener.bind((0, GROUPS))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            for line in (
                "link set lo up",
                "link add veth0 type veth peer name veth1",
                "link add br0 type bridge",
                "link set veth0 mtu 1400 up",
                "link set veth1 master br0",
                "link set veth1 up",
                "link set br0 up",
                "link set veth1 down",
                "addr add 10.1.2.3/24 dev veth0",
                "addr add 10.9.0.1 peer 10.9.0.2 dev veth0",
                "addr add 2001:db8::1/64 dev veth0",
                "addr add 169.254.7.7/16 scope link dev br0",
                "addr del 10.1.2.3/24 dev veth0",
                "link set br0 down",
                "link set br0 name bridge0",
                "link del veth0",
            ):
                namespace.ip(*line.split())
            yield listener


def heard(listener: socket.socket) -> list[bytes]:
    datagrams = []
    while True:
        try:
            datagrams.append(listener.recv(1 << 16))
        except BlockingIOError:
            return datagrams


@needs_namespaces
def test_reads_a_real_kernel_as_pyroute2_does(kernel: socket.socket) -> None:
    datagrams = heard(kernel)
    for dump in (rtnetlink.GETLINK, rtnetlink.GETADDR):
        kernel.send(rtnetlink.dump_request(dump))
        datagrams += heard(kernel)
    ours = [event for datagram in datagrams for event in by_us(datagram)]
    assert ours == [event for datagram in datagrams for event in by_pyroute2(datagram)]
    assert {type(event) for event in ours} == {LinkSeen, LinkGone, AddressSeen, AddressGone}
    links = [event for event in ours if isinstance(event, LinkSeen)]
    assert {event.name for event in links} >= {"lo", "veth0", "veth1", "br0", "bridge0"}
    assert {event.operstate for event in links} >= {"UNKNOWN", "DOWN", "UP", "LOWERLAYERDOWN"}
    assert {event.carrier for event in links} == {True, False}
    assert 1400 in {event.mtu for event in links}
    addresses = {event.address for event in ours if isinstance(event, AddressSeen)}
    assert addresses >= {"10.1.2.3", "10.9.0.1", "2001:db8::1", "169.254.7.7", "127.0.0.1", "::1"}
    answered = [each for datagram in datagrams for each in rtnetlink.messages(datagram) if each.kind == rtnetlink.DONE]
    assert [each.sequence for each in answered] == [rtnetlink.GETLINK, rtnetlink.GETADDR]


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, flags: int = 0, sequence: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


attributes = st.lists(
    st.one_of(
        st.builds(lambda name: attribute(3, name.encode() + b"\0"), st.from_regex(r"[a-z0-9.]{1,15}", fullmatch=True)),
        st.builds(lambda mtu: attribute(4, struct.pack("=I", mtu)), st.integers(0, 2**32 - 1)),
        st.builds(lambda state: attribute(16, bytes([state])), st.integers(0, 6)),
        st.builds(lambda carrier: attribute(33, bytes([carrier])), st.integers(0, 1)),
        st.builds(attribute, st.sampled_from([200, 201]), st.binary(max_size=9)),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=100)
@given(st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1), attributes)
def test_reads_any_link_as_pyroute2_does(index: int, flags: int, found: bytes) -> None:
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0) + found
    datagram = message(rtnetlink.NEWLINK, body) + message(rtnetlink.DELLINK, body)
    assert by_us(datagram) == by_pyroute2(datagram)


@settings(max_examples=100)
@given(
    st.sampled_from([rtnetlink.NEWADDR, rtnetlink.DELADDR]),
    st.sampled_from([(socket.AF_INET, 4), (socket.AF_INET6, 16)]),
    st.data(),
)
def test_reads_any_address_as_pyroute2_does(kind: int, family: tuple[int, int], data: st.DataObject) -> None:
    number, size = family
    raw = st.binary(min_size=size, max_size=size)
    found = b"".join(attribute(each, data.draw(raw)) for each in data.draw(st.permutations([1, 2])))
    if data.draw(st.booleans()):
        found += attribute(8, struct.pack("=I", data.draw(st.integers(0, 2**32 - 1))))
    byte = st.integers(0, 255)
    body = struct.pack("=BBBBI", number, 24, data.draw(byte), data.draw(byte), data.draw(st.integers(1, 2**31 - 1)))
    assert by_us(message(kind, body + found)) == by_pyroute2(message(kind, body + found))


def test_done_error_and_interruption() -> None:
    data = message(3, bytes(4), flags=0x10, sequence=22) + message(2, struct.pack("=i", -1) + bytes(16))
    done, error = rtnetlink.messages(data)
    assert (done.kind, done.sequence, done.flags & rtnetlink.DUMP_INTERRUPTED) == (rtnetlink.DONE, 22, 0x10)
    assert (error.kind, error.error) == (rtnetlink.ERROR, 1)


def test_what_cannot_be_an_address_is_passed_over() -> None:
    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 7)
    for found in (b"", attribute(1, b"\x0a"), attribute(1, bytes(16))):
        assert by_us(message(rtnetlink.NEWADDR, body + found)) == []


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x10",
        struct.pack("=IHHII", 15, 16, 0, 0, 0),
        struct.pack("=IHHII", 17, 16, 0, 0, 0),
        message(16, b"short"),
        message(16, struct.pack("=BxHiII", 0, 1, 1, 0, 0) + struct.pack("=HH", 400, 3)),
        message(16, struct.pack("=BxHiII", 0, 1, 1, 0, 0) + attribute(4, b"xx")),
    ],
)
def test_damage_is_told_and_what_came_before_it_stands(damaged: bytes, caplog: pytest.LogCaptureFixture) -> None:
    good = message(16, struct.pack("=BxHiII", 0, 1, 7, 1, 0) + attribute(3, b"wlan0\0") + attribute(33, b"\1"))
    view = InterfaceView("wlan0")
    monitor = RouteMonitor(view, lambda: None)
    monitor._phase = rtnetlink.GETLINK  # the addresses come next
    monitor._heard(good + damaged)
    assert (view.index, view.carrier) == (7, True)
    assert "cannot be read" in caplog.text


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    monitor = RouteMonitor(InterfaceView("wlan0"), lambda: None)
    monitor._phase = rtnetlink.GETLINK
    try:
        for each in rtnetlink.messages(data):
            rtnetlink.event(each)
    except rtnetlink.Damaged:
        pass
