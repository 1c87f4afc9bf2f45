"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess.objects import Service
from tests.services.service_world import World


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
