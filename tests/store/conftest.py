"""Stores for tests: on a real file, with a clock that stands still, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rataccess.config.model import StoreSettings
from rataccess.store import Store

Make = Callable[..., Store]


class StillClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.known = True

    def monotonic(self) -> float:
        return self.now - 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def wall_known(self) -> bool:
        return self.known


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=[True, False], ids=["threaded", "inline"])
def threaded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.sqlite"


@pytest.fixture
def make(path: Path, clock: StillClock) -> Iterator[Make]:
    """Opens stores at `path`; keyword arguments are settings, and `threaded`, `at`."""
    made: list[Store] = []

    def make(*, threaded: bool = False, at: Path | None = path, **settings: object) -> Store:
        store = Store.open(at, StoreSettings(**settings), clock, threaded=threaded)  # type: ignore[arg-type]
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
