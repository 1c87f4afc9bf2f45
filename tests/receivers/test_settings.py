"""Mistakes in the settings of receivers and routes: all at once, each with its key, none with a secret."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rataccess.clock import SystemClock
from rataccess.config.check import Origin, check
from rataccess.errors import ConfigurationError, MissingExtra
from rataccess.services.calls import CallDesk, RouteSettings
from rataccess.services.receivers import (
    MqttSettings,
    NdjsonSettings,
    PostgresqlSettings,
    Receivers,
    ReceiverSettings,
    WebhookSettings,
    absolute,
)
from rataccess.services.secret import FromEnvironment

SECRET = FromEnvironment(env="S")


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    receivers: tuple[ReceiverSettings, ...] = ()
    routes: dict[str, RouteSettings] = {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            WebhookSettings(name="a", url="ftp://x/"),
            "receivers[0].url: allowed: a URL that begins with http:// or https://",
        ),
        (WebhookSettings(name="a", url="https:///x"), "receivers[0].url: allowed"),
        (
            WebhookSettings(name="a", url="http://u:s3cret@x/"),
            "receivers[0].url: a user or password in it is not allowed",
        ),
        (WebhookSettings(name="a", url="http://x/#y"), "receivers[0].url: a fragment"),
        (WebhookSettings(name="a", url="http://[x"), "receivers[0].url: not a URL"),
        (WebhookSettings(name="a", url=SECRET), "receivers[0].url: the environment variable S is not set"),
        (WebhookSettings(name="a", url="http://x", headers={"T": SECRET}), "receivers[0].headers.T: the environment"),
        (WebhookSettings(name="a", url="http://x", headers={"a b": "s3cret"}), "headers.a b: not a header's name"),
        (WebhookSettings(name="a", url="http://x", headers={"A": "s3cret\r\nB: 1"}), "headers.A: its value"),
        (WebhookSettings(name="a", url="http://x", headers={"Host": "s3cret"}), "headers.Host: is not for"),
        (WebhookSettings(name="a", url="http://x", ca_file="/nowhere"), "receivers[0]: /nowhere cannot be read"),
        (
            MqttSettings(name="a", host="x", topic="{no}"),
            "receivers[0].topic: found {no}; allowed: text with {channel}",
        ),
        (MqttSettings(name="a", host="x", password=SECRET), "receivers[0].password: the environment variable S"),
        (MqttSettings(name="a", host="x", tls=False, ca_file="/x"), "receivers[0].tls: found false"),
        (MqttSettings(name="a", host="x", key_file="/x"), "receivers[0].key_file: allowed only with"),
        (PostgresqlSettings(name="a", url="mysql://x"), "receivers[0].url: allowed: postgresql://"),
        (PostgresqlSettings(name="a", url="postgresql://u:s3cret@x/y"), "receivers[0].url: a password in the file"),
        (
            PostgresqlSettings(name="a", url="postgresql://u@x/y?password=s3cret"),
            "receivers[0].url: a password in the file",
        ),
    ],
)
def test_mistakes_of_receivers(settings: ReceiverSettings, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Receivers([settings], "unused", SystemClock(), environ={})
    assert expected in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_needs_a_user() -> None:
    settings = MqttSettings(name="a", host="x", password=SECRET)
    with pytest.raises(ConfigurationError, match="username: missing"):
        Receivers([settings], "unused", SystemClock(), environ={"S": "s3cret"})


def test_all_mistakes_are_told_at_once() -> None:
    settings: list[ReceiverSettings] = [
        NdjsonSettings(name="a", file="x"),
        WebhookSettings(name="a", url="x"),
        WebhookSettings(name="b", url="y"),
    ]
    with pytest.raises(ConfigurationError) as caught:
        Receivers(settings, "unused", SystemClock(), environ={})
    text = str(caught.value)
    assert "3 mistakes" in text
    assert "the name 'a' is given 2 times" in text
    assert "receivers[1].url" in text
    assert "receivers[2].url" in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RouteSettings(url="x"), "solution.routes.r.url: allowed"),
        (RouteSettings(url="http://x/?a=1"), "solution.routes.r.url: parameters are not allowed in it"),
        (RouteSettings(url=SECRET), "solution.routes.r.url: the environment variable S is not set"),
        (RouteSettings(url="http://x", query={"q": SECRET}), "solution.routes.r.query.q: the environment"),
        (RouteSettings(url="http://x", headers={"": "s3cret"}), "solution.routes.r.headers.: not a header's name"),
        (RouteSettings(url="http://x", ca_file="/nowhere"), "solution.routes.r.ca_file: /nowhere"),
    ],
)
def test_mistakes_of_routes(settings: RouteSettings, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CallDesk({"r": settings, "s": settings}, "unused", SystemClock(), environ={})
    assert expected in str(caught.value)
    assert expected.replace(".r.", ".s.") in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"receivers": [{"kind": "fax"}]}, "receivers[0].kind"),
        ({"receivers": [{"kind": "mqtt", "name": "a", "host": "h", "password": "s3cret"}]}, "receivers[0].password"),
        ({"receivers": [{"kind": "ndjson", "name": "a b", "file": "x"}]}, "receivers[0].name"),
        ({"receivers": [{"kind": "ndjson", "name": "a", "file": "x", "queues": []}]}, "receivers[0].queues"),
        ({"receivers": [{"kind": "webhook", "name": "a", "url": {"env": "A", "x": 1}}]}, "receivers[0].url.x"),
        ({"receivers": [{"kind": "postgresql", "name": "a", "url": "x", "table": 'a"; DROP'}]}, "receivers[0].table"),
        ({"routes": {"r": {"url": "x", "method": "TRACE"}}}, "routes.r.method"),
        ({"routes": {"r": {"url": "x", "deadline": 0}}}, "routes.r.deadline"),
        ({"routes": {"r": {"url": "x", "headers": {"A": {"en": "T"}}}}}, "routes.r.headers.A.en"),
    ],
)
def test_mistakes_that_the_types_find(found: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(found, _Section, Origin())
    assert f"{expected}:" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_paths_start_at_the_folder_of_the_file() -> None:
    folder = Path("/etc/rataccess")
    assert absolute(NdjsonSettings(name="a", file="x"), folder) == NdjsonSettings(name="a", file="/etc/rataccess/x")
    mqtt = absolute(MqttSettings(name="a", host="h", ca_file="/ca", key_file="k", certificate_file="c"), folder)
    assert isinstance(mqtt, MqttSettings)
    assert (mqtt.ca_file, mqtt.key_file, mqtt.certificate_file) == ("/ca", "/etc/rataccess/k", "/etc/rataccess/c")
    assert absolute(PostgresqlSettings(name="a", url="x"), folder) == PostgresqlSettings(name="a", url="x")


def test_client_libraries_are_imported_when_they_are_needed() -> None:
    heavy = ["httpx", "psycopg", "aiomqtt", "paho", "tenacity", "fastapi"]
    program = (
        "import sys, rataccess.services.receivers, rataccess.services.calls;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"rataccess\[services\]"):
        CallDesk({"r": RouteSettings(url="http://x")}, "unused", SystemClock(), environ={})


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:s3cret@[::1]x/db", "postgresql://u:s%zz3cret@h/db", "postgresql://u:s3cret@h/db?s3cret=1"],
)
def test_a_url_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    pytest.importorskip("psycopg")
    settings = PostgresqlSettings(name="a", url=SECRET)
    with pytest.raises(ConfigurationError) as told:
        Receivers([settings], "unused", SystemClock(), environ={"S": url})
    text = "".join(traceback.format_exception(told.value))
    assert "receivers[0].url: cannot be read" in text
    assert "3cret" not in text
