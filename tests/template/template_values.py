"""Templates and values that fit them, for property tests."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from rataccess.template import Bool, Bytes, Enum, Field, Integer, Real, Scaled, Template, Text

STEPS = ("1", "0.1", "0.01", "0.25", "3", "1000", "0.00125")
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def scaled_fields(draw: st.DrawFn) -> Field:
    low = draw(st.integers(-500, 500))
    step = draw(st.sampled_from(STEPS))
    return Scaled(low, low + draw(st.integers(0, 2000)), step, optional=draw(st.booleans()))


@st.composite
def integer_fields(draw: st.DrawFn) -> Field:
    low = draw(st.integers(-(2**63), 2**64 - 1) | st.integers(-5, 5))
    high = draw(st.integers(low, 2**64 - 1) | st.integers(low, min(low + 9, 2**64 - 1)))
    return Integer(low, high, optional=draw(st.booleans()))


fields: st.SearchStrategy[Field] = st.one_of(
    scaled_fields(),
    integer_fields(),
    st.builds(Bool, optional=st.booleans()),
    st.builds(
        lambda names, optional: Enum(*names, optional=optional),
        st.lists(words, min_size=1, max_size=5, unique=True),
        st.booleans(),
    ),
    st.builds(Text, st.integers(1, 300), optional=st.booleans()),
    st.builds(Bytes, st.integers(1, 300), optional=st.booleans()),
    st.builds(Real, st.sampled_from([32, 64]), optional=st.booleans()),
)
templates = st.builds(
    lambda name, some, given: Template.of(name, some, id=given),
    words.filter(lambda name: not name.startswith("$")),
    st.dictionaries(words, fields, min_size=1, max_size=5),
    st.none() | st.integers(1, 127),
)


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """What fits one field."""
    if isinstance(field, Scaled):
        return st.integers(0, field.most).map(field.value)
    if isinstance(field, Integer):
        return st.integers(field.low, field.high)
    if isinstance(field, Bool):
        return st.booleans()
    if isinstance(field, Enum):
        return st.sampled_from(field.choices)
    if isinstance(field, Text):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=field.most).filter(
            lambda text: len(text.encode()) <= field.most
        )
    if isinstance(field, Bytes):
        return st.binary(max_size=field.most)
    assert isinstance(field, Real)
    return st.floats(width=32 if field.width == 32 else 64) | st.integers(-999, 999).map(lambda n: n / 8)


def records_of(template: Template) -> st.SearchStrategy[dict[str, Any]]:
    """What fits a template."""
    must = {name: values_of(field) for name, field in template.fields.items() if not field.optional}
    may = {name: values_of(field) for name, field in template.fields.items() if field.optional}
    return st.fixed_dictionaries(must, optional=may)


def exact(value: Any) -> Any:
    """`value` such that True and 1, 0.0 and -0.0, and all NaNs compare as they should."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, float):
        return ("float", math.copysign(1, value) if value == value else 0, repr(value))
    return (type(value).__name__, value)
