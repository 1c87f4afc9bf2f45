"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_world import World

from rataccess.objects import Service


@pytest.fixture
def management(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Service.MANAGEMENT)
    yield world
    world.kill()


@pytest.fixture
def solution(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, Service.SOLUTION)
    yield world
    world.kill()
