"""Whatever fits comes back with its type, whatever does not is refused, and any bytes at all are safe."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import ObjectError, TemplateError
from rataccess.template import Integer, Packing, Template
from rataccess.template.bits import BitReader, to_bytes
from rataccess.template.integers import read_integers, write_integers
from tests.template.template_values import exact, records_of, templates

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(templates, st.data())
@settings(max_examples=150, deadline=None)
def test_every_value_that_fits_comes_back(template: Template, data: st.DataObject) -> None:
    value = data.draw(records_of(template))
    template.check(value)
    assert exact(template.unpack(template.pack(value))) == exact(template.canonical(value)) == exact(value)


@given(templates, st.data())
@settings(max_examples=150, deadline=None)
def test_columns_of_values_come_back(template: Template, data: st.DataObject) -> None:
    some = data.draw(st.lists(records_of(template), min_size=1, max_size=5))
    values = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=40))
    back = template.unpack_columns(template.pack_columns(values), len(values))
    assert [exact(value) for value in back] == [exact(value) for value in values]


@given(templates, st.data())
@settings(max_examples=150, deadline=None)
def test_every_other_value_is_refused(template: Template, data: st.DataObject) -> None:
    """A value with anything at all in one field either fits, and then comes back equal, or is refused by name."""
    value: dict[str, Any] = data.draw(records_of(template))
    name = data.draw(st.sampled_from(list(template.fields)))
    value[name] = data.draw(anything)
    refusal = None
    try:
        packed = template.pack(value)
    except TemplateError as error:
        refusal = error
    if refusal is not None:
        assert refusal.field == name
        assert repr(template.name) in str(refusal)
        return
    back = template.unpack(packed)[name]
    assert isinstance(back, bool) == isinstance(value[name], bool)
    assert back == value[name] or repr(back) == repr(value[name])


@given(templates, st.binary(max_size=80), st.integers(1, 4096))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_records_or_refused(template: Template, data: bytes, count: int) -> None:
    try:
        values = template.unpack_columns(data, count)
    except ObjectError:
        return
    assert len(values) == count
    for value in values[:50]:
        template.check(value)


@given(templates, st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bits_are_records_or_refused(template: Template, data: st.DataObject) -> None:
    values = data.draw(st.lists(records_of(template), min_size=1, max_size=20))
    packed = bytearray(template.pack_columns(values) or b"\0")
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ObjectError):
        for value in template.unpack_columns(bytes(packed), len(values)):
            template.check(value)


@given(anything | templates.map(lambda template: template.definition()), st.data())
@settings(max_examples=200, deadline=None)
def test_any_definition_is_a_template_or_refused(definition: Any, data: st.DataObject) -> None:
    if isinstance(definition, list) and definition and isinstance(definition[-1], list) and definition[-1]:
        spot = data.draw(st.sampled_from(definition[-1]))
        if isinstance(spot, list) and spot:
            spot[data.draw(st.integers(0, len(spot) - 1))] = data.draw(anything)
    try:
        template = Template.from_definition(definition)
    except ObjectError:
        return
    assert template.definition() == definition
    assert Template.from_definition(cbor2.loads(cbor2.dumps(definition))) == template


@given(templates)
@settings(max_examples=100, deadline=None)
def test_definitions_come_back(template: Template) -> None:
    again = Template.from_definition(cbor2.loads(cbor2.dumps(template.definition())))
    assert (again, again.id, list(again.fields)) == (template, template.id, list(template.fields))


def _series(kind: str, width: int, count: int) -> list[int]:
    chance, top = random.Random(f"{kind} {width} {count}"), 2**width - 1
    numbers, last = [], chance.randint(0, top)
    for index in range(count):
        last = {
            "constant": last,
            "noise": chance.randint(0, top),
            "walk": last + chance.choice((-1, 0, 1)),
            "line": last + 3,
            "steps": last + (chance.randint(-9, 9) if chance.random() < 0.03 else 0),
            "around": top // 2 + round(chance.gauss(0, 3)),
            "outliers": chance.randint(0, top) if chance.random() < 0.02 else top // 2,
            "edges": top * (index % 2),
        }[kind] & top
        numbers.append(last)
    return numbers


KINDS = ("constant", "noise", "walk", "line", "steps", "around", "outliers", "edges")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [0, 1, 2, 7, 16, 33, 64])
def test_integer_columns_come_back_and_never_cost_more_than_plain(kind: str, width: int) -> None:
    for count in (0, 1, 2, 3, 4, 5, 50, 4096):
        numbers = _series(kind, width, count)
        for dense in (False, True):
            bits = write_integers(numbers, width, dense=dense)
            assert len(bits) <= (6 if dense else 3) + count * width
            reader = BitReader(to_bytes(bits))
            assert read_integers(reader, count, width, dense=dense) == numbers
            assert reader.at == len(bits)


@pytest.mark.parametrize(
    ("kind", "most"),
    [("constant", 0.02), ("line", 0.03), ("walk", 2.2), ("steps", 0.6), ("around", 4.2), ("noise", 16.01)],
)
def test_what_is_regular_is_cheap(kind: str, most: float) -> None:
    numbers = _series(kind, 16, 4096)
    assert len(write_integers(numbers, 16)) / len(numbers) <= most


@given(st.lists(st.integers(0, 2**20 - 1), max_size=60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_integers_come_back(numbers: list[int], ascending: bool) -> None:
    numbers = sorted(numbers) if ascending else numbers
    reader = BitReader(to_bytes(write_integers(numbers, 20)))
    assert read_integers(reader, len(numbers), 20) == numbers


@given(templates, st.data(), st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_what_is_said_to_fit_fits(template: Template, data: st.DataObject, limit: int) -> None:
    values = data.draw(st.lists(records_of(template), min_size=1, max_size=30))
    count = template.fit(values, limit)
    assert not count or len(template.pack_columns(values[:count])) <= limit
    if count < len(values):
        assert len(template.pack_columns(values[: count + 1])) > limit or count * 50 > len(values)
    if not count:
        assert len(template.pack(values[0])) > limit


def test_what_does_not_fit_ends_a_lenient_packing() -> None:
    template = Template("t", a=Integer(0, 9))
    packing = Packing(template, [{"a": 1}] * 5 + [{"a": 10}] + [{"a": 2}], strict=False)
    assert packing.fit(100) == 5 == packing.count
    assert Packing(template, [{"a": 10}], strict=False).fit(100) == 0
    with pytest.raises(TemplateError):
        Packing(template, [{"a": 10}]).fit(100)
    for count in (0, 4097):
        with pytest.raises(ObjectError, match="4096"):
            template.pack_columns([{"a": 1}] * count)
        with pytest.raises(ObjectError, match="4096"):
            template.unpack_columns(b"\0", count)
