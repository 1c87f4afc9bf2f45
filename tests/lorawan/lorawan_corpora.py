"""The published LoRaWAN vectors.

Rules of this file: reading only; the file stays where it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__)
NAME = "shared/corpora/lorawan_vectors.json"


def cases(section: str) -> list[Any]:
    """Parameters, one for each case of `section`; a single skipped one where the vectors are absent."""
    path = next((each / NAME for each in HERE.parents if (each / NAME).exists()), None)
    if path is None:
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{NAME} is not above this directory"))]
    found = json.loads(path.read_text())[section]
    names = [each.get("id") or each.get("bytes") or str(at) for at, each in enumerate(found)]
    return [pytest.param(each, id=name) for each, name in zip(found, names, strict=True)]
