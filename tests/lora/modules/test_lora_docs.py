"""docs/lora.md says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rataccess import registry
from rataccess.config import check_options, parse
from rataccess.config.check import fields
from rataccess.lorawan.regions import REGIONS
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_drivers.lora.modules.profile import Profile
from rataccess_drivers.lora.modules.rak3172 import RAK3172
from rataccess_drivers.lora.modules.rn2483 import RN2483
from rataccess_drivers.lora.modules.wio_e5 import WIO_E5

TEXT = (Path(__file__).resolve().parents[3] / "docs/lora.md").read_text(encoding="utf-8")
BASE = '[device]\nserial_number = "X-1"\n[management]\nhost = "m.example"\n[solution]\nhost = "s.example"\n'
EXAMPLES = [text for text in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if "[links." in text]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_read(example: str) -> None:
    configuration = parse(BASE + example, source="docs/lora.md", environ={})
    for name, link in configuration.links.items():
        options = {**_shared_options(link.driver), **link.options}
        check_options(options, registry.driver(link.driver).options_type, f"links.{name}.options")
        transport = registry.transport(link.transport)
        check_options(link.transport_options, transport.options_type, f"links.{name}.transport_options")
        assert link.budget is None or link.budget.unit is transport.unit


def _shared_options(driver: str) -> dict[str, Any]:
    """Options that one example shows for others of that driver."""
    if driver not in ("lora_private", "lorawan_chip"):
        return {}
    found: dict[str, Any] = {}
    for example in EXAMPLES:
        for link in tomllib.loads(example)["links"].values():
            found |= link.get("options", {}) if link["driver"] == driver else {}
    return found


def test_each_driver_has_an_example() -> None:
    shown = set(re.findall(r'^driver = "(\w+)"', "\n".join(EXAMPLES), re.MULTILINE))
    assert {"rak3172", "wio_e5", "rn2483"} <= shown


def test_every_option_is_in_the_table() -> None:
    table = TEXT[TEXT.index("| option | default |") : TEXT.index("### Keys")]
    told = {name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)}
    assert told == set(fields(ModuleOptions))
    assert set(re.findall(r"`([A-Z]{2}\d{3}(?:-\d)?)`", table)) == set(REGIONS)


@pytest.mark.parametrize(("profile", "column"), [(RAK3172, 2), (WIO_E5, 3), (RN2483, 4)])
def test_speeds_are_as_told(profile: Profile, column: int) -> None:
    (row,) = re.findall(r"^\| usual speed.*$", TEXT, re.MULTILINE)
    assert int(row.split("|")[column]) == profile.baudrates[0]


def test_air_times_are_as_told() -> None:
    (line,) = re.findall(r"^Air time of one uplink.*$", TEXT, re.MULTILINE)
    for value, unit, rate in re.findall(r"([\d.]+) (m?s) at DR(\d)", line):
        spent = REGIONS["EU868"].data_rates[int(rate)].time_on_air(13 + 20)
        assert float(value) * (0.001 if unit == "ms" else 1) == pytest.approx(spent, rel=0.01)
