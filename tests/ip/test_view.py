"""The fold of kernel events, without a kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess_drivers.ip.view import AddressGone, AddressSeen, Event, InterfaceView, LinkGone, LinkSeen

UP = 0x1
TENTATIVE, DAD_FAILED = 0x40, 0x08


def link(index: int = 3, name: str = "wlan0", flags: int = UP, carrier: bool = True, state: str = "UP") -> LinkSeen:
    return LinkSeen(index, name, flags, carrier, state, 1500)


def view(*events: Event) -> InterfaceView:
    made = InterfaceView("wlan0")
    for event in events:
        made.apply(event)
    return made


def test_up_with_carrier_and_address() -> None:
    seen = view(link(), AddressSeen(3, "192.0.2.7", 0, 0), AddressSeen(3, "2001:db8::7", 0, 0))
    assert seen.passes
    assert seen.addresses() == ("192.0.2.7", "2001:db8::7")
    assert seen.addresses("ipv4") == ("192.0.2.7",)
    assert seen.addresses("ipv6") == ("2001:db8::7",)


@pytest.mark.parametrize(
    "seen",
    [link(flags=0), link(carrier=False), link(state="DORMANT"), link(state="LOWERLAYERDOWN"), link(name="wlan1")],
)
def test_packets_do_not_pass(seen: LinkSeen) -> None:
    assert not view(seen).passes


def test_operstate_unknown_passes() -> None:
    assert view(link(state="UNKNOWN")).passes


@pytest.mark.parametrize(
    "address",
    [
        AddressSeen(3, "2001:db8::7", 0, TENTATIVE),
        AddressSeen(3, "2001:db8::7", 0, DAD_FAILED),
        AddressSeen(3, "fe80::1", 253, 0),
        AddressSeen(3, "169.254.3.4", 0, 0),
    ],
)
def test_unusable_addresses(address: AddressSeen) -> None:
    seen = view(link(), address)
    assert seen.addresses() == ()
    assert seen.unusable_addresses() == (address.address,)


def test_address_becomes_usable() -> None:
    seen = view(link(), AddressSeen(3, "2001:db8::7", 0, TENTATIVE), AddressSeen(3, "2001:db8::7", 0, 0))
    assert seen.addresses() == ("2001:db8::7",)


def test_replugged_interface_has_another_index_and_no_addresses() -> None:
    seen = view(link(), AddressSeen(3, "192.0.2.7", 0, 0), LinkGone(3))
    assert not seen.exists
    assert seen.apply(link(index=9))
    assert (seen.exists, seen.addresses()) == (True, ())
    seen.apply(AddressSeen(3, "192.0.2.7", 0, 0))  # of the former one
    assert seen.addresses() == ()
    seen.apply(AddressSeen(9, "192.0.2.7", 0, 0))
    assert seen.addresses() == ("192.0.2.7",)


def test_renamed_interface_is_gone() -> None:
    assert not view(link(), link(name="wlan7")).exists


_EVENTS = st.one_of(
    st.builds(
        LinkSeen,
        st.integers(1, 3),
        st.sampled_from(["wlan0", "wlan1"]),
        st.sampled_from([0, UP]),
        st.booleans(),
        st.sampled_from(["UP", "DOWN", "DORMANT", "UNKNOWN"]),
        st.sampled_from([1280, 1500]),
    ),
    st.builds(LinkGone, st.integers(1, 3)),
    st.builds(AddressSeen, st.integers(1, 3), st.sampled_from(["192.0.2.1", "2001:db8::1"]), st.just(0), st.just(0)),
    st.builds(AddressGone, st.integers(1, 3), st.sampled_from(["192.0.2.1", "2001:db8::1"])),
)


@given(
    st.lists(_EVENTS), st.one_of(st.none(), st.integers(1, 3)), st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2"]))
)
def test_after_a_dump_the_view_is_the_truth(before: list[Event], index: int | None, addresses: list[str]) -> None:
    seen = view(*before)
    seen.begin_dump()
    if index is not None:
        seen.apply(link(index=index))
        for address in addresses:
            seen.apply(AddressSeen(index, address, 0, 0))
    seen.end_dump()
    assert seen.index == index
    assert seen.passes == (index is not None)
    assert set(seen.addresses()) == (set() if index is None else set(addresses))


@given(st.lists(_EVENTS))
def test_what_does_not_exist_has_nothing(events: list[Event]) -> None:
    seen = view(*events)
    if not seen.exists:
        assert not seen.passes
        assert seen.addresses() == ()
        assert seen.mtu is None
