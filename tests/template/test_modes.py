"""Each mode of a column earns its place, and none reads what cannot be."""

from __future__ import annotations

import random
from struct import pack, unpack
from typing import Any

import pytest

from rataccess.errors import ObjectError
from rataccess.objects import Urgency
from rataccess.template import Field, Integer, Real, Template, Text
from rataccess.template.bits import to_bytes
from rataccess.wire import EPOCH, WireRecord, encode_block

CHANCE = random.Random(4)
WORDS = [f"some words {index}" for index in range(9)]


@pytest.mark.parametrize(
    ("field", "values", "most"),
    [
        (Text(20), [WORDS[index // 50] for index in range(450)], 9 * 13 + 30),  # where it changes
        (Text(20), [CHANCE.choice(WORDS) for _ in range(400)], 9 * 13 + 200 + 9),  # a dictionary, 4 bits each
        (Text(20), [WORDS[0]] * 400, 14),
        (Text(20), ["alpha", "alpha", "beta!"], 12),  # where it changes; a dictionary would take 14
        (Real(64), [CHANCE.randint(-99, 99) / 100 for _ in range(400)], 400 + 12),  # decimals, 8 bits each
        (Real(32), [unpack("f", pack("f", CHANCE.randint(0, 255) / 10))[0] for _ in range(400)], 400 + 12),
        (Real(64), [1 / 3 + CHANCE.getrandbits(8) * 2.0**-54 for _ in range(400)], 400 + 70),  # the lowest bits change
    ],
)
def test_a_mode_saves_what_it_is_for(field: Field, values: list[Any], most: int) -> None:
    template = Template("t", x=field)
    packed = template.pack_columns([{"x": value} for value in values])
    assert len(packed) <= most
    assert [item["x"] for item in template.unpack_columns(packed, len(values))] == values


def test_clocks_read_a_little_late_cost_their_lateness_once() -> None:
    template = Template("t", id=1, x=Integer(0, 0))
    records = [
        WireRecord(index + 1, 8, Urgency.ROUTINE, b"\xa1\x61x\x00", EPOCH + 10.0 * index + CHANCE.randint(0, 15) / 100)
        for index in range(2000)
    ]
    block = encode_block(records, [{"x": 0}] * 2000, template, floor=0, now=EPOCH + 30_000.0)
    assert block is not None
    assert len(block) <= 2000 * 4 // 8 + 30, "4 bits each; the differences of neighbours take nearly 5"


@pytest.mark.parametrize(
    ("field", "count", "bits", "why"),
    [
        (Text(7), 2, "11" + f"{2:012b}" + "0" * 40, "more values than its column"),
        (Text(7), 2, "11" + f"{1:012b}" + "001" + "000000" + "001" + "11", ""),
        (Text(7), 3, "11" + f"{2:012b}" + "000000" + "001" + "00" + "01" + "11", "does not hold"),
        (Text(4), 1, "111", "longer than 4"),
        (Real(64), 2, "01" + "0" * 64 + f"{60:06b}" + f"{5:07b}" + "1" + "00000", "not within 64"),
        (Real(64), 2, "11", "no mode 3"),
        (Real(64), 2, "10" + "0000" + "1" * 55 + "000001" + "00111", "beyond 2"),
        (Integer(0, 255), 2, "101" + "0" * 8, "no mode 5"),
        (Integer(0, 255), 2, "010" + "0" * 8 + "1001", "no parameter 9"),
        (Integer(0, 255), 2, "011" + "01" + "0" * 8 + "1000" + "0" + "111111", "cut short"),
        (Integer(0, 255), 2, "011" + "01" + "0" * 8 + "0000" + "1" * 15, "cut short"),
        (Integer(0, 255), 3, "100" + "01" + "0" * 8 + "0000" + "0000" + "1110", "longer than its column"),
        (Integer(0, 254), 1, "11111111", "beyond 0 to 254"),
        (Integer(0, 254), 1, "00000001" + "0" * 8, "left over"),
        (Integer(0, 100), 1, "00000011", "zeros"),
    ],
)
def test_what_cannot_be_is_refused(field: Field, count: int, bits: str, why: str) -> None:
    template = Template("t", x=field)
    if not why:
        assert template.unpack_columns(to_bytes(bits), count) == [{"x": ""}, {"x": ""}]
        return
    with pytest.raises(ObjectError, match=why):
        template.unpack_columns(to_bytes(bits), count)
