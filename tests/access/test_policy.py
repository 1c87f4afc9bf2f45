"""Policy is pure: what holds of every decision, whatever the links look like."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.driver import Evidence
from rataccess.lorawan import Modulation
from rataccess.objects import Service, Urgency
from rataccess.policy import LEAST_COMPACT, LEAST_PACKET, Demand, LinkView, Suspicion, choose, refusal
from rataccess.tariff import Tariff, Unit

LINKS = st.builds(
    LinkView,
    name=st.just(""),
    ready=st.booleans(),
    evidence=st.sampled_from(list(Evidence)),
    order=st.integers(0, 3),
    cost_per_byte=st.sampled_from([0.0, 0.001, 1.0]),
    billing_quantum=st.sampled_from([1, 50, 1000]),
    overhead=st.sampled_from([0, 28]),
    mtu=st.sampled_from([0, 51, 1232]),
    min_urgency=st.sampled_from(list(Urgency)),
    left=st.none() | st.integers(0, 3000),
    unit=st.sampled_from(list(Unit)),
    cost_per_unit=st.sampled_from([0.0, 0.1]),
    modulation=st.none() | st.builds(Modulation, st.integers(7, 12)),
    compact=st.booleans(),
    suspicion=st.sampled_from(list(Suspicion)),
    probation=st.booleans(),
)
SETS = st.lists(LINKS, max_size=5).map(lambda links: [replace(link, name=f"l{n}") for n, link in enumerate(links)])
DEMANDS = st.builds(
    Demand,
    service=st.sampled_from(list(Service)),
    urgency=st.sampled_from(list(Urgency)),
    size=st.none() | st.integers(0, 5000),
    max_cost=st.none() | st.floats(0, 10),
    links=st.lists(st.sampled_from(["l0", "l1", "l2"]), max_size=2).map(tuple),
)


@given(DEMANDS, SETS)
@settings(max_examples=300, deadline=None)
def test_a_decision_never_names_a_link_that_is_refused_and_names_one_where_one_is_not(
    demand: Demand, links: list[LinkView]
) -> None:
    decision = choose(demand, links)
    able = {link.name for link in links if refusal(demand, link) is None}
    assert (decision.link in able) if able else decision.link is None
    # every link is either chosen or told of, once, and no reason is empty
    told = [name for name, _ in decision.rejected]
    assert len(told) == len(set(told))
    assert decision.link not in told
    assert {link.name for link in links} - able <= set(told)
    assert all(why for _, why in decision.rejected)
    assert decision.reason in str(decision)


@given(DEMANDS, SETS)
@settings(max_examples=200, deadline=None)
def test_more_urgent_or_less_frugal_never_loses_a_link(demand: Demand, links: list[LinkView]) -> None:
    for link in links:
        if refusal(demand, link) is None:
            assert refusal(replace(demand, urgency=Urgency.ALARM), link) is None
            assert refusal(replace(demand, max_cost=None), link) is None
            assert refusal(replace(demand, size=0), link) is None
            assert refusal(demand, replace(link, left=None)) is None


@given(DEMANDS, SETS)
@settings(max_examples=200, deadline=None)
def test_a_sound_link_is_never_passed_over_for_a_doubtful_one(demand: Demand, links: list[LinkView]) -> None:
    able = [link for link in links if refusal(demand, link) is None]
    sound = [link for link in able if link.suspicion is Suspicion.NONE and not link.probation]
    chosen = next((link for link in links if link.name == choose(demand, links).link), None)
    if chosen is None or not sound:
        return
    best = min(sound, key=lambda link: (link.order, link.price))
    # a merely overdue answer keeps the link where no sound one behind it is free: certainty costs less than money
    assert chosen in sound or (chosen.suspicion is Suspicion.UNANSWERED and not chosen.probation)
    assert (chosen.order, chosen.price) <= (best.order, best.price)


def test_reasons_name_what_stands_in_the_way() -> None:
    demand = Demand(Service.SOLUTION, Urgency.ROUTINE, max_cost=0.5, links=("sat",))
    sat = LinkView("sat", ready=True, cost_per_byte=0.01)
    assert "not among" in (refusal(demand, replace(sat, name="lte")) or "")
    assert "got as far as SIM" in (refusal(demand, replace(sat, ready=False, evidence=Evidence.SIM)) or "")
    assert "takes ALARM" in (refusal(demand, replace(sat, min_urgency=Urgency.ALARM)) or "")
    assert "would cost 1.6, the record allows 0.5" in (refusal(demand, sat) or "")
    assert refusal(replace(demand, max_cost=1.6), sat) is None
    assert "159 bytes left" in (refusal(replace(demand, max_cost=None), replace(sat, left=159)) or "")


def test_a_packet_is_judged_as_it_would_be_sent() -> None:
    sat = LinkView("sat", ready=True, cost_per_byte=0.01, mtu=50, overhead=10, billing_quantum=40)
    demand = Demand(Service.SOLUTION, Urgency.ALARM, size=100_000, max_cost=0.8)
    assert sat.billed(50) == 80
    assert refusal(demand, sat) is None, "one packet of 50 bytes, billed as 80"
    assert refusal(replace(demand, max_cost=0.79), sat) is not None
    assert refusal(replace(demand, max_cost=0.0), sat) is not None, "nothing may be paid"
    assert replace(sat, mtu=1232).least == LEAST_PACKET
    assert replace(sat, mtu=1232, compact=True).least == LEAST_COMPACT
    assert sat.least == 50, "no packet is larger than the link takes"


def test_credits_messages_and_air_time_are_counted_as_they_are_billed() -> None:
    sbd = LinkView(
        "sbd", ready=True, unit=Unit.CREDIT, billing_quantum=50, cost_per_unit=0.1, mtu=340, compact=True, left=1
    )
    alarm = Demand(Service.SOLUTION, Urgency.ALARM)
    assert [sbd.billed(size) for size in (0, 1, 50, 51, 340)] == [1, 1, 1, 2, 7]
    assert refusal(alarm, sbd) is None
    assert "has 1 credit left; needed: 2 credits" in (refusal(replace(alarm, size=51), sbd) or "")
    assert "0 credits left" in (refusal(alarm, replace(sbd, left=0)) or "")
    assert "would cost 0.2, the record allows 0.15" in (refusal(replace(alarm, size=60, max_cost=0.15), sbd) or "")
    lora = LinkView("lora", ready=True, unit=Unit.AIRTIME, overhead=13, modulation=Modulation(12), mtu=51, compact=True)
    # 64 bytes at SF12: (8 * 64 - 48 + 44) / 40 -> 13 codewords of 5 symbols, 8 more, 12.25 of preamble, 32.768 ms each
    assert lora.billed(51) == 2794
    assert "2.0 s of air time left; needed: 2.8 s" in (refusal(replace(alarm, size=51), replace(lora, left=2000)) or "")
    skylo = LinkView("skylo", ready=True, unit=Unit.MESSAGE, cost_per_unit=0.05, mtu=256)
    assert (skylo.billed(1), skylo.billed(256), skylo.cost(256)) == (1, 1, 0.05)
    assert not any(link.free for link in (sbd, lora, skylo, replace(skylo, cost_per_unit=0.0)))


def test_an_overdue_answer_moves_records_to_a_free_link_only() -> None:
    wifi = LinkView("wifi", ready=True, order=1, suspicion=Suspicion.UNANSWERED)
    free, dear = LinkView("lte", ready=True, order=2), LinkView("sat", ready=True, order=3, cost_per_byte=1.0)
    demand = Demand(Service.SOLUTION, Urgency.ROUTINE)
    assert choose(demand, [wifi, free, dear]).link == "lte"
    assert choose(demand, [wifi, dear]).link == "wifi"
    assert choose(demand, [wifi, replace(free, left=10_000)]).link == "wifi", "a budget is money"
    assert choose(demand, [replace(wifi, suspicion=Suspicion.CONFIRMED), dear]).link == "sat"
    assert choose(demand, [replace(wifi, suspicion=Suspicion.NONE, probation=True), dear]).link == "sat"
    doubly = replace(wifi, probation=True)
    assert choose(demand, [doubly, replace(free, left=10_000)]).link == "lte", "it failed before"
    last = choose(demand, [replace(wifi, suspicion=Suspicion.CONFIRMED)])
    assert last.link == "wifi"
    assert "least doubtful" in last.reason


@given(
    st.builds(
        Tariff,
        unit=st.sampled_from(list(Unit)),
        quantum=st.integers(1, 100),
        overhead=st.integers(0, 50),
        modulation=st.none() | st.builds(Modulation, st.integers(5, 12)),
    ),
    st.integers(0, 5000),
    st.integers(0, 400),
)
@settings(max_examples=200, deadline=None)
def test_what_finds_room_is_the_largest_packet_that_the_units_pay_for(tariff: Tariff, units: int, mtu: int) -> None:
    room = tariff.room(units, mtu)
    assert room <= mtu
    if room > 0:
        assert tariff.units(room) <= units
    if 0 <= room < mtu:
        assert tariff.units(room + 1) > units
