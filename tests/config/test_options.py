"""The options of drivers and transports, which are checked when those are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from rataccess.config import check_options, parse
from rataccess.errors import ConfigurationError
from tests.config.test_parse import GOOD


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    line: int


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    interface: str
    retries: Annotated[int, Meta(gt=0, lt=10)] = 3
    mode: Literal["managed", "mesh"] = "managed"
    bands: list[Annotated[int, Meta(ge=1)]] = []
    reset: Reset | None = None
    pin: str | None = None

    def __post_init__(self) -> None:
        if self.interface == "lo":
            raise ValueError("the loopback interface reaches nobody")


@dataclass(frozen=True)
class Plain:
    size: int = 5


def told(bag: dict[str, object], kind: type | None = Options, where: str = "links.wi-fi.options") -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check_options(bag, kind, where)
    return str(caught.value).split("\n")


def test_right_options_become_their_type() -> None:
    found = check_options({"interface": "wlan0", "reset": {"line": 4}, "bands": [3]}, Options, "x")
    assert found == Options(interface="wlan0", reset=Reset(4), bands=[3])
    assert check_options({}, Plain, "x") == Plain()
    assert check_options({"size": 7}, Plain, "x") == Plain(7)
    assert check_options({}, None, "x") is None


def test_wrong_options_are_told_all_at_once() -> None:
    bag = {"interfaze": "x", "retries": 10, "mode": "adhoc", "bands": [1, 0], "reset": {"line": "a"}, "pin": 1234}
    assert told(bag)[1:] == [
        "links.wi-fi.options.interfaze: unknown; did you mean interface?",
        "links.wi-fi.options.retries: found 10; allowed: a whole number, more than 0 and less than 10",
        'links.wi-fi.options.mode: found "adhoc"; allowed: one of "managed", "mesh"',
        "links.wi-fi.options.bands[1]: found a list of 2; allowed: a list, each item a whole number, at least 1",
        'links.wi-fi.options.reset.line: found "a"; allowed: a whole number',
        "links.wi-fi.options.pin: found a value of type int (not shown); allowed: text",
        "links.wi-fi.options.interface: missing; allowed: text",
    ]


def test_what_the_type_itself_refuses_is_told() -> None:
    assert told({"interface": "lo"}) == ["links.wi-fi.options: the loopback interface reaches nobody"]


def test_a_secret_in_the_wrong_file_is_told_where_it_belongs() -> None:
    place = "a secret is not kept here but in secrets.toml beside the keys, under [lora]"
    where = "links.lora.options"
    assert told({"interface": "wlan0", "appkey": "2B7E"}, where=where) == [f"{where}.appkey: unknown; {place}"]
    assert told({"passphrase": "x", "retries": 10}, where=where)[1:] == [
        f"{where}.passphrase: unknown; {place}",
        f"{where}.retries: found 10; allowed: a whole number, more than 0 and less than 10",
        f"{where}.interface: missing; allowed: text",
    ]


def test_hexadecimal_digits_are_told_in_words() -> None:
    class Named(msgspec.Struct):
        dev_eui: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{16}$")]

    assert told({"dev_eui": "70B3"}, Named, "x") == ['x.dev_eui: found "70B3"; allowed: text of 16 hexadecimal digits']


def test_options_where_there_are_none() -> None:
    assert told({"a": 1}, None) == ["links.wi-fi.options.a: unknown; there are no options here"]
    assert told({"a": 1}, Plain) == ["links.wi-fi.options.a: unknown; known: size"]


def test_options_from_a_file_know_their_line_and_variable() -> None:
    text = GOOD + '\n[links.wi-fi.transport_options]\nmode = "adhoc"\n'
    found = parse(text, source="r.toml", environ={"RATACCESS_LINKS__WI_FI__OPTIONS__RETRIES": "many"})
    wifi = found.links["wi-fi"]
    assert told(wifi.options) == [
        'environment variable RATACCESS_LINKS__WI_FI__OPTIONS__RETRIES: links.wi-fi.options.retries: found "many"; '
        "allowed: a whole number, more than 0 and less than 10"
    ]
    assert told(wifi.transport_options)[1:] == [
        'r.toml:24: links.wi-fi.transport_options.mode: found "adhoc"; allowed: one of "managed", "mesh"',
        "r.toml:23: links.wi-fi.transport_options.interface: missing; allowed: text",
    ]
