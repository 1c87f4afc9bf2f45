"""Which file is read."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rataccess.config import load
from rataccess.errors import ConfigurationError
from tests.config.test_parse import GOOD


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, serial_number: str) -> Path:
    path.write_text(GOOD.replace('"A1"', f'"{serial_number}"'))
    return path


def test_the_path_given_comes_before_the_variable_and_that_before_the_current_folder(elsewhere: Path) -> None:
    given, named = write(elsewhere / "given.toml", "given"), write(elsewhere / "named.toml", "named")
    write(elsewhere / "rataccess.toml", "here")
    environ = {"RATACCESS_CONFIG": str(named)}
    assert load(given, environ).device.serial_number == "given"
    assert load(None, environ).device.serial_number == "named"
    assert load(environ={}).device.serial_number == "here"


def test_the_process_has_an_environment_too(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATACCESS_CONFIG", str(write(elsewhere / "named.toml", "named")))
    monkeypatch.setenv("RATACCESS_SOLUTION__HOST", "elsewhere.example")
    found = load()
    assert (found.device.serial_number, found.solution.host) == ("named", "elsewhere.example")


def test_without_a_file_the_environment_may_do(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("rataccess.config.load")  # the package's `load` is the function
    monkeypatch.setattr(module, "DEFAULT_FILES", (elsewhere / "nowhere.toml",))
    with pytest.raises(
        ConfigurationError, match=r"no configuration: there is no .*nowhere\.toml, and RATACCESS_CONFIG names no"
    ):
        load(environ={})
    with pytest.raises(ConfigurationError, match="no configuration file: device: missing"):
        load(environ={"RATACCESS_SOLUTION__HOST": "x"})


@pytest.mark.parametrize("kind", ["missing", "a folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(elsewhere: Path, kind: str) -> None:
    path = elsewhere / "x.toml"
    if kind == "a folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=rf"{path} (cannot be read|is not text)"):
        load(path, {})


def test_errors_name_the_file_that_was_read(elsewhere: Path) -> None:
    path = elsewhere / "x.toml"
    path.write_text(GOOD.replace("5700", "0"))
    with pytest.raises(ConfigurationError, match=rf"{path}:9: solution.port: found 0"):
        load(path, {})
