"""Genuine messages with hostile content, both ways: whoever has the keys may say anything, and harms only itself.

Rules of this file: every message is authentic; each is odd in its own way.  Nothing may crash, count as a defect, lose a
record or leave something that holds up what comes after it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess import Integer, Template, Text
from rataccess.objects import Service, Urgency, encode
from rataccess.security import CHANGED
from rataccess.services.core import ServiceCore
from rataccess.wire import Block, MessageBuilder, WireRecord, decode_message
from rataccess.wire.block import write_block
from tests.exchange.test_exchange_odd import ONE
from tests.services.service_world import NOW, World
from tests.system.test_invariants import in_virtual_time, until_delivered, world

READINGS = Template("readings", id=5, n=Integer(0, 1000), note=Text(20, optional=True))
NUMBERS = st.one_of(
    st.integers(-20, 40), st.sampled_from([2**16, 2**31, 2**53, 2**53 + 1, 2**64, -(2**53), -(2**63), 70_000])
)
LEAVES = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=40),
    st.just("\0"),
    st.just("$calls"),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(NUMBERS, st.text(max_size=4)), inner, max_size=3)
    ),
    max_leaves=8,
)
QUEUES = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 4095, 2**15])


@st.composite
def controls(draw: st.DrawFn) -> dict[int, Any]:
    """Known keys with wild values, and sometimes likely ones."""
    likely = {
        0: st.sampled_from([None, 1, 1_800_000_000_000, 2**70]),
        1: NUMBERS,
        2: st.dictionaries(NUMBERS, st.lists(NUMBERS, max_size=6), max_size=4),
        3: st.just(True),
        16: st.sampled_from(["wifi", "", "x" * 33, "\0"]),
        17: st.sampled_from([0, 1, 40, 48, 51, 64, 1152, 2**40]),
        18: st.binary(max_size=1400),
        19: st.lists(st.one_of(NUMBERS, st.sampled_from([5, -9, -10])), max_size=12),
        20: st.booleans(),
    }
    chosen = draw(st.sets(st.sampled_from([*likely, 5, -1, 2**40]), max_size=4))
    return {
        key: draw(
            st.one_of(likely.get(key, VALUES), VALUES) if draw(st.integers(0, 2)) == 0 else likely.get(key, VALUES)
        )
        for key in chosen
    }


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """A block whose columns may be of its template, of another, or noise."""
    count = draw(st.integers(1, 6))
    first = draw(st.sampled_from([1, 3, 10, 2**20, 2**53 - 10]))
    values = [{"n": draw(st.integers(0, 1000))} for _ in range(count)]
    columns = draw(st.one_of(st.just(READINGS.pack_columns(values)), st.binary(max_size=30)))
    times = draw(st.sampled_from([(None,) * count, tuple(NOW + n for n in range(count))]))
    made = Block(
        draw(QUEUES),
        draw(st.sampled_from(list(Urgency))),
        draw(st.sampled_from([None, "readings", "\0", "$x"])),
        draw(st.sampled_from([1, 5, 127, 200, 2**21 - 1])),
        tuple(range(first, first + count)),
        times,
        columns,
    )
    raw = bytearray(write_block(made, floor=None, now=NOW))
    if draw(st.integers(0, 3)) == 0:
        raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


@st.composite
def records(draw: st.DrawFn) -> WireRecord:
    body = encode(draw(st.one_of(VALUES, bodies())))
    number = draw(st.sampled_from([1, 2, 3, 5, 9, 70_000, 2**53]))
    queue = draw(st.sampled_from([None, "readings", "\0", "q" * 64, "$calls"]))
    urgency, at = draw(st.sampled_from(list(Urgency))), draw(st.sampled_from([None, 0.0, NOW, NOW + 1e9]))
    if draw(st.integers(0, 3)):
        return WireRecord(number, draw(QUEUES), urgency, body, at, queue)
    offset, total = draw(st.sampled_from([(0, 4), (2, 4), (0, 2**20), (2**20 - 2, 2**20), (1, 500)]))
    return WireRecord(number, draw(QUEUES), urgency, draw(st.binary(min_size=1, max_size=2)), at, queue, offset, total)


def bodies() -> st.SearchStrategy[Any]:
    """What reserved queues expect, nearly."""
    return st.one_of(
        st.tuples(
            st.sampled_from([5, 200, -9, -1, 2**21]), st.sampled_from([READINGS.definition(), [], "name", ["x", []]])
        ).map(list),
        st.tuples(NUMBERS, st.sampled_from([0, 6, 99, 200, 404, 1000]), VALUES).map(list),
        st.tuples(st.text(max_size=4), VALUES, NUMBERS, st.booleans()).map(list),
        st.tuples(st.text(max_size=4), VALUES).map(list),
    )


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One body: parts that are well formed, then perhaps cut, or noise."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    builder = MessageBuilder(60_000, floor=draw(st.sampled_from([None, 0, 3])), now=NOW)
    body = b""
    if draw(st.booleans()):
        body += cbor2.dumps(
            draw(st.one_of(st.lists(NUMBERS, max_size=7), st.lists(st.integers(0, 9), min_size=1, max_size=5)))
        )
    body += cbor2.dumps(draw(controls()))
    for each in draw(st.lists(blocks(), max_size=2)):
        body += each
    for record in sorted(draw(st.lists(records(), max_size=4)), key=lambda each: each.number):
        builder.add(record)
    body += builder.finish()
    return body[: draw(st.integers(0, len(body)))] if kind == 1 else body


@pytest.mark.parametrize("service", list(Service))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(messages(), min_size=1, max_size=12))
def test_a_service_takes_whatever_a_device_says(service: Service, said: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        made = World(Path(folder), service)
        device, other = made.add("A1"), made.add("B2")
        for n, body in enumerate(said):
            answer = made.ask(device, body, address=f"here {n % 2}")
            assert answer.code in (CHANGED, 0x80)
            made.clock.passed += 40
            made.core.tick()
            if n % 4 == 3:
                made.restart()
        assert made.core.counters["defects"] == made.core.counters["batches that the store refused"] == 0
        assert made.send(other, other.record(1, {"n": 1})).message.acknowledged is not None
        assert (1, "readings") in made.store.execute(
            "SELECT number, queue FROM records WHERE device = (SELECT id FROM devices WHERE serial_number = 'B2')"
        )
        made.kill()


def test_a_device_takes_whatever_a_service_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd answers and unasked requests by the dozen; then the service comes to its senses."""
    serve = ServiceCore._serve
    odd: list[bytes] = []
    source = random.Random(3)

    def oddly(core: ServiceCore, session: Any, request: Any, *more: Any) -> Any:
        answer = serve(core, session, request, *more)
        return (CHANGED, odd.pop()) if odd else answer

    monkeypatch.setattr(ServiceCore, "_serve", oddly)

    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(messages(), min_size=30, max_size=40))
    def hear(said: list[bytes]) -> None:
        in_virtual_time(scene(said))

    async def scene(said: list[bytes]) -> None:
        odd.clear()
        async with world(links=ONE) as made:
            assert made.device
            await made.enqueue({"n": 1}, template=READINGS)
            await until_delivered(made)
            core = made.services[Service.SOLUTION]
            for n, body in enumerate(said):
                if n % 2:
                    odd.append(body)
                    await made.enqueue({"n": n}, template=READINGS)
                elif core._recent:
                    session = next(iter(core._recent.values()))
                    found = core._pushes.request(session, body)
                    assert found is not None
                    made.airs["wifi"].answer(Service.SOLUTION, found[0])
                await asyncio.sleep(source.choice([0.01, 0.5, 3]))
            odd.clear()
            await asyncio.sleep(60)
            told_done = made.device.store.counters()
            await made.enqueue({"last": 1}, queue="others")
            await until_delivered(made, 8000)
            assert {"last": 1} in made.delivered().values(), told_done
            assert made.device._exchanges[Service.SOLUTION]._tasks
            made.check_nonces()
            assert not made.faults

    with caplog.at_level(logging.WARNING):
        hear()
    critical = [each for each in caplog.records if each.levelno >= logging.CRITICAL or each.exc_info]
    assert not critical, critical[0].getMessage()


def test_a_device_that_gets_blocks_of_records_acknowledges_none_of_them() -> None:
    """Services send none: whatever one meant by it, it must not think that it was understood."""

    async def scene() -> None:
        async with world(links=ONE) as made:
            assert made.device
            await made.enqueue({"n": 1}, template=READINGS)
            await until_delivered(made)
            columns = READINGS.pack_columns([{"n": 1}, {"n": 2}])
            block = Block(9, Urgency.PROMPT, "commands", 5, (1, 2), (None, None), columns)
            builder = MessageBuilder(1000, floor=None, now=NOW)
            assert builder.add_block(write_block(block, floor=None, now=NOW))
            plain = MessageBuilder(1000, floor=None, now=NOW)
            assert plain.add(WireRecord(3, 9, Urgency.PROMPT, encode("plain"), None, "commands"))
            body = builder.finish() + plain.finish()
            assert len(decode_message(body, floor=0, now=NOW).blocks) == 1
            core = made.services[Service.SOLUTION]
            found = core._pushes.request(next(iter(core._recent.values())), body)
            assert found is not None
            made.airs["wifi"].answer(Service.SOLUTION, found[0])
            await asyncio.sleep(1)
            item = await made.device.solution.dequeue(0)
            assert item is not None
            assert (item.value, item.number) == ("plain", 3)
            received = made.device.store.received(Service.SOLUTION)
            assert (1 in received, 2 in received, 3 in received) == (False, False, True)

    in_virtual_time(scene())
