"""Output lines: levels as they are wired, errors as ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rataccess.errors import ConfigurationError, RadioNotFound
from rataccess_drivers import gpio
from rataccess_drivers.gpio import LineSettings, OutputLine, hold_line, open_line


class FakeGpioError(OSError):
    pass


class Chip:
    """What is known of a fake GPIO chip, in place of python-periphery."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int | str, str, dict[str, Any]]] = []
        self.levels: list[bool] = []
        self.closed = 0
        self.refusal: Exception | None = None


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    known = Chip()

    class FakeGpio:
        def __init__(self, path: str, line: int | str, direction: str, **rest: Any) -> None:
            if known.refusal is not None:
                raise known.refusal
            known.opened.append((path, line, direction, rest))

        def write(self, value: bool) -> None:
            if known.refusal is not None:
                raise known.refusal
            known.levels.append(value)

        def close(self) -> None:
            known.closed += 1

    module = ModuleType("periphery")
    module.__dict__.update(GPIO=FakeGpio, GPIOError=FakeGpioError)
    monkeypatch.setitem(sys.modules, "periphery", module)
    return known


def test_periphery_is_imported_only_on_use() -> None:
    assert "periphery" not in vars(gpio)


@pytest.mark.parametrize(
    ("active_low", "initial", "wire"),
    [(False, False, "low"), (False, True, "high"), (True, False, "high"), (True, True, "low")],
)
def test_first_level_is_that_of_the_wire(chip: Chip, active_low: bool, initial: bool, wire: str) -> None:
    """A key that is active low must not be pressed by the mere opening of its line."""
    line = open_line(LineSettings(chip="/dev/gpiochip4", line=17, active_low=active_low), initial)
    path, number, direction, rest = chip.opened[0]
    assert (path, number, direction, rest["inverted"]) == ("/dev/gpiochip4", 17, wire, active_low)
    line.write(True)
    line.write(False)
    assert chip.levels == [True, False]
    line.close()
    assert chip.closed == 1


@pytest.mark.parametrize(
    "refusal", [FakeGpioError(16, "busy"), OSError(2, "no such file"), LookupError("no such line")]
)
def test_refusal_is_ours(chip: Chip, refusal: Exception) -> None:
    settings = LineSettings(line=17)
    line = open_line(settings)
    chip.refusal = refusal
    with pytest.raises(RadioNotFound, match="line 17") as caught:
        open_line(settings)
    assert caught.value.__cause__ is refusal
    with pytest.raises(RadioNotFound):
        line.write(True)


def test_nonsense_is_a_mistake_of_the_configuration(chip: Chip) -> None:
    chip.refusal = ValueError("what?")
    with pytest.raises(ConfigurationError):
        open_line(LineSettings(line=17))


@pytest.mark.parametrize("active_low", [False, True])
def test_line_that_is_a_file(tmp_path: Path, active_low: bool) -> None:
    path = tmp_path / "value"
    path.write_text("")
    line = open_line(LineSettings(file=str(path), active_low=active_low), True)
    assert path.read_text() == ("0" if active_low else "1")
    line.write(False)
    assert path.read_text() == ("1" if active_low else "0")
    line.close()


def test_file_that_is_absent_or_that_nobody_reads(tmp_path: Path) -> None:
    with pytest.raises(RadioNotFound, match="nothing"):
        open_line(LineSettings(file=str(tmp_path / "nothing")))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RadioNotFound, match="pipe"):
        open_line(LineSettings(file=str(tmp_path / "pipe")))


def test_supply_switch_is_held(chip: Chip, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is released becomes an input, and the radio would lose its supply."""
    monkeypatch.setattr(gpio, "_held", {})
    settings = LineSettings(line=5)
    first: OutputLine = hold_line(settings, True)
    assert hold_line(settings, True) is first
    assert hold_line(LineSettings(line=6), True) is not first
    assert len(chip.opened) == 2
