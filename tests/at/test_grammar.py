"""Fields, groups, ranges, strings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess_drivers.at.commands import Reply
from rataccess_drivers.at.grammar import (
    decimal_digits,
    hexadecimal,
    parse_range,
    quote,
    split_fields,
    split_groups,
    split_raw,
    strip_echo,
    whole_number,
)
from rataccess_drivers.at.results import classify, describe, error_code
from tests.at.at_corpora import cases


def of(command: str) -> list[Any]:
    return [each for each in cases("at_grammar") if each.values[0] is None or each.values[0]["command"] == command]


@pytest.mark.parametrize("case", of("uint-list (x-y,z)"))
def test_ranges(case: dict[str, Any]) -> None:
    wanted = case["expected"]["expected_number_list"][:-1]  # ends in -1
    assert parse_range(case["input"]) == wanted
    assert parse_range(f"({case['input']})") == wanted


@pytest.mark.parametrize("case", of("BCD"))
def test_decimal_digits(case: dict[str, Any]) -> None:
    assert decimal_digits(case["input"], low_nibble_first=True) == case["expected"]["low_nybble_first"]
    assert decimal_digits(case["input"], low_nibble_first=False) == case["expected"]["high_nybble_first"]


@pytest.mark.parametrize("case", of("quote AT string"))
def test_quoting(case: dict[str, Any]) -> None:
    assert quote(case["input"]) == case["expected"]["expected"]


@pytest.mark.parametrize("case", of("split (..),(..) groups"))
def test_groups(case: dict[str, Any]) -> None:
    assert split_groups(case["input"]) == case["expected"]["expected_groups"][:-1]  # ends in null


@pytest.mark.parametrize("case", cases("at_framing"))
def test_echo_and_finals(case: dict[str, Any]) -> None:
    wanted = case["expected"]
    if "output" in wanted:
        assert strip_echo(case["input"].encode()).decode() == wanted["output"]
        return
    finals = [final for line in case["input"].split("\r\n") if (final := classify(line)) is not None]
    assert bool(finals) == wanted["final_found"]
    assert any(not final.ok for final in finals) == wanted["is_error"]


def test_fields() -> None:
    assert split_fields('1,"a,b",,(1-3,5)') == [1, "a,b", None, "(1-3,5)"]
    assert split_fields(' -7 , "" , 002,1A2B,(("x",(0,1)),2)') == [-7, "", "002", "1A2B", '(("x",(0,1)),2)']
    assert split_fields("") == [None]
    assert split_fields('"never closed, 5') == ["never closed, 5"]
    assert split_fields('"recv",0,"1.2.3.4",80') == ["recv", 0, "1.2.3.4", 80]


def test_reply_values() -> None:
    reply = Reply(('+QIRD: 5,"1.2.3.4",80', "other", "+QIRD: 0"))
    assert reply.values("+QIRD:") == [[5, "1.2.3.4", 80], [0]]


@given(st.text(max_size=40))
def test_what_is_quoted_is_read_back(text: str) -> None:
    assert split_fields(f"1,{quote(text)},2") == [1, text, 2]


@given(st.text(alphabet='0123456789,"()-ab\\ \x00', max_size=80))
def test_any_text_has_fields(text: str) -> None:
    assert len(split_fields(text)) == len(split_raw(text)) >= 1
    assert len(parse_range(text)) <= 4096
    split_groups(text)
    hexadecimal(text)
    whole_number(text)


def test_an_endless_range_is_cut() -> None:
    assert len(parse_range("(0-999999999)")) == 4096


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("+CME ERROR", "10", 10),
        ("+CME ERROR", "SIM not inserted", 10),
        ("+CME ERROR", "sim_not_inserted", 10),
        ("+CME ERROR", '"SIM PIN required"', 11),
        ("+CME ERROR", "Operation not supported", 4),
        ("+CME ERROR", "bananas", None),
        ("+CMS ERROR", "SIM PIN required", 311),
        ("+CMS ERROR", "500", 500),
        ("+CMS ERROR", "no network", None),
    ],
)
def test_error_codes(kind: str, text: str, code: int | None) -> None:
    assert error_code(kind, text) == code


def test_errors_for_people() -> None:
    assert describe("+CME ERROR: 10", 10) == "+CME ERROR: 10 (SIM not inserted)"
    assert describe("+CME ERROR: SIM not inserted", 10) == "+CME ERROR: SIM not inserted"
    assert describe("+CMS ERROR: 322", 322) == "+CMS ERROR: 322 (memory full)"
    assert describe("ERROR", None) == "ERROR"
