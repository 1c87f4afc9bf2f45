"""Old records end, and none that somebody has still to be given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from rataccess.errors import StoreUnreachable
from rataccess.objects import encode
from rataccess.services.retention import DAY, EVERY, FIRST, Retention
from rataccess.services.store import Changes, ServiceStore, open_store
from tests.services.service_world import HandClock

T = TypeVar("T")


class Inline:
    """A store's handle in this thread."""

    def __init__(self, store: ServiceStore) -> None:
        self.store = store
        self.fails = False

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        if self.fails:
            raise StoreUnreachable("away")
        return work(self.store)

    async def aclose(self) -> None:
        self.store.close()


@pytest.fixture
def store(tmp_path: Path) -> ServiceStore:
    made = open_store(str(tmp_path / "s.sqlite"))
    device = made.device("A1", b"\0").id
    now = HandClock().wall()
    rows = [(device, n, "q", 1, None, now - age * DAY, None, encode(n)) for n, age in ((1, 9), (2, 8), (3, 1))]
    made.commit(Changes(records=rows), {})
    return made


def left(store: ServiceStore) -> list[int | None]:
    return [each.number for each in store.records_after(None)]


@pytest.mark.looptime
async def test_old_records_end_in_time(store: ServiceStore) -> None:
    access, clock = Inline(store), HandClock()
    retention = Retention(7, [], access, clock)
    retention.start()
    await asyncio.sleep(FIRST - 1)
    assert left(store) == [1, 2, 3]
    await asyncio.sleep(2)
    assert left(store) == [3]
    clock.passed += 7 * DAY
    await asyncio.sleep(EVERY)
    assert left(store) == []
    await retention.aclose()
    await retention.aclose()


async def test_no_record_that_a_receiver_has_still_to_be_given(store: ServiceStore) -> None:
    retention = Retention(7, ["a", "b"], Inline(store), HandClock())
    first, second, _ = store.records_after(None)
    store.move_cursor("a", second.position)
    assert await retention.look() == 0  # b has had nothing yet
    store.move_cursor("b", first.position)
    assert await retention.look() == 1
    assert left(store) == [2, 3]
    await retention.aclose()


@pytest.mark.looptime
async def test_trouble_is_told_and_tried_again(store: ServiceStore, caplog: pytest.LogCaptureFixture) -> None:
    access = Inline(store)
    access.fails = True
    retention = Retention(7, [], access, HandClock())
    retention.start()
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(FIRST + 1)
    assert "old records are not deleted now: away" in caplog.text
    access.fails = False
    await asyncio.sleep(EVERY)
    assert left(store) == [3]
    await retention.aclose()


async def test_one_process_at_a_time_deletes(store: ServiceStore, tmp_path: Path) -> None:
    retention = Retention(7, [], Inline(store), HandClock())
    with open_store(str(tmp_path / "s.sqlite")) as other:
        assert other.lease("retention")
        assert await retention.look() == 0
    assert await retention.look() == 2
    await retention.aclose()
