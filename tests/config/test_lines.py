"""Keys are found in the lines in which they stand."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.config.lines import find_lines

TEXT = '''\
# [a] is no table here
top = 1  # nor is this: b = 2
[a]
x = "# not a comment = 3"
y = """
z = 4
[c]
\\""" still text"""
"quoted.key" = 'single # quoted'
list = [
  1, # one
  { inner = 2 },
  "]",
]

[ b . "c d" ]
in.a.line = { deep = { deeper = 1 }, second = [ { third = 2 } ] }
"\\u00e9" = \'\'\'
m = 5 \'\'\'
last = 1979-05-27 07:32:00
[[t]]
n = 1
[[t]]
n = 2
'''


def test_each_key_has_its_line() -> None:
    assert tomllib.loads(TEXT)
    lines = find_lines(TEXT)
    expected = {
        ("top",): 2,
        ("a",): 3,
        ("a", "x"): 4,
        ("a", "y"): 5,
        ("a", "quoted.key"): 9,
        ("a", "list"): 10,
        ("a", "list", "inner"): 12,
        ("b",): 16,
        ("b", "c d"): 16,
        ("b", "c d", "in"): 17,
        ("b", "c d", "in", "a", "line", "deep", "deeper"): 17,
        ("b", "c d", "in", "a", "line", "second", "third"): 17,
        ("b", "c d", "é"): 18,
        ("b", "c d", "last"): 20,
        ("t",): 21,
        ("t", "n"): 22,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("a", "z") not in lines
    assert ("c",) not in lines


@given(st.text(alphabet="ab.=[]{}\"'\\#\n, 1", max_size=60) | st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_ends_in_lines(text: str) -> None:
    count = text.count("\n") + 1
    lines = find_lines(text)
    assert all(1 <= line <= count for line in lines.values())
    try:
        found = tomllib.loads(text)
    except ValueError:
        return
    assert {path[0] for path in lines} == set(found)


def test_each_item_of_a_list_of_tables_has_its_own_lines() -> None:
    lines = find_lines(
        "[[a.t]]\nn = 1\n[[a.t]]\n[a.t.sub]\nn = 2\n[[a.t.deep]]\n\nn = 3\n[a.other]\nn = 4\n[[a.t]]\n[[a.t.deep]]\n"
    )
    assert {path: line for path, line in lines.items() if "[1]" in path} == {
        ("a", "t", "[1]"): 3,
        ("a", "t", "[1]", "sub"): 4,
        ("a", "t", "[1]", "sub", "n"): 5,
        ("a", "t", "[1]", "deep"): 6,
        ("a", "t", "[1]", "deep", "[0]"): 6,
        ("a", "t", "[1]", "deep", "[0]", "n"): 8,
    }
    assert lines["a", "t", "[2]", "deep", "[0]"] == 12
    assert (lines["a", "t", "[0]"], lines["a", "t", "[0]", "n"], lines["a", "other", "n"]) == (1, 2, 10)
