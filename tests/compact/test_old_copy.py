"""A whole device goes on while its service's store is put back from an old copy: nothing is filed under a wrong number."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from rataccess.objects import Service, decode
from tests.compact.compact_world import CompactWorld, compact_world
from tests.system.test_invariants import in_virtual_time

S = Service.SOLUTION


def copied(made: CompactWorld) -> bytes:
    """The store as a backup takes it."""
    path = made.folder / "copy.sqlite"
    source, target = sqlite3.connect(made.folder / "solution.sqlite"), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path.read_bytes()


def put_back(path: Path, copy: bytes) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(copy)


def test_records_over_lora_after_an_old_copy_came_back_keep_their_numbers() -> None:
    async def scene() -> None:
        async with compact_world(links={"lora": "order = 2", "lte": "order = 1\nfailback_after = 1"}) as made:
            await asyncio.sleep(1)
            await made.enqueue("first")
            await asyncio.sleep(5)
            copy = copied(made)
            for n in range(1100):
                await made.enqueue(n)
            await asyncio.sleep(20)
            assert made.delivered() == made.accepted
            made.airs["lte"].set_carrier(False)
            for n in range(17):
                await made.enqueue({"n": n})
                await asyncio.sleep(20)
            assert made.delivered() == made.accepted
            made.kill_service(S)
            put_back(made.folder / "solution.sqlite", copy)
            made.start_service(S)
            later = dict(made.accepted)
            for n in range(4):
                await made.enqueue({"after": n})
                await asyncio.sleep(100)
            rows = made.services[S].store.execute("SELECT number, body FROM records")
            filed = {number: decode(body) for number, body in rows}
            assert all(made.accepted[number] == value for number, value in filed.items())
            assert made.accepted.keys() - later.keys() <= filed.keys(), "what came after is there"
            assert made.services[S].counters["messages whose record numbers could not be read"] == 1

    in_virtual_time(scene())
