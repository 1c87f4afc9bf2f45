"""Templates: every value that fits comes back, every other is refused by name."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

import rataccess
from rataccess.errors import ObjectError, TemplateError
from rataccess.template import Bool, Bytes, Enum, Integer, Real, Scaled, Template, Text

READINGS = Template(
    "readings",
    temp=Scaled(-40, 85, 0.1),
    hum=Integer(0, 100),
    ok=Bool(),
    mode=Enum("idle", "run", "fault"),
    note=Text(12, optional=True),
)
VALUE = {"temp": 21.5, "hum": 40, "ok": True, "mode": "run"}


def test_a_record_takes_the_bits_of_its_fields() -> None:
    assert len(READINGS.pack(VALUE)) * 8 - 7 <= 11 + 7 + 1 + 2 + 1 <= len(READINGS.pack(VALUE)) * 8
    assert READINGS.unpack(READINGS.pack(VALUE)) == VALUE
    assert len(Template("t", hum=Integer(0, 100), ok=Bool()).pack({"hum": 100, "ok": False})) == 1


def test_what_is_nearly_the_same_stays_different() -> None:
    template = Template("t", a=Scaled(-1, 1, 0.5, optional=True), b=Text(4, optional=True), c=Bool(optional=True))
    values: list[dict[str, Any]] = [
        {},
        {"a": 0.0},
        {"b": ""},
        {"c": False},
        {"a": math.nan},
        {"a": 0.0, "b": "", "c": False},
    ]
    packed = [template.pack(value) for value in values]
    assert len(set(packed)) == len(values)
    assert [repr(template.unpack(data)) for data in packed] == [repr(value) for value in values]


def test_decimals_come_back_exactly() -> None:
    template = Template("t", x=Scaled(-40, 85, 0.1))
    for tenths in range(-400, 851):
        value = float(Decimal(tenths) / 10)
        assert template.unpack(template.pack({"x": value}))["x"] == value
        noisy = value + 0.1 - 0.1
        assert template.unpack(template.pack({"x": noisy}))["x"] == value


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"temp": 21.55}, "temp", "21.55"),
        ({"temp": 85.1}, "temp", "85.1"),
        ({"temp": -40.1}, "temp", "-40.1"),
        ({"temp": math.inf}, "temp", "inf"),
        ({"temp": 10**400}, "temp", "<int>"),
        ({"temp": True}, "temp", "True"),
        ({"temp": "21.5"}, "temp", "'21.5'"),
        ({"temp": None}, "temp", "None"),
        ({"hum": 101}, "hum", "101"),
        ({"hum": -1}, "hum", "-1"),
        ({"hum": 40.0}, "hum", "40.0"),
        ({"hum": False}, "hum", "False"),
        ({"ok": 1}, "ok", "1"),
        ({"mode": "walk"}, "mode", "'walk'"),
        ({"mode": 1}, "mode", "1"),
        ({"note": "thirteen more"}, "note", "'thirteen more'"),
        ({"note": "ééééééé"}, "note", "'ééééééé'"),
        ({"note": "\ud800"}, "note", "'\\ud800'"),
        ({"note": b"bytes"}, "note", "b'bytes'"),
        ({"note": None}, "note", "None"),
        ({"more": 1}, None, "'more'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], field: str | None, found: str) -> None:
    with pytest.raises(TemplateError) as caught:
        READINGS.check(VALUE | change)
    error = caught.value
    if found != "<int>":
        assert error.value == found
    assert (error.template, error.field) == ("readings", field)
    assert error.value in str(error)
    assert "'readings'" in str(error)
    assert error.allowed
    assert error.allowed in str(error)
    if field:
        assert repr(field) in str(error)
        assert error.allowed == READINGS.fields[field].allowed


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(TemplateError, match=r"'hum'.*missing"):
        READINGS.pack({key: value for key, value in VALUE.items() if key != "hum"})
    for value in (3, None, [VALUE], "text"):
        with pytest.raises(TemplateError, match="not a map"):
            READINGS.pack(value)


def test_rounding_is_asked_for() -> None:
    template = Template("t", x=Scaled(0, 10, "0.25", rounded=True), y=Real(32, rounded=True))
    assert template.canonical({"x": 3.4, "y": 0.1}) == {"x": 3.5, "y": 0.10000000149011612}
    for value in (10.01, -0.01):
        with pytest.raises(TemplateError, match="out of range"):
            template.check({"x": value, "y": 0.5})
    with pytest.raises(TemplateError, match="exactly"):
        Template("t", y=Real(32)).check({"y": 0.1})


def test_canonical_is_what_comes_back() -> None:
    template = Template("t", x=Scaled(-5, 5, 1), y=Real(64), z=Integer(0, 5))
    value = {"z": 3, "y": 7, "x": -0.0}
    back = template.unpack(template.pack(value))
    assert repr(template.canonical(value)) == repr(back) == repr({"x": 0.0, "y": 7.0, "z": 3})


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 0.1])
def test_reals_keep_each_bit(value: float) -> None:
    template = Template("t", x=Real(64))
    assert repr(template.unpack(template.pack({"x": value}))["x"]) == repr(value)
    assert repr(template.unpack_columns(template.pack_columns([{"x": value}] * 3), 3)[2]["x"]) == repr(value)


def test_ids_follow_from_the_definition() -> None:
    same = Template("t", a=Integer(0, 5), b=Scaled(0, 1, 0.1))
    assert same.id == Template("t", a=Integer(0, 5), b=Scaled(0, "1.0", Decimal("0.10"), rounded=True)).id
    assert 128 <= same.id < 2**21
    assert Template("t", a=Integer(0, 5), b=Scaled(0, 1, 0.1), c=Bool(optional=True)).id != same.id
    assert Template("t", id=7, a=Bool()).id == 7
    assert READINGS.id == 1_921_582  # the same on every machine, in every version


@pytest.mark.parametrize(
    "template",
    [READINGS, Template("é", id=127, x=Real(32)), Template.of("t", {"id": Bool(), "name": Bytes(3, optional=True)})],
)
def test_a_template_comes_back_from_its_definition(template: Template) -> None:
    again = Template.from_definition(template.definition())
    assert (again, again.id, again.name, list(again.fields)) == (
        template,
        template.id,
        template.name,
        list(template.fields),
    )


def test_records_of_an_ancestor_are_readable() -> None:
    old = Template("t", a=Integer(0, 5))
    middle = Template("t", a=Integer(0, 5), b=Bool(optional=True))
    new = Template("t", a=Integer(0, 5), b=Bool(optional=True), c=Text(9, optional=True))
    assert [item.id for item in new.ancestors()] == [new.id, middle.id, old.id]
    assert len({new.id, middle.id, old.id}) == 3
    assert next(item for item in new.ancestors() if item.id == old.id).unpack(old.pack({"a": 3})) == {"a": 3}
    assert [item.id for item in Template("t", b=Bool(optional=True)).ancestors()] == [
        Template("t", b=Bool(optional=True)).id
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Template("", a=Bool()),
        lambda: Template("$calls", a=Bool()),
        lambda: Template("t"),
        lambda: Template("t", id=0, a=Bool()),
        lambda: Template("t", id=128, a=Bool()),
        lambda: Template("t", a=Bool),  # type: ignore[arg-type]
        lambda: Template("t" * 65, a=Bool()),
        lambda: Template.of("t", {str(index): Bool() for index in range(65)}),
        lambda: Scaled(1, 0, 0.1),
        lambda: Scaled(0, 1, 0),
        lambda: Scaled(0, 1, -1),
        lambda: Scaled(0, math.nan, 1),
        lambda: Scaled(0, 1e300, 1),
        lambda: Scaled(0, "1e999999999", 1),
        lambda: Scaled(0, 1, "1e-999999999"),
        lambda: Scaled(0, 1, "0.0000000000001"),
        lambda: Scaled(10**17, 10**17 + 100, 1),
        lambda: Scaled(True, 5, 1),
        lambda: Integer(2, 1),
        lambda: Integer(-(2**63) - 1, 0),
        lambda: Integer(0, 2**64),
        lambda: Integer(0, 1.5),  # type: ignore[arg-type]
        lambda: Integer(0, 10**5000),
        lambda: Enum(),
        lambda: Enum("a", "a"),
        lambda: Enum(*map(str, range(257))),
        lambda: Text(0),
        lambda: Bytes(65_536),
        lambda: Real(16),
    ],
)
def test_bad_definitions_are_refused(make: Any) -> None:
    with pytest.raises(ObjectError):
        make()


@pytest.mark.parametrize(
    "definition",
    [
        None,
        [],
        ["t"],
        ["t", []],
        ["t", {}],
        ["t", [["a"]]],
        ["t", [["a", "2"]]],
        ["t", [["a", True]]],
        ["t", [["a", -1]]],
        ["t", [["a", 7]]],
        ["t", [["a", 128 + 2]]],
        ["t", [["a", 2, 1]]],
        ["t", [["a", 1, 0]]],
        ["t", [["a", 1, False, True]]],
        ["t", [["a", 0, 0, 1, 1]]],
        ["t", [["a", 0, "0", "1", "0.10"]]],
        ["t", [["a", 0, "+0", "1", "1"]]],
        ["t", [["a", 0, "0", "1e1", "1"]]],
        ["t", [["a", 0, "0", "1" * 2000, "1"]]],
        ["t", [["a", 0, "0", "x", "1"]]],
        ["t", [["a", 3, 1]]],
        ["t", [["a", 6]]],
        ["t", [["a", 6, 64.0]]],
        ["t", [["a", 2], ["a", 2]]],
        ["t", [[1, 2]]],
        ["t", [["\ud800", 2]]],
        ["t", [["a", 2]], 0],
        ["t", [["a", 2]], "7"],
        ["t", [["a", 2]], True],
        ["t", [["a", 2]], None],
        ["t", [["a", 2]], 7, 7],
        [7, [["a", 2]]],
    ],
)
def test_what_is_no_definition_is_refused(definition: Any) -> None:
    with pytest.raises(ObjectError):
        Template.from_definition(definition)


def test_templates_and_fields_show_themselves() -> None:
    assert repr(READINGS) == "<Template readings 1921582 (temp, hum, ok, mode, note)>"
    assert repr(READINGS.fields["note"]) == "Text(text of at most 12 bytes in UTF-8, optional)"
    assert repr(READINGS.fields["temp"]) == "Scaled(-40.0 to 85.0 in steps of 0.1, or NaN)"
    assert READINGS.fields["hum"] == Integer(0, 100) != Integer(0, 101)
    assert len({READINGS, Template.from_definition(READINGS.definition()), Bool(), Bool(), Bool(optional=True)}) == 3
    assert READINGS != 3
    assert Bool() != 3


def test_a_definition_given_away_is_a_copy() -> None:
    READINGS.definition()[1].clear()
    assert READINGS.definition()[1]


def test_long_values_are_shortened_in_errors() -> None:
    with pytest.raises(TemplateError) as caught:
        READINGS.check(VALUE | {"mode": "x" * 10_000})
    assert len(caught.value.value) == 60
    assert len(str(caught.value)) < 250


def test_the_names_are_at_the_top() -> None:
    for name in ("Template", "Scaled", "Integer", "Bool", "Enum", "Text", "Bytes", "Real"):
        assert name in rataccess.__all__
        assert getattr(rataccess, name).__name__ == name
