"""Blocks read by a second reader, made from the page that describes them: it finds what the first does."""

from __future__ import annotations

import math
import random
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings

from rataccess.template import Bool, Bytes, Enum, Integer, Real, Scaled, Template, Text
from rataccess.wire import EPOCH, WireRecord, encode_block
from tests.template.template_values import exact
from tests.wire.plain_block import read
from tests.wire.test_blocks import NOW, blocks, crowd

HERE = round((NOW - EPOCH) * 100)


def ticks(record: WireRecord) -> int | None:
    return None if record.captured_at is None else round((record.captured_at - EPOCH) * 100)


def check(template: Template, floor: int | None, records: list[WireRecord], values: list[dict[str, Any]]) -> None:
    block = encode_block(records, values, template, floor=floor, now=NOW)
    assert block is not None
    said = read(cbor2.loads(block), template.definition(), floor or 0, HERE)
    assert said["numbers"] == [record.number for record in records]
    assert said["times"] == [ticks(record) for record in records]
    head = records[0]
    assert [said[name] for name in ("queue_id", "urgency", "schema", "queue")] == [
        head.queue_id,
        head.urgency,
        template.id,
        head.queue,
    ]
    assert [exact(value) for value in said["values"]] == [exact(value) for value in values]


@given(blocks())
@settings(max_examples=150, deadline=None)
def test_any_block(batch: tuple[Template, int, list[WireRecord], list[dict[str, Any]]]) -> None:
    template, floor, records, values = batch
    check(template, floor, records, values)
    check(template, None, records, values)


WIDE = Template(
    "wide",
    temp=Scaled(-40, 85, 0.1),
    count=Integer(-(2**63), 2**63 - 1),
    ok=Bool(optional=True),
    mode=Enum("a", "b", "c"),
    note=Text(40, optional=True),
    raw=Bytes(9),
    load=Real(32),
    level=Real(64, optional=True),
)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("jitter", [0, 2, 500])
def test_long_series_in_every_mode(seed: int, jitter: int) -> None:
    chance = random.Random(seed * 1000 + jitter)
    seldom, size = chance.choice((0.01, 0.2, 0.9)), chance.choice((5, 60, 400))
    temp, count, mode, note, raw, level = 215, 0, "a", "", b"", 3.5
    values: list[dict[str, Any]] = []
    numbers: list[int] = []
    times: list[int | None] = []
    for index in range(size):
        temp += chance.choice((-1, 0, 1))
        count += chance.choice((7, 7, 7, 8)) if chance.random() > 0.01 else chance.randint(-(2**50), 2**50)
        if chance.random() < seldom:
            mode, note, raw = (
                chance.choice("abc"),
                f"note {chance.randint(0, 5)}",
                chance.randbytes(chance.randint(0, 9)),
            )
            level = chance.choice((round(chance.uniform(-5, 5), 3), chance.random(), 3.5, math.nan))
        value = {"temp": temp / 10, "count": count, "mode": mode, "raw": raw, "load": index / 8 if seed % 2 else 0.5}
        more = {"ok": chance.random() < 0.5, "note": note, "level": level}
        values.append(value | {key: item for key, item in more.items() if chance.random() > seldom})
        numbers.append((numbers[-1] if numbers else 70_000) + (chance.randint(1, 4) if seed % 3 == 0 else 1))
        times.append(HERE - 10**7 + index * 1000 + chance.randint(-jitter, jitter))
    check(WIDE, 69_999, crowd(values, numbers, times), values)
