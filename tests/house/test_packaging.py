"""What is shipped: every package is listed, and the wheel works where nothing of the tree is."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = {
    "rataccess": "rataccess",
    "rataccess_drivers": "drivers/rataccess_drivers",
    "rataccess_transports": "transports/rataccess_transports",
    "rataccess_hil": "hil/rataccess_hil",
}


def _metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _packages_in_the_tree() -> set[str]:
    found = set()
    for package, folder in SOURCE_ROOTS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return found


def test_every_package_is_listed() -> None:
    assert set(_metadata()["options"]["packages"].split()) == _packages_in_the_tree()


def test_the_extras_are_there() -> None:
    assert {"cli", "services", "test", "docs", "bench", "all"} <= set(_metadata()["options.extras_require"])


def test_no_address_in_the_metadata() -> None:
    assert "://" not in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    _run("git", "clone", "--quiet", ROOT, source, cwd=folder)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_imports_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    modules = "rataccess, rataccess.device, rataccess_drivers, rataccess_transports, rataccess_hil"
    where = _run(python, "-c", f"import {modules}; print(rataccess.__file__)", cwd=empty)
    assert str(tmp_path / "venv") in where
    listed = _run(python, "-c", "import rataccess.registry as r; print(*r.driver_names())", cwd=empty).split()
    assert {"interface", "quectel"} <= set(listed)
    for name in listed:
        _run(python, "-c", f"import rataccess.registry as r; r.driver({name!r})", cwd=empty)
    typed = _run(
        python,
        "-c",
        "from importlib.resources import files; print(files('rataccess').joinpath('py.typed').is_file())",
        cwd=empty,
    )
    assert typed.strip() == "True"
