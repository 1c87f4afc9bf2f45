"""`services.toml` and its environment: everything that can be set, and everything that can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services import settings
from rataccess.services.schemas import templates
from rataccess.services.settings import LogFormat, LogLevel, ServerSettings, SolutionSettings
from rataccess.template import Bool, Bytes, Enum, Integer, Real, Scaled, Template, Text

BASE = '[solution]\nport = 5684\nstore = "s.sqlite"\nkeys = "s.json"\n'
API = '[solution.api]\nport = 8080\ntoken = { env = "API_TOKEN" }\n'


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> SolutionSettings:
    path = folder / "services.toml"
    path.write_text(text)
    return cast(SolutionSettings, settings.load(path, Service.SOLUTION, environ or {}))


def refused(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text, environ)
    return str(caught.value).replace(f"{folder}/", "")


def test_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, BASE)
    assert (found.store, found.keys) == (str(tmp_path / "s.sqlite"), str(tmp_path / "s.json"))
    assert (found.log_level, found.log_format) == (LogLevel.INFO, LogFormat.JSON)
    assert (found.api, found.keep_records, found.receivers, found.routes, found.schemas) == (None, None, (), {}, {})


@pytest.mark.parametrize("url", ["postgresql://rataccess@db.example/solution", "sqlite:////var/lib/s.sqlite"])
def test_the_store_may_be_a_url(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, BASE.replace("s.sqlite", url)).store == url


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    text = BASE + 'ndjson = "n"\n[[solution.receivers]]\nkind = "ndjson"\nname = "a"\nfile = "lines"\n'
    text += '[solution.routes.x]\nurl = "https://x"\nca_file = "ca.pem"\n'
    found = read(tmp_path, text + '[solution.api]\nport = 0\ntoken_file = "token"\n')
    assert found.routes["x"].ca_file == str(tmp_path / "ca.pem")
    [receiver] = found.receivers
    assert (found.ndjson, getattr(receiver, "file", None)) == (str(tmp_path / "n"), str(tmp_path / "lines"))
    assert found.api is not None
    assert found.api.token_file == str(tmp_path / "token")


def test_variables_override_the_file(tmp_path: Path) -> None:
    environ = {
        "RATACCESS_SERVICES_SOLUTION__PORT": "6000",
        "RATACCESS_SERVICES_SOLUTION__STORE": "postgresql://db/s",
        "RATACCESS_SERVICES_SOLUTION__API__HOST": "::1",
        "RATACCESS_SERVICES_SOLUTION__RECEIVERS": '[{ kind = "ndjson", name = "a", file = "/x" }]',
        "RATACCESS_SERVICES_SOLUTION__LOG_LEVEL": "debug",
        "RATACCESS_SOLUTION__PORT": "1",
    }
    found = read(tmp_path, BASE + API, environ)
    assert (found.port, found.store, found.log_level) == (6000, "postgresql://db/s", LogLevel.DEBUG)
    assert found.api is not None
    assert (found.api.host, found.api.port, [each.name for each in found.receivers]) == ("::1", 8080, ["a"])


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    environ = {
        f"RATACCESS_SERVICES_SOLUTION__{name}": value for name, value in (("PORT", "1"), ("STORE", "s"), ("KEYS", "k"))
    }
    found = settings.load(tmp_path / "nowhere.toml", Service.SOLUTION, environ)
    assert (found.port, found.store) == (1, str(tmp_path / "s"))
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read"):
        settings.load(tmp_path / "nowhere.toml", Service.SOLUTION, {"RATACCESS_SOLUTION__PORT": "1"})


def test_only_the_sections_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "services.toml"
    path.write_text(BASE)
    assert list(settings.load_all(path, {})) == [Service.SOLUTION]
    with pytest.raises(ConfigurationError, match=r"no section \[management\]"):
        settings.load(path, Service.MANAGEMENT, {})


@pytest.mark.parametrize(
    ("more", "environ", "told"),
    [
        ("kep_records = 3", {}, "services.toml:5: solution.kep_records: unknown; did you mean keep_records?"),
        ("keep_records = 0", {}, "services.toml:5: solution.keep_records: found 0; allowed: a number, more than 0"),
        ('log_level = "loud"', {}, 'found "loud"; allowed: one of "debug", "info", "warning", "error"'),
        ("", {"RATACCESS_SERVICES_SOLUTION__PORT": "x"}, "environment variable RATACCESS_SERVICES_SOLUTION__PORT: "),
        ("", {"RATACCESS_SERVICES_SOLUTION_PORT": "1"}, "names no key; write two underscores for each dot"),
        ("[solution.api]\nport = 1", {}, "services.toml:5: solution.api: needs one of token = "),
        (API + 'token_file = "x"', {}, "services.toml:5: solution.api: needs one of token = "),
        (
            API + 'host = "0.0.0.0"',
            {},
            "services.toml:5: solution.api: host '0.0.0.0' is not an address of this machine",
        ),
        (API + 'host = "api.example"', {}, "set allow_remote = true"),
        (
            '[[solution.receivers]]\nkind = "ndjson"\nname = "a"\nfile = "x"\n[[solution.receivers]]\nkind = "webhook"\n'
            'name = "b"\n',
            {},
            "services.toml:9: solution.receivers[1].url: missing",
        ),
        (
            '[[solution.receivers]]\nkind = "pigeon"\nname = "a"',
            {},
            'services.toml:6: solution.receivers[0].kind: found "pigeon"; allowed: one of "ndjson", "webhook", ',
        ),
        ('[[solution.receivers]]\nname = "a"', {}, "solution.receivers[0].kind: missing; allowed: one of "),
        (
            'ndjson = "n"\n[[solution.receivers]]\nkind = "ndjson"\nname = "ndjson"\nfile = "x"',
            {},
            "services.toml:1: solution: two receivers are named ndjson; each needs a name of its own",
        ),
        ("[solution.routes.x]\nmethod = 'GET'", {}, "services.toml:5: solution.routes.x.url: missing"),
        ("[solution.schemas.x.fields]", {}, "services.toml:5: solution.schemas.x.fields: found no entry"),
        (
            "[solution.schemas.x.fields]\nn = { kind = 'integer', low = 5, high = 1 }",
            {},
            "services.toml:5: solution.schemas.x: Integer takes whole low <= high",
        ),
        (
            "[solution.schemas.x]\nid = 5\nfields.n = { kind = 'bool' }\n"
            "[solution.schemas.y]\nid = 5\nfields.m = { kind = 'bool' }",
            {},
            "services.toml:8: solution.schemas.y: has the id 5 of x; give one of them an id by hand",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, more: str, environ: dict[str, str], told: str) -> None:
    assert told in refused(tmp_path, BASE + more, environ)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_leave(tmp_path: Path, host: str) -> None:
    found = read(tmp_path, BASE + API + f'host = "{host}"\n').api
    assert found is not None
    assert found.host == host
    remote = read(tmp_path, BASE + API + 'host = "0.0.0.0"\nallow_remote = true\n').api
    assert remote is not None
    assert remote.host == "0.0.0.0"


def test_no_repr_shows_a_password(tmp_path: Path) -> None:
    found: ServerSettings = read(tmp_path, BASE.replace("s.sqlite", "postgresql://me:hunter2@db/s"))
    assert found.store == "postgresql://me:hunter2@db/s"
    assert "hunter2" not in repr(found)


def test_a_template_by_configuration_is_the_devices_own(tmp_path: Path) -> None:
    text = """\
[solution.schemas.readings.fields]
temp = { kind = "scaled", low = -40, high = 85, step = 0.1 }
hum = { kind = "integer", low = 0, high = 100 }
ok = { kind = "bool" }
mode = { kind = "enum", choices = ["eco", "full"] }
note = { kind = "text", most = 12, optional = true }
raw = { kind = "bytes", most = 4, optional = true }
exact = { kind = "real", bits = 32, optional = true }
"""
    [found] = templates(read(tmp_path, BASE + text).schemas)
    device = Template(
        "readings",
        temp=Scaled(-40, 85, 0.1),
        hum=Integer(0, 100),
        ok=Bool(),
        mode=Enum("eco", "full"),
        note=Text(12, optional=True),
        raw=Bytes(4, optional=True),
        exact=Real(32, optional=True),
    )
    assert (found.id, found.definition()) == (device.id, device.definition())
