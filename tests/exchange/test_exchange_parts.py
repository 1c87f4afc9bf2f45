"""The parts of an exchange by themselves: staging, lanes, tokens, what is put together from byte ranges, overhead."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import SystemClock
from rataccess.config import StoreSettings
from rataccess.exchange.flights import LATEST, MOST_LATE, Flight, Flights
from rataccess.exchange.inbound import Assembly, Inflow
from rataccess.exchange.lane import FIRST_WINDOW, MOST_PAUSE, MOST_WINDOW, URGENT_EXTRA, Lane
from rataccess.exchange.ledger import _spans
from rataccess.exchange.staging import Outgoing, Staging
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency, encode
from rataccess.store import NewRecord, Record, Store
from rataccess.wire import BASE, Message, WireRecord

S = Service.SOLUTION


def record(number: int, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "service": S, "number": number, "queue": "q", "queue_id": 8, "queue_known": False, "body": bytes(100),
        "urgency": Urgency.ROUTINE, "captured_at": 10.0, "boot": b"b", "monotonic": 5.0, "time_known": False,
        "expires_at": 20.0, "max_cost": None, "links": (), "replaces": None, "attempts": 0, "handed_over": False,
    }  # fmt: skip
    return Record(**{**values, **changes})


def memory_store(**limits: Any) -> Store:
    return Store.open(None, StoreSettings(**limits), SystemClock(), threaded=False)


# --- staging ----------------------------------------------------------------------------------------------------------

RANGES = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)).map(lambda p: (p[0], min(100, p[0] + p[1]))))


def covered(ranges: list[tuple[int, int]] | None) -> set[int]:
    return {at for start, end in ranges or [] for at in range(start, end)}


@given(RANGES)
def test_ranges_given_back_are_merged_and_none_is_lost(ranges: list[tuple[int, int]]) -> None:
    item = Outgoing(record(1))
    item.missing = []
    for start, end in ranges:
        item.give_back(start, end)
    assert covered(item.missing) == covered(ranges)
    assert all(end < start for (_, end), (start, _) in zip(item.missing, item.missing[1:], strict=False))


@given(RANGES)
def test_what_the_peer_does_not_hold_waits(held: list[tuple[int, int]]) -> None:
    item = Outgoing(record(1))
    item.hold_only(held)
    left = set(range(100)) - covered(held)
    assert covered(item.missing) == (left or set(range(100))), "where it holds all and says it is not whole: once more"


def test_staging_gives_in_order_takes_back_once_and_forgets_what_is_settled() -> None:
    store = memory_store()
    for n in range(6):
        store.enqueue(NewRecord(S, "q", encode(n), Urgency.ALARM if n == 4 else Urgency.ROUTINE))
    staging = Staging(store, S)
    assert staging.top() is Urgency.ALARM
    taken = [staging.pull(Urgency.ROUTINE, True, lambda item: item.record.number != 2)[0] for _ in range(2)]
    assert [item.record.number for item in taken if item] == [1, 3]
    staging.put_back(item for item in [*taken, *taken] if item)
    staging.settled([3])
    order, place = [], (0, 0)
    while True:
        item, place = staging.pull(Urgency.ROUTINE, True, lambda item: True, place)
        if item is None:
            break
        order.append(item.record.number)
    assert order == [1, 2, 4, 6]
    assert 3 not in staging.items
    store.close()


def test_time_that_becomes_known_dates_what_was_read_before() -> None:
    store = memory_store()
    staging = Staging(store, S)
    for number, boot, expires in ((1, b"b", 20.0), (2, b"other", 20.0), (3, b"b", None)):
        staging.again(record(number, boot=boot, expires_at=expires))
    staging.again(record(4, time_known=True))
    staging.dated(b"b", 1000.0, 1007.0)
    times = {n: (item.record.captured_at, item.record.expires_at) for n, item in staging.items.items()}
    assert times == {1: (1005.0, 1015.0), 2: (None, 1017.0), 3: (1005.0, None), 4: (10.0, 20.0)}
    assert staging.items[1].wire.captured_at == 1005.0
    staging.dated(b"b", 5000.0, 5007.0)
    assert staging.items[1].record.captured_at == 1005.0, "once"
    store.close()


def test_a_queue_that_the_service_knows_is_not_named_any_more() -> None:
    store = memory_store()
    staging = Staging(store, S)
    staging.again(record(1))
    staging.again(record(2, queue="other", queue_id=9))
    staging.name_known(8)
    assert [item.wire.queue for item in staging.items.values()] == [None, "other"]
    store.close()


# --- lanes and tokens -------------------------------------------------------------------------------------------------


def flight(flights: Flights, lane: Lane) -> Flight:
    return Flight(flights.token(), None, lane, 0.0, [])  # type: ignore[arg-type]


def unexpected(flight: Flight, timeout: float) -> None:
    raise AssertionError(f"{flight} is not overdue")


def test_tokens_are_unique_and_one_byte_while_there_are_any() -> None:
    flights, lane = Flights(random.Random(1), unexpected), Lane("l")
    seen = []
    for _ in range(400):
        each = flight(flights, lane)
        flights.launch(each)
        seen.append(each)
    tokens = [each.token for each in seen]
    assert len(set(tokens)) == 400
    assert [len(token) for token in tokens[:256]] == [1] * 256
    assert {len(token) for token in tokens[256:]} == {2}
    for each in seen[100:110]:
        flights.land(each)
        flights.answered(each)
    assert lane.in_flight == 390
    for each in seen[:30]:
        flights.land(each)
        flights.late(each, 10.0)
    assert flights.find(seen[0].token) is seen[0], "its answer is still taken"
    flights.prune(9.9)
    assert len(flights) == 390
    flights.prune(10.0)
    assert flights.find(seen[0].token) is None
    assert len(flights) == 360


@pytest.mark.looptime
async def test_one_timer_tells_of_each_request_when_it_is_overdue() -> None:
    loop, told = asyncio.get_running_loop(), list[tuple[float, str]]()

    def overdue(flight: Flight, timeout: float) -> None:
        told.append((round(loop.time() - began, 3), names[flight.token]))
        flights.land(flight)

    began, names = loop.time(), dict[bytes, str]()
    flights, lane = Flights(random.Random(1), overdue), Lane("l")
    made = {}
    for name, timeout in (("slow", 3.0), ("quick", 1.0), ("stuck", 1.0), ("answered", 0.5), ("sent late", 0.5)):
        each = made[name] = flight(flights, lane)
        names[each.token] = name
        flights.launch(each)
        flights.due(each, timeout, 2.0)
        if name not in ("stuck", "sent late"):
            flights.sent(each, loop.time())
    flights.land(made["answered"])
    await asyncio.sleep(0.75)
    assert told == []
    flights.sent(made["sent late"], loop.time())
    await asyncio.sleep(10)
    assert told[:2] == [(1.0, "quick"), (1.25, "sent late")]
    assert sorted(told[2:]) == [(3.0, "slow"), (3.0, "stuck")]
    assert lane.in_flight == 0
    assert flights._timer is None, "nothing is in flight: nobody looks any more"


@pytest.mark.looptime
async def test_no_timer_outlives_the_exchange() -> None:
    flights, lane = Flights(random.Random(1), unexpected), Lane("l")
    each = flight(flights, lane)
    flights.launch(each)
    flights.due(each, 1.0, 2.0)
    flights.sent(each, asyncio.get_running_loop().time())
    flights.close()
    await asyncio.sleep(10)


def test_late_requests_are_bounded() -> None:
    flights, lane = Flights(random.Random(1), unexpected), Lane("l")
    for n in range(MOST_LATE + 40):
        each = flight(flights, lane)
        flights.launch(each)
        flights.land(each)
        flights.late(each, n + LATEST)
    assert len(flights) == MOST_LATE
    assert lane.in_flight == 0


def test_a_lane_grows_with_answers_and_asks_ever_less_of_silence() -> None:
    lane = Lane("l")
    for n in range(100):
        lane.answered(float(n))
    assert lane.window == MOST_WINDOW
    lane.overdue(98.5, 100.0, 1.0, 1.0)
    assert (lane.window, lane.silent, lane.not_before) == (MOST_WINDOW / 2, 0, 0.0), "one lost packet"
    pauses, now = [], 101.0
    for _ in range(12):
        lane.overdue(now, now + 1, 1.0, 1.0)
        lane.overdue(now, now + 1, 1.0, 1.0)  # the same burst
        pauses.append(lane.not_before - now - 1)
        now = lane.not_before + 1
    assert pauses[:5] == pytest.approx([1, 2, 4, 8, 16])
    assert max(pauses) == pytest.approx(MOST_PAUSE)
    assert lane.window == 1.0
    lane.in_flight = 1
    assert not lane.open_for(urgent=False)
    assert lane.open_for(urgent=True)
    lane.in_flight = 1 + URGENT_EXTRA
    assert not lane.open_for(urgent=True)
    lane.restart()
    assert (lane.window, lane.in_flight, lane.pause_left(now)) == (FIRST_WINDOW, 0, -now)


def test_a_probe_passes_silence_but_not_a_link_that_takes_nothing() -> None:
    lane = Lane("l", not_before=50.0, shut_until=20.0)
    assert lane.pause_left(10.0) == 40.0
    lane.probe = True
    assert lane.pause_left(10.0) == 10.0
    lane.in_vain(10.0, 1.0)
    first = lane.not_before
    lane.in_vain(10.0, 1.0)
    assert 10.0 < first < lane.not_before


@pytest.mark.parametrize(
    ("told", "spans"),
    [
        ([0, 5, 7, 9], [(0, 5), (7, 9)]),
        ([5, 5], []),
        ([0, 11], []),
        ([0], []),
        ([-1, 3], []),
        ([0, True], []),
        ("ab", []),
        (None, []),
        ([0.0, 3.0], []),
    ],
)
def test_byte_ranges_of_a_peer_are_checked(told: object, spans: list[tuple[int, int]]) -> None:
    assert _spans(told, 10) == spans


# --- inbound ----------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60)
def test_an_object_is_whole_when_every_byte_has_come_in_whatever_order(data: st.DataObject) -> None:
    body = data.draw(st.binary(min_size=1, max_size=60))
    assembly, have = Assembly(len(body)), set[int]()
    for _ in range(30):
        start = data.draw(st.integers(0, len(body) - 1))
        end = data.draw(st.integers(start + 1, len(body)))
        assembly.add(start, body[start:end])
        have |= set(range(start, end))
        assert covered(assembly.held) == have
        assert assembly.whole == (len(have) == len(body))
    assembly.add(0, body)
    assert bytes(assembly.data) == body


def part(number: int, body: bytes, start: int, end: int, **changes: Any) -> WireRecord:
    return WireRecord(number, 8, Urgency.ROUTINE, body[start:end], None, "cmd", start, len(body), **changes)


def test_inflow_keeps_each_number_once_and_leaves_nothing_of_unfinished_ones_behind() -> None:
    store = memory_store()
    inflow = Inflow(S, store)
    body = encode("x" * 50)
    assert inflow.take(Message(records=[part(1, body, 0, 20), part(2, body, 10, 30)])) == []
    assert inflow.partial() == {1: [0, 20], 2: [10, 30]}
    assert inflow.partial(most_records=1) == {1: [0, 20]}
    (whole,) = inflow.take(Message(records=[part(1, body, 20, len(body))]))
    assert (whole.number, whole.queue, whole.body) == (1, "cmd", body)
    assert inflow.take(Message(records=[part(1, body, 0, len(body))])) == [], "it came again"
    (large,) = inflow.take(Message(records=[WireRecord(2, 8, Urgency.ROUTINE, body, None)]))
    assert (large.number, large.queue) == (2, "cmd"), "the queue's name is remembered"
    assert inflow.partial() == {}, "whole over another link: the parts are no longer waited for"
    inflow.take(Message(records=[part(3, body, 0, 20)]))
    inflow.take(Message(control={BASE: 9}))
    assert inflow.partial() == {}
    assert inflow.received == NumberSet(8) == store.received(S)
    for nonsense in (True, "9", -3, 2**60):
        inflow.take(Message(control={BASE: nonsense}))
    assert inflow.received.floor == 8
    store.close()


def test_a_full_inbox_takes_what_it_has_room_for_and_keeps_parts_for_later() -> None:
    store = memory_store(max_records=3)
    inflow = Inflow(S, store)
    body = encode("x" * 50)
    many = [WireRecord(n, 8, Urgency.ROUTINE, encode(n), None, "q") for n in range(1, 8)]
    assert [each.number for each in inflow.take(Message(records=many))] == [1, 2, 3]
    assert inflow.full
    assert inflow.take(Message(records=[part(9, body, 0, len(body))])) == []
    assert inflow.received == NumberSet(3)
    assert inflow.partial() == {9: [0, len(body)]}
    assert store.take(S, None) is not None
    assert not inflow.full
    (whole,) = inflow.take(Message(records=[part(9, body, 0, 1)]))
    assert whole.body == body
    store.close()


def test_what_is_read_again_is_not_staged_twice() -> None:
    store = memory_store()
    for n in range(5):
        store.enqueue(NewRecord(S, "q", encode(n), links=("lte",) if n % 2 else ()))
    staging = Staging(store, S)
    staging.look_ahead()
    taken, _ = staging.pull(Urgency.ROUTINE, True, lambda item: True)
    staging._forgotten[Urgency.ROUTINE] = 1
    staging.rewind()
    staging.look_ahead()
    assert taken is staging.items[1]
    assert [len(staging._ready[Urgency.ROUTINE, bound]) for bound in (False, True)] == [2, 2]
    store.close()
