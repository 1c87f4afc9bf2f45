"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.calls.remote_world import Calls, Remote, serving


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    """A store on SQLite."""
    found = Calls(tmp_path / "solution.sqlite3")
    yield found
    found.close()


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    """A remote that answers `null`."""
    async with serving(Remote()) as found:
        yield found
