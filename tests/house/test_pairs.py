"""The table of drivers and transports: which go together, and what is said where one cannot be loaded."""

from __future__ import annotations

import pytest

from rataccess import registry
from rataccess.errors import MissingExtra
from tests.house.ours import DRIVERS, TRANSPORTS


def test_drivers_and_transports_go_together() -> None:
    told = {name: registry.driver(name).transports for name in DRIVERS}
    assert all(told.values()), told
    assert {each for names in told.values() for each in names} == set(TRANSPORTS)


@pytest.mark.parametrize(
    ("module", "package"), [("serial", "pyserial"), ("rataccess_drivers.at.port", "rataccess_drivers")]
)
def test_a_package_that_is_missing_is_named_as_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("rataccess.registry.importlib.import_module", missing)
    with pytest.raises(MissingExtra, match=f"'sbd' needs {package}, which is not installed; pip install {package}$"):
        registry.driver("sbd")
