"""NumberSet against a plain set."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.errors import ObjectError
from rataccess.numbers import NumberSet

spans = st.lists(st.tuples(st.integers(1, 120), st.integers(0, 25)), max_size=20)


@given(st.integers(0, 60), spans)
def test_it_holds_what_was_put_in(floor: int, added: list[tuple[int, int]]) -> None:
    numbers, model = NumberSet(floor), set(range(1, floor + 1))
    for start, length in added:
        numbers.add_range(start, start + length)
        model |= set(range(start, start + length))
    assert {n for n in range(1, 200) if n in numbers} == model
    assert numbers.floor == next(n for n in range(1, 300) if n not in model) - 1
    ranges = list(numbers.ranges())
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges)), "ranges merge where they touch"
    assert NumberSet.from_acknowledgement(numbers.acknowledgement(1000)) == numbers


@given(st.lists(st.integers(1, 40)))
def test_add_tells_new_from_known(added: list[int]) -> None:
    numbers, model = NumberSet(), set[int]()
    for number in added:
        assert numbers.add(number) is (number not in model)
        model.add(number)


@given(st.recursive(st.integers() | st.text() | st.none() | st.booleans(), st.lists, max_leaves=12))
def test_any_object_is_an_acknowledgement_or_refused(items: Any) -> None:
    try:
        numbers = NumberSet.from_acknowledgement(items)
    except ObjectError:
        return
    assert numbers.acknowledgement(2000) == items


def test_a_cut_acknowledgement_is_still_true() -> None:
    numbers = NumberSet(3, [(5, 7), (9, 10), (20, 40)])
    part = NumberSet.from_acknowledgement(numbers.acknowledgement(2))
    assert list(part.ranges()) == [(5, 7), (9, 10)]


def test_the_floor_can_be_raised_into_a_range() -> None:
    numbers = NumberSet(0, [(5, 9)])
    numbers.raise_floor(6)
    assert numbers.floor == 8
    numbers.raise_floor(2)
    assert numbers.floor == 8


def test_huge_lists_are_refused() -> None:
    with pytest.raises(ObjectError, match="2049"):
        NumberSet.from_acknowledgement([0] + [1] * 5000)
