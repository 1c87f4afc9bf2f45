"""What the README shows works: its configuration is one, its application compiles, its commands are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from rataccess import registry
from rataccess.cli.app import app
from rataccess.config import check_options, parse

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_configuration_is_one() -> None:
    (text,) = _blocks("toml")
    configuration = parse(text, source="README.md", environ={})
    assert list(configuration.links) == ["wifi", "cellular", "lora", "satellite"]
    for name, link in configuration.links.items():
        check_options(link.options, registry.driver(link.driver).options_type, f"links.{name}.options")
        transport = registry.transport(link.transport)
        assert link.budget is None or link.budget.unit is transport.unit


def test_the_applications_compile_and_the_first_is_short() -> None:
    texts = _blocks("python")
    for text in texts:
        compile(text, "README.md", "exec")
    assert len([line for line in texts[0].splitlines() if line.strip()]) <= 20


def test_the_template_packs_to_what_is_said() -> None:
    (text,) = [each for each in _blocks("python") if "Template(" in each]
    names: dict[str, Any] = {}
    exec(text.split("with ", 1)[0], names)
    packed = names["readings"].pack({"temp": 21.5, "hum": 48, "mode": "auto"})
    assert f"to {len(packed)} bytes" in README


def test_the_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for command in re.findall(r"^    rataccess (\w+)", README, re.MULTILINE):
        assert command in commands, command


def test_linked_pages_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target
