"""What docs/satellite.md shows can be configured so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from rataccess import registry
from rataccess.config.model import LinkSettings
from rataccess_drivers.satellite.sbd_codec import MO_STATUSES, Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "satellite.md"


def test_examples_are_valid() -> None:
    links = tomllib.loads(PAGE.read_text().split("```toml\n")[1].split("```")[0])["links"]
    assert {each["driver"] for each in links.values()} == {"sbd", "imt", "notecard"}
    for each in links.values():
        settings = msgspec.convert(each, LinkSettings)
        msgspec.convert(settings.options, registry.driver(settings.driver).options_type)
        assert settings.budget is not None
        assert settings.budget.unit is registry.transport(settings.transport).unit


def test_every_status_that_asks_for_something_is_explained() -> None:
    told = PAGE.read_text()
    for code, status in MO_STATUSES.items():
        if status.verdict in (Verdict.SOON, Verdict.LATER, Verdict.BARRED):
            assert f"`{code}`" in told or f"`MO status {code}`" in told, code
