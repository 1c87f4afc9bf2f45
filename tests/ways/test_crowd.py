"""Who gives way where connections are many."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.services.crowd import Crowd, origin_of


def test_whoever_holds_most_gives_way_with_its_oldest() -> None:
    crowd, gone = Crowd(4), list[str]()

    def come(who: str, address: str) -> bool:
        def give_way() -> bool:
            gone.append(who)
            return True

        return crowd.enter(who, address, give_way)

    for who, address in (
        ("gateway", "192.0.2.1"),
        ("a", "::ffff:198.51.100.7"),
        ("b", "198.51.100.7"),
        ("c", "2001:db8::1"),
    ):
        assert come(who, address)
    assert gone == []
    assert come("d", "198.51.100.7")
    assert come("e", "198.51.100.7")
    assert gone == ["a", "b"]
    crowd.leave("e")
    assert come("f", "2001:db8::2")  # of the same network as c
    assert come("g", "203.0.113.1")
    assert gone == ["a", "b", "c"]
    assert len(crowd) == 4


def test_one_that_finds_nobody_to_give_way_does_not_stay() -> None:
    crowd = Crowd(1)
    assert crowd.enter("busy", "192.0.2.1", lambda: False)
    assert not crowd.enter("late", "192.0.2.2", lambda: True)
    assert len(crowd) == 1


def test_hosts_are_told_apart() -> None:
    assert origin_of("::ffff:192.0.2.1") == origin_of("192.0.2.1") != origin_of("192.0.2.2")
    assert origin_of("2001:db8::1%eth0") == origin_of("2001:db8::ffff") != origin_of("2001:db8:0:1::1")
    assert origin_of(None) == origin_of("None") != origin_of("")


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"]), max_size=40))
def test_a_host_with_a_fair_share_keeps_it(came: list[str]) -> None:
    crowd, there = Crowd(6), dict[int, str]()
    for who, address in enumerate(came):
        there[who] = address
        before = Counter(there.values())
        crowd.enter(who, address, lambda who=who: there.pop(who) is not None)  # type: ignore[misc]
        lost = before - Counter(there.values())
        assert len(there) == len(crowd) == min(6, sum(before.values()))
        assert all(before[each] == max(before.values()) for each in lost)
        assert who in there
