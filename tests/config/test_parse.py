"""From text and environment to a configuration, or to one error that tells all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rataccess.config import Configuration, UrgencyName, WhenFull, parse
from rataccess.errors import ConfigurationError

GOOD = """\
[device]
serial_number = "A1"

[management]
host = "management.example"

[solution]
host = "solution.example"
port = 5700

[links.wi-fi]
driver = "interface"
transport = "udp"
keepalive = 5
options = { interface = "wlan0" }

[links.lte]
driver = "quectel"
transport = "at_socket"
min_urgency = "prompt"
budget.bytes = 1000
"""


def read(text: str, environ: Mapping[str, str] | None = None) -> Configuration:
    return parse(text, source="rataccess.toml", environ=environ or {})


def mistakes(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, environ)
    lines = str(caught.value).split("\n")
    if len(lines) == 1:
        return lines
    assert lines[0] == f"{len(lines) - 1} mistakes in the configuration:"
    return lines[1:]


def test_a_good_file_is_read() -> None:
    found = read(GOOD)
    assert found.device.serial_number == "A1"
    assert (found.management.port, found.solution.port) == (5683, 5700)
    assert found.store.when_full is WhenFull.REFUSE
    assert list(found.links) == ["wi-fi", "lte"]
    wifi, lte = found.links.values()
    assert (wifi.keepalive, type(wifi.keepalive)) == (5.0, float)
    assert wifi.options == {"interface": "wlan0"}
    assert lte.min_urgency is UrgencyName.PROMPT
    assert lte.budget is not None
    assert lte.budget.bytes == 1000


def test_links_keep_their_order() -> None:
    names = ["zulu", "alpha", "mike", "bravo"]
    tables = "".join(f'[links.{name}]\ndriver = "x"\ntransport = "y"\n' for name in names)
    assert list(read(GOOD.partition("[links")[0] + tables).links) == names


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("5700", "70000", "rataccess.toml:9: solution.port: found 70000; allowed: a whole number from 1 to 65535"),
        ("5700", "true", "rataccess.toml:9: solution.port: found true; allowed: a whole number from 1 to 65535"),
        ("5700", "5.5", "rataccess.toml:9: solution.port: found 5.5; allowed: a whole number from 1 to 65535"),
        ("5700", "[1]", "rataccess.toml:9: solution.port: found a list of 1; allowed: a whole number from 1 to 65535"),
        ("= 5\n", "= -1\n", "rataccess.toml:14: links.wi-fi.keepalive: found -1; allowed: a number, at least 0"),
        ("= 5\n", "= nan\n", "rataccess.toml:14: links.wi-fi.keepalive: found nan; allowed: a number, at least 0"),
        ("= 5\n", "= inf\n", "rataccess.toml:14: links.wi-fi.keepalive: found inf; allowed: a number, at least 0"),
        (
            '"prompt"',
            '"high"',
            'rataccess.toml:20: links.lte.min_urgency: found "high"; allowed: one of "bulk", "routine", "prompt", "alarm"',
        ),
        (
            "budget.bytes = 1000",
            "budget = { airtime = 30, credits = 5 }",
            "rataccess.toml:21: links.lte.budget: needs one of bytes, credits, messages and airtime, and not more than one",
        ),
        ("budget.bytes", "budget.byte", "rataccess.toml:21: links.lte.budget.byte: unknown; did you mean bytes?"),
        ("keepalive", "keep_alive", "rataccess.toml:14: links.wi-fi.keep_alive: unknown; did you mean keepalive?"),
        ("[device]", "[device]\nzzz = 1", "rataccess.toml:2: device.zzz: unknown; known: serial_number, state, keys"),
        (
            'host = "solution.example"\n',
            "",
            "rataccess.toml:7: solution.host: missing; allowed: text of at least 1 character(s)",
        ),
        ("1000", "0", "rataccess.toml:21: links.lte.budget.bytes: found 0; allowed: a whole number, at least 1"),
        (
            'options = { interface = "wlan0" }',
            "options = 5",
            "rataccess.toml:15: links.wi-fi.options: found 5; allowed: a table",
        ),
        (
            "[links.lte]",
            "[links.LTE]",
            "rataccess.toml:17: links.LTE: not allowed as a name; allowed: text that matches ",
        ),
    ],
)
def test_a_mistake_names_file_line_key_what_was_found_and_what_is_allowed(old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert told in "\n".join(mistakes(GOOD.replace(old, new, 1)))


def test_every_mistake_is_told_at_once() -> None:
    wrong = GOOD.replace('"A1"', "7").replace("5700", "0").replace("keepalive", "keepalife").replace("1000", '"x"')
    assert [each.split(": ")[1] for each in mistakes(wrong)] == [
        "device.serial_number",
        "solution.port",
        "links.wi-fi.keepalife",
        "links.lte.budget.bytes",
    ]


def test_a_table_where_a_value_belongs_and_the_reverse() -> None:
    assert mistakes(GOOD.replace("port = 5700", "port.x = 1")) == [
        "rataccess.toml:9: solution.port: found a table; allowed: a whole number from 1 to 65535"
    ]
    assert "device: found 5; allowed: a table with serial_number, state, keys" in mistakes("device = 5\n")[0]


def test_what_is_missing_altogether() -> None:
    assert [each.partition(": missing")[0] for each in mistakes("")] == [
        f"rataccess.toml: {name}" for name in ("device", "management", "solution", "links")
    ]
    assert "rataccess.toml:11: links: found no entry; allowed: a table with at least 1 in it" in mistakes(
        GOOD.partition("[links")[0] + "[links]"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[device]\nserial_number = ", "not TOML"),
        ("x = 1\nx = 2\n", r"rataccess.toml:2: column \d+: not TOML"),
        ("[device\n", r"rataccess.toml:1: column \d+: not TOML"),
        ("a = " + "[" * 5000, "not TOML: RecursionError"),
        ("\x00", "not TOML"),
        ("d = 2024-13-01", "not TOML"),
    ],
)
def test_what_is_not_toml(text: str, told: str) -> None:
    assert re.search(told, mistakes(text)[0])


def test_a_secret_is_not_quoted() -> None:
    told = mistakes(GOOD.replace("[device]", '[device]\nkeys = 12345\nsecret_pin = "9876"'))
    assert "12345" not in str(told)
    assert "9876" not in str(told)
    options = 'options = { interface = "wlan0", pin = "4711", passphrase = "hush" }'
    found = read(GOOD.replace('options = { interface = "wlan0" }', options))
    assert "4711" not in repr(found)
    assert "hush" not in repr(found)
    assert found.links["wi-fi"].options["pin"] == "4711"


# --- the environment --------------------------------------------------------------------------------------------------


def test_variables_of_the_services_are_left_alone() -> None:
    assert read(GOOD, {"RATACCESS_SERVICES_SOLUTION__PORT": "1", "RATACCESS_SERVICES_X": "1"}) == read(GOOD)


def test_variables_override_the_file() -> None:
    found = read(
        GOOD,
        {
            "RATACCESS_SOLUTION__HOST": "other.example",
            "RATACCESS_SOLUTION__PORT": "99",
            "RATACCESS_LINKS__WI_FI__KEEPALIVE": "7.5",
            "RATACCESS_LINKS__LTE__HOT": "false",
            "RATACCESS_LINKS__LTE__BUDGET__PERIOD": "3600",
            "RATACCESS_LINKS__LTE__MIN_URGENCY": "alarm",
            "RATACCESS_LINKS__WI_FI__OPTIONS__INTERFACE": "wlan1",
            "RATACCESS_STORE__WHEN_FULL": '"drop"',
            "RATACCESS_store__Max_Records": "10",
            "SOMETHING_ELSE__HOST": "x",
        },
    )
    assert (found.solution.host, found.solution.port) == ("other.example", 99)
    assert list(found.links) == ["wi-fi", "lte"]
    wifi, lte = found.links.values()
    assert (wifi.keepalive, wifi.options) == (7.5, {"interface": "wlan1"})
    assert (lte.hot, lte.min_urgency) == (False, UrgencyName.ALARM)
    assert lte.budget is not None
    assert (lte.budget.bytes, lte.budget.period) == (1000, 3600.0)
    assert (found.store.when_full, found.store.max_records) == (WhenFull.DROP, 10)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("12345", "12345"),
        ("true", "true"),
        ('"quoted"', "quoted"),
        ("1.50", "1.50"),
        ("2024-01-01", "2024-01-01"),
        ("a b", "a b"),
    ],
)
def test_what_the_key_takes_as_text_is_text(value: str, meant: str) -> None:
    environ = {"RATACCESS_DEVICE__SERIAL_NUMBER": value, "RATACCESS_DEVICE__KEYS": value}
    found = read(GOOD, environ).device
    assert (found.serial_number, found.keys) == (meant, meant)


def test_the_environment_alone_can_be_the_whole_configuration() -> None:
    found = read(
        "",
        {
            "RATACCESS_DEVICE__SERIAL_NUMBER": "7",
            "RATACCESS_MANAGEMENT__HOST": "m",
            "RATACCESS_SOLUTION": '{ host = "s", port = 9 }',
            "RATACCESS_LINKS__LTE__DRIVER": "quectel",
            "RATACCESS_LINKS__LTE__TRANSPORT": "at_socket",
            "RATACCESS_LINKS__LTE__OPTIONS__BANDS": "[3, 20]",
        },
    )
    assert (found.solution.port, found.links["lte"].options) == (9, {"bands": [3, 20]})


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (
            {"RATACCESS_SOLUTION__PORT": "none"},
            'environment variable RATACCESS_SOLUTION__PORT: solution.port: found "none"; '
            "allowed: a whole number from 1 to 65535",
        ),
        (
            {"RATACCESS_LINKS__LTE__ORDRE": "1"},
            "environment variable RATACCESS_LINKS__LTE__ORDRE: links.lte.ordre: unknown; did you mean order?",
        ),
        (
            {"RATACCESS_SOLUTION_HOST": "x"},
            "environment variable RATACCESS_SOLUTION_HOST: names no key; write two underscores",
        ),
        ({"RATACCESS_SOLUTION__": "x"}, "environment variable RATACCESS_SOLUTION__: names no key"),
        ({"RATACCESS___": "x"}, "environment variable RATACCESS___: names no key"),
        ({"RATACCESS_WHO__KNOWS": "x"}, "environment variable RATACCESS_WHO__KNOWS: who: unknown; known: device"),
        (
            {"RATACCESS_SOLUTION__HOST": "x", "RATACCESS_solution__host": "y"},
            "environment variable RATACCESS_solution__host: sets the same key as RATACCESS_SOLUTION__HOST; remove one",
        ),
        ({"RATACCESS_DEVICE": "5"}, "environment variable RATACCESS_DEVICE: device: found 5; allowed: a table"),
        ({"RATACCESS_SOLUTION__PORT": "1\nx = 2"}, 'solution.port: found "1\\nx = 2"'),
        ({"RATACCESS_SOLUTION__PORT": "\udc80"}, 'solution.port: found "\\udc80"'),
    ],
)
def test_a_mistake_in_a_variable_names_it(environ: dict[str, str], told: str) -> None:
    assert told in "\n".join(mistakes(GOOD, environ))


def test_variables_of_others_are_left_alone() -> None:
    """A test rig has variables of its own, and RATACCESS_CONFIG names the file."""
    assert read(GOOD, {"RATACCESS_RIG": "bench", "RATACCESS_CONFIG": "x.toml"}) == read(GOOD)


# --- anything at all --------------------------------------------------------------------------------------------------

SNIPPETS = st.sampled_from(
    [
        *GOOD.splitlines(),
        "[links.a]", "[[links.b]]", "links.c.driver = 1", "[device.x]", 'a."b.c" = {d = [1, {e = 2}]}', "x = '''", '"""',
        "order = 1e400", "order = 999999999999999999999999", "keepalive = -inf", "host = 1979-05-27", "# [links]", "=", "]",
    ]
)  # fmt: skip


@given(st.text(max_size=200) | st.lists(SNIPPETS, max_size=30).map("\n".join))
@example(GOOD)
@example(".".join("a" * 3000) + " = 1")
@example("[links.x]\noptions." + ".".join("a" * 3000) + " = 1")
@example("[links.x]\norder = " + "9" * 5000)
@example("[links.x]\ncost_per_byte = " + "9" * 400)
@settings(max_examples=300, deadline=None)
def test_any_text_at_all_is_a_configuration_or_one_error(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert isinstance(read(text), Configuration)


@given(
    st.dictionaries(
        st.builds(
            lambda parts: "RATACCESS_" + "__".join(parts),
            st.lists(
                st.sampled_from(
                    ["LINKS", "WI_FI", "LTE", "OPTIONS", "BUDGET", "BYTES", "PORT", "HOST", "SOLUTION", "", "x-é"]
                ),
                max_size=5,
            ),
        ),
        st.text(max_size=20) | st.sampled_from(["1", "true", "{}", "[]", "{a = 1}", "nan", "''"]),
        max_size=4,
    )
)
@example({"RATACCESS_SOLUTION": "{}"})
@settings(max_examples=200, deadline=None)
def test_any_environment_at_all_is_a_configuration_or_one_error(environ: dict[str, str]) -> None:
    refused = None
    try:
        assert isinstance(read(GOOD, environ), Configuration)
    except ConfigurationError as error:
        refused = str(error)
    assert refused is None or "RATACCESS_" in refused
