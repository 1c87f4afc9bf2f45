"""An event loop at the store: what it commits itself, what the committing thread does; and what a signal breaks off."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rataccess.errors import Closed
from rataccess.objects import ReceiptState
from rataccess.store import Accepted, Store
from tests.store.test_store_outbox import SOLUTION, flush, new, numbers, settled_by

SLOW = 1.0


def committers(store: Store) -> list[tuple[int, int]]:
    """Records who commits how many items, from now on."""
    seen: list[tuple[int, int]] = []
    committer = store._committer
    run = committer._run

    def watched(group: list[Any]) -> bool:
        seen.append((threading.get_ident(), len(group)))
        return run(group)

    committer._run = watched
    return seen


def idle(store: Store, pace: float = 0.0) -> Store:
    """With its thread asleep, and a disk that has taken `pace` seconds for each commit so far."""
    while not store._committer._sleeping:
        pass
    store._engine._files.database.pace = pace
    return store


async def test_what_one_turn_submits_is_committed_together_by_the_loop(make: Any) -> None:
    store = idle(make(threaded=True))
    seen = committers(store)
    results = await asyncio.gather(*(store.enqueue_async(new()) for _ in range(5)))
    assert [each.number for each in results] == [1, 2, 3, 4, 5]
    assert seen == [(threading.get_ident(), 5)]


async def test_a_slow_disk_never_holds_up_the_loop(make: Any) -> None:
    store = idle(make(threaded=True), SLOW)
    seen = committers(store)
    assert (await store.enqueue_async(new())).number == 1
    assert {who for who, _ in seen} == {store._committer._thread.ident}  # type: ignore[union-attr]
    assert 0.5 < store._engine._files.database.pace < SLOW, "it is measured, and forgets"


async def test_a_large_group_does_not_hold_up_the_loop(make: Any) -> None:
    store = idle(make(threaded=True))
    seen = committers(store)
    results = await asyncio.gather(*(store.enqueue_async(new()) for _ in range(100)))
    assert [each.number for each in results] == list(range(1, 101))
    assert {who for who, _ in seen} == {store._committer._thread.ident}  # type: ignore[union-attr]


async def test_the_loop_waits_for_nobody_who_commits_already(make: Any) -> None:
    store = idle(make(threaded=True))
    seen = committers(store)
    held, go = threading.Event(), threading.Event()

    def hold(result: object) -> None:
        held.set()
        go.wait(30)

    store.submit(new(), hold)
    await asyncio.to_thread(held.wait, 30)
    waiting = store.enqueue_async(new())
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert (await waiting).number == 2
    assert threading.get_ident() not in {who for who, _ in seen}


async def test_a_store_that_closes_in_between_tells_so(make: Any) -> None:
    store = idle(make(threaded=True))
    waiting = [store.enqueue_async(new()) for _ in range(2)]
    store.close()
    for each in waiting:
        with pytest.raises(Closed):
            await each
    with pytest.raises(Closed):
        await store.enqueue_async(new())


async def test_what_is_told_may_submit_again(make: Any) -> None:
    store = idle(make(threaded=True))
    again = asyncio.get_running_loop().create_future()
    store.submit_async(new(), lambda result: store.submit_async(new(), again.set_result))
    assert await again == Accepted(2)


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_signal_in_a_transaction_leaves_numbers_and_changes_whole(make: Any, after: bool) -> None:
    store = make(threaded=False)
    seen = settled_by(store)
    assert [store.enqueue(new()).number for _ in range(2)] == [1, 2]
    database = store._engine._files.database
    commit = database.commit

    def interrupted() -> None:
        database.commit = commit
        if after:
            commit()
        raise KeyboardInterrupt

    store.settle(SOLUTION, [1], ReceiptState.DELIVERED, patient=True)
    database.commit = interrupted
    with pytest.raises(KeyboardInterrupt):
        store.enqueue(new(3))
    kept = [2, 3] if after else [2]
    assert store.enqueue(new(4)).number == kept[-1] + 1, "no number twice, none lost"
    flush(store)
    assert numbers(store) == [*kept, kept[-1] + 1]
    assert sum(count for count, _ in store.depth().values()) == len(kept) + 1
    assert seen == ([] if after else [(SOLUTION, [1], ReceiptState.DELIVERED)])
    store.settle(SOLUTION, [2], ReceiptState.DELIVERED)
    assert numbers(store) == [*kept[1:], kept[-1] + 1]
