"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess.objects import Service
from rataccess.services.store import ServiceStore, open_store
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


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/service.sqlite"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[ServiceStore]:
    with open_store(store_url) as found:
        yield found


@pytest.fixture
def shared(tmp_path: Path, postgres_url: str) -> Iterator[World]:
    """A solution service on PostgreSQL."""
    world = World(tmp_path, Service.SOLUTION, store=postgres_url)
    yield world
    world.kill()


@pytest.fixture
def solution_on_each(tmp_path: Path, store_url: str) -> Iterator[World]:
    """A solution service on each kind of store."""
    world = World(tmp_path, Service.SOLUTION, store=store_url)
    yield world
    world.kill()
