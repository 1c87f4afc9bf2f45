"""The worked example of docs/wire.md is what the code writes, bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cbor2
import pytest

from rataccess.objects import Urgency
from rataccess.template import Template
from rataccess.template.bits import octets
from rataccess.wire import EPOCH, RESERVED_QUEUES, WireRecord, decode_message, encode_block

PAGE = (Path(__file__).resolve().parents[2] / "docs/wire.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("### An example")[1].split("### What it costs")[0]


def _found(pattern: str) -> str:
    match = re.search(pattern, EXAMPLE, re.DOTALL)
    assert match, pattern
    return match.group(1)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.from_definition(json.loads(_found(r"The schema is `(.*?)`")))


@pytest.fixture(scope="module")
def values() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_found(r"```json\n(.*?)```"))
    return found


def _records(values: list[dict[str, Any]]) -> list[WireRecord]:
    return [
        WireRecord(3_000_000 + index, 8, Urgency.ROUTINE, cbor2.dumps(value), EPOCH + 2_000_000.0 + 10 * index)
        for index, value in enumerate(values)
    ]


def test_the_example_is_what_is_written(template: Template, values: list[dict[str, Any]]) -> None:
    block = bytes.fromhex(_found(r"```hex\n(.*?)\n"))
    records = _records(values)
    assert encode_block(records, values, template, floor=2_999_999, now=EPOCH + 2_000_060.0) == block
    (back,) = decode_message(block, floor=2_999_999, now=EPOCH + 2_000_060.0).blocks
    again = back.records(template)
    assert [(item.number, item.captured_at, item.body) for item in again] == [
        (item.number, item.captured_at, item.body) for item in records
    ]
    assert f"these take {sum(len(item.body) for item in records)} bytes" in EXAMPLE
    assert f"The block takes {len(block)}," in EXAMPLE


def test_its_bits_are_all_explained() -> None:
    rows = [line.split("|")[1] for line in EXAMPLE.splitlines() if line.startswith("| `")]
    bits = "".join(re.findall(r"`([01]+)`", "".join(rows)))
    assert bits == octets(bytes.fromhex(_found(r"```hex\n(.*?)\n")))


def test_the_first_record_alone(template: Template, values: list[dict[str, Any]]) -> None:
    block = encode_block(_records(values)[:1], values[:1], template, floor=2_999_999, now=EPOCH + 2_000_060.0)
    assert block is not None
    assert f"`{block.hex()}`" in EXAMPLE
    assert len(block) - len(template.pack(values[0])) == 10


def test_the_reserved_queues_are_all_there() -> None:
    listed = {int(number) for number in re.findall(r"^\| ([0-7]) \| [a-z]", PAGE.split("### Control")[0], re.MULTILINE)}
    assert listed == set(RESERVED_QUEUES.values())
