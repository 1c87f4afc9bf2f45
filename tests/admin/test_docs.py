"""docs/services.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from rataccess.config.check import fields
from rataccess.objects import Service
from rataccess.services import settings
from rataccess.services.calls import RouteSettings
from rataccess.services.settings import ApiSettings, ManagementSettings, SolutionSettings
from rataccess.services.ways.settings import WaySettings
from tests.api.api_world import ApiWorld, of

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/services.md").read_text(encoding="utf-8")
BASE = '[solution]\nport = 1\nstore = "s"\nkeys = "k"\n'


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
def test_examples_can_be_read(tmp_path: Path, example: str) -> None:
    path = tmp_path / "services.toml"
    path.write_text(example if "[solution]" in example else BASE + example)
    assert settings.load(path, Service.SOLUTION, {}).api is not None


def test_every_setting_is_in_the_table() -> None:
    table = TEXT[TEXT.index("| section, key |") : TEXT.index("## The store")]
    told = {name.split(".")[0] for name in re.findall(r"^\| `([a-z_.<>]+)`", table, re.MULTILINE)}
    assert told == fields(SolutionSettings).keys()
    assert fields(ManagementSettings).keys() == told - {"ndjson", "receivers", "routes"}


def test_defaults_are_as_told() -> None:
    found = SolutionSettings(port=1, store="s", keys="k")
    rows = re.findall(r"^\| `([a-z_]+)` \| `?([a-z0-9:]+)`?( MiB)? \|", TEXT, re.MULTILINE)
    told = {name: int(value) * 1024**2 if unit else value for name, value, unit in rows if hasattr(found, name)}
    assert len(told) > 10
    for name, value in told.items():
        if value != "needed":
            actual = getattr(found, name)
            assert value == "none" if not actual else str(actual).removesuffix(".0") == str(value), name


@pytest.mark.parametrize("kind", [RouteSettings, ApiSettings, *get_args(WaySettings)])
def test_every_key_of_a_section_is_named(kind: type[object]) -> None:
    assert [name for name in fields(kind) if name not in TEXT] == []


def test_every_counter_is_named() -> None:
    code = "".join(path.read_text() for path in (ROOT / "rataccess/services").rglob("*.py"))
    counted = set(re.findall(r'count\(\s*"([a-z][^"]+)"', code)) | {"forged requests", "replayed requests"}
    told = set(re.findall(r"`([^`\n]+)`", TEXT[TEXT.index("## What is counted") :].replace("`,\n", "`, ")))
    assert len(counted) > 30
    assert counted - told == set()


@pytest.mark.parametrize("service", list(Service))
async def test_every_path_is_told(tmp_path: Path, service: Service) -> None:
    async with ApiWorld(tmp_path, service).client() as client:
        document = of(await client.get("/openapi.json"))
        metrics = (await client.get("/metrics")).text
    for path in document["paths"]:
        if "environment" not in path:
            assert f"{path}" in TEXT, path
    for name in re.findall(r"^# TYPE rataccess_(\S+)", metrics, re.MULTILINE):
        assert name in TEXT, name
