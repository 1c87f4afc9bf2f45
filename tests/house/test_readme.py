"""What the README shows works: its configuration is one, its application compiles, its commands are there."""

from __future__ import annotations

import re
from pathlib import Path

from rataccess import registry
from rataccess.config import check_options, parse

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_configuration_is_one() -> None:
    (text,) = _blocks("toml")
    configuration = parse(text, source="README.md", environ={})
    assert list(configuration.links) == ["wifi", "cellular"]
    for name, link in configuration.links.items():
        check_options(link.options, registry.driver(link.driver).options_type, f"links.{name}.options")
        registry.transport(link.transport)


def test_the_application_compiles_and_is_short() -> None:
    (text,) = _blocks("python")
    compile(text, "README.md", "exec")
    assert len([line for line in text.splitlines() if line.strip()]) <= 20


def test_the_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    application = (ROOT / "rataccess/cli/app.py").read_text(encoding="utf-8")
    for command in re.findall(r"^    rataccess (\w+)", README, re.MULTILINE):
        assert f"def {command}(" in application, command


def test_linked_pages_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target
