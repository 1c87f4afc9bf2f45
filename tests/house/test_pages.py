"""What the pages show works: examples load, commands and options are there, and none is on no page.

Pages with tests of their own beside the code: docs/lora.md, docs/satellite.md, docs/services.md, docs/wire.md, README.md.
"""

from __future__ import annotations

import enum
import json
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT
from msgspec.structs import fields as struct_fields
from typer.main import get_command

from rataccess import registry
from rataccess.cli.app import app
from rataccess.config import model
from rataccess.config.check import struct_of
from rataccess.objects import Service
from rataccess.services import settings
from rataccess.services.ways import frames
from rataccess_drivers.gpio import LineSettings
from rataccess_drivers.lora.private.bridge import BridgeSettings
from rataccess_drivers.lora.transceiver import TransceiverOptions
from rataccess_hil.lora.__main__ import parser as lora_process
from rataccess_hil.satellite.__main__ import parser as satellite_process
from tests.house.ours import DRIVERS, TRANSPORTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
BASE = '[solution]\nport = 1\nstore = "s"\nkeys = "k"\n'


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL):
            yield page, block


# --- examples ---------------------------------------------------------------------------------------------------------


OTHERS = [(page, block) for page, block in blocks("toml") if page != "services.md" and "[links." not in block]


@pytest.mark.parametrize(("page", "block"), OTHERS)
def test_toml_loads(page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tomllib.loads(block)
    if "transceiver" in found:
        msgspec.convert(found, BridgeSettings)
        return
    for name in re.findall(r'env = "(\w+)"', block):
        monkeypatch.setenv(name, "x" * 16)
    path = tmp_path / "services.toml"
    path.write_text(block if "[solution]" in block else BASE + block)
    assert settings.load(path, Service.SOLUTION).port


@pytest.mark.parametrize(("page", "block"), list(blocks("python")))
def test_python_compiles(page: str, block: str) -> None:
    compile(block, page, "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT: an example may await


def test_what_a_notecard_sent_is_passed_on_as_a_relay_takes_it() -> None:
    (block,) = [block for page, block in blocks("python") if page == "satellite.md"]
    names: dict[str, Any] = {}
    exec(block, names)
    for first, port in ((0xDF, 5690), (0x20, 5691)):
        packet = bytes([first, 1, 2])
        event = {"device": "dev:864475040012345", "file": "rataccess.qo", "payload": b64encode(packet).decode()}
        datagram, address = names["passed_on"](json.dumps(event).encode())
        told = {"link": "notecard", "room": 230, "dear": True}
        assert frames.decode(datagram) == frames.RelayFrame("notecard", event["device"], packet, told)
        assert address[1] == port


def test_pages_that_are_linked_exist() -> None:
    for page, text in PAGES.items():
        folder = ROOT if page == "README.md" else ROOT / "docs"
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
            path = folder / target if target else folder / page
            assert path.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, anchor


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(command: Any, name: str = "rataccess") -> Iterator[tuple[str, Any]]:
    yield name, command
    for each, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {each}")


COMMANDS = dict(commands(get_command(app)))


def options_of(command: Any) -> set[str]:
    return {name for each in command.params for name in each.opts} | {"--help"}


def long_options(command: Any) -> set[str]:
    return {name for name in options_of(command) if name.startswith("--")}


def test_commands_that_are_shown_are_there_with_their_options() -> None:
    shown = [
        line
        for text in PAGES.values()
        for line in re.findall(r"(?:^(?:    |\$ )|`)(rataccess [a-z][^`\n|#]*)", text, re.MULTILINE)
    ]
    assert len(shown) > 40
    for line in shown:
        words = re.sub(r"'[^']*'", "X", line).split()
        name = next(" ".join(words[:n]) for n in range(len(words), 0, -1) if " ".join(words[:n]) in COMMANDS)
        assert not getattr(COMMANDS[name], "commands", {}) or len(words) <= 2 or words[2] == "...", line
        for option in re.findall(r"(?<=[\s\[])--?[a-z][a-z-]*", " ".join(words)):
            assert option in options_of(COMMANDS[name]), line


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_every_command_and_option_is_on_a_page(name: str) -> None:
    text = "\n".join(PAGES.values())
    assert re.search(rf"`(?:rataccess )?{name.removeprefix('rataccess ')}\b|    {name}\b", text) or _in_a_table(name)
    for option in long_options(COMMANDS[name]):
        assert re.search(rf"{option}\b", text), f"{name} {option}"


def _in_a_table(name: str) -> bool:
    """As docs/services.md lists those of `fleet`."""
    word = name.removeprefix("rataccess fleet ")
    return re.search(rf"^\| .*`{word}\b", PAGES["services.md"], re.MULTILINE) is not None


@pytest.mark.parametrize(("module", "known"), [("lora", lora_process()), ("satellite", satellite_process())])
def test_processes_take_the_options_that_are_shown(module: str, known: Any) -> None:
    (line,) = re.findall(rf"^    python -m rataccess_hil\.{module} (.*)$", "\n".join(PAGES.values()), re.MULTILINE)
    known.parse_args(line.split())


# --- the configuration of a device ------------------------------------------------------------------------------------

PAGE = PAGES["configuration.md"]
TABLES = f"{PAGES['lora.md']}\n{PAGE}"
OPTIONS = {f"Options of `{name}`": registry.driver(name).options_type for name in DRIVERS}
SECTIONS: dict[str, type[Any]] = {
    "`[device]`": model.DeviceSettings,
    "`[management]`, `[solution]`": model.ServiceSettings,
    "`[store]`": model.StoreSettings,
    "`[links.NAME]`": model.LinkSettings,
    "`[links.NAME.budget]`": model.BudgetSettings,
    "Output lines": LineSettings,
    "The transceiver": TransceiverOptions,
    **{title: kind for title, kind in OPTIONS.items() if kind is not None and f"## {title}\n" in TABLES},
}


def rows(title: str) -> dict[str, str]:
    """Name and default of each row of the section's table; names that share a row share its defaults, in their order."""
    section = TABLES.split(f"## {title}\n")[1].split("\n##")[0]
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", section, re.MULTILINE):
        each = re.findall(r"`(\w+)`", names)
        told = defaults.split(", ") if ", " in defaults else [defaults] * len(each)
        found.update(zip(each, told, strict=True))
    return found


@pytest.mark.parametrize(("title", "kind"), list(SECTIONS.items()))
def test_every_key_and_its_default_are_told(title: str, kind: type[Any]) -> None:
    told = rows(title)
    known = {field.encode_name: field for field in struct_fields(kind)}
    assert told.keys() == known.keys()
    for name, field in known.items():
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        assert _is(told[name].strip("`"), default), f"{name}: {told[name]}, in truth {default!r}"


def _is(told: str, default: object) -> bool:
    if default is NODEFAULT:
        return told == "needed"
    if default is None or default in ("", [], {}) or isinstance(default, msgspec.Struct):
        return told not in ("needed", "0", "true", "false")  # in words
    if isinstance(default, enum.Enum | str):
        return told == str(default)
    return told == str(default).lower().removesuffix(".0")


def test_every_option_of_every_driver_and_transport_is_on_a_page() -> None:
    text = "\n".join(PAGES.values())
    kinds = [registry.driver(name).options_type for name in DRIVERS]
    kinds += [registry.transport(name).options_type for name in TRANSPORTS]
    for kind in filter(None, kinds):
        for field in struct_fields(kind):
            inner = struct_of(field.type)
            names = [field.encode_name, *(each.encode_name for each in struct_fields(inner))] if inner else [field.name]
            for name in names:
                assert re.search(rf"`{name}\b|^#? ?{name} =", text, re.MULTILINE), f"{kind.__name__}: {name}"


def test_the_drivers_and_transports_are_named() -> None:
    table = PAGE.split("## `[links.NAME]`\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in table for name in DRIVERS)
