"""The time on air, against published cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rataccess_hil.lora.airtime import Waveform, noise_floor, sensitivity


def corpus(name: str) -> Any:
    """A corpus of published cases, read in place."""
    for folder in Path(__file__).resolve().parents:
        path = folder / "../shared/corpora" / name
        if path.is_file():
            return json.loads(path.read_text())
    pytest.skip(f"the corpus {name} is not there")


def test_published_cases() -> None:
    cases = corpus("lorawan_vectors.json")["airtime"]
    assert len(cases) == 49
    for case in cases:
        wave = Waveform(
            frequency=868_100_000,
            spreading_factor=case["sf"],
            bandwidth=round(case["bw_khz"] * 1000),
            coding_rate=int(case["cr"][-1]),
            preamble=case["preamble"],
            explicit_header=case["explicit_header"],
            low_data_rate=case["ldro"],
        )
        assert wave.payload_symbols(case["payload"]) == case["payload_symbols"], case
        if "airtime_us" in case:
            assert round(wave.time_on_air(case["payload"]) * 1e6) == case["airtime_us"], case


@pytest.mark.parametrize(("factor", "bandwidth", "optimised"), [(12, 125_000, True), (11, 125_000, True)])
def test_low_data_rate_optimisation_where_symbols_are_long(factor: int, bandwidth: int, optimised: bool) -> None:
    assert Waveform(868_100_000, factor, bandwidth).optimised is optimised
    assert Waveform(868_100_000, 10).optimised is False
    assert Waveform(868_100_000, 12, 250_000).optimised is True
    assert Waveform(868_100_000, 11, 250_000).optimised is False


def test_sensitivity_gets_better_with_the_spreading_factor() -> None:
    assert sensitivity(Waveform(868_100_000, 7)) == pytest.approx(-124.5)
    assert sensitivity(Waveform(868_100_000, 12)) == pytest.approx(-137.0)
    assert noise_floor(500_000) - noise_floor(125_000) == pytest.approx(6.0)
