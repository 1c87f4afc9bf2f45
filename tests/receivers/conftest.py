"""Fixtures of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.receivers.receiver_world import Records
from tests.servers.mosquitto import mosquitto, mosquitto_server

asyncio.set_event_loop(None)  # or looptime's plug-in makes one that nobody closes

__all__ = ["mosquitto", "mosquitto_server", "records"]


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """A store on SQLite."""
    found = Records(tmp_path / "solution.sqlite3")
    yield found
    found.close()
