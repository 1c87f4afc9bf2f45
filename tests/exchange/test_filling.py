"""What goes into a message: not too much, in order, nothing left out, most urgent first, packed where that is smaller."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess import Integer, Scaled, Template, Text
from rataccess.clock import SystemClock
from rataccess.config import StoreSettings
from rataccess.errors import DiskFull
from rataccess.exchange.filling import LEAST_RANGE, Filler, Filling
from rataccess.exchange.staging import Outgoing, Staging
from rataccess.objects import Service, Urgency, decode, encode
from rataccess.store import NewRecord, Store
from rataccess.template import TemplateBook
from rataccess.wire import Block, MessageBuilder, Reach, WireRecord, decode_message, fit_block

S = Service.SOLUTION
NOW = 1_800_000_000.0
READINGS = Template("readings", temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100))
NOTES = Template("notes", id=5, text=Text(4000))
TEMPLATES = {READINGS.id: READINGS, NOTES.id: NOTES}


class Rig:
    """A store, its staging and a filler, and what came out of them."""

    def __init__(self, limit: int = 1200, *, compact: bool = False) -> None:
        self.store = Store.open(None, StoreSettings(), SystemClock(), threaded=False)
        book = TemplateBook(self.store, "schema")
        for template in TEMPLATES.values():
            book.define(template)
        self.staging = Staging(self.store, S)
        self.filler = Filler(self.staging, book)
        self.limit = limit
        self.compact = compact
        self.news: dict[int, NewRecord] = {}
        self.arrived: dict[int, Any] = {}
        self.order: dict[tuple[int, Urgency], list[int]] = defaultdict(list)
        self.parts: dict[int, dict[int, bytes]] = defaultdict(dict)
        self.forms: list[str] = []

    def enqueue(self, value: Any, queue: str = "q", urgency: Urgency = Urgency.ROUTINE, **options: Any) -> None:
        options = {"captured_at": NOW - 1000 + len(self.news), **options}
        new = NewRecord(S, queue, encode(value), urgency, **options)
        self.news[self.store.enqueue(new).number] = new
        self.staging.arrived(urgency)

    def message(self, limit: int | None = None) -> bool:
        """Fill one message and take it apart as a service would; returns whether there was anything in it."""
        limit = self.limit if limit is None else limit
        reach = Reach(0, len(self.news), NOW) if self.compact else None
        builder = MessageBuilder(limit, floor=0, now=NOW, dense=reach)
        parts, _ = self.filler.fill(
            Filling(builder, LEAST_RANGE, 0, NOW, reach), lambda urgency: True, lambda item, size: True
        )
        body = builder.finish()
        assert len(body) <= limit, "never over the limit"
        message = decode_message(body, floor=0, now=NOW, compact=self.compact)
        records = [each for block in message.blocks for each in self._unpack(block)]
        assert sorted(item.record.number for item, _, _ in parts) == sorted(
            each.number for each in [*records, *message.records]
        )
        for each in sorted([*records, *message.records], key=lambda each: each.number):
            self._take(each)
        self._judge_order([item for item, _, _ in parts])
        self.staging.settled(self.arrived)
        return bool(parts)

    def _unpack(self, block: Block) -> list[WireRecord]:
        self.forms.append(f"{'block' if block.dense is None else 'dense block'} of {len(block.numbers)}")
        return block.records(TEMPLATES[block.schema])

    def _take(self, record: WireRecord) -> None:
        new = self.news[record.number]
        assert record.urgency is new.urgency
        assert record.captured_at == pytest.approx(new.captured_at, abs=0.006) or new.captured_at is None
        if record.offset is None:
            self._arrive(record, decode(record.body))
            return
        ranges = self.parts[record.number]
        assert record.offset not in ranges
        ranges[record.offset] = record.body
        if sum(map(len, ranges.values())) == record.total:
            self._arrive(record, decode(b"".join(part for _, part in sorted(ranges.items()))))

    def _arrive(self, record: WireRecord, value: Any) -> None:
        assert record.number not in self.arrived, "once"
        assert value == decode(self.news[record.number].body)
        self.arrived[record.number] = value
        self.order[record.queue_id, record.urgency].append(record.number)

    def _judge_order(self, items: list[Outgoing]) -> None:
        """Of each urgency something is in the message only where all that is more urgent is in it too."""
        least = min((item.record.urgency for item in items), default=Urgency.ALARM)
        there = {item.record.number for item in items} | set(self.arrived)
        waiting = [number for number, new in self.news.items() if new.urgency > least and number not in there]
        assert not waiting, "the most urgent first"

    def finish(self) -> None:
        while self.message():
            pass
        assert self.arrived.keys() == self.news.keys(), "nothing left out"
        assert all(numbers == sorted(numbers) for numbers in self.order.values()), "in order"
        self.store.close()


READING = st.fixed_dictionaries({"temp": st.integers(-400, 850).map(lambda n: n / 10), "hum": st.integers(0, 100)})
RECORD = st.one_of(
    st.tuples(READING, st.just("readings"), st.just(READINGS.id)),
    st.tuples(READING, st.just("readings"), st.just(READINGS.id)),
    st.tuples(READING, st.just("readings"), st.none()),
    st.tuples(READING, st.just("other"), st.just(READINGS.id)),
    st.tuples(st.integers(1, 3000).map(lambda n: {"text": "x" * n}), st.just("notes"), st.just(NOTES.id)),
    st.tuples(st.integers(1, 3000).map(lambda n: b"y" * n), st.just("plain"), st.none()),
    st.tuples(st.integers(), st.just("plain"), st.none()),
    st.tuples(st.just({"wrong": 1}), st.just("readings"), st.just(READINGS.id)),
    st.tuples(READING, st.just("unknown"), st.just(99)),
)
MANY = st.lists(
    st.tuples(RECORD, st.sampled_from(Urgency), st.integers(1, 12), st.one_of(st.none(), st.floats(0, 5e8))),
    max_size=12,
)


@given(MANY, st.lists(st.integers(60, 1400), min_size=1, max_size=4), st.booleans(), st.data())
@settings(max_examples=60)
def test_every_mixture_is_sent_whole_in_order_and_never_over_the_limit(
    records: list[tuple[tuple[Any, str, int | None], Urgency, int, float | None]],
    limits: list[int],
    compact: bool,
    data: st.DataObject,
) -> None:
    rig = Rig(1200, compact=compact)
    for (value, queue, template), urgency, times, age in records:
        for _ in range(times if template != NOTES.id else 1):
            rig.enqueue(value, queue, urgency, template=template, captured_at=None if age is None else NOW - age)
        if data.draw(st.booleans()):
            rig.message(data.draw(st.sampled_from(limits)))
    rig.finish()


def test_a_packet_carries_as_many_as_fit_and_says_so_with_one_block() -> None:
    rig = Rig()
    source = random.Random(1)
    for _ in range(4000):
        reading = {"temp": round(20 + source.gauss(0, 0.2), 1), "hum": round(48 + source.gauss(0, 1))}
        rig.enqueue(reading, "readings", template=READINGS.id)
    rig.message()
    rig.forms.clear()
    before = len(rig.arrived)
    rig.message()
    assert len(rig.arrived) - before > 700
    assert rig.forms == [f"block of {len(rig.arrived) - before}"], "what the last ones took is a good guess"
    rig.finish()


def test_records_of_two_queues_do_not_share_a_packet_in_which_a_head_is_dear() -> None:
    rig, source = Rig(41, compact=True), random.Random(1)
    for n in range(120):
        reading = {"temp": round(20 + source.gauss(0, 0.2), 1), "hum": round(48 + source.gauss(0, 1))}
        options: dict[str, Any] = {"template": READINGS.id, "captured_at": NOW - 2000 + n // 2 * 10}
        rig.enqueue(reading, "readings" if n % 2 else "attic", **options)
    for _ in range(4):
        rig.message()
    assert len(rig.forms) == 4, rig.forms
    assert len(rig.arrived) > 4 * 18, "four a packet, where each queue has its share"
    rig.finish()
    assert all(form.startswith("dense") for form in rig.forms[:-1])


def test_composing_encodes_a_full_packet_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    from rataccess.wire import block

    rig, encoded = Rig(), list[int]()
    real = block._Fitting.block

    def counted(self: Any, count: int) -> bytes:
        if count not in self._made:
            encoded.append(count)
        return real(self, count)

    monkeypatch.setattr(block._Fitting, "block", counted)
    for n in range(6000):
        rig.enqueue({"temp": 20 + n * 7 % 60 / 10, "hum": n * 31 % 100}, "readings", template=READINGS.id)
    rig.message()
    rig.message()
    encoded.clear()
    for _ in range(3):
        rig.message()
    assert len(encoded) <= 9, encoded
    rig.finish()


def test_one_record_in_doubt_goes_plain_where_that_is_smaller() -> None:
    rig = Rig()
    rig.enqueue({"text": "x" * 100}, "notes", template=NOTES.id)
    rig.enqueue({}, "readings", template=READINGS.id)  # does not fit: no block can be smaller
    rig.finish()
    assert rig.forms == ["block of 1"]


def test_plain_records_among_those_of_a_template_cost_the_block_nothing() -> None:
    rig = Rig()
    for n in range(90):
        rig.enqueue({"temp": 20.5, "hum": 48}, "readings", template=READINGS.id)
        if n % 3 == 0:
            rig.enqueue(n, "status")
    rig.message()
    assert rig.forms == ["block of 90"], "one block, not one for each pause between two plain ones"
    rig.finish()


def test_a_large_record_goes_in_byte_ranges_and_those_behind_it_follow() -> None:
    rig = Rig(300)
    rig.enqueue({"text": "x" * 1000}, "notes", template=NOTES.id)
    rig.enqueue({"text": "after"}, "notes", template=NOTES.id)
    rig.enqueue({"temp": 1.0, "hum": 1}, "readings", template=READINGS.id)
    rig.finish()
    assert rig.parts.keys() == {1}
    assert rig.arrived.keys() == {1, 2, 3}


def test_a_refused_record_goes_alone_and_plain() -> None:
    rig = Rig()
    for _ in range(4):
        rig.enqueue({"temp": 1.0, "hum": 1}, "readings", template=READINGS.id)
    item, _ = rig.staging.pull(Urgency.ROUTINE, True, lambda item: True)
    assert item is not None
    item.alone, item.packable = True, False
    rig.staging.put_back([item])
    rig.message()
    assert (list(rig.arrived), rig.forms) == ([1], [])
    rig.message()
    assert rig.forms == ["block of 3"]
    rig.finish()


def test_a_store_that_fails_while_a_message_is_filled_leaves_all_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    for n in range(50):
        rig.enqueue({"temp": 1.0, "hum": 1}, "readings", template=READINGS.id)
        rig.enqueue(n, "status", Urgency.BULK)
    real = rig.store.waiting

    def waiting(service: Service, urgency: Urgency, *arguments: Any) -> Any:
        if urgency is Urgency.BULK:
            raise DiskFull("cannot be read")
        return real(service, urgency, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "waiting", waiting)
        with pytest.raises(DiskFull):
            rig.message()
    rig.finish()


def test_fit_block_is_what_is_relied_on() -> None:
    records = [WireRecord(n, 8, Urgency.ROUTINE, b"", NOW + n) for n in range(1, 50)]
    values = [{"temp": 1.0, "hum": n} for n in range(1, 50)]
    values[20] = {"wrong": 1}
    fitted = fit_block(records, values, READINGS, floor=0, now=NOW, limit=1000)
    assert fitted is not None
    assert fitted[0] == 20, "up to the first that does not fit its template"
