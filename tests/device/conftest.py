"""The virtual air and the whole-system world of tests/system serve here too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))


@pytest.fixture(autouse=True)
def _no_leftover_airs() -> Iterator[None]:
    yield
    import air

    air.AIRS.clear()
