"""The shared corpora, read where they are.

Rules of this file: a corpus that is not there skips the test, with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def corpus(name: str) -> Any:
    """A corpus by its file's name."""
    for folder in Path(__file__).resolve().parents:
        path = folder.parent / "shared/corpora" / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    pytest.skip(f"../shared/corpora/{name}.json is not there")
