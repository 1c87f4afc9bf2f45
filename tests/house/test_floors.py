"""Imports only point down: the floors of the house, read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {
    "rataccess": ROOT / "rataccess",
    "rataccess_drivers": ROOT / "drivers/rataccess_drivers",
    "rataccess_transports": ROOT / "transports/rataccess_transports",
    "rataccess_hil": ROOT / "hil/rataccess_hil",
}
FLOORS = {
    "errors": 0,
    "clock": 0,
    "objects": 0,
    "numbers": 0,
    "template": 0,
    "lorawan": 0,
    "tariff": 0,
    "config": 0,
    "bus": 1,
    "driver": 1,
    "transport": 1,
    "registry": 2,
    "link": 2,
    "policy": 3,
    "access": 3,
    "security": 4,
    "keys": 4,
    "wire": 4,
    "store": 5,
    "exchange": 5,
    "channel": 6,
    "device": 7,
    "testing": 8,
    "services": 8,
    "cli": 9,
    "__main__": 9,
}
GROUND = {"errors", "clock", "config", "objects", "bus", "driver", "transport", "lorawan", "tariff"}
APART = {("store", "exchange"), ("policy", "link"), ("policy", "access"), ("keys", "security"), ("wire", "security")}
"""Rooms of one floor, the first of which may not know the second."""


def _files() -> Iterator[tuple[str, str, Path]]:
    for package, folder in ROOTS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [part for part in path.relative_to(folder).with_suffix("").parts if part != "__init__"]
            yield package, ".".join([package, *parts]), path


def _targets(path: Path, name: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            assert node.module
            yield node.module, node.lineno
            if node.module in ROOTS:
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _fault(package: str, name: str, target: str) -> str | None:
    head, _, rest = target.partition(".")
    room = rest.split(".")[0]
    if head not in ROOTS:
        return None
    mine = name.split(".")[1] if "." in name else ""
    if package == "rataccess":
        if head in ("rataccess_drivers", "rataccess_transports"):
            tool = mine == "cli" and head == "rataccess_drivers"  # doctor, at and trace look at ports
            return None if tool else "the core knows no concrete radio"
        if head == "rataccess_hil":
            return None if mine == "cli" else "only the command line may start a rig"
        if room in FLOORS and mine in FLOORS:
            if FLOORS[room] > FLOORS[mine]:
                return f"{mine} (floor {FLOORS[mine]}) looks up to {room} (floor {FLOORS[room]})"
            if (mine, room) in APART:
                return f"{mine} may not know {room}"
        return None
    if package in ("rataccess_drivers", "rataccess_transports"):
        if head == "rataccess_hil":
            return "a radio knows no rig"
        if package == "rataccess_drivers" and head == "rataccess_transports":
            return "a driver knows no transport"
        if head == "rataccess" and room and room[0].islower() and room not in GROUND:
            return f"reaches above the ground floors: {room}"
    return None


def test_imports_only_point_down() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line} imports {target}: {why}"
        for package, name, path in _files()
        for target, line in _targets(path, name)
        if (why := _fault(package, name, target))
    ]
    assert not faults, "\n".join(faults)


def test_every_room_of_the_core_has_a_floor() -> None:
    rooms = {
        path.relative_to(ROOTS["rataccess"]).parts[0].removesuffix(".py")
        for path in ROOTS["rataccess"].rglob("*.py")
        if path.name != "__init__.py" or path.parent != ROOTS["rataccess"]
    }
    assert rooms == set(FLOORS), "a new room needs a floor in this test"


@pytest.mark.parametrize(
    ("package", "name", "target"),
    [
        ("rataccess", "rataccess.link.link", "rataccess.exchange"),
        ("rataccess", "rataccess.device", "rataccess_drivers.at"),
        ("rataccess", "rataccess.channel", "rataccess_hil"),
        ("rataccess_drivers", "rataccess_drivers.at", "rataccess.store"),
        ("rataccess_drivers", "rataccess_drivers.at", "rataccess_transports.udp"),
        ("rataccess_transports", "rataccess_transports.udp", "rataccess_hil"),
    ],
)
def test_the_check_can_fail(package: str, name: str, target: str) -> None:
    assert _fault(package, name, target)


def test_no_file_passes_600_lines() -> None:
    large = {
        str(path.relative_to(ROOT)): count
        for _, _, path in _files()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert not large
